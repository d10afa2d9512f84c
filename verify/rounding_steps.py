r"""The rules of functions that jump: whole numbers, exponents and signs, where rounding may decide on which side.

What is rounded to a whole number rises with its argument, so that it lies between its values at the two ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from verify.rounding import Ball, Rounding
from verify.rounding_rules import aten, rule


def jump(f: Callable[[torch.Tensor], torch.Tensor], m: Rounding, out: torch.Tensor, a: Ball) -> torch.Tensor:
    """How far f, which never falls, may be from its value; what is not finite is what it is."""
    low, high = (f((a.value + sign * a.error).double()) for sign in (-1, 1))
    moved = torch.maximum((out - low).abs(), (high - out).abs())
    return m.rounded(out.double(), torch.where(a.value.isfinite(), moved.nan_to_num(nan=torch.inf), 0))


for step in (torch.round, torch.floor, torch.ceil, torch.trunc):
    rule(getattr(aten, step.__name__))(partial(jump, step))


@rule(aten.frexp)
def _exponent(m, out, a):
    """Beside a power of two the exponent may be another; then the significand is anything from one half to one."""
    significand, exponent = out
    size = a.value.abs().double()
    low, high = (torch.frexp((size + sign * a.error).clamp(min=0)).exponent for sign in (-1, 1))
    moved = torch.maximum(exponent - low, high - exponent).double()
    moved = torch.where((size <= a.error) & (a.error > 0), torch.inf, moved)
    inside = a.error * significand.abs() / torch.where(size == 0, 1, size)
    return torch.where(moved == 0, inside, 1.0), moved


@rule(aten.signbit)
def _sign(m, out, a):
    return ((a.value.abs() <= a.error) & (a.error > 0)).double()
