r"""A step of AdamW in Triton: parameter, gradient and moments are read once, parameter and moments written once.

What it computes is reference.optimizers.adamw_step, to which `python -m verify check optimizers.adamw_step` holds it.
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

BLOCK = 1024


@triton.jit
def step(X, G, M, V, X1, M1, V1, N, beta1, rest1, beta2, rest2, part1, part2, lr, keep, eps, BLOCK: tl.constexpr):
    """x ← keep x − lr m̂/(√v̂ + ε), rest = 1 − β and part = 1 − βᵗ, which are rounded only once, on the host."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x, g = wide(tl.load(X + at, mask=at < N)), wide(tl.load(G + at, mask=at < N))
    m, v = wide(tl.load(M + at, mask=at < N)), wide(tl.load(V + at, mask=at < N))
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    size = tl.sqrt_rn(v / part2) + eps
    direction = m / part1 / tl.where(size == 0, 1.0, size)  # gradients that were all zero move nothing, also at ε = 0
    tl.store(X1 + at, narrow(keep * x - lr * direction, X1.dtype.element_ty), mask=at < N)
    tl.store(M1 + at, narrow(m, M1.dtype.element_ty), mask=at < N)
    tl.store(V1 + at, narrow(v, V1.dtype.element_ty), mask=at < N)


def adamw_step(
    x: Float[Tensor, "P"],
    g: Float[Tensor, "P"],
    m: Float[Tensor, "P"],
    v: Float[Tensor, "P"],
    *,
    t: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"], Float[Tensor, "P"]]:
    r"""Parameters and moments (x, m, v) after the t-th step, in float32, bfloat16 or float16, computed in float32.

    Raises ValueError for axes that do not agree, t < 1, lr < 0, λ < 0, β outside 0 ≤ β < 1, ε < 0, another dtype or
    device. It has no gradient. Source: loshchilov2019decoupled, Algorithm 2, with its α and η_t both in η.
    """
    device.supported(x=x, g=g, m=m, v=v)
    P = expect.axes("x", x, "P")["P"]
    expect.agree(P=(P, expect.axes("g", g, "P")["P"]))
    expect.agree(P=(P, expect.axes("m", m, "P")["P"]))
    expect.agree(P=(P, expect.axes("v", v, "P")["P"]))
    expect.natural("t", t, 1)
    expect.number("lr", lr, 0)
    expect.number("decay", decay, 0)
    expect.number("beta1", beta1, 0, 1, open_high=True)
    expect.number("beta2", beta2, 0, 1, open_high=True)
    expect.number("eps", eps, 0)
    x, g, m, v = (tensor.detach().contiguous() for tensor in (x, g, m, v))
    after = [torch.empty_like(x) for _ in range(3)]
    numbers = beta1, 1 - beta1, beta2, 1 - beta2, 1 - beta1**t, 1 - beta2**t, lr, 1 - lr * decay, eps
    step[(triton.cdiv(P, BLOCK),)](x, g, m, v, *after, P, *map(float, numbers), BLOCK)
    return after[0], after[1], after[2]
