"""Laws of the schedules: how they start, where they meet, where they end, and what they are worth in sum."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.suite import Operation

LENGTHS = [(10, 3, 4), (12, 0, 5), (64, 63, 1)]  # N, W, D
PEAKS = [(1.0, 0.0), (2.0**-8, 2.0**-12), (3e-4, 3e-5), (0.5, 0.5)]


@st.composite
def runs(draw, *names, least=0):
    """Steps of a run, in mixed order and beyond its end, with the hyper-parameters that are named."""
    total, warmup, decay = draw(st.sampled_from(LENGTHS))
    peak, low = draw(st.sampled_from(PEAKS))
    some = draw(st.sampled_from([[1, 2, 3], [0, warmup, warmup + 1], [total - decay, total - 1, total, total + 7]]))
    hyper = {"peak": peak, "low": low, "total": total, "warmup": max(warmup, least), "decay": decay}
    return {"t": torch.tensor(some), **{name: hyper[name] for name in names}}


def level(value, count):
    """The same rate `count` times."""
    return torch.full((count,), value, dtype=torch.float64)


def at(schedule, steps, hyper):
    """The rates at some steps."""
    return schedule(torch.tensor([*steps]), **hyper)


def first_step_is_one_part(schedule, t, **hyper):
    """Step one has the W-th part of the peak, and equal parts follow."""
    W = hyper["warmup"]
    if W:
        up = torch.arange(1, W + 1).double() * hyper["peak"] / W
        close(at(schedule, range(1, W + 1), hyper), up)


def peak_is_reached_at_the_end_of_warmup(schedule, t, **hyper):
    """Step W has the peak and no step has more."""
    rates = at(schedule, [hyper["warmup"], *range(1, 50)], hyper)
    close(rates[0], hyper["peak"])
    assert rates.max() <= hyper["peak"] * (1 + 1e-12), f"a rate of {rates.max():.6g} above the peak {hyper['peak']:g}"


def late_steps_are_told_apart(schedule, t, **hyper):
    """Step 2²⁴ + 1, which float32 does not know, has its own rate in a warm-up of twice as many."""
    late = hyper | {"warmup": 2**25} | ({"total": 2**26} if "total" in hyper else {})
    close(at(schedule, [2**24 + 1], late)[0], hyper["peak"] * (2**24 + 1) / 2**25)


def it_stays(constant, t, **hyper):
    """From step W on the rate is the peak, at step one too without a warm-up."""
    W = hyper["warmup"]
    close(at(constant, [max(W, 1), W + 1, W + 1000], hyper), level(hyper["peak"], 3))


def order_of_steps_does_not_matter(schedule, t, **hyper):
    """A rate depends on its own step only."""
    one_by_one = torch.cat([schedule(step[None], **hyper) for step in t.flatten()])
    close(schedule(t, **hyper).flatten(), one_by_one)


def end_is_the_lowest_rate(schedule, t, **hyper):
    """Step N has the lowest rate, and so have all after it; the step before has more."""
    N, low = hyper["total"], hyper["low"]
    rates = at(schedule, [N, N + 1, N + 5, 2 * N, N - 1], hyper)
    close(rates[:4], level(low, 4), scale=hyper["peak"])
    assert low == hyper["peak"] or rates[4] > low, f"step N − 1 has {rates[4]:.6g} already"


def falling(hyper):
    """All steps from the end of the warm-up to the last."""
    return range(hyper["warmup"], hyper["total"] + 1)


def equal_distances_add_up(cosine, t, **hyper):
    """The rates as far from the start of the fall as from its end add to the peak and the lowest."""
    rates = at(cosine, falling(hyper), hyper)
    close(rates + rates.flip(0), torch.full_like(rates, hyper["peak"] + hyper["low"]))


def thirds_by_hand(cosine, t, **hyper):
    """A third of the way a quarter of the fall is gone, after two thirds three quarters of it: cos π/3 = 1/2."""
    W, peak, low = hyper["warmup"], hyper["peak"], hyper["low"]
    rates = at(cosine, [W + 5, W + 10], hyper | {"total": W + 15})
    close(rates, low + (peak - low) * torch.tensor([0.75, 0.25]).double())


def turns_by_a_constant_angle(cosine, t, **hyper):
    """About its mean the curve obeys c(k + 1) + c(k − 1) = 2 cos θ · c(k), θ = π/(N − W)."""
    mean = (hyper["peak"] + hyper["low"]) / 2
    c = at(cosine, falling(hyper), hyper) - mean
    if len(c) > 2:
        close(c[2:] + c[:-2], 2 * math.cos(math.pi / (len(c) - 1)) * c[1:-1], scale=mean)


def halves_at_four_times(inverse_square_root, t, **hyper):
    """At 4, 16 and 64 times the warm-up the rate is 1/2, 1/4 and 1/8 of the peak."""
    W = hyper["warmup"]
    close(
        at(inverse_square_root, [4 * W, 16 * W, 64 * W], hyper), hyper["peak"] / torch.tensor([2.0, 4.0, 8.0]).double()
    )


def square_falls_like_one_over_t(inverse_square_root, t, **hyper):
    """After the warm-up, rate² · t is the peak² · W."""
    steps = torch.arange(hyper["warmup"], hyper["warmup"] + 20)
    rates = inverse_square_root(steps, **hyper)
    close(rates**2 * steps, level(hyper["peak"] ** 2 * hyper["warmup"], 20))


def peak_lasts_until_the_decay(wsd, t, **hyper):
    """All steps from W to N − D have the peak."""
    stable = at(wsd, range(hyper["warmup"], hyper["total"] - hyper["decay"] + 1), hyper)
    close(stable, torch.full_like(stable, hyper["peak"]))


def decay_is_straight(wsd, t, **hyper):
    """The last D steps fall by (peak − low)/D each, from the peak."""
    D, fall = hyper["decay"], hyper["peak"] - hyper["low"]
    rates = at(wsd, range(hyper["total"] - D, hyper["total"] + 1), hyper)
    close(rates, hyper["peak"] - torch.arange(D + 1).double() * (fall / D), scale=hyper["peak"])


def from_zero(schedule, t, **hyper):
    """The first step is number 0: what is step t there is step t + 1 here."""
    return schedule(t + 1, **hyper)


def rising_again(cosine, t, *, total, **hyper):
    """After the last step the cosine rises again, as in torch's CosineAnnealingLR and in transformers."""
    W = hyper.get("warmup", 0)
    there = (t - W) % (2 * (total - W))
    return cosine(torch.where(t < W, t, W + torch.minimum(there, 2 * (total - W) - there)), total=total, **hyper)


