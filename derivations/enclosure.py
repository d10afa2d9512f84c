"""Certified enclosures: an inequality in one variable on an interval, by bisection in Arb balls."""

from flint import acb, arb, fmpq
from sympy import Rational

from derivations.points import Point, evaluate

CELLS = 20000


def encloses(gap, within):
    """Is `gap` > 0 for every value of `within.variable` in [low, high]? False means: not shown with 20,000 cells."""
    cells = [(Rational(within.low), Rational(within.high))]
    for _ in range(CELLS):
        if not cells:
            return True
        low, high = cells.pop()
        middle = (low + high) / 2
        point = Point(None)
        point.values[within.variable] = acb(arb(_rational(middle), _rational((high - low) / 2)))
        value = evaluate(gap, point)
        if value.is_finite() and value.imag.contains(0) and bool(value.real > 0):
            continue
        if value.is_finite() and bool(value.real < 0):
            return False
        cells += [(low, middle), (middle, high)]
    return False


def _rational(x):
    return fmpq(int(x.p), int(x.q))
