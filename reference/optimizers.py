r"""Gradient descent, momentum, RMSprop, Adam, AdamW, Lion: a gradient and a state give a direction and a state.

The parameter then moves by x ← x − η · direction. Each is an init/update pair. Muon, and what is done to gradients
before, are beside. Article papers/optimizers.md, derivation derivations/optimizers.py, laws verify/optimizers.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect, optimizers_gradients, optimizers_muon

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

accumulate, clip_by_global_norm = optimizers_gradients.accumulate, optimizers_gradients.clip_by_global_norm
muon, muon_update, newton_schulz = optimizers_muon.muon, optimizers_muon.muon_update, optimizers_muon.newton_schulz


def _alike(g: Tensor, **state: Tensor) -> None:
    """A floating gradient, and a state of its shape."""
    expect.floating("g", g)
    for name, kept in state.items():
        expect.floating(name, kept)
        if kept.shape != g.shape:
            expect.fail(name, f"the shape of g, {tuple(g.shape)}", f"shape {tuple(kept.shape)}")


def momentum_init(x: Float[Tensor, "*P"]) -> Float[Tensor, "*P"] | None:
    """There is no velocity before the first step."""
    return None


def momentum_update(
    g: Float[Tensor, "*P"],
    v: Float[Tensor, "*P"] | None,
    *,
    mu: float,
    dampening: float = 0.0,
    nesterov: bool = False,
):
    r"""Heavy-ball momentum, or Nesterov's, which looks one step of the velocity ahead.

        v ← μ v + (1 − τ) g     τ = dampening; v ← g at the first step, whatever τ
        direction = v,          or g + μ v when `nesterov`

    This velocity is 1/(1 − μ) times a moving average of gradients (at τ = 0), not the average itself.
    Raises ValueError unless 0 ≤ μ < 1 and 0 ≤ τ ≤ 1, or for a state of another shape than the gradient.
    Source: polyak1964heavyball, eq. (9); sutskever2013momentum, §2 and §3.
    """
    _alike(g, v=g if v is None else v)
    expect.number("mu", mu, 0, 1, open_high=True)
    expect.number("dampening", dampening, 0, 1)
    v = g if v is None else mu * v + (1 - dampening) * g
    return (g + mu * v if nesterov else v), v


def _over_root(m, v, eps: float):
    """m / (√v + ε), and zero for 0/(√0 + 0); the root has no derivative at 0, so it is not taken there."""
    resting = v == 0
    root = torch.sqrt(torch.where(resting, 1, v))
    return torch.where(resting, m if eps == 0 else m / eps, m / (root + eps))


def rmsprop_init(x: Float[Tensor, "*P"]) -> Float[Tensor, "*P"]:
    """The mean square before the first step: zero."""
    return torch.zeros_like(x)


def rmsprop_update(g: Float[Tensor, "*P"], s: Float[Tensor, "*P"], *, alpha: float = 0.99, eps: float = 1e-8):
    r"""RMSprop: the gradient over the root of the moving mean of its squares, with ε outside the root.

        s ← α s + (1 − α) g²
        direction = g / (√s + ε)

    A coordinate whose gradients have all been zero has direction zero, also with ε = 0.
    Raises ValueError unless 0 ≤ α < 1 and ε ≥ 0, or as `momentum_update`. Source: tieleman2012rmsprop, lecture 6e.
    """
    _alike(g, s=s)
    expect.number("alpha", alpha, 0, 1, open_high=True)
    expect.number("eps", eps, 0)
    s = alpha * s + (1 - alpha) * g**2
    return _over_root(g, s, eps), s


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
    Raises ValueError unless 0 ≤ β₁, β₂ < 1 and ε ≥ 0, or as `momentum_update`. Source: kingma2015adam, Algorithm 1.
    """
    _alike(g, m=state.m, v=state.v)
    expect.number("beta1", beta1, 0, 1, open_high=True)
    expect.number("beta2", beta2, 0, 1, open_high=True)
    expect.number("eps", eps, 0)
    t = state.t + 1
    m = beta1 * state.m + (1 - beta1) * g
    v = beta2 * state.v + (1 - beta2) * g**2
    return _over_root(m / (1 - beta1**t), v / (1 - beta2**t), eps), AdamState(t, m, v)


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
    r"""Parameters and moments (x, m, v) after the t-th step of AdamW, from those before it, t = 1, 2, …

        x ← (1 − ηλ) x − η m̂ / (√v̂ + ε)     λ = decay, with the moments of `adam_update`

    The decay meets the parameters as they were before the step, and never the moments. v is expected to be ≥ 0.
    Raises ValueError for axes that do not agree, t < 1, lr < 0, λ < 0, or as `adam_update`.
    Source: loshchilov2019decoupled, Algorithm 2, with its α and η_t both in η.
    """
    expect.floating("x", x)
    size = expect.axes("x", x, "P")["P"]
    for name, tensor in (("g", g), ("m", m), ("v", v)):
        expect.floating(name, tensor)
        expect.agree(P=(size, expect.axes(name, tensor, "P")["P"]))
    expect.natural("t", t, 1)
    expect.number("lr", lr, 0)
    expect.number("decay", decay, 0)
    direction, state = adam_update(g, AdamState(t - 1, m, v), beta1=beta1, beta2=beta2, eps=eps)
    return x * (1 - lr * decay) - lr * direction, state.m, state.v


