r"""A transformer block and its core, the attention that selective recomputation runs twice.

    x ← x + dropout(attention(norm(x)) Wₒᵀ),     x ← x + dropout(gelu(norm(x) Wᵤᵀ) W_dᵀ)

GPT-2's, without biases, its norms without weights. Attention is explicit and causal, and drops weights too.
Article papers/checkpointing.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from reference import expect
from reference.activations import gelu
from reference.attention import causal_mask, scores
from reference.backprop_block import heads, side_by_side
from reference.normalization import layer_norm
from reference.softmax import softmax

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

RECOMPUTE = ("none", "selective", "full")
DRAWN = 2**53


class Weights(NamedTuple):
    """Projections q, k, v and out "D D", up "F D", down "D F"."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    up: Tensor
    down: Tensor


def drop(x: Any, p: float) -> Any:
    """x/(1 − p) with probability 1 − p, else zero, by a number of 53 bits each from the CPU's generator; none if p = 0.

    Whole numbers are drawn, since p is no number of x's dtype: what is kept does not hang on rounding.
    """
    if p == 0:
        return x
    kept = torch.randint(DRAWN, x.shape) >= math.ceil(p * DRAWN)
    return torch.where(kept.to(x.device), x / (1 - p), 0)


def core(q: Any, k: Any, v: Any, dropout: float) -> Float[Tensor, "B H T K"]:
    """Causal attention whose weights are dropped: all of it that grows like T²."""
    weights = scores(q, k).masked_fill(~causal_mask(q.shape[2], k.shape[2], device=q.device), -torch.inf)
    return drop(softmax(weights), dropout) @ v


def block(x: Any, w: Weights, H: int, dropout: float, again: Callable[..., Any] | None) -> Float[Tensor, "B T D"]:
    """Both branches; `again` runs the core, where it is recomputed. Raises ValueError for axes that do not agree."""
    expect.floating("x", x)
    expect.natural("H", H, 1)
    D = expect.axes("x", x, "B T D")["D"]
    if D % H:
        expect.fail("x", f"D a multiple of {H} heads", f"D = {D}")
    F = expect.axes("up", w.up, "F D")["F"]
    for name, shape in zip(Weights._fields, [(D, D)] * 4 + [(F, D), (D, F)], strict=True):
        if tuple(getattr(w, name).shape) != shape:
            expect.fail(name, f"shape {shape}", f"shape {tuple(getattr(w, name).shape)}")
    normal = layer_norm(x)
    q, k, v = (heads(normal @ part.mT, H) for part in (w.q, w.k, w.v))
    mixed = core(q, k, v, dropout) if again is None else again(core, q, k, v, dropout)
    x = x + drop(side_by_side(mixed) @ w.out.mT, dropout)
    return x + drop(gelu(layer_norm(x) @ w.up.mT) @ w.down.mT, dropout)
