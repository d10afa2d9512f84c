r"""Floating-point formats as data, and the number of a format that any number is rounded to.

    ± (1 + k/2^m) · 2^(f − b)      exponent field f ≥ 1, mantissa field k of m bits, bias b
    ± k/2^m · 2^(1 − b)            f = 0: zero and the subnormal numbers

The codes of magnitudes, f · 2^m + k, are consecutive whole numbers in the order of what they mean, so that rounding up
is adding one, carry into the exponent included. All arithmetic is in float64, which holds every number here.
Article papers/precision.md, derivation derivations/precision.py, laws verify/precision.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

ROUNDINGS = {"even": torch.round, "zero": torch.trunc, "up": torch.ceil, "down": torch.floor}
"""To the nearest with ties to even, toward zero, toward +∞, toward −∞."""
OVERFLOWS = ("infinity", "saturate")
"""What is beyond the largest number: infinity, or NaN where a format has none; or the largest number."""


class Format(NamedTuple):
    """Bits of exponent and mantissa, the bias, and what lies above the largest number.

    special: "ieee" infinity, then NaNs; "nan" one NaN, of ones alone; "none" nothing. A format without a sign has
    neither zero nor subnormal numbers: its field 0 is normal.
    """

    exponent: int
    mantissa: int
    bias: int
    special: str = "ieee"
    signed: bool = True

    @property
    def bits(self) -> int:
        return self.signed + self.exponent + self.mantissa

    @property
    def lowest(self) -> int:
        """The exponent of the least normal number, and of all subnormal ones."""
        return self.signed - self.bias

    @property
    def top(self) -> int:
        """The code of the largest number."""
        ones = 2 ** (self.exponent + self.mantissa) - 1
        return ones - {"ieee": 2**self.mantissa, "nan": 1, "none": 0}[self.special]

    @property
    def largest(self) -> float:
        f, k = divmod(self.top, 2**self.mantissa)
        return (1 + k / 2**self.mantissa) * 2.0 ** (f - self.bias)

    @property
    def least_normal(self) -> float:
        return 2.0**self.lowest

    @property
    def least(self) -> float:
        """The least number above zero, which is also the distance between subnormal numbers."""
        return 2.0 ** (self.lowest - self.mantissa)

    @property
    def roundoff(self) -> float:
        """u: half the distance from 1 to the next number, the largest relative error of rounding to the nearest."""
        return 2.0 ** -(self.mantissa + 1)


FORMATS = {
    "fp32": Format(8, 23, 127),
    "tf32": Format(8, 10, 127),
    "bf16": Format(8, 7, 127),
    "fp16": Format(5, 10, 15),
    "e5m2": Format(5, 2, 15),
    "e4m3": Format(4, 3, 7, "nan"),
    "e2m1": Format(2, 1, 1, "none"),
    "e8m0": Format(8, 0, 127, "nan", signed=False),
}
"""By name. Source: ieee2019float, §3.4; nvidia2020ampere (tf32); micikevicius2022fp8, Table 1; rouhani2023microscaling,
Table 1."""


def known(format: str) -> Format:
    """The format of this name. Raises ValueError for another."""
    if format not in FORMATS:
        expect.fail("format", f"one of {', '.join(FORMATS)}", repr(format))
    return FORMATS[format]


def target(x: Float[Tensor, "*N"], format: str, overflow: str) -> Format:
    """The format to which a tensor is rounded. Raises ValueError for what it cannot hold."""
    expect.floating("x", x)
    f = known(format)
    if overflow not in OVERFLOWS:
        expect.fail("overflow", f"one of {', '.join(OVERFLOWS)}", repr(overflow))
    if f.special == "none" and overflow != "saturate":
        expect.fail("overflow", f"saturate, since {format} has numbers alone", overflow)
    if f.special == "none" and x.isnan().any():
        expect.fail("x", f"numbers, since {format} has no NaN", "NaN")
    return f


def steps(x: Float[Tensor, "*N"], f: Format) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"]]:
    """(|x| in steps from its neighbour to the next, code of the zeroth step), in float64; infinities as zero.

    Normal numbers of one exponent have 2^m to 2^(m+1) − 1 steps, subnormal ones fewer; each step is one code.
    """
    x = x.double()
    size = torch.where(x.isfinite(), x.abs(), 0)
    significand, exponent = torch.frexp(size)  # from ½ up to 1
    normal = size >= f.least_normal
    count = torch.where(normal, significand * 2.0 ** (f.mantissa + 1), size / f.least)
    start = torch.where(normal, exponent - (f.lowest + 1), 0).double() * 2.0**f.mantissa
    return count, start if f.signed else start - 2.0**f.mantissa


def coded(magnitude: Float[Tensor, "*N"], x: Float[Tensor, "*N"], f: Format, inward: Any) -> Int[Tensor, "*N"]:
    """Codes with the sign of x: magnitudes above the largest come back to it where `inward`, or become special."""
    beyond = torch.where(x.isinf(), f.top + 1, magnitude.clamp(0, f.top + 1))
    magnitude = torch.where(torch.as_tensor(inward, device=x.device), beyond.clamp(max=f.top), beyond)
    quiet = f.top + 1 + (2 ** (f.mantissa - 1) if f.special == "ieee" else 0)
    if f.signed:
        magnitude = torch.where(x.isnan(), quiet, magnitude) + torch.where(x.signbit(), 2.0 ** (f.bits - 1), 0)
    else:
        magnitude = torch.where(x.isnan() | (x < 0), quiet, magnitude)
    return magnitude.long()


def encode(
    x: Float[Tensor, "*N"], format: str = "e4m3", rounding: str = "even", overflow: str = "infinity"
) -> Int[Tensor, "*N"]:
    r"""The code of the number of the format that x is rounded to: sign bit, exponent field, mantissa field.

    `rounding` is "even" (to the nearest, ties to an even mantissa), "zero", "up" or "down" (toward +∞, −∞). What
    exceeds the largest number even after rounding is infinite with `overflow` "infinity", NaN in a format without
    infinity, unless the rounding points back to the largest; with "saturate" it is the largest, as infinities are.
    Zero keeps its sign, and NaN stays one, with the highest bit of its mantissa. In E8M0 zero and all that is below the
    least number becomes the least, and a negative number NaN.
    Raises ValueError for a tensor that is not floating, an unknown name, and in e2m1 for NaN or "infinity".
    Source: ieee2019float, §4.3 and §7.4; micikevicius2022fp8, §3; rouhani2023microscaling, Algorithm 1 (saturation).
    """
    f = target(x, format, overflow)
    if rounding not in ROUNDINGS:
        expect.fail("rounding", f"one of {', '.join(ROUNDINGS)}", repr(rounding))
    count, start = steps(x, f)
    negative = x.signbit()
    magnitude = ROUNDINGS[rounding](torch.where(negative, -count, count)).abs() + start
    back = {"even": torch.zeros_like(negative), "zero": torch.ones_like(negative), "up": negative, "down": ~negative}
    return coded(magnitude, x, f, back[rounding] & x.isfinite() if overflow == "infinity" else True)


def decode(codes: Int[Tensor, "*N"], format: str = "e4m3") -> Float[Tensor, "*N"]:
    r"""What codes mean, in float64: sign bit, exponent field f, mantissa field k, from the highest bit to the lowest.

    ±(1 + k/2^m)·2^(f−b), and with f = 0 ±k/2^m·2^(1−b); above the largest ±∞ or NaN, as the format has it.
    Raises ValueError for an unknown format, or codes that are not integers of its bits.
    Source: ieee2019float, §3.4; micikevicius2022fp8, Table 1; rouhani2023microscaling, Table 1.
    """
    f = known(format)
    expect.indices("codes", codes, 2**f.bits)
    magnitude = codes.long() % 2 ** (f.bits - f.signed)
    field, k = magnitude // 2**f.mantissa, magnitude % 2**f.mantissa
    table = [2.0 ** (max(i, f.signed) - f.bias - f.mantissa) for i in range(2**f.exponent)]
    step = torch.tensor(table, dtype=torch.float64, device=codes.device)[field]
    value = (k + torch.where((field > 0) | (not f.signed), 2**f.mantissa, 0)).double() * step
    infinite = (magnitude == f.top + 1) & (f.special == "ieee")
    value = torch.where(magnitude > f.top, torch.where(infinite, torch.inf, torch.nan), value)
    return torch.where(codes.long() != magnitude, -value, value)


def rounded(
    x: Float[Tensor, "*N"], format: str = "e4m3", rounding: str = "even", overflow: str = "infinity"
) -> Float[Tensor, "*N"]:
    r"""The number of the format that x is rounded to, in the dtype of x: there and back, as `encode` says.

    Raises ValueError as `encode`. Source: ieee2019float, §4.3.
    """
    return decode(encode(x, format, rounding, overflow), format).to(x.dtype)


def stochastic_round(
    x: Float[Tensor, "*N"], u: Float[Tensor, "*N"], format: str = "bf16", overflow: str = "infinity"
) -> Float[Tensor, "*N"]:
    r"""One of the two neighbours of x in the format: the outer one where u is below the part of the step x has gone.

    With u uniform on [0, 1) the expectation is x (precision.stochastic_rounding_is_unbiased), between the largest
    numbers of either sign. A number of the format stays; the rest is as in `encode`.
    Raises ValueError as `encode`, or unless u has the shape of x and entries from 0 below 1.
    Source: gupta2015limited, §3.1.
    """
    f = target(x, format, overflow)
    expect.floating("u", u)
    if u.shape != x.shape:
        expect.fail("u", f"the shape of x, {tuple(x.shape)}", f"shape {tuple(u.shape)}")
    if not ((u >= 0) & (u < 1)).all():
        expect.fail("u", "numbers from 0 below 1", f"numbers from {u.min():g} to {u.max():g}")
    count, start = steps(x, f)
    outer = u < count - count.floor()
    return decode(coded(count.floor() + outer.double() + start, x, f, overflow == "saturate"), format).to(x.dtype)
