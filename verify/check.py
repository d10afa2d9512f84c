r"""Is somebody's function the operation? Cases, the interval each entry must lie in, and the least counterexample.

    y conforms  ⇔  RN(ref − e) ≤ y ≤ RN(ref + e) for every entry of every case,

where e is the bound that verify/rounding.py derives under a contract, and RN rounds to the dtype of the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import Any

import torch

from verify.cases import Usage, cases, match, with_cotangent
from verify.compare import show
from verify.contract import contracts
from verify.diagnose import diagnose
from verify.judge import Judge, Tally, snippet
from verify.suite import Operation, simplified
from verify.worker import Ended, Worker, bits

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


@dataclass
class Report:
    """What a check found. `verdict` is conforms, refuted or undecided."""

    operation: str
    candidate: str
    dtype: str
    verdict: str = "undecided"
    contract: str = ""
    convention: str = ""
    why: str = ""
    counterexample: dict[str, str] = field(default_factory=dict)
    snippet: str = ""
    diagnosis: list[str] = field(default_factory=list)
    cases: int = 0
    tally: Tally = field(default_factory=Tally)
    skipped: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, **asdict(self)}


def find(name: str) -> tuple[Operation, Callable[..., Any]]:
    """The operation "topic.function" and its reference. Raises Usage."""
    from derivations.__main__ import topics

    known = {o.name: o for t in topics() for o in import_module(f"verify.{t}").OPERATIONS}
    if name not in known:
        raise Usage(f"unknown operation {name!r}: expected one of {', '.join(known)}")
    topic, _, function = name.partition(".")
    return known[name], getattr(import_module(f"reference.{topic}"), function)


def check(
    target: str,
    name: str,
    dtype: str = "float32",
    *,
    framework: str = "auto",
    mapping: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    count: int = 40,
    limit: float = 20.0,
    grad: bool = False,
) -> Report:
    """Hold the function `target` ("file.py:name" or "module:name") to the operation `name`.

    The strictest contract that holds is reported, with the operation's own convention before others in use. `mapping`
    gives their name of our argument, `fixed` arguments that we do not have. With `grad` it is the gradients that are
    judged, by torch's autograd or jax.vjp. Raises Usage, Unusable.
    """
    operation, reference = find(name)
    report = Report(name, target, dtype)
    worker = Worker(target, framework, limit)
    try:
        positional, named = match(reference, worker.parameters, mapping or {}, fixed or {})
        passed = [*positional, *named.values()]
        report.skipped = [n for n in inspect.signature(reference).parameters if n not in passed]
        tried = cases(operation, passed, reference, DTYPES[dtype], count)
        slopes = tuple(name for name in operation.gradients if name in passed) if grad else ()
        if grad and not slopes:
            raise Usage(f"--grad: {name} has no derivative by the arguments that the function takes")
        if grad:
            tried = [with_cotangent(reference, inputs, DTYPES[dtype]) for inputs in tried]
        farthest = Run(Tally(), Judge(reference, worker, positional, named, fixed or {}, contracts(DTYPES[dtype])[0]))
        for contract in contracts(DTYPES[dtype]):
            judge = Judge(reference, worker, positional, named, fixed or {}, contract, operation.unit, slopes)
            report.contract = str(contract)
            for convention, f in {"": reference, **operation.conventions}.items():
                found = run(replace(judge, reference=f), tried)
                report.cases, report.tally = found.cases, found.tally
                if found.why is None:
                    report.verdict, report.convention = "conforms", convention
                    return settled(report)
                if found.cases >= farthest.cases or convention == "":  # the reading that it follows longest
                    farthest = found
                if worker.process is None:  # what crashes or hangs is not tried again
                    explain(report, operation, farthest, tried)
                    return report
        explain(report, operation, farthest, tried)
        return report
    finally:
        worker.stop()


@dataclass
class Run:
    """How far the cases went: the first one that failed, how it was called, and why it failed."""

    tally: Tally
    judge: Judge
    cases: int = 0
    failed: dict[str, Any] = field(default_factory=dict)
    why: str | None = None


def run(judge: Judge, tried: Sequence[dict[str, Any]]) -> Run:
    """Every case until one fails; every third on transposed memory, every fifth twice."""
    seen = Run(Tally(), judge)
    for number, inputs in enumerate(tried, 1):
        seen.cases, seen.failed = number, inputs
        seen.judge = replace(judge, strided=number % 3 == 0)
        seen.why = seen.judge.complaint(inputs, seen.tally)
        if seen.why is None and number % 5 == 0:
            seen.why = repeated(seen.judge, inputs)
        if seen.why:
            break
    return seen


def repeated(judge: Judge, inputs: Mapping[str, Any]) -> str | None:
    """Is the result on equal inputs the same bytes again?"""
    try:
        first, second = (judge.outputs(inputs, poisoned=False)[0] for _ in range(2))
    except Ended as ended:
        return f"on inputs that it has answered before: {ended}"
    alike = len(first) == len(second) and all(map(torch.equal, *([bits(x) for x in xs] for xs in (first, second))))
    return None if alike else "two calls on the same inputs give different results"


def settled(report: Report) -> Report:
    """A function that mostly could not be judged is not said to conform."""
    seen = report.tally
    if seen.vacuous > seen.entries // 2:
        report.verdict = "undecided"
        report.why = f"too ill-conditioned to judge: {seen.vacuous} of {seen.entries} entries could be anything"
    else:
        report.why = ""
    return report


def explain(report: Report, operation: Operation, found: Run, tried: Sequence[dict[str, Any]]) -> None:
    """Refuted: the least counterexample, a snippet that shows it again, and the known mistakes that do the same."""
    judge, least = found.judge, found.failed
    report.verdict, report.why, report.cases, report.tally = "refuted", found.why or "", found.cases, found.tally
    if judge.worker.process is not None and judge.complaint(least):
        least = simplified(least, judge.complaint)
        report.why = judge.complaint(least, report.tally) or report.why
    report.counterexample = {n: show(x) for n, x in least.items()}
    report.snippet = snippet(report.candidate, judge, least)
    if report.why.startswith("at "):
        report.diagnosis = diagnose(operation, judge, [least, found.failed], tried)


def assert_conforms(target: str, name: str, dtype: str = "float32", **options: Any) -> None:
    """For a test suite: AssertionError, with the report's lines, unless `check` says that the function conforms."""
    from verify.tell import lines

    report = check(target, name, dtype, **options)
    assert report.verdict == "conforms", "\n".join(lines(report))
