"""Laws of the rotary position embedding."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify import rope_scaling as scaling
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

KINDS: list[dict] = [
    {"shape": (2, 3, 4)},
    {"shape": (3, 5, 8), "layout": "half", "base": 500.0},
    {"shape": (2, 1, 4, 6), "pairs": 2, "factor": 1.25},
    {"shape": (2, 3, 2, 6), "pairs": 2, "layout": "half", "factor": 0.75},
]
"""Shapes, each with options of its own: another base, given frequencies for some pairs, a factor."""


@st.composite
def positioned(draw):
    """Vectors at positions near zero or in the thousands, in order or not, in either layout, all turned or some."""
    kind = draw(st.sampled_from(KINDS))
    shape, given = kind["shape"], "pairs" in kind
    positions = draw(integers(shape[-2], below=8)) + draw(st.sampled_from([0, 0, 2049, 4000, 5000, 40000]))
    theta = draw(tensor(kind["pairs"], low=1)) if given else None
    return {
        "x": draw(tensor(*shape)),
        "positions": positions,
        "base": kind.get("base", 10000.0),
        "layout": kind.get("layout", "interleaved"),
        "theta": theta,
        "factor": kind.get("factor", 1.0),
    }


def pairs(x, layout):
    """The coordinates that rotate together, on a new last axis: (0, 1), (2, 3), … or (0, K/2), (1, K/2 + 1), …"""
    if layout == "interleaved":
        return x.reshape(*x.shape[:-1], -1, 2)
    return torch.stack(x.chunk(2, -1), -1)


def turned(x, theta):
    """The coordinates that are turned, and those that pass."""
    R = x.shape[-1] if theta is None else 2 * len(theta)
    return x[..., :R], x[..., R:]


def pairs_change_their_length_by_the_factor(rotate, x, positions, layout, theta, factor, **options):
    """A rotation changes no pair's length, but for the factor."""
    out = rotate(x, positions, layout=layout, theta=theta, factor=factor, **options)
    before, after = (pairs(turned(y, theta)[0], layout).norm(dim=-1) for y in (x, out))
    close(after, before * factor)


def the_rest_passes(rotate, x, positions, theta, **options):
    """Coordinates beyond the pairs that have a frequency stay as they are."""
    out = rotate(x, positions, theta=theta, **options)
    close(turned(out, theta)[1].sum(-1), turned(x, theta)[1].sum(-1), scale=x.abs().max().item())


def position_zero_turns_nothing(rotate, x, positions, theta, factor, **options):
    """At position zero there is only the factor."""
    out, rest = turned(rotate(x, 0 * positions, theta=theta, factor=factor, **options), theta)
    close(torch.cat([out, rest * factor], -1), x * factor)


def turns_add_up(rotate, x, positions, theta, factor, **options):
    """Turning by one position and then by another is turning by their sum, and the factor once more."""
    step, options = positions.flip(0) + 1, options | {"theta": theta, "factor": factor}
    once, rest = turned(rotate(x, positions + step, **options), theta)
    twice = rotate(rotate(x, positions, **options), step, **options)
    close(twice, torch.cat([once * factor, rest], -1))


def only_the_offset_counts(rotate, x, positions, **options):
    """The inner product of two turned vectors depends on the difference of their positions."""
    key = x.flip(-1)

    def product(shift):
        query = rotate(x, positions + shift, **options)
        return (query * rotate(key, positions.flip(0) + shift, **options)).sum(-1)

    close(product(3), product(0), scale=x.square().sum().item())


def angles_by_hand(rotate, x, positions, base, layout, theta, factor):
    """The first coordinate of pair k, at p, turns to cos and sin of p·base^(−2k/K), or p times what is given."""
    R = turned(x, theta)[0].shape[-1]
    rate = [base ** (-2 * k / R) for k in range(R // 2)] if theta is None else theta.tolist()
    index = torch.arange(x.shape[-1])
    is_first = index % 2 == 0 if layout == "interleaved" else index < R // 2
    first = is_first.double().expand_as(x).contiguous()
    out = rotate(first, positions, base=base, layout=layout, theta=theta, factor=factor)
    found = pairs(turned(out, theta)[0], layout) / factor
    angles = [[(math.cos(p * f), math.sin(p * f)) for f in rate] for p in positions.tolist()]
    close(found, torch.tensor(angles, dtype=torch.float64).expand_as(found))


def rows_may_have_their_own(rotate, x, positions, **options):
    """Two rows of a batch, each at positions of its own, are turned as if they were alone."""
    places = torch.stack([positions, positions + 1])
    together = rotate(torch.stack([x, x]), places, **options)
    close(together, torch.stack([rotate(x, place, **options) for place in places]))


OPERATIONS = [
    Operation(
        "rope.rotate",
        inputs=positioned(),
        laws=[
            pairs_change_their_length_by_the_factor,
            the_rest_passes,
            position_zero_turns_nothing,
            turns_add_up,
            only_the_offset_counts,
            angles_by_hand,
            rows_may_have_their_own,
        ],
        gradients=("x",),
        conventions={
            "layout='half', pairs (k, k + K/2)": lambda rotate, **inputs: rotate(**inputs | {"layout": "half"}),
        },
    ),
    *scaling.OPERATIONS,
]
