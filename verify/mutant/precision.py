"""Mistakes in what codes mean, in conversions to a format, and in rounding by lot."""

from __future__ import annotations

import torch

from reference import precision as right
from reference.precision import FORMATS, decode, encode
from reference.precision_formats import coded, steps
from verify.mistake import mistake

NOWHERE = "no public report found"
BIAS = {"id": "fp8-fnuz-vs-fn", "seen": NOWHERE, "fix": "the bias is 2^(e−1) − 1; formats called fnuz have one more"}
AWAY = {
    "id": "round-half-away",
    "seen": "microsoft/onnxruntime #25045; sonos/tract PR#2672; tenstorrent/tt-metal #56525",
    "fix": "of two numbers as near take the one with the even mantissa",
}
CUT = {"id": "round-truncate", "seen": "microsoft/onnxruntime PR#32452", "fix": "round to the nearest, do not cut bits"}
FLUSH = {"id": "subnormals-flushed", "seen": NOWHERE, "fix": "field 0 means k/2^m · 2^(1−b), not zero"}
NAN = {
    "id": "fp8-overflow-nan",
    "seen": "jax-ml/ml_dtypes #260, #400",
    "fix": "clamp to ±448 before a conversion that does not saturate, or ask for one that does",
}
SCALE = {
    "id": "e8m0-inverse-flush",
    "seen": "flashinfer-ai/flashinfer PR#4023",
    "fix": "the code 0 of E8M0 means 2^−127, a subnormal number of fp32",
}


@mistake("precision.decode", **BIAS)
def bias_of_fnuz(codes, format="e4m3"):
    """The bias is one more, so that every number is half as large."""
    return decode(codes, format) / 2


@mistake("precision.decode", **FLUSH)
def subnormals_are_zero(codes, format="e4m3"):
    """A field of zeros is read as zero, whatever the mantissa."""
    value, f = decode(codes, format), FORMATS[format]
    return torch.where((value.abs() < f.least_normal) & f.signed, value * 0, value)


@mistake("precision.decode", id="subnormal-exponent", seen=NOWHERE, fix="subnormal numbers have the exponent 1 − b")
def subnormals_of_field_zero(codes, format="e4m3"):
    """Subnormal numbers have the exponent −b, which leaves a gap before the normal ones."""
    value, f = decode(codes, format), FORMATS[format]
    return torch.where((value.abs() < f.least_normal) & f.signed, value / 2, value)


@mistake("precision.decode", id="hidden-one-in-subnormals", seen=NOWHERE, fix="without the one where the field is zero")
def hidden_one_everywhere(codes, format="e4m3"):
    """Subnormal numbers too have a one before the point."""
    value, f = decode(codes, format), FORMATS[format]
    small = (value.abs() < f.least_normal) & f.signed
    return torch.where(small, value + torch.copysign(torch.full_like(value, f.least_normal), value), value)


@mistake(
    "precision.decode", id="e4m3-with-infinity", seen=NOWHERE, fix="in E4M3 the highest field holds numbers to 448"
)
def highest_field_is_special(codes, format="e4m3"):
    """Every format is read as those of IEEE 754: 240 is the largest number of E4M3."""
    f = FORMATS[format]
    magnitude = codes % 2 ** (f.bits - f.signed)
    special = magnitude // 2**f.mantissa == 2**f.exponent - 1
    infinite = torch.copysign(torch.full_like(decode(codes, format), torch.inf), decode(codes, format))
    return torch.where(special, torch.where(magnitude % 2**f.mantissa == 0, infinite, torch.nan), decode(codes, format))


@mistake("precision.decode", id="sign-bit-forgotten", seen=NOWHERE, fix="the highest bit is the sign")
def magnitudes_alone(codes, format="e4m3"):
    """The sign is lost."""
    return decode(codes, format).abs()


@mistake("precision.decode", **SCALE)
def least_scale_is_zero(codes, format="e4m3"):
    """The least number of E8M0 is built as a number of fp32 with field 0, and is zero."""
    return torch.where((codes == 0), 0.0, decode(codes, format))


@mistake(
    "precision.decode", id="infinity-is-a-number", seen=NOWHERE, fix="above the largest number lie infinity and NaN"
)
def special_codes_are_numbers(codes, format="e4m3"):
    """The highest field goes on like the others."""
    f, value = FORMATS[format], decode(codes, format)
    return torch.where(value.isfinite(), value, torch.copysign(torch.full_like(value, 2 * f.largest), value))


