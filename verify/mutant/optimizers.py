"""Mistakes in gradient descent, momentum and Adam."""

from __future__ import annotations

import torch

from reference.optimizers import adam, momentum, sgd
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake("optimizers.sgd", id="sgd-ascent", seen=NOWHERE, fix="subtract the gradient")
def step_up_the_gradient(x, gradients, *, lr):
    """x + η g."""
    return sgd(x, -gradients, lr=lr)


@mistake("optimizers.sgd", id="sgd-late-record", seen=NOWHERE, fix="record the parameters after the step")
def recorded_before_the_step(x, gradients, *, lr):
    """The trajectory starts at x and lacks its end."""
    return torch.cat([x.unsqueeze(0), sgd(x, gradients, lr=lr)[:-1]])


@mistake("optimizers.sgd", id="sgd-hidden-decay", seen=NOWHERE, fix="no weight decay unless asked for")
def decays_unasked(x, gradients, *, lr):
    """Each step also shrinks the parameters by one percent of the learning rate."""
    path = []
    for g in gradients:
        x = sgd(x * (1 - 0.01 * lr), g.unsqueeze(0), lr=lr)[0]
        path.append(x)
    return torch.stack(path)


@mistake("optimizers.sgd", id="sgd-stale-gradient", seen=NOWHERE, fix="reset gradients between steps")
def gradients_pile_up(x, gradients, *, lr):
    """zero_grad is forgotten: every step takes the sum of all gradients so far."""
    return sgd(x, gradients.cumsum(0), lr=lr)


@mistake("optimizers.sgd", id="sgd-gradient-ahead", seen=NOWHERE, fix="step t uses gradient t")
def gradients_one_early(x, gradients, *, lr):
    """Step t uses gradient t + 1, and the last step the first."""
    return sgd(x, gradients.roll(-1, 0), lr=lr)


@mistake("optimizers.momentum", id="momentum-ema", seen="ml-explore/mlx PR#87 (review)", fix="v = μv + g")
def velocity_is_an_average(x, gradients, *, lr, mu):
    """v = μv + (1 − μ)g."""
    return momentum(x, (1 - mu) * gradients, lr=lr, mu=mu)


@mistake("optimizers.momentum", id="momentum-nesterov", seen=NOWHERE, fix="x − ηv, unless Nesterov is asked for")
def nesterov_unasked(x, gradients, *, lr, mu):
    """x − η(g + μv)."""
    velocity = momentum(x, gradients, lr=lr, mu=mu) - x
    return x + sgd(torch.zeros_like(x), gradients, lr=lr) + mu * velocity


@mistake(
    "optimizers.momentum",
    id="nesterov-sign",
    seen="PaddlePaddle/Paddle PR#12231",
    fix="the velocity descends too: x − ηv",
)
def velocity_with_the_wrong_sign(x, gradients, *, lr, mu):
    """x − ηg + ημv."""
    velocity = momentum(x, gradients, lr=lr, mu=mu) - x
    return x + sgd(torch.zeros_like(x), gradients, lr=lr) - mu * velocity


@mistake("optimizers.momentum", id="momentum-forgotten", seen=NOWHERE, fix="carry the velocity to the next step")
def velocity_not_kept(x, gradients, *, lr, mu):
    """v starts at zero every step."""
    return sgd(x, gradients, lr=lr)


@mistake("optimizers.momentum", id="momentum-damps-gradient", seen=NOWHERE, fix="v = μv + g")
def gradient_damped_too(x, gradients, *, lr, mu):
    """v = μ(v + g)."""
    return momentum(x, mu * gradients, lr=lr, mu=mu)


@mistake("optimizers.momentum", id="momentum-hidden-decay", seen=NOWHERE, fix="no weight decay unless asked for")
def momentum_decays_unasked(x, gradients, *, lr, mu):
    """The first gradient has one percent of the parameters added."""
    first = torch.zeros_like(gradients)
    first[0] = 0.01 * x
    return momentum(x, gradients + first, lr=lr, mu=mu)


def adam_of(x, gradients, lr, beta1, beta2, direction):
    """Adam whose direction is a function of t, m and v."""
    m, v, path = torch.zeros_like(x), torch.zeros_like(x), []
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        x = x - lr * direction(t, m, v)
        path.append(x)
    return torch.stack(path)


