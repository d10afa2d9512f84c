"""What attention in tiles moves, takes and multiplies: python -m bench flash [--lengths …] [--json] [--svg FILE].

Numbers moved between a large memory and one of M are counted by a walk that refuses to hold more than M; operations by
PyTorch's counter; peaks of memory are read off PyTorch's allocator on a CPU, beside attention that makes its matrix.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch

from bench.closed import evaluated
from bench.experiment import report, row
from bench.meter import counted_flops
from derivations.flash_io import BACKWARD, BACKWARD_FLOPS, CAUSAL, FORWARD, FORWARD_FLOPS, NAIVE
from reference.attention import attention
from reference.flash import BLOCK, flash_attention, flash_attention_backward, flash_attention_vjp
from reference.flash_io import Memory, keys_that_fit, naive, queries_that_fit, tiled, tiled_backward

T, K, PASSING = 1000, 64, 16
"""Queries, and keys, of a head, its dimension, and the size of the tiles that pass by."""
MEMORIES = tuple(2**n for n in range(12, 18))


def moved() -> Iterator[dict[str, Any]]:
    """Numbers moved for memories of several sizes, with the largest tiles that fit; without tiles it is one number."""
    draw = torch.Generator().manual_seed(0)
    q, k, v, do = (torch.randn(T, K, generator=draw, dtype=torch.float64) for _ in range(4))
    for M in MEMORIES:
        sizes = {"T": T, "S": T, "K": K}
        block_q, block_k = queries_that_fit(M, K, PASSING), keys_that_fit(M, K, PASSING)
        memory = Memory(M)
        o, lse = tiled(q, k, v, memory, block_q=block_q, block_k=PASSING)
        said = evaluated(FORWARD, **sizes, n=-(-T // block_q))
        yield row("numbers moved", "forward", M, memory.moved, said, tile=block_q, held=memory.most)
        memory = Memory(M)
        tiled_backward(do, q, k, v, o, lse, memory, block_q=PASSING, block_k=block_k)
        said = evaluated(BACKWARD, **sizes, m=-(-T // block_k))
        yield row("numbers moved", "backward", M, memory.moved, said, tile=block_k, held=memory.most)
        side, memory = square(M), Memory(M)
        tiled(q, k, v, memory, block_q=side, block_k=side, causal=True)
        said = evaluated(CAUSAL, T=T, K=K, n=T // side)
        yield row("numbers moved", "forward, causal", M, memory.moved, said, tile=side, held=memory.most)
        memory = Memory()
        naive(q, k, v, memory)
        yield row("numbers moved", "forward, matrices", M, memory.moved, evaluated(NAIVE, **sizes), tile=T)


def square(M: int) -> int:
    """The side of the largest square tile that fits, among those that divide T."""
    sides = [B for B in range(1, T + 1) if T % B == 0 and M >= B * (2 * K + 3 + B) + 2 * B * K]
    return max(sides)


def multiplied() -> Iterator[dict[str, Any]]:
    """Operations of all matrix products, forward and backward, in ragged tiles."""
    q, k, v = (torch.zeros(1, 1, T, K) for _ in range(3))
    o, lse = flash_attention(q, k, v)
    sizes = {"T": T, "S": T, "K": K}
    forward = counted_flops(partial(flash_attention, q, k, v))
    backward = counted_flops(partial(flash_attention_backward, q, q, k, v, o, lse))
    yield row("operations", "forward", T, forward, evaluated(FORWARD_FLOPS, **sizes))
    yield row("operations", "backward", T, backward, evaluated(BACKWARD_FLOPS, **sizes))


def peak_bytes(f: Callable[[], Any]) -> int:
    """The most bytes that f holds at once beside its arguments, off the stream of PyTorch's allocator on a CPU."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            result = f()
    finally:
        torch.set_num_threads(threads)
    del result
    events = profile.profiler.kineto_results.events()
    changes = sorted(((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"), key=lambda c: c[0])
    held = most = 0
    for _, size in changes:
        held += size
        most = max(most, held)
    return most


def taken(lengths, B=1, H=2, K=64) -> Iterator[dict[str, Any]]:
    """Peaks of memory at several lengths, in float32; of several whole tiles predicted, from the tensors alive then."""
    for n in lengths:
        q, k, v, dy = (torch.randn(B, H, n, K) for _ in range(4))
        whole, tile = n % BLOCK == 0 and n > BLOCK, BLOCK * BLOCK

        def both(q=q, k=k, v=v, dy=dy):
            xs = [x.detach().requires_grad_() for x in (q, k, v)]
            return torch.autograd.grad(attention(*xs), xs, dy)

        # masked scores, exponentials, weights; the mask; keys and values that are read; sums, and what divides
        matrix = 4 * B * H * (3 * n * n + 2 * n * K + 2 * n) + n * n
        # outputs and log-sum-exps, tile by tile and put together; of the last tile the output, scores, weights, 3 rows
        tiles = 4 * B * H * (2 * n * (K + 1) + BLOCK * K + 2 * tile + 3 * BLOCK)
        # o, lse and D; three gradients, tile by tile and put together; of the last tile scores, weights and slopes
        back = 4 * B * H * (n * (7 * K + 2) + 3 * tile)
        for name, f, said in (
            ("forward, matrix", partial(attention, q, k, v), matrix),
            ("forward, tiles", partial(flash_attention, q, k, v), tiles),
            ("and back, matrix", both, None),
            ("and back, tiles", partial(flash_attention_vjp, dy, q, k, v), back),
        ):
            yield row("peak bytes", name, n, peak_bytes(f), said if whole else None)


def rows(lengths) -> Iterator[dict[str, Any]]:
    """Every measurement, as it is made."""
    yield from chain(multiplied(), moved(), taken(lengths))


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Two panels: numbers moved against the size of the memory, bytes against the length."""
    from bench.figures import frame, names, panels, save, series

    figure, sides = panels(2, "Attention in tiles: what it moves (lines predicted, dots counted), and what it takes")
    for axes, what, unit in ((sides[0], "numbers moved", 1e6), (sides[1], "peak bytes", 2**20)):
        ends = []
        for color, name in enumerate(dict.fromkeys(r["of"] for r in found if r["what"] == what)):
            mine = [r for r in found if r["what"] == what and r["of"] == name]
            xs, seen = [r["at"] for r in mine], [r["measured"] / unit for r in mine]
            said = [r["predicted"] / unit for r in mine] if mine[0]["predicted"] else None
            series(axes, xs, seen, predicted=said, color=color)
            ends.append((xs[-1], seen[-1], name, color))
        if what == "numbers moved":
            frame(axes, "numbers that the small memory holds", f"millions of numbers moved, T = {T}, K = {K}", log="xy",
                  xticks=xs)  # fmt: skip
        else:
            frame(axes, "length T", "peak of memory in MiB, two heads of 64", log="xy", xticks=xs)
        names(axes, ends)
    save(figure, path)


def main(options) -> int:
    """The rows, the figure; 1 where a number is not as predicted."""

    def wrong(r):
        return r["ratio"] not in (None, 1.0)

    return report("flash", options, rows(options.lengths), drawn, wrong=wrong,
                  T=T, K=K, passing=PASSING, heads="1 × 2 × 64 for peaks")  # fmt: skip
