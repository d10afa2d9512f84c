"""Closed forms of the derivations as numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

from sympy import Expr, lambdify


def evaluated(formula: Expr, **sizes: Any) -> Any:
    """A polynomial of the derivations at these sizes, by letter: exact for integers, fractions and symbols."""
    function, letters = _function(formula)
    return function(*(sizes[letter] for letter in letters))


@cache
def _function(formula: Expr):
    letters = sorted(formula.free_symbols, key=str)
    return lambdify(letters, formula, modules=[]), [letter.name for letter in letters]
