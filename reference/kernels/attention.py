r"""Flash attention in Triton, for NVIDIA GPUs and, where TRITON_INTERPRET=1, for CPUs: the function that is called.

The kernels are in reference/kernels/attention_forward.py and attention_backward.py; what they compute is
reference.attention, to which `python -m verify check attention.attention` holds them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import triton
from triton.tools.tensor_descriptor import TensorDescriptor

from reference import expect
from reference.kernels import attention_backward, attention_forward, device

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

WIDEST = 256
"""The largest head dimension."""


def attention(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B G S K"],
    v: Float[Tensor, "B G S K"],
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
) -> Float[Tensor, "B H T K"]:
    r"""Attention of q over (k, v) in float32, bfloat16 or float16, K ≤ 256; H/G query heads on end share a key head.

    `causal` is aligned bottom-right; with `window` w, which wants `causal`, a query sees the last w keys up to its own
    position. A query that may see no key gives zeros. Scores are never stored: memory grows with T + S.
    Products are of numbers in the dtype, sums are in float32, and weights are rounded to the dtype to meet the values.
    Raises ValueError when axes do not agree, H is no multiple of G, or for another dtype, size or device.
    Source: dao2023flashattention2, §3.1.
    """
    ours, theirs = expect.axes("q", q, "B H T K"), expect.axes("k", k, "B G S K")
    device.supported(q=q, k=k, v=v)
    if tuple(v.shape) != tuple(k.shape):
        expect.fail("v", f"the shape of k, {tuple(k.shape)}", tuple(v.shape))
    expect.agree(B=(ours["B"], theirs["B"]), K=(ours["K"], theirs["K"]))
    if ours["H"] % theirs["G"]:
        expect.fail("q", f"H a multiple of {theirs['G']} key-value heads", f"{ours['H']} query heads")
    if ours["K"] > WIDEST:
        expect.fail("K", f"a head dimension up to {WIDEST}", ours["K"])
    if window is not None:
        expect.natural("window", window, 1)
        if not causal:
            expect.fail("window", "causal=True with it", "causal=False")
    scale = ours["K"] ** -0.5 if scale is None else scale
    expect.number("scale", scale)
    if scale <= 0:  # the kernels take the maximum of unscaled scores
        q, scale = (-q, -scale) if scale else (q * 0, 1.0)
    out = Attention.apply(*(_loadable(x) for x in (q, k, v)), causal, window, scale)
    return out[..., : ours["K"]]


class Attention(torch.autograd.Function):
    """The kernels, forward and backward."""

    @staticmethod
    def forward(ctx, q, k, v, causal, window, scale):
        B, H, T, _ = q.shape
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        kept = torch.empty(B * H, triton.cdiv(T, 4) * 4, dtype=torch.float32, device=q.device)[:, :T]
        call, sizes = _common(q, k, causal, window, scale)
        tiles = _tiles("forward", q)
        described = _described(tiles, Q=q, K=k, V=v, O=out, L=kept)
        grid = (triton.cdiv(T, tiles["BM"]) * B * H,)
        attention_forward.forward[grid](**described, **sizes, **call, **tiles)
        ctx.save_for_backward(q, k, v, out, kept)
        ctx.given = causal, window, scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dout):
        q, k, v, out, kept = ctx.saved_tensors
        (B, H, T, K), (G, S), dout = q.shape, k.shape[1:3], _loadable(dout)
        inside = kept.new_empty(B * H, kept.stride(0))[:, :T]
        call, sizes = _common(q, k, *ctx.given)
        tiles = {"BM": 64, "BK": _wide(K), "num_warps": 4}
        grid = (triton.cdiv(T, tiles["BM"]) * B * H,)
        attention_backward.inner[grid](**_described(tiles, O=out, dO=dout, D=inside), H=H, T=T, **tiles)
        dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
        call |= {"natural": ctx.given[2]}
        tiles = _tiles("keys", q)
        described = _described(tiles, Q=q, K=k, V=v, dO=dout, L=kept, D=inside, dK=dk, dV=dv)
        attention_backward.keys_and_values[(triton.cdiv(S, tiles["BN"]) * B * G,)](
            **described, **sizes, **call, **tiles
        )
        tiles = _tiles("queries", q)
        described = _described(tiles, Q=q, K=k, V=v, dO=dout, L=kept, D=inside, dQ=dq)
        grid = (triton.cdiv(T, tiles["BM"]) * B * H,)
        attention_backward.queries[grid](**described, **sizes, **call, **tiles)
        return dq, dk, dv, None, None, None


def _loadable(x):
    """x as the copy engine wants it: rows on end, each at a multiple of 16 bytes; zeros are appended to the rows."""
    unit = 16 // x.element_size()
    if x.shape[-1] % unit:
        x = torch.nn.functional.pad(x, (0, -x.shape[-1] % unit))
    strides = [stride for stride, size in zip(x.stride()[:-1], x.shape, strict=False) if size > 1]
    fine = x.stride(-1) == 1 and all(s and not s % unit for s in strides) and x.data_ptr() % 16 == 0
    return x if fine else x.clone(memory_format=torch.contiguous_format)


def _wide(K):
    """The columns of a tile, a power of two from 16."""
    return max(16, triton.next_power_of_2(K))


def _described(tiles, **tensors):
    """Descriptors for the copy engine, which gives zeros beyond a tensor's edge and writes nothing there."""
    found = {}
    for name, x in tensors.items():
        rows = tiles["BN"] if name in ("K", "V", "dK", "dV") else tiles["BM"]
        strides = [s if size > 1 else 16 for s, size in zip(x.stride(), x.shape, strict=True)]  # of one, any will do
        block = [1, 1, rows, tiles["BK"]] if x.ndim == 4 else [1, rows]
        found[name] = TensorDescriptor(x, list(x.shape), [*strides[:-1], 1], block)
    return found


