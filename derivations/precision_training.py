r"""A scale for the loss: all gradients inherit it, and so stay within a narrow format.

Article papers/precision.md, code reference/precision_training.py, laws verify/precision_training.py.
"""

from sympy import IndexedBase, Product, Sum, Symbol

from derivations.claim import claim
from derivations.forms import eq, equal, induct

t = Symbol("t", integer=True, nonnegative=True)
n, i, j, r, l = (Symbol(name, integer=True, positive=True) for name in "nijrl")
g, G, w, J = (IndexedBase(name, real=True) for name in ("g", "G", "w", "J"))
a, squares = IndexedBase("a", real=True), IndexedBase("y", real=True)
scale = Symbol("S", positive=True)
seed, norm, limit = Symbol("g_0", real=True), Symbol("N", positive=True), Symbol("c", real=True)


@claim(
    source="micikevicius2018mixed, §3.2",
    code="reference.precision.scaled_sgd",
    sums={Sum(squares[i], (i, 1, n)): norm**2},
    mistakes={
        "not divided by the scale": {"back": 1},
        "divided twice, in each of two places": {"back": 1 / scale**2},
        "clipped first, and divided after": {"clipped": limit / (scale * norm)},
        "every layer multiplies by the scale": {"step": lambda g: scale * g},
    },
)
def loss_scaling_is_linear(back=1 / scale, clipped=limit / norm, step=lambda g: g):
    """The gradients of S times a loss are S times its gradients, layer by layer; divide by S, and only then clip."""
    return (
        induct(
            G,
            t,
            start=scale * seed,
            step=step(a[t + 1] * G[t]),
            closed=lambda t: scale * seed * Product(a[r], (r, 1, t)),
            reason="the loss alone is multiplied, and backpropagation passes it on: S at the start is S at every depth",
        ),
        equal(
            back * Sum(J[i, j] * (scale * g[i]), (i, 1, n)),
            eq(Sum(J[i, j] * g[i], (i, 1, n)), "a layer of n outputs: dividing by S gives the gradient of the loss"),
        ),
        equal(
            Sum(clipped**2 * squares[i], (i, 1, n)),
            eq(
                limit**2, "clipped to c, a gradient of norm N > c has that norm; one of norm SN, divided after, has c/S"
            ),
        ),
    )
