r"""What rounding does to a sum: one by one the bound grows with n, in pairs with log n, compensated not at all.

The model: an operation on floating-point numbers returns its result times 1 + δ with |δ| ≤ u, whatever δ. A number x is
written x⁺ − x⁻ with nonnegative parts, of which nothing is assumed: then |x| ≤ x⁺ + x⁻, and any number and any bound of
its magnitude are so. Article papers/precision.md, code reference/precision_sums.py, laws verify/precision_sums.py.
"""

from typing import NamedTuple

from sympy import Expr, IndexedBase, Rational, S, Sum, Symbol, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, induct, le
from derivations.positive import TangentGap

t, h, j = (Symbol(name, integer=True, nonnegative=True) for name in "thj")
n, r = (Symbol(name, integer=True, positive=True) for name in "nr")
u, v = (Symbol(name, nonnegative=True) for name in ("u", "v"))
room = Symbol("w", positive=True)
first = Symbol("p_0", real=True)
p, B, D, G = IndexedBase("p", nonnegative=True), *(IndexedBase(name, real=True) for name in "BDG")


class Signed(NamedTuple):
    """A number as the difference of two nonnegative parts; `size` bounds its magnitude, by twice the other part."""

    plus: Expr
    minus: Expr

    @classmethod
    def named(cls, name):
        return cls(*(Symbol(f"{name}^{sign}", nonnegative=True) for sign in "+-"))

    @property
    def value(self):
        return self.plus - self.minus

    @property
    def size(self):
        return self.plus + self.minus

    def __add__(self, other):
        return Signed(self.plus + other.plus, self.minus + other.minus)

    def __sub__(self, other):
        return Signed(self.plus + other.minus, self.minus + other.plus)

    def __mul__(self, other):
        return Signed(
            self.plus * other.plus + self.minus * other.minus, self.plus * other.minus + self.minus * other.plus
        )


ONE = Signed(S.One, S.Zero)


def at_most(x, bound, reason):
    """x and −x are at most the bound, which is the size of x."""
    return (
        below(x.value, le(bound, reason, by=2 * x.minus)),
        below(-x.value, le(bound, "and so for the other sign", by=2 * x.plus)),
    )


def grown(power):
    """(1 + u)^k − 1 for k ≥ 0, which is nonnegative, as such."""
    return TangentGap.of(lambda y: (1 + u) ** y, 0, power) + power * log(1 + u)


def gamma(k):
    """γ_k = k u/(1 − k u)."""
    return k * u / (1 - k * u)


def bernoulli(k):
    """γ_k + 1 − (1 + u)^k, where 1/u is w more than k, in nonnegative pieces: (1 + u)^(−k) ≥ 1 − ku."""
    return (1 + u) ** k * (k + room) / room * TangentGap.of(lambda x: (1 + x) ** (-k), 0, u)


E, F, P, A, C, delta, epsilon = (Signed.named(name) for name in ("e", "f", "x", "s", "r", "delta", "epsilon"))


@claim(
    source="higham2002accuracy, §3.1, Lemma 3.1",
    code="reference.precision.dot",
    given={u: 1 / (n + room)},
    mistakes={
        "the accumulator rounds once, at the end": {"closed": lambda t: (1 + v) * (1 + u) - 1},
        "only products are rounded, as if the sum were kept in full": {"grows": 0},
        "γ without its denominator": {"bound": lambda n: n * u},
    },
)
def rounding_error_of_a_dot_product(closed=lambda t: (1 + v) * (1 + u) ** t - 1, grows=1, bound=gamma):
    """A dot product of n terms, added one by one in any order, is off by γₙ Σ|xy| at most, γₙ = nu/(1 − nu)."""
    one = ONE + delta
    step = E * one + P * epsilon * one + (A + P) * delta
    total = first + Sum(p[r], (r, 1, t))

    def worst(t):
        return first * ((1 + v) * (1 + u) ** t - 1) + Sum(p[r] * ((1 + v) * (1 + u) ** (t - r + 1) - 1), (r, 1, t))

    return (
        *at_most(
            step,
            (1 + delta.size) * (E.size + epsilon.size * P.size) + delta.size * (A.size + P.size),
            "((s + e) + x(1 + ε))(1 + δ) − (s + x): the error e so far, that of the product x, that of the addition",
        ),
        induct(
            B,
            t,
            start=v * first,
            step=(1 + u) * (B[t] + v * p[t + 1]) + grows * u * (total + p[t + 1]),
            closed=worst,
            reason="the worst of it, with p = |xy|: products within v and sums within u; nothing is added to the first",
        ),
        below(
            worst(t),
            le(
                total * closed(t),
                "the term r has t − r + 1 additions after it, and the first has most",
                by=Sum(p[r] * (1 + v) * (1 + u) ** (t - r + 1) * grown(r - 1), (r, 1, t)),
            ),
        ),
        below(
            (1 + u) ** n - 1,
            le(
                bound(n),
                "n = t + 1 terms, and v = u. Bernoulli: (1 + u)^(−n) ≥ 1 − nu, where 1/u = n + w is more than n",
                by=bernoulli(n),
            ),
        ),
    )


k = Symbol("k", integer=True, nonnegative=True)


