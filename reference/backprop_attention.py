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
    """Queries; keys and values, a copy for every query head; the weights, the sink's last: not the scores.

    `slope` is what a score gains with q · k, G counts the heads of keys, `bias` is the shape of the bias, if given.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    p: Tensor
    slope: Tensor | float
    G: int
    bias: torch.Size | None


def attention(q, k, v, *, causal: bool = False, mask=None, scale: float | None = None):
    """Σ_s p_ts v_s with nothing that models add: every query head has keys of its own."""
    expect.agree(H=(expect.axes("q", q, "B H T K")["H"], expect.axes("k", k, "B H S K")["H"]))
    return attend(q, k, v, causal=causal, mask=mask, scale=scale)


def attend(q, k, v, *, bias=None, softcap: float | None = None, sinks=None, scale: float | None = None, **sight):
    """The same with all options."""
    keys, values, sees, z = forward.logits(q, k, v, bias=bias, softcap=softcap, scale=scale, **sight)
    p = forward.weights(z, sinks)
    slope = q.shape[-1] ** -0.5 if scale is None else scale
    if softcap is not None:
        slope = slope * (1 - torch.tanh(forward.scores(q, keys, scale) / softcap) ** 2)
    y = forward.average(p[..., : keys.shape[2]], values, sees)
    return y, Attention(q, keys, values, p, slope, k.shape[1], None if bias is None else bias.shape)


def attention_backward(dy, cache: Attention):
    """Back through p v, through softmax, and through q kᵀ: both products pass on the other factor.

    What was broadcast forward is summed: keys and values over the heads that share them, a bias to its own shape.
    """
    q, k, v, weights, slope, G, bias = cache
    arrives(dy, (*q.shape[:3], v.shape[-1]))
    p, none = weights.split([k.shape[2], weights.shape[-1] - k.shape[2]], -1)
    dv = torch.einsum("bhts,bhtk->bhsk", p, dy)
    dp = torch.einsum("bhtk,bhsk->bhts", dy, v)
    dz = softmax_backward(dp, Softmax(p))  # by what softmax was given, and so by the bias
    ds = dz * slope
    dq, dk = torch.einsum("bhts,bhsk->bhtk", ds, k), torch.einsum("bhts,bhtk->bhsk", ds, q)
    found = [dq, *(d.unflatten(1, (G, -1)).sum(2) for d in (dk, dv))]
    if bias is not None:
        found.append(dz.sum_to_size(bias))
    if none.shape[-1]:  # the value of the sink is zero: p₀(0 − ⟨p, dp⟩)
        found.append(-torch.einsum("bhtn,bhts,bhts->h", none, p, dp))
    return tuple(found)
