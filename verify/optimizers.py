"""Laws of gradient descent, momentum, RMSprop, Adam, AdamW and Lion, told by their trajectories; others are beside."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from verify import optimizers_gradients, optimizers_muon, optimizers_steps
from verify.compare import close
from verify.inputs import tensor
from verify.optimizers_conventions import absolute_decay, averaged, damped_from_the_start, root_of_all, shortcut
from verify.suite import Operation


@st.composite
def steps(draw, *together, **choices):
    """A start, gradients of ordinary or tiny size, and hyper-parameters: from `choices`, or sets from `together`."""
    N, P = draw(st.sampled_from([(2, 1), (3, 2), (5, 3), (6, 4)]))
    scale = draw(st.sampled_from([1.0, 1e-5]))
    hyper = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    for sets in together:
        hyper |= draw(st.sampled_from(sets))
    return {"x": draw(tensor(P)), "gradients": draw(tensor(N, P, scale=scale)), **hyper}


def impulse(gradients):
    """The first gradient, made non-zero, and then none."""
    alone = torch.zeros_like(gradients)
    alone[0] = gradients[0].abs() + 1e-3
    return alone


def constant(gradients):
    """The first gradient, made non-zero, again and again."""
    return impulse(gradients)[0].expand_as(gradients).clone()


def count(gradients):
    """1, 2, …, N as a column."""
    return torch.arange(1, len(gradients) + 1).double().unsqueeze(-1)


def travelled(optimizer, gradients, **hyper):
    """Displacements from the origin after each step, in units of the learning rate."""
    return optimizer(torch.zeros_like(gradients[0]), gradients, **hyper) / hyper["lr"]


def before(x, path):
    """Where each step of a path started."""
    return torch.cat([x.unsqueeze(0), path[:-1]])


def no_gradient_no_move(optimizer, x, gradients, **hyper):
    """Without gradients and decay the parameters stay, whatever their size."""
    still = hyper | {"decay": 0.0} if "decay" in hyper else hyper
    close(optimizer(x, torch.zeros_like(gradients), **still), x.expand_as(gradients))


def weights_shrink_without_gradients(optimizer, x, gradients, lr, decay, **hyper):
    """Without gradients only the decay is left: a factor 1 − ηλ a step."""
    path = optimizer(x, torch.zeros_like(gradients), lr=lr, decay=decay, **hyper)
    close(path, x * (1 - lr * decay) ** count(gradients))


def decay_is_part_of_the_gradient(optimizer, x, gradients, decay, **hyper):
    """With decay the path is that of the gradients g + λx without decay, x where each step starts."""
    path = optimizer(x, gradients, decay=decay, **hyper)
    close(optimizer(x, gradients + decay * before(x, path), decay=0.0, **hyper), path)


def decay_stays_out_of_the_moments(adamw, x, gradients, lr, decay, **hyper):
    """Beside the factor 1 − ηλ every step is as long as without decay, from wherever it starts."""
    path, alone = (adamw(x, gradients, lr=lr, decay=d, **hyper) for d in (decay, 0.0))
    close(path - (1 - lr * decay) * before(x, path), alone - before(x, alone), scale=1)


def each_step_is_the_gradient(sgd, x, gradients, lr, decay):
    """The displacement is minus the sum of the gradients so far, when no decay is asked for."""
    close(travelled(sgd, gradients, lr=lr), -gradients.cumsum(0))


def future_gradients_wait(optimizer, x, gradients, **hyper):
    """The last gradient moves the last step only."""
    changed = gradients.clone()
    changed[-1] += 1
    close(optimizer(x, changed, **hyper)[:-1], optimizer(x, gradients, **hyper)[:-1])


def without_memory_it_is_descent(momentum, x, gradients, lr, **hyper):
    """At μ = 0 the displacement is minus the sum of the gradients."""
    close(travelled(momentum, gradients, lr=lr, mu=0.0), -gradients.cumsum(0))


def constant_pull_reaches_its_limit(momentum, x, gradients, lr, mu, dampening, nesterov, decay):
    """From a constant gradient g the velocity nears (1 − τ)g/(1 − μ); its distance from there fades like μ^t."""
    pull, limit = constant(gradients), (1 - dampening) / (1 - mu)
    velocity = pull * (limit + (1 - limit) * mu ** (count(pull) - 1))
    direction = pull + mu * velocity if nesterov else velocity
    moved = travelled(momentum, pull, lr=lr, mu=mu, dampening=dampening, nesterov=nesterov)
    close(moved, -direction.cumsum(0))


def impulse_rings_out(momentum, x, gradients, lr, mu, dampening, nesterov, decay):
    """A single gradient g keeps pushing by g, μg, μ²g, …; Nesterov's is a step ahead: (1 + μ)g, μ²g, μ³g, …"""
    kick = impulse(gradients)
    power = mu ** (count(kick) - 1)
    push = torch.where(count(kick) == 1, 1 + mu, mu * power) if nesterov else power
    moved = travelled(momentum, kick, lr=lr, mu=mu, dampening=dampening, nesterov=nesterov)
    close(moved, -(kick[0] * push).cumsum(0))


