"""Laws of the rotary position embedding."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation


@st.composite
def positioned(draw):
    """Vectors at positions near zero or in the thousands, in order or not, in either layout."""
    shape = draw(st.sampled_from([(2, 3, 4), (3, 5, 8), (2, 1, 4, 6), (2, 1, 4)]))
    T = shape[-2]
    positions = draw(integers(T, below=8)) + draw(st.sampled_from([0, 0, 2049, 4000, 5000, 40000]))
    base = draw(st.sampled_from([10000.0, 500.0]))
    layout = draw(st.sampled_from(["interleaved", "half"]))
    return {"x": draw(tensor(*shape)), "positions": positions, "base": base, "layout": layout}


def pairs(x, layout):
    """The coordinates that rotate together, on a new last axis: (0, 1), (2, 3), … or (0, K/2), (1, K/2 + 1), …"""
    if layout == "interleaved":
        return x.reshape(*x.shape[:-1], -1, 2)
    return torch.stack(x.chunk(2, -1), -1)


def pairs_keep_their_length(rotate, x, positions, base, layout):
    """A rotation changes no pair's length."""
    turned = rotate(x, positions, base=base, layout=layout)
    close(pairs(turned, layout).norm(dim=-1), pairs(x, layout).norm(dim=-1))


def position_zero_is_the_identity(rotate, x, positions, base, layout):
    """At position zero nothing turns."""
    close(rotate(x, 0 * positions, base=base, layout=layout), x)


def turns_add_up(rotate, x, positions, base, layout):
    """Turning by one position and then by another is turning by their sum."""
    step = positions.flip(0) + 1
    twice = rotate(rotate(x, positions, base=base, layout=layout), step, base=base, layout=layout)
    close(twice, rotate(x, positions + step, base=base, layout=layout))


def only_the_offset_counts(rotate, x, positions, base, layout):
    """The inner product of two turned vectors depends on the difference of their positions."""
    key = x.flip(-1)

    def product(shift):
        turned = rotate(x, positions + shift, base=base, layout=layout)
        return (turned * rotate(key, positions.flip(0) + shift, base=base, layout=layout)).sum(-1)

    close(product(3), product(0), scale=x.square().sum().item())


def angles_by_hand(rotate, x, positions, base, layout):
    """The first coordinate of pair k, at position p, turns to cos and sin of p·base^(−2k/K)."""
    K = x.shape[-1]
    index = torch.arange(K)
    is_first = index % 2 == 0 if layout == "interleaved" else index < K // 2
    first = is_first.double().expand_as(x)
    turned = pairs(rotate(first, positions, base=base, layout=layout), layout)
    angles = [[p * base ** (-2 * k / K) for k in range(K // 2)] for p in positions.tolist()]
    expected = torch.tensor([[(math.cos(a), math.sin(a)) for a in row] for row in angles], dtype=torch.float64)
    close(turned, expected.expand_as(turned))


OPERATIONS = [
    Operation(
        "rope.rotate",
        inputs=positioned(),
        laws=[
            pairs_keep_their_length,
            position_zero_is_the_identity,
            turns_add_up,
            only_the_offset_counts,
            angles_by_hand,
        ],
        gradients=("x",),
        conventions={
            "layout='half', pairs (k, k + K/2)": lambda rotate, **inputs: rotate(**inputs | {"layout": "half"}),
        },
    )
]
