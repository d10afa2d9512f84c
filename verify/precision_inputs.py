"""What operations on numbers of few bits are tried on: numbers of a format, midpoints, and what lies beside them.

And how two of them are compared: to the last bit, the sign of zero included.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from hypothesis import strategies as st

from reference.precision import FORMATS
from verify.inputs import drawn

SIGNED = [name for name, f in FORMATS.items() if f.signed]
NARROW = ["e4m3", "e5m2", "e2m1", "bf16", "fp16"]
ONES = {"fp32": 0x3F800000, "tf32": 0x1FC00, "bf16": 0x3F80, "fp16": 0x3C00, "e5m2": 0x3C, "e4m3": 0x38, "e2m1": 2,
        "e8m0": 127}  # fmt: skip
"""The code of one."""


def same(ours, expected, what=""):
    """Equal entry by entry, NaN to NaN and a zero to one of its sign."""
    ours, expected = torch.as_tensor(ours), torch.as_tensor(expected)
    assert ours.shape == expected.shape, f"{what} shape {tuple(ours.shape)}, expected {tuple(expected.shape)}"
    equal = (ours == expected) | (ours.isnan() & expected.isnan())
    if expected.is_floating_point():
        equal &= (ours.signbit() == expected.signbit()) | expected.isnan()
    assert equal.all(), f"{what} {ours.flatten().tolist()}, expected {expected.flatten().tolist()}"


@cache
def held(name):
    """Codes of numbers, a few hundred at most: all of them, or those at both ends and about one."""
    f = FORMATS[name]
    if f.top < 300:
        return torch.arange(f.top + 1)
    return torch.cat([torch.arange(c, c + 40) for c in (0, 2**f.mantissa - 20, ONES[name] - 20, f.top - 39)])


def mode(name):
    return "saturate" if FORMATS[name].special == "none" else "infinity"


def around(codes: torch.Tensor, halves: torch.Tensor, beside: torch.Tensor, name: str) -> torch.Tensor:
    """Magnitudes of codes, plus half a step where `halves`, and less or more by a millionth of one: exact in float64.

    Code 0 … of the format, one beyond the largest; without a sign the numbers are powers of two.
    """
    f = FORMATS[name]
    field, k = codes // 2**f.mantissa, codes % 2**f.mantissa
    step = 2.0 ** (field.clamp(min=int(f.signed)).double() - f.bias - f.mantissa)
    whole = k + torch.where((field > 0) | torch.tensor(not f.signed), 2**f.mantissa, 0)
    return (whole + halves.double() / 2 + beside.double() * 2.0**-20) * step


@st.composite
def numbers(draw, name, shape=(7,), signs=True, special=True):
    """Numbers and midpoints of a few neighbouring exponents, of either sign; NaN, infinities and zeros among them.

    They lie near the least, near one, or near the largest, so that a wrong one is not small beside another.
    """
    f = FORMATS[name]
    width = min(f.top + 1, 3 * 2**f.mantissa)
    low = draw(st.sampled_from([0, max(0, min(f.bias * 2**f.mantissa, f.top + 1 - width)), f.top + 1 - width]))
    codes = draw(drawn(*shape, low=low, high=low + width))
    ends = torch.tensor([0, f.top, f.top + 1])  # about half the least number, and where overflow begins
    end = draw(drawn(*shape, low=0, high=7))
    codes = torch.where(end < 3, ends[end.clamp(max=2)], codes)
    x = around(codes, draw(drawn(*shape, low=0, high=1)), draw(drawn(*shape, low=-1, high=1)), name)
    if signs and f.signed:
        x = torch.where(draw(drawn(*shape, low=0, high=1)) == 1, -x, x)
    if special:
        kinds = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan if f.special != "none" else 0.0]).double()
        place = draw(drawn(*shape, low=0, high=39))
        x = torch.where(place < 5, kinds[place.clamp(max=4)], x)
    return x


@st.composite
def conversions(draw):
    """A tensor, and how it is to be converted."""
    name = draw(st.sampled_from(list(FORMATS)))
    overflow = "saturate" if FORMATS[name].special == "none" else draw(st.sampled_from(["infinity", "saturate"]))
    rounding = draw(st.sampled_from(["even", "even", "zero", "up", "down"]))
    return {"x": draw(numbers(name)), "format": name, "rounding": rounding, "overflow": overflow}


@st.composite
def lots(draw):
    """A tensor and as many uniform numbers, on a grid of sixteenths, zero among them, or a little beside it."""
    name = draw(st.sampled_from(NARROW))
    overflow = "saturate" if name == "e2m1" else draw(st.sampled_from(["infinity", "saturate"]))
    x = draw(numbers(name))
    u = draw(drawn(*x.shape, low=0, high=15)).double() / 16 + draw(drawn(*x.shape, low=-1, high=1)).double() * 2.0**-16
    return {"x": x, "u": u.clamp(min=0), "format": name, "overflow": overflow}


@st.composite
def codes(draw):
    """Codes of a format: all of its ends, and some that are neighbours."""
    name = draw(st.sampled_from(list(FORMATS)))
    f = FORMATS[name]
    ends = torch.tensor([0, 1, f.top, min(f.top + 1, 2**f.bits - 1), 2 ** (f.bits - 1), 2**f.bits - 1])
    low = draw(st.sampled_from([0, max(0, 2 ** (f.bits - 1) - 8), max(0, f.top - 8)]))
    found = draw(drawn(3, 4, low=low, high=min(2**f.bits - 1, low + 24)))
    found.flatten()[: len(ends)] = ends
    return {"codes": found, "format": name}
