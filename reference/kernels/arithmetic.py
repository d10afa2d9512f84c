"""Rounding and products as the kernels use them; the interpreter's own are wrong for bfloat16 (triton 3.6 and 3.7).

There a cast from float32 cuts digits off instead of rounding, and a product multiplies the bits as if they were whole
numbers. On a GPU each function is the one line at its end.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def wide(x):
    """x in float32."""
    if INTERPRETED and x.dtype == tl.bfloat16:
        return (x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    return x.to(tl.float32)


@triton.jit
def narrow(x, dtype: tl.constexpr):
    """x, in float32, rounded to nearest in `dtype`, ties to even."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        even = (bits >> 16) & 1
        rounded = tl.where(x == x, bits + 0x7FFF + even, 0x7FC00000)
        return (rounded >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return x.to(dtype)


@triton.jit
def product(a, b, out, PRECISION: tl.constexpr):
    """out + a b, with sums in float32."""
    if INTERPRETED:
        return tl.dot(wide(a), wide(b), out)
    return tl.dot(a, b, out, input_precision=PRECISION)
