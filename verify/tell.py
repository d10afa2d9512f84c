"""`check` and `ops` at the command line: their options, their lines, their exit codes."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from importlib import import_module

from verify.boundaries import computed
from verify.cases import Usage
from verify.check import DTYPES, Report, check, find
from verify.contract import contracts
from verify.mistake import mutants
from verify.worker import Ended, Worker

EXIT = {"conforms": 0, "refuted": 1, "undecided": 3}


def pairs(given: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE options. Raises Usage."""
    for item in given:
        if "=" not in item:
            raise Usage(f"{option} {item}: expected NAME=VALUE")
    return dict(item.split("=", 1) for item in given)


def value(text: str):
    """A number, truth or string as Python writes it, or else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def lengths(given: list[str], head_dim: str | None) -> dict[str, list[int]]:
    """--sizes K=64,128 T=16 and --head-dim 64,128 as {letter: lengths}. Raises Usage."""
    found: dict[str, list[int]] = {}
    for item in [*given, *([f"K={head_dim}"] if head_dim else [])]:
        letter, _, numbers = item.partition("=")
        if not letter.isalpha() or not all(part.isdigit() and int(part) for part in numbers.split(",")):
            raise Usage(f"--sizes {item}: expected a letter and positive numbers, as in K=64,128")
        found[letter] = [int(part) for part in numbers.split(",")]
    return found


def main(options, worker: Worker | None) -> int:
    """Check one function, which `worker` has begun to load, and print the report."""
    try:
        if worker is None:
            raise Usage(f"{options.function}: expected FILE:FUNCTION or MODULE:FUNCTION")
        if options.count < 1 or not options.limit > 0:
            raise Usage("--count and --limit: expected numbers above 0")
        report = check(
            options.function,
            options.operation,
            options.dtype,
            worker=worker,
            sizes=lengths(options.sizes, options.head_dim),
            leading=options.batch_axes,
            out=options.out.split(",") if options.out else (),
            backward=options.backward,
            seed=options.seed,
            mapping=pairs(options.map, "--map"),
            fixed={name: value(text) for name, text in pairs(options.fixed, "--with").items()},
            count=options.count,
            grad=options.grad,
        )
    except Usage as error:
        print(error, file=sys.stderr)
        return 2
    except Ended as error:
        print(f"{options.function}: {error}", file=sys.stderr)
        print(error.trace, file=sys.stderr, end="")
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if worker is not None:
            worker.stop()
    if options.json:
        print(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        print("\n".join(lines(report)))
    return EXIT[report.verdict]


def operations(as_json: bool) -> int:
    """List what can be checked."""
    listed = []
    for operation in (o for t in computed() for o in import_module(f"verify.{t}").OPERATIONS):
        _, reference = find(operation.name)
        listed.append(
            {
                "operation": operation.name,
                "statement": (inspect.getdoc(reference) or "").split("\n")[0],
                "signature": str(inspect.signature(reference)).replace("'", "").replace('"', ""),
                "conventions": list(operation.conventions),
                "laws": [law.__name__ for law in operation.laws],
                "mutants": [vars(m.mistake) for m in mutants(operation.name)],
                "contracts": [str(c) for dtype in DTYPES.values() for c in contracts(dtype, operation.exact)],
            }
        )
    if as_json:
        print(json.dumps({"schema": 1, "operations": listed}, indent=1, ensure_ascii=False))
        return 0
    for entry in listed:
        print(f"{entry['operation']}{entry['signature']}")
        print(f"    laws     {', '.join(entry['laws'])}")
        print(f"    mutants  {', '.join(m['id'] for m in entry['mutants'])}")
        if entry["conventions"]:
            print(f"    conventions  {'; '.join(entry['conventions'])}")
    return 0


def lines(report: Report) -> list[str]:
    """Verdict first, then why, the counterexample, the diagnosis, and how much was tried."""
    mark = {"conforms": "✓", "refuted": "✗", "undecided": "?"}[report.verdict]
    told = [f"{mark} {report.candidate} {report.verdict}: {report.operation}, contract {report.contract}"]
    if report.convention:
        told.append(f"  by a convention that is not our default: {report.convention}")
    if report.why:
        told.append(f"  {report.why.splitlines()[0]}")  # the rest stands in the traceback
    told += [f"    {name} = {value}" for name, value in report.counterexample.items()]
    told += [f"  {sentence}" for sentence in report.diagnosis]
    if report.verdict == "refuted" and not report.diagnosis:
        told.append("  no known mistake behaves like this")
    seen, of = report.tally, f" of {report.failing} that fail" if report.failing > 1 else ""
    worst = f"; the largest error is {seen.worst:.2f} of the bound" if seen.worst else ""
    told.append(f"  case {report.cases}, the first{of}" if report.verdict == "refuted" else
                f"  {report.cases} cases, {seen.entries} entries{worst}")  # fmt: skip
    if seen.vacuous:
        told.append(
            f"  {seen.vacuous} of these entries ({seen.vacuous / seen.entries:.1%}) were too ill-conditioned to judge"
        )
    told += [f"  suspect, though no proof: {sentence}" for sentence in report.suspicions]
    if report.cost and report.verdict == "conforms":
        told.append(f"  the bound took {report.cost:.0f} times as long as the float64 reference")
    if report.skipped:
        told.append(f"  not checked, for the function is not known to take it: {', '.join(report.skipped)}")
    told += [f"  not checked, since the function refuses it: {what}" for what in report.refused]
    told += [f"  when it is left out, {what}: every case gives it" for what in report.defaults]
    if report.snippet:
        told += ["  again:", *(f"    {line}" for line in report.snippet.splitlines())]
    if report.trace:
        told.append(
            f"  (it was called with arrays of {report.framework}: --framework gives others; what it supports in"
        )
        told.append("  part is tried in part: --sizes K=64,128 T=16, --head-dim 64, --batch-axes 2)")
        told += ["  the function's own traceback:", *(f"    {line}" for line in report.trace.rstrip().splitlines())]
    return told
