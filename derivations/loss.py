r"""Cross-entropy after softmax: what it measures, its gradient, and what a mean over counted rows is.

A row has n logits z_j. Article papers/loss.md, code reference/loss.py, laws verify/loss.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Rational, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct

n, N = (Symbol(name, integer=True, positive=True) for name in "nN")
c, i, j, k, r, u = (Symbol(name, integer=True, positive=True) for name in "cijkru")
a, b = (Symbol(name, integer=True, positive=True) for name in "ab")
t = Symbol("t", integer=True, nonnegative=True)
z, y, x, d, p, losses, others = (IndexedBase(name, real=True) for name in ("z", "y", "x", "d", "P", "ell", "m"))
s, way, weight, eps, empty = (Symbol(name, real=True) for name in ("s", "tau", "w", "epsilon", "start"))
kept = Symbol("kept", nonnegative=True)
A, B = Symbol("A", real=True), Symbol("B", real=True)

total = Sum(exp(z[j]), (j, 1, n))


def normalizer(r):
    """Σ exp z over the symbols of row r."""
    return Sum(exp(z[r, j]), (j, 1, n))


def wanted(r):
    """The logit of row r's target, y its one-hot code."""
    return Sum(y[r, j] * z[r, j], (j, 1, n))


def cost(r):
    """The cross-entropy of row r."""
    return log(normalizer(r)) - wanted(r)


@claim(
    source="bishop2006pattern, §4.3.4 eq. (4.107) and (4.108)",
    code="reference.loss.cross_entropy",
    given={empty: 1},
    mistakes={
        "the first row is left out": {"first": 2},
        "every row scored against its predecessor's target": {
            "chosen": lambda r: Sum(y[r - 1, j] * z[r, j], (j, 1, n))
        },
        "probabilities added, not multiplied": {"join": lambda before, new: before + new},
        "bits taken for nats": {"base": 2},
    },
)
def cross_entropy_is_negative_log_likelihood(first=1, chosen=wanted, join=lambda before, new: before * new, base=1):
    """A text's probability under softmax is e to minus its summed cross-entropies: least loss, likeliest text."""
    return induct(
        p,
        t,
        start=empty,
        step=join(p[t], exp(chosen(t + 1)) / normalizer(t + 1)),
        closed=lambda t: exp(-Sum(base * cost(r), (r, first, t))),
        reason="the next symbol's probability e^(z_target)/Σ e^z is e^(−cost); the empty text has probability one",
    )


@claim(
    source="bishop2006pattern, §4.3.4 eq. (4.109)",
    code="reference.loss.cross_entropy_gradient",
    computes="sum(y[i] * cross_entropy_gradient(z[None], torch.tensor([i]))[0, k] for i in range(len(y)))",
    given={s: 1},
    sums={Sum(y[i], (i, 1, n)): s},
    for_all={k: n},
    mistakes={
        "the sign": {"slope": y[k] - exp(z[k]) / total},
        "softmax applied twice": {"p": lambda i: exp(exp(z[i]) / total) / Sum(exp(exp(z[j]) / total), (j, 1, n))},
        "the normalizer is taken for a constant": {"slope": -y[k]},
        "base-two logarithm": {"unit": log(2)},
    },
)
def cross_entropy_gradient_is_p_minus_y(p=lambda i: exp(z[i]) / total, slope=exp(z[k]) / total - y[k], unit=1):
    """The gradient of −Σ yᵢ log softmax(z)ᵢ by the logits is p − y, for every target y that sums to one."""
    return equal(
        Derivative(-Sum(y[i] * log(p(i)) / unit, (i, 1, n)), z[k]),
        eq(
            Derivative(-Sum(y[i] * z[i], (i, 1, n)) + Sum(y[i], (i, 1, n)) * log(total), z[k]),
            "log p_i = z_i − log Σ exp z",
        ),
        eq(-y[k] + Sum(y[i], (i, 1, n)) * exp(z[k]) / total, "the derivative of log Σ exp is softmax"),
        eq(slope, "the targets sum to one"),
    )


def smoothed(i):
    """The smoothed target: ε of the weight of symbol c goes to all n symbols alike."""
    return (1 - eps) * KroneckerDelta(i, c) + eps / n


@claim(
    source="szegedy2016rethinking, §7",
    code="reference.loss.cross_entropy_gradient",
    computes="part = 1; epsilon = 0.25; "
    "cross_entropy_gradient(z[None], torch.tensor([c]), label_smoothing=epsilon)[0, k]",
    for_all={c: n, k: n},
    mistakes={
        "the target keeps its whole weight": {"q": lambda i: KroneckerDelta(i, c) + eps / n},
        "the target does not get its share of ε": {
            "q": lambda i: (1 - eps) * KroneckerDelta(i, c) + eps * (1 - KroneckerDelta(i, c)) / n
        },
        "the loss is smoothed, its gradient is not": {"slope": exp(z[k]) / total - KroneckerDelta(k, c)},
        "smoothed towards one, not towards 1/n": {"slope": exp(z[k]) / total - (1 - eps) * KroneckerDelta(k, c) - eps},
    },
)
def label_smoothing_gradient(q=smoothed, slope=exp(z[k]) / total - smoothed(k)):
    """With label smoothing the gradient is p − q, where q moves ε of the target's weight to all n symbols alike."""
    return (
        equal(Sum(q(i), (i, 1, n)), eq(1, "the target gives up ε, and n symbols get ε/n each")),
        equal(
            Derivative(-Sum(q(i) * log(exp(z[i]) / total), (i, 1, n)), z[k]),
            eq(Sum(q(i), (i, 1, n)) * exp(z[k]) / total - q(k), "as for any target; log p_i = z_i − log Σ exp z"),
            eq(slope, "q sums to one"),
        ),
    )


