r"""Rotary positions: pair k of a vector at position m is turned by the angle m θ_k, with θ_k = base^(−2k/K).

    (a, b) ↦ (a cos mθ − b sin mθ, a sin mθ + b cos mθ)

Article papers/rope.md, derivation derivations/rope.py, laws verify/rope.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

LAYOUTS = ("interleaved", "half")


def frequencies(K: int, base: float = 10000.0, dtype=torch.float64, device=None) -> Float[Tensor, "K/2"]:
    r"""θ_k = base^(−2k/K) for k = 0 … K/2 − 1, in radians a position.

    Raises ValueError for an odd K or a base that is not above zero.
    Source: su2021roformer, §3.2.2 eq. (15).
    """
    expect.natural("K", K, 2)
    if K % 2:
        expect.fail("K", "an even number of coordinates, to be paired", K)
    if not base > 0:
        expect.fail("base", "a number above 0", base)
    return base ** (-torch.arange(0, K, 2, dtype=dtype, device=device) / K)


def rotate(
    x: Float[Tensor, "*B T K"],
    positions: Num[Tensor, "T"],
    base: float = 10000.0,
    layout: str = "interleaved",
) -> Float[Tensor, "*B T K"]:
    r"""Turn every pair of x by its position times its frequency, counter-clockwise.

    The layout says which coordinates are paired: "interleaved" (2k, 2k + 1), as in the paper, or "half" (k, k + K/2).
    Angles are computed in float64 and rounded once to x's dtype: bfloat16 angles lose position 257.
    Raises ValueError for an odd K, an unknown layout, or positions that do not have shape "T".
    Source: su2021roformer, §3.4.2 eq. (34).
    """
    expect.floating("x", x)
    if x.ndim < 2:
        expect.fail("x", "axes … T K", f"shape {tuple(x.shape)}")
    if layout not in LAYOUTS:
        expect.fail("layout", f"one of {', '.join(LAYOUTS)}", repr(layout))
    expect.agree(T=(x.shape[-2], expect.axes("positions", positions, "T")["T"]))
    theta = frequencies(x.shape[-1], base, device=x.device)
    angle = torch.einsum("t,k->tk", positions.to(torch.float64), theta)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    pairs = x.unflatten(-1, (-1, 2)) if layout == "interleaved" else x.unflatten(-1, (2, -1)).mT
    a, b = pairs.unbind(-1)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1)
    return turned.flatten(-2) if layout == "interleaved" else turned.mT.flatten(-2)
