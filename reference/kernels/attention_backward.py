r"""Flash attention, backward: the weights are computed again from q·k and the number kept a query, and never stored.

    p = 2^(s − L),   D = Σ_k do · o,   ds = p (do·v − D),     dv = Σ p do,   dk = Σ ds q / √K,   dq = Σ ds k / √K

Two walks, so that every sum has one owner and its order is fixed: a tile of keys walks over the queries for dk and dv,
a tile of queries over the keys for dq. How they are called stands in reference/kernels/attention.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from reference.kernels.arithmetic import narrow, product, wide
from reference.kernels.attention_forward import bounds, sees


@triton.jit(do_not_specialize=["H", "T"])
def inner(O, dO, D, H, T, BM: tl.constexpr, BK: tl.constexpr):
    """D, (B H) × T: output times its gradient, summed over the coordinates."""
    tiles = tl.cdiv(T, BM)
    m, head = tl.program_id(0) % tiles * BM, tl.program_id(0) // tiles
    o = O.load([head // H, head % H, m, 0]).reshape([BM, BK])
    do = dO.load([head // H, head % H, m, 0]).reshape([BM, BK])
    D.store([head, m], tl.sum(wide(o) * wide(do), 1).reshape([1, BM]))


@triton.jit(do_not_specialize=["H", "share", "T", "S", "window"])
def keys_and_values(Q, K, V, dO, dK, dV, L, D, H, share, T, S, window, scale, natural,
                    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PRECISION: tl.constexpr,
                    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """dk and dv of one tile of BN keys, summed over the query heads that share them."""
    tiles = tl.cdiv(S, BN)
    n, head = tl.program_id(0) % tiles * BN, tl.program_id(0) // tiles  # the longest walk first
    G, past = H // share, S - T
    b, g = head // G, head % G
    keys = n + tl.arange(0, BN)
    k = K.load([b, g, n, 0]).reshape([BN, BK])
    v = V.load([b, g, n, 0]).reshape([BN, BK])
    dk = tl.zeros([BN, BK], tl.float32)
    dv = tl.zeros([BN, BK], tl.float32)
    begin, full, edge, end = 0, 0, T, T  # queries from `begin` see some of the keys, from `full` to `edge` all
    if CAUSAL:
        begin = tl.maximum(0, n - past) // BM * BM
        full = tl.minimum((tl.maximum(0, n - past + BN - 1) + BM - 1) // BM * BM, T)
    if WINDOW:
        end = tl.minimum(T, tl.maximum(0, n - past + BN - 1 + window))
        full = tl.minimum(full, end)
        edge = tl.maximum(full, tl.minimum(T, tl.maximum(0, n - past + window)) // BM * BM)
    for h in range(g * share, (g + 1) * share):
        for m in tl.range(begin, end, BM):
            rows = m + tl.arange(0, BM)
            q = Q.load([b, h, m, 0]).reshape([BM, BK])
            kept = L.load([b * H + h, m]).reshape([BM])
            do = dO.load([b, h, m, 0]).reshape([BM, BK])
            inside = D.load([b * H + h, m]).reshape([BM])
            s = product(k, q.T, tl.zeros([BN, BM], tl.float32), PRECISION)
            dp = product(v, do.T, tl.zeros([BN, BM], tl.float32), PRECISION)
            p = tl.exp2(s * scale - kept[None, :])
            if (m < full) | (m >= edge):
                p = tl.where(sees(rows[None, :], keys[:, None], S, past, window, CAUSAL, WINDOW), p, 0.0)
            dv = product(narrow(p, do.dtype), do, dv, PRECISION)
            ds = p * (dp - inside[None, :])  # while the product before runs
            dk = product(narrow(ds, q.dtype), q, dk, PRECISION)
    dK.store([b, g, n, 0], narrow(dk * natural, dK.dtype).reshape([1, 1, BN, BK]))
    dV.store([b, g, n, 0], narrow(dv, dV.dtype).reshape([1, 1, BN, BK]))


@triton.jit(do_not_specialize=["H", "share", "T", "S", "window"])
def queries(Q, K, V, dO, dQ, L, D, H, share, T, S, window, scale, natural,
            CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PRECISION: tl.constexpr,
            BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """dq of one tile of BM queries."""
    tiles = tl.cdiv(T, BM)
    m = (tiles - 1 - tl.program_id(0) % tiles) * BM
    head = tl.program_id(0) // tiles
    b, h, past = head // H, head % H, S - T
    g = h // share
    rows = m + tl.arange(0, BM)
    kept = L.load([head, m]).reshape([BM])
    inside = D.load([head, m]).reshape([BM])
    q = Q.load([b, h, m, 0]).reshape([BM, BK])
    do = dO.load([b, h, m, 0]).reshape([BM, BK])
    dq = tl.zeros([BM, BK], tl.float32)
    begin, full, edge, end = bounds(m, S, past, window, BM, BN, CAUSAL, WINDOW)
    for n in tl.range(begin, end, BN):
        k = K.load([b, g, n, 0]).reshape([BN, BK])
        v = V.load([b, g, n, 0]).reshape([BN, BK])
        s = product(q, k.T, tl.zeros([BM, BN], tl.float32), PRECISION)
        dp = product(do, v.T, tl.zeros([BM, BN], tl.float32), PRECISION)
        p = tl.exp2(s * scale - kept[:, None])
        if (n < full) | (n >= edge):
            keys = n + tl.arange(0, BN)
            p = tl.where(sees(rows[:, None], keys[None, :], S, past, window, CAUSAL, WINDOW), p, 0.0)
        dq = product(narrow(p * (dp - inside[:, None]), k.dtype), k, dq, PRECISION)
    dQ.store([b, h, m, 0], narrow(dq * natural, dQ.dtype).reshape([1, 1, BM, BK]))
