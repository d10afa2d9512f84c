r"""Information: what a distribution is worth in nats, and what it costs to believe another one.

p and q are distributions over n symbols, J one over pairs of them. Beside this: information_perplexity.py,
information_codes.py and information_huffman.py.
Article papers/information.md, code reference/information.py, laws verify/information.py.
"""

from sympy import IndexedBase, Interval, Rational, Sum, Symbol, exp, log, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, le
from derivations.positive import TangentGap

n, M = (Symbol(name, integer=True, positive=True) for name in "nM")
i, j = (Symbol(name, integer=True, positive=True) for name in "ij")
m = Symbol("m", integer=True, nonnegative=True)
p, q, J = (IndexedBase(name, positive=True) for name in "pqJ")
mass, z = Symbol("s", real=True), Symbol("z", positive=True)
missed, g = (Symbol(name, nonnegative=True) for name in "ug")


def minus_log(x):
    return -log(x)


@claim(
    source="cover2006elements, Theorem 2.6.3 (information inequality)",
    code="reference.information.kl_divergence",
    computes="kl_divergence(p, q)",
    given={mass: 1},
    sums={Sum(p[i], (i, 1, n)): mass, Sum(q[i], (i, 1, n)): 1 - missed},
    domains={missed: Interval.Ropen(0, 1)},
    mistakes={
        "weighted by q": {"weight": q[i]},
        "the ratio upside down": {"ratio": q[i] / p[i]},
        "not weighted at all": {"weight": 1},
        "the distance of the roots, not its square": {"square": 1},
    },
)
def gibbs_inequality(weight=p[i], ratio=p[i] / q[i], square=2):
    """A divergence is at least the squared distance of the roots: never negative, and zero only if q = p."""
    divergence = Sum(weight * log(ratio), (i, 1, n))
    apart = Sum((sqrt(p[i]) - sqrt(q[i])) ** square, (i, 1, n)) + missed
    return (
        below(
            divergence,
            ge(
                apart,
                "−log x ≥ 2(1 − √x) for x = q/p; u is q's mass on symbols that p never has: their squared distance",
                by=2 * Sum(p[i] * TangentGap.of(minus_log, 1, sqrt(q[i] / p[i])), (i, 1, n)),
            ),
        ),
        below(apart, ge(0, "squares, and a mass", by=apart)),
    )


@claim(
    source="cover2006elements, Theorem 2.6.4",
    code="reference.information.entropy",
    computes="part = 1; entropy(p)",
    given={mass: 1},
    sums={Sum(p[i], (i, 1, n)): mass},
    mistakes={
        "as if only the symbols that occur counted": {"size": n},
        "bits against nats": {"unit": log(2)},
        "the size, not its logarithm": {"top": n + m},
        "the sign": {"unit": -1},
    },
)
def entropy_is_maximal_when_uniform(size=n + m, unit=1, top=None):
    """Of all distributions over n + m symbols, m of which may never occur, only the uniform one reaches log(n + m)."""
    top = log(size) if top is None else top
    apart = Sum((sqrt(p[i]) - sqrt(1 / (n + m))) ** 2, (i, 1, n)) + m / (n + m)
    return (
        equal(
            -Sum(1 / (n + m) * log(1 / (n + m)), (i, 1, n + m)) / unit,
            eq(top, "n + m equal terms"),
        ),
        below(
            -Sum(p[i] * log(p[i]), (i, 1, n)) / unit,
            le(
                top - apart,
                "Gibbs' inequality against the uniform distribution, whose mass on the m others is m/(n + m)",
                by=2 * Sum(p[i] * TangentGap.of(minus_log, 1, sqrt(1 / (n + m) / p[i])), (i, 1, n)),
            ),
            le(top, "the distance is zero only if all are 1/(n + m)", by=apart),
        ),
    )


