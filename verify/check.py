r"""Is somebody's function the operation? Cases, the interval each entry must lie in, and the least counterexample.

    y conforms  ⇔  RN(ref − e) ≤ y ≤ RN(ref + e) for every entry of every case,

where e is the bound that verify/rounding.py derives under a contract, and RN rounds to the dtype of the result.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from verify.ask import Answer, Caller
from verify.cases import Usage, cases, match, on_the_whole, with_cotangent
from verify.compare import show
from verify.contract import contracts
from verify.diagnose import diagnose, option
from verify.draws import drawn_wrongly
from verify.grow import letters
from verify.judge import Reading, Run, Tally, follow, readings
from verify.rounding import NoRule
from verify.snippet import snippet
from verify.suite import Operation, simplified
from verify.suspect import lookalikes, suspicions
from verify.worker import Worker

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
PATIENCE = 3
"""Crashes and hangs after which nothing more is asked."""


@dataclass
class Report:
    """What a check found. `verdict` is conforms, refuted or undecided; a suspicion refutes nothing."""

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
    suspicions: list[str] = field(default_factory=list)
    trace: str = ""
    cases: int = 0
    failing: int = 0
    seed: int = 0
    tally: Tally = field(default_factory=Tally)
    skipped: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    framework: str = ""
    cost: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, **asdict(self)}


def find(name: str) -> tuple[Operation, Callable[..., Any]]:
    """The operation "topic.function" and its reference. Raises Usage."""
    from verify.boundaries import computed

    topic, _, function = name.partition(".")
    chosen = [topic] if topic in computed() else computed()
    known = {o.name: o for t in chosen for o in import_module(f"verify.{t}").OPERATIONS}
    if name not in known:
        raise Usage(f"unknown operation {name!r}: expected one of {', '.join(known)}")
    return known[name], getattr(import_module(f"reference.{topic}"), function)


def check(
    target: str,
    name: str,
    dtype: str = "float32",
    *,
    framework: str = "auto",
    device: str = "cpu",
    mapping: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Sequence[int]] | None = None,
    leading: int | None = None,
    out: Sequence[str] = (),
    backward: str = "",
    count: int = 60,
    limit: float = 20.0,
    seed: int = 0,
    grad: bool = False,
    worker: Worker | None = None,
) -> Report:
    """Hold the function `target` ("file.py:name" or "module:name") to the operation `name`.

    The strictest contract that holds is reported, with the operation's own convention before others in use. `mapping`
    gives their name of our argument, `fixed` arguments that we do not have, `sizes` the lengths of lettered axes,
    `leading` how many axes there are before these, `out` the arguments that they write their results into. With `grad`
    it is the gradients that are judged: by torch's autograd, jax.vjp, or the function named `backward` beside theirs.
    Raises Usage, Unusable.
    """
    worker = worker or Worker(target, framework, limit, device, backward)
    try:
        operation, reference = find(name)
        report = Report(name, target, dtype, seed=seed)
        io, started = DTYPES[dtype], time.perf_counter()
        positional, named = match(reference, worker.parameters(), mapping or {}, [*(fixed or {}), *out])
        report.framework = worker.framework
        passed = [*positional, *named.values()]
        report.skipped = [n for n in inspect.signature(reference).parameters if n not in passed]
        report.defaults = other_defaults(reference, named, worker.defaults)
        slopes = tuple(name for name in operation.gradients if name in passed) if grad or backward else ()
        if (grad or backward) and not slopes:
            raise Usage(f"--grad: {name} has no derivative by the arguments that the function takes")
        tried = cases(operation, passed, reference, io, count, sizes, seed, leading)
        if slopes:
            tried = [inputs for inputs in tried if all(isinstance(inputs[n], torch.Tensor) for n in slopes)]
            tried = [with_cotangent(reference, inputs, io) for inputs in tried]
        given = [] if slopes else tree_leaves(on_the_whole(reference)(**tried[0]))
        numbers = tuple(place for place, x in enumerate(given) if isinstance(x, float))
        caller = Caller(worker, io, positional, named, fixed or {}, slopes, tuple(out), numbers)
        if operation.draws and (wrong := drawn_wrongly(caller, reference, operation, tried, report)) is not None:
            report.verdict, report.why = ("refuted", wrong) if wrong else ("conforms", "")
            return report
        answers = supported(report, reference, ask(report, caller, reference, tried))
        try:
            verdict(report, operation, caller, reference, answers)
        except NoRule as gap:
            report.why = f"the bound cannot be derived: {gap}"
        report.cost = cost(reference, tried[-1], io, operation.exact) if not slopes else 0.0
        report.seconds = {"all": time.perf_counter() - started, "theirs": caller.seconds}
        return report
    finally:
        worker.stop()


def other_defaults(reference: Callable[..., Any], named: Mapping[str, str], theirs: Mapping[str, Any]) -> list[str]:
    """Numbers that stand for an argument left out, where theirs is not ours: no mistake, but worth a line."""
    ours = {our: p.default for our, p in inspect.signature(reference).parameters.items()}
    pairs = [(our, theirs[their], ours[our]) for their, our in named.items() if their in theirs]
    return [f"{our} is {x!r}, ours is {y!r}" for our, x, y in pairs if {type(x), type(y)} == {float} and x != y]


def ask(
    report: Report, caller: Caller, reference: Callable[..., Any], tried: Sequence[Mapping[str, Any]]
) -> list[Answer]:
    """The candidate's answers: every third case on transposed memory, which it may refuse, every fifth twice."""
    answers: list[Answer] = []
    ended = 0
    for number, inputs in enumerate(tried, 1):
        shapes = [(str(caller.io).removeprefix("torch."), list(x.shape)) for x in results(reference, caller, inputs)]
        answer = caller(inputs, strided=number % 3 == 0, twice=number % 5 == 0, shapes=shapes)
        if answer.raised and answer.strided and not (again := caller(inputs, shapes=shapes)).trouble:
            report.refused = [f"matrices that lie transposed in memory: {answer.trouble.splitlines()[0]}"]
            answer = again
        answers.append(answer)
        ended += caller.worker.process is None
        if ended >= PATIENCE:  # what crashes or hangs again and again is not asked for more
            break
    return answers


