r"""What a differentiable operation is: it computes, and its rule says how a change goes through and how one comes back.

A rule has two linear maps for every operand: `push` takes a change of the operand to that of the result, Jv, and `pull`
a cotangent of the result to one of the operand, Jᵀu. Rules are written in differentiable operations again, so that
derivatives have derivatives. Operands are tensors, plain numbers, and `Number`s: a Dual of autodiff_dual.py goes
forward and needs `push`, a Variable of autodiff_tape.py goes back and needs `pull`.
Article papers/autodiff.md, derivation derivations/autodiff.py.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

LEVELS = itertools.count(1)
"""Every differentiation has a level of its own, an inner one a higher one: what it differentiates is never confused."""


class Map(NamedTuple):
    """A Jacobian as two functions, J and Jᵀ."""

    push: Callable[[Any], Any]
    pull: Callable[[Any], Any]


class Number:
    """A value, which is a tensor or a Number of a lower level, and what its own level has to know about it."""

    __slots__ = ("level", "value")
    combine: Callable[[str, Any, Sequence[tuple[Any, Map]]], Number]
    """(name, value, moved) to the Number of an operation's result; moved are operands of this level and their maps."""

    def __init__(self, value: Any, level: int) -> None:
        self.value, self.level = value, level

    @property
    def shape(self) -> tuple[int, ...]:
        return shape(self)

    @property
    def ndim(self) -> int:
        return len(shape(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


def level(x: Any) -> int:
    """The level of a Number, and zero of what is none."""
    return x.level if isinstance(x, Number) else 0


def plain(x: Any) -> Any:
    """The tensor, or plain number, under all levels: a constant of every differentiation."""
    while isinstance(x, Number):
        x = x.value
    return x


def shape(x: Any) -> tuple[int, ...]:
    return tuple(getattr(plain(x), "shape", ()))


def differentiable(compute: Callable[..., Any]) -> Callable[[Callable[..., Sequence[Map]]], Callable[..., Any]]:
    """An operation on Numbers: `compute` on tensors, and the decorated rule, from result and operands to their maps.

    What follows a star in the rule's parameters is no operand: an exponent, an axis, a mask.
    """

    def attach(rule: Callable[..., Sequence[Map]]) -> Callable[..., Any]:
        names = inspect.signature(rule).parameters.values()
        fixed = [p.name for p in names if p.kind is p.KEYWORD_ONLY]
        arity, name = len(names) - len(fixed) - 1, rule.__name__.lstrip("_")

        @wraps(rule)
        def operation(*operands, **options):
            if len(operands) > arity:
                options |= zip(fixed, operands[arity:], strict=False)
                operands = operands[:arity]
            levels = [x.level if isinstance(x, Number) else 0 for x in operands]
            top = max(levels)
            if not top:
                return compute(*operands, **options)
            lower = [x.value if own == top else x for x, own in zip(operands, levels, strict=True)]
            value = operation(*lower, **options)
            maps = zip(operands, rule(value, *lower, **options), levels, strict=True)
            moved = [(x, through) for x, through, own in maps if own == top]
            return moved[0][0].combine(name, value, moved)

        return operation

    return attach
