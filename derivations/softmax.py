r"""Softmax: why it and no other map, its Jacobian and how steep it can be, and what a shift of the logits changes.

Article papers/softmax.md, code reference/softmax.py, laws verify/softmax.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Rational, S, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, le
from derivations.normal import Before
from derivations.positive import TangentGap

n = Symbol("n", integer=True, positive=True)
more = Symbol("u", integer=True, nonnegative=True)
i, j, k, l, r = (Symbol(name, integer=True, positive=True) for name in "ijklr")
z, y, v, w = (IndexedBase(name, real=True) for name in "zyvw")
p, x = IndexedBase("p", positive=True), IndexedBase("x", positive=True)
m, c, beta, one = (Symbol(name, real=True) for name in ("m", "c", "beta", "s"))
g = IndexedBase("g", nonnegative=True)

total = Sum(exp(z[j]), (j, 1, n))


def softmax(index):
    return exp(z[index]) / total


def logarithm(x, x0=1):
    """log x₀ + (x − x₀)/x₀ − log x: how far the logarithm is below its tangent."""
    return TangentGap.of(lambda x: -log(x), x0, x)


@claim(
    source="jaynes1957information, §2; cover2006elements, §12.1 (Theorem 12.1.1)",
    code="reference.softmax.softmax",
    computes="torch.log(softmax(beta * z)[l] / x[l])",
    given={one: 1},
    sums={Sum(p[i], (i, 1, k)): one},
    for_all={k: n, l: n},
    mistakes={
        "the sign: softmin": {"weigh": lambda score: exp(-beta * score)},
        "powers of two": {"weigh": lambda score: exp(log(2) * beta * score)},
        "the temperature for its inverse": {"weigh": lambda score: exp(score / beta)},
        "the multiplier without its one": {"multiplier": lambda whole: log(whole)},
        "the constraint is left out": {"multiplier": lambda whole: 0},
        "the scores themselves for their exponentials": {"weigh": lambda score: 1 + (beta * score) ** 2},
    },
)
def softmax_maximizes_entropy(weigh=lambda score: exp(beta * score), multiplier=lambda whole: log(whole) - 1):
    """The slope is zero at q = softmax(βz) alone, and no distribution of the same mean score has more entropy."""

    def entropy(share, last):
        return -Sum(share(i) * log(share(i)), (i, 1, last))

    def score(share, last):
        return Sum(share(r) * z[r], (r, 1, last))

    whole = Sum(weigh(z[j]), (j, 1, n))
    q, any_x, ours = lambda i: weigh(z[i]) / whole, lambda i: x[i], lambda i: p[i]
    lagrange = entropy(any_x, n) + beta * score(any_x, n) - multiplier(whole) * (Sum(x[i], (i, 1, n)) - 1)
    return (
        equal(
            Derivative(lagrange, x[l]),
            eq(log(weigh(z[l]) / whole / x[l]), "−log x − 1 + βz − λ with λ = log Σe^(βz) − 1: zero where x is q"),
        ),
        below(
            entropy(ours, k) + beta * (score(ours, k) - score(q, n)),
            eq(
                entropy(q, n) + Sum(p[i] * (log(q(i)) - log(p[i])), (i, 1, k)),
                "the entropy of q is log Σe^(βz) − β Σ qz; p uses k of the n symbols, and sums to one",
            ),
            le(
                entropy(q, n),
                "Gibbs: log x ≤ x − 1 for x = q/p, and where p is zero q need not be",
                by=Sum(p[i] * logarithm(q(i) / p[i]), (i, 1, k)) + Sum(q(i) * (1 - Before(i, k)) ** 2, (i, 1, n)),
            ),
        ),
    )


@claim(
    source="goodfellow2016deep, §4.1 and §6.2.2.3 eq. (6.32)",
    code="reference.softmax.softmax",
    computes="softmax(z + c)[i]",
    for_all={i: n, k: n},
    mistakes={
        "a factor is no shift": {"moved": lambda j: c * z[j]},
        "a shift that grows from symbol to symbol": {"moved": lambda j: z[j] + c * j},
        "the normalizer is not moved": {"whole": total},
        "the ratio of the logits for their difference": {"apart": z[i] / z[k]},
    },
)
def softmax_is_shift_invariant(moved=lambda j: z[j] + c, whole=None, apart=z[i] - z[k]):
    """Softmax does not see a shift of all logits, and sees all else: log pᵢ − log pₖ is zᵢ − zₖ."""
    whole = Sum(exp(moved(j)), (j, 1, n)) if whole is None else whole
    return (
        equal(
            exp(moved(i)) / whole,
            eq(exp(c) * exp(z[i]) / Sum(exp(c) * exp(z[j]), (j, 1, n)), "the exponential of a sum is a product"),
            eq(softmax(i), "the common factor e^c cancels"),
        ),
        equal(log(softmax(i)) - log(softmax(k)), eq(apart, "the normalizer is the same")),
    )


@claim(
    source="bridle1990softmax, §2",
    code="reference.softmax.softmax_jacobian",
    computes="softmax_jacobian(z)[i, k]",
    for_all={i: n, k: n},
    mistakes={
        "the cross term has the wrong sign": {"cross": softmax(k)},
        "only the diagonal: softmax taken for an elementwise function": {"cross": KroneckerDelta(i, k) * softmax(k)},
        "no cross term": {"cross": 0},
    },
)
def softmax_jacobian(cross=-softmax(k)):
    """The derivative of the i-th softmax probability by the k-th logit is pᵢ(δᵢₖ − pₖ)."""
    return equal(
        Derivative(softmax(i), z[k]),
        eq(
            KroneckerDelta(i, k) * exp(z[i]) / total - exp(z[i]) * exp(z[k]) / total**2,
            "quotient rule; of the sum, only the k-th term depends on z_k",
        ),
        eq(softmax(i) * (KroneckerDelta(i, k) + cross), "factor out p_i"),
    )


def form(left, right):
    """left·J·right, J the Jacobian of softmax."""
    return Sum(Sum(left[i] * Derivative(softmax(i), z[k]) * right[k], (k, 1, n)), (i, 1, n))


@claim(
    source="boyd2004convex, §3.1.5 (log-sum-exp)",
    code="reference.softmax.softmax_jacobian",
    computes="v @ softmax_jacobian(z) @ v",
    for_all={r: n, l: n},
    mistakes={
        "every pair counted twice": {"half": 1},
        "the variance over equal weights": {"share": lambda index: 1 / S(n)},
        "no cross term: rows that sum to the probability": {"rows": softmax(r)},
        "each difference bounds it, whatever the probabilities": {"weight": 1},
    },
)
def softmax_jacobian_is_psd_and_singular(half=Rational(1, 2), share=softmax, rows=0, weight=softmax(r) * softmax(l)):
    """v'Jv is the variance of v under p: zero when all entries are equal, and only then; J takes equal ones to zero."""

    variance = Sum(softmax(i) * v[i] ** 2, (i, 1, n)) - Sum(softmax(i) * v[i], (i, 1, n)) ** 2

    def spread(keep):
        return half * Sum(Sum(share(i) * share(k) * (v[i] - v[k]) ** 2 * keep, (k, 1, n)), (i, 1, n))

    return (
        equal(
            form(v, v),
            eq(variance, "the Jacobian is pᵢ(δᵢₖ − pₖ)"),
            eq(spread(1), "half the mean of (vᵢ − vₖ)² over pairs"),
        ),
        below(
            variance,
            ge(0, "a mean of squares", by=Sum(softmax(i) * (v[i] - Sum(softmax(j) * v[j], (j, 1, n))) ** 2, (i, 1, n))),
        ),
        below(
            spread(1),
            ge(
                half * weight * (v[r] - v[l]) ** 2,
                "the pair r, l alone; no p is zero: a sum of zero leaves no difference",
                by=spread((1 - KroneckerDelta(i, r) * KroneckerDelta(k, l)) ** 2),
            ),
        ),
        equal(
            Sum(Derivative(softmax(r), z[k]), (k, 1, n)),
            eq(softmax(r) * (1 - Sum(softmax(k), (k, 1, n))), "pᵣ(δᵣₖ − pₖ), summed"),
            eq(rows, "probabilities sum to one: a shift of all logits moves nothing"),
        ),
    )


