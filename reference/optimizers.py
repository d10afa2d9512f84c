r"""Gradient descent, momentum and Adam as init/update pairs: a gradient and a state give a direction and a state.

The parameter then moves by x ← x − η · direction. Article papers/optimizers.md, derivation
derivations/optimizers.py, laws verify/optimizers.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor


def momentum_init(x: Float[Tensor, "*P"]) -> Float[Tensor, "*P"]:
    """The velocity before the first step: zero."""
    return torch.zeros_like(x)


def momentum_update(g: Float[Tensor, "*P"], v: Float[Tensor, "*P"], *, mu: float):
    r"""Heavy-ball momentum; the direction is the new velocity.

        v ← μ v + g
        direction = v

    This velocity is 1/(1 − μ) times a moving average of gradients, not the average itself.
    Raises ValueError unless 0 ≤ μ < 1. Source: polyak1964heavyball, eq. (9).
    """
    expect.number("mu", mu, 0, 1, open_high=True)
    v = mu * v + g
    return v, v


class AdamState(NamedTuple):
    """Steps taken, first and second moment."""

    t: int
    m: Tensor
    v: Tensor


def adam_init(x: Float[Tensor, "*P"]) -> AdamState:
    """No step taken, both moments zero."""
    return AdamState(0, torch.zeros_like(x), torch.zeros_like(x))


def adam_update(
    g: Float[Tensor, "*P"], state: AdamState, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
):
    r"""Adam: the direction is the ratio of the bias-corrected moments, with ε outside the root.

        t ← t + 1
        m ← β₁ m + (1 − β₁) g          m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²         v̂ = v / (1 − β₂ᵗ)
        direction = m̂ / (√v̂ + ε)

    A coordinate whose gradients have all been zero has direction zero, also with ε = 0.
    Raises ValueError unless 0 ≤ β₁, β₂ < 1 and ε ≥ 0. Source: kingma2015adam, Algorithm 1.
    """
    expect.number("beta1", beta1, 0, 1, open_high=True)
    expect.number("beta2", beta2, 0, 1, open_high=True)
    expect.number("eps", eps, 0)
    t = state.t + 1
    m = beta1 * state.m + (1 - beta1) * g
    v = beta2 * state.v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    resting = v_hat == 0  # the root has no derivative at 0, and with ε = 0 the ratio would be 0/0
    root = torch.sqrt(torch.where(resting, 1, v_hat))
    direction = torch.where(resting, m_hat if eps == 0 else m_hat / eps, m_hat / (root + eps))
    return direction, AdamState(t, m, v)


def _trajectory(x, gradients, lr: float, state, update: Callable):
    """The parameter after each step of x ← x − η · direction."""
    expect.floating("x", x)
    expect.floating("gradients", gradients)
    expect.agree(P=(expect.axes("x", x, "P")["P"], expect.axes("gradients", gradients, "N P")["P"]))
    expect.number("lr", lr, 0)
    path = []
    for g in gradients:
        direction, state = update(g, state)
        x = x - lr * direction
        path.append(x)
    return torch.stack(path)


def sgd(x: Float[Tensor, "P"], gradients: Float[Tensor, "N P"], *, lr: float) -> Float[Tensor, "N P"]:
    r"""Parameters after each step of x ← x − η g.

    Raises ValueError for axes that do not agree or lr < 0. Source: goodfellow2016deep, Algorithm 8.1.
    """
    return _trajectory(x, gradients, lr, None, lambda g, state: (g, state))


def momentum(x: Float[Tensor, "P"], gradients: Float[Tensor, "N P"], *, lr: float, mu: float) -> Float[Tensor, "N P"]:
    r"""Parameters after each step with momentum, see `momentum_update`.

    Raises ValueError as `sgd` and `momentum_update`. Source: polyak1964heavyball, eq. (9).
    """
    return _trajectory(x, gradients, lr, momentum_init(x), lambda g, state: momentum_update(g, state, mu=mu))


def adam(
    x: Float[Tensor, "P"],
    gradients: Float[Tensor, "N P"],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Float[Tensor, "N P"]:
    r"""Parameters after each step of Adam, see `adam_update`.

    Raises ValueError as `sgd` and `adam_update`. Source: kingma2015adam, Algorithm 1.
    """
    hyper = {"beta1": beta1, "beta2": beta2, "eps": eps}
    return _trajectory(x, gradients, lr, adam_init(x), lambda g, state: adam_update(g, state, **hyper))
