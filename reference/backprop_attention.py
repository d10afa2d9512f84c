r"""Attention, forward and backward by hand; how to read it stands in reference/backprop_layers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import attention as forward
from reference import expect
from reference.backprop_layers import arrives
from reference.backprop_loss import Softmax, softmax_backward

if TYPE_CHECKING:
    from torch import Tensor


class Attention(NamedTuple):
    """Queries, keys, values, the weights between them, and the scale: not the scores."""

    q: Tensor
    k: Tensor
    v: Tensor
    p: Tensor
    scale: float


def attention(q, k, v, *, causal: bool = False, mask=None, scale: float | None = None):
    """Σ_s p_ts v_s; the weights are what attention makes of unit vectors."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect.floating(name, x)
        expect.axes(name, x, "B H S K")
    for other in (q, v):
        expect.agree(B=(k.shape[0], other.shape[0]), H=(k.shape[1], other.shape[1]))
    expect.agree(S=(k.shape[2], v.shape[2]))
    K, S = v.shape[-1], k.shape[2]
    unit = torch.eye(S, dtype=v.dtype, device=v.device).expand(*k.shape[:2], S, S)
    both = forward.attention(q, k, torch.cat([v, unit], -1), causal=causal, mask=mask, scale=scale)
    y, p = (part.contiguous() for part in both.split([K, S], -1))  # a view would keep both in memory
    read = (p != 0).any(-2)[..., None]  # what no query sees is not read, were it NaN
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return y, Attention(q, torch.where(read, k, 0), torch.where(read, v, 0), p, scale)


def attention_backward(dy, cache: Attention):
    """Back through p v, through softmax, and through q kᵀ: both products pass on the other factor."""
    q, k, v, p, scale = cache
    arrives(dy, (*q.shape[:3], v.shape[-1]))
    dv = torch.einsum("bhts,bhtk->bhsk", p, dy)
    dp = torch.einsum("bhtk,bhsk->bhts", dy, v)
    ds = softmax_backward(dp, Softmax(p)) * scale
    return torch.einsum("bhts,bhsk->bhtk", ds, k), torch.einsum("bhts,bhtk->bhsk", ds, q), dv
