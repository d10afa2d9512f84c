r"""Attention of one head with a small fast memory beside a large slow one: every number moved between them is counted.

Arithmetic takes place in the fast memory alone, which holds M numbers and refuses more (on a GPU it is the SRAM of one
multiprocessor, and the slow one HBM). Forward, a tile of queries stays and the keys pass by; backward, a tile of keys
stays and the queries pass by. What is counted is predicted by derivations/flash_io.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Memory:
    """A fast memory of M numbers: what it has loaded and stored, what it holds, and the most that it held."""

    def __init__(self, M: float = math.inf) -> None:
        self.M, self.held, self.most, self.loaded, self.stored = M, 0, 0, 0, 0

    @property
    def moved(self) -> int:
        return self.loaded + self.stored

    def hold(self, x: Tensor) -> Tensor:
        """Room for a tile that is computed here. Raises ValueError when there is none."""
        self.held += x.numel()
        self.most = max(self.most, self.held)
        if self.held > self.M:
            expect.fail("M", f"a memory that holds {self.held} numbers", f"one of {self.M}")
        return x

    def load(self, x: Tensor) -> Tensor:
        """A tile of the slow memory, copied."""
        self.loaded += x.numel()
        return self.hold(x.clone())

    def store(self, x: Tensor) -> Tensor:
        """A tile that leaves for the slow memory."""
        self.stored += x.numel()
        self.drop(x)
        return x

    def drop(self, *tiles: Tensor) -> None:
        """Tiles whose room is free again."""
        self.held -= sum(x.numel() for x in tiles)


def queries_that_fit(M: int, K: int, block_k: int) -> int:
    r"""The largest tile of queries beside block_k keys: M ≥ queries (2K + 3 + block_k) + 2 block_k K numbers.

    A query and its output, three numbers of its row and its scores; the keys and their values.
    Raises ValueError when not one fits.
    """
    return _fit(M, 2 * block_k * K, 2 * K + 3 + block_k)


def keys_that_fit(M: int, K: int, block_q: int) -> int:
    r"""The largest tile of keys beside block_q queries, on the way back: M ≥ keys (4K + 2 block_q) + block_q (3K + 2).

    A key, its value and their gradients, weights and their slopes; a query, its gradient, what arrives, two numbers.
    Raises ValueError when not one fits.
    """
    return _fit(M, block_q * (3 * K + 2), 4 * K + 2 * block_q)


def _fit(M, other, each):
    if other + each > M:
        expect.fail("M", f"at least {other + each} numbers", M)
    return (M - other) // each


def tiled(
    q: Float[Tensor, "T K"],
    k: Float[Tensor, "S K"],
    v: Float[Tensor, "S K"],
    memory: Memory,
    *,
    block_q: int,
    block_k: int,
    causal: bool = False,
) -> tuple[Float[Tensor, "T K"], Float[Tensor, "T"]]:
    r"""Output and log-sum-exp of one head, a tile of queries at a time; causal wants T = S.

    Raises ValueError when a tile does not fit into the memory, and for sizes that do not agree.
    Source: dao2023flashattention2, §3.1 algorithm 1.
    """
    T, S, scale = _sizes(q, k, v, causal)
    outputs, kept = [], []
    for i in range(0, T, block_q):
        mine = memory.load(q[i : i + block_q])
        out, total = memory.hold(torch.zeros_like(mine)), memory.hold(mine.new_zeros(len(mine), 1))
        top = memory.hold(torch.full_like(total, -torch.inf))
        for j in range(0, i + len(mine) if causal else S, block_k):
            keys, values = memory.load(k[j : j + block_k]), memory.load(v[j : j + block_k])
            s = memory.hold(mine @ keys.mT).mul_(scale)
            if causal:
                _hide(s, i - j)
            new = memory.hold(torch.maximum(top, s.amax(-1, keepdim=True)))
            weights, shrink = s.sub_(new).exp_(), top.sub_(new).exp_()
            total.mul_(shrink).add_(weights.sum(-1, keepdim=True))
            out.mul_(shrink).addmm_(weights, values)
            memory.drop(top, keys, values, s)
            top = new
        outputs.append(memory.store(out.div_(total)))
        kept.append(memory.store(top.add_(total.log())).squeeze(-1))
        memory.drop(mine, total)
    return torch.cat(outputs), torch.cat(kept)


def tiled_backward(
    do: Float[Tensor, "T K"],
    q: Float[Tensor, "T K"],
    k: Float[Tensor, "S K"],
    v: Float[Tensor, "S K"],
    o: Float[Tensor, "T K"],
    lse: Float[Tensor, "T"],
    memory: Memory,
    *,
    block_q: int,
    block_k: int,
    causal: bool = False,
) -> tuple[Float[Tensor, "T K"], Float[Tensor, "S K"], Float[Tensor, "S K"]]:
    r"""The gradients of q, k and v of one head, a tile of keys at a time; causal wants T = S.

    dq is stored for every tile of keys, and loaded again for the next one. D = Σ do · o is made first.
    Raises ValueError when a tile does not fit into the memory, and for sizes that do not agree.
    Source: dao2023flashattention2, §3.1 algorithm 2.
    """
    T, S, scale = _sizes(q, k, v, causal)
    sums, found = [], []
    for i in range(0, T, block_q):
        arrived, out = memory.load(do[i : i + block_q]), memory.load(o[i : i + block_q])
        sums.append(memory.store(memory.hold(arrived.mul_(out).sum(-1, keepdim=True))))
        memory.drop(arrived, out)
    inside, dq = torch.cat(sums), torch.zeros_like(q)
    for j in range(0, S, block_k):
        keys, values = memory.load(k[j : j + block_k]), memory.load(v[j : j + block_k])
        dk, dv = memory.hold(torch.zeros_like(keys)), memory.hold(torch.zeros_like(values))
        for i in range(0, T, block_q):
            rows = slice(i, i + block_q)
            if causal and j >= i + len(q[rows]):
                continue
            mine, arrived = memory.load(q[rows]), memory.load(do[rows])
            log, inner = memory.load(lse[rows, None]), memory.load(inside[rows])
            slope = memory.load(dq[rows]) if j else memory.hold(torch.zeros_like(mine))
            p = memory.hold(mine @ keys.mT).mul_(scale)
            if causal:
                _hide(p, i - j)
            p.sub_(log).exp_()
            dv.addmm_(p.mT, arrived)
            ds = memory.hold(arrived @ values.mT).sub_(inner).mul_(p).mul_(scale)
            dk.addmm_(ds.mT, mine)
            dq[rows] = memory.store(slope.addmm_(ds, keys))
            memory.drop(mine, arrived, log, inner, p, ds)
        found.append((memory.store(dk), memory.store(dv)))
        memory.drop(keys, values)
    dk, dv = (torch.cat(tiles) for tiles in zip(*found, strict=True))
    return dq, dk, dv


def naive(
    q: Float[Tensor, "T K"], k: Float[Tensor, "S K"], v: Float[Tensor, "S K"], memory: Memory
) -> Float[Tensor, "T K"]:
    r"""Attention in three steps, each from the slow memory and back: scores, weights, and averages of values.

    A product loads both its factors once, as if there were room for all of them: what it moves is the least it can.
    Raises ValueError for sizes that do not agree.
    Source: dao2022flashattention, §2.2 algorithm 0.
    """
    _, _, scale = _sizes(q, k, v, False)
    s = memory.store(memory.hold((memory.load(q) @ memory.load(k).mT).mul_(scale)))
    p = memory.store(memory.load(s).softmax(-1))
    return memory.store(memory.hold(memory.load(p) @ memory.load(v)))


def _sizes(q, k, v, causal):
    """T, S and 1/√K."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect.floating(name, x)
    ours, keys, values = (expect.axes(*named) for named in (("q", q, "T K"), ("k", k, "S K"), ("v", v, "S K")))
    expect.agree(K=(ours["K"], keys["K"]), S=(keys["S"], values["S"]))
    if values["K"] != keys["K"]:
        expect.fail("axis K", f"one size, {keys['K']}", values["K"])
    if causal:
        expect.agree(S=(ours["T"], keys["S"]))
    return ours["T"], keys["S"], ours["K"] ** -0.5


def _hide(s, ahead):
    """−∞ for key j of a tile when it comes after query i: j > i + ahead."""
    s.masked_fill_(torch.ones_like(s, dtype=torch.bool).triu(ahead + 1), -torch.inf)
