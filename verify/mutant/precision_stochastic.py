"""Mistakes in stochastic rounding."""

from __future__ import annotations

import torch

from reference import precision as right
from reference.precision import FORMATS, decode, stochastic_round
from reference.precision_formats import coded, steps
from verify.mistake import mistake
from verify.mutant.precision import NOWHERE


@mistake("precision.stochastic_round", id="sr-nearest", seen=NOWHERE, fix="draw, in proportion to the distance")
def nearest_whatever_the_lot(x, u, format="bf16", overflow="infinity"):
    """The lot is not used."""
    return right.rounded(x, format, "even", overflow)


@mistake("precision.stochastic_round", id="sr-fair-coin", seen=NOWHERE, fix="the probability is the part of the step")
def heads_or_tails(x, u, format="bf16", overflow="infinity"):
    """Either neighbour is as likely."""
    count, _ = steps(x, FORMATS[format])
    part = count - count.floor()
    return stochastic_round(x, torch.where(part == 0, u, (u >= 0.5) * 0.9999999), format, overflow)


@mistake("precision.stochastic_round", id="sr-inverted", seen=NOWHERE, fix="outward where u is below the part")
def farther_is_likelier(x, u, format="bf16", overflow="infinity"):
    """Outward where u is at least the part of the step: the farther neighbour is the likelier."""
    f = FORMATS[format]
    count, start = steps(x, f)
    part = count - count.floor()
    magnitude = count.floor() + ((u >= part) & (part > 0)).double() + start
    return decode(coded(magnitude, x, f, overflow == "saturate"), format)


@mistake(
    "precision.stochastic_round", id="sr-up-for-negative", seen=NOWHERE, fix="by magnitude, or by value on both sides"
)
def negative_numbers_by_value(x, u, format="bf16", overflow="infinity"):
    """Of a negative number the part is counted from zero, and the step goes toward +∞."""
    f = FORMATS[format]
    count, start = steps(x, f)
    part = count - count.floor()
    outward = torch.where(x < 0, (u >= part) & (part > 0), u < part)
    return decode(coded(count.floor() + outward.double() + start, x, f, overflow == "saturate"), format)


@mistake("precision.stochastic_round", id="sr-moves-numbers", seen=NOWHERE, fix="u < part: with part 0 never")
def numbers_of_the_format_move(x, u, format="bf16", overflow="infinity"):
    """u ≤ part: for u = 0 a number of the format is moved to the next."""
    f = FORMATS[format]
    count, start = steps(x, f)
    magnitude = count.floor() + ((u <= count - count.floor()) & (x != 0)).double() + start
    return decode(coded(magnitude, x, f, overflow == "saturate"), format)


@mistake("precision.stochastic_round", id="sr-dither", seen=NOWHERE, fix="add u and cut off, or u − ½ and round; not u")
def noise_before_rounding(x, u, format="bf16", overflow="infinity"):
    """A whole step of noise is added, and then it is rounded to the nearest: half a step too much."""
    f = FORMATS[format]
    count, start = steps(x, f)
    magnitude = torch.where(count == count.floor(), count, (count + (1 - u)).round()) + start
    return decode(coded(magnitude, x, f, overflow == "saturate"), format)


@mistake("precision.stochastic_round", id="sr-saturates", seen=NOWHERE, fix="infinity, unless saturation is asked for")
def ends_are_kept(x, u, format="bf16", overflow="infinity"):
    """It always saturates."""
    return stochastic_round(x, u, format, "saturate")


@mistake("precision.stochastic_round", id="sr-default", seen=NOWHERE, fix="NaN and infinity where the format has them")
def nan_is_zero(x, u, format="bf16", overflow="infinity"):
    """NaN becomes zero."""
    return stochastic_round(x.nan_to_num(0.0, torch.inf, -torch.inf), u, format, overflow)
