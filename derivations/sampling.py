r"""Sampling: what temperature does to a distribution, what truncation keeps, and why noise can draw.

Article papers/sampling.md, code reference/sampling.py, laws verify/sampling.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Rational, Sum, Symbol, exp, log, sign

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le
from derivations.normal import Before
from derivations.positive import TangentGap

n, i, j, k, l, r = (Symbol(name, integer=True, positive=True) for name in "nijklr")
t = Symbol("t", integer=True, nonnegative=True)
z, P = IndexedBase("z", real=True), IndexedBase("P", real=True)
g, h, u, v, w, swap = (IndexedBase(name, nonnegative=True) for name in "ghuvwx")
m, x = Symbol("m", real=True), Symbol("x", real=True)
T, delta, s, y, U = (Symbol(name, positive=True) for name in ("T", "delta", "s", "y", "U"))
lacks, lead = Symbol("g", positive=True), Symbol("g", nonnegative=True)
a, b, c, p = (Symbol(name, real=True) for name in "abcp")


def one_minus_exp(y):
    """1 − e^(−y), which is nonnegative for y ≥ 0, as such."""
    return exp(-y) * (TangentGap.of(exp, 0, y) + y)


@claim(
    source="hinton2015distilling, §2 eq. (1)",
    code="reference.sampling.distribution",
    computes="distribution(torch.cat([0 * h[:1] + m, m - delta - h]), temperature=T)[1:].sum()",
    mistakes={
        "T multiplies": {"at": lambda y: y * T},
        "the sign: cold prefers the smallest": {"at": lambda y: -y / T},
        "the largest is missing in its own normalizer": {"largest": 0},
    },
)
def temperature_zero_is_argmax(at=lambda y: y / T, largest=1):
    """With one largest logit, δ above n others, these have together at most n e^(−δ/T) ≤ nT/δ: nothing as T → 0."""
    others = Sum(exp(at(m - delta - h[j])), (j, 1, n))
    odds = Sum(exp(at(-delta - h[j])), (j, 1, n))
    return below(
        others / (largest * exp(at(m)) + others),
        eq(odds / (1 + odds), "divide by the weight of the largest: what counts are the gaps δ + h, h ≥ 0"),
        le(odds, "the divisor is at least one", by=odds**2 / (1 + odds)),
        le(
            n * exp(-delta / T),
            "every gap is at least δ",
            by=exp(-delta / T) * Sum(one_minus_exp(h[j] / T), (j, 1, n)),
        ),
        le(
            n * T / delta,
            "e^y ≥ 1 + y ≥ y for y = δ/T",
            by=n * T / delta * exp(-delta / T) * (TangentGap.of(exp, 0, delta / T) + 1),
        ),
    )


@claim(
    source="hinton2015distilling, §2 eq. (1)",
    code="reference.sampling.distribution",
    computes="distribution(m - g, temperature=T)[i]",
    for_all={i: n},
    mistakes={
        "T multiplies: hot is cold": {"at": lambda y: y * T},
        "every weight tends to one, and is not divided by their sum": {"limit": 1},
        "the rate is 1/T²": {"rate": 1 / T**2},
    },
)
def temperature_infinite_is_uniform(at=lambda y: y / T, limit=1 / n, rate=1 / T):
    """With gaps g to the largest logit, every probability is between 1/n − gᵢ/nT and 1/n + Σg/nT: 1/n as T → ∞."""
    total = Sum(exp(at(m - g[j])), (j, 1, n))
    odds = Sum(exp(-g[j] / T), (j, 1, n))
    decay = TangentGap.of(lambda y: exp(-y), 0, g[i] / T)
    spare = Sum(one_minus_exp(g[j] / T), (j, 1, n))
    return (
        below(
            exp(at(m - g[i])) / total,
            eq(exp(-g[i] / T) / odds, "a common factor e^(m/T)"),
            ge(
                exp(-g[i] / T) / n,
                "no weight exceeds one, so that they sum to at most n",
                by=exp(-g[i] / T) / (n * odds) * spare,
            ),
            ge(limit - g[i] * rate / n, "e^(−y) ≥ 1 − y", by=decay / n),
        ),
        below(
            exp(at(m - g[i])) / total,
            le(
                limit + Sum(g[j], (j, 1, n)) * rate / n,
                "the others have at least their lower bounds, and all sum to one",
                by=g[i] / (n * T)
                + Sum(
                    (1 - KroneckerDelta(i, l)) ** 2
                    * (exp(-g[l] / T) / (n * odds) * spare + decay.xreplace({g[i]: g[l]}) / n),
                    (l, 1, n),
                ),
            ),
        ),
    )


def gibbs(T):
    """At temperature T: the normalizer, a symbol's probability, and the mean logit."""
    total = Sum(exp(z[j] / T), (j, 1, n))
    return total, lambda index: exp(z[index] / T) / total, Sum(exp(z[r] / T) / total * z[r], (r, 1, n))