@claim(
    source="chowdhery2022palm, §5 (auxiliary loss)",
    code="reference.loss.z_loss",
    computes="w = 0.5; torch.func.grad(z_loss)(z[None], w)[0, k]",
    for_all={k: n},
    mistakes={
        "the factor 2 of the square is lost": {"two": 1},
        "the normalizer is taken for a constant": {"share": 1},
        "the loss without its square": {"inner": 1},
        "the sum over rows for their mean": {"rows": 1},
    },
)
def z_loss_gradient(two=2, share=exp(z[k]) / total, inner=log(total), rows=N + 1):
    """The slope of the z-loss w log² Σe^z by a logit is 2w log Σe^z times its probability, over the number of rows."""
    others = Sum(log(Sum(exp(x[r, j]), (j, 1, n))) ** 2, (r, 1, N))
    return (
        equal(
            Derivative(weight * log(total) ** 2, z[k]),
            eq(two * weight * inner * share, "the slope of log Σ exp is softmax"),
        ),
        equal(
            Derivative(weight * (log(total) ** 2 + others) / (N + 1), z[k]),
            eq(2 * weight * log(total) * exp(z[k]) / (total * rows), "the N other rows do not depend on z"),
        ),
    )


@claim(
    source="pytorch2026documentation, torch.nn.CrossEntropyLoss",
    code="reference.loss.cross_entropy_gradient",
    given={kept: 0},
    for_all={c: n, k: n, u: N},
    mistakes={
        "the ignored row still counts in the mean": {"counted": N + 1},
        "its target is clamped to some symbol, and it counts": {"share": 1},
        "the gradient of the sum, not of the mean": {"divisor": 1},
    },
)
def ignored_targets_have_no_gradient(counted=N + kept, share=kept, divisor=N):
    """A row that is ignored beside N others has no gradient, and theirs is (p − y)/N, as if it were not there."""
    x_total = Sum(exp(x[j]), (j, 1, n))
    mean = (Sum(cost(r), (r, 1, N)) + share * (log(x_total) - x[c])) / counted
    return (
        equal(
            Derivative(mean, x[k]),
            eq(share * (exp(x[k]) / x_total - KroneckerDelta(k, c)) / counted, "only the ignored row depends on x"),
            eq(0, "it is weighted by zero"),
        ),
        equal(
            Derivative(mean, z[u, k]),
            eq((exp(z[u, k]) / normalizer(u) - y[u, k]) / counted, "only row u depends on z_uk"),
            eq((exp(z[u, k]) / normalizer(u) - y[u, k]) / divisor, "N rows count"),
        ),
    )


@claim(
    source="goodfellow2016deep, §8.1.3",
    code="reference.loss.cross_entropy",
    mistakes={
        "equally long microbatches: then the two agree": {"second": a},
        "the longer one is taken to weigh too much": {"longer": a - b},
        "half of the difference is forgotten": {"half": 1},
    },
)
def mean_of_means_is_not_the_mean(second=b, longer=b - a, half=2):
    """The mean of two microbatches' means is not the mean: it is off by (b − a)(mean₁ − mean₂)/2(a + b)."""
    one, two, tokens = Sum(losses[r], (r, 1, a)), Sum(others[r], (r, 1, b)), [{A: 1, B: 0, a: 1, b: 3}]
    return (
        equal(
            (one / a + two / b) / 2 - (one + two) / (a + b),
            eq(longer * (one / a - two / b) / (half * (a + b)), "a common denominator; the sums of a and b losses"),
        ),
        finite((A / a + B / second) / 2, eq(Rational(1, 2), "one token of loss 1, and three of loss 0"), cases=tokens),
        finite((A + B) / (a + second), eq(Rational(1, 4), "but the mean is a quarter"), cases=tokens),
    )


@claim(
    source="boyd2004convex, §3.1.5 (log-sum-exp)",
    code="reference.loss.cross_entropy",
    computes="torch.autograd.functional.hvp(lambda x: cross_entropy(x, torch.tensor([c])), "
    "(z + tau * d)[None], d[None])[1][0] @ d",
    for_all={c: n},
    mistakes={
        "the mean of the squares alone": {"square": 0},
        "the sign of the cross term": {"square": -1},
        "the curvature of the probability, not of its logarithm": {"loss": lambda log_p: -exp(log_p)},
    },
)
def cross_entropy_is_convex_in_logits(square=1, loss=lambda log_p: -log_p):
    """Along every direction d the cross-entropy curves by the variance of d under softmax, which is never negative."""
    moved = [z[j] + way * d[j], z[i] + way * d[i]]
    mass = Sum(exp(moved[0]), (j, 1, n))
    mean, mean_square = (Sum(d[j] ** power * exp(moved[0]), (j, 1, n)) / mass for power in (1, 2))
    spread = Sum(Sum(exp(moved[0]) * exp(moved[1]) * (d[i] - d[j]) ** 2, (j, 1, n)), (i, 1, n))
    return (
        equal(
            Derivative(loss(z[c] + way * d[c] - log(mass)), (way, 2)),
            eq(mean_square - square * mean**2, "the slope is the mean of d under softmax; differentiate once more"),
        ),
        below(
            mean_square - mean**2,
            ge(0, "a variance is half the mean of (dᵢ − dⱼ)² over pairs", by=spread / (2 * mass**2)),
        ),
    )
