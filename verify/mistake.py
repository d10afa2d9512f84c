"""A mutant is a wrong implementation that says whose mistake it is: `mistake` attaches that, `mutants` finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

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
    """The mistakes of one operation, in the order in which `verify.mutant.<topic>` defines them."""
    topic = operation.partition(".")[0]
    functions = vars(import_module(f"verify.mutant.{topic}")).values()
    marked = [f for f in functions if isinstance(getattr(f, "mistake", None), Mistake)]
    return [f for f in marked if f.mistake.of == operation]
