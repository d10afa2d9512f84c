r"""Normalization of a row: what it makes of mean and variance, what it cannot see, and its gradient.

A row x has n entries, mean μ, variance v (divisor n) and mean square q; w is the weight, b the bias, g the gradient of
the loss by the output. Without ε some rows are 0/0, so they are left out, and nothing else: a row that is not constant
has an entry that differs, by h, from the first, and we number it last; one that is not zero has an entry h, and the
others are hz.
Article papers/normalization.md, code reference/normalization.py, laws verify/normalization.py.
"""

from sympy import Derivative, IndexedBase, Sum, Symbol, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, le

n, N = (Symbol(name, integer=True, positive=True) for name in "nN")
i, j, k, l, r = (Symbol(name, integer=True, positive=True) for name in "ijklr")
x, w, b, g, z = (IndexedBase(name, real=True) for name in "xwbgz")
mu, v, mu_a, v_a, q, s = (Symbol(name, real=True) for name in ("mu", "v", "mu_a", "v_a", "q", "s"))
eps, none = Symbol("epsilon", positive=True), Symbol("epsilon", real=True)
a, c, h = Symbol("a", positive=True), Symbol("c", real=True), Symbol("h", real=True, nonzero=True)

MEAN = Sum(x[l], (l, 1, n)) / n
VARIANCE = Sum((x[j] - MEAN) ** 2, (j, 1, n)) / n
SQUARE = Sum(x[j] ** 2, (j, 1, n)) / n
ROW = {mu: MEAN, v: VARIANCE}


def total(f):
    """The sum of f over the row."""
    return Sum(f(i), (i, 1, n))


@claim(
    source="ba2016layernorm, §3 eq. (3)",
    code="reference.normalization.layer_norm",
    computes="part = 1; layer_norm(x, eps=epsilon).square().mean()",
    given=ROW,
    mistakes={
        "the mean is not subtracted": {"centre": 0},
        "divided by n − 1": {"size": sqrt(n * v / (n - 1) + eps)},
        "ε outside the root": {"size": sqrt(v) + eps},
        "the root is forgotten": {"size": v + eps},
        "the variance is taken for one exactly": {"lacking": 0},
    },
)
def layer_norm_output_has_zero_mean_unit_variance(centre=mu, size=sqrt(v + eps), lacking=eps / (v + eps)):
    """A normalized row has mean zero, and variance v/(v + ε): one, but for the share of ε."""

    def y(i):
        return (x[i] - centre) / size

    return (
        equal(
            total(y) / n,
            eq((total(lambda i: x[i]) - n * mu) / (n * sqrt(v + eps)), "one divisor for the whole row"),
            eq(0, "the sum is n times the mean"),
        ),
        equal(
            total(lambda i: y(i) ** 2) / n,
            eq(v / (v + eps), "the squared deviations sum to nv"),
            eq(1 - lacking, "v = (v + ε) − ε"),
        ),
    )


LAST = x[1] + h
LONGER_MEAN = (Sum(x[l], (l, 1, n)) + LAST) / (n + 1)
LONGER_VARIANCE = (Sum((x[j] - LONGER_MEAN) ** 2, (j, 1, n)) + (LAST - LONGER_MEAN) ** 2) / (n + 1)


@claim(
    source="ba2016layernorm, §5.1",
    code="reference.normalization.layer_norm",
    computes="part = 3; a, c = 3.0, -2.0; layer_norm(a * torch.cat([x, x[:1] + h]) + c, eps=0.0)[i]",
    given={
        mu: LONGER_MEAN,
        v: LONGER_VARIANCE,
        mu_a: a * LONGER_MEAN + c,
        v_a: a**2 * LONGER_VARIANCE,
        none: 0,
    },
    for_all={i: n},
    mistakes={
        "the mean does not move along": {"mean": mu},
        "the variance scales like the row": {"variance": a * v},
        "the scale survives": {"left": a},
        "the shift survives": {"shift": c},
    },
)
def layer_norm_ignores_shift_and_scale(mean=mu_a, variance=v_a, left=1, shift=0):
    """Without ε, ax + c is normalized to the same as x, whatever the shift c and the scale a > 0."""

    def scaled(e):
        return a * e + c

    return (
        equal(
            (total(lambda i: scaled(x[i])) + scaled(LAST)) / (n + 1),
            eq(mean, "the mean of the new row is aμ + c"),
        ),
        equal(
            (total(lambda i: (scaled(x[i]) - mu_a) ** 2) + (scaled(LAST) - mu_a) ** 2) / (n + 1),
            eq(variance, "the shift cancels in every deviation, the scale is squared: its variance is a²v"),
        ),
        below(
            (scaled(x[i]) - mu_a) * (x[i] - mu),
            eq(a * (x[i] - mu) ** 2, "a deviation is multiplied by a"),
            ge(0, "and keeps its sign, as a > 0", by=a * (x[i] - mu) ** 2),
        ),
        equal(
            (scaled(x[i]) - mu_a) / sqrt(v_a + none),
            eq(left * (x[i] - mu) / sqrt(v) + shift, "ε = 0, and √a² = a"),
        ),
        equal((scaled(LAST) - mu_a) / sqrt(v_a + none), eq((LAST - mu) / sqrt(v), "the last entry as well")),
    )


