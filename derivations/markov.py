r"""Markov chains on words: why counting is maximum likelihood, and what adding to the counts means.

c[h, w] counts word w after context h, p[h, w] is its probability; m contexts, n words that were seen after each.
Mixtures of orders are in markov_smoothing.py.
Article papers/markov.md, code reference/markov.py, laws verify/markov.py.
"""

from sympy import Derivative, IndexedBase, Interval, KroneckerDelta, Product, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le, ne, optimal
from derivations.positive import TangentGap

m, n, N, V = (Symbol(name, integer=True, positive=True) for name in "mnNV")
h, i, j, k, w, r = (Symbol(name, integer=True, positive=True) for name in "hijkwr")
t = Symbol("t", integer=True, nonnegative=True)
c, p = IndexedBase("c", positive=True), IndexedBase("p", positive=True)
unseen = IndexedBase("u", nonnegative=True)
P, q = IndexedBase("P", real=True), IndexedBase("q", real=True)
joint = IndexedBase("J", positive=True)
mass, empty, ratio = Symbol("s", real=True), Symbol("start", real=True), Symbol("lambda", real=True)
count, nats = IndexedBase("c", nonnegative=True), IndexedBase("s", nonnegative=True)
one, other = IndexedBase("y", real=True), IndexedBase("q", positive=True)
alpha, x, y, rate = (Symbol(name, positive=True) for name in ("alpha", "x", "y", "r"))


def row(h):
    """How often context h was seen."""
    return Sum(c[h, j], (j, 1, n))


@claim(
    source="shannon1948communication, §3; jurafsky2025speech, §3.1 eq. (3.4)",
    code="reference.markov.log_likelihood",
    given={empty: 1},
    mistakes={
        "each word conditioned on one step too few": {"factor": lambda t: q[t]},
        "the probability of the empty text is left out as zero": {"start": 0},
        "the last factor is missing": {"last": t - 1},
    },
)
def chain_rule_factorizes(factor=lambda t: q[t + 1], start=empty, last=t):
    """The probability of a text is the product of its conditional probabilities, and each context's sum to one."""
    return (
        induct(
            P,
            t,
            start=start,
            step=P[t] * factor(t),
            closed=lambda now: Product(q[r], (r, 1, last + now - t)),
            reason="q_(t+1) = P_(t+1)/P_t is the definition of the conditional; the empty text has probability one",
        ),
        equal(
            Sum(joint[w] / Sum(joint[j], (j, 1, n)), (w, 1, n)),
            eq(Sum(joint[w], (w, 1, n)) / Sum(joint[j], (j, 1, n)), "the context's probability is the common divisor"),
            eq(1, "it is the sum over its continuations"),
        ),
    )


@claim(
    source="manning1999foundations, §6.2.1; cover2006elements, §2.6 (Gibbs)",
    code="reference.markov.conditional",
    given={mass: 1},
    sums={Sum(p[h, w], (w, 1, n)): mass - unseen[h]},
    for_all={h: m, i: n},
    domains={unseen.label: Interval.Ropen(0, 1)},
    mistakes={
        "add-one smoothing taken for maximum likelihood": {"estimate": lambda h, w: (c[h, w] + 1) / (row(h) + n)},
        "divided by all counts, not by the context's": {"estimate": lambda h, w: c[h, w] / Sum(row(i), (i, 1, m))},
        "the uniform distribution": {"estimate": lambda h, w: 1 / n},
        "counts normalized over the contexts": {"estimate": lambda h, w: c[h, w] / Sum(c[i, w], (i, 1, m))},
    },
)
def counting_is_maximum_likelihood(estimate=lambda h, w: c[h, w] / row(h)):
    """Relative frequencies are stationary and beat every table of probabilities, also one with mass on unseen words."""
    likelihood = Sum(Sum(c[h, w] * log(p[h, w]), (w, 1, n)), (h, 1, m))
    surprise = Sum(Sum(c[h, w] * TangentGap.of(lambda x: -log(x), 1, p[h, w] / estimate(h, w)), (w, 1, n)), (h, 1, m))
    return (
        equal(
            Derivative(Sum(c[h, w] * log(p[h, w]), (w, 1, n)), p[h, i]) * p[h, i] / estimate(h, i),
            eq(row(h), "c/p at the estimate is the same for every word: a Lagrange multiplier, so it is stationary"),
        ),
        optimal(
            likelihood,
            p,
            at=estimate,
            gap=surprise + Sum(row(h) * unseen[h], (h, 1, m)),
            feasible=(Sum(estimate(h, w), (w, 1, n)), 1),
            reason="Gibbs: the loss is Σ c (x − 1 − log x), x = p/estimate, plus N_h for each unit of unseen mass",
        ),
    )


