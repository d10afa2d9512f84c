"""Would somebody's tests see the known mistakes? Run them with each mistake in place of their function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from verify.cases import Usage, cases, match, on_the_whole
from verify.check import find
from verify.mistake import mutants
from verify.suite import departure
from verify.worker import Ended, Worker

ROOT = Path(__file__).parent.parent
CASES = 60


def passes(command: Sequence[str], implementation: str, operation: str, mutant: str, limit: float) -> bool:
    """Does the command succeed with the mistake in place? A command that runs out of time has seen it."""
    module, _, attribute = implementation.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        start = (
            f"from verify.substitute import install\ninstall({module!r}, {attribute!r}, {operation!r}, {mutant!r})\n"
        )
        Path(folder, "sitecustomize.py").write_text(start, encoding="utf-8")
        path = os.pathsep.join([folder, os.getcwd(), str(ROOT), os.environ.get("PYTHONPATH", "")])
        try:
            done = subprocess.run(
                command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        except OSError as error:
            raise Usage(f"{command[0]}: {error.strerror}") from None
    return done.returncode == 0


def visible(operation: str, implementation: str) -> list[Any]:
    """The mistakes that show at all through the arguments which the function takes."""
    about, reference = find(operation)
    worker = Worker(implementation)
    try:
        positional, named = match(reference, worker.parameters(), {})
    finally:
        worker.stop()
    tried = cases(about, [*positional, *named.values()], reference, torch.float64, CASES)

    def shows(mutant: Callable[..., Any]) -> bool:
        return any(departure(on_the_whole(mutant), on_the_whole(reference)(**e), e, about.unit) for e in tried)

    return [mutant for mutant in mutants(operation) if shows(mutant)]


def audit(
    operation: str, implementation: str, command: Sequence[str], limit: float, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """[{id, seen, noticed}, …] for every known mistake of the operation that shows through the function's arguments.

    The command must pass with the function as it is and with the reference in its place. Raises Usage.
    """
    find(operation)
    if ":" not in implementation:
        raise Usage(f"--impl {implementation}: expected MODULE:FUNCTION")
    if not command:
        raise Usage("expected the command of your tests after --")
    try:
        plain = subprocess.run(command, capture_output=True, timeout=limit, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Usage(f"{command[0]}: {error}") from None
    if plain != 0:
        raise Usage(f"the tests fail as they are (exit {plain}): nothing can be learned from their failing")
    if not passes(command, implementation, operation, "", limit):
        raise Usage("the tests fail with our reference in its place: check the function first, its convention differs")
    found = []
    for mutant in visible(operation, implementation):
        noticed = not passes(command, implementation, operation, mutant.__name__, limit)
        found.append({"id": mutant.mistake.id, "seen": mutant.mistake.seen, "noticed": noticed})
        tell(f"{'✓ noticed    ' if noticed else '✗ not noticed'}  {mutant.mistake.id:<28} {mutant.mistake.seen}")
    return found


def main(options: Any) -> int:
    """Exit 0 if the tests notice every mistake, 1 if not, 2 for wrong usage."""
    try:
        say = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
        found = audit(options.operation, options.impl, options.tests, options.limit, say)
    except (Usage, Ended) as error:
        print(error, file=sys.stderr)
        return 2
    missed = sum(not entry["noticed"] for entry in found)
    if options.json:
        print(json.dumps({"schema": 1, "operation": options.operation, "mutants": found}, indent=1, ensure_ascii=False))
    else:
        print(f"\n{len(found) - missed} of {len(found)} known mistakes noticed, {missed} would pass your tests")
    return 1 if missed else 0
