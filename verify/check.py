r"""Is somebody's function the operation? Cases, the interval each entry must lie in, and the least counterexample.

    y conforms  ⇔  RN(ref − e) ≤ y ≤ RN(ref + e) for every entry of every case,

where e is the bound that verify/rounding.py derives under a contract, and RN rounds to the dtype of the result.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import torch

from verify.compare import show
from verify.contract import Contract, contracts
from verify.rounding import Ball, Undecided, bounds, interval
from verify.suite import Operation, examples, simplified
from verify.worker import Ended, Worker

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
COUNT = 40
VACUOUS = 2.0**-6
"""A bound above this and above the whole result says nothing about an entry."""
ALIASES = {
    "q": ("query", "Q"),
    "k": ("key", "K"),
    "v": ("value", "V"),
    "mask": ("attn_mask", "attention_mask"),
    "causal": ("is_causal",),
    "scale": ("softmax_scale", "sm_scale"),
    "z": ("logits", "input", "x", "scores"),
    "x": ("input", "hidden_states", "params", "theta"),
    "target": ("targets", "labels", "y"),
    "positions": ("position_ids", "pos"),
    "gradients": ("grads", "g"),
    "mu": ("momentum", "beta"),
}
"""Names under which people take our arguments."""


class Usage(Exception):
    """The candidate cannot be called as asked."""


@dataclass
class Report:
    """What a check found. `verdict` is conforms, refuted or undecided."""

    operation: str
    candidate: str
    dtype: str
    verdict: str = "undecided"
    contract: str = ""
    why: str = ""
    trace: str = ""
    counterexample: dict[str, str] = field(default_factory=dict)
    snippet: str = ""
    diagnosis: list[str] = field(default_factory=list)
    cases: int = 0
    entries: int = 0
    vacuous: int = 0
    worst: float = 0.0
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


def match(reference: Callable[..., Any], theirs: list[list[Any]] | None, given: Mapping[str, str]):
    """(ours passed by place, their name → ours) from the two signatures and from --map."""
    ours = inspect.signature(reference).parameters
    required = [name for name, p in ours.items() if p.default is p.empty]
    if unknown := [name for name in given if name not in ours]:
        raise Usage(f"--map {unknown[0]}: expected one of {', '.join(ours)}")
    if theirs is None:
        return required, {their: our for our, their in given.items()}
    free = {name: default for name, by_name, default in theirs if by_name}
    named: dict[str, str] = {}
    for our in ours:
        for their in (given[our],) if our in given else (our, *ALIASES.get(our, ())):
            if (their in free or our in given) and their not in named:
                named[their] = our
                break
    if not any(need not in named.values() for need in required):
        return [], named
    rest = {their: our for their, our in named.items() if our not in required}
    if len(theirs) < len(required):
        raise Usage(f"expected a function of {', '.join(required)}, received one of {len(theirs)} arguments")
    return required, {t: o for t, o in rest.items() if t not in [name for name, _, _ in theirs[: len(required)]]}


def regimes(inputs: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The inputs as drawn, and in turn: constant, tiny, zero, minus zero, one entry large, all offset."""
    kinds: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x,
        lambda x: x.flatten()[:1].expand(x.numel()).reshape(x.shape).clone(),
        lambda x: x * 2.0**-12,
        lambda x: x,
        lambda x: torch.where(torch.arange(x.numel()).reshape(x.shape) == x.numel() // 2, 64 * x, x),
        lambda x: torch.zeros_like(x),
        lambda x: x,
        lambda x: -torch.zeros_like(x),
    ]
    change = kinds[number % len(kinds)]
    floating = {n: x for n, x in inputs.items() if isinstance(x, torch.Tensor) and x.is_floating_point()}
    return {**inputs, **{name: change(x) if x.numel() else x for name, x in floating.items()}}


