r"""Layers, forward and backward by hand: each keeps a cache of what its backward pass needs, and nothing else.

    y, cache = linear(x, w, b)        dx, dw, db = linear_backward(dy, cache)

dy is the gradient of the loss by y; the gradients come in the order of the arguments. Shapes and errors are those of
the functions in reference/backprop.py. Article papers/backprop.md, derivation derivations/backprop.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import activations, expect

if TYPE_CHECKING:
    from torch import Tensor


def arrives(dy, y_shape) -> None:
    """A gradient has the shape of what it is the gradient by."""
    expect.floating("dy", dy)
    if tuple(dy.shape) != tuple(y_shape):
        expect.fail("dy", f"the shape of the output, {tuple(y_shape)}", f"shape {tuple(dy.shape)}")


class Linear(NamedTuple):
    """Input and weight: the bias is not needed again."""

    x: Tensor
    w: Tensor


def linear(x, w, b):
    """x wᵀ + b."""
    for name, tensor in (("x", x), ("w", w), ("b", b)):
        expect.floating(name, tensor)
    if x.ndim == 0:
        expect.fail("x", "at least one axis", "shape ()")
    sizes = expect.axes("w", w, "F D")
    expect.agree(D=(x.shape[-1], sizes["D"]), F=(sizes["F"], expect.axes("b", b, "F")["F"]))
    return torch.einsum("...d,fd->...f", x, w) + b, Linear(x, w)


def linear_backward(dy, cache: Linear):
    """Every row has read the weight and the bias: their gradients are sums over the rows."""
    x, w = cache
    arrives(dy, (*x.shape[:-1], len(w)))
    return torch.einsum("...f,fd->...d", dy, w), torch.einsum("...f,...d->fd", dy, x), torch.einsum("...f->f", dy)


class Embedding(NamedTuple):
    """The symbols read, and the shape of the table: not the table."""

    ids: Tensor
    shape: torch.Size


def embedding(ids, table):
    """The row of the table for every symbol."""
    expect.floating("table", table)
    expect.indices("ids", ids, expect.axes("table", table, "V D")["V"])
    return table[ids.long()], Embedding(ids, table.shape)


def embedding_backward(dy, cache: Embedding):
    """A row gets the sum of the gradients of all places that read it."""
    ids, (V, D) = cache
    arrives(dy, (*ids.shape, D))
    return dy.new_zeros(V, D).index_add(0, ids.flatten().long(), dy.reshape(-1, D))


def residual(x, branch):
    """x + branch(x), of a function that returns an output and a cache."""
    y, cache = branch(x)
    return x + y, cache


def residual_backward(dy, branch_backward, cache):
    """The gradient passes unchanged, and that of the branch is added to it."""
    dx, *others = branch_backward(dy, cache)
    return dy + dx, *others


class Gelu(NamedTuple):
    """The input, and which of the two forms."""

    x: Tensor
    approximate: str


def gelu(x, approximate: str = "none"):
    """x Φ(x), or its tanh form."""
    return activations.gelu(x, approximate), Gelu(x, approximate)


def gelu_backward(dy, cache: Gelu):
    """Φ(x) + x φ(x); of the tanh form the derivative of the tanh form."""
    x, approximate = cache
    arrives(dy, x.shape)
    if approximate == "none":
        density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return dy * ((1 + torch.erf(x / math.sqrt(2))) / 2 + x * density)
    root = math.sqrt(2 / math.pi)
    t = torch.tanh(root * (x + 0.044715 * x**3))
    return dy * ((1 + t) / 2 + x * (1 - t**2) / 2 * root * (1 + 3 * 0.044715 * x**2))


class Swiglu(NamedTuple):
    """Both inputs: each is the other's slope."""

    gate: Tensor
    up: Tensor


def swiglu(gate, up):
    """silu(gate) · up."""
    return activations.swiglu(gate, up), Swiglu(gate, up)


def swiglu_backward(dy, cache: Swiglu):
    """A product: each factor's gradient is dy times the other, and the gate's times the slope of silu as well."""
    gate, up = cache
    arrives(dy, gate.shape)
    s = activations.sigmoid(gate)
    return dy * up * s * (1 + gate * (1 - s)), dy * (gate * s)