tau = Symbol("T", real=True)  # any temperature but 0: only the sign of the slope needs T > 0
total, share, mean = gibbs(tau)


@claim(
    source="mackay2003information, ch. 31 eq. (31.8)–(31.12) (heat capacity)",
    code="reference.sampling.distribution",
    computes="T = abs(T); torch.autograd.functional.jacobian("
    "lambda t: torch.special.entr(distribution(z, t)).sum(), torch.tensor(T, dtype=z.dtype))",
    mistakes={
        "the variance over equal weights": {"spread": Sum(z[i] ** 2, (i, 1, n)) / n - (Sum(z[i], (i, 1, n)) / n) ** 2},
        "the power of T of the heat capacity": {"power": 2},
        "bits for nats": {"unit": log(2)},
        "the mean of the square, not about the mean": {"spread": Sum(share(i) * z[i] ** 2, (i, 1, n))},
    },
)
def entropy_grows_with_temperature(spread=Sum(share(i) * z[i] ** 2, (i, 1, n)) - mean**2, power=3, unit=1):
    """The entropy's slope in T is Var_p(z)/T³, which is never negative: hotter is more random."""
    _, at_T, average = gibbs(T)
    return (
        equal(
            Derivative(-Sum(share(i) * log(share(i)), (i, 1, n)) / unit, tau),
            eq(Derivative(log(total) - mean / tau, tau), "log p = z/T − log Σ e^(z/T)"),
            eq(spread / tau**power, "d(log Σ e^(z/T))/dT = −Σ p z/T², and dp/dT = −p (z − Σ p z)/T²"),
        ),
        below(
            (Sum(at_T(i) * z[i] ** 2, (i, 1, n)) - average**2) / T**3,
            ge(0, "a mean of squares, and T > 0", by=Sum(at_T(i) * (z[i] - average) ** 2, (i, 1, n)) / T**3),
        ),
    )


@claim(
    source="maddison2014astar (the Gumbel-Max trick)",
    code="reference.sampling.gumbel_max",
    given={U: exp(-exp(-x))},
    for_all={i: n},
    mistakes={
        "only one logarithm": {"noise": lambda u: -log(u)},
        "the sign of the noise": {"noise": lambda u: log(-log(u))},
        "the winner is uniform": {"winner": 1 / n},
        "the odds against each other, not against all": {"winner": exp(z[i]) / (1 + exp(z[i]))},
    },
)
def gumbel_max_samples_softmax(noise=lambda u: -log(-log(u)), winner=exp(z[i]) / Sum(exp(z[j]), (j, 1, n))):
    """With u uniform, zᵢ − log(−log uᵢ) is the largest of n with probability softmax(z)ᵢ."""
    total, below_x = Sum(exp(z[j]), (j, 1, n)), exp(-Sum(exp(z[j] - x), (j, 1, n)))
    return (
        equal(
            noise(U),
            eq(x, "the noise grows with u: it is at most x when u ≤ e^(−e^(−x)), and u is uniform: with that chance"),
        ),
        induct(
            P,
            t,
            start=1,
            step=P[t] * exp(-exp(z[t + 1] - x)),
            closed=lambda t: exp(-Sum(exp(z[j] - x), (j, 1, t))),
            reason="that the scores z + noise of the first t symbols are at most x: independent, so the product",
        ),
        equal(
            Derivative(winner * below_x, x),
            eq(
                Derivative(exp(-exp(z[i] - x)), x) * below_x / exp(-exp(z[i] - x)),
                "the density of the i-th score at x, times the chance that all others are below: i wins at x",
            ),
        ),
        below(
            exp(-total * y),
            le(
                1 / (1 + total * y),
                "y = e^(−x): at x → −∞ the antiderivative starts at 0",
                by=exp(-total * y) * TangentGap.of(exp, 0, total * y) / (1 + total * y),
            ),
        ),
        below(
            exp(-total * y),
            ge(
                1 - total * y,
                "and at x → ∞, y → 0 it ends at softmax(z)ᵢ: that is the integral over all x",
                by=TangentGap.of(lambda s: exp(-s), 0, total * y),
            ),
        ),
    )


