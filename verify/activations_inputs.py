"""Numbers on which activations are tried, a row by hand, and the sigmoid by tanh, which is as good as ours."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import tensor

# shape, scale, and whether one entry is zero: the places where a formula overflows, or has a kink that is not its own
PLACES = [
    ((1,), 1.0, False),
    ((2,), 250.0, False),
    ((3, 1), 0.01, False),
    ((2, 3), 8.0, False),
    ((2, 5), 1.0, True),
    ((3, 4), 1.0, False),
    ((2, 3, 4), 250.0, False),
]
LN3 = math.log(3)
FAR = torch.tensor([-1000.0, 1000.0], dtype=torch.float64)
ENDS = torch.tensor([-math.inf, math.inf], dtype=torch.float64)


@st.composite
def numbers(draw, **choices):
    """Numbers of ordinary, tiny and overflowing size, and an option drawn from each of `choices`."""
    shape, scale, zero = draw(st.sampled_from(PLACES))
    x = draw(tensor(*shape, scale=scale))
    if zero or shape[-1] > 1:  # where kinks would be
        x[..., 0] = 0.0
    return {"x": x, **{name: draw(st.sampled_from(values)) for name, values in choices.items()}}


@st.composite
def off_the_kink(draw):
    """Numbers that are all zero, or none within 1/8 of zero, where relu can be differentiated on both sides."""
    shape = draw(st.sampled_from([(1,), (2,), (3, 2), (2, 5), (2, 3, 4)]))
    x = (draw(tensor(*shape)) + 0.125) * draw(st.sampled_from([1.0, 250.0]))
    return {"x": draw(st.sampled_from([x, x, torch.zeros_like(x)]))}


@st.composite
def gates(draw, **choices):
    """A gate of ordinary, tiny or overflowing size, something for it to let through, and an option of each choice."""
    shape, scale, zero = draw(st.sampled_from(PLACES))
    gate = draw(tensor(*shape, scale=scale))
    if zero:
        gate[..., 0] = 0.0
    return {
        "gate": gate,
        "up": draw(tensor(*shape)),
        **{k: draw(st.sampled_from(values)) for k, values in choices.items()},
    }


def row(*entries):
    return torch.tensor([entries], dtype=torch.float64)


BY_TANH = "the sigmoid as ½ + ½ tanh(x/2), rounded at the size of one"


def sigmoid_by_tanh(x):
    return 0.5 + 0.5 * torch.tanh(x / 2)


def both_sides_differ_by_x(f, x, **options):
    """f(x) − f(−x) = x: what is let through of x and of −x makes up the whole."""
    close(f(x, **options) - f(-x, **options), x, scale=1)


def far_away_it_is_relu(f, x, **options):
    """At ±1000 nothing of the smooth bend is left."""
    close(f(FAR, **options), FAR.clamp(min=0))
