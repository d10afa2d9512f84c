r"""Normalization: each row is divided by its own size, so that the next layer sees one scale.

    layer_norm(x)_i = w_i (x_i − μ) / √(σ² + ε) + b_i,   rms_norm(x)_i = w_i x_i / √(mean x² + ε)

Article papers/normalization.md, derivation derivations/normalization.py, laws verify/normalization.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def _check(x, eps, **vectors) -> None:
    expect.floating("x", x)
    if x.ndim == 0:
        expect.fail("x", "at least one axis", "shape ()")
    for name, vector in vectors.items():
        if vector is not None:
            expect.floating(name, vector)
            expect.agree(D=(x.shape[-1], expect.axes(name, vector, "D")["D"]))
    expect.number("eps", eps, 0.0)


def layer_norm(
    x: Float[Tensor, "*B D"],
    weight: Float[Tensor, "D"] | None = None,
    bias: Float[Tensor, "D"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*B D"]:
    r"""(x − μ)/√(σ² + ε) · weight + bias, with the mean μ and the variance σ² (divisor D) of the last axis.

    A constant row gives the bias, and for ε = 0, where it is 0/0, NaN. NaN in a row makes the row NaN.
    Raises ValueError unless x is floating "*B D", weight and bias floating "D", and ε ≥ 0.
    Source: ba2016layernorm, §3 eq. (3) and §3.1 eq. (4); the place of ε is that of ioffe2015batchnorm, Algorithm 1.
    """
    _check(x, eps, weight=weight, bias=bias)
    centred = x - x.mean(-1, keepdim=True)
    # two passes: the mean of x² less μ² would lose every digit of a row that lies far from zero
    y = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(
    x: Float[Tensor, "*B D"], weight: Float[Tensor, "D"] | None = None, eps: float = 1e-6
) -> Float[Tensor, "*B D"]:
    r"""x/√(mean x² + ε) · weight over the last axis: layer_norm without the mean and without the bias.

    A zero row stays zero, and for ε = 0, where it is 0/0, gives NaN. NaN in a row makes the row NaN.
    Raises ValueError unless x is floating "*B D", weight floating "D", and ε ≥ 0.
    Source: zhang2019rmsnorm, §4 eq. (4).
    """
    _check(x, eps, weight=weight)
    y = x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight
