r"""Normalization of a column over the N rows of a batch: its gradient, and what it is when the statistics are fixed.

A column x has N entries, one weight w and one bias b; g is the gradient of the loss by its output.
Article papers/normalization.md, code reference/normalization.py, laws verify/normalization_batch.py.
"""

from sympy import Derivative, IndexedBase, Sum, Symbol, sqrt

from derivations.claim import claim
from derivations.forms import eq, equal

N = Symbol("N", integer=True, positive=True)
r, s, k, l = (Symbol(name, integer=True, positive=True) for name in "rskl")
x, g = IndexedBase("x", real=True), IndexedBase("g", real=True)
mu, v, w, b, old, spread = (Symbol(name, real=True) for name in ("mu", "v", "w", "b", "m", "u"))
eps = Symbol("epsilon", positive=True)

MEAN = Sum(x[l], (l, 1, N)) / N
VARIANCE = Sum((x[s] - MEAN) ** 2, (s, 1, N)) / N


def mean(f):
    return Sum(f(r), (r, 1, N)) / N


def loss(centre, size):
    """A function of the column's output with the gradient g: to first order every loss is one."""
    return Sum(g[r] * (w * (x[r] - centre) / size + b), (r, 1, N))


@claim(
    source="ioffe2015batchnorm, §3 (the gradients after Algorithm 1)",
    code="reference.normalization.batch_norm",
    computes="part = 2; twice = lambda x: batch_norm(torch.cat([x, x])[:, None], 0 * x[:1], 0 * x[:1], w + 0 * x[:1],"
    " training=True, eps=epsilon)[0][: len(x), 0]; torch.func.grad(lambda x: (g * twice(x)).sum())(x)[k]",
    given={mu: MEAN, v: VARIANCE},
    for_all={k: N},
    mistakes={
        "mean and variance are taken for constants": {"by_mean": 0, "by_size": 0},
        "the variance is taken for a constant": {"by_size": 0},
        "the sum of g x̂, not its mean": {"by_size": Sum(g[r] * (x[r] - mu), (r, 1, N))},
        "the weight is forgotten": {"weight": 1},
        "the gradient of training also after it": {"after": lambda slope: slope - mean(lambda r: g[r])},
    },
)
def batch_norm_gradient(
    weight=w,
    by_mean=mean(lambda r: g[r]),
    by_size=mean(lambda r: g[r] * (x[r] - mu)),
    after=lambda slope: slope,
):
    """In training the gradient by x is w(g − mean g − x̂ mean(g x̂))/√(v + ε), means over rows; later wg/√(u + ε)."""
    size = sqrt(v + eps)
    return (
        equal(
            Derivative(loss(mu, size), w), eq(Sum(g[r] * (x[r] - mu) / size, (r, 1, N)), "Σ g x̂, x̂ = (x − μ)/√(v + ε)")
        ),
        equal(Derivative(loss(mu, size), b), eq(Sum(g[r], (r, 1, N)), "one bias for N rows")),
        equal(
            Derivative(loss(mu, size), x[k]),
            eq(
                weight * (g[k] - by_mean) / size - weight * (x[k] - mu) * by_size / size**3,
                "∂μ/∂x_k = 1/N and ∂v/∂x_k = 2(x_k − μ)/N; w is one for the column, and comes out of the means",
            ),
        ),
        equal(
            Sum(Derivative(loss(mu, size), x[k]), (k, 1, N)),
            eq(0, "what moves the whole column is not seen: the gradients of a batch add up to nothing"),
        ),
        equal(
            Derivative(loss(old, sqrt(spread + eps)), x[k]),
            eq(w * after(g[k]) / sqrt(spread + eps), "running statistics m and u do not depend on x"),
        ),
    )
