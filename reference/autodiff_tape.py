r"""Reverse mode: operations are recorded on a tape, and a cotangent goes back along it, to all inputs in one sweep.

An operation is recorded after those that made its operands: the order of recording is a topological order, whatever the
graph, and the sweep back is a loop. The tape keeps, of every operation, the functions that pull a cotangent back to its
operands, and so the tensors that these read: no others. It is not used up: any number of sweeps may go along it.
Article papers/autodiff.md, derivation derivations/autodiff.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch

from reference import expect
from reference.autodiff_number import LEVELS, Map, Number, level, plain, shape
from reference.autodiff_rules import add  # where Numbers also get + − × ÷ @ and the like


class Record(NamedTuple):
    """An operation on the tape: its name, the shape of its result, and where its operands are with their pulls."""

    name: str
    shape: tuple[int, ...]
    operands: Sequence[tuple[int, Callable[[Any], Any]]]


class Tape(list[Record]):
    """The records in order; an input is one without operands."""

    def __init__(self) -> None:
        super().__init__()
        self.level = next(LEVELS)

    def write(self, name: str, value: Any, operands: Sequence[tuple[int, Callable[[Any], Any]]] = ()) -> Variable:
        self.append(Record(name, shape(value), operands))
        return Variable(value, self, len(self) - 1)

    def sweep(self, place: int, cotangent: Any, wanted: Collection[int]) -> dict[int, Any]:
        """The cotangents at the places wanted, of those which `cotangent` at `place` leads back to.

        A number used in several operations gets the sum of what comes back from all of them.
        """
        back = {place: cotangent}
        for at in range(place, -1, -1):
            if at not in back:
                continue
            arrived = back[at] if at in wanted else back.pop(at)
            for operand, pull in self[at].operands:
                back[operand] = add(back[operand], pull(arrived)) if operand in back else pull(arrived)
        return back


class Variable(Number):
    """A value with its place on a tape."""

    __slots__ = ("place", "tape")

    def __init__(self, value: Any, tape: Tape, place: int) -> None:
        super().__init__(value, tape.level)
        self.tape, self.place = tape, place

    def combine(self, name: str, value: Any, moved: Sequence[tuple[Any, Map]]) -> Variable:
        """Record where the operands are, and how to pull a cotangent back to each."""
        return self.tape.write(name, value, [(x.place, through.pull) for x, through in moved])


def vjp(f: Callable[..., Any], *xs: Any) -> tuple[Any, Callable[[Any], list[Any]]]:
    """(y, back): y = f(*xs), and the function that takes a cotangent u of y to Jᵀ u, a tensor for each x.

    f is a program of the operations in autodiff_rules.py and autodiff_linear.py. What y does not depend on gets zeros.
    `back` raises ValueError for a cotangent that has not the shape of y.
    Source: baydin2018automatic, §3.2; linnainmaa1976taylor.
    """
    tape = Tape()
    inputs = [tape.write("input", x) for x in xs]
    y = f(*inputs)

    def back(cotangent: Any) -> list[Any]:
        if shape(cotangent) != shape(y):
            expect.fail("cotangent", f"the shape {shape(y)} of the result", shape(cotangent))
        found = tape.sweep(y.place, cotangent, range(len(xs))) if level(y) == tape.level else {}
        return [found[i] if i in found else torch.zeros_like(plain(x)) for i, x in enumerate(xs)]

    return (y.value if level(y) == tape.level else y), back


def value_and_gradient(f: Callable[..., Any], *xs: Any) -> tuple[Any, list[Any]]:
    """f(*xs), which has to be one number, and its gradient by each x. Raises ValueError for another shape."""
    y, back = vjp(f, *xs)
    if math.prod(shape(y)) != 1:
        expect.fail("f", "one number (of more, `vjp` takes a cotangent)", f"a result of shape {shape(y)}")
    return y, back(torch.ones_like(torch.as_tensor(plain(y))))


def gradient(f: Callable[..., Any], *xs: Any) -> list[Any]:
    """The gradient of f, one number, by each of its arguments. Raises ValueError as `value_and_gradient`."""
    return value_and_gradient(f, *xs)[1]


def graph(f: Callable[..., Any], *xs: Any) -> str:
    """What f computes on xs, as text for Graphviz: an edge from every operand to its operation."""
    tape = Tape()
    f(*(tape.write("input", x) for x in xs))
    lines = ["digraph {", "  rankdir=LR"]
    for at, (name, size, operands) in enumerate(tape):
        label = f"{name} {'×'.join(map(str, size))}".strip()
        lines.append(f'  n{at} [label="{label}", shape={"ellipse" if operands else "box"}]')
        lines += [f"  n{operand} -> n{at}" for operand, _ in operands]
    return "\n".join([*lines, "}"])
