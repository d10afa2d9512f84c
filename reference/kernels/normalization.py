r"""LayerNorm and RMSNorm in Triton, forward and backward: a row is read once and stays in registers.

With n = (x − μ)/√(σ² + ε), or n = x/√(mean x² + ε) without the mean, and u = w dy:

    y = w n + b,     dx = (u − mean u − n mean(u n))/√(σ² + ε),     dw = Σ dy n,   db = Σ dy over the rows

What it computes is reference.normalization, to which `python -m verify check normalization.layer_norm` holds it.
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

WIDEST = 32768
"""The longest row that registers hold."""
SIDE_BY_SIDE = 2
"""Backward, programs a multiprocessor: each adds up its part of the gradients by weight and bias."""


@triton.jit
def forward(X, W, B, Y, MEAN, INVERSE, N, D, eps, CENTRED: tl.constexpr, WEIGHT: tl.constexpr, BIAS: tl.constexpr,
            ROWS: tl.constexpr, BD: tl.constexpr):  # fmt: skip
    """ROWS rows, and what the way back needs of each: its mean and one over its size."""
    rows, columns = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, BD)
    inside = (rows[:, None] < N) & (columns[None, :] < D)
    at = rows[:, None] * D + columns[None, :]
    x = wide(tl.load(X + at, mask=inside, other=0.0))
    if CENTRED:
        mean = tl.sum(x, 1) / D
        x = tl.where(inside, x - mean[:, None], 0.0)  # two passes: the mean of x² less μ² loses digits
        tl.store(MEAN + rows, mean, mask=rows < N)
    inverse = 1 / tl.sqrt_rn(tl.sum(x * x, 1) / D + eps)
    tl.store(INVERSE + rows, inverse, mask=rows < N)
    y = x * inverse[:, None]
    if WEIGHT:
        y *= wide(tl.load(W + columns, mask=columns < D, other=0.0))[None, :]
    if BIAS:
        y += wide(tl.load(B + columns, mask=columns < D, other=0.0))[None, :]
    tl.store(Y + at, narrow(y, Y.dtype.element_ty), mask=inside)


@triton.jit
def both(a, b, c, d):
    """Two sums in one pass."""
    return a + c, b + d


@triton.jit
def backward(dY, X, W, MEAN, INVERSE, dX, dW, dB, N, D, share, CENTRED: tl.constexpr, WEIGHT: tl.constexpr,
             BIAS: tl.constexpr, STAGES: tl.constexpr, ROWS: tl.constexpr, BD: tl.constexpr):  # fmt: skip
    """`share` tiles of ROWS rows, one after another; this program's part of dw and db is a row of dW and dB."""
    columns = tl.arange(0, BD)
    w = wide(tl.load(W + columns, mask=columns < D, other=0.0)) if WEIGHT else tl.full([BD], 1.0, tl.float32)
    dw, db = tl.zeros([BD], tl.float32), tl.zeros([BD], tl.float32)
    for i in tl.range(share, num_stages=STAGES):
        rows = (tl.program_id(0).to(tl.int64) * share + i) * ROWS + tl.arange(0, ROWS)
        inside = (rows[:, None] < N) & (columns[None, :] < D)
        at = rows[:, None] * D + columns[None, :]
        inverse = tl.load(INVERSE + rows, mask=rows < N, other=0.0)[:, None]
        n = wide(tl.load(X + at, mask=inside, other=0.0))
        if CENTRED:
            n -= tl.load(MEAN + rows, mask=rows < N, other=0.0)[:, None]
        n *= inverse
        dy = wide(tl.load(dY + at, mask=inside, other=0.0))  # beyond the row's end zero, as is all that n meets there
        u = dy * w[None, :]
        if CENTRED:
            along, mean = tl.reduce((u * n, u), 1, both)
            dx = u - (mean / D)[:, None] - n * (along / D)[:, None]
        else:
            dx = u - n * (tl.sum(u * n, 1) / D)[:, None]
        tl.store(dX + at, narrow(dx * inverse, dX.dtype.element_ty), mask=inside)
        if WEIGHT:
            dw += tl.sum(dy * n, 0)
        if BIAS:
            db += tl.sum(dy, 0)
    if WEIGHT:
        tl.store(dW + tl.program_id(0) * D + columns, dw, mask=columns < D)
    if BIAS:
        tl.store(dB + tl.program_id(0) * D + columns, db, mask=columns < D)


