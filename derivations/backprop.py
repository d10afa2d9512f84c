r"""The backward pass through one layer: products, biases, look-ups; what depth does stands in backprop_depth.py.

g is the gradient of the loss by the output of a layer: to first order every loss is ⟨g, output⟩, and g is all that the
layers below learn of it. N rows x have D entries, weights W are stored "F D" (out, in), b is a bias.
Article papers/backprop.md, code reference/backprop.py, laws verify/backprop.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Sum, Symbol

from derivations.claim import claim
from derivations.forms import eq, equal
from derivations.normal import Before

D, F, N, T, V = (Symbol(name, integer=True, positive=True) for name in "DFNTV")
a, c, i, j, k, m, r, u, v = (Symbol(name, integer=True, positive=True) for name in "acijkmruv")
x, w, b, g, h, E = (IndexedBase(name, real=True) for name in ("x", "W", "b", "g", "h", "E"))


def rows(f):
    """The sum over the rows."""
    return Sum(f(r), (r, 1, N))


@claim(
    source="rumelhart1986learning, eq. (6) and (7); goodfellow2016deep, §6.5.6",
    code="reference.backprop_layers.linear_backward",
    computes="linear_backward(g, Linear(x, W))[1][c, a]",
    for_all={a: D, c: F, u: N},
    mistakes={
        "the weight is transposed once more": {"by_x": Sum(g[u, j] * w[a, j], (j, 1, F))},
        "the gradient lacks all rows but the last": {"by_w": g[N, c] * x[N, a]},
        "the mean over the rows, not their sum": {"by_w": rows(lambda r: g[r, c] * x[r, a]) / N},
        "gradient and input exchanged": {"by_w": rows(lambda r: x[r, c] * g[r, a])},
    },
)
def matmul_gradient(by_w=rows(lambda r: g[r, c] * x[r, a]), by_x=Sum(g[u, j] * w[j, a], (j, 1, F))):
    """Of Y = XWᵀ with the gradient G by Y, the gradient by W is GᵀX, and that by X is GW."""
    loss = Sum(g[r, j] * Sum(x[r, i] * w[j, i], (i, 1, D)), (j, 1, F), (r, 1, N))
    return (
        equal(Derivative(loss, w[c, a]), eq(by_w, "W_ca meets x_ra in every row r, and in y_rc only")),
        equal(Derivative(loss, x[u, a]), eq(by_x, "x_ua meets W_ja in every output j of its own row")),
    )


@claim(
    source="goodfellow2016deep, §6.5.4 Algorithm 6.4",
    code="reference.backprop_layers.linear_backward",
    computes="linear_backward(g, Linear(x, W))[2][c]",
    for_all={c: F},
    mistakes={
        "the mean over the rows": {"total": rows(lambda r: g[r, c]) / N},
        "no sum: the gradient of one row": {"total": g[1, c]},
        "summed over the outputs as well": {"total": rows(lambda r: Sum(g[r, j], (j, 1, F)))},
    },
)
def bias_gradient_is_a_sum(total=rows(lambda r: g[r, c])):
    """What is broadcast forward is summed backward: the gradient of a bias is the sum of G over the rows."""
    loss = Sum(g[r, j] * (Sum(x[r, i] * w[j, i], (i, 1, D)) + b[j]), (j, 1, F), (r, 1, N))
    return equal(Derivative(loss, b[c]), eq(total, "every row has its own copy of b, with slope one"))


def read(v):
    """The one-hot code of what position r reads: symbol c at positions 1 … m, and at the others anything else."""
    return KroneckerDelta(v, c) * Before(r, m) + (1 - KroneckerDelta(v, c)) * h[r, v]


def read_out(code):
    """⟨g, output⟩ of T look-ups in a table of V rows."""
    return Sum(g[r, j] * Sum(code(v) * E[v, j], (v, 1, V)), (j, 1, D), (r, 1, T))


@claim(
    source="pytorch2026documentation, torch.nn.Embedding",
    code="reference.backprop_layers.embedding_backward",
    computes="ids = torch.where(torch.arange(T) <= m, c, V); "
    "embedding_backward(g, Embedding(ids, (V + 1, g.shape[1])))[c, k]",
    for_all={c: V, k: D, m: T},
    mistakes={
        "each place overwrites the one before": {"received": g[m, k]},
        "the mean over its places": {"received": Sum(g[r, k], (r, 1, m)) / m},
        "the gradient of every place, whatever it reads": {"received": Sum(g[r, k], (r, 1, T))},
        "rows that are not read decay as well": {"unread": E[c, k]},
    },
)
def embedding_gradient_is_scatter_add(received=Sum(g[r, k], (r, 1, m)), unread=0):
    """A row of the table gets the sum of the gradients of all places that read it, here the first m; unread, none."""
    return (
        equal(
            Derivative(read_out(read), E[c, k]),
            eq(
                Sum(Before(r, m) * g[r, k], (r, 1, T)),
                "look-ups are a product with one-hot codes H: HᵀG",
            ),
            eq(received, "of row c's column in H only the places that read it are not zero"),
        ),
        equal(
            Derivative(read_out(lambda v: (1 - KroneckerDelta(v, c)) * h[r, v]), E[c, k]),
            eq(unread, "its column in H is zero"),
        ),
    )
