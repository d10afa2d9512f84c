"""Laws of gradient descent, momentum and Adam, told by their trajectories."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation


@st.composite
def steps(draw, **choices):
    """A start, a list of gradients of ordinary or tiny size, and hyper-parameters drawn from `choices`."""
    N, P = draw(st.sampled_from([(3, 2), (5, 3), (6, 4)]))
    scale = draw(st.sampled_from([1.0, 1e-5]))
    hyper = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    return {"x": draw(tensor(P)), "gradients": draw(tensor(N, P, scale=scale)), **hyper}


def impulse(gradients):
    """The first gradient, made non-zero, and then none."""
    alone = torch.zeros_like(gradients)
    alone[0] = gradients[0].abs() + 1e-3
    return alone


def constant(gradients):
    """The first gradient, made non-zero, again and again."""
    return impulse(gradients)[0].expand_as(gradients).clone()


def travelled(optimizer, gradients, **hyper):
    """Displacements from the origin after each step, in units of the learning rate."""
    return optimizer(torch.zeros_like(gradients[0]), gradients, **hyper) / hyper["lr"]


def no_gradient_no_move(optimizer, x, gradients, **hyper):
    """Without gradients the parameters stay, whatever their size."""
    close(optimizer(x, torch.zeros_like(gradients), **hyper), x.expand_as(gradients))


def start_does_not_matter(optimizer, x, gradients, **hyper):
    """Starting one further ends one further."""
    close(optimizer(x + 1, gradients, **hyper), optimizer(x, gradients, **hyper) + 1)


def each_step_is_the_gradient(sgd, x, gradients, **hyper):
    """The displacement is minus the sum of the gradients so far."""
    close(travelled(sgd, gradients, **hyper), -gradients.cumsum(0))


def future_gradients_wait(optimizer, x, gradients, **hyper):
    """The last gradient moves the last step only."""
    changed = gradients.clone()
    changed[-1] += 1
    close(optimizer(x, changed, **hyper)[:-1], optimizer(x, gradients, **hyper)[:-1])


def without_memory_it_is_descent(momentum, x, gradients, lr, mu):
    """At μ = 0 the displacement is minus the sum of the gradients."""
    close(travelled(momentum, gradients, lr=lr, mu=0.0), -gradients.cumsum(0))


def constant_pull_reaches_its_limit(momentum, x, gradients, lr, mu):
    """A constant gradient g has velocity g·(1 − μ^t)/(1 − μ) at step t."""
    pull = constant(gradients)
    power = mu ** torch.arange(1, len(pull) + 1).double().unsqueeze(-1)
    close(travelled(momentum, pull, lr=lr, mu=mu), -(pull * (1 - power) / (1 - mu)).cumsum(0))


def impulse_rings_out(momentum, x, gradients, lr, mu):
    """A single gradient g keeps pushing by g, μg, μ²g, …"""
    kick = impulse(gradients)
    power = mu ** torch.arange(len(kick)).double().unsqueeze(-1)
    close(travelled(momentum, kick, lr=lr, mu=mu), -(kick[0] * power).cumsum(0))


def constant_pull_steps_by_its_sign(adam, x, gradients, **hyper):
    """Bias correction makes every step of a constant gradient g equal g/(|g| + ε), the first included."""
    pull = constant(gradients)
    close(travelled(adam, pull, **hyper), -(pull / (pull.abs() + hyper["eps"])).cumsum(0))


def unit_does_not_matter(adam, x, gradients, **hyper):
    """Gradients and ε measured in another unit give the same trajectory."""
    scaled = {**hyper, "eps": 1024 * hyper["eps"]}
    close(travelled(adam, 1024 * gradients, **scaled), travelled(adam, gradients, **hyper), scale=1)


def impulse_fades_by_hand(adam, x, gradients, **hyper):
    """After a gradient g and then none, m̂ = g·β₁/(1 + β₁) and v̂ = g²·β₂/(1 + β₂)."""
    kick, beta1, beta2 = impulse(gradients), hyper["beta1"], hyper["beta2"]
    moved = travelled(adam, kick, **hyper)
    m, v = kick[0] * beta1 / (1 + beta1), kick[0] ** 2 * beta2 / (1 + beta2)
    close(moved[1] - moved[0], -m / (v.sqrt() + hyper["eps"]))


RATES = [0.1, 1.0, 2.0**-6]
OPERATIONS = [
    Operation(
        "optimizers.sgd",
        inputs=steps(lr=RATES),
        laws=[no_gradient_no_move, start_does_not_matter, each_step_is_the_gradient, future_gradients_wait],
        gradients=("x", "gradients"),
    ),
    Operation(
        "optimizers.momentum",
        inputs=steps(lr=RATES, mu=[0.0, 0.9, 0.5]),
        laws=[
            no_gradient_no_move,
            without_memory_it_is_descent,
            constant_pull_reaches_its_limit,
            impulse_rings_out,
        ],
        gradients=("x", "gradients"),
    ),
    Operation(
        "optimizers.adam",
        inputs=steps(lr=RATES, beta1=[0.9, 0.5], beta2=[0.999, 0.95], eps=[1e-8, 1e-3]),
        laws=[
            no_gradient_no_move,
            constant_pull_steps_by_its_sign,
            unit_does_not_matter,
            impulse_fades_by_hand,
        ],
        gradients=("x",),  # by a gradient it has a kink at zero of width ε
    ),
]