def occurrences(h, w):
    """How many of the N steps of a text see context h and then word w: those whose y is one, not zero."""
    return Sum(one[r, h, w], (r, 1, N))


@claim(
    source="manning1999foundations, §6.2.1",
    code="reference.markov.log_likelihood",
    for_all={k: m},
    mistakes={
        "contexts are pooled": {"counts": lambda h, w: Sum(occurrences(i, w), (i, 1, m))},
        "the counts of all contexts decide a row": {"felt": lambda w: Sum(occurrences(i, w), (i, 1, m))},
        "every word of a row counts once": {"felt": lambda w: 1},
    },
)
def likelihood_separates_by_context(counts=occurrences, felt=lambda w: occurrences(k, w)):
    """A text's log-likelihood has one term for each context, and another row for a context changes its term alone."""
    here = KroneckerDelta(h, k)
    return (
        equal(
            Sum(one[r, h, w] * log(p[h, w]), (w, 1, n), (h, 1, m), (r, 1, N)),
            eq(
                Sum(Sum(counts(h, w) * log(p[h, w]), (w, 1, n)), (h, 1, m)),
                "collect the steps with the same context and word: what is left of the text is its counts",
            ),
        ),
        equal(
            Sum(occurrences(h, w) * log(p[h, w] ** (1 - here) * other[w] ** here), (w, 1, n), (h, 1, m)),
            eq(
                Sum(occurrences(h, w) * log(p[h, w]), (w, 1, n), (h, 1, m))
                + Sum(felt(w) * (log(other[w]) - log(p[k, w])), (w, 1, n)),
                "put another row q in the place of row k: each row can be made best by itself, whatever the others are",
            ),
        ),
    )


@claim(
    source="laplace1814essai, règle de succession; mackay2003information, §23.5",
    code="reference.markov.conditional",
    computes="part = 3; c = (6 * c).round(); probabilities(unroll(c), torch.empty(1, 0).long(), len(c), alpha)[0, i]",
    given={ratio: 1 / (Sum(count[j], (j, 1, n)) + n * alpha)},
    for_all={i: n},
    mistakes={
        "alpha is added once to the denominator, not once a word": {"total": Sum(count[j], (j, 1, n)) + alpha},
        "alpha in the numerator only": {"total": Sum(count[j], (j, 1, n))},
        "the mode for the mean": {"pseudo": alpha - 1},
    },
)
def laplace_is_dirichlet_posterior_mean(total=Sum(count[j], (j, 1, n)) + n * alpha, pseudo=alpha):
    """Under a symmetric Dirichlet(α) prior the posterior mean of a word's probability is (cᵢ + α)/(N + nα)."""
    a, b = count[i] + alpha, count[1] + alpha
    return (
        equal(
            Derivative(x**a * y**b, x) - Derivative(x**a * y**b, y),
            eq(
                (a * y - b * x) * x ** (a - 1) * y ** (b - 1),
                "x = pᵢ, y = pⱼ, rest fixed: density·(aᵢpⱼ − aⱼpᵢ) is a slope along x + y = const",
            ),
        ),
        below(
            exp(-a * rate),
            le(
                1 / (1 + a * rate),
                "x^a vanishes at the boundary x = e^(−r) → 0, as a > 0: so aᵢpⱼ − aⱼpᵢ has mean 0 and E[pᵢ] = λaᵢ",
                by=exp(-a * rate) * TangentGap.of(exp, 0, a * rate) / (1 + a * rate),
            ),
        ),
        equal(
            Sum((count[j] + alpha) * ratio, (j, 1, n)),
            eq((Sum(count[j], (j, 1, n)) + n * alpha) * ratio, "sum over the words"),
            eq(1, "the means sum to one: this fixes λ"),
        ),
        equal(
            (count[i] + alpha) * ratio,
            eq((count[i] + pseudo) / total, "so the mean is λ(cᵢ + α)"),
        ),
    )


