"""Mistakes in blocks that share a scale."""

from __future__ import annotations

import torch

from reference.precision import (
    FORMATS,
    decode,
    dequantize,
    encode,
    quantize,
)
from reference.precision_blocks import sizes, spread
from verify.mistake import mistake
from verify.mutant.precision import NOWHERE

INVERTED = {"id": "fp8-scale-inverted", "seen": NOWHERE, "fix": "what is stored, scale_inv, multiplies codes"}
ZEROS = {
    "id": "fp8-zero-block",
    "seen": "huggingface/kernels-community PR#680; InternLM/lmdeploy PR#3652",
    "fix": "a block of zeros has the scale 1",
}


def with_scales(x, format, block, scales, overflow="saturate"):
    """Codes of x over the given scales, and these."""
    return encode(x / spread(scales, x.shape, sizes(x.shape, block)), format, overflow=overflow), scales


@mistake("precision.quantize", **INVERTED)
def multiplied_by_the_scale(x, format="e4m3", block=(128, 128), powers=False):
    """x s for x / s."""
    _, scales = quantize(x, format, block, powers)
    return with_scales(x, format, block, 1 / scales)[0], scales


@mistake("precision.quantize", **ZEROS)
def zeros_over_zero(x, format="e4m3", block=(128, 128), powers=False):
    """A block of zeros has the scale zero, and 0/0 in it."""
    codes, scales = quantize(x, format, block, powers)
    shape = sizes(x.shape, block)
    empty = (scales == 1) & (quantize(3 * x, format, block, powers)[1] == 1)
    nan = FORMATS[format].top + 1 if format != "e2m1" else 0
    return torch.where(spread(empty.double(), x.shape, shape) > 0, nan, codes), torch.where(empty, 0.0, scales)


@mistake("precision.quantize", id="fp8-wrong-axis", seen=NOWHERE, fix="the largest entry along the columns of a row")
def blocks_of_columns(x, format="e4m3", block=(128, 128), powers=False):
    """Rows and columns of a block are swapped."""
    if block is None or x.shape[0] == 1:
        return quantize(x, format, block, powers)
    codes, scales = quantize(x.T.contiguous(), format, block, powers)
    return codes.T, scales.T


@mistake("precision.quantize", id="fp8-signed-max", seen=NOWHERE, fix="the largest magnitude")
def largest_without_magnitude(x, format="e4m3", block=(128, 128), powers=False):
    """The largest entry, where the most negative one may be larger."""
    positive = torch.where(x > 0, x, 0)
    return with_scales(x, format, block, quantize(positive, format, block, powers)[1])


@mistake("precision.quantize", id="fp8-one-scale", seen=NOWHERE, fix="one scale a block")
def one_scale_for_all(x, format="e4m3", block=(128, 128), powers=False):
    """The scale of the whole matrix, for every block."""
    _, scales = quantize(x, format, block, powers)
    whole = quantize(x.nan_to_num(0.0), format, None, powers)[1]
    return with_scales(x, format, block, torch.where(scales.isnan(), scales, whole))


@mistake("precision.quantize", id="fp8-range-240", seen=NOWHERE, fix="E4M3 ends at 448, and 240 is of other formats")
def scaled_to_240(x, format="e4m3", block=(128, 128), powers=False):
    """The largest entry is taken to 240."""
    _, scales = quantize(x, format, block, powers)
    return with_scales(x, format, block, scales * 448 / 240 if format == "e4m3" else scales)


@mistake("precision.quantize", id="fp8-power-down", seen=NOWHERE, fix="up, where nothing may saturate; MX rounds down")
def next_power_below(x, format="e4m3", block=(128, 128), powers=False):
    """The power of two below the scale: the largest entries saturate."""
    codes, scales = quantize(x, format, block, powers)
    if not powers:
        return codes, scales
    plain = quantize(x, format, block)[1]
    return with_scales(x, format, block, torch.where(scales > plain, scales / 2, scales))


@mistake("precision.quantize", id="fp8-powers-forgotten", seen=NOWHERE, fix="E8M0 holds powers of two alone")
def never_a_power(x, format="e4m3", block=(128, 128), powers=False):
    """`powers` does nothing."""
    return quantize(x, format, block)


@mistake("precision.quantize", id="fp8-always-powers", seen=NOWHERE, fix="only where E8M0 asks for it")
def a_power_when_left_out(x, format="e4m3", block=(128, 128), powers=True):
    """Unless it is said otherwise, every scale is a power of two."""
    return quantize(x, format, block, powers)


@mistake("precision.quantize", id="fp8-clipped-scale", seen=NOWHERE, fix="scales below one are scales")
def scale_of_one_at_least(x, format="e4m3", block=(128, 128), powers=False):
    """Small blocks are not scaled up."""
    _, scales = quantize(x, format, block, powers)
    return with_scales(x, format, block, scales.clamp(min=1.0))


@mistake("precision.dequantize", **INVERTED)
def divided_by_the_scale(codes, scales, block, format="e4m3"):
    """What is stored as scale_inv is taken for the scale."""
    return dequantize(codes, 1 / scales, block, format)


@mistake("precision.dequantize", id="fp8-blocks-interleaved", seen=NOWHERE, fix="an entry i is in block i // rows")
def blocks_take_turns(codes, scales, block, format="e4m3"):
    """Entry i is taken to be in block i mod their number."""
    r, c = (torch.arange(n) % m for n, m in zip(codes.shape, scales.shape, strict=True))
    return decode(codes, format) * scales[r][:, c]


@mistake("precision.dequantize", id="fp8-first-scale", seen=NOWHERE, fix="one scale a block")
def first_scale_for_all(codes, scales, block, format="e4m3"):
    """The first scale, for every block."""
    return decode(codes, format) * scales[0, 0]


@mistake("precision.dequantize", id="fp8-fnuz-vs-fn", seen=NOWHERE, fix="the bias of e4m3fn is 7")
def codes_of_fnuz(codes, scales, block, format="e4m3"):
    """Every number is half as large."""
    return dequantize(codes, scales / 2, block, format)


@mistake("precision.dequantize", id="fp8-default", seen=NOWHERE, fix="e4m3 unless it is said otherwise")
def e5m2_when_left_out(codes, scales, block, format="e5m2"):
    """Left out, the format is e5m2."""
    return dequantize(codes, scales, block, format)


@mistake("precision.dequantize", id="fp8-frozen-scales", seen=NOWHERE, fix="the slope by a scale is what it multiplies")
def scales_have_no_slope(codes, scales, block, format="e4m3"):
    """The scales are taken for constants."""
    return dequantize(codes, scales.detach(), block, format) + 0 * scales.sum()
