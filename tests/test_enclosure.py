"""Enclosures prove what holds on an interval, and nothing else."""

import pytest
from sympy import Interval, Rational, S, exp, sign, sin, sqrt

from derivations import enclosure
from derivations.forms import Within, below, le
from tests.statements import judged, x


def test_enclosure_proves_a_transcendental_inequality_and_not_a_false_one():
    declaration = {
        "scope": "enclosed",
        "why": "on an interval",
        "domains": {x: Interval(0, 1)},
    }
    within = Within(x, 0, 1)
    held = judged(lambda e: below(sin(x) - e, le(x + Rational(1, 100) - 2 * e, "enclosed", by=within)), **declaration)
    assert held["verdict"] == "holds", held["message"]
    false = judged(lambda e: below(sin(x), le(x - Rational(1, 100) + e, "enclosed", by=within)), **declaration)
    assert false["verdict"] == "refuted"
    touching = judged(lambda e: below(sin(x) + e, le(x, "equality at 0 cannot be enclosed", by=within)), **declaration)
    assert touching["verdict"] == "undecided"
    part = judged(lambda e: below(sin(x) - e, le(x + 1 - e, "half of it", by=Within(x, 0, S.Half))), **declaration)
    assert part["verdict"] == "rejected" and "from 0 to 1/2, but x is in Interval(0, 1)" in part["message"]


ABOVE = {
    "so little that plain balls would need ten million cells": (
        x - x**3 / 6 + x**5 / 120 + Rational(1, 10**7) - sin(x),
        True,
    ),
    "a kink, where there is no slope": (abs(x - Rational(1, 3)) + Rational(1, 1000), True),
    "a kink that reaches below zero": (abs(x - Rational(1, 3)) - Rational(1, 1000), False),
    "a slope without bound": (sqrt(x) + Rational(1, 1000), True),
    "a slope without bound, and below zero": (sqrt(x) - Rational(1, 1000), False),
    "a pole inside": (1 / (x - Rational(1, 3)) ** 2 - 2, False),
    "a step": (sign(x - Rational(1, 3)) + 1, False),
    "a dip between the middle and the edge": ((x - Rational(1, 7)) ** 2 - Rational(1, 10**5), False),
    "nothing that varies": (exp(x - x) / 2, True),
}


@pytest.mark.parametrize("name", ABOVE)
def test_an_enclosure_uses_slopes_where_there_are_any(name, monkeypatch):
    monkeypatch.setattr(enclosure, "CELLS", 2000)
    gap, expected = ABOVE[name]
    assert enclosure.encloses(gap, Within(x, 0, 1)) == expected
