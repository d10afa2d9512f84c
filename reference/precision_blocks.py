r"""Scaled numbers: a block of a matrix shares one scale, and its entries are numbers of a narrow format times that.

    s = max |x| / largest          q = x / s rounded to the format          x ≈ q · s

The scale is stored as the factor that gives x back (DeepSeek's scale_inv). One block may be the whole matrix, 1 × 128
(activations) or 128 × 128 (weights); blocks at the far edges may be smaller.
Article papers/precision.md, derivation derivations/precision_blocks.py, laws verify/precision_blocks.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.precision_formats import Format, decode, encode, known

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def sizes(shape: torch.Size, block: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of a block; without one, those of the matrix."""
    if block is None:
        return shape[0], shape[1]
    if not isinstance(block, tuple) or len(block) != 2:
        expect.fail("block", "rows and columns", repr(block))
    for n in block:
        expect.natural("block", n, 1)
    return block


def spread(scales: Float[Tensor, "r c"], shape: torch.Size, block: tuple[int, int]) -> Float[Tensor, "R C"]:
    """The scale of each entry of the matrix."""
    return scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[: shape[0], : shape[1]]


def block_scales(x: Float[Tensor, "R C"], f: Format, block: tuple[int, int], powers: bool) -> Float[Tensor, "r c"]:
    """The largest magnitude of each block over the largest number; of a block of zeros, one."""
    R, C = x.shape
    padded = torch.nn.functional.pad(x.abs(), (0, -C % block[1], 0, -R % block[0]))
    amax = padded.unflatten(0, (-1, block[0])).unflatten(2, (-1, block[1])).amax((1, 3))
    scale = torch.where(amax == 0, 1, amax / f.largest)
    if powers:
        significand = torch.frexp(scale).mantissa
        scale = torch.where(significand == 0.5, scale, scale / significand)  # 2^⌈log₂ s⌉
    return scale


def quantize(
    x: Float[Tensor, "R C"], format: str = "e4m3", block: tuple[int, int] | None = (128, 128), powers: bool = False
) -> tuple[Int[Tensor, "R C"], Float[Tensor, "r c"]]:
    r"""(codes of x/s, one scale s a block): s = max|x| / largest, so that the largest entry is the largest number.

    With `powers` s is the next power of two that is not less: dividing by it rounds nothing, and E8M0 holds it. A block
    of zeros has the scale 1. NaN or an infinity makes all of its block NaN.
    Raises ValueError unless x has two axes, for E8M0, and for what `encode` refuses.
    Source: deepseek2024v3, §3.3.2; §3.3.3 (powers of two); rouhani2023microscaling, Algorithm 1 (rounded down).
    """
    expect.floating("x", x)
    expect.axes("x", x, "R C")
    f = known(format)
    if not f.signed:
        expect.fail("format", "a format with a sign", format)
    x = x.double()
    shape = sizes(x.shape, block)
    scales = block_scales(x, f, shape, powers)
    return encode(x / spread(scales, x.shape, shape), format, overflow="saturate"), scales


def dequantize(
    codes: Int[Tensor, "R C"], scales: Float[Tensor, "r c"], block: tuple[int, int] | None, format: str = "e4m3"
) -> Float[Tensor, "R C"]:
    r"""What codes mean, times the scale of their block: x ≈ q · s.

    Raises ValueError for codes of another format, or scales that are not one a block.
    Source: deepseek2024v3, §3.3.2.
    """
    expect.axes("codes", codes, "R C")
    expect.floating("scales", scales)
    shape = sizes(codes.shape, block)
    wanted = tuple(-(-n // b) for n, b in zip(codes.shape, shape, strict=True))
    if scales.shape != wanted:
        expect.fail("scales", f"one a block, shape {wanted}", f"shape {tuple(scales.shape)}")
    return decode(codes, format) * spread(scales, codes.shape, shape)