def constant_pull_slows_down(rmsprop, x, gradients, lr, alpha, eps):
    """From a constant gradient g the mean square is g²(1 − α^t) at step t: the first step is the longest."""
    pull = constant(gradients)
    root = pull.abs() * (1 - alpha ** count(pull)).sqrt()
    close(travelled(rmsprop, pull, lr=lr, alpha=alpha, eps=eps), -(pull / (root + eps)).cumsum(0))


def nothing_rings_out(rmsprop, x, gradients, **hyper):
    """After a single gradient the parameters stay: only the squares are remembered."""
    moved = travelled(rmsprop, impulse(gradients), **hyper)
    close(moved, moved[:1].expand_as(moved))


def constant_pull_steps_by_its_sign(adam, x, gradients, **hyper):
    """Bias correction makes every step of a constant gradient g equal g/(|g| + ε), the first included."""
    pull = constant(gradients)
    still = hyper | {"decay": 0.0} if "decay" in hyper else hyper
    close(travelled(adam, pull, **still), -(pull / (pull.abs() + hyper["eps"])).cumsum(0))


def unit_does_not_matter(optimizer, x, gradients, **hyper):
    """Gradients and ε measured in another unit give the same trajectory."""
    scaled = {**hyper, "eps": 1024 * hyper["eps"]}
    close(travelled(optimizer, 1024 * gradients, **scaled), travelled(optimizer, gradients, **hyper), scale=1)


def impulse_fades_by_hand(adam, x, gradients, **hyper):
    """After a gradient g and then none, m̂ = g·β₁/(1 + β₁) and v̂ = g²·β₂/(1 + β₂)."""
    still = hyper | {"decay": 0.0} if "decay" in hyper else hyper
    kick, beta1, beta2 = impulse(gradients), hyper["beta1"], hyper["beta2"]
    moved = travelled(adam, kick, **still)
    m, v = kick[0] * beta1 / (1 + beta1), kick[0] ** 2 * beta2 / (1 + beta2)
    close(moved[1] - moved[0], -m / (v.sqrt() + hyper["eps"]))


def first_step_is_the_sign(lion, x, gradients, lr, **hyper):
    """From an average of zero the first step is η sign g, whatever the betas."""
    first = travelled(lion, gradients, lr=lr, **hyper | {"decay": 0.0})[0]
    close(first, -torch.sign(gradients[0]), scale=1)


def one_gradient_goes_on(lion, x, gradients, **hyper):
    """After a single gradient every step is as long as the first: the average fades, its sign does not."""
    kick = impulse(gradients)
    close(travelled(lion, kick, **hyper | {"decay": 0.0}), -kick[0].sign() * count(kick))


def turning_point_by_hand(lion, x, gradients, beta1, beta2, **hyper):
    """After the gradient 1 it takes −β₁(1 − β₂)/(1 − β₁) to turn: half a percent more does, half a percent less not."""
    edge = beta1 * (1 - beta2) / (1 - beta1)
    one = torch.tensor([[1.0, 1.0], [-1.005 * edge, -0.995 * edge]]).double()
    moved = travelled(lion, one, beta1=beta1, beta2=beta2, **hyper | {"decay": 0.0})
    close(moved[1] - moved[0], torch.tensor([1.0, -1.0]).double())


