r"""From a proof to the code it is about: evaluate a claim's expression and the function it names at the same points.

A claim's `computes` is a Python expression over the module of its `code`. Tables of the claim are tensors with an axis
for each index, free indices count from zero, and assignments before the expression ("beta = 0.7; …") choose values the
function accepts.
"""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from importlib import import_module
from typing import Any

import torch
from sympy import IndexedBase, S

from derivations.points import Inadmissible, Point, evaluate
from verify.compare import GAP

POINTS = 12


def drive(init, update, gradients, **hyper):
    """The direction and the state after all gradients, from a parameter that is zero."""
    state, direction = init(torch.zeros_like(gradients[0])), None
    for gradient in gradients:
        direction, state = update(gradient, state, **hyper)
    return direction, state


def column(x):
    """A vector over positions as one batch, one head, one coordinate."""
    return x[None, None, :, None]


def pairs(a, b):
    """The vector whose coordinates 2k, 2k + 1 are the k-th pair, as a sequence of one position."""
    return torch.stack([a, b], -1).reshape(1, -1)


def unroll(counts):
    """A text in which word i occurs counts[i] times."""
    return torch.repeat_interleave(torch.arange(len(counts)), counts.long())


def largest_difference(c) -> tuple[float, int]:
    """(largest relative difference, points) between what the claim says and what its function computes."""
    *choices, expression = (part.strip() for part in c.computes.split(";"))
    module = vars(import_module(c.code.rpartition(".")[0]))
    helpers = {"torch": torch, "drive": drive, "column": column, "pairs": pairs, "unroll": unroll}
    rng, worst, tested = random.Random(c.id), 0.0, 0
    facts = {key: S(value) for key, value in c.given.items()}
    parts = c.parts()
    for _ in range(20 * POINTS):
        names: dict[str, Any] = {}
        point = Point(rng, c.for_all, {k: S(v).xreplace(facts) for k, v in c.sums.items()}, c.domains)
        part = parts[next((int(x.split("=")[1]) for x in choices if x.startswith("part")), 0)]
        lhs, relation, rhs = part.statements[0]
        said = (rhs if relation == "=" else lhs).xreplace(facts)
        try:
            evaluate(said, point), evaluate(lhs.xreplace(facts), point)  # draws every symbol
        except Inadmissible:
            continue
        for symbol, value in point.values.items():
            names[str(symbol)] = int(value) - (symbol in c.for_all) if symbol.is_integer else float(value)
        longest = max((point.integer(n) for n in c.for_all.values()), default=0)
        for table in dict.fromkeys(table for table, _ in point.tables):
            names[str(table)] = _tensor(point, table, longest)
        for choice in choices:
            exec(choice, module | helpers | names, names)
        _write_back(point, names)
        lacking = not point.tables and (lhs.has(IndexedBase) or said.has(IndexedBase))  # of size zero, at this point
        if lacking or any(isinstance(value, torch.Tensor) and not len(value) for value in names.values()):
            continue
        ours = complex(evaluate(said, point).mid())
        theirs = complex(eval(expression, module | helpers | names))
        worst = max(worst, abs(ours - theirs) / max(1.0, abs(ours)))
        tested += 1
        if tested == POINTS:
            break
    return worst, tested


def _tensor(point, table, longest):
    """All entries of a table: of a vector, at least so many; else those of the box around what was drawn."""
    drawn = [index for base, index in point.tables if base == table]
    if len(drawn[0]) == 1:
        every = sorted({*drawn, *((k,) for k in range(1, longest + 1))})
        sizes = [len(every)]
    else:
        sizes = [max(axis) for axis in zip(*drawn, strict=True)]
        every = list(itertools.product(*(range(1, size + 1) for size in sizes)))
    for index in every:
        point.entry(table, index)
    entries = [_float(point.tables[table, index]) for index in every]
    return torch.tensor(entries, dtype=torch.float64).reshape(sizes)


def _float(x) -> float:
    return float(x.real.mid()) if hasattr(x, "real") and hasattr(x.real, "mid") else float(x)


def _write_back(point, names):
    """Put the chosen values where the evaluator reads them, exactly (a float is a rational)."""
    for symbol in point.values:
        if not symbol.is_integer:
            point.values[symbol] = Fraction(names[str(symbol)])
    for table, index in list(point.tables):
        point.tables[table, index] = Fraction(names[str(table)][tuple(i - 1 for i in index)].item())


def problem(c) -> tuple[str | None, float, int]:
    """(what is wrong or None, largest difference, points)."""
    try:
        worst, tested = largest_difference(c)
    except Exception as error:
        return f"{c.id}: {c.code} could not be compared: {type(error).__name__}: {error}", float("nan"), 0
    if not tested:
        return f"{c.id}: no point at which {c.code} could be compared", float("nan"), 0
    if not worst <= GAP:
        return f"{c.id}: {c.code} does not compute what is proved: relative difference {worst:.3g}", worst, tested
    return None, worst, tested
