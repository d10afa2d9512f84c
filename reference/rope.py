r"""Rotary positions: pair k of a vector at position m is turned by the angle m θ_k, with θ_k = base^(−2k/K).

    (a, b) ↦ (a cos mθ − b sin mθ, a sin mθ + b cos mθ)

The frequencies, and what stretches them to longer texts, stand in reference/rope_scaling.py.
Article papers/rope.md, derivation derivations/rope.py, laws verify/rope.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.rope_scaling import dynamic_ntk as dynamic_ntk  # of the same topic
from reference.rope_scaling import frequencies
from reference.rope_scaling import interpolated as interpolated
from reference.rope_scaling import llama3 as llama3
from reference.rope_scaling import ntk as ntk
from reference.rope_scaling import yarn as yarn

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

LAYOUTS = ("interleaved", "half")


def rotate(
    x: Float[Tensor, "*B T K"],
    positions: Num[Tensor, "*P T"],
    base: float = 10000.0,
    layout: str = "interleaved",
    *,
    theta: Float[Tensor, "R"] | None = None,
    factor: float = 1.0,
) -> Float[Tensor, "*B T K"]:
    r"""Turn every pair of x by its position times its frequency, counter-clockwise.

    The layout says which coordinates are paired: "interleaved" (2k, 2k + 1), as in the paper, or "half" (k, k + R/2).
    Given frequencies `theta` replace those of the base; R/2 of them turn the first R coordinates, and the others pass
    (partial rotation). What is turned is multiplied by `factor`, which YaRN calls the attention factor.
    Positions are those of every row ("T"), or each row of the batch has its own ("B T", B the first axis of x).
    Angles are computed in float64 and rounded once to x's dtype: bfloat16 angles lose position 257.
    Raises ValueError for an odd K, an unknown layout, more frequencies than pairs, or positions of another shape.
    Source: su2021roformer, §3.4.2 eq. (34); black2022neox, §2.1.1 (partial); peng2023yarn, §3.4 (factor).
    """
    expect.floating("x", x)
    if x.ndim < 2:
        expect.fail("x", "axes … T K", f"shape {tuple(x.shape)}")
    if layout not in LAYOUTS:
        expect.fail("layout", f"one of {', '.join(LAYOUTS)}", repr(layout))
    expect.number("factor", factor)
    if theta is None:
        theta = frequencies(x.shape[-1], base, device=x.device)
    expect.floating("theta", theta)
    R = 2 * expect.axes("theta", theta, "R/2")["R/2"]
    if x.shape[-1] < R:
        expect.fail("theta", f"at most {x.shape[-1] // 2} frequencies, one a pair", R // 2)
    angle = torch.einsum("...t,k->...tk", _of_rows(positions, x), theta.to(x.device, torch.float64))
    cos, sin = (angle.cos() * factor).to(x.dtype), (angle.sin() * factor).to(x.dtype)
    turned, passed = x.split([R, x.shape[-1] - R], -1)
    pairs = turned.unflatten(-1, (-1, 2)) if layout == "interleaved" else turned.unflatten(-1, (2, -1)).mT
    a, b = pairs.unbind(-1)
    out = torch.stack([a * cos - b * sin, a * sin + b * cos], -1)
    out = out.flatten(-2) if layout == "interleaved" else out.mT.flatten(-2)
    return torch.cat([out, passed], -1) if passed.shape[-1] else out


def _of_rows(positions, x):
    """Positions in float64, of a shape that broadcasts to x's but its last axis."""
    expect.tensor("positions", positions)
    if positions.ndim == 2 and x.ndim > 2:
        expect.agree(B=(x.shape[0], positions.shape[0]), T=(x.shape[-2], positions.shape[1]))
        positions = positions.reshape(x.shape[0], *[1] * (x.ndim - 3), x.shape[-2])
    else:
        expect.agree(T=(x.shape[-2], expect.axes("positions", positions, "T")["T"]))
    return positions.to(x.device, torch.float64)