a, b = Symbol("a", real=True), Symbol("b", real=True)


@claim(
    source="nair2025softmax, abstract",
    code="reference.softmax.softmax_jacobian",
    computes="w @ softmax_jacobian(z) @ v",
    for_all={r: n},
    mistakes={
        "the bound of the entries for that of the norm": {"bound": Rational(1, 8)},
        "an eighth for the entries": {"entry": Rational(1, 8)},
        "one half is attained beside other symbols too": {"lost": 0},
        "the slope of the exponentials, not divided by their sum": {"whole": 1},
    },
)
def softmax_slope_is_at_most_half(bound=Rational(1, 4), entry=Rational(1, 4), lost=Rational(1, 4), whole=total):
    """For unit w and v, w'Jv is at most ½: the norm of J; two equal logits reach it; no entry of J exceeds ¼."""
    others = Sum(exp(y[j]), (j, 1, more))
    three, even = exp(a) + exp(b) + others, 1 / (2 + others)

    def pairs(term):
        return Sum(Sum(softmax(i) * softmax(k) * term(i, k), (k, 1, n)), (i, 1, n))

    def both(i):
        return w[i] + v[i]

    rows = Sum(softmax(i) * (1 - softmax(i)) * both(i) ** 2, (i, 1, n)) / 2
    return (
        below(
            form(w, v) * total / whole,
            eq(pairs(lambda i, k: (w[i] - w[k]) * (v[i] - v[k])) / 2, "a covariance under p"),
            le(
                pairs(lambda i, k: (both(i) - both(k)) ** 2) / 8,
                "xy ≤ (x + y)²/4",
                by=pairs(lambda i, k: (w[i] - v[i] - w[k] + v[k]) ** 2) / 8,
            ),
            le(
                rows,
                "(x − y)² ≤ 2x² + 2y², off the diagonal: Schur's test, since row i of |J| sums to 2pᵢ(1 − pᵢ)",
                by=pairs(lambda i, k: (1 - KroneckerDelta(i, k)) ** 2 * (both(i) + both(k)) ** 2) / 8,
            ),
            le(
                Sum(both(i) ** 2, (i, 1, n)) / 8,
                "p(1 − p) is ¼ at most",
                by=Sum((softmax(i) - Rational(1, 2)) ** 2 * both(i) ** 2, (i, 1, n)) / 2,
            ),
            le(
                bound * Sum(w[i] ** 2 + v[i] ** 2, (i, 1, n)),
                "(x + y)² ≤ 2x² + 2y²; the sum is 2 for unit vectors",
                by=Sum((w[i] - v[i]) ** 2, (i, 1, n)) / 8,
            ),
        ),
        below(
            even * (1 - even) + even**2,
            eq(even, "for (1, −1, 0, …)/√2, two equal logits and others that weigh s beside them"),
            ge(Rational(1, 2) - lost * others, "½ if there are no others, else near it", by=even * others**2 / 4),
        ),
        below(softmax(r) * (1 - softmax(r)), le(entry, "on the diagonal", by=(softmax(r) - Rational(1, 2)) ** 2)),
        below(
            exp(a) * exp(b) / three**2,
            le(
                entry,
                "off it: two probabilities sum to one at most",
                by=((exp(a) - exp(b)) ** 2 + others**2 + 2 * others * (exp(a) + exp(b))) / (2 * three) ** 2,
            ),
        ),
    )


