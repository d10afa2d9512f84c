r"""Cross-entropy in Triton, forward and backward: a row of logits passes in chunks, and probabilities are never stored.

    loss = mean over the n rows that count of log Σ_j exp z_j − Σ_j q_j z_j,     dz = (softmax(z) − q) dy/n

with q = (1 − ε) one_hot(target) + ε/V. What is kept for the way back is log Σ exp, one number a row.
What it computes is reference.loss, to which `python -m verify check loss.cross_entropy` holds it.
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
    from jaxtyping import Float, Int
    from torch import Tensor

CHUNK, FOLDS = 1024, 8
"""Logits side by side, and how many of them a lane takes at a time."""


@triton.jit
def forward(Z, TARGET, L, LOSS, V, ignored, smoothing, SMOOTHED: tl.constexpr, FOLDS: tl.constexpr,
            CHUNK: tl.constexpr):  # fmt: skip
    """log Σ exp of one row, and its loss."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(TARGET + row).to(tl.int64)
    columns = tl.arange(0, FOLDS)[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    top = tl.full([CHUNK], -float("inf"), tl.float32)  # a running maximum and sum in every lane, joined at the end
    total, sums = tl.zeros([CHUNK], tl.float32), tl.zeros([CHUNK], tl.float32)
    for start in range(0, V, FOLDS * CHUNK):
        inside = start + columns < V
        z = wide(tl.load(Z + row * V + start + columns, mask=inside, other=-float("inf")))
        new = tl.maximum(top, tl.max(z, 0))
        base = tl.where(new == -float("inf"), 0.0, new)
        total = total * tl.exp(top - base) + tl.sum(tl.exp(z - base[None, :]), 0)
        top = new
        if SMOOTHED:
            sums += tl.sum(tl.where(inside, z, 0.0), 0)
    most = tl.max(top, 0)
    base = tl.where(most == -float("inf"), 0.0, most)
    kept = base + tl.log(tl.sum(total * tl.exp(top - base), 0))
    counts = target != ignored
    wanted = wide(tl.load(Z + row * V + tl.where(counts, target, 0)))
    if SMOOTHED:
        wanted = (1 - smoothing) * wanted + smoothing * (tl.sum(sums, 0) / V)
    tl.store(L + row, kept)
    tl.store(LOSS + row, tl.where(counts, kept - wanted, 0.0))


@triton.jit
def backward(dY, Z, TARGET, L, COUNTED, dZ, V, ignored, smoothing, CHUNK: tl.constexpr):
    """One chunk of one row of dz."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    inside, target = columns < V, tl.load(TARGET + row).to(tl.int64)
    slope = wide(tl.load(dY)) / tl.load(COUNTED)
    z = wide(tl.load(Z + row * V + columns, mask=inside, other=-float("inf")))
    q = tl.where(columns == target, 1 - smoothing, 0.0) + smoothing / V
    dz = tl.where(target != ignored, (tl.exp(z - tl.load(L + row)) - q) * slope, 0.0)
    tl.store(dZ + row * V + columns, narrow(dz, dZ.dtype.element_ty), mask=inside)


def cross_entropy(
    z: Float[Tensor, "N V"], target: Int[Tensor, "N"], ignore_index: int = -100, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    r"""The mean of −Σ_j q_j log softmax(z)_j over the rows whose target is not `ignore_index`; over no row NaN.

    Logits in float32, bfloat16 or float16; sums are in float32. A wrong target is looked for, which waits for the GPU.
    Raises ValueError unless z is "N V", target integer "N" with entries below V or ignored, 0 ≤ ε ≤ 1, or for another
    dtype or device. Source: bishop2006pattern, §4.3.4 eq. (4.108); smoothing: szegedy2016rethinking, §7.
    """
    _checked(z, target, ignore_index, label_smoothing)
    return CrossEntropy.apply(z, target, ignore_index, label_smoothing)


def cross_entropy_gradient(
    z: Float[Tensor, "N V"], target: Int[Tensor, "N"], ignore_index: int = -100, label_smoothing: float = 0.0
) -> Float[Tensor, "N V"]:
    r"""The gradient of `cross_entropy` by the logits: zero in ignored rows, (softmax(z) − q)/n in the n others.

    Raises ValueError as `cross_entropy`. Source: bishop2006pattern, §4.3.4 eq. (4.109).
    """
    _checked(z, target, ignore_index, label_smoothing)
    z, target = z.detach().contiguous(), target.contiguous()
    kept, _, counted = _forward(z, target, ignore_index, label_smoothing)
    return _backward(torch.ones((), device=z.device), z, target, kept, counted, ignore_index, label_smoothing)


def _checked(z, target, ignore_index, label_smoothing):
    device.supported(z=z)
    sizes = expect.axes("z", z, "N V")
    expect.agree(N=(sizes["N"], expect.axes("target", target, "N")["N"]))
    expect.number("label_smoothing", label_smoothing, 0, 1)
    if target.device != z.device:
        expect.fail("target", f"a tensor on {z.device}", target.device)
    expect.indices("target", torch.where(target == ignore_index, 0, target), sizes["V"])


def _forward(z, target, ignored, smoothing):
    N, V = z.shape
    kept, losses = torch.empty(2, N, dtype=torch.float32, device=z.device)
    chunk = min(CHUNK, triton.next_power_of_2(V))
    forward[(N,)](z, target, kept, losses, V, ignored, float(smoothing), smoothing > 0, FOLDS, chunk, num_warps=4)
    return kept, losses, (target != ignored).sum().float()


def _backward(dy, z, target, kept, counted, ignored, smoothing):
    N, V = z.shape
    dz, chunk = torch.empty_like(z), min(CHUNK, triton.next_power_of_2(V))
    grid = (N, triton.cdiv(V, chunk))
    backward[grid](dy, z, target, kept, counted, dz, V, ignored, float(smoothing), chunk, num_warps=4)
    return dz


class CrossEntropy(torch.autograd.Function):
    """The kernels, forward and backward."""

    @staticmethod
    def forward(ctx, z, target, ignore_index, label_smoothing):
        z, target = z.contiguous(), target.contiguous()
        kept, losses, counted = _forward(z, target, ignore_index, label_smoothing)
        ctx.save_for_backward(z, target, kept, counted)
        ctx.given = ignore_index, label_smoothing
        return (losses.sum() / counted).to(z.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        z, target, kept, counted = ctx.saved_tensors
        return _backward(dy.contiguous(), z, target, kept, counted, *ctx.given), None, None, None
