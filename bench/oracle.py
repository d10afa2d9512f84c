"""False alarms and detection of the checker beside three rules in use, on the same cases: `python -m bench oracle`.

A right implementation that fails a rule on any case is a false alarm of the rule; a known mistake that fails it on any
case is detected. Mistakes are computed in float32 and rounded once, as a fused kernel would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch

from bench.legitimate import LEGITIMATE
from verify.candidate import parameters
from verify.cases import cases, match, narrowed
from verify.check import DTYPES, find
from verify.contract import contracts
from verify.judge import Tally, misfit
from verify.mistake import mutants
from verify.rounding import bounds

RULES = ("derived", "assert_close", "twice the baseline", "1e-2")


def verdicts(name: str, f: Callable[..., Any], io: torch.dtype, count: int) -> dict[str, bool]:
    """Which rules does f break on some case?"""
    operation, reference = find(name)
    positional, named = match(reference, parameters(f), {})
    passed = [*positional, *named.values()]
    broken, alive = dict.fromkeys(RULES, False), list(contracts(io))
    for inputs in cases(operation, passed, reference, io, count):
        given = narrowed({n: x for n, x in inputs.items() if n in passed}, io)
        got = f(*[given[n] for n in positional], **{their: given[our] for their, our in named.items()})
        alive = [c for c in alive if misfit(got, bounds(reference, inputs, c)[0], c, Tally()) is None]
        truth = reference(**inputs)
        broken["assert_close"] |= _differs(got, truth.to(io))
        baseline = reference(**narrowed(inputs, io)).double()
        broken["twice the baseline"] |= not _within(got, truth, 2 * (baseline - truth).abs().nan_to_num(0).max() + 1e-5)
        broken["1e-2"] |= not torch.allclose(got.double(), truth, rtol=1e-2, atol=1e-2, equal_nan=True)
    return {**broken, "derived": not alive}


def _differs(got: torch.Tensor, expected: torch.Tensor) -> bool:
    try:
        torch.testing.assert_close(got, expected, equal_nan=True)
    except AssertionError:
        return True
    return False


def _within(got: torch.Tensor, truth: torch.Tensor, most: torch.Tensor) -> bool:
    got = got.double()
    if got.shape != truth.shape:
        return False
    return bool((((got - truth).abs() <= most) | (got == truth) | (got.isnan() & truth.isnan())).all())


def as_kernel(mutant: Callable[..., Any], io: torch.dtype) -> Callable[..., Any]:
    """The mistake in float32, its result rounded to the io dtype; the parameters stay visible."""

    @wraps(mutant)
    def kernel(*args: Any, **kwargs: Any) -> torch.Tensor:
        wide = torch.float64 if io == torch.float64 else torch.float32
        in_order: Any = narrowed({str(i): x for i, x in enumerate(args)}, wide).values()
        return mutant(*in_order, **narrowed(kwargs, wide)).to(io)

    return kernel


def table(count: int = 40) -> Iterator[dict[str, Any]]:
    """For every dtype and operation: right implementations, mistakes, and for each rule alarms and detections."""
    for dtype in ("float32", "bfloat16", "float16"):
        io = DTYPES[dtype]
        for name, right in LEGITIMATE.items():
            wrong = [as_kernel(m, io) for m in mutants(name)]
            alarms = [verdicts(name, f, io, count) for f in right]
            caught = [verdicts(name, f, io, count) for f in wrong]
            yield {
                "dtype": dtype,
                "operation": name,
                "right": len(right),
                "wrong": len(wrong),
                "alarms": {rule: sum(found[rule] for found in alarms) for rule in RULES},
                "caught": {rule: sum(found[rule] for found in caught) for rule in RULES},
                "missed": [
                    m.mistake.id for m, found in zip(mutants(name), caught, strict=True) if not found["derived"]
                ],
            }


def main(as_json: bool) -> int:
    """Print the table, and the sums by dtype."""
    import json

    found = []
    if not as_json:
        print("of right implementations, false alarms; of known mistakes, detected: " + " · ".join(RULES))
    for row in table():
        found.append(row)
        if not as_json:
            alarms, caught = (" ".join(f"{row[what][rule]:3d}" for rule in RULES) for what in ("alarms", "caught"))
            missed = f"  missed: {', '.join(row['missed'])}" if row["missed"] else ""
            print(f"{row['dtype']:<9} {row['operation']:<22} {row['right']:2d} right: {alarms}"
                  f"   {row['wrong']:2d} wrong: {caught}{missed}", flush=True)  # fmt: skip
    if as_json:
        print(
            json.dumps(
                {"schema": 1, "device": "CPU", "torch": torch.__version__, "rules": RULES, "rows": found},
                indent=1,
                ensure_ascii=False,
            )
        )
        return 0
    for what, all_of in (("alarms", "right"), ("caught", "wrong")):
        sums = {rule: sum(row[what][rule] for row in found) for rule in RULES}
        print(f"{what} of {sum(row[all_of] for row in found)}: " + ", ".join(f"{r} {n}" for r, n in sums.items()))
    return 0
