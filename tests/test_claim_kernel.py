"""The kernel itself: true claims hold, false ones are refuted, hard ones stay undecided, empty ones are rejected."""

import random
from fractions import Fraction

import pytest
from flint import acb, arb
from sympy import (
    Derivative,
    Float,
    IndexedBase,
    Integer,
    Interval,
    KroneckerDelta,
    Product,
    Rational,
    S,
    Sum,
    Symbol,
    cos,
    exp,
    log,
    pi,
    sign,
    sin,
    sqrt,
)

from derivations import enclosure
from derivations.claim import claim, run
from derivations.expectation import E, Law, Var
from derivations.forms import Within, below, eq, equal, expect, finite, ge, induct, le, ne, optimal
from derivations.normal import Before
from derivations.points import Point, evaluate
from derivations.positive import TangentGap, is_nonnegative, is_positive

n, d = (Symbol(name, integer=True, positive=True) for name in "nd")
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
t = Symbol("t", integer=True, nonnegative=True)
x, y, s = (Symbol(name, real=True) for name in "xys")
p = Symbol("p", positive=True)
a, b, z = (IndexedBase(name, real=True) for name in "abz")
u, c = (IndexedBase(name, positive=True) for name in "uc")
WRONG = {"off by one": {"shift": 1}}


def judged(build, **declaration):
    """The row of a claim whose body is `build(shift)`, with one mistake: a shift by one."""

    def statement(shift=0):
        """A statement."""
        return build(shift)

    return run(claim(**{"source": "none", "mistakes": WRONG} | declaration)(statement))


def verdict(build, **declaration):
    return judged(build, **declaration)["verdict"]


# ---- the six forms: the truth holds, a falsehood is refuted with a witness

