"""Mistakes in gradient descent, momentum and RMSprop; those of the other optimizers are beside."""

from __future__ import annotations

import torch

from reference.optimizers import momentum, rmsprop, sgd
from verify.mistake import mistake

NOWHERE = "no public report found"


def walk(x, gradients, step):
    """The path of x ← step(x, g)."""
    path = []
    for g in gradients:
        x = step(x, g)
        path.append(x)
    return torch.stack(path)


@mistake("optimizers.sgd", id="sgd-ascent", seen=NOWHERE, fix="subtract the gradient")
def step_up_the_gradient(x, gradients, **hyper):
    """x + η g."""
    return sgd(x, -gradients, **hyper)


@mistake("optimizers.sgd", id="sgd-late-record", seen=NOWHERE, fix="record the parameters after the step")
def recorded_before_the_step(x, gradients, **hyper):
    """The trajectory starts at x and lacks its end."""
    return torch.cat([x.unsqueeze(0), sgd(x, gradients, **hyper)[:-1]])


@mistake("optimizers.sgd", id="sgd-hidden-decay", seen=NOWHERE, fix="no weight decay unless asked for")
def decays_unasked(x, gradients, *, lr, decay=0.0):
    """Each step also shrinks the parameters by one percent of the learning rate."""
    return sgd(x, gradients, lr=lr, decay=decay + 0.01)


@mistake("optimizers.sgd", id="sgd-stale-gradient", seen=NOWHERE, fix="reset gradients between steps")
def gradients_pile_up(x, gradients, **hyper):
    """zero_grad is forgotten: every step takes the sum of all gradients so far."""
    return sgd(x, gradients.cumsum(0), **hyper)


@mistake("optimizers.sgd", id="sgd-gradient-ahead", seen=NOWHERE, fix="step t uses gradient t")
def gradients_one_early(x, gradients, **hyper):
    """Step t uses gradient t + 1, and the last step the first."""
    return sgd(x, gradients.roll(-1, 0), **hyper)


@mistake("optimizers.sgd", id="sgd-wd-needs-momentum", seen="ml-explore/mlx PR#473", fix="g + λx first, always")
def decay_needs_momentum(x, gradients, *, lr, decay=0.0):
    """The decay sits in the branch with momentum, so that plain descent has none."""
    return sgd(x, gradients, lr=lr)


@mistake("optimizers.sgd", id="l1-l2-swapped", seen="OverLordGoldDragon/keras-adamw #39", fix="L2 pulls by λx")
def pulled_by_the_sign(x, gradients, *, lr, decay=0.0):
    """The penalty's slope is λ sign x, that of L1."""
    return walk(x, gradients, lambda x, g: x - lr * (g + decay * x.sign()))


@mistake("optimizers.sgd", id="sgd-decay-after-step", seen=NOWHERE, fix="take g and λx at the same point")
def decays_after_the_step(x, gradients, *, lr, decay=0.0):
    """(1 − ηλ)(x − ηg): the step is decayed too."""
    return walk(x, gradients, lambda x, g: (x - lr * g) * (1 - lr * decay))


@mistake("optimizers.momentum", id="momentum-nesterov", seen=NOWHERE, fix="x − ηv, unless Nesterov is asked for")
def nesterov_unasked(x, gradients, **hyper):
    """x − η(g + μv), always."""
    return momentum(x, gradients, **hyper | {"nesterov": True})


@mistake("optimizers.momentum", id="nesterov-ignored", seen=NOWHERE, fix="x − η(g + μv), when Nesterov is asked for")
def nesterov_ignored(x, gradients, **hyper):
    """x − ηv, always."""
    return momentum(x, gradients, **hyper | {"nesterov": False})


@mistake(
    "optimizers.momentum",
    id="nesterov-sign",
    seen="PaddlePaddle/Paddle PR#12231",
    fix="the velocity descends too: x − η(g + μv)",
)
def velocity_with_the_wrong_sign(x, gradients, *, nesterov=False, **hyper):
    """x − ηg + ημv when Nesterov is asked for."""
    if not nesterov:
        return momentum(x, gradients, **hyper)
    lr, mu, decay, v = hyper["lr"], hyper["mu"], hyper.get("decay", 0.0), [0.0]

    def step(x, g):
        g = g + decay * x
        v[0] = mu * v[0] + g
        return x - lr * g + lr * mu * v[0]

    return walk(x, gradients, step)


@mistake("optimizers.momentum", id="momentum-forgotten", seen=NOWHERE, fix="carry the velocity to the next step")
def velocity_not_kept(x, gradients, *, lr, decay=0.0, **hyper):
    """v starts at zero every step."""
    return sgd(x, gradients, lr=lr, decay=decay)


@mistake("optimizers.momentum", id="momentum-damps-gradient", seen=NOWHERE, fix="v = μv + (1 − τ)g")
def gradient_damped_too(x, gradients, *, mu, **hyper):
    """v = μ(v + g)."""
    return momentum(x, mu * gradients, mu=mu, **hyper)