def _towards(x, format, overflow, choose):
    """Magnitudes in steps rounded by `choose` (steps, start), then as the reference has it."""
    f = FORMATS[format]
    count, start = steps(x, f)
    return coded(choose(count, start), x, f, overflow == "saturate")


def cut_off(x, format="e4m3", rounding="even", overflow="infinity"):
    """The bits that do not fit are dropped, whatever was asked for."""
    return encode(x, format, "zero", overflow)


def ties_away(x, format="e4m3", rounding="even", overflow="infinity"):
    """Half a step is rounded up."""
    if rounding != "even":
        return encode(x, format, rounding, overflow)
    return _towards(x, format, overflow, lambda count, start: (count + 0.5).floor() + start)


def ties_toward_zero(x, format="e4m3", rounding="even", overflow="infinity"):
    """Half a step is rounded down."""
    if rounding != "even":
        return encode(x, format, rounding, overflow)
    return _towards(x, format, overflow, lambda count, start: (count - 0.5).ceil() + start)


def carry_is_lost(x, format="e4m3", rounding="even", overflow="infinity"):
    """Rounded up to the next power of two, the mantissa becomes zero and the exponent stays."""

    def choose(count, start):
        wrapped = (count.round() == 2 * 2 ** FORMATS[format].mantissa) & (count < count.round())
        return count.round() + start - torch.where(wrapped, 2.0 ** FORMATS[format].mantissa, 0)

    return _towards(x, format, overflow, choose) if rounding == "even" else encode(x, format, rounding, overflow)


def flushed(x, format="e4m3", rounding="even", overflow="infinity"):
    """Numbers below the least normal one become zero."""
    f = FORMATS[format]
    return encode(torch.where((x.abs() < f.least_normal) & f.signed, x * 0, x), format, rounding, overflow)


def half_bias(x, format="e4m3", rounding="even", overflow="infinity"):
    """With one more in the bias the codes are those of twice the number."""
    return encode(x * 2, format, rounding, overflow)


def rounded_twice(x, format="e4m3", rounding="even", overflow="infinity"):
    """First to bfloat16, then to the format: a tie may be made on the way."""
    wide = FORMATS[format].mantissa >= 7
    return encode(x if wide else right.rounded(x, "bf16"), format, rounding, overflow)


def always_saturates(x, format="e4m3", rounding="even", overflow="infinity"):
    """The largest number stands for all beyond it, though infinity was asked for."""
    return encode(x, format, rounding, "saturate")


def never_saturates(x, format="e4m3", rounding="even", overflow="infinity"):
    """Beyond the largest number lie infinity or NaN, though saturation was asked for."""
    return encode(x, format, rounding, "infinity")


def infinity_does_not_saturate(x, format="e4m3", rounding="even", overflow="infinity"):
    """Only finite numbers are taken back to the largest one."""
    return encode(x, format, rounding, "infinity" if x.isinf().any() else overflow)


def judged_before_rounding(x, format="e4m3", rounding="even", overflow="infinity"):
    """What exceeds the largest number overflows, though it would be rounded to that."""
    return encode(torch.where(x.abs() > FORMATS[format].largest, x * torch.inf, x), format, rounding, overflow)


def largest_is_240(x, format="e4m3", rounding="even", overflow="infinity"):
    """E4M3 is taken for a format with infinities, so that it ends at 240."""
    if format != "e4m3":
        return encode(x, format, rounding, overflow)
    beyond = x.abs() >= 248
    ends = encode(torch.copysign(torch.full_like(x, 240.0), x), format)
    special = ends + 8
    return torch.where(beyond, ends if overflow == "saturate" else special, encode(x, format, rounding, overflow))


def sign_of_zero_is_lost(x, format="e4m3", rounding="even", overflow="infinity"):
    """What becomes zero becomes a positive one."""
    codes, f = encode(x, format, rounding, overflow), FORMATS[format]
    return torch.where((codes == 2 ** (f.bits - 1)) & f.signed, 0, codes)


