r"""The six forms of a claim. Each turns what the author wrote into steps to prove and one statement to test.

`equal` and `below` are chains; `optimal`, `induct`, `expect` and `finite` reduce to such steps by a theorem named in
their docstring. A step is proved symbolically; the statement (the two ends of the chain) is tested numerically.
"""

from dataclasses import dataclass, field
from itertools import product as cartesian

from sympy import Expr, IndexedBase, Poly, S, Symbol

from derivations.points import Recurrence


@dataclass(frozen=True)
class Step:
    """One link: `relation` to the previous expression, the reason a reader gets, and for ≤ a certificate of the gap."""

    relation: str
    expr: Expr
    reason: str
    by: object = None


def eq(expr, reason):
    return Step("=", S(expr), reason)


def le(expr, reason, by=None):
    return Step("≤", S(expr), reason, by)


def ge(expr, reason, by=None):
    return Step("≥", S(expr), reason, by)


def ne(expr, reason):
    return Step("≠", S(expr), reason)


@dataclass(frozen=True)
class Within:
    """Certificate by enclosure: the gap is positive for `variable` in [low, high], shown by bisection in Arb balls."""

    variable: Symbol
    low: object
    high: object


@dataclass(frozen=True)
class Goal:
    """What the symbolic engine must show: lhs relation rhs, `by` certifying the gap of an inequality."""

    lhs: Expr
    relation: str
    rhs: Expr
    by: object = None


@dataclass(frozen=True)
class Part:
    """A proof in one form: what is printed (start, steps), what is proved (goals), what is tested (statements)."""

    form: str
    start: Expr
    steps: tuple
    goals: tuple
    statements: tuple
    laws: tuple = ()
    cases: tuple = field(default=())


def _chain(start, steps):
    start = S(start)
    ends = [start, *(step.expr for step in steps)]
    goals = tuple(Goal(a, step.relation, step.expr, step.by) for a, step in zip(ends, steps, strict=False))
    relations = {step.relation for step in steps} - {"="}
    if len(relations) > 1:
        raise ValueError(f"a chain has one direction, this one mixes {sorted(relations)}")
    return start, goals, ((start, relations.pop() if relations else "=", ends[-1]),)


def equal(start, *steps):
    """start = … = end, each step an identity."""
    start, goals, statement = _chain(start, steps)
    return Part("equal", start, steps, goals, statement)


def below(start, *steps):
    """start ≤ … ≤ end (or ≥ throughout), each step an identity or a certified inequality."""
    start, goals, statement = _chain(start, steps)
    return Part("below", start, steps, goals, statement)


def expect(start, *steps, laws):
    """start = … = end, where E and Var are taken from the moments and the independence of `laws`."""
    start, goals, statement = _chain(start, steps)
    return Part("expect", start, steps, goals, statement, tuple(laws))


def optimal(objective, table, at, gap, feasible, reason):
    """`objective` of `table` is largest at table[…] = at(…): f(at) − f(x) = gap ≥ 0, and `at` meets the constraint.

    A stationary point alone is no optimum: the gap is an identity for every feasible x, and certified nonnegative.
    `feasible` is (constraint, value): what `at` must satisfy.
    """
    best = objective.replace(lambda e: getattr(e, "base", None) == table, lambda e: at(*e.indices))
    constraint, value = feasible
    steps = (eq(objective + gap, reason), ge(objective, "each piece of the gap is nonnegative", by=gap))
    goals = (
        Goal(best, "=", objective + gap),
        Goal(objective, "≤", objective + gap, gap),
        Goal(constraint, "=", S(value)),
    )
    return Part("optimal", best, steps, goals, ((best, "≥", objective), (constraint, "=", S(value))))


def induct(table: IndexedBase, time: Symbol, start, step, closed, reason):
    """table[0] = start and table[t+1] = step imply table[t] = closed(t): base, and step with closed(t) put in.

    Numerically the recurrence itself is run and compared with the closed form.
    """
    start, step = S(start), S(step)
    after = step.xreplace({table[time]: closed(time)})
    goals = (Goal(start, "=", closed(S.Zero)), Goal(after, "=", closed(time + 1)))
    run = Recurrence(start, step, table[time], time, time)
    return Part("induct", run, (eq(closed(time), reason),), goals, ((run, "=", closed(time)),))


def finite(start, *steps, cases=({},), degree=None):
    """Exact evaluation in every case; with `degree` = {x: d}, a polynomial identity from d + 1 points a variable."""
    start, goals, statement = _chain(start, steps)
    cases = [dict(case) for case in cases]
    if degree:
        for goal in goals:
            for x, d in degree.items():
                if Poly(goal.lhs - goal.rhs, *degree).degree(x) > d:
                    raise ValueError(f"the degree in {x} is above the declared {d}")
        grid = cartesian(*(range(d + 1) for d in degree.values()))
        points = [dict(zip(degree, map(S, values), strict=True)) for values in grid]
        cases = [case | point for case in cases for point in points]
    return Part("finite", start, steps, goals, statement, cases=tuple(cases))
