r"""Flash attention, forward: a tile of queries walks over the keys and keeps a running maximum, sum and output.

    m ← max(m, s),   l ← l · 2^(m_old − m) + Σ 2^(s − m),   o ← o · 2^(m_old − m) + 2^(s − m) v,   s = log₂e · q·k / √K

Scores never leave the chip. What is kept for the way back is one number a query, m + log₂ l.
How it is called stands in reference/kernels/attention.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from reference.kernels.arithmetic import narrow, product


@triton.jit
def sees(rows, keys, S, past, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """Does query `rows` see key `keys`? Both broadcast; query i stands at position i + past."""
    seen = keys < S
    if CAUSAL:
        seen = seen & (keys <= rows + past)
    if WINDOW:
        seen = seen & (keys > rows + past - window)
    return seen


@triton.jit
def bounds(m, S, past, window, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """Keys that rows m … m + BM − 1 may see: from a; all rows see b … c − 1, in whole tiles; none from d on."""
    a, b, c, d = 0, 0, S, S
    if CAUSAL:
        c = tl.minimum(S, tl.maximum(0, m + past + 1))
        d = tl.minimum(S, tl.maximum(0, m + past + BM))
    if WINDOW:
        a = tl.maximum(0, m + past + 1 - window) // BN * BN
        b = tl.minimum((tl.maximum(0, m + past + BM - window) + BN - 1) // BN * BN, d)
    return a, b, tl.maximum(b, c // BN * BN), d


@triton.jit(do_not_specialize=["H", "share", "T", "S", "window"])
def forward(Q, K, V, O, L, H, share, T, S, window, scale,
            CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PRECISION: tl.constexpr,
            BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    """One tile of BM queries of one head; `share` query heads read one key head. Writes O, and L, (B H) × T."""
    tiles = tl.cdiv(T, BM)
    m = (tiles - 1 - tl.program_id(0) % tiles) * BM  # the longest walk first
    head = tl.program_id(0) // tiles
    b, h, past = head // H, head % H, S - T
    g = h // share
    rows = m + tl.arange(0, BM)
    q = Q.load([b, h, m, 0]).reshape([BM, BK])
    top = tl.full([BM], -float("inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    shrink = tl.zeros([BM], tl.float32)
    out = tl.zeros([BM, BK], tl.float32)
    begin, full, edge, end = bounds(m, S, past, window, BM, BN, CAUSAL, WINDOW)
    for n in tl.range(begin, end, BN):
        k = K.load([b, g, n, 0]).reshape([BN, BK])
        s = product(q, k.T, tl.zeros([BM, BN], tl.float32), PRECISION)
        if (n < full) | (n >= edge):
            keys = n + tl.arange(0, BN)
            s = tl.where(sees(rows[:, None], keys[None, :], S, past, window, CAUSAL, WINDOW), s, -float("inf"))
        new = tl.maximum(top, tl.max(s, 1) * scale)
        base = tl.where(new == -float("inf"), 0.0, new)  # no key seen yet: −∞ less −∞ would be NaN
        w = tl.exp2(s * scale - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(w, 1)
        v = V.load([b, g, n, 0]).reshape([BN, BK])
        out = product(narrow(w, v.dtype), v, out * shrink[:, None], PRECISION)
        top = new
    nothing = total == 0  # a query that sees no key gives zero, and has no weights: log₂ l = ∞ makes 2^(s − ∞) = 0
    out = out / tl.where(nothing, 1.0, total)[:, None]
    O.store([b, h, m, 0], narrow(out, O.dtype).reshape([1, 1, BM, BK]))
    kept = tl.where(nothing, float("inf"), top + tl.log2(total))
    L.store([head, m], kept.reshape([1, BM]))
