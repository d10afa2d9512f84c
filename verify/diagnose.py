"""Which known mistake, or which two, a function that is not the operation cannot be told from."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from verify.ask import Answer
from verify.cases import narrowed
from verify.judge import Reading, Tally, misfit
from verify.mistake import mutants
from verify.rounding import Ball

if TYPE_CHECKING:
    from verify.suite import Operation

SEEN, LONGEST = 30, 60.0
"""Answers with which a mistake must agree before it is named, and seconds after which none is."""


def _agrees(reading: Reading, f: Callable[..., Any], answer: Answer, narrow: bool = True) -> bool:
    """Is the answer what f gives, in exact arithmetic or, where that matters and with `narrow`, in the io dtype?"""
    if answer.trouble:
        return False
    for balls in _balls(reading, f, answer.inputs, narrow):
        alike = len(balls) == len(answer.results) and not any(ball.error.isinf().any() for ball in balls)
        if alike and not any(
            misfit(result, ball, reading.contract, Tally()) for result, ball in zip(answer.results, balls, strict=True)
        ):
            return True
    return False


def _balls(reading: Reading, f: Callable[..., Any], inputs: Mapping[str, Any], narrow: bool) -> Iterator[list[Ball]]:
    """What f computes: with its own bound, then, at the io dtype or where an operation has no rule, the reference's."""
    mistaken = replace(reading, f=f)
    with suppress(Exception):  # a mistake may raise anything
        yield mistaken.expected(inputs)
    with suppress(Exception):
        ours = reading.expected(inputs)
        for dtype in (torch.float64, reading.contract.io)[: 1 + narrow]:
            values = [x.double() for x in mistaken.values(narrowed(inputs, dtype))]
            if [x.shape for x in values] == [ball.value.shape for ball in ours]:
                yield [Ball(x, ball.error) for x, ball in zip(values, ours, strict=True)]


def option(convention: str) -> str:
    """The argument that a convention is about, such as approximate='tanh'."""
    return convention.partition("=")[0]


def diagnose(
    operation: Operation, reading: Reading, takes: set[str], failing: Sequence[Answer], answers: Sequence[Answer]
) -> list[str]:
    """A sentence for every known mistake, or else every pair of them, that the candidate cannot be told from.

    It must do what the mistake does, under the conventions of the reading or of our own. Of two mistakes one must
    explain each failing case; on the others a convention of the operation will do as well.
    Raises TimeoutError when it has taken LONGEST.
    """
    end = time.monotonic() + LONGEST

    def agrees(*given: Any) -> bool:
        if time.monotonic() > end:
            raise TimeoutError
        return _agrees(*given)

    heard = list(answers[:SEEN])
    stuck = {name: partial(f, reading.f) for name, f in operation.conventions.items() if option(name) in takes}
    for name, f in stuck.items():
        if all(agrees(reading, f, a) for a in [*failing, *heard]):
            return [f"it ignores {option(name)} and always does {name}"]
    known: dict[str, tuple[Any, Callable[..., Any]]] = {}
    for mutant in mutants(operation.name):
        known[mutant.mistake.id] = (mutant, mutant)
        for name, convention in operation.conventions.items():
            if name in stuck:
                continue
            known[f"{mutant.mistake.id}, with the convention: {name}"] = (mutant, partial(convention, mutant))
    fine = [reading.complaint(a) is None or any(
        agrees(reading, partial(c, reading.f), a) for c in operation.conventions.values()) for a in heard]  # fmt: skip
    narrow = _as_narrow(reading, failing)
    does = {name: [agrees(reading, f, a, not narrow) for a in failing] for name, (_, f) in known.items()}
    alike = {name: [agrees(reading, known[name][1], a, not narrow) for a in heard]
             for name in known if any(does[name])}  # fmt: skip
    found = [name for name in alike if all(does[name]) and all(alike[name])]
    plain = [name for name in found if ", with the convention" not in name]
    if found:
        return [f"equals {told(known[name][0], name)}" for name in plain or found]
    if narrow:
        return narrow
    single = [name for name in alike if ", with" not in name]
    does = {name: [agrees(reading, known[name][1], a, False) for a in failing] for name in single}
    alike = {name: [agrees(reading, known[name][1], a, False) for a in heard] for name in single if any(does[name])}
    for one, other in itertools.combinations(alike, 2):
        together = [any(three) for three in zip(fine, alike[one], alike[other], strict=True)]
        if all(together) and all(map(any, zip(does[one], does[other], strict=True))):
            return [f"two mistakes at once: it equals {told(known[one][0], one)} — and {told(known[other][0], other)}"]
    return []


def told(mutant: Any, name: str = "") -> str:
    """The mistake's id, what it is, where it was reported, and what to do instead."""
    what = (mutant.__doc__ or "").strip().rstrip(".").lower()
    seen = "" if mutant.mistake.seen.startswith("no public") else f", reported in {mutant.mistake.seen}"
    also = name.partition(", with the convention")[2]
    also = f", by the convention{also}" if also else ""
    return f"the known mistake {mutant.mistake.id} ({what}){seen}{also}; {mutant.mistake.fix}"


def _as_narrow(reading: Reading, failing: Sequence[Answer]) -> list[str]:
    """Does the definition itself do this when everything between is rounded to the io dtype, or overflows there?"""
    io = reading.contract.io
    if io == reading.contract.arithmetic:
        return []
    with suppress(Exception):
        for answer in failing:
            values = reading.values(narrowed(answer.inputs, io))
            balls = [Ball(x.double(), y.error) for x, y in zip(values, reading.expected(answer.inputs), strict=True)]
            if any(misfit(x, y, reading.contract, Tally()) for x, y in zip(answer.results, balls, strict=True)):
                return []
        name = str(io).removeprefix("torch.")
        return [
            f"the definition gives the same when every intermediate is {name}: compute in float32, round at the end"
        ]
    return []
