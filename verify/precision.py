"""Laws of formats: what codes mean, which code a number gets, and the number it is rounded to."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch

from reference.precision import FORMATS
from reference.precision import decode as meaning
from verify import precision_blocks as blocks
from verify import precision_stochastic as stochastic
from verify import precision_sums as sums
from verify import precision_training as training
from verify.precision_inputs import ONES, codes, conversions, held, mode, same
from verify.suite import Operation

LIMITS = {
    "fp32": ((2 - 2**-23) * 2.0**127, 2.0**-149),
    "tf32": ((2 - 2**-10) * 2.0**127, 2.0**-136),
    "bf16": ((2 - 2**-7) * 2.0**127, 2.0**-133),
    "fp16": (65504.0, 2.0**-24),
    "e5m2": (57344.0, 2.0**-16),
    "e4m3": (448.0, 2.0**-9),
    "e2m1": (6.0, 0.5),
    "e8m0": (2.0**127, 2.0**-127),
}
"""Largest and least number, as they are printed."""


@cache
def numbers(name):
    """What they mean."""
    return meaning(held(name), name).contiguous()


def limits_by_hand(decode, codes, format):
    """One, the least number and the largest are where they should be."""
    for name, (largest, least) in LIMITS.items():
        f = FORMATS[name]
        first = 0 if name == "e8m0" else 1
        found = decode(torch.tensor([ONES[name], first, f.top]), name)
        same(found, torch.tensor([1.0, least, largest]).double(), name)


def codes_are_in_order(decode, codes, format):
    """The magnitudes of successive codes rise, by steps that stay or double: no gap, down to zero."""
    values = decode(torch.arange(0, min(FORMATS[format].top + 1, 4096)), format)
    step = values.diff()
    assert (step > 0).all(), f"{format}: not in order"
    grows = step[1:] / step[:-1]
    assert ((grows == 1) | (grows == 2)).all(), (
        f"{format}: a gap at {values[1:-1][(grows != 1) & (grows != 2)].tolist()}"
    )


def highest_bit_is_the_sign(decode, codes, format):
    """With it a number is the negative of what it is without, zero too."""
    f = FORMATS[format]
    if f.signed:
        positive = held(format)
        same(decode(positive + 2 ** (f.bits - 1), format), -decode(positive, format))


def nothing_is_above_the_largest(decode, codes, format):
    """After it come infinity and NaN, or NaN alone, or no code at all."""
    f = FORMATS[format]
    above = torch.arange(f.top + 1, min(f.top + 5, 2 ** (f.bits - f.signed)))
    expected = torch.full((len(above),), math.nan).double()
    if f.special == "ieee":
        expected[0] = math.inf
    same(decode(above, format), expected)
    assert len(above) or format == "e2m1", f"no code above the largest of {format}"


def numbers_keep_their_code(encode, x, format, **options):
    """What is a number of the format gets the code that means it, however it is rounded."""
    known = held(format)
    for rounding in ("even", "zero", "up", "down"):
        same(encode(meaning(known, format), format, rounding, mode(format)), known, rounding)


def ties_go_to_even_codes(encode, x, format, **options):
    """Half-way between two numbers the one with the even mantissa is taken; in E8M0 the larger."""
    for name in ("e4m3", format):
        known = held(name)
        known = known[:-1][known.diff() == 1]
        low, high = meaning(known, name), meaning(known + 1, name)
        expected = known + 1 if name == "e8m0" else known + known % 2
        same(encode((low + high) / 2, name, "even", mode(name)), expected, name)


def nearest_is_taken(encode, x, format, **options):
    """A millionth of a step from half-way, on either side."""
    known = held(format)
    known = known[:-1][known.diff() == 1]
    low, high = meaning(known, format), meaning(known + 1, format)
    for part, expected in ((0.5 - 2**-20, known), (0.5 + 2**-20, known + 1), (2**-20, known), (1 - 2**-20, known + 1)):
        same(encode(low + part * (high - low), format, "even", mode(format)), expected, f"{part}")


def directions_are_kept(encode, x, format, **options):
    """Toward zero, up and down, on both sides of zero."""
    f = FORMATS[format]
    known = held(format)
    known = known[:-1][known.diff() == 1]
    for part in (2**-20, 0.5, 1 - 2**-20):
        between = meaning(known, format) + part * (meaning(known + 1, format) - meaning(known, format))
        for rounding, outer in (("zero", 0), ("up", 1), ("down", 0)):
            same(encode(between, format, rounding, mode(format)), known + outer, rounding)
        if f.signed:
            for rounding, outer in (("zero", 0), ("up", 0), ("down", 1)):
                negative = known + outer + 2 ** (f.bits - 1)
                same(encode(-between, format, rounding, mode(format)), negative, f"{rounding} below zero")


def ends_by_hand(encode, x, format, **options):
    """What is nearer to the largest number than to the one after it stays; beyond lie infinity, NaN, or the largest."""
    ends = torch.tensor([464.0, 464.5, 1e300, math.inf, -465.0], dtype=torch.float64)
    same(encode(ends, "e4m3"), torch.tensor([126, 127, 127, 127, 255]))
    same(encode(ends, "e4m3", overflow="saturate"), torch.tensor([126, 126, 126, 126, 254]))
    ends = torch.tensor([65519.99, 65520.0, math.inf, -1e9]).double()
    same(encode(ends, "fp16"), torch.tensor([0x7BFF, 0x7C00, 0x7C00, 0xFC00]))
    same(encode(ends, "fp16", overflow="saturate"), torch.tensor([0x7BFF, 0x7BFF, 0x7BFF, 0xFBFF]))
    ends = torch.tensor([1e9, -1e9]).double()
    for rounding, expected in (("zero", [0x7B, 0xFB]), ("up", [0x7C, 0xFB]), ("down", [0x7B, 0xFC])):
        same(encode(ends, "e5m2", rounding), torch.tensor(expected), rounding)
    same(encode(ends, "e2m1", overflow="saturate"), torch.tensor([7, 15]))
    same(
        encode(torch.tensor([2.0**-140, 2.0**128, 0.0, -1.0], dtype=torch.float64), "e8m0"),
        torch.tensor([0, 255, 0, 255]),
    )


def zero_and_nan_by_hand(encode, x, format, **options):
    """Zero has a sign, what is too small becomes one with its sign, and NaN is no number."""
    tiny = torch.tensor([0.0, -0.0, 2.0**-26, -(2.0**-25), math.nan]).double()
    for overflow in ("infinity", "saturate"):
        same(encode(tiny, "fp16", "even", overflow), torch.tensor([0, 0x8000, 0, 0x8000, 0x7E00]))
        same(encode(tiny, "e4m3", "even", overflow), torch.tensor([0, 0x80, 0, 0x80, 0x7F]))


def nothing_named_is_e4m3(encode, x, **options):
    """Left out, the format is e4m3, the rounding to the nearest, and there is no saturation."""
    same(encode(x), encode(x, "e4m3", "even", "infinity"))


def by_value(law):
    """A law of codes, for the function that gives the number instead."""

    def of_numbers(rounded, x, **options):
        """The code of the number is looked at; that of zero, infinity and NaN too."""

        def found(x, format="e4m3", rounding="even", overflow="infinity"):
            value, f = rounded(x, format, rounding, overflow), FORMATS[format]
            size, all_of_them = value.abs(), held(format)
            codes = torch.searchsorted(numbers(format), size.contiguous())
            code = all_of_them[codes.clamp(max=len(all_of_them) - 1)]
            assert ((meaning(code, format) == size) | ~size.isfinite()).all(), (
                f"no number of {format}: {value.tolist()}"
            )
            code = torch.where(size.isfinite(), code, f.top + 1)
            code = torch.where(value.isnan() & (f.special == "ieee"), f.top + 1 + 2 ** max(f.mantissa - 1, 0), code)
            negative = (
                value.signbit() if f.special != "nan" else torch.where(value.isnan(), x.signbit(), value.signbit())
            )
            return code + torch.where(negative & f.signed, 2 ** (f.bits - 1), 0)

        law(found, x, **options)

    of_numbers.__name__, of_numbers.__doc__ = law.__name__, law.__doc__
    return of_numbers


def rounding_again_changes_nothing(rounded, x, format, rounding, overflow):
    """A number of the format is rounded to itself."""
    once = rounded(x, format, rounding, overflow)
    same(rounded(once, format, rounding, overflow), once)


def error_is_half_a_step(rounded, x, format, rounding, overflow):
    """To the nearest within u of the number, or half the least one: `format_limits`."""
    f = FORMATS[format]
    inside = (x.abs() <= f.largest) & ((x >= f.least) if not f.signed else (x == x))
    error = (rounded(x, format, "even", overflow) - x).abs()[inside]
    allowed = torch.maximum(f.roundoff * x.abs(), torch.tensor(f.least / 2, dtype=torch.float64))[inside]
    assert (error <= allowed).all(), f"off by {error.tolist()}, allowed {allowed.tolist()}"


def saturating(f, x, format="e4m3", rounding="even", overflow="infinity"):
    """Beyond the largest number comes the largest number."""
    return f(x, format, rounding, "saturate")


def saturating_numbers(f, x, format="e4m3", rounding="even", overflow="infinity"):
    """Beyond the largest number comes the largest number, unless it is infinite: then NaN, or infinity."""
    if FORMATS[format].special == "none":  # it has nothing else
        return f(x, format, rounding, overflow)
    value = f(x, format, rounding, "saturate")
    return torch.where(x.isinf(), f(x, format, rounding, "infinity"), value)


CODES: list[Callable[..., None]] = [
    numbers_keep_their_code,
    ties_go_to_even_codes,
    nearest_is_taken,
    directions_are_kept,
    ends_by_hand,
    zero_and_nan_by_hand,
    nothing_named_is_e4m3,
]
SATURATION = {
    "beyond the largest number it is the largest": saturating,
    "beyond the largest number it is the largest, unless it is infinite": saturating_numbers,
}

OPERATIONS = [
    Operation(
        "precision.decode",
        inputs=codes(),
        laws=[limits_by_hand, codes_are_in_order, highest_bit_is_the_sign, nothing_is_above_the_largest],
        exact=True,
    ),
    Operation("precision.encode", inputs=conversions(), laws=CODES, conventions=SATURATION, exact=True),
    Operation(
        "precision.rounded",
        inputs=conversions(),
        laws=[
            *(by_value(law) for law in CODES[1:6]),
            rounding_again_changes_nothing,
            error_is_half_a_step,
            nothing_named_is_e4m3,
        ],
        conventions=SATURATION,
        exact=True,
    ),
    *stochastic.OPERATIONS,
    *sums.OPERATIONS,
    *blocks.OPERATIONS,
    *training.OPERATIONS,
]
