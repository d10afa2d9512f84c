r"""Momentum, Adam, decay and clipping: recurrences, their closed forms, the bias at the start, and what a step can be.

Article papers/optimizers.md, code reference/optimizers.py, laws verify/optimizers.py.
"""

from sympy import Abs, IndexedBase, Interval, Sum, Symbol, sign, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law
from derivations.forms import below, eq, equal, expect, ge, induct, le

t = Symbol("t", integer=True, nonnegative=True)
i, n, r, s, T = (Symbol(name, integer=True, positive=True) for name in "inrsT")
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


def direction(x, correct=lambda beta: 1 - beta**T, root=sqrt):
    """Adam's direction after T steps from zero moments, on the gradients x(r)."""
    m, v = (average(lambda r, k=k: x(r) ** k, T, b, start=0) / correct(b) for b, k in ((beta1, 1), (beta2, 2)))
    return m / (root(v) + eps)


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
    return tuple(
        expect(
            E(average(lambda r, k=k: g[r] ** k, T, beta) / correct(beta)),
            eq((1 - beta) * moment * Sum(beta ** (T - r), (r, 1, T)) / (1 - beta**T), "linearity; m, v start at zero"),
            eq(moment, "the geometric sum is (1 − β^T)/(1 − β)"),
            laws=(gradients,),
        )
        for beta, k, moment in ((beta1, 1, mean), (beta2, 2, second))
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
    return equal(
        direction(lambda r: step[r], correct, root),
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


theta, V, x, lamda = (Symbol(name, real=True) for name in ("theta", "V", "x", "lamda"))
path = IndexedBase("x", real=True)


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
        equal(coupled, eq(apart, "two steps with velocities: they differ by ημλx, so that no momentum is needed")),
    )


rising, weight, penalty = IndexedBase("g", positive=True), Symbol("x", positive=True), Symbol("lamda", positive=True)


@claim(
    source="loshchilov2019decoupled, §2 Proposition 2",
    code="reference.optimizers.adamw",
    computes="eta = 0.1; "
    "(adam(x + 0 * g[:1], g[:1, None] + lamda * x, lr=eta, eps=0.0)"
    " - adamw(x + 0 * g[:1], g[:1, None], lr=eta, eps=0.0, decay=lamda))[0, 0]",
    given={eps: 0, T: 1},
    domains={beta1: UNIT, beta2: UNIT},
    mistakes={
        "without the root, as in plain descent: then they agree": {"root": lambda square: 1},
        "the decay is not multiplied by the learning rate": {"gap": penalty * weight},
    },
)
def adamw_is_not_adam_with_l2(root=sqrt, gap=eta * penalty * weight):
    """Where g, x, λ > 0 and ε = 0, Adam on g + λx takes the step that it takes on g: only AdamW moves ηλx further."""
    l2 = weight - eta * direction(lambda r: rising[r] + penalty * weight, root=root)
    decoupled = (1 - eta * penalty) * weight - eta * direction(lambda r: rising[r], root=root)
    return equal(l2 - decoupled, eq(gap, "both directions are the sign of a positive number: one"))


size, b2 = Symbol("M", nonnegative=True), Symbol("beta_2", positive=True)
squares = Sum(g[i] ** 2, (i, 1, n))


@claim(
    source="pascanu2013difficulty, §3.2 Algorithm 1",
    code="reference.optimizers.clip_by_global_norm",
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


lags = Sum(beta1 ** (2 * (r - 1)) * b2 ** (1 - r), (r, 1, T))


@claim(
    source="kingma2015adam, §2.1 (whose bounds lack the last factor)",
    code="reference.optimizers.adam_update",
    domains={beta1: UNIT},
    mistakes={
        "the sum of powers of ρ is left out": {"factor": 1},
        "ρ is the square of β₁": {"factor": Sum(beta1 ** (2 * (r - 1)), (r, 1, T))},
        "the corrections are left out": {"corrected": 1},
    },
)
def adam_step_is_bounded(factor=lags, corrected=(1 - b2**T) / (1 - beta1**T) ** 2):
    """No gradients make m̂² exceed v̂ (1 − β₁)²(1 − β₂^T)/((1 − β₂)(1 − β₁^T)²) · (1 + ρ + … + ρ^(T−1)), ρ = β₁²/β₂."""
    m = (1 - beta1) * Sum(beta1 ** (r - 1) * g[r], (r, 1, T)) / (1 - beta1**T)  # g[r] is the gradient r − 1 steps ago
    v = (1 - b2) * Sum(b2 ** (r - 1) * g[r] ** 2, (r, 1, T)) / (1 - b2**T)
    pair = (b2 ** (r - 1) * beta1 ** (s - 1) * g[r] - b2 ** (s - 1) * beta1 ** (r - 1) * g[s]) ** 2
    lagrange = Sum(Sum(pair / (b2 ** (r - 1) * b2 ** (s - 1)), (s, 1, T)), (r, 1, T))
    return below(
        m**2,
        le(
            v * (1 - beta1) ** 2 / (1 - b2) * corrected * factor,
            "Cauchy–Schwarz for the roots of β₂^(r−1) g_r² and of ρ^(r−1), as Lagrange's identity",
            by=(1 - beta1) ** 2 / (1 - beta1**T) ** 2 * lagrange / 2,
        ),
    )