@claim(
    source="goodfellow2016deep, §3.13 eq. (3.51)",
    code="reference.information.cross_entropy",
    computes="cross_entropy(p, q)",
    mistakes={
        "the other divergence, D(q‖p)": {"excess": Sum(q[i] * log(q[i] / p[i]), (i, 1, n))},
        "q's own entropy": {"own": -Sum(q[i] * log(q[i]), (i, 1, n))},
        "the divergence is subtracted": {"sign": -1},
        "weighted by the model": {"weight": q[i]},
    },
)
def cross_entropy_is_entropy_plus_kl(
    excess=Sum(p[i] * log(p[i] / q[i]), (i, 1, n)), own=-Sum(p[i] * log(p[i]), (i, 1, n)), sign=1, weight=p[i]
):
    """The mean surprise of p's draws under the model q is p's own entropy plus the divergence D(p‖q)."""
    return equal(
        -Sum(weight * log(q[i]), (i, 1, n)),
        eq(Sum(p[i] * (-log(p[i]) + log(p[i] / q[i])), (i, 1, n)), "log q = log p − log(p/q)"),
        eq(own + sign * excess, "split the sum"),
    )


joint = Sum(J[i, j] * log(J[i, j]), (j, 1, n), (i, 1, M))


def row(i):
    """The probability of the first symbol."""
    return Sum(J[i, j], (j, 1, n))


def column(j):
    """The probability of the second symbol."""
    return Sum(J[i, j], (i, 1, M))


@claim(
    source="cover2006elements, Theorem 2.6.5 and 2.6.6; shannon1948communication, §6",
    code="reference.information.mutual_information",
    given={mass: 1},
    sums={Sum(J[i, j], (j, 1, n), (i, 1, M)): mass},
    mistakes={"the joint entropy counted twice": {"times": 2}, "a pair is worth no more than its first": {"second": 0}},
)
def entropy_is_subadditive(times=1, second=-Sum(column(j) * log(column(j)), (j, 1, n))):
    """Two symbols together have at most the entropy of both by themselves: what is missing is their information."""
    first = -Sum(row(i) * log(row(i)), (i, 1, M))
    gap = Sum(J[i, j] * TangentGap.of(minus_log, 1, row(i) * column(j) / J[i, j]), (j, 1, n), (i, 1, M))
    return below(
        -times * joint,
        le(
            first + second,
            "the difference is the divergence of the joint distribution from the product of the two: Gibbs",
            by=gap,
        ),
    )


def both(i):
    """Twice the mixture of p and q."""
    return p[i] + q[i]


parts = ((p, q[i] / both(i)), (q, p[i] / both(i)))


@claim(
    source="lin1991divergence (Jensen–Shannon divergence)",
    code="reference.information.js_divergence",
    computes="js_divergence(p, q)",
    given={mass: 1},
    sums={Sum(p[i], (i, 1, n)): mass, Sum(q[i], (i, 1, n)): mass},
    mistakes={
        "compared with q, not with the mixture": {"twice": lambda i: 2 * q[i]},
        "the mixture of the logarithms": {"twice": lambda i: 2 * sqrt(p[i] * q[i])},
        "not halved": {"half": 1},
    },
)
def jensen_shannon_is_at_most_log_two(twice=both, half=Rational(1, 2)):
    """The mean divergence of two distributions from their mixture is at most log 2: one bit, which is which."""
    sides = (Sum(x[i] * log(2 * x[i] / twice(i)), (i, 1, n)) for x in (p, q))
    spare = (Sum(x[i] * (TangentGap.of(minus_log, both(i), x[i]) + shared), (i, 1, n)) for x, shared in parts)
    return below(
        half * sum(sides),
        le(log(2), "p/m is twice p/(p + q), and −log(p/(p + q)) ≥ q/(p + q) ≥ 0; so for q", by=sum(spare) / 2),
    )


@claim(
    source="cover2006elements, §2.1 (convention on 0 log 0)",
    code="reference.information.entropy",
    mistakes={
        "z itself, without the root": {"rate": lambda z: z},
        "a quarter of the bound": {"rate": lambda z: sqrt(z) / 2},
        "the sign": {"sign": 1},
    },
)
def zero_log_zero_is_zero(rate=lambda z: 2 * sqrt(z), sign=-1):
    """What a symbol of probability z adds to the entropy, −z log z, is between 0 and 2√z: it goes to zero with z."""
    return (
        below(
            sign * z * log(z),
            le(
                rate(z) - 2 * z,
                "log x ≤ x − 1 for x = 1/√z, twice",
                by=2 * z * TangentGap.of(minus_log, 1, 1 / sqrt(z)),
            ),
            le(rate(z), "z is not negative", by=2 * z),
        ),
        below(sign * exp(-g) * log(exp(-g)), ge(0, "z = e^(−g) with a surprise g ≥ 0", by=g * exp(-g))),
    )
