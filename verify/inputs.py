"""Strategies for tensors whose entries lie on a coarse grid, so that ties are common and an input is readable.

A tensor is drawn by one number, the seed of its entries: Hypothesis, which varies what it draws piece by piece, then
spends its examples on different shapes and options rather than on single entries.
"""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st


def drawn(*shape: int, low: int, high: int) -> st.SearchStrategy[torch.Tensor]:
    """An int64 tensor of entries low … high, both included; the simplest one is as near to zero as can be."""
    nearest = max(low, min(0, high))

    def entries(seed: int) -> torch.Tensor:
        if seed == 0:
            return torch.full(shape, nearest)
        return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed))

    return st.integers(0, 2**32 - 1).map(entries)


@st.composite
def tensor(draw, *shape: int, scale: float = 1.0, low: int = -16, high: int = 16, holes: bool = False):
    """A float64 tensor of quarters from low/4 to high/4, times `scale`; with `holes`, a third of them is -inf."""
    values = draw(drawn(*shape, low=low, high=high)).double() / 4 * scale
    return torch.where(draw(drawn(*shape, low=0, high=2)) == 1, -math.inf, values) if holes else values


def integers(*shape: int, below: int) -> st.SearchStrategy[torch.Tensor]:
    """An int64 tensor of indices 0 … below − 1."""
    return drawn(*shape, low=0, high=below - 1)


def booleans(*shape: int) -> st.SearchStrategy[torch.Tensor]:
    """A mask, half of it true."""
    return drawn(*shape, low=0, high=1).map(torch.Tensor.bool)