@triton.jit
def collect(PARTS, SUMS, N, D, TALL: tl.constexpr, BD: tl.constexpr):
    """The N parts of dw, and of db, added up: TALL at once, so that one wait is for all of them."""
    columns, rows = tl.program_id(0) * BD + tl.arange(0, BD), tl.arange(0, TALL)
    total = tl.zeros([TALL, BD], tl.float32)
    for start in range(0, N, TALL):
        at = (tl.program_id(1) * N + start + rows)[:, None] * D + columns[None, :]
        total += tl.load(PARTS + at, mask=(start + rows < N)[:, None] & (columns < D)[None, :], other=0.0)
    sums = narrow(tl.sum(total, 0), SUMS.dtype.element_ty)
    tl.store(SUMS + tl.program_id(1) * D + columns, sums, mask=columns < D)


def layer_norm(
    x: Float[Tensor, "*B D"],
    weight: Float[Tensor, "D"] | None = None,
    bias: Float[Tensor, "D"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*B D"]:
    r"""(x − μ)/√(σ² + ε) · weight + bias over the last axis, in float32, bfloat16 or float16, computed in float32.

    Raises ValueError unless x is "*B D", weight and bias are "D", D ≤ 32768 and ε ≥ 0, or for another dtype or device.
    Source: ba2016layernorm, §3 eq. (3) and §3.1 eq. (4); the place of ε is that of ioffe2015batchnorm, Algorithm 1.
    """
    return _normalized(x, weight, bias, eps, True)


def rms_norm(
    x: Float[Tensor, "*B D"], weight: Float[Tensor, "D"] | None = None, eps: float = 1e-6
) -> Float[Tensor, "*B D"]:
    r"""x/√(mean x² + ε) · weight over the last axis, in float32, bfloat16 or float16, computed in float32.

    Raises ValueError as `layer_norm`. Source: zhang2019rmsnorm, §4 eq. (4).
    """
    return _normalized(x, weight, None, eps, False)


def _normalized(x, weight, bias, eps, centred):
    vectors = {name: vector for name, vector in (("weight", weight), ("bias", bias)) if vector is not None}
    device.supported(x=x, **vectors)
    if x.ndim == 0:
        expect.fail("x", "at least one axis", "shape ()")
    for name, vector in vectors.items():
        expect.agree(D=(x.shape[-1], expect.axes(name, vector, "D")["D"]))
    if x.shape[-1] > WIDEST:
        expect.fail("D", f"rows of at most {WIDEST} entries", x.shape[-1])
    expect.number("eps", eps, 0.0)
    return Norm.apply(x, weight, bias, eps, centred)


def _tiles(D, numbers, warp):
    """Rows and columns of a tile of so many numbers, or of one row if it has more, and a warp for every `warp`."""
    BD = triton.next_power_of_2(D)
    rows = max(1, numbers // BD)
    return {"ROWS": rows, "BD": BD, "num_warps": min(16, max(4, rows * BD // warp))}


class Norm(torch.autograd.Function):
    """The kernels, forward and backward."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, centred):
        x = x.contiguous()
        D = x.shape[-1]
        N, y, tiles = x.numel() // D, torch.empty_like(x), _tiles(D, 8192, 2048)
        weight = None if weight is None else weight.contiguous()
        inverse = torch.empty(N, dtype=torch.float32, device=x.device)
        mean = torch.empty_like(inverse) if centred else None
        options = {"CENTRED": centred, "WEIGHT": weight is not None, "BIAS": bias is not None}
        shift = None if bias is None else bias.contiguous()
        grid = (triton.cdiv(N, tiles["ROWS"]),)
        forward[grid](x, weight, shift, y, mean, inverse, N, D, float(eps), **options, **tiles)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.options = options
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, weight, mean, inverse = ctx.saved_tensors
        D, tiles, dx = x.shape[-1], _tiles(x.shape[-1], 4096, 512), torch.empty_like(x)
        N = x.numel() // D
        tall = triton.cdiv(N, tiles["ROWS"])
        share = triton.cdiv(tall, device.multiprocessors(x) * SIDE_BY_SIDE)
        grid = (triton.cdiv(tall, share),)
        parts = torch.empty(2, grid[0], D, dtype=torch.float32, device=x.device)
        flight = 3 if tiles["ROWS"] * tiles["BD"] * x.element_size() <= 1 << 14 else 1  # if there is room
        backward[grid](dy.contiguous(), x, weight, mean, inverse, dx, *parts, N, D, share, **ctx.options,
                       STAGES=flight, **tiles)  # fmt: skip
        vectors = torch.empty(2, D, dtype=x.dtype, device=x.device)
        wanted = int(ctx.options["WEIGHT"]), int(ctx.options["BIAS"])
        if any(wanted):
            collect[(triton.cdiv(D, 8), 1 + wanted[1])](parts, vectors, grid[0], D, 512, 8)
        dw, db = (vector if want else None for vector, want in zip(vectors, wanted, strict=True))
        return dx, dw, db, None, None
