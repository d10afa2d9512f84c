r"""Rotary positions in Triton, forward and backward: an angle is computed once and turns that pair in every head.

What it computes is reference.rope.rotate, to which `python -m verify check rope.rotate` holds it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from reference import expect
from reference.kernels import device
from reference.kernels.arithmetic import narrow, wide
from reference.rope import LAYOUTS, frequencies

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

TAU = tl.constexpr(6.283185307179586)
HEADS, PAIRS = 8, 4096
"""How many heads one program turns by the angles that it has computed, and how many pairs in all."""


@triton.jit
def cos_sin(turns):
    """cos 2πt and sin 2πt in float32 of turns in float64.

    A quarter turn swaps the two and flips signs, exactly; of the rest, |x| ≤ π/4, Taylor's series to x¹⁰/10! is off
    by less than 2⁻²⁸. No branch for large angles is left, which tl.cos has, and which holds up what stands behind it.
    """
    quarters = tl.floor(4 * turns + 0.5)
    x = ((turns - 0.25 * quarters) * TAU).to(tl.float32)
    z = -(x * x)
    even = 1 + z * (1 / 2 + z * (1 / 24 + z * (1 / 720 + z * (1 / 40320 + z * (1 / 3628800)))))
    odd = x + x * (z * (1 / 6 + z * (1 / 120 + z * (1 / 5040 + z * (1 / 362880)))))
    quarter = quarters.to(tl.int64) & 3
    cos, sin = tl.where(quarter % 2 == 0, even, odd), tl.where(quarter % 2 == 0, odd, even)
    return tl.where((quarter == 1) | (quarter == 2), -cos, cos), tl.where(quarter >= 2, -sin, sin)


@triton.jit
def turn(X, Y, POSITIONS, THETA, N, T, K, sign, INTERLEAVED: tl.constexpr, BN: tl.constexpr, BT: tl.constexpr,
         BP: tl.constexpr):  # fmt: skip
    """BN heads at BT positions, all pairs of them, BP or fewer; what is turned is loaded while angles are computed."""
    tiles = tl.cdiv(T, BT)
    rows, pairs = tl.program_id(0) % tiles * BT + tl.arange(0, BT), tl.arange(0, BP)
    heads = (tl.program_id(0) // tiles).to(tl.int64) * BN + tl.arange(0, BN)
    there = (heads < N)[:, None, None] & (rows < T)[None, :, None]
    start = (heads[:, None, None] * T + rows[None, :, None]) * K
    if INTERLEAVED:
        columns = tl.arange(0, 2 * BP)[None, None, :]
        inside = there & (columns < K)
        x = tl.load(X + start + columns, mask=inside)
    else:
        columns = pairs[None, None, :]
        inside = there & (columns < K // 2)
        first = tl.load(X + start + columns, mask=inside)
        second = tl.load(X + start + K // 2 + columns, mask=inside)
    position = tl.load(POSITIONS + rows, mask=rows < T, other=0).to(tl.float64)
    theta = tl.load(THETA + pairs, mask=pairs < K // 2, other=0.0)
    cos, sin = cos_sin(position[:, None] * theta[None, :])  # float32 would be off by 2⁻⁸ at position 65,536
    cos, sin = cos[None], sin[None] * sign
    if INTERLEAVED:
        a, b = tl.split(wide(x).reshape([BN, BT, BP, 2]))
        turned = tl.join(a * cos - b * sin, a * sin + b * cos).reshape([BN, BT, 2 * BP])
        tl.store(Y + start + columns, narrow(turned, Y.dtype.element_ty), mask=inside)
    else:
        a, b = wide(first), wide(second)
        tl.store(Y + start + columns, narrow(a * cos - b * sin, Y.dtype.element_ty), mask=inside)
        tl.store(Y + start + K // 2 + columns, narrow(a * sin + b * cos, Y.dtype.element_ty), mask=inside)


def rotate(
    x: Float[Tensor, "*B T K"],
    positions: Num[Tensor, "T"],
    base: float = 10000.0,
    layout: str = "interleaved",
) -> Float[Tensor, "*B T K"]:
    r"""Turn every pair of x by its position times its frequency, in float32, bfloat16 or float16.

    Angles are computed in float64, all else in float32. The layouts are those of `reference.rope.rotate`.
    Raises ValueError for an odd K, K > 4096, an unknown layout, positions not of shape "T", another dtype or device.
    Source: su2021roformer, §3.4.2 eq. (34).
    """
    device.supported(x=x)
    if x.ndim < 2:
        expect.fail("x", "axes … T K", f"shape {tuple(x.shape)}")
    if layout not in LAYOUTS:
        expect.fail("layout", f"one of {', '.join(LAYOUTS)}", repr(layout))
    expect.agree(T=(x.shape[-2], expect.axes("positions", positions, "T")["T"]))
    if positions.device != x.device:
        expect.fail("positions", f"a tensor on {x.device}", positions.device)
    if x.shape[-1] > 4096:
        expect.fail("K", "at most 4096 coordinates", x.shape[-1])
    theta = _frequencies(x.shape[-1], base, x.device)
    return Rotation.apply(x, positions.detach().contiguous(), theta, layout == "interleaved")


@lru_cache(64)
def _frequencies(K, base, where):
    """In turns a position, not radians."""
    return frequencies(K, base, device=where) / (2 * math.pi)


class Rotation(torch.autograd.Function):
    """The kernel; its transpose turns the other way."""

    @staticmethod
    def forward(ctx, x, positions, theta, interleaved):
        ctx.save_for_backward(positions, theta)
        ctx.interleaved = interleaved
        return _turned(x, positions, theta, interleaved, 1.0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        positions, theta = ctx.saved_tensors
        return _turned(dy, positions, theta, ctx.interleaved, -1.0), None, None, None


def _turned(x, positions, theta, interleaved, sign):
    x = x.contiguous()
    y = torch.empty_like(x)
    T, K = x.shape[-2:]
    N, BP = x.numel() // (T * K), triton.next_power_of_2(K // 2)
    BN = min(HEADS, triton.next_power_of_2(N), max(1, PAIRS // BP))
    BT = max(1, PAIRS // (BN * BP))
    grid = (triton.cdiv(T, BT) * triton.cdiv(N, BN),)
    turn[grid](x, y, positions, theta, N, T, K, sign, interleaved, BN, BT, BP)
    return y
