r"""The norms, forward and backward by hand; how to read it stands in reference/backprop_layers.py.

All three divide by a size that every entry takes part in: what passes back is u = dy · weight without its mean (where
the mean was subtracted) and without its component along the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect, normalization
from reference.backprop_layers import arrives

if TYPE_CHECKING:
    from torch import Tensor


class Norm(NamedTuple):
    """The input normalized, one over its size, and the weight: not the input."""

    normal: Tensor
    inverse: Tensor
    weight: Tensor


def _given(**vectors) -> None:
    """Here weight and bias may not be left out: they have gradients."""
    for name, vector in vectors.items():
        expect.floating(name, vector)


def _inverse(centred, eps: float, axis: int):
    return 1 / torch.sqrt(centred.square().mean(axis, keepdim=True) + eps)


def _across(u, cache: Norm, axis: int):
    """u without its component along the output, over the size."""
    return cache.inverse * (u - cache.normal * (u * cache.normal).mean(axis, keepdim=True))


def _vectors(dy, cache: Norm):
    """The gradients of weight and bias: every row has read them."""
    return torch.einsum("...d,...d->d", dy, cache.normal), torch.einsum("...d->d", dy)


def layer_norm(x, weight, bias, eps: float = 1e-5):
    """(x − μ)/√(σ² + ε) · weight + bias, each row by itself."""
    _given(weight=weight, bias=bias)
    y, normal = normalization.layer_norm(x, weight, bias, eps), normalization.layer_norm(x, eps=eps)
    return y, Norm(normal, _inverse(x - x.mean(-1, keepdim=True), eps, -1), weight)


def layer_norm_backward(dy, cache: Norm):
    """Without the mean of u, and without its component along the output."""
    arrives(dy, cache.normal.shape)
    u = dy * cache.weight
    return _across(u - u.mean(-1, keepdim=True), cache, -1), *_vectors(dy, cache)


def rms_norm(x, weight, eps: float = 1e-6):
    """x/√(mean x² + ε) · weight, each row by itself."""
    _given(weight=weight)
    y, normal = normalization.rms_norm(x, weight, eps), normalization.rms_norm(x, eps=eps)
    return y, Norm(normal, _inverse(x, eps, -1), weight)


def rms_norm_backward(dy, cache: Norm):
    """Without the component along the output: there is no mean to take away."""
    arrives(dy, cache.normal.shape)
    return _across(dy * cache.weight, cache, -1), _vectors(dy, cache)[0]


def batch_norm(x, weight, bias, eps: float = 1e-5):
    """(x − μ)/√(σ² + ε) · weight + bias in training: each column by itself, over the rows of the batch."""
    _given(weight=weight, bias=bias)
    expect.axes("x", x, "N D")
    rest = x.new_zeros(x.shape[1])  # running statistics do not enter the output of training
    y, _, _ = normalization.batch_norm(x, rest, rest, weight, bias, training=True, eps=eps)
    normal, _, _ = normalization.batch_norm(x, rest, rest, training=True, eps=eps)
    return y, Norm(normal, _inverse(x - x.mean(0), eps, 0), weight)


def batch_norm_backward(dy, cache: Norm):
    """As layer_norm, down the columns."""
    arrives(dy, cache.normal.shape)
    u = dy * cache.weight
    return _across(u - u.mean(0), cache, 0), *_vectors(dy, cache)