def nan_becomes_a_number(x, format="e4m3", rounding="even", overflow="infinity"):
    """A clamp, as some have it, takes NaN to the largest number."""
    return encode(torch.where(x.isnan(), FORMATS[format].largest, x), format, rounding, overflow)


def up_and_down_are_of_magnitudes(x, format="e4m3", rounding="even", overflow="infinity"):
    """Up is away from zero and down toward it, on both sides."""
    if rounding not in ("up", "down") or not FORMATS[format].signed:
        return encode(x, format, rounding, overflow)
    swapped = encode(x, format, {"up": "down", "down": "up"}[rounding], overflow)
    return torch.where(x.signbit(), swapped, encode(x, format, rounding, overflow))


def direction_of_overflow_is_forgotten(x, format="e4m3", rounding="even", overflow="infinity"):
    """Also toward zero, what is beyond the largest number is infinite."""
    return encode(torch.where(x.abs() > 2 * FORMATS[format].largest, x * torch.inf, x), format, rounding, overflow)


def scales_are_flushed(x, format="e4m3", rounding="even", overflow="infinity"):
    """The least number of E8M0 is no number, so that the next one stands for it."""
    codes = encode(x, format, rounding, overflow)
    return codes.clamp(min=1) if format == "e8m0" else codes


def negative_scales_lose_their_sign(x, format="e4m3", rounding="even", overflow="infinity"):
    """In E8M0 the sign bit is dropped."""
    return encode(x.abs() if format == "e8m0" else x, format, rounding, overflow)


def other_defaults(x, format="bf16", rounding="even", overflow="infinity"):
    """Left out, the format is bf16."""
    return encode(x, format, rounding, overflow)


CONVERSIONS = [
    (cut_off, CUT),
    (ties_away, AWAY),
    (ties_toward_zero, {"id": "round-half-down", "seen": NOWHERE, "fix": AWAY["fix"]}),
    (carry_is_lost, {"id": "carry-lost", "seen": NOWHERE, "fix": "add one to the code as a whole"}),
    (flushed, FLUSH),
    (half_bias, BIAS),
    (rounded_twice, {"id": "double-rounding", "seen": NOWHERE, "fix": "round once, from the widest number there is"}),
    (always_saturates, {"id": "fp-saturates", "seen": NOWHERE, "fix": "infinity, or NaN where there is none"}),
    (never_saturates, NAN),
    (infinity_does_not_saturate, {"id": "fp-saturates-finite", "seen": NOWHERE, "fix": "infinities saturate as well"}),
    (judged_before_rounding, {"id": "overflow-before-rounding", "seen": NOWHERE, "fix": "round, then compare"}),
    (largest_is_240, {"id": "e4m3-with-infinity", "seen": NOWHERE, "fix": "in E4M3 numbers go on to 448"}),
    (sign_of_zero_is_lost, {"id": "zero-loses-sign", "seen": NOWHERE, "fix": "the sign bit is copied"}),
    (nan_becomes_a_number, {"id": "nan-clamped", "seen": NOWHERE, "fix": "NaN stays NaN, saturated or not"}),
    (up_and_down_are_of_magnitudes, {"id": "directed-magnitudes", "seen": NOWHERE, "fix": "up is toward +∞"}),
    (direction_of_overflow_is_forgotten, {"id": "directed-overflow", "seen": NOWHERE,
                                          "fix": "toward zero the largest number is the farthest"}),
    (scales_are_flushed, SCALE),
    (negative_scales_lose_their_sign, {"id": "e8m0-sign", "seen": NOWHERE, "fix": "what has no code is NaN"}),
    (other_defaults, {"id": "fp8-default", "seen": NOWHERE, "fix": "e4m3, to the nearest"}),
]  # fmt: skip


def _number(wrong):
    """The mistaken conversion there, and the right one back."""

    def back(x, format="e4m3", rounding="even", overflow="infinity"):
        given = {} if wrong is other_defaults and format == "e4m3" else {"format": format}
        return decode(wrong(x, rounding=rounding, overflow=overflow, **given), format)

    back.__name__, back.__doc__ = f"{wrong.__name__}_and_back", wrong.__doc__
    return back


for _wrong, _what in CONVERSIONS:
    mistake("precision.encode", **_what)(_wrong)
    globals()[f"{_wrong.__name__}_and_back"] = mistake("precision.rounded", **_what)(_number(_wrong))
