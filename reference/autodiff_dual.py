r"""Forward mode: a number and beside it how fast it moves. Arithmetic on v + v̇ε, with ε² = 0, moves both.

One run gives the slope of all results along one direction: a column of the Jacobian times that direction. Nothing is
kept for later. Article papers/autodiff.md, derivation derivations/autodiff.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch

from reference import expect
from reference.autodiff_number import LEVELS, Map, Number, level, plain, shape
from reference.autodiff_rules import add  # where Numbers also get + − × ÷ @ and the like


class Dual(Number):
    """v + v̇ε: a value and its tangent."""

    __slots__ = ("tangent",)

    def __init__(self, value: Any, tangent: Any, level: int) -> None:
        super().__init__(value, level)
        self.tangent = tangent

    def combine(self, name: str, value: Any, moved: Sequence[tuple[Any, Map]]) -> Dual:
        """The tangents of all operands, pushed through the operation, add up."""
        return Dual(value, reduce(add, (through.push(x.tangent) for x, through in moved)), self.level)


def jvp(f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, Any]:
    """(f(*xs), J v): the result, and its slope when every x moves at the rate v of its own shape.

    f is a program of the operations in autodiff_rules.py and autodiff_linear.py; it may return a list, whose slopes are
    then a list. What does not depend on the xs has slope zero. Raises ValueError unless each v has the shape of its x.
    Source: baydin2018automatic, §3.1; wengert1964simple.
    """
    if [shape(x) for x in xs] != [shape(v) for v in vs]:
        expect.fail("vs", f"the shapes {[shape(x) for x in xs]}", [shape(v) for v in vs])
    own = next(LEVELS)
    return parts(f(*(Dual(x, v, own) for x, v in zip(xs, vs, strict=True))), own)


def parts(y: Any, own: int) -> tuple[Any, Any]:
    """Value and tangent of a result, or of each of a list."""
    if isinstance(y, list | tuple):
        values, tangents = zip(*(parts(one, own) for one in y), strict=True)
        return list(values), list(tangents)
    return (y.value, y.tangent) if level(y) == own else (y, torch.zeros_like(torch.as_tensor(plain(y))))