def third_step_by_hand(lion, x, gradients, beta1, beta2, **hyper):
    """Then the average is β₂(1 − β₂) − (1 − β₂)h after 1 and −h: a third gradient is weighed against that."""
    edge = beta1 * (1 - beta2) * (beta2 - 3.0) / (1 - beta1)
    one = torch.tensor([[1.0, 1.0], [-3.0, -3.0], [-1.005 * edge, -0.995 * edge]]).double()
    moved = travelled(lion, one, beta1=beta1, beta2=beta2, **hyper | {"decay": 0.0})
    close(moved[2] - moved[1], torch.tensor([-1.0, 1.0]).double())


RATES, DECAYS = [0.1, 1.0, 2.0**-6], [0.0, 0.5]
BETAS = {"beta1": [0.9, 0.5], "beta2": [0.999, 0.95], "eps": [1e-8, 0.1]}
KINDS = [
    {"mu": mu, "dampening": dampening, "nesterov": nesterov}  # torch refuses Nesterov with dampening or without μ
    for mu, dampening, nesterov in [(0.9, 0.0, False), (0.0, 0.0, False), (0.5, 0.0, True), (0.9, 0.25, False)]
]
ABSOLUTE = "the decay is not multiplied by the learning rate"
SHORTCUT = "ε beside √v, before its correction"

OPERATIONS = [
    Operation(
        "optimizers.sgd",
        inputs=steps(lr=RATES, decay=DECAYS),
        laws=[
            weights_shrink_without_gradients,
            decay_is_part_of_the_gradient,
            each_step_is_the_gradient,
            future_gradients_wait,
        ],
        gradients=("x", "gradients"),
        conventions={ABSOLUTE: absolute_decay},
    ),
    Operation(
        "optimizers.momentum",
        inputs=steps(KINDS, lr=RATES, decay=DECAYS),
        laws=[
            no_gradient_no_move,
            decay_is_part_of_the_gradient,
            without_memory_it_is_descent,
            constant_pull_reaches_its_limit,
            impulse_rings_out,
        ],
        gradients=("x", "gradients"),
        conventions={
            "v ← μv + (1 − μ)g": averaged,
            "the first gradient is damped like the others": damped_from_the_start,
        },
    ),
    Operation(
        "optimizers.rmsprop",
        inputs=steps(lr=RATES, alpha=[0.9, 0.99, 0.25], eps=[1e-8, 0.1]),
        laws=[no_gradient_no_move, constant_pull_slows_down, nothing_rings_out, unit_does_not_matter],
        gradients=("x",),  # by a gradient it has a kink at zero of width ε, and so have Adam and AdamW
        conventions={"ε inside the root": root_of_all(0.0), "ε inside the root, s starts at 1": root_of_all(1.0)},
        free=("x", "gradients"),
    ),
    Operation(
        "optimizers.adam",
        inputs=steps(lr=RATES, **BETAS),
        laws=[
            no_gradient_no_move,
            constant_pull_steps_by_its_sign,
            unit_does_not_matter,
            impulse_fades_by_hand,
        ],
        gradients=("x",),
        conventions={SHORTCUT: shortcut},
        free=("x", "gradients"),
    ),
    Operation(
        "optimizers.adamw",
        inputs=steps(lr=RATES, decay=DECAYS[::-1], **BETAS),
        laws=[
            weights_shrink_without_gradients,
            decay_stays_out_of_the_moments,
            constant_pull_steps_by_its_sign,
            unit_does_not_matter,
            impulse_fades_by_hand,
        ],
        gradients=("x",),
        conventions={SHORTCUT: shortcut},
        free=("x", "gradients"),
    ),
    Operation(
        "optimizers.lion",
        inputs=steps(lr=RATES, decay=DECAYS[::-1], beta1=[0.9, 0.75], beta2=[0.99, 0.9]),
        laws=[
            weights_shrink_without_gradients,
            decay_stays_out_of_the_moments,
            first_step_is_the_sign,
            one_gradient_goes_on,
            turning_point_by_hand,
            third_step_by_hand,
        ],
        gradients=("x",),
        conventions={ABSOLUTE: absolute_decay},
        free=("x", "gradients"),
    ),
    *optimizers_steps.OPERATIONS,
    *optimizers_muon.OPERATIONS,
    *optimizers_gradients.OPERATIONS,
]
