"""Certified enclosures: an inequality in one variable on an interval, by bisection in Arb balls.

A cell is done when the ball of the gap is positive, or that of its linear form: the gap in the middle, plus the slope
over the whole cell times its radius. By the mean value theorem that holds wherever there is a slope; where there is
none, its ball is not finite or cannot be had.
"""

from flint import acb, acb_series, arb, fmpq
from sympy import Rational

from derivations.points import Point, evaluate

CELLS = 8000


def encloses(gap, within):
    """Is `gap` > 0 for every value of `within.variable` in [low, high]? False means: not shown with 8,000 cells."""
    cells = [(Rational(within.low), Rational(within.high))]
    for _ in range(CELLS):
        if not cells:
            return True
        low, high = cells.pop()
        middle, radius = (low + high) / 2, _rational((high - low) / 2)
        cell = acb(arb(_rational(middle), radius))
        if _positive(_at(gap, within.variable, cell)):
            continue
        inside = _at(gap, within.variable, acb(_rational(middle)))
        if inside.is_finite() and bool(inside.real < 0):
            return False
        slope = _slope(gap, within.variable, cell)
        if slope is None or not _positive(inside + slope * arb(0, radius)):
            cells += [(low, middle), (middle, high)]
    return False


def _at(gap, variable, where):
    point = Point(None)
    point.values[variable] = where
    return evaluate(gap, point)


def _slope(gap, variable, cell):
    """A ball of the slope at every point of the cell, or None: a kink, or a division by what may be zero."""
    try:
        return _at(gap, variable, acb_series([cell, 1], prec=2))[1]
    except (TypeError, ValueError, AttributeError):
        return None


def _positive(value):
    return value.is_finite() and value.imag.contains(0) and bool(value.real > 0)


def _rational(x):
    return fmpq(int(x.p), int(x.q))
