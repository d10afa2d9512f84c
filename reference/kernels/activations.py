r"""SwiGLU in Triton, forward and backward: gate and up are read once, and nothing is stored but the result.

What it computes is reference.activations.swiglu, to which `python -m verify check activations.swiglu` holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from reference import expect
from reference.kernels import device
from reference.kernels.arithmetic import narrow, wide

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BLOCK = 2048


@triton.jit
def forward(G, U, Y, N, BLOCK: tl.constexpr):
    """y = g σ(g) u."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    g, u = wide(tl.load(G + at, mask=at < N)), wide(tl.load(U + at, mask=at < N))
    tl.store(Y + at, narrow(g / (1 + tl.exp(-g)) * u, Y.dtype.element_ty), mask=at < N)


@triton.jit
def backward(dY, G, U, dG, dU, N, BLOCK: tl.constexpr):
    """dg = dy u σ(g) (1 + g (1 − σ(g))),   du = dy g σ(g)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    g, u = wide(tl.load(G + at, mask=at < N)), wide(tl.load(U + at, mask=at < N))
    dy = wide(tl.load(dY + at, mask=at < N))
    shut = tl.exp(-tl.abs(g))  # never overflows, and 1 − σ loses no digits
    small, large = shut / (1 + shut), 1 / (1 + shut)
    sigma, rest = tl.where(g < 0, small, large), tl.where(g < 0, large, small)
    tl.store(dG + at, narrow(dy * u * (sigma * (1 + g * rest)), dG.dtype.element_ty), mask=at < N)
    tl.store(dU + at, narrow(dy * (g * sigma), dU.dtype.element_ty), mask=at < N)


def swiglu(gate: Float[Tensor, "*B F"], up: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""silu(gate) · up, entry by entry, in float32, bfloat16 or float16, computed in float32.

    Raises ValueError for unequal shapes, or for another dtype or device.
    Source: shazeer2020glu, §2 eq. (5).
    """
    device.supported(gate=gate, up=up)
    if gate.shape != up.shape:
        expect.fail("up", f"the shape of gate, {tuple(gate.shape)}", f"shape {tuple(up.shape)}")
    return SwiGLU.apply(gate, up)


class SwiGLU(torch.autograd.Function):
    """The kernels, forward and backward."""

    @staticmethod
    def forward(ctx, gate, up):
        gate, up = gate.contiguous(), up.contiguous()
        y = torch.empty_like(gate)
        forward[(triton.cdiv(gate.numel(), BLOCK),)](gate, up, y, gate.numel(), BLOCK)
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        gate, up = ctx.saved_tensors
        dgate, dup = torch.empty_like(gate), torch.empty_like(up)
        grid = (triton.cdiv(gate.numel(), BLOCK),)
        backward[grid](dy.contiguous(), gate, up, dgate, dup, gate.numel(), BLOCK)
        return dgate, dup
