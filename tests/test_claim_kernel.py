"""The kernel itself: true claims hold, false ones are refuted, hard ones stay undecided."""

from fractions import Fraction

import pytest
from flint import acb, arb
from sympy import Abs, Derivative, Integer, Interval, Product, Rational, Sum, cos, exp, log, pi, sign, sin, sqrt

from derivations.claim import claim, run
from derivations.expectation import E
from derivations.forms import below, eq, equal, expect, finite, induct, le, ne, optimal
from derivations.normal import Before
from derivations.points import Point, evaluate
from derivations.positive import TangentGap, is_nonnegative, is_positive, z3_proves
from tests.statements import LAW, MU, WRONG, a, c, i, j, judged, k, n, p, s, t, u, verdict, x, y

# ---- the six forms: the truth holds, a falsehood is refuted with a witness

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


def test_a_middle_step_is_checked_though_the_ends_agree():
    row = judged(lambda e: equal((x + 1) ** 2, eq(x**2 + 1, "forgot 2x"), eq(x**2 + 2 * x + 1 + e, "found again")))
    assert row["verdict"] == "undecided" and "step 1" in row["message"]


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


def test_z3_knows_absolute_values():
    assert z3_proves(Abs(x + p) + Abs(x - 1) - Abs(x) - Abs(x + p - 1)), "convex: p > 0"
    assert not z3_proves(Abs(x + y) + Abs(x - 1) - Abs(x) - Abs(x + y - 1)), "y may be negative"
    assert z3_proves(Abs(x) + Abs(y) - Abs(x + y)) and not z3_proves(Abs(x + y) - Abs(x) - Abs(y))
    assert z3_proves(Abs(Abs(x) - 1) + 1 - x) and not z3_proves(Abs(Abs(x) - 1) - x)
    assert z3_proves(Abs(exp(x))) is None and z3_proves(Abs(x) + exp(x)) is None, "not rational: it does not apply"
