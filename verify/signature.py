"""What a function says of itself: its parameters, their defaults, and the framework that it speaks of.

Light, and without anything of this repository: verify/candidate.py runs it beside the function that is judged.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys


def parameters(function):
    """[[name, may be passed by name, has a default], …], or None where a builtin, or *args, does not tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [[p.name, p.kind in named, p.default is not inspect.Parameter.empty] for p in found
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip


def defaults(function):
    """{name: default} of those that are numbers, truths, strings or None."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in found if p.default is None or type(p.default) in (bool, int, float, str)}


def framework_of(function):
    """torch, unless it is not loaded or the function, and what it calls in its module, speaks of jax alone."""
    spoken: set = set()
    read: set = set()
    unread = [function]
    while unread:
        body = unread.pop()
        body = inspect.unwrap(body.func if isinstance(body, functools.partial) else body)
        body = body if inspect.isroutine(body) else type(body).__call__
        code = getattr(body, "__code__", None)
        names = {line.argval for line in dis.get_instructions(code) if line.opname == "LOAD_GLOBAL"} if code else set()
        for name in names - read:
            used = getattr(body, "__globals__", {}).get(name)
            home = getattr(used, "__module__", None) or getattr(used, "__name__", "")
            spoken.add(str(home).partition(".")[0])
            unread += [used] if callable(used) and home == getattr(body, "__module__", "") else []
        read |= names
    if "jax" in sys.modules and "jax" in spoken and "torch" not in spoken:
        return "jax"
    return next((f for f in ("torch", "jax") if f in sys.modules), "numpy")
