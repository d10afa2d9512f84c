"""python -m verify run [TOPIC…] [--quick] [--json] [--out FOLDER] · check · audit · ops: see --help

Exit 0 nothing refuted or undecided, 1 otherwise, 2 usage, 3 incomplete, 130 interrupted (run again to go on).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from derivations.__main__ import topics

MARKS = {"passed": ("✓", "green"), "failed": ("✗", "bold red"), "not run here": ("–", "yellow")}
QUICK = 8


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m verify", description="Prove, refute, cross-check: the live ledger."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="prove and check everything, or some topics, and write the ledger")
    run.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(topics())}, all if none is named; kernels: if named"
    )
    run.add_argument("--quick", action="store_true", help="claims, laws and mutants; no twins, gradients or articles")
    run.add_argument("--json", action="store_true", help="print the ledger as JSON and nothing else")
    run.add_argument(
        "--out", default=".", metavar="FOLDER", help="where ledger.json and report.html go (default: here)"
    )
    ops = commands.add_parser("ops", help="list the operations: signature, conventions, laws, mutants, contracts")
    ops.add_argument("--json", action="store_true")
    check = commands.add_parser("check", help="is somebody's function the operation? A counterexample if not")
    check.add_argument("operation", help="topic.function, see ops")
    check.add_argument("function", metavar="FILE:FUNCTION", help="path/file.py:name or pkg.module:name")
    check.add_argument("--dtype", choices=("float64", "float32", "float16", "bfloat16"), default="float32")
    check.add_argument("--framework", choices=("auto", "torch", "numpy", "jax"), default="auto")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    check.add_argument("--map", **several, metavar="OURS=THEIRS", help="their name of our argument")
    check.add_argument("--with", **several, metavar="NAME=VALUE", dest="fixed", help="an argument that we do not have")
    check.add_argument("--grad", action="store_true", help="judge the gradients (torch autograd, jax.vjp)")
    check.add_argument(
        "--backward", default="", metavar="NAME", help="their function beside it of (cotangent, arguments…) → gradients"
    )
    check.add_argument("--sizes", **several, metavar="K=64,128", help="try these lengths of axes only")
    check.add_argument("--head-dim", metavar="64,128", help="short for --sizes K=64,128")
    check.add_argument(
        "--batch-axes", type=int, metavar="N", help="so many axes before those with a letter of their own"
    )
    check.add_argument("--out", default="", metavar="NAME,…", help="their arguments that the results are written into")
    check.add_argument("--device", default="cpu", help="where torch tensors lie: cpu, cuda, cuda:1 …")
    check.add_argument("--seed", type=int, default=0, help="other inputs (default 0)")
    check.add_argument("--count", type=int, default=60, help="cases to try (default 60)")
    check.add_argument("--limit", type=float, default=20.0, help="seconds that one call may take (default 20)")
    check.add_argument("--json", action="store_true")
    audit = commands.add_parser("audit", help="which known mistakes would your tests miss? (-- COMMAND)")
    audit.add_argument("operation", help="topic.function, see ops")
    audit.add_argument("--impl", required=True, metavar="MODULE:FUNCTION", help="what their tests call")
    audit.add_argument("--limit", type=float, default=300.0, help="seconds that their tests may take (default 300)")
    audit.add_argument("--json", action="store_true")
    end = argv.index("--") if argv[:1] == ["audit"] and "--" in argv else len(argv)
    options = parser.parse_args(argv[:end])
    options.tests = argv[end + 1 :]
    return options


def teller(quiet):
    """How to show one row: rich on a terminal, plain lines elsewhere, nothing with --json."""
    if quiet:
        return lambda row, number, total: None
    live = sys.stdout.isatty() and "CI" not in os.environ
    if live:
        from rich.console import Console

        console = Console(highlight=False)

    def tell(row, number, total):
        mark, colour = MARKS[row["status"]]
        best = row["evidence"][0]["class"] if row["evidence"] else row["status"]
        line = f"{number:3d}/{total} {mark} {row['id']:<46} {best:<22} {row['seconds']:6.2f} s"
        if live:
            from rich.markup import escape

            console.print(f"[{colour}]{escape(line)}[/]")
        else:
            print(line, flush=True)
        for problem in row["problems"]:
            print(f"        {problem}", flush=True)

    return tell


def run(options):
    known = [*topics(), "kernels"]
    unknown = [t for t in options.topics if t not in known]
    if unknown:
        print(f"unknown topic {unknown[0]!r}: expected one of {', '.join(known)}", file=sys.stderr)
        return 2
    out = Path(options.out)
    if not out.is_dir():
        print(f"--out {options.out}: expected an existing folder", file=sys.stderr)
        return 2
    started = time.perf_counter()
    try:
        if not options.json:
            print("loading torch and jax …", flush=True)
        from concurrent.futures.process import BrokenProcessPool

        from verify.ledger import build, profile_count
        from verify.report import write

        count = QUICK if options.quick else profile_count()
        ledger = build(options.topics, count, out, teller(options.json), options.quick)
        write(ledger, out / "report.html")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenProcessPool:
        kept = out / "ledger.partial.jsonl"
        print(f"a process died, perhaps for want of memory: the rows so far are in {kept}; run again", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print(
            f"\ninterrupted: the rows so far are kept in {out / 'ledger.partial.jsonl'}; run again to go on",
            file=sys.stderr,
        )
        return 130
    if options.json:
        print(json.dumps(ledger, indent=1, ensure_ascii=False))
    else:
        s = ledger["summary"]
        print(
            f"\n{s['claims proved']} of {s['claims']} claims proved, {s['mistakes refuted']} mistakes refuted by a "
            f"witness, {s['mutants killed']} mutants killed; rows: {s['passed']} passed, {s['failed']} failed, "
            f"{s['not run here']} not run here; {time.perf_counter() - started:.0f} s"
        )
        if options.quick:
            print("quick: twins, gradients, training and articles were not run")
        print(f"wrote {out / 'ledger.json'} and {out / 'report.html'}")
    return 1 if ledger["summary"]["failed"] else 0


def main(argv=None):
    options = parse(sys.argv[1:] if argv is None else argv)
    if options.command == "run":
        return run(options)
    if options.command == "check":
        from verify.worker import Worker

        asked = (options.function, options.framework, options.limit, options.device, options.backward)
        worker = Worker(*asked) if ":" in options.function else None  # it loads while we do
        from verify.tell import main as check

        return check(options, worker)
    if options.command == "audit":
        from verify.audit import main as audit

        return audit(options)
    from verify.tell import operations

    return operations(options.json)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever reads our lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
