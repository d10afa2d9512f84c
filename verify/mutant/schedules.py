"""Mistakes in schedules: a step off, a jump where pieces meet, another end, another clock."""

from __future__ import annotations

import math

import torch

from reference.schedules import constant, cosine, inverse_square_root, wsd
from verify.mistake import mistake

NOWHERE = "no public report found"
LATE = {
    "id": "lr-first-step-zero",
    "seen": "meta-pytorch/torchtune #2010; pytorch/torchtitan PR#1261",
    "fix": "count the first step as one: (t + 1)/W, when t starts at zero",
}
OFTEN = {
    "id": "lr-times-world-size",
    "seen": "huggingface/transformers PR#24088; huggingface/diffusers #3954",
    "fix": "one step of the schedule for each of the optimizer, or as many more steps in all",
}
JUMP = {
    "id": "lr-warmup-step01",
    "seen": "deepspeedai/DeepSpeed PR#5287",
    "fix": "set the rate of the first step before it is taken",
}


def earlier(t, by=1):
    """Step numbers moved back, not below zero."""
    return (t - by).clamp(min=0)


@mistake("schedules.constant", **LATE)
def first_step_is_lost(t, **hyper):
    """t/W with t from zero: the first step has rate zero, and everything is a step late."""
    return constant(earlier(t), **hyper)


@mistake("schedules.constant", **JUMP)
def first_step_has_the_peak(t, *, peak, warmup=0):
    """The optimizer is made with the peak, and the schedule sets the rate only after the first step."""
    return torch.where(t == 1, peak, constant(t, peak=peak, warmup=warmup))


@mistake("schedules.constant", id="lr-warmup-one-more", seen=NOWHERE, fix="reach the peak at step W: t/W")
def peak_a_step_late(t, *, peak, warmup=0):
    """t/(W + 1): step W is not at the peak yet."""
    return constant(t, peak=peak, warmup=warmup + 1)


@mistake("schedules.constant", id="lr-warmup-geometric", seen=NOWHERE, fix="rise by equal parts")
def warms_up_by_factors(t, *, peak, warmup=0):
    """The rate is multiplied, not raised, at every step."""
    straight = constant(t, peak=peak, warmup=warmup)
    return torch.where(t < warmup, peak * 10.0 ** (3 * (straight / peak - 1)), straight)


@mistake("schedules.constant", id="lr-warmup-keeps-rising", seen=NOWHERE, fix="min(1, t/W)")
def never_stops_rising(t, *, peak, warmup=0):
    """t/W, without a minimum."""
    return t.double() * peak / max(warmup, 1)


@mistake("schedules.constant", **OFTEN)
def warmup_of_every_process(t, *, peak, warmup=0):
    """Each of two processes steps the schedule."""
    return constant(2 * t, peak=peak, warmup=warmup)


@mistake("schedules.constant", id="lr-by-place", seen=NOWHERE, fix="use the number of the step")
def counts_its_own_calls(t, *, peak, warmup=0):
    """The place in the list is taken for the number of the step."""
    return constant(torch.arange(1, t.numel() + 1).reshape(t.shape), peak=peak, warmup=warmup)


@mistake("schedules.cosine", **LATE)
def cosine_is_a_step_late(t, **hyper):
    """Counted from zero: the first step has rate zero, the last one more than the lowest."""
    return cosine(earlier(t), **hyper)


@mistake("schedules.cosine", **JUMP)
def cosine_starts_at_the_peak(t, *, peak, **hyper):
    """The rate of the first step is what the optimizer was made with."""
    return torch.where(t == 1, peak, cosine(t, peak=peak, **hyper))


@mistake("schedules.cosine", **OFTEN)
def schedule_of_every_process(t, **hyper):
    """Each of two processes steps the schedule: it ends half-way."""
    return cosine(2 * t, **hyper)


@mistake("schedules.cosine", id="lr-cosine-restarts", seen=NOWHERE, fix="stay at the lowest rate after the last step")
def rises_again(t, *, peak, total, warmup=0, low=0.0):
    """One step beyond its length the cosine comes back up."""
    part = (t - warmup) / (total - warmup)
    again = low + (peak - low) * (1 + torch.cos(math.pi * part.double())) / 2
    return torch.where(t > total, again, cosine(t, peak=peak, total=total, warmup=warmup, low=low))


