"""What a pair by hand keeps and takes, as multiples of what autograd does on the same forward pass."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from reference.backprop_attention import attention, attention_backward
from reference.backprop_block import Weights, block, block_backward
from reference.backprop_layers import gelu, gelu_backward, linear, linear_backward
from reference.backprop_norms import layer_norm, layer_norm_backward


def held(cache) -> set[tuple[int, int]]:
    """(address, bytes) of every memory that a cache keeps."""
    if isinstance(cache, torch.Tensor):
        return {(cache.untyped_storage().data_ptr(), cache.untyped_storage().nbytes())}
    return set().union(*map(held, cache)) if isinstance(cache, tuple) else set()


def saved(f, *xs) -> int:
    """Bytes that autograd keeps for the backward pass of f, operation by operation."""
    kept: dict[int, torch.Tensor] = {}  # the tensors themselves: a freed one's memory would lend its address to another

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        f(*xs)
    return sum(x.untyped_storage().nbytes() for x in kept.values())


def costs() -> Iterator[dict[str, Any]]:
    """Bytes and seconds of the pairs, as multiples of autograd's on the same forward pass."""
    draw = torch.Generator().manual_seed(0)
    B, T, D, H, F = 2, 64, 128, 4, 512

    def tensor(*shape):
        return torch.randn(shape, generator=draw) * 0.1

    x, q = tensor(B, T, D), [tensor(B, H, T, D // H) for _ in range(3)]
    shapes = dict.fromkeys(Weights._fields, (D,)) | dict.fromkeys(("q", "k", "v", "out"), (D, D))
    shapes |= {"up": (F, D), "up_bias": (F,), "down": (D, F)}
    weights = [tensor(*shapes[name]) for name in Weights._fields]
    pairs: dict[str, tuple[Any, Any, list[torch.Tensor]]] = {
        "linear": (linear, linear_backward, [x, tensor(F, D), tensor(F)]),
        "gelu": (gelu, gelu_backward, [x]),
        "layer_norm": (layer_norm, layer_norm_backward, [x, tensor(D), tensor(D)]),
        "attention": (partial(attention, causal=True), attention_backward, q),
        "block": (lambda x, *w: block(x, Weights(*w), H), block_backward, [x, *weights]),
    }
    for name, (forward, backward, xs) in pairs.items():
        y, cache = forward(*xs)
        dy, leaves = torch.ones_like(y), [t.clone().requires_grad_() for t in xs]

        def by_hand(forward=forward, backward=backward, xs=xs, dy=dy):
            backward(dy, forward(*xs)[1])

        def by_autograd(forward=forward, leaves=leaves, dy=dy):
            torch.autograd.grad(forward(*leaves)[0], leaves, dy)

        seconds = {run: math.inf for run in (by_hand, by_autograd)}
        for _ in range(40):  # in turn, so that what else the machine does falls on both
            for run in seconds:
                started = time.perf_counter()
                run()
                seconds[run] = min(seconds[run], time.perf_counter() - started)
        kept = saved(lambda *leaves, forward=forward: forward(*leaves)[0], *leaves)
        ours, ratio = sum(size for _, size in held(cache)), seconds[by_hand] / seconds[by_autograd]
        yield {"pair": name, "cache": ours, "autograd": kept, "bytes": ours / kept, "seconds": ratio}
