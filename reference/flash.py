r"""Attention in tiles: the same numbers, and no matrix of T × S is ever made.

A tile of queries walks over tiles of keys and keeps a largest score, a sum and an output of what it has seen so far:

    m ← max(m, s),   l ← l e^(m_old − m) + Σ e^(s − m),   o ← o e^(m_old − m) + Σ e^(s − m) v

In the end the output is o/l, and one number a query is kept for the way back, log l + m: of it weights are made again.
How many numbers move between a large memory and a small one is counted in reference/flash_io.py; kernels for GPUs are
in reference/kernels/. Article papers/flash.md, derivation derivations/flash.py, laws verify/flash.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BLOCK = 64
"""Queries, and keys, of a tile, unless said otherwise."""


def online_softmax(z: Float[Tensor, "*B V"], block: int = BLOCK) -> tuple[Float[Tensor, "*B V"], Float[Tensor, "*B"]]:
    r"""Softmax over the last axis, and log Σ exp z, from one pass over blocks that keeps a maximum m and a sum l.

    A row of −∞ alone gives zeros, and −∞. NaN leaves all of its row NaN; so does +∞, whose sum is +∞.
    Raises ValueError for an integer or empty tensor, one without axes, or a block below one.
    Source: milakov2018online, §3 algorithm 3.
    """
    expect.rows("z", z)
    expect.natural("block", block, 1)
    top, total = z.new_full((*z.shape[:-1], 1), -torch.inf), z.new_zeros((*z.shape[:-1], 1))
    for part in z.split(block, -1):
        top, shrink, weights = _next(top, part)
        total = total * shrink + weights.sum(-1, keepdim=True)
    divisor = torch.where(total == torch.inf, torch.nan, _divisor(total))
    return torch.exp(z - _finite(top)) / divisor, _logarithm(top, total).squeeze(-1)


def merge(
    o1: Float[Tensor, "*B K"], lse1: Float[Tensor, "*B"], o2: Float[Tensor, "*B K"], lse2: Float[Tensor, "*B"]
) -> tuple[Float[Tensor, "*B K"], Float[Tensor, "*B"]]:
    r"""Attention over two sets of keys together, from that over each and its log-sum-exp, in nats.

    The outputs are weighted by e^lse. A part of no keys is (anything, −∞), and not read; two of them give (0, −∞).
    Raises ValueError for integers, or where shapes do not agree.
    Source: ye2025flashinfer, §2.2 (composition of attention states).
    """
    for name, x in (("o1", o1), ("lse1", lse1), ("o2", o2), ("lse2", lse2)):
        expect.floating(name, x)
    if o2.shape != o1.shape:
        expect.fail("o2", f"the shape of o1, {tuple(o1.shape)}", tuple(o2.shape))
    for name, x in (("lse1", lse1), ("lse2", lse2)):
        if x.shape != o1.shape[:-1]:
            expect.fail(name, f"a number for each output, shape {tuple(o1.shape[:-1])}", tuple(x.shape))
    first, second = lse1[..., None], lse2[..., None]
    top = torch.maximum(first.detach(), second.detach())
    weights = [torch.exp(lse - _finite(top)) for lse in (first, second)]
    total = weights[0] + weights[1]
    parts = [torch.where(lse == -torch.inf, 0, o) for o, lse in ((o1, first), (o2, second))]
    out = (weights[0] * parts[0] + weights[1] * parts[1]) / _divisor(total)
    return out, _logarithm(top, total).squeeze(-1)


def flash_attention(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B H S K"],
    v: Float[Tensor, "B H S K"],
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = BLOCK,
    block_k: int = BLOCK,
) -> tuple[Float[Tensor, "B H T K"], Float[Tensor, "B H T"]]:
    r"""reference.attention.attention, and the log-sum-exp of each query's scores, in tiles of block_q × block_k scores.

    `causal` is aligned bottom-right; tiles that no query sees are skipped. A query that sees no key gives zeros and −∞.
    What a query may not see does not reach it, were it NaN.
    Raises ValueError when axes do not agree, for a block below one, or a scale that is no number.
    Source: dao2023flashattention2, §3.1 algorithm 1.
    """
    scale = _scale(q, k, v, scale, block_q, block_k)
    T, past = q.shape[2], k.shape[2] - q.shape[2]
    found = []
    for i in range(0, T, block_q):
        mine = q[:, :, i : i + block_q]
        top = mine.new_full((*mine.shape[:3], 1), -torch.inf)
        total, out = torch.zeros_like(top), torch.zeros_like(mine)
        for j in range(0, k.shape[2], block_k):
            if causal and j >= i + mine.shape[2] + past:
                break  # this tile of keys, and all that follow, are ahead of every query
            keys, values = k[:, :, j : j + block_k], v[:, :, j : j + block_k]
            s, sees = _scores(mine, keys, scale, i + past - j if causal else None)
            top, shrink, weights = _next(top, s)
            total = total * shrink + weights.sum(-1, keepdim=True)
            out = out * shrink + _product(weights, values, sees)
        found.append((out / _divisor(total), _logarithm(top, total).squeeze(-1)))
    out, lse = (torch.cat(tiles, 2) for tiles in zip(*found, strict=True))
    return out, lse


def flash_attention_backward(
    do: Float[Tensor, "B H T K"],
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B H S K"],
    v: Float[Tensor, "B H S K"],
    o: Float[Tensor, "B H T K"],
    lse: Float[Tensor, "B H T"],
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = BLOCK,
    block_k: int = BLOCK,
) -> tuple[Float[Tensor, "B H T K"], Float[Tensor, "B H S K"], Float[Tensor, "B H S K"]]:
    r"""The gradients of q, k and v, from that of o, and from what `flash_attention` gave: tile by tile, by hand.

    Weights are made again, p = e^(s − lse), and ds = p (dp − D) needs one number a query of the whole row,
    D = Σ do · o. Five products a tile, where the way forth has two.
    Raises ValueError as `flash_attention` does, or when do, o and lse are not of its results' shapes.
    Source: dao2023flashattention2, §3.1 algorithm 2.
    """
    scale = _scale(q, k, v, scale, block_q, block_k)
    for name, x, shape in (("do", do, q.shape), ("o", o, q.shape), ("lse", lse, q.shape[:3])):
        expect.floating(name, x)
        if x.shape != shape:
            expect.fail(name, f"shape {tuple(shape)}", tuple(x.shape))
    T, past = q.shape[2], k.shape[2] - q.shape[2]
    sums = (do * o).sum(-1, keepdim=True)
    dq = [torch.zeros_like(rows) for rows in q.split(block_q, 2)]
    found = []
    for j in range(0, k.shape[2], block_k):
        keys, values = k[:, :, j : j + block_k], v[:, :, j : j + block_k]
        dk, dv = torch.zeros_like(keys), torch.zeros_like(values)
        for tile, i in enumerate(range(0, T, block_q)):
            rows = slice(i, i + block_q)
            mine, arrived = q[:, :, rows], do[:, :, rows]
            if causal and j >= i + mine.shape[2] + past:
                continue
            s, sees = _scores(mine, keys, scale, i + past - j if causal else None)
            p = torch.exp(s - _finite(lse[:, :, rows, None]))
            dv = dv + p.mT @ arrived
            ds = p * (arrived @ values.mT - sums[:, :, rows]) * scale
            ds = ds if sees is None else torch.where(sees, ds, 0)
            dq[tile] = dq[tile] + _product(ds, keys, sees)
            dk = dk + ds.mT @ mine
        found.append((dk, dv))
    dk, dv = (torch.cat(tiles, 2) for tiles in zip(*found, strict=True))
    return torch.cat(dq, 2), dk, dv


def flash_attention_vjp(
    dy: Float[Tensor, "B H T K"],
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B H S K"],
    v: Float[Tensor, "B H S K"],
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = BLOCK,
    block_k: int = BLOCK,
) -> tuple[Float[Tensor, "B H T K"], Float[Tensor, "B H S K"], Float[Tensor, "B H S K"]]:
    r"""The gradients of ⟨attention(q, k, v), dy⟩ by q, k and v: forth and back in tiles.

    Raises ValueError as `flash_attention` does, or for a dy that has not the shape of q.
    Source: dao2023flashattention2, §3.1 algorithms 1 and 2.
    """
    kept = flash_attention(q, k, v, causal=causal, scale=scale, block_q=block_q, block_k=block_k)
    return flash_attention_backward(dy, q, k, v, *kept, causal=causal, scale=scale, block_q=block_q, block_k=block_k)


def _scale(q, k, v, scale, block_q, block_k) -> float:
    """The scale, when all that a call is given is in order."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect.floating(name, x)
    ours, keys, values = (
        expect.axes(n, x, f"B H {axis} K") for n, x, axis in (("q", q, "T"), ("k", k, "S"), ("v", v, "S"))
    )
    for other in (keys, values):
        expect.agree(**{letter: (ours[letter], other[letter]) for letter in "BHK"})
    expect.agree(S=(keys["S"], values["S"]))
    expect.natural("block_q", block_q, 1)
    expect.natural("block_k", block_k, 1)
    if scale is None:
        return ours["K"] ** -0.5
    expect.number("scale", scale)
    return scale


