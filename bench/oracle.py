"""False alarms and detection of the checker beside three rules in use, on the same cases: `python -m bench oracle`.

A right implementation that fails a rule on any case is a false alarm of the rule; a known mistake that fails it on any
case is detected. Mistakes are computed in float32 and rounded once, as a fused kernel would; those count that show in
a value of these cases and follow, in float64, no convention in use; the others are listed. For our rule a function is
right when it follows some reading: a contract, with our definition or conventions in use.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from bench.experiment import report
from bench.legitimate import LEGITIMATE
from bench.legitimate_layers import LAYERS
from verify.ask import Answer
from verify.cases import cases, gathered, match, narrowed, on_the_whole
from verify.check import DTYPES, find, follow
from verify.judge import Reading, readings
from verify.mistake import mutants
from verify.rounding import Ball
from verify.signature import parameters

RULES = ("derived", "assert_close", "twice the baseline", "1e-2")
RIGHT = {name: [*LEGITIMATE.get(name, []), *LAYERS.get(name, [])] for name in {**LEGITIMATE, **LAYERS}}


def verdicts(name: str, f: Callable[..., Any], io: torch.dtype, count: int) -> dict[str, Any]:
    """Which rules does f break on some case? By ours, also the convention it follows."""
    operation, reference = find(name)
    known = parameters(f)
    if known is not None and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(f).parameters.values()):
        known = parameters(reference)
    positional, named = match(reference, known, {})
    passed = (*positional, *named.values())
    broken, answers = dict.fromkeys(RULES, False), []
    for inputs in tried(name, passed, io, count):
        narrow = gathered(narrowed({n: x for n, x in inputs.items() if n.partition("[")[0] in passed}, io))
        got = tree_leaves(f(*[narrow[n] for n in positional], **{their: narrow[our] for their, our in named.items()}))
        answers.append(Answer(inputs, results=got))
        ours = on_the_whole(reference)
        baseline = [x.double() for x in tree_leaves(ours(**narrowed(inputs, io)))]
        for y, truth, low in zip(got, tree_leaves(ours(**inputs)), baseline, strict=True):
            if y.shape != truth.shape:
                broken = dict.fromkeys(RULES, True)
                continue
            broken["assert_close"] |= _differs(y, truth.to(io))
            apart = (low - truth).abs().nan_to_num(0).max() if truth.numel() else torch.zeros(())
            broken["twice the baseline"] |= not _within(y, truth, 2 * apart + 1e-5)
            broken["1e-2"] |= not torch.allclose(y.double(), truth, rtol=1e-2, atol=1e-2, equal_nan=True)
    told = readings(reference, operation.conventions, io, operation.exact, unit=operation.unit)
    kept = (Kept(r.contract, r.convention, r.f, r.unit) for r in told)
    followed = next((r for r in kept if follow(r, answers).answer is None), None)
    return {**broken, "derived": followed is None, "convention": followed.convention if followed else ""}


def seen(name: str, mutant: Callable[..., Any], count: int) -> bool:
    """Does the mistake show in a value? Others show in the gradient."""
    _, reference = find(name)
    ours = on_the_whole(reference)
    for inputs in tried(name, tuple(inspect.signature(reference).parameters), torch.float64, count):
        try:
            theirs = tree_leaves(on_the_whole(mutant)(**inputs))
        except Exception:
            return True
        for x, y in zip(theirs, tree_leaves(ours(**inputs)), strict=True):
            if x.shape != y.shape or not torch.allclose(x.double(), y.double(), rtol=1e-9, atol=1e-9, equal_nan=True):
                return True
    return False


@cache
def tried(name: str, passed: tuple[str, ...], io: torch.dtype, count: int) -> list[dict[str, Any]]:
    """The same inputs for every function that takes the same arguments."""
    operation, reference = find(name)
    return cases(operation, passed, reference, io, count)


EXPECTED: dict[tuple[Any, ...], list[Ball]] = {}


class Kept(Reading):
    """A reading that derives its bounds once for each input."""

    def expected(self, inputs: Mapping[str, Any]) -> list[Ball]:
        key = (self.contract, self.convention, id(inputs))
        if key not in EXPECTED:
            EXPECTED[key] = super().expected(inputs)
        return EXPECTED[key]


def _differs(got: torch.Tensor, expected: torch.Tensor) -> bool:
    try:
        torch.testing.assert_close(got, expected, equal_nan=True)
    except AssertionError:
        return True
    return False


def _within(got: torch.Tensor, truth: torch.Tensor, most: torch.Tensor) -> bool:
    got = got.double()
    return bool((((got - truth).abs() <= most) | (got == truth) | (got.isnan() & truth.isnan())).all())


def as_kernel(mutant: Callable[..., Any], io: torch.dtype) -> Callable[..., Any]:
    """The mistake in float32, its results rounded to the io dtype; the parameters stay visible."""
    wide = torch.float64 if io == torch.float64 else torch.float32

    def widened(x: Any) -> Any:
        return x.to(wide) if isinstance(x, torch.Tensor) and x.is_floating_point() else x

    @wraps(mutant)
    def kernel(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(widened, args), tree_map(widened, kwargs)
        return tree_map(lambda y: y.to(io) if y.is_floating_point() else y, mutant(*args, **kwargs))

    return kernel


def table(count: int = 40) -> Iterator[dict[str, Any]]:
    """For every dtype and operation: right implementations, mistakes, and for each rule alarms and detections."""
    for dtype in ("float32", "bfloat16", "float16"):
        io = DTYPES[dtype]
        for name, right in RIGHT.items():
            known = {m.mistake.id: m for m in mutants(name) if seen(name, m, count)}
            alarms = [verdicts(name, f, io, count) for f in right]
            legal = {mistake: verdicts(name, m, torch.float64, count)["convention"] for mistake, m in known.items()}
            caught = {i: verdicts(name, as_kernel(m, io), io, count) for i, m in known.items() if not legal[i]}
            EXPECTED.clear()
            tried.cache_clear()
            yield {
                "dtype": dtype,
                "operation": name,
                "right": len(right),
                "wrong": len(caught),
                "alarms": {rule: sum(found[rule] for found in alarms) for rule in RULES},
                "caught": {rule: sum(told[rule] for told in caught.values()) for rule in RULES},
                "missed": [mistake for mistake, told in caught.items() if not told["derived"]],
                "by convention": {mistake: convention for mistake, convention in legal.items() if convention},
                "not in values": [m.mistake.id for m in mutants(name) if m.mistake.id not in known],
            }


def told(row: dict[str, Any]) -> str:
    """An operation's line: false alarms, and detected mistakes."""
    alarms, caught = (" ".join(f"{row[what][rule]:3d}" for rule in RULES) for what in ("alarms", "caught"))
    missed = f"  missed: {', '.join(row['missed'])}" if row["missed"] else ""
    return (
        f"{row['dtype']:<9} {row['operation']:<22} {row['right']:2d} right: {alarms}"
        f"   {row['wrong']:2d} wrong: {caught}{missed}"
    )


def main(options) -> int:
    """Print the table, and the sums by dtype."""
    found = []

    def rows():
        for row in table():
            found.append(row)
            yield row

    heading = "of right implementations, false alarms; of known mistakes, detected: " + " · ".join(RULES)
    report("oracle", options, rows(), told=told, heading=heading, schema=2, rules=RULES)
    for what, all_of in (("alarms", "right"), ("caught", "wrong")):
        sums = {rule: sum(row[what][rule] for row in found) for rule in RULES}
        told_sums = ", ".join(f"{rule} {n}" for rule, n in sums.items())
        print(f"{what} of {sum(row[all_of] for row in found)}: {told_sums}", file=sys.stderr if options.json else None)
    return 0
