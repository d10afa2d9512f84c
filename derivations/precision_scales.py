r"""Scales that keep numbers within a narrow format: one for the loss, which all gradients inherit, and one for a block.

Article papers/precision.md, code reference/precision_training.py and reference/precision_blocks.py.
"""

from sympy import IndexedBase, Product, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, induct, le

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


entry, low, largest = (Symbol(name, positive=True) for name in ("A", "eta", "M"))
more, gap = Symbol("m", nonnegative=True), Symbol("d", nonnegative=True)
u, x = Symbol("u", real=True), Symbol("x", real=True)


@claim(
    source="deepseek2024v3, §3.3.2; rouhani2023microscaling, Algorithm 1",
    code="reference.precision.quantize",
    mistakes={
        "the scale upside down": {"scale": lambda most: largest / most},
        "the largest entry itself is the scale": {"scale": lambda most: most},
        "every entry keeps its relative error": {"floor": 0},
        "the next power of two below": {"power": lambda s: s / (1 + gap)},
    },
)
def block_scaling_bounds_the_error(
    scale=lambda most: most / largest, floor=low / (2 * largest), power=lambda s: s + gap
):
    """With the scale max|x|/M nothing overflows, and x is off by u|x| + η max|x|/2M at most: less in smaller blocks."""
    most = entry + more
    s = scale(most)
    return (
        below(
            entry / s,
            le(largest, "A is an entry, A + m the largest of its block: M itself is reached", by=largest * more / most),
        ),
        below(
            s * (u * (x / s) + low / 2),
            le(
                u * x + most * floor,
                "x/s is off by u of itself, or where it is subnormal by half the least number η; both come back s-fold",
                by=0,
            ),
        ),
        below(
            low * entry / (2 * largest),
            le(
                low * most / (2 * largest),
                "a block whose largest entry is less loses less",
                by=low * more / 2 / largest,
            ),
        ),
        below(
            most / power(most / largest),
            le(
                largest,
                "the next power of two, d above s, fits as well, and dividing by it is exact",
                by=largest * gap / (most / largest + gap),
            ),
        ),
    )