@claim(
    source="holtzman2020curious, §3.1 eq. (2)",
    code="reference.sampling.top_p",
    mistakes={
        "not sorted: a symbol behind is more probable": {"behind": lambda j: s + v[j]},
        "sorted in rising order": {"first": lambda j: s - u[j]},
        "one symbol too many: the mass before it already exceeds p": {"short": -lacks},
    },
)
def top_p_set_is_smallest(first=lambda j: s + u[j], behind=lambda j: s - v[j], short=lacks):
    """While the n most probable symbols have less than the mass p, so has every set of at most n symbols."""
    mass = Sum(first(j), (j, 1, n))
    return below(
        Sum(first(j) + swap[j] * (behind(j) - first(j)) - w[j] * first(j), (j, 1, n)),
        le(
            mass,
            "another such set has in some places a symbol from behind, none above s (xⱼ = 1), or none at all (wⱼ = 1)",
            by=Sum(swap[j] * (u[j] + v[j]) + w[j] * (s + u[j]), (j, 1, n)),
        ),
        le(mass + short, "which is p: the mass lacks g > 0, so that the rule goes on to one symbol more", by=short),
    )


@claim(
    source="holtzman2020curious, §3.1 eq. (3)",
    code="reference.sampling.distribution",
    computes="z = z.sort(descending=True).values; distribution(z, top_k=k + 1)[i]",
    for_all={k: n, i: k},
    mistakes={
        "not renormalized": {"mass": 1},
        "what is left out gets the logit 0": {"others": n - k},
        "divided by the number that stays": {"mass": k / n},
    },
)
def truncation_renormalizes(mass=Sum(exp(z[j]) / Sum(exp(z[r]), (r, 1, n)), (j, 1, k)), others=0):
    """The softmax of the logits that stay is the softmax of all, divided by the mass that stays: no odds change."""
    whole = Sum(exp(z[j]), (j, 1, n))
    return (
        equal(
            exp(z[i]) / (Sum(exp(z[j]) * Before(j, k), (j, 1, n)) + others),
            eq(exp(z[i]) / Sum(exp(z[j]), (j, 1, k)), "exp(−∞) = 0: number the symbols that stay from 1 to k"),
            eq(exp(z[i]) / whole / mass, "divide both by the sum over all"),
        ),
        equal(
            Sum(exp(z[i]) / whole / mass, (i, 1, k)),
            eq(Sum(exp(z[i]) / whole, (i, 1, k)) / mass, "a common divisor"),
            eq(1, "it is a distribution"),
        ),
    )


def stays(lead):
    """One if a symbol has something to spare before it is left out, else zero."""
    return (1 + sign(lead)) / 2


def nucleus(at, weigh):
    """The share of the first of the weights a, b, c when top-p looks at them through `at`, softmax through `weigh`."""
    first, both, whole = at(a), at(a) + at(b), at(a) + at(b) + at(c)
    return weigh(a) / (weigh(a) + weigh(b) * stays(p - first / whole) + weigh(c) * stays(p - both / whole))


def near(at, weigh):
    """The same for min-p and two weights."""
    return weigh(a) / (weigh(a) + weigh(b) * stays(at(b) - p * at(a)))


@claim(
    source="holtzman2020curious, §3.1; nguyen2025minp, §3",
    code="reference.sampling.distribution",
    scope="instances",
    why="a counterexample each settles top-p and min-p; that top-k commutes is proved for all T",
    mistakes={
        "T = 1, where nothing is cooled": {"cooled": lambda y: y},
        "a negative temperature, which turns the order round": {"divided": lambda y: -y / T},
    },
)
def temperature_and_truncation_do_not_commute(cooled=lambda y: y**2, divided=lambda y: y / T):
    """Top-p and min-p keep other symbols after temperature than before it; top-k keeps the same."""
    three, two = [{a: 3, b: 2, c: 1, p: Rational(3, 5)}], [{a: 2, b: 1, p: Rational(3, 10)}]
    return (
        finite(nucleus(lambda y: y, cooled), eq(Rational(9, 13), "top-p 0.6 keeps two of 3 : 2 : 1"), cases=three),
        finite(nucleus(cooled, cooled), eq(1, "but of 9 : 4 : 1, which is T = 1/2, one"), cases=three),
        finite(near(lambda y: y, cooled), eq(Rational(4, 5), "min-p 0.3 keeps both of 2 : 1"), cases=two),
        finite(near(cooled, cooled), eq(1, "but of 4 : 1, which is T = 1/2, one"), cases=two),
        below(
            divided(m + lead) - divided(m),
            ge(0, "who leads by g leads by g/T: the same order, and the same k largest", by=lead / T),
        ),
    )
