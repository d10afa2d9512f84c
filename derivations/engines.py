"""The two engines: one tries to prove every step for all sizes, the other to refute the statement at some point."""

import random
from itertools import product as cartesian

from sympy import IndexedBase, Integer, S, sstr

from derivations.enclosure import encloses
from derivations.expectation import UndeclaredMoment, take_expectations
from derivations.forms import Within
from derivations.normal import Context, canonical, is_zero
from derivations.points import Inadmissible, Point, compare
from derivations.positive import is_nonnegative, z3_proves

POINTS, DRAWS = 24, 300
NO_CASES: tuple[dict, ...] = ({},)


class Vacuous(ValueError):
    """A claim that says less than it seems to; the message says in which way."""


def resists(c, parts):
    """None when every step is proved, else which step resists.

    A symbol given as a number is free in a step that still writes it after: only where it vanishes is the number used.
    """
    for part in parts:
        for number, goal in enumerate(part.goals, 1):
            for sizes in _instances(c):
                for case in part.cases or NO_CASES:
                    facts = {k: v for k, v in c.given.items() if not (S(v).is_number and has(goal.rhs, k))}
                    if not _proved(c, part, goal, {**facts, **case}, sizes):
                        return f"step {number} of {part.form} resists ({goal.relation} {sstr(goal.rhs)[:80]})"
    return None


def has(e, key):
    """Is the symbol, or any entry of the table, in the expression?"""
    return e.has(key) or (hasattr(key, "base") and any(base == key.base for base in e.atoms(IndexedBase)))


def _instances(c):
    if not c.sizes:
        return ({},)
    return [dict(zip(c.sizes, map(Integer, values), strict=True)) for values in cartesian(*c.sizes.values())]


def _proved(c, part, goal, facts, sizes):
    facts = {k: S(v) for k, v in facts.items()} | sizes
    ranges = {i: upper.xreplace(sizes) for i, upper in c.for_all.items()}
    sums = {total.xreplace(sizes): S(value).xreplace(facts) for total, value in c.sums.items()}
    context = Context(ranges, sums)

    def zero(e):
        e = e.xreplace(facts)
        if part.laws:
            e = take_expectations(e, [law.given(facts) for law in part.laws], context)
        return is_zero(canonical(e, context).xreplace(facts), context)

    try:
        if goal.relation == "=":
            return zero(goal.lhs - goal.rhs)
        if goal.relation == "≠":
            exact = (goal.lhs - goal.rhs).xreplace(facts).doit()
            return bool(exact.is_Rational and exact != 0)
        small, large = (goal.lhs, goal.rhs) if goal.relation == "≤" else (goal.rhs, goal.lhs)
        gap = large - small
        if isinstance(goal.by, Within):
            return encloses(gap.xreplace(facts), goal.by)
        if goal.by is not None:
            return zero(gap - goal.by) and is_nonnegative(S(goal.by).xreplace(facts))
        return zero(gap) or is_nonnegative(gap.xreplace(facts)) or bool(z3_proves(gap.xreplace(facts)))
    except UndeclaredMoment:
        return False


def _claimed(part, facts, sizes):
    """The laws of a part, and each case of each of its statements, with everything put in that is no size to draw."""
    laws = {law.table: law.given(facts) for law in part.laws}
    every = []
    for case in part.cases or NO_CASES:
        for lhs, relation, rhs in part.statements:
            left, right = (e.xreplace(facts).xreplace(case).xreplace(sizes) for e in (lhs, rhs))
            every.append((case, (left, relation, right)))
    return laws, every


def refute(c, parts, wanted, dropped=(None, None), draws=DRAWS):
    """(witness or None, points tested): look for an admissible point where the statement is false."""
    rng = random.Random(c.id)
    kind, what = dropped
    facts = {k: S(v) for k, v in c.given.items() if (kind, k) != ("given", what)}
    tested = 0
    exact = [case for part in parts for case in part.cases]
    sums = {total: S(value).xreplace(facts) for total, value in c.sums.items()}
    claimed = [[_claimed(part, facts, sizes) for part in parts] for sizes in _instances(c)]
    for draw in range(max(draws, wanted)):
        statements = rng.choice(claimed)
        small = 2 if any(part.laws for part in parts) else 1 + draw % 4
        point = Point(rng, c.for_all, sums, c.domains, what if kind == "domain" else None, sizes=small)
        point.dependent = kind == "independence"
        try:
            for key, value in facts.items():
                point.fix(key, value)
            for laws, every in statements:
                point.laws = laws
                for case, (lhs, relation, rhs) in every:
                    failure = compare(lhs, relation, rhs, point)
                    if failure:
                        at = point.show()
                        return f"{failure}" + (f" at {at}" if at else f" at {case}" if case else ""), tested
        except Inadmissible:
            continue
        tested += 1
        if tested >= wanted or (exact and not point.values and not point.tables):
            return None, max(tested, len(exact))
    if not tested:
        raise Vacuous("no admissible point was found: the domain is empty")
    return None, tested
