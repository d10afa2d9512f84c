r"""The transformer: what several heads do together, and how many parameters there are, weight by weight.

GPT-2's form: L layers of width D, H query and G key-value heads of K, F hidden units, V symbols, S learned positions.
A weight is a table with the axes of reference/transformer.py, and its entries are counted one by one. What is computed
with them: derivations/transformer_costs.py; what depth does: derivations/transformer_depth.py.
Article papers/transformer.md, code reference/transformer.py, laws verify/transformer.py.
"""

from sympy import Derivative, IndexedBase, Sum, Symbol, exp

from derivations.claim import claim
from derivations.costs import derive
from derivations.flops import COUNT, UNTIED
from derivations.forms import eq, equal, induct

V, S, L, D, H, G, R, K, F, N, n = (Symbol(name, integer=True, positive=True) for name in "VSLDHGRKFNn")
a, b, c, d, h, i, j, k, l, r, v = (Symbol(name, integer=True, positive=True) for name in "abcdhijklrv")
t = Symbol("t", integer=True, nonnegative=True)
T, P = IndexedBase("T", real=True), IndexedBase("P", real=True)
w, y, o, s, x, U, E, g, e, m = (
    IndexedBase(name, real=True) for name in ("w", "y", "o", "s", "x", "U", "E", "g", "e", "m")
)


def flat(c):
    """Term c of the product of an output's weights with the heads laid side by side."""
    return w[c] * y[c]


def mixed(h, what):
    """What head h makes of this at all positions: an average by its weights."""
    return Sum(exp(s[h, j]) * what(j), (j, 1, n)) / Sum(exp(s[h, j]), (j, 1, n))


@claim(
    source="vaswani2017attention, §3.2.2; elhage2021framework, Attention Heads are Independent and Additive",
    code="reference.transformer.multi_head_attention",
    computes="part = 2; (H, K, D), n = U.shape, len(x); wide = torch.zeros(H, K, D + n).double(); "
    "ask = wide[..., 0].clone(); ask[:, 0] = K**0.5; key = wide.clone(); key[:, 0, D:] = s[:H, :n]; "
    "value = wide.clone(); value[..., :D] = U; out = torch.zeros(D + n, H, K).double(); out[0] = o[:H, :K]; "
    "told = torch.cat([x[:, :D], torch.eye(n).double()], 1); "
    "multi_head_attention(told[None], wide, key, value, out, ask)[0, 0, 0]",
    mistakes={
        "heads laid side by side without moving their axis: they interleave": {
            "block": lambda h, k: w[(h - 1) * K + k] * y[(k - 1) * t + h]
        },
        "all heads share one block of the output projection": {"block": lambda h, k: w[k] * y[(h - 1) * K + k]},
        "the mean of the heads": {"together": lambda total: total / H},
        "values and outputs do not meet in one matrix: a head acts entry by entry": {"entry": lambda h, k, l: o[h, 1]},
        "one set of weights for all heads": {"head": lambda h: 1},
    },
)
def heads_add_up(
    block=lambda h, k: flat((h - 1) * K + k),
    together=lambda total: total,
    entry=lambda h, k, l: o[h, k],
    head=lambda h: h,
):
    """Heads side by side, times W_O, are a sum over heads, each a mean of the tokens times one matrix W_O^h W_V^h."""
    reads = Sum(flat(t * K + k), (k, 1, K))
    values = Sum(o[h, k] * mixed(h, lambda j: Sum(U[h, k, l] * x[j, l], (l, 1, D))), (k, 1, K), (h, 1, H))
    moved = Sum(
        mixed(head(h), lambda j: Sum(Sum(entry(h, k, l) * U[h, k, l], (k, 1, K)) * x[j, l], (l, 1, D))), (h, 1, H)
    )
    return (
        induct(
            T,
            t,
            start=0,
            step=T[t] + reads,
            closed=lambda t: Sum(flat(c), (c, 1, t * K)),
            reason="one head more lengthens the row by the K terms tK + 1, …, tK + K",
        ),
        induct(
            T,
            t,
            start=0,
            step=T[t] + reads,
            closed=lambda t: Sum(Sum(block(h, k), (k, 1, K)), (h, 1, t)),
            reason="the same, head by head: block h of W_O meets head h alone",
        ),
        equal(
            values,
            eq(together(moved), "the average over the tokens comes last: W_O^h W_V^h is one matrix, of rank K at most"),
        ),
    )


def entries(*sizes):
    """The entries of a weight with these axes, one for one."""
    return Sum(1, *((index, 1, size) for index, size in zip((l, k, h, r), reversed(sizes), strict=False)))


def parameters(heads=H, shared=H, width=K, hidden=F, tables=1, bias=1, norms=2, last=1):
    """All entries of all weights: tables, then block by block, then the last norm."""
    attention = entries(L, heads, width, D) + 2 * entries(L, shared, width, D) + entries(L, D, heads, width)
    biases = entries(L, heads, width) + 2 * entries(L, shared, width) + entries(L, hidden) + 2 * entries(L, D)
    feed_forward = entries(L, hidden, D) + entries(L, D, hidden)
    normed = norms * 2 * entries(L, D) + last * 2 * entries(D)
    return tables * entries(V, D) + entries(S, D) + attention + feed_forward + bias * biases + normed


def closed(shared, per, width=K, layers=L):
    """`shared` heads of keys and values, and `per` query heads to each of them."""
    block = 2 * D * shared * width * (per + 1) + shared * width * (per + 2) + 2 * D * F + F + 6 * D
    return V * D + S * D + 2 * D + layers * block


