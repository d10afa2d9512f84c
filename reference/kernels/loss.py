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
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def forward(Z, TARGET, L, LOSS, V, ignored, smoothing, SMOOTHED: tl.constexpr, FOLDS: tl.constexpr,
            CHUNK: tl.constexpr):  # fmt: skip
    """log Σ exp of one row, and its loss; a target that is no index reads nothing."""
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
        weights = tl.exp2((z - base[None, :]) * LOG2E)  # tl.exp spends as much again on numbers below 2⁻¹²⁶
        total = total * tl.exp2((top - base) * LOG2E) + tl.sum(weights, 0)
        top = new
        if SMOOTHED:
            sums += tl.sum(tl.where(inside, z, 0.0), 0)
    most = tl.max(top, 0)
    base = tl.where(most == -float("inf"), 0.0, most)
    kept = base + tl.log(tl.sum(total * tl.exp(top - base), 0))
    counts = target != ignored
    wanted = wide(tl.load(Z + row * V + target, mask=counts & (target >= 0) & (target < V), other=0.0))
    if SMOOTHED:
        wanted = (1 - smoothing) * wanted + smoothing * (tl.sum(sums, 0) / V)
    tl.store(L + row, kept)
    tl.store(LOSS + row, tl.where(counts, kept - wanted, 0.0))


@triton.jit
def mean(LOSS, TARGET, MEAN, COUNTS, N, V, ignored, BLOCK: tl.constexpr):
    """The mean loss of the rows that count, how many those are, and how many targets are no index. One program."""
    rows = tl.arange(0, BLOCK)
    total, counted, wrong = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.int32), tl.zeros([BLOCK], tl.int32)
    for start in range(0, N, BLOCK):
        inside = start + rows < N
        target = tl.load(TARGET + start + rows, mask=inside, other=0).to(tl.int64)
        total += tl.load(LOSS + start + rows, mask=inside, other=0.0)
        counts = inside & (target != ignored)
        counted += counts.to(tl.int32)
        wrong += (counts & ((target < 0) | (target >= V))).to(tl.int32)
    n = tl.sum(counted, 0)
    tl.store(MEAN, narrow(tl.sum(total, 0) / n, MEAN.dtype.element_ty))
    tl.store(COUNTS, n)
    tl.store(COUNTS + 1, tl.sum(wrong, 0))


@triton.jit
def backward(dY, Z, TARGET, L, COUNTS, dZ, V, ignored, smoothing, CHUNK: tl.constexpr):
    """One chunk of one row of dz."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    inside, target = columns < V, tl.load(TARGET + row).to(tl.int64)
    slope = wide(tl.load(dY)) / tl.load(COUNTS)
    z = wide(tl.load(Z + row * V + columns, mask=inside, other=-float("inf")))
    q = tl.where(columns == target, 1 - smoothing, 0.0) + smoothing / V
    dz = tl.where(target != ignored, (tl.exp(z - tl.load(L + row)) - q) * slope, 0.0)
    tl.store(dZ + row * V + columns, narrow(dz, dZ.dtype.element_ty), mask=inside)


def cross_entropy(
    z: Float[Tensor, "N V"], target: Int[Tensor, "N"], ignore_index: int = -100, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    r"""The mean of −Σ_j q_j log softmax(z)_j over the rows whose target is not `ignore_index`; over no row NaN.

    Logits in float32, bfloat16 or float16; sums are in float32. Wrong targets are told, for which the GPU is awaited.
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
    kept, counts, _ = _forward(z, target, ignore_index, label_smoothing)
    return _backward(torch.ones((), device=z.device), z, target, kept, counts, ignore_index, label_smoothing)


def _checked(z, target, ignore_index, label_smoothing):
    device.supported(z=z)
    sizes = expect.axes("z", z, "N V")
    expect.agree(N=(sizes["N"], expect.axes("target", target, "N")["N"]))
    expect.number("label_smoothing", label_smoothing, 0, 1)
    if target.device != z.device:
        expect.fail("target", f"a tensor on {z.device}", target.device)
    expect.integers("target", target)


def _forward(z, target, ignored, smoothing):
    N, V = z.shape
    kept, losses = torch.empty(2, N, dtype=torch.float32, device=z.device)
    result, counts = z.new_empty(()), torch.empty(2, dtype=torch.int32, device=z.device)
    chunk = min(CHUNK, triton.next_power_of_2(V))
    forward[(N,)](z, target, kept, losses, V, ignored, float(smoothing), smoothing > 0, FOLDS, chunk, num_warps=4)
    mean[(1,)](losses, target, result, counts, N, V, ignored, 1024)
    if counts[1]:  # only now, for what waits has been launched
        expect.indices("target", torch.where(target == ignored, 0, target), V)
    return kept, counts, result


def _backward(dy, z, target, kept, counts, ignored, smoothing):
    N, V = z.shape
    dz, chunk = torch.empty_like(z), min(CHUNK, triton.next_power_of_2(V))
    grid = (N, triton.cdiv(V, chunk))
    backward[grid](dy, z, target, kept, counts, dz, V, ignored, float(smoothing), chunk, num_warps=4)
    return dz


class CrossEntropy(torch.autograd.Function):
    """The kernels, forward and backward."""

    @staticmethod
    def forward(ctx, z, target, ignore_index, label_smoothing):
        z, target = z.contiguous(), target.contiguous()
        kept, counts, result = _forward(z, target, ignore_index, label_smoothing)
        ctx.save_for_backward(z, target, kept, counts)
        ctx.given = ignore_index, label_smoothing
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        z, target, kept, counts = ctx.saved_tensors
        return _backward(dy.contiguous(), z, target, kept, counts, *ctx.given), None, None, None
