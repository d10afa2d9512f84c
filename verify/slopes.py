"""Where an operation is differentiated, how far its slopes lie from its twin's, and whether a mutant has others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.compare import GAP, compare

if TYPE_CHECKING:
    from verify.gradients import Difference
    from verify.suite import Operation

Function = Callable[..., Any]
Inputs = Mapping[str, Any]
GRADIENT_EXAMPLES = 3


def smooth(operation: Operation, drawn: Sequence[Inputs]) -> list[Inputs]:
    """The examples at which the operation is differentiated: finite and not all zero, one for every kind of call."""
    kinds: dict[str, Inputs] = {}
    for inputs in drawn:
        if all(inputs[name].isfinite().all() and inputs[name].any() for name in operation.gradients):
            kinds.setdefault(str({n: tuple(x.shape) if hasattr(x, "shape") else x for n, x in inputs.items()}), inputs)
    return list(kinds.values())


def slopes(operation: Operation, f: Function, twin: Function, drawn: Sequence[Inputs]) -> dict[str, Difference]:
    """The worst gradient differences over a few examples."""
    from verify.gradients import gradients

    worst: dict[str, Difference] = {}
    inner = smooth(operation, drawn) if operation.gradients else []
    for inputs in inner[:: max(1, -(-len(inner) // min(GRADIENT_EXAMPLES, 1 + len(drawn) // 20)))]:
        for comparison, found in gradients(f, twin, inputs, operation.gradients, operation.unit).items():
            worst[comparison] = max(found, worst.get(comparison, found), key=lambda d: d.excess)
    return worst


def steeper(operation: Operation, f: Function, reference: Function, inputs: Inputs) -> bool:
    """Has f another gradient than the reference?"""
    from verify.gradients import slope

    ours, theirs = (slope(g, inputs, operation.gradients, operation.unit) for g in (f, reference))
    return any(not compare(a, b, theirs.size) <= GAP for a, b in zip(ours.first, theirs.first, strict=True))