MU, NU = Symbol("mu", real=True), Symbol("nu", real=True)
LAW = Law(a, n, i, MU, NU, 0)
FORMS = {
    "equal": (lambda e: equal(Sum(a[i] + x, (i, 1, n)), eq(Sum(a[i], (i, 1, n)) + n * x + e, "linearity")), {}),
    "equal, derivative": (
        lambda e: equal(Derivative(Sum(a[i] ** 2, (i, 1, n)), a[k]), eq(2 * a[k] + e, "only i = k depends on a_k")),
        {"for_all": {k: n}},
    ),
    "equal, trigonometric": (lambda e: equal(cos(x) ** 2 + sin(x) ** 2, eq(1 + e * x, "Pythagoras")), {}),
    "equal, arithmetic series": (lambda e: equal(Sum(i, (i, 1, n)), eq(n * (n + 1) / 2 + e, "Faulhaber")), {}),
    "below, certified": (lambda e: below(2 * x * y, le(x**2 + y**2 - e, "a square", by=(x - y) ** 2 - e)), {}),
    "below, z3": (lambda e: below(x * (1 - x), le(Rational(1, 4) - e, "z3")), {}),
    "below, tangent": (
        lambda e: below(1 + x, le(exp(x) - e, "exp is convex", by=TangentGap.of(exp, 0, x) - e)),
        {"domains": {x: Interval(0, 5)}, "expected": "undecided"},
    ),
    "below, indicator": (
        lambda e: below(
            Sum(u[i], (i, 1, k)),
            le(Sum(u[i], (i, 1, n)) - e, "the rest", by=Sum(u[i] * (1 - Before(i, k)) ** 2, (i, 1, n)) - e),
        ),
        {"for_all": {k: n}},
    ),
    "induct": (
        lambda e: induct(a, t, start=1, step=2 * a[t], closed=lambda now: 2**now + e * now, reason="doubling"),
        {},
    ),
    "expect": (
        lambda e: expect(E(Sum(a[i], (i, 1, n))), eq(n * MU + e, "linearity"), laws=(LAW,)),
        {},
    ),
    "finite": (
        lambda e: finite((x + 1) ** 3, eq(x**3 + 3 * x**2 + 3 * x + 1 + e, "degree 3: four points"), degree={x: 3}),
        {},
    ),
    "finite, cases": (
        lambda e: finite(x**2 - x, ne(2 * e - 2, "neither is 2"), cases=[{x: Integer(0)}, {x: Integer(1)}]),
        {},
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_truth_holds(name):
    build, options = FORMS[name]
    expected = options.get("expected", "holds")
    row = judged(build, **{key: value for key, value in options.items() if key != "expected"})
    assert row["verdict"] == expected, row["message"]
    if expected == "holds":
        assert row["mistakes"][0]["verdict"] == "refuted" and row["mistakes"][0]["witness"]
        assert all(step["latex"] and step["reason"] for step in row["steps"])


@pytest.mark.parametrize("name", [name for name, (_, options) in FORMS.items() if "expected" not in options])
def test_falsehood_is_refuted(name):
    build, options = FORMS[name]
    row = judged(lambda e: build(e + 1), **options)
    assert row["verdict"] == "refuted" and row["message"]


def gibbs(shift):
    """Σ c log p under Σ p = 1 is largest at p = c/Σc, shifted when wrong."""
    total = Sum(c[j], (j, 1, n))

    def at(w):
        return (c[w] + shift) / (total + n * shift)

    gap = Sum(c[i] * TangentGap.of(lambda r: -log(r), 1, u[i] / at(i)), (i, 1, n))
    likelihood = Sum(c[i] * log(u[i]), (i, 1, n))
    return optimal(likelihood, u, at=at, gap=gap, feasible=(Sum(at(i), (i, 1, n)), 1), reason="Gibbs")


def test_optimum_is_proved_and_a_false_one_refuted():
    declaration = {"sums": {Sum(u[i], (i, 1, n)): s}, "given": {s: 1}}
    assert verdict(gibbs, **declaration) == "holds"
    assert verdict(lambda e: gibbs(e + 1), **declaration) == "refuted"


def test_stationary_point_that_is_no_maximum_is_refuted():
    """x³ − 3x is stationary at −1 and largest there among its neighbours only."""
    f = a[i] ** 3 - 3 * a[i]
    total, gap = Sum(f, (i, 1, n)), Sum(2 - f, (i, 1, n))
    row = judged(lambda e: optimal(total + e, a, lambda w: Integer(-1), gap, feasible=(n - n, 0), reason="f' = 0"))
    assert row["verdict"] == "refuted"


# ---- undecided is neither holds nor refuted


@pytest.mark.parametrize(
    "build",
    [
        lambda e: equal(Sum(1 / (i * (i + 1)), (i, 1, n)), eq(n / (n + 1) + e, "telescoping, which we cannot do")),
        lambda e: below(x, le(exp(x) - e, "no certificate, and z3 knows no exponential")),
        lambda e: below(sin(x), le(1 - e, "no certificate")),
    ],
    ids=["a telescoping sum", "an exponential bound", "a sine bound"],
)
def test_true_but_beyond_us_is_undecided(build):
    row = judged(build)
    assert row["verdict"] == "undecided" and "resists" in row["message"]


def test_an_indicator_is_nonnegative_and_nothing_more():
    assert is_nonnegative(Before(i, k)) and is_nonnegative((1 - Before(i, k)) ** 2)
    assert not is_positive(Before(i, k)) and not is_nonnegative(2 * Before(i, k) - 1)
    assert not is_nonnegative(-Before(i, k)) and not is_nonnegative(Sum(x * Before(i, k), (i, 1, n)))


def test_a_slope_at_a_pole_is_undefined_and_no_error():
    for pole in (1 / x, x**-2, 1 / sqrt(x), 1 / (exp(x) - 1)):
        point = Point(None)
        point.values[x] = Fraction(0)
        assert not evaluate(Derivative(pole, x), point).is_finite()


def test_the_sign_of_what_may_be_zero_is_unknown():
    point = Point(None)
    point.values[x] = acb(arb(0, 1))
    assert not evaluate(sign(x), point).is_finite()
    point.values[x] = Fraction(0)
    assert evaluate(sign(x), point) == 0


def test_almost_true_is_not_true():
    """π to sixty digits, as a fraction, is not π: our arithmetic cannot tell, so nothing is proved."""
    almost = Rational(str(pi.n(60)))
    row = judged(lambda e: equal(x * pi, eq(x * almost + e, "sixty digits")))
    assert row["verdict"] == "undecided"


def test_a_floating_point_number_is_refused():
    row = judged(lambda e: equal(x / 10 * 10 + y, eq(x * Float(0.1) * 10 + y + e, "a tenth is no binary fraction")))
    assert row["verdict"] == "rejected" and "exact" in row["message"]


def test_an_error_in_the_body_is_told():
    row = judged(lambda e: equal(x, eq(x.no_such_attribute, "")))
    assert row["verdict"] == "rejected" and "no_such_attribute" in row["message"]


def test_a_middle_step_is_checked_though_the_ends_agree():
    row = judged(lambda e: equal((x + 1) ** 2, eq(x**2 + 1, "forgot 2x"), eq(x**2 + 2 * x + 1 + e, "found again")))
    assert row["verdict"] == "undecided" and "step 1" in row["message"]


@pytest.mark.parametrize("middle, holds", [(x**2 + 2 * y, True), (x**2 + 3 * y, False)])
def test_a_number_given_is_used_only_where_its_symbol_vanishes(middle, holds):
    """(x + y)² − y² = x² + 2xy, with y free while it is written, and zero where it is gone."""
    row = judged(lambda e: equal((x + y) ** 2 - y**2 - 2 * (x - 1) * y, eq(middle, ""), eq(x**2 + e, "")), given={y: 0})
    assert (row["verdict"] == "holds") is holds and ("step 1" in row["message"]) is not holds


# ---- a claim that says nothing is rejected, and told why

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


# ---- hypotheses


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


# ---- scopes


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


@pytest.mark.parametrize(("sizes", "expected"), [([3], "holds"), ([2, 3], "holds"), ([3, 4], "refuted")])
def test_instances_are_judged_at_their_sizes_only(sizes, expected):
    """n! = 4n − 6 for n = 2 and 3, and not for 4."""
    row = judged(
        lambda e: equal(Product(i, (i, 1, n)), eq(4 * n - 6 + e, "a line through two points")),
        sizes={n: sizes},
        scope="instances",
        why="two sizes, as an example",
    )
    assert row["verdict"] == expected, row["message"]


# ---- the same object is proved, printed and evaluated


def test_nothing_is_evaluated_before_the_run():
    part = equal(Sum(a[i], (i, 1, 3)), eq(a[1] + a[2] + a[3], "written out"))
    assert isinstance(part.start, Sum)
    assert run(claim(source="none", mistakes=WRONG)(_written_out))["verdict"] == "holds"


def _written_out(shift=0):
    """A sum of three terms."""
    return equal(Sum(a[i], (i, 1, 3)), eq(a[1] + a[2] + a[3] + shift, "written out"))


def test_two_runs_agree():
    build, options = FORMS["equal, derivative"]
    first, second = judged(build, **options), judged(build, **options)
    assert {k: v for k, v in first.items() if k != "seconds"} == {k: v for k, v in second.items() if k != "seconds"}