@mistake("schedules.cosine", id="lr-cosine-whole-period", seen=NOWHERE, fix="half a period: π, not 2π")
def falls_and_rises(t, *, peak, total, warmup=0, low=0.0):
    """A whole period: the last step is at the peak again."""
    part = ((t - warmup) / (total - warmup)).double().clamp(0, 1)
    whole = low + (peak - low) * (1 + torch.cos(2 * math.pi * part)) / 2
    return torch.where(t < warmup, cosine(t, peak=peak, total=total, warmup=warmup, low=low), whole)


@mistake("schedules.cosine", id="lr-progress-with-warmup", seen=NOWHERE, fix="(t − W)/(N − W)")
def counts_the_warmup_as_falling(t, *, peak, total, warmup=0, low=0.0):
    """x = t/N: the rate drops at step W."""
    falling = cosine(t, peak=peak, total=total, low=low)
    return torch.where(t < warmup, cosine(t, peak=peak, total=total, warmup=warmup, low=low), falling)


@mistake("schedules.cosine", id="lr-warmup-not-subtracted", seen=NOWHERE, fix="N − W steps are left after warm-up")
def falls_beyond_the_end(t, *, peak, total, warmup=0, low=0.0):
    """x = (t − W)/N: the last step is not at the lowest rate."""
    return cosine(t, peak=peak, total=total + warmup, warmup=warmup, low=low)


@mistake("schedules.cosine", id="lr-ends-a-step-early", seen=NOWHERE, fix="the lowest rate is that of step N")
def lowest_a_step_early(t, *, peak, total, warmup=0, low=0.0):
    """N − W − 1 steps of falling."""
    return cosine(t, peak=peak, total=max(total - 1, warmup + 1), warmup=warmup, low=low)


@mistake("schedules.cosine", id="lr-low-added", seen=NOWHERE, fix="low + (peak − low)(1 + cos)/2")
def lowest_rate_on_top(t, *, peak, total, warmup=0, low=0.0):
    """low + peak (1 + cos)/2."""
    falling = low + cosine(t, peak=peak, total=total, warmup=warmup)
    return torch.where(t < warmup, falling - low, falling)


@mistake("schedules.cosine", id="lr-low-ignored", seen=NOWHERE, fix="fall to `low`")
def falls_to_zero(t, *, low=0.0, **hyper):
    """The lowest rate is zero, whatever was asked for."""
    return cosine(t, **hyper)


@mistake("schedules.cosine", id="lr-cosine-quarter", seen=NOWHERE, fix="(1 + cos πx)/2")
def quarter_of_a_period(t, *, peak, total, warmup=0, low=0.0):
    """cos(πx/2), which is steepest at the end."""
    part = ((t - warmup) / (total - warmup)).double().clamp(0, 1)
    quarter = low + (peak - low) * torch.cos(math.pi / 2 * part)
    return torch.where(t < warmup, cosine(t, peak=peak, total=total, warmup=warmup, low=low), quarter)


@mistake("schedules.cosine", id="lr-by-place", seen=NOWHERE, fix="use the number of the step")
def cosine_of_the_place(t, **hyper):
    """The place in the list is taken for the number of the step."""
    return cosine(torch.arange(1, t.numel() + 1).reshape(t.shape), **hyper)


@mistake("schedules.inverse_square_root", **LATE)
def root_is_a_step_late(t, **hyper):
    """Counted from zero: nothing is learned in the first step."""
    return inverse_square_root(earlier(t), **hyper)


@mistake("schedules.inverse_square_root", id="lr-root-not-scaled", seen=NOWHERE, fix="peak · √(W/t)")
def falls_from_one(t, *, peak, warmup):
    """peak/√t after the warm-up, which jumps."""
    warm = inverse_square_root(t, peak=peak, warmup=warmup)
    return torch.where(t < warmup, warm, peak / t.clamp(min=1).double().sqrt())


@mistake("schedules.inverse_square_root", id="lr-root-from-the-peak", seen=NOWHERE, fix="t counts from the start")
def counts_from_the_peak(t, *, peak, warmup):
    """√(1/(1 + t − W)): it halves three steps after the warm-up."""
    after = peak / (1 + (t - warmup).clamp(min=0).double()).sqrt()
    return torch.where(t < warmup, inverse_square_root(t, peak=peak, warmup=warmup), after)


