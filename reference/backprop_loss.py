r"""Softmax and cross-entropy, forward and backward by hand; how to read it stands in reference/backprop_layers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import loss
from reference import softmax as forward
from reference.backprop_layers import arrives

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(NamedTuple):
    """The probabilities: the logits are not needed again."""

    p: Tensor


def softmax(z):
    """exp(z) over its sum."""
    p = forward.softmax(z)
    return p, Softmax(p)


def softmax_backward(dy, cache: Softmax):
    """p(dy − ⟨p, dy⟩), a row at a time: the Jacobian diag(p) − ppᵀ is never formed."""
    (p,) = cache
    arrives(dy, p.shape)
    return p * (dy - torch.einsum("...v,...v->...", p, dy)[..., None])


class CrossEntropy(NamedTuple):
    """Logits and targets, and which rows count how."""

    z: Tensor
    target: Tensor
    ignore_index: int
    label_smoothing: float


def cross_entropy(z, target, ignore_index: int = -100, label_smoothing: float = 0.0):
    """The mean over the counted rows of the surprise at the target."""
    cache = CrossEntropy(z, target, ignore_index, label_smoothing)
    return loss.cross_entropy(*cache), cache


def cross_entropy_backward(dy, cache: CrossEntropy):
    """dy(p − q)/n, with dy one where the loss is the end of the graph: softmax's Jacobian has cancelled."""
    arrives(dy, ())
    return dy * loss.cross_entropy_gradient(*cache)