seen, repeated, z = Symbol("N", positive=True), Symbol("u", nonnegative=True), Symbol("z", real=True)
c1, c2, a = (Symbol(name, real=True) for name in ("c_1", "c_2", "a"))


@claim(
    source="mackay2003information, §23.5",
    code="reference.markov.conditional",
    scope="instances",
    why="a counterexample is one instance, and it settles the matter",
    mistakes={"the prior is Dirichlet(α + 1): then the mode is the Laplace estimate": {"prior": a + 1}},
)
def laplace_is_not_the_posterior_mode(prior=a):
    """Under the prior whose posterior mean is the Laplace estimate, the posterior mode is another distribution."""
    return finite(
        (c1 + prior - 1) / (c1 + c2 + 2 * (prior - 1)),
        ne((c1 + a) / (c1 + c2 + 2 * a), "the mode maximizes Σ (c + α − 1) log p: counting with counts c + α − 1"),
        cases=[{c1: 1, c2: 0, a: 1}, {c1: 3, c2: 1, a: 2}],
    )


@claim(
    source="manning1999foundations, §6.2.2; jurafsky2025speech, §3.6",
    code="reference.markov.perplexity",
    mistakes={
        "the impossible symbol is skipped": {"rare": 0},
        "the root is of the number of the other symbols": {"length": n},
        "smoothed, the bound does not depend on the counts": {"bound": n},
    },
)
def unseen_event_has_infinite_perplexity(rare=z, length=n + 1, bound=n + seen / alpha):
    """One of N symbols at probability e^(−z) makes the perplexity at least e^(z/N), infinite at 0; α > 0 bounds it."""
    others = Sum(nats[j], (j, 1, n)) / (n + 1)
    return (
        below(
            exp(rare / (n + 1) + others),
            eq(exp(z / (n + 1)) * exp(others), "e to the mean surprise of n + 1 symbols, one of them z, the others s"),
            ge(
                exp(z / length),
                "no surprise s is negative; as e^(−z) goes to zero, z goes to infinity, and so does this",
                by=exp(z / (n + 1)) * (TangentGap.of(exp, 0, others) + others),
            ),
        ),
        below(
            (0 + alpha) / (seen + n * alpha),
            le(
                alpha / seen,
                "an unseen word after a context seen N times: its probability vanishes with α; counting alone gives 0",
                by=n * alpha**2 / (seen * (seen + n * alpha)),
            ),
        ),
        below(
            (seen + n * alpha) / (count[i] + alpha),
            le(
                bound,
                "but for α > 0 every 1/p is bounded, and so is their geometric mean, the perplexity",
                by=(seen + n * alpha) * count[i] / (alpha * (count[i] + alpha)),
            ),
        ),
    )


@claim(
    source="manning1999foundations, §6.1.2, table 6.1",
    code="reference.markov.count",
    given={empty: 1},
    mistakes={
        "every symbol of context adds as many contexts as the first": {"grown": lambda now: now + V},
        "any two contexts can follow each other": {"grown": lambda now: now**2 * V},
        "a row has V free numbers": {"free": V},
    },
)
def state_space_grows_exponentially(grown=lambda now: now * V, free=V - 1):
    """With t symbols of context there are V^t contexts, of which a text of N symbols can show only N/V^t."""
    return (
        induct(
            P,
            t,
            start=empty,
            step=grown(P[t]),
            closed=lambda t: V**t,
            reason="every context of t symbols can be preceded by any of V symbols",
        ),
        equal(
            Sum(Sum(1, (w, 1, free)), (h, 1, V**t)),
            eq(V ** (t + 1) - V**t, "numbers to be learned: V − 1 a context, as a row sums to one"),
        ),
        below(
            (N - repeated) / V**t,
            le(N / V**t, "a context that comes u times again is not a new one", by=repeated / V**t),
        ),
    )