@dataclass
class Judge:
    """Calls the candidate on inputs in float64 that the io dtype holds exactly, and says what is wrong."""

    reference: Callable[..., Any]
    worker: Worker
    positional: list[str]
    named: Mapping[str, str]
    fixed: Mapping[str, Any]
    contract: Contract

    def narrow(self, inputs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
        return {n: x.to(dtype) if _floats(x) else x for n, x in inputs.items()}

    def outputs(self, inputs: Mapping[str, Any], strided: bool = False) -> tuple[list[torch.Tensor], list[str]]:
        passed = {*self.positional, *self.named.values()}
        given = {n: x for n, x in self.narrow(inputs, self.contract.io).items() if n in passed}
        sizes = [x.numel() for x in given.values() if isinstance(x, torch.Tensor)]
        return self.worker.call(
            self.positional, self.named, given, fixed=self.fixed, strided=strided, poison=max(sizes, default=0)
        )

    def expected(self, inputs: Mapping[str, Any], f: Callable[..., Any] | None = None) -> list[Ball]:
        return bounds(f or self.reference, dict(self.narrow(inputs, torch.float64)), self.contract)

    def complaint(self, inputs: Mapping[str, Any], strided: bool = False, report: Report | None = None) -> str | None:
        """What is wrong with the candidate on these inputs; None if nothing is."""
        try:
            results, changed = self.outputs(inputs, strided)
        except Ended as ended:
            if report is not None:
                report.trace = ended.trace
            return str(ended)
        if changed:
            return f"it changes its input {changed[0]}"
        balls = self.expected(inputs)
        if len(results) != len(balls):
            return f"it returns {len(results)} results, expected {len(balls)}"
        for result, ball in zip(results, balls, strict=True):
            if wrong := self.judge(result, ball, report):
                return wrong
        return None

    def judge(self, result: torch.Tensor, ball: Ball, report: Report | None = None) -> str | None:
        if result.shape != ball.value.shape:
            return f"shape {tuple(result.shape)}, expected {tuple(ball.value.shape)}"
        if result.dtype != self.contract.io and self.contract.io != torch.float64 and result.dtype != torch.float64:
            return f"dtype {result.dtype}, expected {self.contract.io}"
        low, high = interval(ball, self.contract)
        got = result.double()
        fine = ((got >= low) & (got <= high)) | (got.isnan() & ball.value.isnan())
        may_overflow = self.contract.stored == torch.float16
        fine |= (ball.error == torch.inf) & (got.isfinite() | may_overflow)  # counted as vacuous
        if report is not None:
            size = torch.where(ball.value.isfinite(), ball.value.abs(), 0).max() if got.numel() else torch.zeros(())
            vacuous = ball.error > size.clamp(min=VACUOUS)
            report.entries += got.numel()
            report.vacuous += int(vacuous.sum())
            used = (got - ball.value).abs() / torch.maximum(high - ball.value, ball.value - low).clamp(min=1e-300)
            used = used[fine & got.isfinite() & (ball.error > 0) & (ball.error < torch.inf)]
            report.worst = max(report.worst, float(used.max()) if used.numel() else 0.0)
        if fine.all():
            return None
        places = (~fine).nonzero()
        place = tuple(int(i) for i in places[0])
        allowed = f"[{low[place].item():.9g}, {high[place].item():.9g}]"
        share = f"; {len(places)} of {fine.numel()} entries are wrong" if fine.numel() > 1 else ""
        return f"at {list(place)}: got {got[place].item():.9g}, allowed {allowed}{share}"


def _floats(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def cases(operation: Operation, named: Sequence[str], reference: Callable[..., Any], io: torch.dtype, count: int):
    """The inputs to try, small ones first; an option the candidate lacks stays at its default."""
    defaults = {n: p.default for n, p in inspect.signature(reference).parameters.items() if p.default is not p.empty}
    fixed = {name: value for name, value in defaults.items() if name not in named}
    drawn: list[dict[str, Any]] = []
    for number, inputs in enumerate(examples(operation, count)):
        changed = defaults | regimes(inputs, number) | fixed
        held = {n: x.to(io).double() if _floats(x) else x for n, x in changed.items()}  # exact in the io dtype
        drawn.append(held)
    return sorted(drawn, key=lambda e: sum(x.numel() for x in e.values() if isinstance(x, torch.Tensor)))


def check(
    target: str,
    name: str,
    dtype: str = "float32",
    *,
    framework: str = "auto",
    mapping: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    count: int = COUNT,
    limit: float = 20.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Hold the function `target` ("file.py:name" or "module:name") to the operation `name`. Raises Usage, Unusable."""
    from verify.diagnose import conventions, diagnose

    operation, reference = find(name)
    io = DTYPES[dtype]
    report = Report(name, target, dtype)
    worker = Worker(target, framework, limit)
    try:
        positional, named = match(reference, worker.parameters, mapping or {})
        passed = [*positional, *named.values()]
        every = inspect.signature(reference).parameters
        report.skipped = [n for n in every if n not in passed]
        tried = cases(operation, passed, reference, io, count)
        for contract in contracts(io):  # from the strictest: the first that holds is the verdict
            judge = Judge(reference, worker, positional, named, fixed or {}, contract)
            report.contract = str(contract)
            failed = _first_failure(judge, tried, report, progress)
            if failed is None:
                report.verdict, report.why = "conforms", ""
                return _settled(report)
            if worker.process is not None and (followed := conventions(operation, judge, tried, report)):
                report.verdict, report.why = "conforms", f"by another convention: {followed}"
                return _settled(report)
        assert failed is not None
        report.verdict = "refuted"
        kind, alive = _kind(report.why), worker.process is not None  # what crashes or hangs is not tried again
        least = simplified(failed, lambda e: _kind(judge.complaint(e) or "") == kind) if alive else failed
        report.why = (judge.complaint(least) if alive else None) or report.why
        report.counterexample = {n: show(x) for n, x in least.items()}
        report.snippet = snippet(target, judge, least)
        report.diagnosis = diagnose(operation, judge, [least, failed], tried) if report.why.startswith("at ") else []
        return report
    finally:
        worker.stop()


def _first_failure(judge: Judge, tried: Sequence[dict[str, Any]], report: Report, progress) -> dict[str, Any] | None:
    report.cases = report.entries = report.vacuous = 0
    report.worst = 0.0
    for number, inputs in enumerate(tried, 1):
        progress(number, len(tried))
        try:
            why = judge.complaint(inputs, strided=number % 3 == 0, report=report)
        except Undecided:
            continue
        report.cases = number
        if why is None and number % 5 == 0:
            why = repeated(judge, inputs)
        if why:
            report.why = why
            return inputs
    return None


def repeated(judge: Judge, inputs: Mapping[str, Any]) -> str | None:
    """Is the result on equal inputs the same bytes again?"""
    first, second = judge.outputs(inputs)[0], judge.outputs(inputs)[0]
    same = all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(first, second, strict=True))
    return None if same else "two calls on the same inputs give different results"


def _settled(report: Report) -> Report:
    if report.entries and report.vacuous > report.entries // 2:
        report.verdict = "undecided"
        report.why = f"too ill-conditioned to judge: {report.vacuous} of {report.entries} entries could be anything"
    return report


def _kind(complaint: str) -> str:
    """Shrinking must not slip from one fault to another: a wrong number stays one, an exception its own type."""
    return re.split(r"[\[:;(\d]", complaint)[0]


def written(name: str, x: torch.Tensor) -> list[str]:
    """Python that makes a tensor: what sticks out of a constant, or all its entries."""
    entries, counts = x.flatten().unique(return_counts=True)
    others = (x != entries[counts.argmax()]).nonzero().tolist()
    if x.numel() <= 12 or len(others) > 6:
        text = re.sub(r"\b(inf|nan)\b", r"torch.\1", str(x.tolist()))
        return [f"{name} = torch.tensor({text}, dtype={x.dtype})"]
    common = re.sub(r"\b(inf|nan)\b", r"torch.\1", str(entries[counts.argmax()].item()))
    made = f"{name} = torch.full({tuple(x.shape)}, {common}, dtype={x.dtype})"
    return [made, *(f"{name}[{', '.join(map(str, i))}] = {x[tuple(i)].item()!r}" for i in others)]


def snippet(target: str, judge: Judge, inputs: Mapping[str, Any]) -> str:
    """Python that calls the candidate on the counterexample."""
    passed = [*judge.positional, *judge.named.values()]
    lines = ["import torch"]
    for name, x in judge.narrow(inputs, judge.contract.io).items():
        if name in passed:
            lines += written(name, x) if isinstance(x, torch.Tensor) else [f"{name} = {x!r}"]
    named = [f"{t}={o}" for t, o in judge.named.items()] + [f"{k}={v!r}" for k, v in judge.fixed.items()]
    return "\n".join([*lines, f"{target.rpartition(':')[2]}({', '.join([*judge.positional, *named])})"])


def assert_conforms(target: str, name: str, **options: Any) -> None:
    """For a test suite: raises AssertionError with the report's lines unless the function conforms."""
    from verify.tell import lines

    report = check(target, name, **options)
    assert report.verdict == "conforms", "\n".join(lines(report))
