r"""Muon: momentum for a matrix, whose singular values are brought near one before each step.

    X ← G / (‖G‖ + ε),   then five times   X ← aX + b(XXᵀ)X + c(XXᵀ)²X

An odd polynomial of a matrix is that of its singular values: G = U S Vᵀ becomes U p(…p(S)…) Vᵀ without a decomposition.
Article papers/optimizers.md, derivation derivations/optimizers_muon.py, laws verify/optimizers_muon.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)


def newton_schulz(g: Float[Tensor, "F D"], *, steps: int = 5, eps: float = 1e-7) -> Float[Tensor, "F D"]:
    r"""The matrix g with its singular values moved towards one, by `steps` of a quintic that starts steep.

    The Frobenius norm is scaled to ‖g‖/(‖g‖ + ε) first, so that no singular value exceeds one; the zero matrix stays
    zero, also with ε = 0. Five steps take what was above 1/300 of the norm not to one but between 0.68 and 1.21:
    the coefficients were chosen for speed (claim optimizers.five_steps_suffice_from_a_three_hundredth). Computed in the
    dtype of g, where others use bfloat16.
    Raises ValueError unless g is floating "F D", steps ≥ 0 and ε ≥ 0. Source: jordan2024muon, NewtonSchulz5.
    """
    expect.floating("g", g)
    expect.axes("g", g, "F D")
    expect.natural("steps", steps)
    expect.number("eps", eps, 0)
    a, b, c = QUINTIC
    square = (g * g).sum()
    resting = square == 0
    x = g / torch.where(resting, 1, torch.sqrt(torch.where(resting, 1, square)) + eps)
    x = x.mT if g.shape[0] > g.shape[1] else x  # the smaller Gram matrix; both give one polynomial
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if g.shape[0] > g.shape[1] else x


def muon_init(x: Float[Tensor, "F D"]) -> Float[Tensor, "F D"]:
    """The velocity before the first step: zero."""
    return torch.zeros_like(x)


def muon_update(
    g: Float[Tensor, "F D"],
    v: Float[Tensor, "F D"],
    *,
    mu: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    eps: float = 1e-7,
) -> tuple[Float[Tensor, "F D"], Float[Tensor, "F D"]]:
    r"""The direction and the velocity: momentum, orthogonalized, and made as large as a tall matrix needs.

        v ← μ v + g
        direction = √max(1, F/D) · newton_schulz(v),   or of g + μ v when `nesterov`

    Whether v is this sum or (1 − μ) times it, an average, changes nothing but the meaning of ε.
    Raises ValueError unless 0 ≤ μ < 1, or as `newton_schulz`. Source: jordan2024muon, and its code for the factor.
    """
    expect.number("mu", mu, 0, 1, open_high=True)
    expect.floating("g", g)
    expect.floating("v", v)
    (F, D), sizes = expect.axes("g", g, "F D").values(), expect.axes("v", v, "F D")
    expect.agree(F=(F, sizes["F"]), D=(D, sizes["D"]))
    v = mu * v + g
    return max(1.0, F / D) ** 0.5 * newton_schulz(g + mu * v if nesterov else v, steps=steps, eps=eps), v


def muon(
    x: Float[Tensor, "F D"],
    gradients: Float[Tensor, "N F D"],
    *,
    lr: float,
    mu: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    eps: float = 1e-7,
    decay: float = 0.0,
) -> Float[Tensor, "N F D"]:
    r"""The matrix after each step of x ← (1 − ηλ) x − η · direction, λ = decay, see `muon_update`.

    Raises ValueError for axes that do not agree, lr < 0, λ < 0, or as `muon_update`.
    Source: jordan2024muon; the decay: liu2025muon, §2.2.
    """
    expect.floating("x", x)
    expect.floating("gradients", gradients)
    (F, D), sizes = expect.axes("x", x, "F D").values(), expect.axes("gradients", gradients, "N F D")
    expect.agree(F=(F, sizes["F"]), D=(D, sizes["D"]))
    expect.number("lr", lr, 0)
    expect.number("decay", decay, 0)
    v, path = muon_init(x), []
    for g in gradients:
        direction, v = muon_update(g, v, mu=mu, nesterov=nesterov, steps=steps, eps=eps)
        x = x * (1 - lr * decay) - lr * direction
        path.append(x)
    return torch.stack(path)
