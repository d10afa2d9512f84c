"""Where SymPy 1.14 is silently wrong on our material: should one be repaired, a guard of ours may go.

Each test states the wrong answer, the truth, and what the kernel does instead.
"""

import random

import pytest
from sympy import (
    Derivative,
    IndexedBase,
    KroneckerDelta,
    MatrixSymbol,
    Rational,
    Sum,
    Symbol,
    Trace,
    ZeroMatrix,
    acos,
    binomial,
    diff,
    exp,
    factorial,
    symbols,
)

from derivations.normal import Context, Malformed, is_zero
from derivations.points import Point, compare, evaluate

n, i, k = symbols("n i k", integer=True, positive=True)
z = IndexedBase("z", real=True)


def test_gradient_of_a_linear_layer_is_zero():
    """sympy #24725: ∂ tr(xᵀw)/∂w is x."""
    x, w = MatrixSymbol("x", 3, 1), MatrixSymbol("w", 3, 1)
    b = Symbol("b")
    assert diff(Trace(x.T * w) + b, w) == ZeroMatrix(3, 1)


def test_gradient_of_weight_decay_is_zero():
    """sympy #27406: ∂(‖A‖² + ‖B‖²)/∂A is 2A."""
    A, B = MatrixSymbol("A", 2, 2), MatrixSymbol("B", 2, 2)
    assert diff(Trace(A.T * A) + Trace(B.T * B), A) == ZeroMatrix(2, 2)


def test_derivative_by_a_bound_index_drops_the_cross_term():
    """sympy #21891: p_i(δ_ik − p_k), and SymPy forgets − p_i p_k; we refuse, and are right with a fresh index."""
    p = exp(z[i]) / Sum(exp(z[k]), (k, 1, n))
    wrong = p.diff(z[k])
    assert wrong.equals(KroneckerDelta(i, k) * p) or not wrong.has(exp(z[k]) ** 2)
    with pytest.raises(Malformed, match="also bound"):
        is_zero(Derivative(p, z[k]) - KroneckerDelta(i, k) * p)
    j = Symbol("j", integer=True, positive=True)
    total = Sum(exp(z[j]), (j, 1, n))
    right = Derivative(exp(z[i]) / total, z[k])
    assert is_zero(right - exp(z[i]) / total * (KroneckerDelta(i, k) - exp(z[k]) / total), Context({i: n, k: n}))


def test_closed_form_of_a_sum_of_factorials():
    """sympy #15943: Σ C(n,k)(n−k)! is 2 at n = 1, SymPy's closed form gives e."""
    j = Symbol("j", integer=True, nonnegative=True)
    closed = Sum(binomial(n, j) * factorial(n - j), (j, 0, n)).doit()
    assert abs(float(closed.subs(n, 1)) - 2) > 0.5


def test_closed_form_of_a_sum_of_binomials():
    """sympy #13902: Σ_{k≤1} C(2,k)k² is 2, SymPy's closed form gives 6."""
    last, j = symbols("last j", integer=True, nonnegative=True)
    closed = Sum(binomial(2, j) * j**2, (j, 0, last)).doit()
    assert closed.subs(last, 1) != 2


def test_a_small_number_equals_zero():
    """sympy #23086: acos(7823207/7823209) is 7.15e-4, to two digits SymPy says 0; `.equals(0)` depends on hashes."""
    small = acos(Rational(7823207, 7823209))
    assert small.evalf(2) == 0
    assert small.evalf(15) > 7e-4


def test_closed_sums_that_we_use_are_right():
    """Faulhaber's sums, at n = 0 … 6 against adding up."""
    for power in range(1, 6):
        for size in range(1, 7):
            ours = Sum(i**power, (i, 1, n)).xreplace({n: size})
            assert sum(s**power for s in range(1, size + 1)) == evaluate(ours, Point(random.Random(0)))


def test_numbers_do_not_go_through_evalf():
    """sympy #20932: `Sum(...).n()` may be wrong where `.doit().n()` is right; our evaluator adds up literally."""
    total = Sum((-1) ** i / i**2, (i, 1, 4))
    exact = sum(Rational((-1) ** s, s**2) for s in range(1, 5))
    assert compare(total, "=", exact, Point(random.Random(0))) is None