def loss(centre=mu, size=sqrt(v + eps)):
    """A function of the output with the gradient g: to first order every loss is one."""
    return total(lambda i: g[i] * (w[i] * (x[i] - centre) / size + b[i]))


def mean_of(f):
    return total(f) / n


@claim(
    source="ba2016layernorm, §3.1 eq. (4); ioffe2015batchnorm, §3",
    code="reference.normalization.layer_norm",
    computes="part = 3; torch.func.grad(lambda x: (g * layer_norm(x, w, b, epsilon)).sum())(x)[k]",
    given=ROW,
    for_all={k: n},
    mistakes={
        "mean and variance are taken for constants": {"by_mean": 0, "by_size": 0},
        "the variance is taken for a constant": {"by_size": 0},
        "the mean of the gradient is subtracted twice": {"by_mean": 2 * mean_of(lambda i: g[i] * w[i])},
        "the weight is forgotten": {"upstream": g[k]},
        "the weight's gradient lacks all rows but the last": {"rows": lambda f: f(N)},
    },
)
def layer_norm_gradient(
    upstream=g[k] * w[k],
    by_mean=mean_of(lambda i: g[i] * w[i]),
    by_size=mean_of(lambda i: g[i] * w[i] * (x[i] - mu) / sqrt(v + eps)),
    rows=lambda f: Sum(f(r), (r, 1, N)),
):
    """By x the gradient is (u − mean u − x̂ mean(u x̂))/√(v + ε) with u = gw; by w it is Σ g x̂, by b Σ g over rows."""
    size = sqrt(v + eps)
    batch = Sum(g[r, i] * (w[i] * z[r, i] + b[i]), (i, 1, n), (r, 1, N))
    return (
        equal(Derivative(loss(), w[k]), eq(g[k] * (x[k] - mu) / size, "of one row; x̂ = (x − μ)/√(v + ε)")),
        equal(Derivative(batch, w[k]), eq(rows(lambda r: g[r, k] * z[r, k]), "one weight for N rows x̂ = z: they add")),
        equal(Derivative(batch, b[k]), eq(rows(lambda r: g[r, k]), "and one bias")),
        equal(
            Derivative(loss(), x[k]),
            eq(
                g[k] * w[k] / size
                - mean_of(lambda i: g[i] * w[i]) / size
                - (x[k] - mu) / (v + eps) ** 2 * mean_of(lambda i: g[i] * w[i] * (x[i] - mu)) * size,
                "∂μ/∂x_k = 1/n and ∂v/∂x_k = 2(x_k − μ)/n",
            ),
            eq((upstream - by_mean - (x[k] - mu) / size * by_size) / size, "factor out what all entries share"),
        ),
    )


@claim(
    source="xu2019layernorm, Theorem 1",
    code="reference.normalization.layer_norm",
    computes="part = 2; (layer_norm(x, eps=epsilon) * "
    "torch.func.grad(lambda x: (g * layer_norm(x, w, b, epsilon)).sum())(x)).sum()",
    given=ROW,
    mistakes={
        "the mean is not subtracted": {"centre": 0},
        "the variance is taken for a constant": {"size": 1},
        "orthogonal to x̂ whatever ε": {"rest": 0},
    },
)
def layer_norm_gradient_is_orthogonal(centre=mu, size=sqrt(v + eps), rest=eps):
    """The gradient by x has no component along 1, and along x̂ only what ε leaves: none when ε = 0."""
    step, y = Derivative(loss(centre, size), x[k]), (x[k] - mu) / sqrt(v + eps)
    return (
        equal(Sum(y, (k, 1, n)), eq(0, "x̂ = (x − μ)/√(v + ε) is orthogonal to 1 itself")),
        equal(Sum(step, (k, 1, n)), eq(0, "a shift of the row changes nothing, so the slope along it is zero")),
        equal(
            Sum(y * step, (k, 1, n)),
            eq(
                rest * total(lambda i: g[i] * w[i] * (x[i] - mu)) / (v + eps) ** 2,
                "Σ x̂ = 0 and Σ x̂² = nv/(v + ε): of Σ gwx̂/√(v + ε) the share 1 − v/(v + ε) is left",
            ),
        ),
    )


