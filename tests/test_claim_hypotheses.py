"""Every hypothesis of a claim is needed, and none is invented."""

import random

import pytest
from sympy import IndexedBase, Sum

from derivations.expectation import E, Law, Var
from derivations.forms import below, eq, equal, expect, le
from derivations.points import Point, evaluate
from tests.statements import LAW, MU, a, b, d, i, j, judged, n, p, s, x, y


@pytest.mark.parametrize("middle, holds", [(x**2 + 2 * y, True), (x**2 + 3 * y, False)])
def test_a_number_given_is_used_only_where_its_symbol_vanishes(middle, holds):
    """(x + y)² − y² = x² + 2xy, with y free while it is written, and zero where it is gone."""
    row = judged(lambda e: equal((x + y) ** 2 - y**2 - 2 * (x - 1) * y, eq(middle, ""), eq(x**2 + e, "")), given={y: 0})
    assert (row["verdict"] == "holds") is holds and ("step 1" in row["message"]) is not holds


def test_every_hypothesis_gets_its_own_witness():
    row = judged(
        lambda e: equal(Sum(a[i], (i, 1, n)) + y + e, eq(s, "y = 0 and the sum is s = 1")),
        sums={Sum(a[i], (i, 1, n)): s},
        given={y: 0, s: 1},
    )
    assert row["verdict"] == "rejected" and "s = 1 is not needed" in row["message"]
    row = judged(
        lambda e: equal(Sum(a[i], (i, 1, n)) + y + e, eq(1, "y = 0 and the sum is 1")),
        sums={Sum(a[i], (i, 1, n)): s},
        given={y: 0, s: 1},
    )
    assert row["verdict"] == "holds" and {need["name"] for need in row["needed"]} == {"y = 0", "s = 1"}


def test_a_row_with_a_declared_total_may_be_drawn_within_a_sum_over_its_own_index():
    A = IndexedBase("A", real=True)
    row = judged(
        lambda e: equal(
            Sum(i * Sum(A[i, j], (j, 1, n)), (i, 1, n)), eq(s * n * (n + 1) / 2 + e, "every row adds to s")
        ),
        sums={Sum(A[i, j], (j, 1, n)): s},
    )
    assert row["verdict"] == "holds" and row["mistakes"][0]["verdict"] == "refuted"


LIMITS = {"a table": ((j, 1, n), (i, 1, d)), "a column": ((i, 1, d),)}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_total_may_be_that_of_a_whole_table_or_of_a_column(limits):
    A = IndexedBase("A", real=True)
    total, value = Sum(A[i, j], *limits), s if len(limits) == 2 else n * s
    row = judged(
        lambda e: equal(Sum(A[i, j], (i, 1, d), (j, 1, n)), eq(value + e, "the sum by columns, in either order")),
        sums={total: s},
    )
    assert row["verdict"] == "holds", row["message"]
    assert row["mistakes"][0]["verdict"] == "refuted"
    false = judged(lambda e: equal(Sum(A[i, j], (j, 1, n)), eq(s + e, "but no row has it")), sums={total: s})
    assert false["verdict"] == "refuted"


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_table_that_is_drawn_has_its_total_and_its_sign(limits):
    A = IndexedBase("A", positive=True)
    for seed in range(20):
        point = Point(random.Random(seed), sums={Sum(A[i, j], *limits): p})
        point.values[j] = 1
        added = evaluate(Sum(A[i, j], *limits), point) - evaluate(p, point)
        assert added.contains(0) and all(bool(x.real > 0) for x in point.tables.values())


def test_a_domain_is_a_hypothesis():
    row = judged(lambda e: below(-p, le(0 - e, "p is positive", by=p - e)))
    assert row["verdict"] == "holds" and row["needed"][0]["name"] == "p > 0"


def test_independence_is_a_hypothesis():
    other = Law(b, n, i, 0, 1, 0)
    row = judged(
        lambda e: expect(
            Var(Sum(a[i] * b[i], (i, 1, n))), eq(n + e, "independent factors"), laws=(Law(a, n, i, 0, 1, 0), other)
        )
    )
    assert row["verdict"] == "holds", row["message"]
    assert "independence" in {need["name"] for need in row["needed"]}


def test_a_moment_that_is_not_declared_is_never_invented():
    """E[a³] does not follow from mean and variance."""
    row = judged(lambda e: expect(E(Sum(a[i] ** 3, (i, 1, n))), eq(n * MU**3 + e, "no"), laws=(LAW,)))
    assert row["verdict"] == "refuted"