@claim(
    source="higham2002accuracy, §4.2",
    code="reference.precision.pairwise_sum",
    given={u: 1 / (h + room)},
    mistakes={
        "a level costs nothing": {"level": 0},
        "both halves pass on their errors in full, level by level": {"halves": 2},
        "log₂ n rounded down": {"spare": lambda n: n - 1},
        "γ without its denominator": {"bound": lambda h: h * u},
    },
)
def pairwise_sum_is_log_n(level=u, halves=1, spare=lambda odd: 2 * j + odd, bound=gamma):
    """A sum of n ≤ 2^h terms in pairs is off by γₕ Σ|x| at most: h = ⌈log₂ n⌉ additions on the way of each term."""
    one, odd = ONE + delta, Symbol("o", integer=True, nonnegative=True)
    return (
        *at_most(
            (E + F) * one + (A + C) * delta,
            (1 + delta.size) * (E.size + F.size) + delta.size * (A.size + C.size),
            "((s + e) + (r + f))(1 + δ) − (s + r): the errors of the halves, and that of adding them",
        ),
        induct(
            G,
            t,
            start=0,
            step=halves * (1 + u) * G[t] + level,
            closed=lambda t: (1 + u) ** t - 1,
            reason="if both halves are off by G times their Σ|x| at most, the whole is by (1 + u)G + u times its own",
        ),
        below(
            (2 ** (h + 1) - spare(odd) + odd) / 2,
            le(
                2**h,
                "n = 2^(h+1) − 2j − o terms, o = 1 if they are odd: the larger half has (n + o)/2, a level less",
                by=j,
            ),
        ),
        below((1 + u) ** h - 1, le(bound(h), "as for the sum of h + 1 terms, one by one", by=bernoulli(h))),
    )


c, s, x, eta, sigma, tau, kappa, far = (
    Symbol(name, real=True) for name in ("c", "s", "x", "eta", "sigma", "tau", "kappa", "start")
)
X, H, T, R, M = (IndexedBase(name, real=True) for name in ("x", "eta", "tau", "R", "M"))
plus, minus = (IndexedBase(name, nonnegative=True) for name in ("x^+", "x^-"))
a, b = (IndexedBase(name, nonnegative=True) for name in "ab")
three = [Signed.named(name) for name in ("eta", "tau", "sigma")]


@claim(
    source="kahan1965remarks; higham2002accuracy, §4.3; goldberg1991what, Theorem 8",
    code="reference.precision.kahan_sum",
    given={far: 0},
    mistakes={
        "the compensation is added": {"corrected": lambda x, c: x + c},
        "what is lost has the other sign": {"lost": lambda d, y: y - d},
        "a compiler finds that (t − s) − y is zero": {"lost": lambda d, y: S.Zero},
        "t − s is exact, whatever was added": {"off": lambda eta, tau: eta},
        "two roundings bound the three of a term": {"times": Rational(2, 3)},
    },
)
def kahan_removes_the_n(corrected=lambda x, c: x - c, lost=lambda d, y: d - y, off=lambda eta, tau: eta - tau, times=1):
    """To first order in u, no term of a compensated sum is off by more than 3u of itself, however many there are."""
    y = corrected(x, u * c) * (1 + u * eta)
    new = (s + y) * (1 + u * sigma)
    after = lost((new - s) * (1 + u * tau), y) * (1 + u * kappa)
    more = (x - u * c) * eta - c  # y is x and u of that, t − s is x and u of that and of (s + y)σ
    moved = more + (s + x + u * more) * sigma
    second = -c * eta - (s + x + u * more) * sigma * kappa - x * tau * kappa - moved * tau * (1 + u * kappa)
    fresh = (s + x + u * more) * sigma + (x + u * moved) * tau
    return (
        equal(
            new - after,
            eq(
                s - u * c + x + u * x * off(eta, tau) + u**2 * second,
                "y = (x − c)(1 + η), t = (s + y)(1 + σ), c ← ((t − s)(1 + τ) − y)(1 + κ), c and the Greek letters "
                "being written as multiples of u: in t − c what the addition lost, σ, is gone but for u²",
            ),
        ),
        equal(
            after,
            eq(
                u * ((s + x) * sigma + x * tau) + u**2 * (more * sigma + moved * tau + kappa * fresh),
                "and c is what this one addition lost: it does not grow with their number",
            ),
        ),
        induct(
            M,
            t,
            start=far,
            step=M[t] + X[t + 1] + u * X[t + 1] * (H[t + 1] - T[t + 1]) + u**2 * R[t + 1],
            closed=lambda t: (
                Sum(X[r], (r, 1, t)) + u * Sum(X[r] * (H[r] - T[r]), (r, 1, t)) + u**2 * Sum(R[r], (r, 1, t))
            ),
            reason="all steps: t − c is the exact sum, u times what each term lost by itself, and u² times the rest",
        ),
        *at_most(
            three[0] - three[1] + three[2],
            times * (three[0].size + three[1].size + three[2].size),
            "the sum itself is t − c and c: a term is off by η − τ + σ, with the last σ; each is one at most",
        ),
        below(
            Sum((plus[r] - minus[r]) * 3 * u * (a[r] - b[r]), (r, 1, n)),
            le(
                3 * u * Sum((plus[r] + minus[r]) * (a[r] + b[r]), (r, 1, n)),
                "so that all terms are off by 3u Σ|x|: x is (x⁺ − x⁻)(a + b), and off by 3u(a − b)/(a + b) of itself",
                by=6 * u * Sum(plus[r] * b[r] + minus[r] * a[r], (r, 1, n)),
            ),
        ),
    )
