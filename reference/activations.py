r"""Activations: the functions of one number that stand between two linear layers, and the gate made of one of them.

    relu(x) = max(x, 0),   silu(x) = x σ(x),   gelu(x) = x Φ(x),   swiglu(g, u) = silu(g) u,   geglu(g, u) = gelu(g) u

Article papers/activations.md, derivation derivations/activations.py, laws verify/activations.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

APPROXIMATIONS = ("none", "tanh")


def relu(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""max(x, 0), entry by entry; at 0, where it has no derivative, the gradient is 0.

    Raises ValueError for an integer or empty tensor.
    Source: nair2010rectified, §2.
    """
    expect.floating("x", x)
    return torch.where(x <= 0, 0, x)  # NaN is not ≤ 0, and stays


def sigmoid(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""1/(1 + e^(−x)), entry by entry: the probability of 1 when its log-odds are x.

    Raises ValueError for an integer or empty tensor.
    Source: goodfellow2016deep, §3.10.
    """
    expect.floating("x", x)
    e = torch.exp(torch.where(x < 0, x, -x))  # e^(−|x|) never overflows, and this form has a derivative at 0
    return torch.where(x < 0, e, 1) / (1 + e)


def softplus(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""log(1 + e^x), entry by entry: log Σ exp of 0 and x, a smooth relu.

    Raises ValueError for an integer or empty tensor.
    Source: dugas2001softplus, §2.
    """
    expect.floating("x", x)
    e = torch.exp(torch.where(x < 0, x, -x))
    return torch.where(x < 0, 0, x) + torch.log1p(e)


def silu(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""x σ(x), entry by entry; also called swish. At −∞ it is 0 · ∞ = NaN.

    Raises ValueError for an integer or empty tensor.
    Source: elfwing2018silu, §2.
    """
    return x * sigmoid(x)


def gelu(x: Float[Tensor, "*B F"], approximate: str = "none") -> Float[Tensor, "*B F"]:
    r"""x Φ(x), entry by entry, with the distribution function Φ of the standard normal. At −∞ it is 0 · ∞ = NaN.

    "none" is ½x(1 + erf(x/√2)); "tanh" is ½x(1 + tanh(√(2/π)(x + 0.044715x³))), at most 4.74·10⁻⁴ away.
    Raises ValueError for an integer or empty tensor, or another `approximate`.
    Source: hendrycks2016gelu, §2.
    """
    expect.floating("x", x)
    if approximate not in APPROXIMATIONS:
        expect.fail("approximate", f"one of {', '.join(APPROXIMATIONS)}", repr(approximate))
    if approximate == "none":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def quick_gelu(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""x σ(1.702x), entry by entry: GELU with a logistic distribution for the normal, at most 0.0204 away. NaN at −∞.

    Raises ValueError for an integer or empty tensor.
    Source: hendrycks2016gelu, §2.
    """
    expect.floating("x", x)
    return x * sigmoid(1.702 * x)


def softcap(x: Float[Tensor, "*B F"], cap: float) -> Float[Tensor, "*B F"]:
    r"""cap · tanh(x/cap), entry by entry: x itself near zero, and never beyond ±cap.

    Raises ValueError for an integer or empty tensor, or unless cap > 0.
    Source: gemma2024gemma2, §2 (logit soft-capping).
    """
    expect.floating("x", x)
    expect.above("cap", cap)
    return cap * torch.tanh(x / cap)


def _gated(gate: Float[Tensor, "*B F"], up: Float[Tensor, "*B F"]) -> None:
    """Two floating tensors of one shape."""
    expect.floating("gate", gate)
    expect.floating("up", up)
    if gate.shape != up.shape:
        expect.fail("up", f"the shape of gate, {tuple(gate.shape)}", f"shape {tuple(up.shape)}")


def geglu(
    gate: Float[Tensor, "*B F"], up: Float[Tensor, "*B F"], approximate: str = APPROXIMATIONS[0]
) -> Float[Tensor, "*B F"]:
    r"""gelu(gate) · up, entry by entry, in the form of GELU that is named.

    Raises ValueError for integer or empty tensors, unequal shapes, or another `approximate`.
    Source: shazeer2020glu, §2 eq. (5).
    """
    _gated(gate, up)
    return gelu(gate, approximate) * up


def swiglu(gate: Float[Tensor, "*B F"], up: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    r"""silu(gate) · up, entry by entry: one projection of the token decides how much of the other passes.

    Raises ValueError for integer or empty tensors, or unequal shapes.
    Source: shazeer2020glu, §2 eq. (5).
    """
    _gated(gate, up)
    return silu(gate) * up
