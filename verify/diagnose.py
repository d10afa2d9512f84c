"""Which known mistake a function that is not the operation cannot be told from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from verify.cases import narrowed
from verify.mistake import mutants
from verify.rounding import Ball
from verify.worker import Ended

if TYPE_CHECKING:
    from verify.judge import Judge
    from verify.suite import Operation

SEEN = 30
"""Cases on which a mistake must behave as the candidate does before it is named."""


def agrees(judge: Judge, f: Callable[..., Any], inputs: Mapping[str, Any]) -> bool:
    """Does the candidate return what f does, in exact arithmetic or, where that matters, in its own dtype?"""
    try:
        results, _ = judge.outputs(inputs)
    except Ended:
        return False
    for balls in _balls(judge, f, inputs):
        alike = len(balls) == len(results)
        if alike and not any(map(judge.misfit, results, balls)):
            return True
    return False


def _balls(judge: Judge, f: Callable[..., Any], inputs: Mapping[str, Any]) -> Iterator[list[Ball]]:
    """What f computes: with its own bound, then, at the io dtype or where an operation has no rule, the reference's."""
    with suppress(Exception):  # a mistake may raise anything
        yield judge.expected(inputs, f)
    with suppress(Exception):
        ours = judge.expected(inputs)[0]
        for dtype in (torch.float64, judge.contract.io):
            value = f(**narrowed(inputs, dtype)).double()
            if value.shape == ours.value.shape:
                yield [Ball(value, ours.error)]


def diagnose(
    operation: Operation, judge: Judge, failing: Sequence[Mapping[str, Any]], tried: Sequence[Mapping[str, Any]]
) -> list[str]:
    """A sentence for every known mistake that the candidate cannot be told from.

    On the failing cases it must do what the mistake does; on the others a convention of the operation will do as well.
    """
    found = []
    for mutant in mutants(operation.name):
        if not all(agrees(judge, mutant, inputs) for inputs in failing):
            continue
        meant = [mutant, *operation.conventions.values()]
        if all(any(agrees(judge, f, inputs) for f in meant) for inputs in tried[:SEEN]):
            what = (mutant.__doc__ or "").strip().rstrip(".").lower()
            seen = "" if mutant.mistake.seen.startswith("no public") else f", reported in {mutant.mistake.seen}"
            found.append(f"equals the known mistake {mutant.mistake.id} ({what}){seen}; {mutant.mistake.fix}")
    return found
