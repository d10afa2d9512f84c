r"""Training in half precision: which gradients the format loses, and the scale of the loss that saves them.

    forward      S · loss, so that all gradients are S times as large        (precision.loss_scaling_is_linear)
    backward     gradients in fp16; if one is infinite or NaN the step is skipped, and S becomes smaller
    step         divide by S, then clip, then update

Article papers/precision.md, derivation derivations/precision_training.py, laws verify/precision_training.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect
from reference.precision_formats import FORMATS, known, steps

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

START, INTERVAL = 65536.0, 2000
"""The scale before the first step, and steps without overflow after which it grows: those of torch.amp.GradScaler."""


class Scale(NamedTuple):
    """The factor of the loss, and how many steps there have been since it last changed."""

    factor: float
    steady: int


def scale_init(start: float = START) -> Scale:
    """The scale before the first step. Raises ValueError unless start > 0."""
    expect.above("start", start)
    return Scale(float(start), 0)


def scale_update(
    scale: Scale, overflow: bool, *, growth: float = 2.0, backoff: float = 0.5, interval: int = INTERVAL
) -> Scale:
    r"""The scale after a step: smaller if its gradients overflowed, larger after `interval` steps that did not.

    An overflow multiplies it by `backoff` and starts the count anew; so does growth, by `growth`, except that a scale
    which fp32 cannot hold is not taken.
    Raises ValueError unless growth > 1, 0 < backoff < 1 and interval ≥ 1.
    Source: micikevicius2018mixed, §3.2; torch.amp.GradScaler.
    """
    expect.above("growth", growth, 1)
    expect.above("backoff", backoff)
    expect.number("backoff", backoff, 0, 1, open_high=True)
    expect.natural("interval", interval, 1)
    if overflow:
        return Scale(scale.factor * backoff, 0)
    if scale.steady + 1 < interval:
        return Scale(scale.factor, scale.steady + 1)
    grown = scale.factor * growth
    return Scale(grown if grown <= FORMATS["fp32"].largest else scale.factor, 0)


def loss_scales(
    overflows: Bool[Tensor, "N"],
    *,
    start: float = START,
    growth: float = 2.0,
    backoff: float = 0.5,
    interval: int = INTERVAL,
) -> Float[Tensor, "N"]:
    r"""The scale after each of N steps, of which some overflowed, in float64.

    Raises ValueError as `scale_update`, or unless overflows is a boolean tensor of one axis.
    Source: micikevicius2018mixed, §3.2; torch.amp.GradScaler.
    """
    expect.axes("overflows", overflows, "N")
    if overflows.dtype != torch.bool:
        expect.fail("overflows", "a boolean tensor", overflows.dtype)
    scale, path = scale_init(start), []
    for overflow in overflows.tolist():
        scale = scale_update(scale, overflow, growth=growth, backoff=backoff, interval=interval)
        path.append(scale.factor)
    return torch.tensor(path, dtype=torch.float64, device=overflows.device)


def scaled_sgd(
    x: Float[Tensor, "P"],
    gradients: Float[Tensor, "N P"],
    *,
    lr: float,
    max_norm: float = math.inf,
    format: str = "fp16",
    start: float = START,
    growth: float = 2.0,
    backoff: float = 0.5,
    interval: int = INTERVAL,
) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N"]]:
    r"""(parameters, loss scale) after each of N steps whose gradients are computed S-fold, with overflow in `format`.

    A step with a magnitude of S g beyond the largest number of the format, or NaN, leaves x as it is and makes S
    smaller. Any other divides S g by S, clips the result to the norm `max_norm`, and moves x by −lr times that: they
    are added up once it is known which are taken. Nothing is rounded here; what rounding loses, `monitor` tells.
    Raises ValueError as `scale_update`, for axes that do not agree, lr < 0, or max_norm ≤ 0.
    Source: micikevicius2018mixed, §3.1 and §3.2.
    """
    expect.floating("x", x)
    expect.floating("gradients", gradients)
    expect.agree(P=(expect.axes("x", x, "P")["P"], expect.axes("gradients", gradients, "N P")["P"]))
    expect.number("lr", lr, 0)
    if max_norm != math.inf:
        expect.above("max_norm", max_norm)
    largest, scale = known(format).largest, scale_init(start)
    sizes, taken, used, after = gradients.detach().abs().amax(1), [], [], []
    for size in sizes:
        fits = bool(size * scale.factor <= largest)  # NaN is not
        taken.append(fits)
        used.append(scale.factor)
        scale = scale_update(scale, not fits, growth=growth, backoff=backoff, interval=interval)
        after.append(scale.factor)
    factors = torch.tensor(used, dtype=gradients.dtype, device=x.device).unsqueeze(1)
    moving = torch.tensor(taken, device=x.device).unsqueeze(1)
    true = torch.where(moving, gradients * factors, 0) / factors
    square = (true**2).sum(1, keepdim=True)
    long = square > max_norm**2
    step = (
        true * torch.where(long, max_norm / torch.sqrt(torch.where(long, square, 1)), 1)
        if max_norm < math.inf
        else true
    )
    return x - lr * step.cumsum(0), torch.tensor(after, dtype=torch.float64, device=x.device)


def monitor(
    gradients: Float[Tensor, "N"], format: str = "fp16"
) -> tuple[Float[Tensor, "3"], Int[Tensor, "M"], Int[Tensor, "M"]]:
    r"""What a format does to gradients: (shares lost, exponents, how many of each).

    The shares are of the entries that are not zero: those that become zero, to the nearest with ties to even; those
    that become subnormal, with fewer bits; those beyond the largest number, infinities and NaN among them. The
    exponents e that occur, 2^e ≤ |g| < 2^(e+1), rise, and each has its number of finite entries.
    Raises ValueError unless gradients is a floating tensor of one axis, or for E8M0.
    Source: micikevicius2018mixed, §3.2 Figure 3.
    """
    expect.floating("gradients", gradients)
    expect.axes("gradients", gradients, "N")
    f = known(format)
    if not f.signed:
        expect.fail("format", "a format with a sign", format)
    size = gradients[gradients != 0].double().abs()
    count, start = steps(size, f)
    code = torch.where(size.isfinite(), count.round() + start, f.top + 1)
    kinds = torch.stack([code == 0, (code > 0) & (code < 2**f.mantissa), code > f.top])
    exponents = (torch.frexp(size[size.isfinite()]).exponent - 1).long()
    return kinds.double().sum(1) / max(1, len(size)), *torch.unique(exponents, return_counts=True)
