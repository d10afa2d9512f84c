"""Mistakes in the scale of the loss, in steps that it takes or skips, and in what is told about gradients."""

from __future__ import annotations

import math

import torch

from reference.optimizers_gradients import clip_by_global_norm
from reference.precision import (
    FORMATS,
    loss_scales,
    monitor,
    scale_init,
    scale_update,
    scaled_sgd,
)
from verify.mistake import mistake
from verify.mutant.precision import NOWHERE

LARGEST = FORMATS["fp32"].largest

CLIP = {
    "id": "clip-before-unscale",
    "seen": "pytorch/examples #1196; milesial/Pytorch-UNet PR#470; NVIDIA/apex PR#1512",
    "fix": "divide by the scale, then clip",
}


def walked(overflows, start, growth, backoff, interval, rule):
    """A path of scales by another rule (factor, steady, overflow) → (factor, steady)."""
    scale, path = (start, 0), []
    for overflow in overflows.tolist():
        scale = rule(*scale, overflow)
        path.append(scale[0])
    return torch.tensor(path, dtype=torch.float64)


@mistake("precision.loss_scales", id="scaler-counter-kept", seen=NOWHERE, fix="an overflow starts the count anew")
def count_goes_on(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """After an overflow the steps before it still count."""

    def rule(factor, steady, overflow):
        if overflow:
            return factor * backoff, steady
        due = steady + 1 >= interval
        return (factor * growth if due and factor * growth <= LARGEST else factor), 0 if due else steady + 1

    return walked(overflows, start, growth, backoff, interval, rule)


@mistake("precision.loss_scales", id="scaler-grows-on", seen=NOWHERE, fix="growth starts the count anew")
def growth_does_not_reset(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """Once it has grown, it grows at every step."""

    def rule(factor, steady, overflow):
        if overflow:
            return factor * backoff, 0
        due = steady + 1 >= interval
        return (factor * growth if due and factor * growth <= LARGEST else factor), steady + 1

    return walked(overflows, start, growth, backoff, interval, rule)


@mistake("precision.loss_scales", id="scaler-late", seen=NOWHERE, fix="grow at the interval's last step")
def grows_a_step_late(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """It grows after more steps than the interval."""
    return loss_scales(overflows, start=start, growth=growth, backoff=backoff, interval=interval + 1)


@mistake("precision.loss_scales", id="scaler-inverted", seen=NOWHERE, fix="an overflow makes it smaller")
def overflow_makes_it_larger(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """Divided by the backoff."""
    quiet = loss_scales(overflows, start=start, growth=growth, backoff=backoff, interval=interval)
    return quiet * (1 / backoff) ** (2 * overflows.cumsum(0)).double()


@mistake("precision.loss_scales", id="scaler-once", seen=NOWHERE, fix="every overflow halves it")
def overflows_in_a_row_count_once(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """The second of two overflows in a row does nothing."""
    before = torch.cat([overflows[:1] & False, overflows[:-1]])
    quiet = loss_scales(overflows, start=start, growth=growth, backoff=backoff, interval=interval)
    return quiet * (1 / backoff) ** (overflows & before).cumsum(0).double()


@mistake("precision.loss_scales", id="scaler-unbounded", seen=NOWHERE, fix="a scale that fp32 cannot hold is not taken")
def grows_for_ever(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """It grows beyond the largest number of fp32."""

    def rule(factor, steady, overflow):
        if overflow:
            return factor * backoff, 0
        return (factor * growth, 0) if steady + 1 >= interval else (factor, steady + 1)

    return walked(overflows, start, growth, backoff, interval, rule)


@mistake("precision.loss_scales", id="scaler-default", seen=NOWHERE, fix="2000 steps, from 65536")
def a_thousand_steps(overflows, *, start=65536.0, growth=2.0, backoff=0.5, interval=1000):
    """Another interval when none is named."""
    return loss_scales(overflows, start=start, growth=growth, backoff=backoff, interval=interval)


def stepped(x, gradients, lr, format, start, growth, backoff, interval, move, lost=None):
    """The path of `scaled_sgd` with another step (x, S g, S) → x, or another opinion on what is an overflow."""
    scale, path, scales = scale_init(start), [], []
    for g in gradients:
        scaled = g * scale.factor
        overflow = not bool((scaled.abs() <= FORMATS[format].largest).all())
        overflow = lost(scaled, overflow) if lost else overflow
        x = move(x, scaled, scale.factor, overflow)
        scale = scale_update(scale, overflow, growth=growth, backoff=backoff, interval=interval)
        path.append(x)
        scales.append(scale.factor)
    return torch.stack(path), torch.tensor(scales, dtype=torch.float64)


def clipped(g, max_norm):
    return g if max_norm == math.inf else clip_by_global_norm([g], max_norm)[0]


def sgd(id, seen=NOWHERE, fix="", lost=None):
    """A mistaken step as a mistake of `scaled_sgd`."""

    def of(move):
        def path(x, gradients, *, lr, max_norm=math.inf, format="fp16", start=65536.0, growth=2.0, backoff=0.5,
                 interval=2000):  # fmt: skip
            def moving(x, scaled, factor, overflow):
                return move(x, scaled, factor, overflow, lr, max_norm)

            return stepped(x, gradients, lr, format, start, growth, backoff, interval, moving, lost)

        path.__name__, path.__doc__ = move.__name__, move.__doc__
        return mistake("precision.scaled_sgd", id=id, seen=seen, fix=fix)(path)

    return of


@sgd(**CLIP)
def clipped_while_scaled(x, scaled, factor, overflow, lr, max_norm):
    """The scaled gradient is clipped, and then divided."""
    return x if overflow else x - lr * clipped(scaled, max_norm) / factor


@sgd("unscale-forgotten", fix="divide the gradient by the scale")
def not_unscaled(x, scaled, factor, overflow, lr, max_norm):
    """The step is as many times too long as the scale."""
    return x if overflow else x - lr * clipped(scaled, max_norm)


@sgd("unscale-twice", fix="divide once, wherever clipping needs it")
def unscaled_twice(x, scaled, factor, overflow, lr, max_norm):
    """Divided before clipping and once more before the step."""
    return x if overflow else x - lr * clipped(scaled / factor, max_norm) / factor


@sgd("skip-still-steps", fix="leave the parameters as they are")
def steps_over_an_overflow(x, scaled, factor, overflow, lr, max_norm):
    """A step with an overflow is taken with what is finite."""
    return x - lr * clipped(torch.where(scaled.isfinite(), scaled, 0) / factor, max_norm)


@sgd("overflow-of-infinity-alone", fix="NaN is an overflow as well", lost=lambda scaled, overflow: bool(
    overflow and not scaled.isnan().any()))  # fmt: skip
def nan_is_no_overflow(x, scaled, factor, overflow, lr, max_norm):
    """A gradient that is NaN goes through."""
    return x if overflow else x - lr * clipped(scaled / factor, max_norm)


@sgd("overflow-includes-largest", fix="the largest number is a number", lost=lambda scaled, overflow: overflow or bool(
    (scaled.abs() == 448).any()))  # fmt: skip
def largest_number_overflows(x, scaled, factor, overflow, lr, max_norm):
    """448 itself is taken for an overflow."""
    return x if overflow else x - lr * clipped(scaled / factor, max_norm)


@mistake("precision.scaled_sgd", id="scale-unused", seen=NOWHERE, fix="the scale changes what overflows")
def unscaled_overflow(x, gradients, *, lr, max_norm=math.inf, format="fp16", start=65536.0, growth=2.0, backoff=0.5,
                      interval=2000):  # fmt: skip
    """Overflow is looked for before scaling."""
    path, _ = scaled_sgd(x, gradients, lr=lr, max_norm=max_norm, format=format, start=1.0, interval=10**6)
    quiet = torch.zeros(len(gradients), dtype=torch.bool)
    return path, loss_scales(quiet, start=start, growth=growth, backoff=backoff, interval=interval)


@mistake("precision.scaled_sgd", id="skip-keeps-scale", seen=NOWHERE, fix="smaller after an overflow")
def scale_stays(x, gradients, *, lr, max_norm=math.inf, format="fp16", start=65536.0, growth=2.0, backoff=0.5,
                interval=2000):  # fmt: skip
    """The scale never changes."""
    path, scales = scaled_sgd(x, gradients, lr=lr, max_norm=max_norm, format=format, start=start, backoff=1 - 2.0**-52,
                              interval=10**6)  # fmt: skip
    return path, torch.full_like(scales, start)


@mistake("precision.scaled_sgd", id="sgd-uphill", seen=NOWHERE, fix="against the gradient")
def uphill(x, gradients, **options):
    """The sign of the step."""
    path, scales = scaled_sgd(x, -gradients, **options)
    return path, scales


@mistake("precision.monitor", id="monitor-counts-zeros", seen=NOWHERE, fix="a share of what is not zero")
def zeros_are_lost(gradients, format="fp16"):
    """Zeros count as lost."""
    shares, exponents, counts = monitor(gradients, format)
    zeros, N = int((gradients == 0).sum()), len(gradients)
    lost = shares * (N - zeros) / N
    lost[0] += zeros / N
    return lost, exponents, counts


@mistake("precision.monitor", **{"id": "monitor-flush", "seen": NOWHERE, "fix": "subnormal numbers are kept"})
def subnormal_is_lost(gradients, format="fp16"):
    """All below the least normal number is said to be lost."""
    shares, exponents, counts = monitor(gradients, format)
    return torch.stack([shares[0] + shares[1], shares[1] * 0, shares[2]]), exponents, counts


@mistake("precision.monitor", id="monitor-least", seen=NOWHERE, fix="half the least number is the edge")
def lost_below_the_least(gradients, format="fp16"):
    """All below the least number is said to be lost, though above half of it is kept."""
    f = FORMATS[format]
    shares, exponents, counts = monitor(gradients, format)
    size = gradients[gradients != 0].abs()
    moved = ((size < f.least) & (size > f.least / 2)).double().mean() if len(size) else shares[0] * 0
    return torch.stack([shares[0] + moved, shares[1] - moved, shares[2]]), exponents, counts


@mistake("precision.monitor", id="monitor-largest", seen=NOWHERE, fix="rounding brings what is just above back")
def beyond_the_largest_number(gradients, format="fp16"):
    """What is more than the largest number at all is said to overflow."""
    shares, exponents, counts = monitor(gradients, format)
    size = gradients[gradients != 0].abs()
    shares[2] = (~(size <= FORMATS[format].largest)).double().sum() / max(1, len(size))
    return shares, exponents, counts


@mistake("precision.monitor", id="monitor-nan", seen=NOWHERE, fix="NaN is an overflow")
def nan_is_not_seen(gradients, format="fp16"):
    """NaN is in no share."""
    return monitor(gradients[~gradients.isnan()], format)


@mistake("precision.monitor", id="monitor-exponent", seen=NOWHERE, fix="2^e ≤ |g| < 2^(e+1)")
def exponents_rounded(gradients, format="fp16"):
    """The nearest exponent, not the one below."""
    size = gradients[gradients.isfinite() & (gradients != 0)].abs()
    return monitor(gradients, format)[0], *torch.unique(torch.log2(size).round().long(), return_counts=True)