@claim(
    source="boyd2004convex, §3.1.5 (log-sum-exp)",
    code="reference.softmax.log_sum_exp",
    computes="log_sum_exp(m - g)",
    given={g[i]: 0},
    for_all={i: n},
    mistakes={
        "it is the largest": {"symbols": 1},
        "the mean for the sum": {"share": n},
        "m is the smallest": {"logit": lambda j: m + g[j]},
        "equal logits do not add up": {"equal_ones": m},
    },
)
def log_sum_exp_is_between_max_and_max_plus_log_n(symbols=n, share=1, logit=lambda j: m - g[j], equal_ones=m + log(n)):
    """With m the largest of n logits, log Σ exp is between m and m + log n; it is m + log n when all are equal."""
    whole, odds = Sum(exp(logit(j)), (j, 1, n)) / share, Sum(exp(-g[j]), (j, 1, n))
    others = Sum((1 - KroneckerDelta(i, j)) ** 2 * exp(-g[j]), (j, 1, n))
    spare = Sum(exp(-g[j]) * (TangentGap.of(exp, 0, g[j]) + g[j]), (j, 1, n))
    return (
        below(
            log(whole),
            eq(m + log(odds), "factor out e^m: what is left are the gaps to the largest, g ≥ 0"),
            ge(m, "one gap is 0, so the sum is 1 + others: log x ≥ 1 − 1/x", by=logarithm(1 / odds) + others / odds),
        ),
        below(
            log(whole),
            le(
                m + log(symbols),
                "log x ≤ x − 1, with x the mean of n exponentials that are one at most",
                by=logarithm(odds / n) + spare / n,
            ),
        ),
        equal(log(Sum(exp(m), (j, 1, n))), eq(equal_ones, "n equal terms")),
    )


@claim(
    source="blanchard2021logsumexp, §1 eq. (1.2)",
    code="reference.softmax.log_sum_exp",
    computes="log_sum_exp(z)",
    mistakes={"the shift is not added back": {"back": 0}, "the shift is subtracted twice": {"back": -m}},
)
def log_sum_exp_is_stable_under_shift(back=m):
    """Any shift m leaves log Σ exp unchanged when added back; with z ≤ m and m attained no exponential exceeds one."""
    gaps = Sum(exp(-g[j]), (j, 1, n))
    return (
        equal(
            log(total),
            eq(log(exp(m) * Sum(exp(z[j] - m), (j, 1, n))), "factor exp(m) out of every term"),
            eq(back + log(Sum(exp(z[j] - m), (j, 1, n))), "the logarithm of a product"),
        ),
        below(
            1 + gaps,
            le(
                1 + n,
                "m − z_j = g_j ≥ 0, and e^(−g) ≤ 1: nothing overflows; the 1 is the term that attains m",
                by=Sum(exp(-g[j]) * (TangentGap.of(exp, 0, g[j]) + g[j]), (j, 1, n)),
            ),
        ),
        below(1 + gaps, ge(1, "the attained maximum contributes exp(0) = 1: the logarithm never sees 0", by=gaps)),
    )
