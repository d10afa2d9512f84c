r"""From a gradient to a step: averaging over examples and microbatches, momentum, decay and clipping.

How fast this is derives derivations/optimizers_rates.py, Adam optimizers_adam.py and optimizers_adam_steps.py.
Article papers/optimizers.md, code reference/optimizers.py, laws verify/optimizers.py.
"""

from sympy import Abs, IndexedBase, Interval, Sum, Symbol, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law, Var
from derivations.forms import below, eq, equal, expect, ge, induct

t = Symbol("t", integer=True, nonnegative=True)
i, j, k, n, r, B, K, N = (Symbol(name, integer=True, positive=True) for name in "ijknrBKN")
g, u, path, picked = (IndexedBase(name, real=True) for name in ("g", "u", "x", "X"))
counts = IndexedBase("w", positive=True)
mu, first, eta, corr, common = (Symbol(name, real=True) for name in ("mu", "start", "eta", "c", "C"))
theta, V, x, lamda = (Symbol(name, real=True) for name in ("theta", "V", "x", "lamda"))
UNIT = Interval.open(0, 1)


def average(x, t, beta, start):
    """The closed form of m ← β m + (1 − β) x after t steps from `start`."""
    return beta**t * start + Sum((1 - beta) * beta ** (t - r) * x(r), (r, 1, t))


MEAN = Sum(g[i], (i, 1, N)) / N
VARIANCE = Sum((g[k] - MEAN) ** 2, (k, 1, N)) / N


@claim(
    source="goodfellow2016deep, §8.1.3",
    code="reference.optimizers.sgd",
    given={corr: 0},
    mistakes={
        "the deviation falls like 1/B": {"rate": B**2},
        "the same examples for all: averaging does not help": {"rate": 1},
        "the gradient is summed, not averaged": {"divisor": 1},
        "the examples' mean square for their variance": {"spread": Sum(g[k] ** 2, (k, 1, N)) / N},
    },
)
def minibatch_variance_is_one_over_batch(rate=B, divisor=B, spread=VARIANCE):
    """The mean over B of N examples, drawn with replacement, has the mean of all and 1/B of the variance of one."""
    batch = Sum(picked[r], (r, 1, B)) / divisor
    law = Law(picked, B, r, MEAN, VARIANCE, common)
    return (
        equal(
            Sum((theta + g[k] - MEAN) ** 2, (k, 1, N)) / N,
            eq(theta**2 + spread, "whatever the deviation so far, a uniform draw adds the variance of one"),
        ),
        expect(E(batch), eq(MEAN, "linearity: every draw has the mean of all"), laws=(law,)),
        expect(
            Var(batch),
            eq(VARIANCE / B + common * (1 - 1 / B), "B variances, and B(B − 1) covariances C, over B²"),
            laws=(law,),
        ),
        equal(
            VARIANCE / B + corr * (1 - 1 / B),
            eq(VARIANCE / rate, "with replacement the covariance is c = 0: four times the batch halve the deviation"),
        ),
    )


def tokens(k, i=j):
    """How much the tokens of microbatch k count together: each by w, one if it is a target."""
    return Sum(counts[k, i], (i, 1, n))


def mean_of(k):
    """The mean gradient of microbatch k."""
    return Sum(counts[k, i] * g[k, i], (i, 1, n)) / tokens(k, i)


@claim(
    source="goodfellow2016deep, §8.1.3",
    code="reference.optimizers_gradients.accumulate",
    mistakes={
        "the mean of the means": {"weight": lambda k: 1, "divisor": K},
        "the sum of the means": {"weight": lambda k: 1, "divisor": 1},
        "weighted, but over the number of microbatches": {"divisor": K},
        "padding counts": {"weight": lambda k: n, "divisor": K * n},
    },
)
def accumulation_weighted_by_tokens_is_exact(weight=tokens, divisor=Sum(tokens(k), (k, 1, K))):
    """The means of K microbatches, weighted by their numbers of tokens, have the mean over all tokens as their mean."""
    return equal(
        Sum(weight(k) * mean_of(k), (k, 1, K)) / divisor,
        eq(
            Sum(Sum(counts[k, i] * g[k, i], (i, 1, n)), (k, 1, K)) / Sum(tokens(k), (k, 1, K)),
            "a mean times its number is the sum",
        ),
    )


