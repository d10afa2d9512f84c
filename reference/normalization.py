r"""Normalization: each row, or each column, is divided by its own size, so that the next layer sees one scale.

    layer_norm(x)_i = w_i (x_i − μ) / √(σ² + ε) + b_i,   rms_norm(x)_i = w_i x_i / √(mean x² + ε)
    batch_norm(x)_ri = w_i (x_ri − μ_i) / √(σ_i² + ε) + b_i, with the statistics of column i over the rows of a batch

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
        if vector is not None or name not in ("weight", "bias"):
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


def batch_norm(
    x: Float[Tensor, "N D"],
    running_mean: Float[Tensor, "D"],
    running_var: Float[Tensor, "D"],
    weight: Float[Tensor, "D"] | None = None,
    bias: Float[Tensor, "D"] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "D"], Float[Tensor, "D"]]:
    r"""(y, running mean, running variance): (x − μ)/√(σ² + ε) · weight + bias, column by column.

    When `training`, μ and σ² are those of the batch, σ² with divisor N. The running mean then goes the share m, the
    momentum, of the way to μ, and the running variance so to the estimate with divisor N − 1: m is the weight of the
    new. They are statistics, and pass no gradient on. Otherwise μ and σ² are the running ones, which stay.
    Of an image every axis but the channels belongs to N. A constant column gives the bias, and for ε = 0 NaN.
    Raises ValueError unless x is floating "N D", N ≥ 2 when training, the others floating "D", 0 ≤ m ≤ 1 and ε ≥ 0.
    Source: ioffe2015batchnorm, Algorithms 1 and 2; the moving averages: pytorch2026documentation, torch.nn.BatchNorm1d.
    """
    expect.floating("x", x)
    N = expect.axes("x", x, "N D")["N"]
    _check(x, eps, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    expect.number("momentum", momentum, 0.0, 1.0)
    mean, variance = running_mean, running_var
    if training:
        if N == 1:
            expect.fail("x", "two rows or more to train on", f"shape {tuple(x.shape)}")
        mean = x.mean(0)
        variance = (x - mean).square().mean(0)
        running_mean = running_mean + momentum * (mean.detach() - running_mean)
        running_var = running_var + momentum * (variance.detach() * (N / (N - 1)) - running_var)
    y = (x - mean) / torch.sqrt(variance + eps)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias), running_mean, running_var