def _common(q, k, causal, window, scale):
    """What all walks are told."""
    (_, H, T, _), (G, S) = q.shape, k.shape[1:3]
    options = {"CAUSAL": causal, "WINDOW": window is not None, "scale": scale * math.log2(math.e)}
    options["PRECISION"] = "ieee" if q.dtype == torch.float32 else "tf32"
    return options, {"H": H, "share": H // G, "T": T, "S": S, "window": window or 0}


def _tiles(kernel, x):
    """The tiles for a kernel: of the table for two bytes a number, small ones for four, and stages that fit the GPU."""
    BK = _wide(x.shape[-1])
    side, memory = 32 if BK <= 64 else 16, device.shared_memory(x)
    table = TILES if memory >= HOPPER else SMALLER
    BM, BN, warps, stages = (side, side, 8, 1) if x.dtype == torch.float32 else table[kernel][max(64, BK)]
    still, moving = (BN, BM) if kernel == "keys" else (BM, BN)
    still *= 1 if kernel == "forward" else 2
    room = memory // (BK * x.element_size()) - SPARE
    return {
        "BM": BM,
        "BN": BN,
        "BK": BK,
        "num_warps": warps,
        "num_stages": max(1, min(stages, (room - still) // (2 * moving))),
    }


TILES = {
    "forward": {64: (64, 128, 4, 3), 128: (128, 128, 8, 3), 256: (64, 32, 4, 2)},
    "keys": {64: (64, 64, 4, 3), 128: (64, 64, 4, 2), 256: (32, 64, 8, 2)},
    "queries": {64: (64, 128, 4, 3), 128: (128, 64, 8, 3), 256: (64, 32, 8, 2)},
}
"""By head dimension: queries and keys of a tile, warps, stages. Read off sweeps on an H100 and an H200."""
SMALLER = {
    "forward": {64: (128, 64, 8, 2), 128: (64, 64, 8, 2), 256: (64, 32, 8, 2)},
    "keys": {64: (64, 32, 8, 3), 128: (32, 32, 8, 2), 256: (32, 16, 8, 2)},
    "queries": {64: (64, 64, 8, 3), 128: (64, 64, 8, 2), 256: (32, 32, 8, 2)},
}
"""For GPUs whose products read registers: the largest of which ptxas spills none for sm_80. Not timed."""
HOPPER = 227 << 10
"""Bytes of shared memory a program may have where products read them from there, sm_90 and sm_100."""
SPARE = 8
"""Rows' worth of shared memory for barriers and sums."""