@mistake("schedules.inverse_square_root", id="lr-inverse-not-root", seen=NOWHERE, fix="1/√t, not 1/t")
def falls_without_the_root(t, *, peak, warmup):
    """W/t."""
    right = inverse_square_root(t, peak=peak, warmup=warmup)
    return torch.where(t < warmup, right, right**2 / peak)


@mistake("schedules.inverse_square_root", id="lr-larger-of-two", seen=NOWHERE, fix="the smaller of the two")
def larger_of_the_two(t, *, peak, warmup):
    """max in the place of min: it starts high, dips to the peak and grows."""
    t = t.double()
    return torch.maximum(t * peak / warmup, peak * (warmup / t.clamp(min=1)).sqrt())


@mistake("schedules.inverse_square_root", id="lr-by-place", seen=NOWHERE, fix="use the number of the step")
def root_of_the_place(t, **hyper):
    """The place in the list is taken for the number of the step."""
    return inverse_square_root(torch.arange(1, t.numel() + 1).reshape(t.shape), **hyper)


@mistake("schedules.wsd", **LATE)
def stages_are_a_step_late(t, **hyper):
    """Counted from zero."""
    return wsd(earlier(t), **hyper)


@mistake("schedules.wsd", **OFTEN)
def stages_of_every_process(t, **hyper):
    """Each of two processes steps the schedule."""
    return wsd(2 * t, **hyper)


@mistake("schedules.wsd", id="lr-decay-off-by-one", seen=NOWHERE, fix="the last step has the lowest rate")
def decay_ends_a_step_late(t, *, total, **hyper):
    """Step N + 1 would have the lowest rate."""
    return wsd(t, total=total + 1, **hyper)


@mistake("schedules.wsd", id="lr-low-ignored", seen=NOWHERE, fix="fall to `low`")
def decays_to_zero(t, *, low=0.0, **hyper):
    """The lowest rate is zero, whatever was asked for."""
    return wsd(t, **hyper)


@mistake("schedules.wsd", id="lr-decay-from-warmup", seen=NOWHERE, fix="stay at the peak until step N − D")
def never_stable(t, *, total, decay, warmup=0, **hyper):
    """The decay starts where the warm-up ends."""
    return wsd(t, total=total, decay=max(total - warmup, 1), warmup=warmup, **hyper)


@mistake("schedules.wsd", id="lr-decay-not-clamped", seen=NOWHERE, fix="stay at the lowest rate")
def falls_below_the_lowest(t, *, peak, total, decay, warmup=0, low=0.0):
    """The line goes on after the last step, to negative rates."""
    beyond = low + (peak - low) * (total - t).double() / decay
    return torch.where(t > total, beyond, wsd(t, peak=peak, total=total, decay=decay, warmup=warmup, low=low))


@mistake("schedules.wsd", id="lr-decay-by-cosine", seen=NOWHERE, fix="a straight line")
def decays_by_a_cosine(t, *, peak, total, decay, warmup=0, low=0.0):
    """Half a cosine over the decay."""
    curved = cosine(t, peak=peak, total=total, warmup=total - decay, low=low)
    right = wsd(t, peak=peak, total=total, decay=decay, warmup=warmup, low=low)
    return torch.where(t > total - decay, curved, right)


@mistake("schedules.wsd", id="lr-by-place", seen=NOWHERE, fix="use the number of the step")
def stage_of_the_place(t, **hyper):
    """The place in the list is taken for the number of the step."""
    return wsd(torch.arange(1, t.numel() + 1).reshape(t.shape), **hyper)


@mistake("schedules.wsd", **JUMP)
def stages_start_at_the_peak(t, *, peak, **hyper):
    """The rate of the first step is what the optimizer was made with."""
    return torch.where(t == 1, peak, wsd(t, peak=peak, **hyper))


@mistake("schedules.inverse_square_root", **JUMP)
def root_starts_at_the_peak(t, *, peak, warmup):
    """The rate of the first step is what the optimizer was made with."""
    return torch.where(t == 1, peak, inverse_square_root(t, peak=peak, warmup=warmup))
