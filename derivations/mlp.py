r"""A language model that learns what symbols are like: its look-ups, its first layer, and how many parameters it has.

V symbols have embeddings C[v, d] with D coordinates; k of them are the context, and W their weights in a layer of F
units, of which there are L. What it learns: derivations/mlp_learning.py.
Article papers/mlp.md, code reference/mlp.py, laws verify/mlp.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, induct, le

V, D, F, L, k = (Symbol(name, integer=True, positive=True) for name in "VDFLk")
c, d, i, j, u, v = (Symbol(name, integer=True, positive=True) for name in "cdijuv")
t = Symbol("t", integer=True, nonnegative=True)
C, W, w, x, y, S, P = (IndexedBase(name, real=True) for name in "CWwxySP")
message = IndexedBase("g", real=True)


def one_hot(v):
    """The code of symbol c."""
    return KroneckerDelta(v, c)


@claim(
    source="bengio2003neural, §2",
    code="reference.mlp.logits",
    computes="m = init(len(C), 1, C.shape[1], 1, direct=True)._replace(embedding=C); m.direct[0, 0, i] = 1; "
    "logits(torch.tensor([[c]]), *m)[0, 0]",
    for_all={c: V, i: D, u: V},
    mistakes={
        "symbols are counted from zero, rows from one": {"code": lambda v: KroneckerDelta(v, c + 1)},
        "a column is looked up": {"found": C[i, c]},
        "the code is one everywhere: all rows are added": {"code": lambda v: 1},
        "every row that is not looked up gets the slope": {"place": 1 - KroneckerDelta(u, c)},
    },
)
def lookup_is_one_hot_product(code=one_hot, found=C[c, i], place=KroneckerDelta(u, c)):
    """A one-hot code times the table is the symbol's row, and what is sent back reaches this row alone."""
    product = Sum(code(v) * C[v, i], (v, 1, V))
    return (
        equal(product, eq(found, "every other row is multiplied by zero")),
        equal(
            Derivative(message[i] * product, C[u, i]),
            eq(
                message[i] * place,
                "g is sent back to what was read: the transposed product writes it into row c, and zero elsewhere",
            ),
        ),
    )


def layers(t, bias=1):
    """Parameters of the table, the first layer and t further hidden layers."""
    return V * D + (k * D + bias) * F + t * F * (F + bias)


@claim(
    source="bengio2003neural, §2 (free parameters)",
    code="reference.mlp.init",
    computes="part = 1; sum(tensor.numel() for tensor in init(V, k, D, F, L, direct=True) if tensor is not None)",
    mistakes={
        "every position has a table of its own": {"tables": k},
        "biases are forgotten": {"bias": 0},
        "the first layer reads one symbol": {"read": 1},
        "n for n − 1: the symbol to be predicted is read as well": {"read": k + 1},
        "no direct connections, which the printed formula counts": {"direct": 0},
        "the output has a table of its own beside its weights": {"direct": k * D * V + V * D},
    },
)
def parameter_count(tables=1, bias=1, read=k, direct=k * D * V):
    """With L hidden layers of F units and direct connections V(1 + (k+1)D + F) + F(1 + kD) + (L−1)F(F+1) in all."""
    first = tables * V * D + read * D * F + bias * F
    deeper = (L - 1) * F * F + (L - 1) * bias * F
    return (
        induct(
            P,
            t,
            start=first,
            step=P[t] + F * F + bias * F,
            closed=layers,
            reason="the table and the first layer; each further layer reads F units and has F, with a bias each",
        ),
        equal(
            first + deeper + V * F + bias * V + direct,
            eq(layers(L - 1) + (F + 1) * V + k * D * V, "the output reads F units, and directly the kD coordinates"),
            eq(
                V * (1 + (k + 1) * D + F) + F * (1 + k * D) + (L - 1) * F * (F + 1),
                "what grows with V first; with L = 1 and n = k + 1 the paper's |V|(1 + nm + h) + h(1 + (n − 1)m)",
            ),
        ),
    )


def flat(c):
    """Term c of the first layer's product with the concatenation."""
    return w[c] * x[c]


