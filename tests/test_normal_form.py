"""The normal form is sound: what it calls equal is equal at random points; and it sees the rewritings we promise."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sympy import Derivative, Dummy, I, IndexedBase, Integer, KroneckerDelta, Product, Sum, Symbol, cos, exp, log, sin

from derivations.normal import Before, Context, is_zero
from derivations.points import Inadmissible, Point, compare

n, m = (Symbol(name, integer=True, positive=True) for name in "nm")
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
t = Symbol("t", integer=True, nonnegative=True)
x, y = Symbol("x", real=True), Symbol("y", positive=True)
a, b = (IndexedBase(name, real=True) for name in "ab")
u = IndexedBase("u", positive=True)

quietly = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
INDICES = (i, j)


def differs(left, right):
    """A witness that two expressions differ, or None after twenty points."""
    for seed in range(20):
        try:
            witness = compare(left, "=", right, Point(random.Random(seed), sizes=1 + seed % 4))
        except Inadmissible:
            continue
        if witness:
            return witness
    return None


def bodies(index):
    """Products and sums of things that do, or do not, depend on the index."""
    leaves = st.sampled_from([a[index], b[index], x, y, Integer(2), u[index], index, n, exp(a[index]), y**index])
    return st.recursive(leaves, lambda inner: st.builds(lambda p, q, s: p * q + s, inner, inner, inner), max_leaves=5)


@st.composite
def expressions(draw):
    """Sums, products of sums and nested sums of random bodies."""
    single = st.builds(lambda body: Sum(body, (i, 1, n)), bodies(i))
    inner = st.builds(lambda body, factor: Sum(factor * Sum(body, (j, 1, n)), (i, 1, n)), bodies(j), bodies(i))
    parts = draw(
        st.lists(st.one_of(single, inner, bodies(k).map(lambda e: e.xreplace({k: n}))), min_size=1, max_size=3)
    )
    total = Integer(0)
    for part in parts:
        total = total * part if draw(st.booleans()) and total != 0 else total + part
    return total


def renamed(e):
    """The same with every bound index fresh: always equal."""
    return e.replace(
        lambda s: isinstance(s, Sum), lambda s: s.xreplace({v: Dummy(integer=True) for v in s.bound_symbols})
    )


def pulled_out(e):
    """One factor of each sum's body moved in front of it, whether or not it depends on the index: often wrong."""

    def pull(s):
        first, *rest = s.function.as_ordered_factors()
        body = Integer(1)
        for factor in rest:
            body *= factor
        return first.xreplace({v: Integer(1) for v in s.bound_symbols}) * Sum(body, *s.limits)

    return e.replace(lambda s: isinstance(s, Sum), pull)


def term_lost(e):
    """Every sum starts at two: wrong unless nothing was at one."""
    return e.replace(lambda s: isinstance(s, Sum), lambda s: Sum(s.function, *((v, 2, hi) for v, _, hi in s.limits)))


@quietly
@given(expressions(), st.sampled_from([renamed, pulled_out, term_lost]))
def test_what_is_called_equal_is_equal(e, rewrite):
    other = rewrite(e)
    if is_zero(e - other):
        assert differs(e, other) is None
    else:
        assert rewrite is not renamed, f"{e} and its renaming are not seen to be equal"


@quietly
@given(expressions(), bodies(k), bodies(k))
def test_distribution_is_seen(e, f, g):
    """e (f + g) = e f + e g: always true, and never confused with e f − e g."""
    assert is_zero(e * (f + g) - e * f - e * g)
    if is_zero(e * (f + g) - e * f + e * g):
        assert differs(e * g, Integer(0)) is None