@claim(
    source="polyak1964heavyball, eq. (9); sutskever2013momentum, §2",
    code="reference.optimizers.momentum_update",
    computes="drive(momentum_init, momentum_update, g[:t, None], mu=mu)[0]",
    given={first: 0},
    domains={mu: UNIT},
    mistakes={
        "taken for the moving average itself": {"factor": 1},
        "the gradient enters with weight 1 − μ": {"weight": 1 - mu},
        "the factor is μ": {"factor": 1 / mu},
    },
)
def momentum_is_a_scaled_moving_average(factor=1 / (1 - mu), weight=1):
    """Started at zero, the velocity v ← μv + g is 1/(1 − μ) times the exponential moving average of the gradients."""
    return induct(
        u,
        t,
        start=first,
        step=mu * u[t] + weight * g[t + 1],
        closed=lambda t: factor * average(lambda r: g[r], t, mu, start=0),
        reason="both obey one recurrence up to the factor 1 − μ on the gradient, and both start at zero",
    )


@claim(
    source="sutskever2013momentum, §2 eq. (3) and (4)",
    code="reference.optimizers.momentum_update",
    computes="mu = 0.9; theta - mu * eta * u[0] - eta * momentum_update(g, u, mu=mu, nesterov=True)[0][0]",
    given={V: -eta * u[1], x: theta - mu * eta * u[1]},
    mistakes={
        "the velocity climbs": {"ahead": -mu},
        "heavy-ball momentum: the velocity alone": {"plain": 0, "ahead": 1},
        "looks ahead along the old velocity": {"velocity": u[1]},
    },
)
def nesterov_is_a_lookahead(plain=1, ahead=mu, velocity=mu * u[1] + g[1]):
    """With V = −ηu, x ← x − η(g + μu) walks along the points θ + μV that Nesterov's θ ← θ + V looks ahead to."""
    after = mu * V - eta * g[1]  # the gradient is taken at x, where θ + μV looks
    return (
        equal(
            theta + after + mu * after,
            eq(x - eta * (plain * g[1] + ahead * velocity), "V ← μV − ηg and θ ← θ + V; put in x = θ + μV and V = −ηu"),
        ),
        equal(after, eq(-eta * (mu * u[1] + g[1]), "V = −ηu holds after the step too; at the start both are zero")),
    )


@claim(
    source="loshchilov2019decoupled, §2 Proposition 1",
    code="reference.optimizers.sgd",
    computes="eta = 0.1; lamda = 0.5; sgd(start + 0 * g[:1], g[:t, None], lr=eta, decay=lamda)[-1, 0]",
    given={mu: 0},
    mistakes={
        "the decay is not multiplied by the learning rate": {"kept": 1 - lamda},
        "the penalty λx² for λx²/2": {"pull": 2 * lamda},
    },
)
def l2_and_decay_agree_for_sgd(pull=lamda, kept=1 - eta * lamda):
    """Without momentum a penalty λx²/2 in the loss and a decay of the weights by 1 − ηλ a step give one path."""

    def closed(t):
        return (1 - eta * lamda) ** t * first - eta * Sum((1 - eta * lamda) ** (t - r) * g[r], (r, 1, t))

    forms = {
        path[t] - eta * (g[t + 1] + pull * path[t]): "the slope of the penalty is λx; unroll",
        kept * path[t] - eta * g[t + 1]: "the same recurrence, so the same path",
    }
    one, two = g[1] + lamda * x, g[2] + lamda * (x - eta * (g[1] + lamda * x))
    coupled = x - eta * one - eta * (mu * one + two)
    apart = (1 - eta * lamda) * ((1 - eta * lamda) * x - eta * g[1]) - eta * (mu * g[1] + g[2])
    return (
        *(induct(path, t, start=first, step=step, closed=closed, reason=why) for step, why in forms.items()),
        equal(
            coupled - apart,
            eq(-eta * mu * lamda * x, "two steps with velocities: the first pull of the penalty is felt again"),
            eq(0, "μ = 0"),
        ),
    )


size = Symbol("M", nonnegative=True)
squares = Sum(g[i] ** 2, (i, 1, n))


@claim(
    source="pascanu2013difficulty, §3.2 Algorithm 1",
    code="reference.optimizers_gradients.clip_by_global_norm",
    computes="M = 0.01; sum((c**2).sum() for c in clip_by_global_norm([g], M))",
    mistakes={
        "every entry clamped to ±M": {"clipped": lambda i: size * g[i] / Abs(g[i])},
        "the squared norm": {"clipped": lambda i: size * g[i] / squares},
        "the root mean square": {"clipped": lambda i: size * g[i] / sqrt(squares / n)},
    },
)
def clipping_keeps_direction(clipped=lambda i: size * g[i] / sqrt(squares)):
    """Gradients longer than M, scaled by M over their norm, have norm M and the direction that they had."""
    inner = Sum(clipped(i) * g[i], (i, 1, n))
    return (
        equal(Sum(clipped(i) ** 2, (i, 1, n)), eq(size**2, "the norm cancels")),
        equal(inner**2, eq(size**2 * squares, "Cauchy–Schwarz with equality: only parallel vectors have it")),
        below(inner, ge(0, "and it is not reversed", by=size * sqrt(squares))),
    )
