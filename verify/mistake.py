"""A mutant is a wrong implementation that says whose mistake it is: `mistake` attaches that, `mutants` finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import verify.mutant as package

Function = Callable[..., Any]


@dataclass(frozen=True)
class Mistake:
    """The operation it spoils, its identifier, where it was publicly seen, and how to repair it."""

    of: str
    id: str
    seen: str
    fix: str


def mistake(of: str, *, id: str, seen: str, fix: str) -> Callable[[Function], Function]:
    """Mark a function as a known mistake of the operation `of`, written "topic.function"."""

    def attach(wrong: Function) -> Function:
        wrong.__dict__["mistake"] = Mistake(of, id, seen, fix)
        return wrong

    return attach


def mutants(operation: str) -> list[Any]:
    """The mistakes of one operation, from `verify.mutant.<topic>` and the files `<topic>_….py` beside it."""
    topic = operation.partition(".")[0]
    beside = sorted(m.name for m in iter_modules(package.__path__) if m.name.startswith(f"{topic}_"))
    modules = [vars(import_module(f"verify.mutant.{name}")) for name in (topic, *beside)]
    functions = {id(f): f for module in modules for f in module.values()}.values()
    marked = [f for f in functions if isinstance(getattr(f, "mistake", None), Mistake)]
    return [f for f in marked if f.mistake.of == operation]
