"""A claim that says nothing is rejected, and told why."""

import pytest
from sympy import Derivative, Float, Integer, Interval, KroneckerDelta, Rational, Sum, cos, exp, sin, sqrt

from derivations.claim import claim, run
from derivations.forms import below, eq, equal, finite, ge, le
from tests.statements import WRONG, i, judged, k, n, x, y, z


def test_a_floating_point_number_is_refused():
    row = judged(lambda e: equal(x / 10 * 10 + y, eq(x * Float(0.1) * 10 + y + e, "a tenth is no binary fraction")))
    assert row["verdict"] == "rejected" and "exact" in row["message"]


def test_an_error_in_the_body_is_told():
    row = judged(lambda e: equal(x, eq(x.no_such_attribute, "")))
    assert row["verdict"] == "rejected" and "no_such_attribute" in row["message"]


LINEAR = {
    "one expression repeated": (lambda e: equal(x + e, eq(x, "the same")), {}, "repeats the expression"),
    "only numbers": (lambda e: equal(Integer(4) + e, eq(Rational(8, 2) + e, "")), {}, "repeats the expression"),
    "no symbols": (lambda e: below(sqrt(2) + e, le(2, "")), {}, "before any hypothesis"),
    "unused hypothesis": (
        lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + e, "")),
        {"given": {y: 1}},
        "y = 1 is not used",
    ),
    "unneeded hypothesis": (
        lambda e: equal((x + y) ** 2, eq(x**2 + 2 * x * y + y**2 + e, "")),
        {"given": {y: 1}},
        "y = 1 is not needed",
    ),
    "unneeded domain": (
        lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + e, "")),
        {"domains": {x: Interval(0, 1)}},
        "is not needed",
    ),
    "mistake of an unknown name": (
        lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + e, "")),
        {"mistakes": {"other": {"scale": 2}}},
        "which the claim does not have",
    ),
    "mistake that changes nothing": (
        lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1, "")),
        {},
        "changes nothing",
    ),
    "mistake that is also true": (
        lambda e: equal(sin(x + 2 * e * 0) ** 2, eq(1 - cos((-1) ** e * x) ** 2 + e - e, "")),
        {},
        "changes nothing",
    ),
    "no mistake": (lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1, "")), {"mistakes": {}}, "no mistake"),
    "no reason for a narrower scope": (
        lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + e, "")),
        {"scope": "instances"},
        "why=",
    ),
    "unknown scope": (
        lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + e, "")),
        {"scope": "everything"},
        "scope",
    ),
    "mixed directions": (lambda e: below(x, le(x + 1, ""), ge(x - 1 + e, "")), {}, "one direction"),
    "a derivative by a bound index": (
        lambda e: equal(
            Derivative(exp(z[i]) / Sum(exp(z[k]), (k, 1, n)), z[k]),
            eq(KroneckerDelta(i, k) * exp(z[i]) / Sum(exp(z[k]), (k, 1, n)) + e, "the cross term is lost"),
        ),
        {"for_all": {i: n, k: n}},
        "bound",
    ),
    "a degree that is exceeded": (
        lambda e: finite(x**3, eq(x**2 + e, ""), degree={x: 2}),
        {},
        "degree",
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_empty_claim_is_rejected(name):
    build, declaration, message = LINEAR[name]
    row = judged(build, **declaration)
    assert row["verdict"] == "rejected", (row["verdict"], row["message"])
    assert message in row["message"]


def test_empty_domain_is_rejected():
    from sympy import EmptySet

    row = judged(lambda e: equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + e, "")), domains={x: EmptySet})
    assert row["verdict"] == "rejected" and "domain" in row["message"]


def test_claim_without_docstring_is_rejected():
    def silent(shift=0):
        return equal((x + 1) ** 2, eq(x**2 + 2 * x + 1 + shift, ""))

    row = run(claim(source="none", mistakes=WRONG)(silent))
    assert row["verdict"] == "rejected" and "docstring" in row["message"]