@mistake(
    "optimizers.momentum", id="momentum-no-dampening", seen=NOWHERE, fix="v = μv + (1 − τ)g from the second step on"
)
def dampening_ignored(x, gradients, *, dampening=0.0, **hyper):
    """v = μv + g, whatever τ."""
    return momentum(x, gradients, **hyper)


@mistake("optimizers.momentum", id="momentum-hidden-decay", seen=NOWHERE, fix="no weight decay unless asked for")
def momentum_decays_unasked(x, gradients, *, decay=0.0, **hyper):
    """One percent of the parameters is added to every gradient."""
    return momentum(x, gradients, decay=decay + 0.01, **hyper)


@mistake("optimizers.momentum", id="momentum-decay-once", seen=NOWHERE, fix="add λx to every gradient, at its own x")
def decay_at_the_start_only(x, gradients, *, decay=0.0, **hyper):
    """The penalty keeps pulling as it did at the start: its slope is not taken anew."""
    return momentum(x, gradients + decay * x, **hyper)


def moving(alpha):
    """αs + (1 − α)g²."""
    return lambda s, g: alpha * s + (1 - alpha) * g**2


def rms(x, gradients, lr, average, seen=lambda t, s: s, eps=1e-8, start=0.0):
    """RMSprop whose mean square s is `average` of s and g, and whose root sees `seen` of it."""
    s, path = torch.full_like(x, start), []
    for t, g in enumerate(gradients, 1):
        s = average(s, g)
        x = x - lr * g / (seen(t, s).sqrt() + eps)
        path.append(x)
    return torch.stack(path)


@mistake("optimizers.rmsprop", id="rmsprop-weights-swapped", seen=NOWHERE, fix="s = αs + (1 − α)g²")
def alpha_weighs_the_new_square(x, gradients, *, lr, alpha=0.99, eps=1e-8):
    """s = (1 − α)s + αg²."""
    return rms(x, gradients, lr, lambda s, g: (1 - alpha) * s + alpha * g**2, eps=eps)


@mistake("optimizers.rmsprop", id="rmsprop-starts-at-one", seen=NOWHERE, fix="s starts at zero")
def mean_square_starts_at_one(x, gradients, *, lr, alpha=0.99, eps=1e-8):
    """s starts at one, with ε outside the root: TensorFlow 1 has the one but not the other."""
    return rms(x, gradients, lr, moving(alpha), eps=eps, start=1.0)


@mistake("optimizers.rmsprop", id="rmsprop-centered", seen=NOWHERE, fix="divide by the mean square, not the variance")
def divided_by_the_deviation(x, gradients, *, lr, alpha=0.99, eps=1e-8):
    """√(mean of squares − square of the mean): the centered form, unasked."""
    mean = [torch.zeros_like(x)]

    def spread(s, g):
        mean[0] = alpha * mean[0] + (1 - alpha) * g
        return moving(alpha)(s, g)

    return rms(x, gradients, lr, spread, seen=lambda t, s: (s - mean[0] ** 2).clamp(min=0), eps=eps)


@mistake("optimizers.rmsprop", id="rmsprop-corrected", seen=NOWHERE, fix="no bias correction: that is Adam's")
def corrected_like_adam(x, gradients, *, lr, alpha=0.99, eps=1e-8):
    """s/(1 − α^t) under the root."""
    return rms(x, gradients, lr, moving(alpha), seen=lambda t, s: s / (1 - alpha**t), eps=eps)


@mistake("optimizers.rmsprop", id="rmsprop-accumulates", seen=NOWHERE, fix="s = αs + (1 − α)g²")
def squares_are_summed(x, gradients, *, lr, alpha=0.99, eps=1e-8):
    """s = s + g²: Adagrad."""
    return rms(x, gradients, lr, lambda s, g: s + g**2, eps=eps)


@mistake("optimizers.rmsprop", id="rmsprop-no-root", seen=NOWHERE, fix="divide by √s + ε")
def divided_by_the_mean_square(x, gradients, *, lr, alpha=0.99, eps=1e-8):
    """g/(s + ε)."""
    return rms(x, gradients, lr, moving(alpha), seen=lambda t, s: s**2, eps=eps)


@mistake("optimizers.rmsprop", id="rmsprop-averages-gradient", seen=NOWHERE, fix="g itself over the root")
def gradient_is_averaged_too(x, gradients, *, alpha=0.99, **hyper):
    """αm + (1 − α)g over the root, as in Adam."""
    m, averages = torch.zeros_like(x), []
    for g in gradients:
        m = alpha * m + (1 - alpha) * g
        averages.append(m)
    squares = iter(gradients)
    return rms(x, torch.stack(averages), average=lambda s, g: moving(alpha)(s, next(squares)), **hyper)


@mistake("optimizers.rmsprop", id="rmsprop-hidden-decay", seen=NOWHERE, fix="no weight decay unless asked for")
def rmsprop_decays_unasked(x, gradients, **hyper):
    """One percent of the start is added to every gradient."""
    return rmsprop(x, gradients + 0.01 * x, **hyper)
