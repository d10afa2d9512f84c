"""Logits, tokens and options on which the filters, the penalties and the draws are tried, and what a filter kept."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.inputs import integers, tensor

SHAPES = [(4,), (1,), (2,), (3, 5), (2, 3, 7)]  # few: the twin is compiled for each
WEIGHTS = torch.tensor([3, 1, 10, 6], dtype=torch.float64)  # of 20, and not in order: 0.15, 0.05, 0.5, 0.3
LOGITS = WEIGHTS.log()


@st.composite
def logits(draw, scales=(1.0, 0.25, 8.0)):
    """Rows of logits with many ties, of several sizes, some far from zero or with holes; one at least is possible."""
    scale, offset = draw(st.sampled_from(scales)), draw(st.sampled_from([0.0, 0.0, -1000.0]))
    shape, holes = draw(st.sampled_from(SHAPES)), draw(st.booleans())
    z = draw(tensor(*shape, scale=scale, low=-6, high=6, holes=holes)) + offset
    z[..., -1] = torch.where(z.isfinite().any(-1), z[..., -1], offset)
    return {"z": z}


def asked(rows, **options):
    """Logits with options, one of each list."""
    chosen = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in options.items()})
    return st.builds(lambda row, options: {**row, **options}, rows, chosen)


@st.composite
def said_before(draw):
    """Logits off zero, where the penalty has no derivative, and the tokens so far, some of them repeated; or none."""
    *B, V = draw(st.sampled_from(SHAPES))
    z = draw(tensor(*B, V, low=-8, high=7, holes=draw(st.booleans()))) + 0.125
    return {"z": z, "tokens": draw(integers(*B, draw(st.sampled_from([3, 6, 1, 0])), below=V))}


def kept(filtered, z):
    """Which symbols a filter kept; what it keeps must be unchanged, and the rest −∞."""
    stays = filtered != -math.inf
    assert torch.equal(filtered[stays], z[stays]), f"a logit that stays has changed: {filtered}"
    return stays