TRUE = {
    "linearity": (Sum(a[i] + x * b[i], (i, 1, n)), Sum(a[i], (i, 1, n)) + x * Sum(b[i], (i, 1, n))),
    "exchange": (Sum(a[i] * b[j] * a[j], (i, 1, n), (j, 1, n)), Sum(a[i], (i, 1, n)) * Sum(a[j] * b[j], (j, 1, n))),
    "square of a sum": (Sum(a[i], (i, 1, n)) ** 2, Sum(a[i] * a[j], (i, 1, n), (j, 1, n))),
    "last term": (Sum(a[i], (i, 1, t + 1)), Sum(a[i], (i, 1, t)) + a[t + 1]),
    "last factor": (Product(a[i], (i, 1, t + 1)), Product(a[i], (i, 1, t)) * a[t + 1]),
    "last of nested sums": (
        Sum(exp(a[i] * b[j]), (j, 1, n), (i, 1, t + 1)),
        Sum(exp(a[i] * b[j]), (j, 1, n), (i, 1, t)) + Sum(exp(a[t + 1] * b[j]), (j, 1, n)),
    ),
    "m terms and n more": (Sum(a[i], (i, 1, m + n)), Sum(a[i], (i, 1, m)) + Sum(a[m + i], (i, 1, n))),
    "a block more": (
        Sum(a[i] * b[i], (i, 1, n * (t + 1))),
        Sum(a[i] * b[i], (i, 1, n * t)) + Sum(a[n * t + i] * b[n * t + i], (i, 1, n)),
    ),
    "delta": (Sum(KroneckerDelta(i, k) * a[i], (i, 1, n)), a[k]),
    "indicator": (Sum(Before(i, k) * a[i], (i, 1, n)), Sum(a[i], (i, 1, k))),
    "indicator, of a sum of naturals": (Sum(Before(i, j + t) * a[i], (i, 1, j + t + m)), Sum(a[i], (i, 1, j + t))),
    "geometric": (Sum(y**i, (i, 1, n)) * (1 - y), y - y ** (n + 1)),
    "geometric, of two bases": (Sum(y ** (i - 1) * x ** (n - i), (i, 1, n)) * (y - x), y**n - x**n),
    "geometric, twice": (
        Sum(Sum(y ** (j - 1) * x ** (n - 1 - j), (j, 1, i - 1)), (i, 1, n)) * (y - x) ** 2,
        y**n - x**n - n * x ** (n - 1) * (y - x),
    ),
    "nested fractions": (1 / (1 + 1 / (x + 1 / y)) ** 2, (x * y + 1) ** 2 / (x * y + y + 1) ** 2),
    "powers": (y ** (n + 1) * y ** (2 * n), y * y ** (3 * n)),
    "squares": (6 * Sum(i**2, (i, 1, n)), n * (n + 1) * (2 * n + 1)),
    "cubes": (Sum(i**3, (i, 1, n)), Sum(i, (i, 1, n)) ** 2),
    "logarithm": (log(u[i] ** 2 * u[j]), 2 * log(u[i]) + log(u[j])),
    "double angle": (cos(2 * x), 1 - 2 * sin(x) ** 2),
    "Euler": (exp(I * x), cos(x) + I * sin(x)),
    "softmax": (
        Derivative(exp(a[k]) / Sum(exp(a[i]), (i, 1, n)), a[k]),
        exp(a[k]) / Sum(exp(a[i]), (i, 1, n)) * (1 - exp(a[k]) / Sum(exp(a[j]), (j, 1, n))),
    ),
}


@pytest.mark.parametrize("name", TRUE)
def test_promised_rewritings_are_seen(name):
    left, right = TRUE[name]
    context = Context({k: n})
    assert is_zero(left - right, context)
    assert not is_zero(left - right - x, context)
    assert not is_zero(left - 2 * right, context)


FALSE = {
    "a sum of products is no product of sums": (
        Sum(a[i] * b[i], (i, 1, n)),
        Sum(a[i], (i, 1, n)) * Sum(b[i], (i, 1, n)),
    ),
    "a delta whose index may lie outside": (Sum(KroneckerDelta(i, m) * a[i], (i, 1, n)), a[m]),
    "an indicator whose index may be zero": (Sum(Before(i, t) * a[i], (i, 1, t + m)), Sum(a[i], (i, 1, t)) + a[t]),
    "an indicator from two on": (Sum(Before(i, j) * a[i], (i, 2, j + m)), Sum(a[i], (i, 1, j))),
    "two ranges": (Sum(a[i], (i, 1, n)), Sum(a[i], (i, 1, m))),
    "a logarithm of what may be negative": (log(x * y), log(x) + log(y)),
    "a root of what may be negative": ((x**2) ** Integer(1) / x, -x),
    "two tables": (Sum(a[i], (i, 1, n)), Sum(b[i], (i, 1, n))),
    "n rows more for the last row": (
        Sum(exp(a[i] * b[j]), (j, 1, n), (i, 1, t + 1)),
        Sum(exp(a[i] * b[j]), (j, 1, n), (i, 1, t)) + Sum(exp(a[i] * b[j]), (j, 1, n), (i, 1, n)),
    ),
    "n terms more from the start": (Sum(a[i], (i, 1, m + n)), Sum(a[i], (i, 1, m)) + Sum(a[i], (i, 1, n))),
    "n terms more, one too early": (Sum(a[i], (i, 1, m + n)), Sum(a[i], (i, 1, m)) + Sum(a[m + i - 1], (i, 1, n))),
    "a limit that may be below the cut": (Sum(a[i], (i, 1, m - n)), Sum(a[i], (i, 1, m)) + Sum(a[m + i], (i, 1, -n))),
    "a cut of a sum from zero": (Sum(a[i], (i, 0, m + n)), Sum(a[i], (i, 0, m)) + Sum(a[m + i], (i, 0, n))),
    "a transposed product": (Sum(a[i] * b[j] * i, (i, 1, n), (j, 1, n)), Sum(a[i] * b[j] * j, (i, 1, n), (j, 1, n))),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_differs_is_not_called_equal(name):
    left, right = FALSE[name]
    assert not is_zero(left - right)
