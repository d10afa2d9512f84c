"""Strategies for tensors whose entries lie on a coarse grid: ties are common and a shrunk example is readable."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st


def tensor(
    *shape: int, scale: float = 1.0, low: int = -16, high: int = 16, holes: bool = False
) -> st.SearchStrategy[torch.Tensor]:
    """A float64 tensor of quarters from low/4 to high/4, times `scale`; with `holes`, some entries are -inf."""
    quarters = st.integers(low, high).map(lambda n: n / 4 * scale)
    entries = st.one_of(quarters, quarters, st.just(-math.inf)) if holes else quarters
    size = math.prod(shape)
    flat = st.lists(entries, min_size=size, max_size=size)
    return flat.map(lambda values: torch.tensor(values, dtype=torch.float64).reshape(shape))


def integers(*shape: int, below: int) -> st.SearchStrategy[torch.Tensor]:
    """An int64 tensor of indices 0 … below − 1."""
    size = math.prod(shape)
    flat = st.lists(st.integers(0, below - 1), min_size=size, max_size=size)
    return flat.map(lambda values: torch.tensor(values, dtype=torch.int64).reshape(shape))