def supported(report: Report, reference: Callable[..., Any], answers: list[Answer]) -> list[Answer]:
    """Without what it refuses by an exception: masks of more axes than named ones, two options that it takes apart."""
    defaults = {n: p.default for n, p in inspect.signature(reference).parameters.items() if p.default is not p.empty}
    axes = letters(reference)

    def options(answer: Answer) -> set[str]:
        given = {n: answer.inputs.get(n, default) for n, default in defaults.items() if n not in report.skipped}
        return {n for n, x in given.items() if isinstance(x, torch.Tensor) or x != defaults[n]}

    def deep(answer: Answer) -> set[str]:
        found = set()
        for name in set(defaults) & set(axes):
            x, last = answer.inputs.get(name), [letter for letter in axes[name] if not letter.startswith("*")]
            if isinstance(x, torch.Tensor) and x.ndim > len(last):
                before = "×".join("1" if size == 1 else "n" for size in x.shape[: x.ndim - len(last)])
                found.add(f"{name} with {before} before {' '.join(last)}")
        return found

    for several, features in ((False, deep), (True, options)):
        raised, fine = [a for a in answers if a.raised], [a for a in answers if not a.raised]
        marked = [a for a in raised if len(features(a)) > several]
        sets = [features(a) for a in marked]
        for kind in [set.intersection(*sets)] if several and sets else [{f} for f in sorted(set().union(*sets))]:
            if fine and len(kind) > several and not any(kind <= features(a) for a in fine):
                why = next(a.trouble.splitlines()[0] for a in marked if kind <= features(a))
                report.refused.append(f"{' and '.join(sorted(kind))}{' together' * several}: {why}")
                answers = [a for a in answers if not (a.raised and kind <= features(a))]
    return answers