@claim(
    source="zhang2019rmsnorm, §4.1",
    code="reference.normalization.rms_norm",
    computes="part = 2; a = 3.0; rms_norm(a * h * torch.cat([z[:1] ** 0, z]), eps=0.0)[i + 1]",
    given={q: h**2 * (1 + Sum(z[j] ** 2, (j, 1, n))) / (n + 1), none: 0},
    for_all={i: n},
    mistakes={
        "the mean square scales like the row": {"square": a * q},
        "the scale survives": {"left": a},
        "the scale is inverted": {"left": 1 / a},
    },
)
def rms_norm_ignores_scale(square=a**2 * q, left=1):
    """Without ε, ax is normalized to the same as x, whatever the scale a > 0."""
    return (
        equal(
            (total(lambda i: (a * h * z[i]) ** 2) + (a * h) ** 2) / (n + 1),
            eq(square, "the scale is squared; the entries are h ≠ 0 and hz_i"),
        ),
        below((a * h * z[i]) * (h * z[i]), ge(0, "no entry changes its sign, as a > 0", by=a * (h * z[i]) ** 2)),
        equal(
            a * h * z[i] / sqrt(a**2 * q + none),
            eq(left * h * z[i] / sqrt(q), "ε = 0, and √a² = a"),
        ),
        equal(a * h / sqrt(a**2 * q + none), eq(h / sqrt(q), "the entry h as well")),
    )


@claim(
    source="zhang2019rmsnorm, §4.2",
    code="reference.normalization.rms_norm",
    computes="torch.func.grad(lambda x: (g * rms_norm(x, w, epsilon)).sum())(x)[k]",
    given={q: SQUARE},
    for_all={k: n},
    mistakes={
        "the mean square is taken for a constant": {"by_size": 0},
        "the weight is forgotten": {"upstream": g[k]},
        "the sum of u x̂, not its mean": {"by_size": total(lambda i: g[i] * w[i] * x[i])},
        "a mean is subtracted, as in layer_norm": {"upstream": g[k] * w[k] - mean_of(lambda i: g[i] * w[i])},
    },
)
def rms_norm_gradient(upstream=g[k] * w[k], by_size=mean_of(lambda i: g[i] * w[i] * x[i])):
    """The gradient by x is (u − x̂ mean(u x̂))/√(q + ε) with u = gw; along x̂ the share ε/(q + ε) is left."""
    size = sqrt(q + eps)
    step = Derivative(total(lambda i: g[i] * w[i] * x[i] / size), x[k])
    return (
        equal(step, eq(upstream / size - x[k] * by_size / size**3, "∂q/∂x_k = 2x_k/n; x̂ is x/√(q + ε)")),
        equal(
            Sum(x[k] / size * step, (k, 1, n)),
            eq(eps / (q + eps) * total(lambda i: g[i] * w[i] * x[i]) / (q + eps), "Σ x̂² = nq/(q + ε)"),
        ),
        below(eps / (q + eps), ge(0, "a share", by=eps / (q + eps))),
        below(eps / (q + eps), le(1, "and no more", by=q / (q + eps))),
    )


@claim(
    source="zhang2019rmsnorm, §4",
    code="reference.normalization.rms_norm",
    computes="rms_norm(x, eps=epsilon)[i]",
    given={s: 0},
    sums={Sum(x[j], (j, 1, n)): s},
    for_all={i: n},
    mistakes={
        "the variance is divided by n − 1": {"divisor": n - 1},
        "the sum of squares for their mean": {"divisor": 1},
        "the square of the mean is subtracted from it, not added": {"sign": -1},
    },
)
def rms_is_layer_norm_when_mean_is_zero(divisor=n, sign=1):
    """The mean square is the variance plus the squared mean: where a row has mean zero, rms_norm is layer_norm."""
    mean = Sum(z[l], (l, 1, n)) / n
    return (
        equal(
            (x[i] - MEAN) / sqrt(Sum((x[j] - MEAN) ** 2, (j, 1, n)) / divisor + eps),
            eq(x[i] / sqrt(SQUARE + eps), "the sum of the row is zero"),
        ),
        equal(
            Sum(z[j] ** 2, (j, 1, n)) / n,
            eq(Sum((z[j] - mean) ** 2, (j, 1, n)) / n + sign * mean**2, "the mixed term is 2·mean·(mean − mean) = 0"),
        ),
    )
