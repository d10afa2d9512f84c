r"""Momentum and Adam: recurrences, their closed forms, and the bias at the start.

Article papers/optimizers.md, code reference/optimizers.py, laws verify/optimizers.py.
"""

from sympy import Abs, IndexedBase, Interval, Sum, Symbol, sign, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law
from derivations.forms import eq, equal, expect, induct

t = Symbol("t", integer=True, nonnegative=True)
T = Symbol("T", integer=True, positive=True)
r = Symbol("r", integer=True, positive=True)
g, m, v, u = (IndexedBase(name, real=True) for name in "gmvu")
beta, mu = Symbol("beta", real=True), Symbol("mu", real=True)
mean, var, drift, spread = (Symbol(name, real=True) for name in ("mean", "var", "drift", "spread"))
first, eps, eta = Symbol("start", real=True), Symbol("epsilon", real=True), Symbol("eta", real=True)
step = IndexedBase("g", real=True, nonzero=True)
beta1, beta2 = Symbol("beta_1", real=True), Symbol("beta_2", real=True)
UNIT = Interval.open(0, 1)

gradients = Law(g, T, r, mean + drift * r, var + spread * r)
second = var + mean**2


def average(x, t, beta=beta, start=first):
    """The closed form of m ← β m + (1 − β) x after t steps from `start`."""
    return beta**t * start + Sum((1 - beta) * beta ** (t - r) * x(r), (r, 1, t))


@claim(
    source="kingma2015adam, §3 eq. (1)–(4)",
    code="reference.optimizers.adam_update",
    computes="beta = 0.7; drive(adam_init, adam_update, g[:t, None], beta1=beta)[1].m",
    given={first: 0, drift: 0},
    mistakes={
        "the gradient enters with weight one": {"weight": 1},
        "the exponent is one too small": {"bias": 1 - beta ** (T - 1)},
        "the moment is taken for unbiased": {"bias": 1},
        "one minus twice": {"bias": beta**T},
    },
)
def adam_first_moment_bias(weight=1 - beta, bias=1 - beta**T):
    """After T steps from zero Adam's first moment has expectation (1 − β^T) E[g], when E[g] does not change."""
    return (
        induct(
            m,
            t,
            start=first,
            step=beta * m[t] + weight * g[t + 1],
            closed=lambda t: average(lambda r: g[r], t),
            reason="unroll: the gradient of step r has since been multiplied t − r times by β",
        ),
        expect(
            E(average(lambda r: g[r], T)),
            eq((1 - beta) * mean * Sum(beta ** (T - r), (r, 1, T)), "linearity; m starts at zero; E[g] is constant"),
            eq(bias * mean, "geometric sum"),
            laws=(gradients,),
        ),
    )


@claim(
    source="kingma2015adam, §3 eq. (4)",
    code="reference.optimizers.adam_update",
    computes="beta = 0.7; drive(adam_init, adam_update, g[:t, None], beta2=beta)[1].v",
    given={first: 0, drift: 0, spread: 0},
    mistakes={
        "the square of the moment for the moment of the square": {"square": mean**2},
        "the exponent is one too large": {"bias": 1 - beta ** (T + 1)},
        "the moment is taken for unbiased": {"bias": 1},
    },
)
def adam_second_moment_bias(square=second, bias=1 - beta**T):
    """After T steps from zero Adam's second moment has expectation (1 − β^T) E[g²], when E[g²] does not change."""
    return (
        induct(
            v,
            t,
            start=first,
            step=beta * v[t] + (1 - beta) * g[t + 1] ** 2,
            closed=lambda t: average(lambda r: g[r] ** 2, t),
            reason="unroll, as for the first moment",
        ),
        expect(
            E(average(lambda r: g[r] ** 2, T)),
            eq((1 - beta) * second * Sum(beta ** (T - r), (r, 1, T)), "linearity; E[g²] = Var g + (E g)² is constant"),
            eq(bias * square, "geometric sum"),
            laws=(gradients,),
        ),
    )


@claim(
    source="kingma2015adam, Algorithm 1",
    code="reference.optimizers.adam_update",
    given={first: 0, drift: 0, spread: 0},
    domains={beta1: UNIT, beta2: UNIT},
    mistakes={
        "no correction": {"correct": lambda beta: 1},
        "one minus twice": {"correct": lambda beta: beta**T},
        "the step counter starts at zero": {"correct": lambda beta: 1 - beta ** (T - 1)},
        "both corrected by β₁": {"correct": lambda beta: 1 - beta1**T},
    },
)
def adam_bias_correction(correct=lambda beta: 1 - beta**T):
    """Divided by 1 − β^T, both of Adam's moments are unbiased at every step T ≥ 1."""
    return (
        expect(
            E(average(lambda r: g[r], T, beta1) / correct(beta1)),
            eq((1 - beta1) * mean * Sum(beta1 ** (T - r), (r, 1, T)) / (1 - beta1**T), "linearity; m starts at zero"),
            eq(mean, "the geometric sum is (1 − β^T)/(1 − β)"),
            laws=(gradients,),
        ),
        expect(
            E(average(lambda r: g[r] ** 2, T, beta2) / correct(beta2)),
            eq((1 - beta2) * second * Sum(beta2 ** (T - r), (r, 1, T)) / (1 - beta2**T), "linearity; v starts at zero"),
            eq(second, "the geometric sum is (1 − β^T)/(1 − β)"),
            laws=(gradients,),
        ),
    )


@claim(
    source="kingma2015adam, §2.1",
    code="reference.optimizers.adam_update",
    computes="drive(adam_init, adam_update, g[:1, None], beta1=beta_1, beta2=beta_2, eps=0.0)[0]",
    given={eps: 0, T: 1},
    domains={beta1: UNIT, beta2: UNIT},
    mistakes={
        "no bias correction": {"correct": lambda beta: 1},
        "the root is forgotten": {"root": lambda x: x},
        "epsilon inside the root, and not zero": {"root": lambda x: sqrt(x + 1)},
    },
)
def adam_first_step_is_a_sign(correct=lambda beta: 1 - beta**T, root=sqrt):
    """With ε = 0 Adam's first direction is the sign of the gradient, whatever its size and whatever the betas."""
    moment = average(lambda r: step[r], T, beta1, start=0) / correct(beta1)
    square = average(lambda r: step[r] ** 2, T, beta2, start=0) / correct(beta2)
    return equal(
        moment / (root(square) + eps),
        eq(step[1] / (Abs(step[1]) + eps), "at T = 1 both corrections undo both weights; √(g²) = |g|"),
        eq(sign(step[1]), "ε = 0"),
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
