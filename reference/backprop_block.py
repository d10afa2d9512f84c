r"""A transformer block, forward and backward by hand: nothing but the pairs of the other files, in reverse order.

    x ← x + attention(norm(x)),     x ← x + feed_forward(norm(x))

This is GPT-2's block: pre-norm, biases, GELU. How to read it stands in reference/backprop_layers.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from reference import expect
from reference.backprop_attention import Attention, attention, attention_backward
from reference.backprop_layers import (
    Gelu,
    Linear,
    arrives,
    gelu,
    gelu_backward,
    linear,
    linear_backward,
    residual,
    residual_backward,
)
from reference.backprop_norms import Norm, layer_norm, layer_norm_backward

if TYPE_CHECKING:
    from torch import Tensor


class Weights(NamedTuple):
    """Two norms "D"; the projections q, k, v, out "D D", up "F D" and down "D F"; a bias beside each."""

    norm1: Tensor
    norm1_bias: Tensor
    q: Tensor
    q_bias: Tensor
    k: Tensor
    k_bias: Tensor
    v: Tensor
    v_bias: Tensor
    out: Tensor
    out_bias: Tensor
    norm2: Tensor
    norm2_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor


def heads(x, H: int):
    """From "B T D" to "B H T K": the features of head h are the h-th K of D."""
    return x.unflatten(-1, (H, -1)).transpose(1, 2)


def side_by_side(x):
    """From "B H T K" to "B T D": the reverse of `heads`, and its backward pass."""
    return x.transpose(1, 2).flatten(2)


class Attended(NamedTuple):
    """The caches of the attention branch, in order."""

    norm: Norm
    q: Linear
    k: Linear
    v: Linear
    attention: Attention
    out: Linear


def attend(x, w: Weights, H: int, causal: bool, eps: float):
    """norm, three projections, attention in H heads, one projection."""
    normal, norm = layer_norm(x, w.norm1, w.norm1_bias, eps)
    (q, of_q), (k, of_k), (v, of_v) = (
        linear(normal, *pair) for pair in ((w.q, w.q_bias), (w.k, w.k_bias), (w.v, w.v_bias))
    )
    mixed, of_attention = attention(*(heads(part, H) for part in (q, k, v)), causal=causal)
    y, of_out = linear(side_by_side(mixed), w.out, w.out_bias)
    return y, Attended(norm, of_q, of_k, of_v, of_attention, of_out)


def attend_backward(dy, cache: Attended):
    """The normalized row is read three times: its three gradients add."""
    dmixed, *out = linear_backward(dy, cache.out)
    parts = attention_backward(heads(dmixed, cache.attention.q.shape[1]), cache.attention)
    pairs = zip(parts, (cache.q, cache.k, cache.v), strict=True)
    (dq, *q), (dk, *k), (dv, *v) = (linear_backward(side_by_side(part), of) for part, of in pairs)
    dx, *norm = layer_norm_backward(dq + dk + dv, cache.norm)
    return dx, *norm, *q, *k, *v, *out


class Fed(NamedTuple):
    """The caches of the feed-forward branch, in order."""

    norm: Norm
    up: Linear
    gelu: Gelu
    down: Linear


def feed_forward(x, w: Weights, approximate: str, eps: float):
    """norm, a projection to width F, GELU, and back to width D."""
    normal, norm = layer_norm(x, w.norm2, w.norm2_bias, eps)
    wide, of_up = linear(normal, w.up, w.up_bias)
    bent, of_gelu = gelu(wide, approximate)
    y, of_down = linear(bent, w.down, w.down_bias)
    return y, Fed(norm, of_up, of_gelu, of_down)


def feed_forward_backward(dy, cache: Fed):
    """The same, from the end."""
    dbent, *down = linear_backward(dy, cache.down)
    dnormal, *up = linear_backward(gelu_backward(dbent, cache.gelu), cache.up)
    dx, *norm = layer_norm_backward(dnormal, cache.norm)
    return dx, *norm, *up, *down


class Block(NamedTuple):
    """The caches of both branches: the residual stream itself is not kept."""

    attended: Attended
    fed: Fed


def block(x, w: Weights, H: int, *, causal: bool = True, approximate: str = "tanh", eps: float = 1e-5):
    """Two residual branches."""
    expect.natural("H", H, 1)
    D = expect.axes("x", x, "B T D")["D"]
    if D % H:
        expect.fail("x", f"D a multiple of {H} heads", f"D = {D}")
    for name in ("q", "k", "v"):
        expect.agree(D=(D, expect.axes(name, getattr(w, name), "out in")["out"]))
    x, attended = residual(x, partial(attend, w=w, H=H, causal=causal, eps=eps))
    x, fed = residual(x, partial(feed_forward, w=w, approximate=approximate, eps=eps))
    return x, Block(attended, fed)


def block_backward(dy, cache: Block):
    """(dx, gradients of the weights): each branch gets a copy of the gradient, and adds what it returns."""
    arrives(dy, cache.fed.norm.normal.shape)
    dx, *fed = residual_backward(dy, feed_forward_backward, cache.fed)
    dx, *attended = residual_backward(dx, attend_backward, cache.attended)
    return dx, Weights(*attended, *fed)