def lion_init(x: Float[Tensor, "*P"]) -> Float[Tensor, "*P"]:
    """The average before the first step: zero."""
    return torch.zeros_like(x)


def lion_update(
    g: Float[Tensor, "*P"], m: Float[Tensor, "*P"], *, beta1: float = 0.9, beta2: float = 0.99
) -> tuple[Float[Tensor, "*P"], Float[Tensor, "*P"]]:
    r"""Lion: the direction is the sign of one average, and what is remembered is another, slower one.

        direction = sign(β₁ m + (1 − β₁) g)
        m ← β₂ m + (1 − β₂) g

    Every entry is −1, 0 or 1, so that learning rates are a few times smaller than Adam's, and decays as much larger.
    Raises ValueError unless 0 ≤ β₁, β₂ < 1, or as `momentum_update`. Source: chen2023lion, Algorithm 2.
    """
    _alike(g, m=m)
    expect.number("beta1", beta1, 0, 1, open_high=True)
    expect.number("beta2", beta2, 0, 1, open_high=True)
    mixed = beta1 * m + (1 - beta1) * g
    sign = torch.where(mixed > 0, 1, torch.where(mixed < 0, -1, mixed))  # NaN stays: torch.sign makes it zero
    return sign, beta2 * m + (1 - beta2) * g


def _trajectory(x, gradients, lr: float, init: Callable, update: Callable, *, penalty: float = 0.0, decay: float = 0.0):
    """The parameter after each step; `penalty` is part of the gradient, `decay` shrinks x apart from the update."""
    expect.floating("x", x)
    expect.floating("gradients", gradients)
    expect.agree(P=(expect.axes("x", x, "P")["P"], expect.axes("gradients", gradients, "N P")["P"]))
    expect.number("lr", lr, 0)
    expect.number("decay", decay if penalty == 0 else penalty, 0)
    state, path = init(x), []
    for g in gradients:
        direction, state = update(g + penalty * x if penalty else g, state)
        x = (x * (1 - lr * decay) if decay else x) - lr * direction
        path.append(x)
    return torch.stack(path)


def sgd(
    x: Float[Tensor, "P"], gradients: Float[Tensor, "N P"], *, lr: float, decay: float = 0.0
) -> Float[Tensor, "N P"]:
    r"""Parameters after each step of x ← x − η (g + λ x), λ = decay.

    Raises ValueError for axes that do not agree, lr < 0 or λ < 0.
    Source: goodfellow2016deep, Algorithm 8.1; the decay: §7.1.1 eq. (7.4).
    """
    return _trajectory(x, gradients, lr, lambda x: None, lambda g, state: (g, state), penalty=decay)


def momentum(
    x: Float[Tensor, "P"],
    gradients: Float[Tensor, "N P"],
    *,
    lr: float,
    mu: float,
    dampening: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
) -> Float[Tensor, "N P"]:
    r"""Parameters after each step with momentum, see `momentum_update`; the gradient it sees is g + λ x, λ = decay.

    Raises ValueError as `sgd` and `momentum_update`. Source: polyak1964heavyball, eq. (9); goodfellow2016deep, §8.3.2.
    """
    update = partial(momentum_update, mu=mu, dampening=dampening, nesterov=nesterov)
    return _trajectory(x, gradients, lr, momentum_init, update, penalty=decay)


def rmsprop(
    x: Float[Tensor, "P"], gradients: Float[Tensor, "N P"], *, lr: float, alpha: float = 0.99, eps: float = 1e-8
) -> Float[Tensor, "N P"]:
    r"""Parameters after each step of RMSprop, see `rmsprop_update`.

    Raises ValueError as `sgd` and `rmsprop_update`. Source: tieleman2012rmsprop, lecture 6e.
    """
    return _trajectory(x, gradients, lr, rmsprop_init, partial(rmsprop_update, alpha=alpha, eps=eps))


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
    return adamw(x, gradients, lr=lr, beta1=beta1, beta2=beta2, eps=eps, decay=0.0)


def adamw(
    x: Float[Tensor, "P"],
    gradients: Float[Tensor, "N P"],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
) -> Float[Tensor, "N P"]:
    r"""Parameters after each step of AdamW, see `adamw_step`.

    Raises ValueError as `sgd` and `adam_update`. Source: loshchilov2019decoupled, Algorithm 2.
    """
    update = partial(adam_update, beta1=beta1, beta2=beta2, eps=eps)
    return _trajectory(x, gradients, lr, adam_init, update, decay=decay)


def lion(
    x: Float[Tensor, "P"],
    gradients: Float[Tensor, "N P"],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    decay: float = 0.0,
) -> Float[Tensor, "N P"]:
    r"""Parameters after each step of x ← (1 − ηλ) x − η · direction, λ = decay, see `lion_update`.

    Raises ValueError as `sgd` and `lion_update`. Source: chen2023lion, Algorithm 2.
    """
    return _trajectory(x, gradients, lr, lion_init, partial(lion_update, beta1=beta1, beta2=beta2), decay=decay)