def by_width(inverse_square_root, t, *, peak, warmup):
    """The peak is a factor of the model, the curve is min(1/√t, t/W^(3/2))."""
    return inverse_square_root(t, peak=peak / warmup**0.5, warmup=warmup)


ZERO = {"steps are counted from zero": from_zero}
WARM = [
    first_step_is_one_part,
    late_steps_are_told_apart,
    peak_is_reached_at_the_end_of_warmup,
    order_of_steps_does_not_matter,
]

OPERATIONS = [
    Operation(
        "schedules.constant",
        inputs=runs("peak", "warmup"),
        laws=[first_step_is_one_part, late_steps_are_told_apart, it_stays, order_of_steps_does_not_matter],
        conventions=ZERO,
    ),
    Operation(
        "schedules.cosine",
        inputs=runs("peak", "total", "warmup", "low"),
        laws=[*WARM, end_is_the_lowest_rate, equal_distances_add_up, thirds_by_hand, turns_by_a_constant_angle],
        conventions={**ZERO, "after the last step it rises again": rising_again},
    ),
    Operation(
        "schedules.inverse_square_root",
        inputs=runs("peak", "warmup", least=2),  # a square root needs a warm-up
        laws=[*WARM, halves_at_four_times, square_falls_like_one_over_t],
        conventions={**ZERO, "scaled by 1/√W": by_width},
    ),
    Operation(
        "schedules.wsd",
        inputs=runs("peak", "total", "decay", "warmup", "low"),
        laws=[*WARM, end_is_the_lowest_rate, peak_lasts_until_the_decay, decay_is_straight],
        conventions=ZERO,
    ),
]
