"""Laws of a single step of AdamW; the trajectories are in verify/optimizers.py."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation


@st.composite
def one_step(draw, **choices):
    """AdamW before step t, whose moments are zero when t = 1; the first coordinate may have had no gradient ever."""
    P, t = draw(st.sampled_from([2, 1, 3])), draw(st.sampled_from([1, 2, 7, 1000]))
    hyper = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    started, scale = float(t > 1), draw(st.sampled_from([1.0, 1e-3]))
    moved = torch.arange(P) >= draw(st.sampled_from([0, 1]))
    g, m, v = draw(tensor(P, scale=scale)), draw(tensor(P, scale=scale)), draw(tensor(P, low=1, scale=scale**2))
    return {"x": draw(tensor(P)), "g": g * moved, "m": m * moved * started, "v": v * moved * started, "t": t, **hyper}


def moments_fade_without_a_gradient(adamw_step, x, g, m, v, beta1, beta2, **hyper):
    """At g = 0 the moments become β₁m and β₂v."""
    _, new_m, new_v = adamw_step(x, torch.zeros_like(g), m, v, beta1=beta1, beta2=beta2, **hyper)
    close(new_m, beta1 * m)
    close(new_v, beta2 * v)


def steady_moments_stay(adamw_step, x, g, m, v, **hyper):
    """Moments m = g and v = g² stay where they are, whatever the weights are."""
    _, new_m, new_v = adamw_step(x, g, g, g**2, **hyper)
    close(new_m, g)
    close(new_v, g**2)


def first_step_is_a_sign(adamw_step, x, g, m, v, t, lr, eps, decay, **hyper):
    """From zero moments the first step is (1 − ηλ)x − η g/(|g| + ε)."""
    zero = torch.zeros_like(g)
    moved, _, _ = adamw_step(x, g, zero, zero, t=1, lr=lr, eps=eps, decay=decay, **hyper)
    close(moved, (1 - lr * decay) * x - lr * g / (g.abs() + eps))


def without_variance_epsilon_divides(adamw_step, x, g, m, v, t, lr, beta1, eps, decay, **hyper):
    """Where v and g are zero and m is not, the direction is the new m over ε, both corrected."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    moved, _, _ = adamw_step(x, zero, one, zero, t=t, lr=lr, beta1=beta1, eps=eps, decay=decay, **hyper)
    close(moved, (1 - lr * decay) * x - lr * beta1 / (1 - beta1**t) / eps)


def decay_stays_out_of_the_step(adamw_step, x, g, m, v, lr, decay, **hyper):
    """Decay subtracts ηλx, and leaves the moments alone."""
    with_decay, without = (adamw_step(x, g, m, v, lr=lr, decay=d, **hyper) for d in (decay, 0.0))
    close(with_decay[0], without[0] - lr * decay * x, scale=1)
    close(with_decay[1], without[1])
    close(with_decay[2], without[2])


def late_steps_need_no_correction(adamw_step, x, g, m, v, t, lr, beta1, beta2, eps, decay):
    """After ten million steps the direction is m/(√v + ε) with the new moments."""
    hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "decay": decay}
    moved, new_m, new_v = adamw_step(x, g, m, v, t=10**7, **hyper)
    close(moved, (1 - lr * decay) * x - lr * new_m / (new_v.sqrt() + eps))


def shortcut(adamw_step, x, g, m, v, *, t, beta2=0.999, eps=1e-8, **hyper):
    """ε is added to √v, and both are divided by √(1 − β₂ᵗ)."""
    return adamw_step(x, g, m, v, t=t, beta2=beta2, eps=eps / (1 - beta2**t) ** 0.5, **hyper)


OPERATIONS = [
    Operation(
        "optimizers.adamw_step",
        inputs=one_step(
            lr=[0.1, 1.0, 2.0**-6], beta1=[0.9, 0.5], beta2=[0.999, 0.95], eps=[1e-8, 0.1], decay=[0.5, 0.0]
        ),
        laws=[
            moments_fade_without_a_gradient,
            steady_moments_stay,
            first_step_is_a_sign,
            without_variance_epsilon_divides,
            decay_stays_out_of_the_step,
            late_steps_need_no_correction,
        ],
        conventions={
            "ε beside √v, before its correction": shortcut,
        },
        free=("x", "g"),
    ),
]
