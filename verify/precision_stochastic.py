"""Laws of stochastic rounding."""

from __future__ import annotations

import math

import torch

from reference.precision import FORMATS
from reference.precision import decode as meaning
from verify.precision_inputs import held, lots, mode, same
from verify.suite import Operation


def one_of_the_neighbours(stochastic, x, u, format, overflow):
    """The inner one whatever u, but for what lies beyond the largest; the outer one for u = 0, unless x is a number."""
    known = held(format)
    known = known[:-1][known.diff() == 1]
    low, high = meaning(known, format), meaning(known + 1, format)
    x = low + 0.25 * (high - low)
    for sign in (1, -1):
        same(stochastic(sign * x, torch.zeros_like(x), format, mode(format)), sign * high)
        same(stochastic(sign * x, torch.full_like(x, 0.25), format, mode(format)), sign * low)
        same(stochastic(sign * low, torch.zeros_like(x), format, mode(format)), sign * low)


def mean_is_the_number(stochastic, x, u, format, overflow):
    """Over u on a fine grid: `stochastic_rounding_is_unbiased`."""
    f = FORMATS[format]
    grid = (torch.arange(64).double() + 0.5) / 64
    inside = x[x.abs() <= f.largest]
    mean = stochastic(inside[:, None].expand(-1, 64), grid.expand(len(inside), 64), format, mode(format)).mean(1)
    step = torch.maximum(2 * f.roundoff * inside.abs(), torch.tensor(f.least, dtype=torch.float64))
    assert ((mean - inside).abs() <= step / 64).all(), f"means {mean.tolist()} of {inside.tolist()}"


def ends_by_lot(stochastic, x, u, format, overflow):
    """Between the largest number and the one that would follow u decides as elsewhere; beyond, nothing does."""
    ends = torch.tensor([464.0, 464.0, -1e9, math.inf]).double()
    u = torch.tensor([0.5, 0.25, 0.9375, 0.9375]).double()
    same(stochastic(ends, u, "e4m3"), torch.tensor([448.0, math.nan, math.nan, math.nan]).double())
    same(stochastic(ends, u, "e4m3", "saturate"), torch.tensor([448.0, 448.0, -448.0, 448.0]).double())
    same(
        stochastic(ends * 2.0**119, u, "bf16").abs(),
        torch.tensor([464.0, 464.0, math.inf, math.inf]).double() * 2.0**119,
    )


def zero_and_nan_by_lot(stochastic, x, u, format, overflow):
    """Neither zero nor NaN depends on the lot, and zero keeps its sign."""
    kinds = torch.tensor([0.0, -0.0, math.nan]).double()
    for lot in (0.0, 0.75):
        same(stochastic(kinds, torch.full_like(kinds, lot), "fp16"), kinds)


OPERATIONS = [
    Operation(
        "precision.stochastic_round",
        inputs=lots(),
        laws=[one_of_the_neighbours, mean_is_the_number, ends_by_lot, zero_and_nan_by_lot],
        exact=True,
    )
]