def corrected(beta1, beta2, shift=0):
    """m̂ and v̂, with the step number moved by `shift`."""
    return lambda t, m, v: (m / (1 - beta1 ** (t + shift)), v / (1 - beta2 ** (t + shift)))


@mistake("optimizers.adam", id="adam-eps-inside-sqrt", seen="d2l-ai/d2l-zh PR#502", fix="add ε after the root: √v̂ + ε")
def epsilon_inside_the_root(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """m̂/√(v̂ + ε)."""

    def direction(t, m, v):
        m, v = corrected(beta1, beta2)(t, m, v)
        return m / (v + eps).sqrt()

    return adam_of(x, gradients, lr, beta1, beta2, direction)


@mistake("optimizers.adam", id="adam-epsilon-hat", seen=NOWHERE, fix="correct v before the root and ε: √v̂ + ε")
def epsilon_before_the_correction(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """(√v + ε)/√(1 − β₂^t): Adam's own shortcut, with another ε."""

    def direction(t, m, v):
        return m / (1 - beta1**t) * (1 - beta2**t) ** 0.5 / (v.sqrt() + eps)

    return adam_of(x, gradients, lr, beta1, beta2, direction)


@mistake(
    "optimizers.adam", id="adam-double-one-minus", seen="kozistr/AdaBound-tensorflow #3", fix="correct by √(1 − β₂^t)"
)
def one_minus_twice(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """The second correction is 1 − (1 − β₂^t)."""

    def direction(t, m, v):
        return m / (1 - beta1**t) / ((v / beta2**t).sqrt() + eps)

    return adam_of(x, gradients, lr, beta1, beta2, direction)


@mistake(
    "optimizers.adam",
    id="adam-inplace-correction",
    seen="frgfm/Holocron #1",
    fix="correct a copy, keep m and v as they are",
)
def correction_is_stored(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """m and v are overwritten by m̂ and v̂: right at step one only."""
    m, v, path = torch.zeros_like(x), torch.zeros_like(x), []
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        m, v = corrected(beta1, beta2)(t, m, v)
        x = x - lr * m / (v.sqrt() + eps)
        path.append(x)
    return torch.stack(path)


@mistake(
    "optimizers.adam",
    id="adam-no-bias-correction",
    seen=NOWHERE,
    fix="divide m by 1 − β₁^t and v by 1 − β₂^t",
)
def moments_not_corrected(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """m/(√v + ε)."""
    return adam_of(x, gradients, lr, beta1, beta2, lambda t, m, v: m / (v.sqrt() + eps))


@mistake("optimizers.adam", id="adam-step-from-zero", seen=NOWHERE, fix="count the first step as one")
def step_counted_from_zero(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """1 − β^(t−1), which is zero at the first step."""

    def direction(t, m, v):
        m, v = corrected(beta1, beta2, -1)(t, m, v)
        return m / (v.sqrt() + eps)

    return adam_of(x.double(), gradients, lr, torch.tensor(beta1).double(), torch.tensor(beta2).double(), direction)


@mistake("optimizers.adam", id="adam-step-ahead", seen=NOWHERE, fix="correct step t by 1 − β^t")
def step_counted_twice_at_first(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """1 − β^(t+1)."""

    def direction(t, m, v):
        m, v = corrected(beta1, beta2, 1)(t, m, v)
        return m / (v.sqrt() + eps)

    return adam_of(x, gradients, lr, beta1, beta2, direction)


@mistake("optimizers.adam", id="adam-corrections-swapped", seen=NOWHERE, fix="β₁ corrects m, β₂ corrects v")
def corrections_swapped(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """m is corrected by β₂ and v by β₁."""

    def direction(t, m, v):
        m, v = corrected(beta2, beta1)(t, m, v)
        return m / (v.sqrt() + eps)

    return adam_of(x, gradients, lr, beta1, beta2, direction)


@mistake("optimizers.adam", id="adam-betas-swapped", seen=NOWHERE, fix="β₁ averages g, β₂ averages g²")
def betas_swapped(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """The two decay rates are exchanged throughout."""
    return adam(x, gradients, lr=lr, beta1=beta2, beta2=beta1, eps=eps)


@mistake("optimizers.adam", id="adam-l2", seen=NOWHERE, fix="no weight decay unless asked for")
def decay_inside_the_gradient(x, gradients, *, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """One percent of the start is added to the gradients and so divided by √v̂."""
    return adam(x, gradients + 0.01 * x, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
