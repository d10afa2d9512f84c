r"""Learning-rate schedules: functions from the number of a step to its rate, counted from one like Adam's t.

Warm-up rises by peak/W a step: the first step has a part of the peak, and step W is the first with all of it. The last
step, N, has the lowest rate, and so have steps after it. Article papers/schedules.md, derivation
derivations/schedules.py, laws verify/schedules.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def _checked(t: Tensor, peak: float, warmup: int, low: float = 0.0) -> Tensor:
    """The step numbers in float64."""
    expect.indices("t", t, 2**53)
    if t.numel() == 0:
        expect.fail("t", "at least one step", f"shape {tuple(t.shape)}")
    expect.number("peak", peak, 0)
    expect.natural("warmup", warmup)
    expect.number("low", low, 0, peak)
    return t.double()


def _warmed(t: Tensor, peak: float, warmup: int, after: Tensor) -> Tensor:
    """Linear from zero before the first step to the peak at step `warmup`, then `after`."""
    return torch.where(t < warmup, t * (peak / max(warmup, 1)), after)


def constant(t: Int[Tensor, "*N"], *, peak: float, warmup: int = 0) -> Float[Tensor, "*N"]:
    r"""peak · min(1, t/W): constant after W = warmup steps of linear warm-up, float64.

    Raises ValueError unless t is an integer tensor ≥ 0, peak ≥ 0 and W ≥ 0. Source: goyal2017accurate, §2.2.
    """
    t = _checked(t, peak, warmup)
    return _warmed(t, peak, warmup, torch.full_like(t, peak))


def cosine(t: Int[Tensor, "*N"], *, peak: float, total: int, warmup: int = 0, low: float = 0.0) -> Float[Tensor, "*N"]:
    r"""Warm-up to step W, then low + (peak − low)(1 + cos πx)/2 with x = (t − W)/(N − W), N = total, float64.

    Half a period, without restarts: after step N the rate stays at `low`, where torch's CosineAnnealingLR rises again.
    Raises ValueError as `constant`, or unless N > W and 0 ≤ low ≤ peak. Source: loshchilov2017sgdr, eq. (5).
    """
    t = _checked(t, peak, warmup, low)
    expect.natural("total", total, warmup + 1)
    part = ((t - warmup) / (total - warmup)).clamp(0, 1)
    return _warmed(t, peak, warmup, low + (peak - low) * ((1 + torch.cos(math.pi * part)) / 2))


def inverse_square_root(t: Int[Tensor, "*N"], *, peak: float, warmup: int) -> Float[Tensor, "*N"]:
    r"""peak · min(t/W, √(W/t)): linear up to step W, then falling like 1/√t for ever, float64.

    Vaswani's D^(−1/2) min(t^(−1/2), t W^(−3/2)) has the peak 1/√(D W), D the width of the model.
    Raises ValueError as `constant`, or for W = 0. Source: vaswani2017attention, §5.3 eq. (3).
    """
    expect.natural("warmup", warmup, 1)
    t = _checked(t, peak, warmup)
    return _warmed(t, peak, warmup, peak * torch.sqrt(warmup / t.clamp(min=1)))


def wsd(
    t: Int[Tensor, "*N"], *, peak: float, total: int, decay: int, warmup: int = 0, low: float = 0.0
) -> Float[Tensor, "*N"]:
    r"""Warm-up, stable, decay: W steps up, then the peak, and over the last D = decay steps straight down, float64.

    Step N − D is the last at the peak, step N = total has the rate `low`, and so have those after it.
    Raises ValueError as `constant`, or unless W + D ≤ N, D ≥ 1 and 0 ≤ low ≤ peak. Source: hu2024minicpm, §4.2.
    """
    t = _checked(t, peak, warmup, low)
    expect.natural("decay", decay, 1)
    expect.natural("total", total, warmup + decay)
    left = ((total - t) / decay).clamp(0, 1)
    return _warmed(t, peak, warmup, low + (peak - low) * left)
