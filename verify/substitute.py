"""Loaded first in a process of somebody's tests: puts a known mistake in place of their function, once it is imported.

Python imports a module named sitecustomize at its start; `verify audit` writes one that calls `install`.
"""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any


def wrong(operation: str, mutant: str) -> Callable[..., Any]:
    """The function named `mutant` among the mistakes of an operation; the reference itself for an empty name."""
    from verify.mistake import mutants

    topic, _, name = operation.partition(".")
    if not mutant:
        return getattr(import_module(f"reference.{topic}"), name)
    return next(m for m in mutants(operation) if m.__name__ == mutant)


def stand_in(theirs: Callable[..., Any], operation: str, mutant: str) -> Callable[..., Any]:
    """A function with their arguments that computes the mistake."""
    from verify.cases import match
    from verify.signature import parameters

    positional, named = match(wrong(operation, ""), parameters(theirs), {})
    order = list(inspect.signature(theirs).parameters)
    ours = dict(zip(order, positional, strict=False)) | named

    @wraps(theirs)
    def substituted(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(theirs).bind(*args, **kwargs).arguments
        return wrong(operation, mutant)(**{ours[name]: value for name, value in bound.items() if name in ours})

    return substituted


def install(module: str, attribute: str, operation: str, mutant: str) -> None:
    """From now on the import of `module` is followed by the substitution."""
    plain = builtins.__import__

    def importing(*args: Any, **kwargs: Any) -> Any:
        found, there = plain(*args, **kwargs), sys.modules.get(module)
        ready = hasattr(there, attribute) and not getattr(getattr(there, "__spec__", None), "_initializing", False)
        if ready and builtins.__import__ is importing:
            builtins.__import__ = plain
            setattr(there, attribute, stand_in(getattr(there, attribute), operation, mutant))
        return found

    builtins.__import__ = importing