@claim(
    source="bengio2003neural, §2 eq. (1); devlin2014fast, Pre-Computing the Hidden Layer",
    code="reference.mlp.logits",
    computes="part = 2; v = y.shape[1]; tokens = torch.arange(len(y)) % v; y = torch.eye(v).double()[tokens]; "
    "m = init(v, len(y), C.shape[1], 1, direct=True)._replace(embedding=C); m.direct[0] = W; "
    "logits(tokens[None], *m)[0, 0]",
    mistakes={
        "all positions share one block of weights": {"block": lambda j, d: w[d] * x[(j - 1) * D + d]},
        "the blocks overlap: the stride is one": {"block": lambda j, d: flat(j - 1 + d)},
        "embeddings are added, not put side by side": {"block": lambda j, d: w[(j - 1) * D + d] * x[d]},
        "coordinates vary slowest": {"block": lambda j, d: w[(d - 1) * k + j] * x[(j - 1) * D + d]},
        "the table of products is the same at every position": {"weight": lambda j, d: W[1, d]},
    },
)
def first_layer_sums_over_positions(block=lambda j, d: flat((j - 1) * D + d), weight=lambda j, d: W[j, d]):
    """A layer on k embeddings side by side is a sum of k layers, one a position, and so of k look-ups in tables."""
    reads = Sum(flat(t * D + d), (d, 1, D))
    return (
        induct(
            S,
            t,
            start=0,
            step=S[t] + reads,
            closed=lambda t: Sum(flat(c), (c, 1, t * D)),
            reason="a symbol more lengthens the concatenation by the D terms tD + 1, …, tD + D",
        ),
        induct(
            S,
            t,
            start=0,
            step=S[t] + reads,
            closed=lambda t: Sum(Sum(block(j, d), (d, 1, D)), (j, 1, t)),
            reason="the same sum, block by block: block j of the weights meets the embedding at position j",
        ),
        equal(
            Sum(Sum(W[j, d] * Sum(y[j, v] * C[v, d], (v, 1, V)), (d, 1, D)), (j, 1, k)),
            eq(
                Sum(Sum(y[j, v] * Sum(weight(j, d) * C[v, d], (d, 1, D)), (v, 1, V)), (j, 1, k)),
                "x = yC with one-hot codes y: the inner sums, V·k for a unit, do not depend on the text",
            ),
        ),
    )


def weights(k, direct=0):
    """Parameters of the model with L hidden layers; `direct` is one with direct connections, else zero."""
    return V * (1 + D + F) + F * (1 + k * D) + (L - 1) * F * (F + 1) + direct * k * D * V


def cells(k):
    """Probabilities in a table of contexts by next symbols."""
    return V ** (k + 1)


@claim(
    source="bengio2003neural, §1 and §2 (it scales linearly with V and with n)",
    code="reference.mlp.init",
    computes="sum(x.numel() for x in init(3, k + 1, D, F, 2) if x is not None) "
    "- sum(x.numel() for x in init(3, k, D, F, 2) if x is not None)",
    mistakes={
        "every position has a table of its own": {"more": D * F + V * D},
        "each further position is a layer": {"more": F * (F + 1)},
        "the table grows by as many cells, too": {"factor": 1},
        "one context a symbol": {"table": lambda k: V * k},
        "the ratio falls by the factor V from the start": {"rate": 1 / V},
    },
)
def n_grams_grow_and_the_mlp_does_not(more=D * F, factor=V, table=cells, rate=2 / V):
    """One more symbol of context adds DF parameters, and multiplies a table by V: the ratio falls by V/2 or more."""
    return (
        equal(
            weights(k + 1) - weights(k), eq(more, "the first layer's block for one more position; the table is shared")
        ),
        equal(table(k + 1), eq(factor * table(k), "each context splits into V")),
        below(
            weights(t + 2) / cells(t + 2),
            le(
                rate * weights(t + 1) / cells(t + 1),
                "k = t + 1 ≥ 1: what is added is no more than what is there, and the table is V times as large",
                by=(V * (1 + D + F) + F + t * D * F + (L - 1) * F * (F + 1)) / cells(t + 2),
            ),
        ),
    )
