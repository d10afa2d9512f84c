"""Laws of a single step of AdamW, and of clipping; the trajectories are in verify/optimizers.py."""

from __future__ import annotations

import math

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


@st.composite
def lists(draw):
    """Gradients of several tensors, a scalar among them, small and large beside the norm allowed; at times all zero."""
    shapes = draw(st.sampled_from([[(2,)], [(1,), (2,)], [(2, 3), (), (4,)], [(5,), (1, 3)], [(37,), (2, 9)]]))
    scale = draw(st.sampled_from([1.0, 1.0, 0.01, 0.0, 128.0]))
    gradients = [draw(tensor(*shape, scale=scale)) for shape in shapes]
    return {"gradients": gradients, "max_norm": draw(st.sampled_from([1.0, 0.5, 100.0, 2.0**-10]))}


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


def norm(tensors):
    """The Euclidean norm of all tensors together."""
    return math.sqrt(sum(float((x**2).sum()) for x in tensors))


def norm_is_at_most_the_largest(clip, gradients, max_norm):
    """All gradients together have the smaller of their norm and the one allowed."""
    close(norm(clip(gradients, max_norm)), min(norm(gradients), max_norm))


def direction_is_kept(clip, gradients, max_norm):
    """Every tensor is shortened by one and the same factor."""
    clipped = clip(gradients, max_norm)
    for ours, g in zip(clipped, gradients, strict=True):
        close(ours * norm(gradients), g * norm(clipped), scale=norm(gradients))


def short_gradients_are_left_alone(clip, gradients, max_norm):
    """Below the norm allowed nothing changes, and zero stays zero."""
    short = [g / (1 + norm(gradients)) * max_norm for g in gradients]
    for ours, g in zip(clip(short, max_norm), short, strict=True):
        close(ours, g)


def split_does_not_matter(clip, gradients, max_norm):
    """The same numbers in one tensor are clipped alike."""
    flat = [torch.cat([g.flatten() for g in tensors]) for tensors in (gradients, clip(gradients, max_norm))]
    close(clip(flat[:1], max_norm)[0], flat[1])


def three_four_five_by_hand(clip, gradients, max_norm):
    """Gradients 3 and 4, in two tensors, have norm 5: at 1 they become 3/5 and 4/5."""
    three, four = clip([torch.tensor([3.0]).double(), torch.tensor([[4.0]]).double()], 1.0)
    close(three, torch.tensor([3.0]).double() / 5)
    close(four, torch.tensor([[4.0]]).double() / 5)


def shortcut(adamw_step, x, g, m, v, *, t, beta2=0.999, eps=1e-8, **hyper):
    """ε is added to √v, and both are divided by √(1 − β₂ᵗ)."""
    return adamw_step(x, g, m, v, t=t, beta2=beta2, eps=eps / (1 - beta2**t) ** 0.5, **hyper)


def library_clip(_, gradients, max_norm):
    """A millionth beside the norm, against a division by zero."""
    total = torch.sqrt(torch.stack([(g**2).sum() for g in gradients]).sum())
    return [g * (max_norm / (total + 1e-6)).clamp(max=1) for g in gradients]


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
    Operation(
        "optimizers.clip_by_global_norm",
        inputs=lists(),
        laws=[
            norm_is_at_most_the_largest,
            direction_is_kept,
            short_gradients_are_left_alone,
            split_does_not_matter,
            three_four_five_by_hand,
        ],
        conventions={"torch: max_norm/(norm + 1e-6)": library_clip},
    ),
]