@claim(
    source="radford2019language, §2.3 and Table 2; ainslie2023gqa, §2.2",
    code="reference.transformer.init",
    computes="sum(part.numel() for part in init(V, S, D, G * R, L, G=G, K=K, F=F) if part is not None)",
    given={H: G * R},
    mistakes={
        "matrices have no biases": {"bias": 0},
        "the head counted beside its tied table": {"tables": 2},
        "one norm in a block": {"norms": 1},
        "no last norm": {"last": 0},
        "every query head has keys and values of its own": {"shared": H},
    },
)
def parameter_count(bias=1, tables=1, norms=2, last=1, shared=G):
    """With R query heads to each of G: (V + S + 2)D + L(2DGK(R + 1) + GK(R + 2) + 2DF + F + 6D) parameters."""
    counted = parameters(shared=shared, bias=bias, tables=tables, norms=norms, last=last)
    return (
        equal(counted, eq(closed(G, R), "two tables; queries, keys, values and output; up and down; biases; norms")),
        derive(
            COUNT(H=G),
            eq(closed(G, 1), "the decoder that is trained: R = 1, keys and values of its own for every query head"),
        ),
    )


@claim(
    source="kaplan2020scaling, §2.1 Table 1; radford2019language, Table 2",
    code="reference.transformer.init",
    computes="sum(part.numel() for part in init(V, S, H * K, H, L) if part is not None)",
    given={D: H * K, F: 4 * H * K},
    mistakes={
        "nothing else: tables and vectors are forgotten": {"rest": 0},
        "four matrices of D × D": {"matrices": 4},
        "eight: two of D × 4D, and no attention": {"matrices": 8},
        "no biases, four norms": {"vectors": 4},
        "no learned positions": {"rest": (V + 2) * D},
    },
)
def twelve_l_d_squared(matrices=12, vectors=13, rest=(V + S + 2) * D):
    """With D = HK and F = 4D: 12LD² in matrices, 13LD in biases and norms, (V + S + 2)D in tables and the last norm."""
    return (
        equal(
            parameters(),
            eq(
                matrices * L * D**2 + vectors * L * D + rest,
                "four matrices of D × D and two of D × 4D; of D: nine biases, 4 · 1 + 4 + 1, and four vectors of norms",
            ),
        ),
        equal(
            parameters() / (matrices * L * D**2),
            eq(1 + (vectors * L * D + rest) / (12 * L * D**2), "what 12LD² leaves out, as a share of it"),
        ),
    )


@claim(
    source="vaswani2017attention, §3.2.2",
    code="reference.transformer.init",
    computes="sum(part.numel() for part in init(V, S, D, H * R, L, K=K, F=F) if part is not None)",
    mistakes={
        "heads of the same width: each further one is more": {"width": K * R},
        "one head of keys and values for all: multi-query attention has fewer": {"shared": 1},
        "as many scores, too": {"more": 1},
    },
)
def head_count_does_not_change_parameters(width=K, shared=H * R, more=R):
    """H heads of KR numbers have the parameters of HR heads of K, but 1/R of their scores: only HK counts."""
    return (
        equal(
            parameters(heads=H, shared=H, width=K * R),
            eq(
                parameters(heads=H * R, shared=shared, width=width),
                "heads cut the rows of W_Q, W_K, W_V and the columns of W_O",
            ),
        ),
        equal(
            Sum(1, (j, 1, N), (i, 1, N), (h, 1, H * R)),
            eq(more * Sum(1, (j, 1, N), (i, 1, N), (h, 1, H)), "a score for every head and pair of N tokens"),
        ),
    )


@claim(
    source="press2017tying, §3",
    code="reference.transformer.init",
    computes="sizes = (V, 3, D, 2, 2); sum(part.numel() for part in init(*sizes, K=3, tied=False)) "
    "- sum(part.numel() for part in init(*sizes, K=3)[:-1])",
    for_all={c: V, d: D},
    mistakes={
        "nothing: the head is computed anyway": {"saved": 0},
        "the positions are shared as well": {"saved": (V + S) * D},
        "in every layer": {"saved": L * V * D},
        "the head's gradient replaces that of the look-up": {"looked_up": 0},
        "the table does not learn from the head": {"scored": 0},
        "the mean of both": {"share": 2},
    },
)
def tied_embedding_saves_vocabulary_times_width(
    saved=V * D,
    looked_up=Sum(m[r, c] * e[r, d], (r, 1, N)),
    scored=Sum(g[r, c] * x[r, d], (r, 1, N)),
    share=1,
):
    """A head that is the embedding saves VD parameters, and its gradient is the sum of those of both uses."""
    heard = Sum(g[r, v] * Sum(E[v, i] * x[r, i], (i, 1, D)), (v, 1, V), (r, 1, N))
    read = Sum(e[r, i] * Sum(m[r, v] * E[v, i], (v, 1, V)), (i, 1, D), (r, 1, N))
    return (
        equal(parameters(tables=2) - parameters(), eq(saved, "a table of V rows, once instead of twice")),
        derive(UNTIED() - COUNT(), eq(saved, "so it is in the decoder that is trained")),
        equal(
            Derivative(heard + read, E[c, d]),
            eq(
                (scored + looked_up) / share, "to first order: logits E x with slopes g, and look-ups m E with slopes e"
            ),
        ),
    )