def results(reference: Callable[..., Any], caller: Caller, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Tensors of the shapes to write into; none when nobody writes into an argument."""
    return tree_leaves(on_the_whole(reference)(**inputs)) if caller.buffers and not caller.slopes else []


def verdict(
    report: Report, operation: Operation, caller: Caller, reference: Callable[..., Any], answers: list[Answer]
) -> None:
    """Conforms by the first reading that every answer follows; or refuted, by the one that they follow longest."""
    best: Run | None = None
    others = {name: f for name, f in operation.conventions.items() if option(name) not in caller.takes}
    more: dict[str, Any] = {"unit": operation.unit, "slopes": caller.slopes}
    more["within"] = operation.within
    more["way_back"] = operation.way_back if caller.slopes else None
    for reading in readings(reference, others, caller.io, operation.exact, **more):
        found = follow(reading, answers)
        if found.answer is None:
            report.contract, report.convention = str(reading.contract), reading.convention
            report.cases, report.tally, report.verdict = found.cases, found.tally, "conforms"
            if stays := found.tally.stays:
                report.convention = " and ".join(filter(None, [reading.convention, f"the result stays in {stays}"]))
            settle(report)
            report.suspicions = [*suspicions(reading, answers), *lookalikes(operation, reading, caller.takes, answers)]
            return
        if best is None or found.cases > best.cases or (found.cases == best.cases and not reading.convention):
            best = found
    assert best is not None and best.answer is not None
    explain(report, operation, caller, best, answers)


def settle(report: Report) -> None:
    """A function that mostly could not be judged is not said to conform."""
    seen = report.tally
    if seen.vacuous > seen.entries // 2:
        report.verdict = "undecided"
        report.why = f"too ill-conditioned to judge: {seen.vacuous} of {seen.entries} entries could be anything"


def explain(report: Report, operation: Operation, caller: Caller, found: Run, answers: Sequence[Answer]) -> None:
    """Refuted: the least counterexample, a snippet that shows it again, and the known mistakes that do the same."""
    assert found.answer is not None
    reading, failed = found.reading, found.answer
    report.verdict, report.why, report.trace = "refuted", found.why, failed.trace
    report.contract, report.convention = str(reading.contract), reading.convention
    report.cases, report.tally = found.cases, found.tally
    report.failing = sum(reading.complaint(a) is not None for a in answers)

    def complaint(inputs: Mapping[str, Any]) -> str | None:
        with suppress(ValueError):  # simpler inputs that the definition refuses are no counterexample
            return reading.complaint(caller(inputs, failed.strided)) if not caller.buffers else None
        return None

    least = dict(failed.inputs)
    if caller.worker.process is not None and not failed.trouble and complaint(least):
        least = simplified(least, complaint)
        report.why = complaint(least) or report.why
    report.counterexample = {n: show(x) for n, x in least.items()}
    report.snippet = snippet(report.candidate, caller, least, failed.strided)
    if report.why.startswith(("at ", "result ")):
        shrunk = [] if caller.buffers else [caller(least, failed.strided)]
        try:
            report.diagnosis = diagnose(operation, reading, caller.takes, [*shrunk, failed], answers)
        except TimeoutError:
            report.diagnosis = ["which known mistake this is was not found in a minute, and given up"]
        if caller.worker.process is not None and caller(failed.inputs, failed.strided, twice=True).trouble:
            report.diagnosis.append("two calls on these inputs give different results: it is not deterministic")


def cost(reference: Callable[..., Any], inputs: Mapping[str, Any], io: torch.dtype, exact: bool = False) -> float:
    """How many times as long as the float64 reference its bound takes, on one case."""
    reading = Reading(contracts(io, exact)[-1], "", reference)
    seconds = []
    for f in (lambda: reading.exact(**inputs), lambda: reading.expected(inputs)):
        taken = []
        for _ in range(4):  # the first is warming up
            started = time.thread_time()
            f()
            taken.append(time.thread_time() - started)
        seconds.append(min(taken))
    return seconds[1] / seconds[0]


def assert_conforms(target: str, name: str, dtype: str = "float32", **options: Any) -> None:
    """For a test suite: AssertionError, with the report's lines, unless `check` says that the function conforms."""
    from verify.tell import lines

    report = check(target, name, dtype, **options)
    assert report.verdict == "conforms", "\n".join(lines(report))
