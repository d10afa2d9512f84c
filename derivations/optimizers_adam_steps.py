r"""Adam's steps: their unit, their sign, the longest of them, what decay adds, and where they lead the wrong way.

Article papers/optimizers.md, code reference/optimizers.py, laws verify/optimizers.py.
"""

from sympy import Abs, IndexedBase, Rational, Sum, Symbol, sign, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, le
from derivations.gaussian import ONE_BALL
from derivations.optimizers import UNIT, average

t = Symbol("t", integer=True, nonnegative=True)
r, s, T = (Symbol(name, integer=True, positive=True) for name in "rsT")
g, step = IndexedBase("g", real=True), IndexedBase("g", real=True, nonzero=True)
beta1, beta2, eps, eta = (Symbol(name, real=True) for name in ("beta_1", "beta_2", "epsilon", "eta"))
unit = Symbol("c", positive=True)


def direction(x, correct=lambda beta: 1 - beta**T, root=sqrt):
    """Adam's direction after T steps from zero moments, on the gradients x(r)."""
    m, v = (average(lambda r, k=k: x(r) ** k, T, b, start=0) / correct(b) for b, k in ((beta1, 1), (beta2, 2)))
    return m / (root(v) + eps)


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
    source="kingma2015adam, §2.1",
    code="reference.optimizers.adam_update",
    computes="drive(adam_init, adam_update, c * g[:T, None], beta1=beta_1, beta2=beta_2, eps=0.0)[0]",
    given={eps: 0},
    domains={beta1: UNIT, beta2: UNIT},
    mistakes={
        "the root is forgotten": {"root": lambda x: x},
        "no average in the denominator": {"root": lambda x: 1},
        "the direction has the gradients' unit": {"scale": unit},
    },
)
def adam_is_scale_invariant(scale=1, root=sqrt):
    """With ε = 0 gradients in another unit, all multiplied by one c > 0, give the same directions at every step."""

    def averages(x):
        return ((1 - b) / (1 - b**T) * Sum(b ** (T - r) * x(r) ** k, (r, 1, T)) for b, k in ((beta1, 1), (beta2, 2)))

    (m, v), (new_m, new_v) = averages(lambda r: step[r]), averages(lambda r: unit * step[r])
    return equal(
        new_m / (root(new_v) + eps),
        eq(unit * m / (unit * sqrt(v) + eps), "m is multiplied by c, v by c², and its root by c"),
        eq(scale * m / sqrt(v), "ε = 0, and c cancels: the direction of the old gradients"),
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


b2, ratio = Symbol("beta_2", positive=True), Symbol("rho", real=True)
lags = Sum(beta1 ** (2 * (r - 1)) * b2 ** (1 - r), (r, 1, T))


def moments(back):
    """m̂ and v̂ after T steps, when the gradient of r − 1 steps ago is back(r)."""
    m = (1 - beta1) * Sum(beta1 ** (r - 1) * back(r), (r, 1, T)) / (1 - beta1**T)
    return m, (1 - b2) * Sum(b2 ** (r - 1) * back(r) ** 2, (r, 1, T)) / (1 - b2**T)


def squared_step(T, back):
    """m̂²/v̂ after T steps, the sums written out."""
    m = (1 - beta1) * sum(beta1**r * back(r + 1) for r in range(T)) / (1 - beta1**T)
    return m**2 * (1 - b2**T) / ((1 - b2) * sum(b2**r * back(r + 1) ** 2 for r in range(T)))


@claim(
    source="kingma2015adam, §2.1 (whose bounds lack the last factor)",
    code="reference.optimizers.adam_update",
    domains={beta1: UNIT, ratio: UNIT},
    mistakes={
        "the sum of powers of ρ is left out": {"factor": 1},
        "ρ is the square of β₁": {"factor": Sum(beta1 ** (2 * (r - 1)), (r, 1, T))},
        "the corrections are left out": {"corrected": 1},
        "gradients that stay the same are the worst": {"worst": lambda r: 1},
    },
)
def adam_step_is_bounded(
    factor=lags, corrected=(1 - b2**T) / (1 - beta1**T) ** 2, worst=lambda r: beta1 ** (r - 1) * b2 ** (1 - r)
):
    """|m̂|/√v̂ is at most (1 − β₁)/√(1 − β₂) · √(1 − β₂^T)/(1 − β₁^T) · √(1 + ρ + … + ρ^(T−1)), ρ = β₁²/β₂."""
    m, v = moments(lambda r: g[r])
    worst_m, worst_v = moments(worst)
    factors = (1 - beta1) ** 2 / (1 - b2) * corrected
    pair = (b2 ** (r - 1) * beta1 ** (s - 1) * g[r] - b2 ** (s - 1) * beta1 ** (r - 1) * g[s]) ** 2
    lagrange = Sum(Sum(pair / (b2 ** (r - 1) * b2 ** (s - 1)), (s, 1, T)), (r, 1, T))
    return (
        below(
            m**2,
            le(
                v * factors * factor,
                "squared; Cauchy–Schwarz for the roots of β₂^(r−1) g_r² and of ρ^(r−1), as Lagrange's identity",
                by=(1 - beta1) ** 2 / (1 - beta1**T) ** 2 * lagrange / 2,
            ),
        ),
        equal(worst_m**2, eq(worst_v * factors * factor, "gradients that grow by β₂/β₁ a step get there")),
        equal(Sum(ratio ** (r - 1), (r, 1, T)), eq((1 - ratio**T) / (1 - ratio), "the last factor, for ρ < 1")),
        finite(
            squared_step(2, worst),
            eq(Rational(51, 50), "at T = 2, β₁ = 2/3, β₂ = 8/9, where both bounds of the paper are 1"),
            cases=[{beta1: Rational(2, 3), b2: Rational(8, 9)}],
        ),
    )


p, start, climb = Symbol("beta", positive=True), Symbol("start", real=True), Symbol("eta", nonnegative=True)
past, spare, k = (Symbol(name, nonnegative=True) for name in ("h", "s", "k"))
more = IndexedBase("w", nonnegative=True)


@claim(
    source="reddi2018convergence, Theorem 1",
    code="reference.optimizers.adam_update",
    domains={p: UNIT},
    mistakes={
        "β₂ near one: v̂ hardly changes, and the mean gradient wins": {"beta2": Rational(99, 100)},
        "v̂ never falls, as in AMSGrad": {"mix": lambda weight, square, past: square if square == 9 else past},
        "without correction": {"weight": p},
    },
)
def adam_need_not_converge(
    beta2=Rational(1, 10),
    mix=lambda weight, square, past: (1 - weight) * square + weight * past,
    weight=p * (1 - p**t) / (1 - p ** (t + 1)),
):
    """On gradients 3, −1, −1, 3, … whose mean is 1/3, Adam with β₁ = 0, β₂ = 1/10 climbs by 0.65η and more a cycle."""
    q, rest = beta2 / (1 + k), beta2 * k / (1 + k)  # what the past weighs, and what it lacks to β₂
    down, first, second = 1 / (1 - beta2), 1 / (1 + 8 * beta2), 1 / (1 + 8 * beta2**2)
    after = {1: mix(q, 9, past), 2: mix(q, 1, 9 - spare), 3: mix(q, 1, 1 / first - spare)}
    return (
        equal(
            (p * (1 - p**t) * past + (1 - p) * g[t + 1] ** 2) / (1 - p ** (t + 1)),
            eq((1 - weight) * g[t + 1] ** 2 + weight * past, "v̂ is a mean of the new square and of the v̂ before, h"),
        ),
        below(
            p * (1 - p**t) / (1 - p ** (t + 1)),
            le(p, "h weighs at most β: q = β₂/(1 + k)", by=p ** (t + 1) / Sum(p ** (r - 1), (r, 1, t + 1))),
        ),
        below(after[1], ge(9 / down, "after a 3, whatever h ≥ 0 was before", by=9 * rest + q * past)),
        below(after[2], le(1 / first, "after the first −1, as no v̂ exceeds 9", by=8 * rest + q * spare)),
        below(after[3], le(1 / second, "after the second", by=8 * beta2 * rest + q * spare)),
        finite(
            sqrt(first) + sqrt(second) - sqrt(down),
            ge(Rational(13, 20), "in units of η: up by 1/√v̂ twice, down by 3/√v̂", by=ONE_BALL),
        ),
        below(
            start + Sum(climb * (Rational(13, 20) + more[r]), (r, 1, T)),
            ge(start + Rational(13, 20) * climb * T, "after T cycles", by=climb * Sum(more[r], (r, 1, T))),
        ),
    )