def _finite(m):
    """A shift to subtract: m, or zero where that is infinite, since −∞ less −∞ is NaN."""
    return torch.where(m.isinf(), 0, m)


def _next(top, s):
    """The largest score so far, the factor of what was shifted by the one before, and e^s shifted by the new one.

    The largest is a constant of differentiation: the results do not depend on the shift.
    """
    new = torch.maximum(top, s.detach().amax(-1, keepdim=True))
    return new, torch.exp(top - _finite(new)), torch.exp(s - _finite(new))


def _divisor(total):
    """One in place of a sum of nothing: what is divided is zero then."""
    return torch.where(total == 0, 1, total)


def _logarithm(top, total):
    """log Σ e^s, −∞ for a sum of nothing, without a slope there."""
    return torch.where(total == 0, -torch.inf, _finite(top) + torch.log(_divisor(total)))


def _scores(q, k, scale, ahead):
    """The scores of a tile, −∞ where hidden, and what is seen: query i sees key j ≤ i + ahead; None is everything."""
    s = q @ k.mT * scale
    if ahead is None or ahead >= k.shape[2] - 1:
        return s, None
    sees = torch.arange(k.shape[2], device=q.device) <= torch.arange(q.shape[2], device=q.device)[:, None] + ahead
    return torch.where(sees, s, -torch.inf), sees


def _product(p, x, sees):
    """p x, in which a row that a query may not see has no part, were it NaN."""
    if sees is None or bool(x.isfinite().all()):
        return p @ x
    return torch.einsum("bhts,bhtsk->bhtk", p, torch.where(sees[..., None], x[..., None, :, :], 0))
