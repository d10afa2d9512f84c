r"""The numeric engine: admissible points in exact rationals, evaluated in Arb balls with 160 bits.

It can only refute (the balls of the two sides are disjoint, or a side is undefined) or be consistent. Sums are
expanded at small sizes, derivatives are taken by power series (never by SymPy), recurrences are run.
"""

from fractions import Fraction
from functools import cache, reduce
from itertools import product as cartesian
from math import factorial
from operator import add, mul

import flint
from flint import acb, acb_series, arb, fmpq
from sympy import (
    Abs,
    Add,
    Derivative,
    Function,
    I,
    Interval,
    KroneckerDelta,
    Mul,
    Pow,
    Product,
    S,
    Sum,
    Symbol,
    cos,
    exp,
    log,
    oo,
    sign,
    sin,
)
from sympy.tensor.indexed import Indexed

from derivations.normal import Before
from derivations.positive import TangentGap

flint.ctx.prec = 160
POSITIVE, NONNEGATIVE, NONZERO = Interval.open(0, oo), Interval(0, oo), S.Reals - {0}
REALS = [Fraction(a, b) for a in (-7, -5, -3, -2, -1, 1, 2, 3, 4, 5) for b in (1, 2, 3)]


class Unreadable(ValueError):
    """An expression that the numeric engine does not know."""


class Inadmissible(Exception):
    """The point drawn does not satisfy the hypotheses; draw another."""


class Recurrence(Function):
    """x[T] of the sequence x[0] = start, x[t+1] = step, run literally. Arguments: start, step, x[t], t, T."""

    nargs = 5

    def _latex(self, printer):
        start, step, now, t, end = self.args
        rules = ((now.base[0], start), (now.base[t + 1], step))
        given = (f"{printer._print(left)} = {printer._print(right)}" for left, right in rules)
        return rf"{printer._print(now.base[end])} \quad\text{{where}}\quad " + r",\quad ".join(given)


def domain_of(symbol, domains):
    """The set a real symbol or table ranges over: declared, or read off its SymPy assumptions."""
    if symbol in domains:
        return domains[symbol]
    if symbol.is_positive:
        return POSITIVE
    if symbol.is_nonnegative:
        return NONNEGATIVE
    return NONZERO if symbol.is_nonzero else S.Reals


@cache
def moved(domain):
    """Each of REALS moved into the domain by its sign or size, None where that is not enough."""
    unit, positive = (domain.is_subset(Interval(0, end)) for end in (1, oo))
    into = {x: abs(x) / 11 if unit else abs(x) if positive else x for x in REALS}
    return {x: y if domain.contains(S(y.numerator) / y.denominator) else None for x, y in into.items()}


@cache
def outside(domain):
    """Simple numbers that are not in the domain."""
    edge = [Fraction(0), Fraction(1), Fraction(-1, 2), Fraction(2), Fraction(3, 2), *REALS[:6]]
    return [x for x in edge if not domain.contains(S(x.numerator) / x.denominator)]


class Point:
    """One admissible assignment, drawn lazily: `values` is what a witness prints."""

    def __init__(self, rng, ranges=None, sums=None, domains=None, widened=None, sizes=4):
        self.rng, self.ranges, self.domains, self.widened, self.sizes = rng, ranges or {}, domains or {}, widened, sizes
        self.totals = {total.function.base.label: (total, value) for total, value in (sums or {}).items()}
        self.values, self.tables, self.bound = {}, {}, {}
        self.dependent = False  # a second table with a declared law shares the draws of the first
        self.laws = {}

    def integer(self, e):
        """The value of an index expression."""
        if e.is_Integer:
            return int(e)
        if isinstance(e, Symbol):
            if e in self.bound:
                return self.bound[e]
            if e not in self.values:
                if e in self.ranges:
                    self.values[e] = self.rng.randint(1, self.integer(self.ranges[e]))
                else:
                    low = 1 if e.is_positive else 0 if e.is_nonnegative else -self.sizes
                    self.values[e] = self.rng.randint(low, self.sizes)
            return self.values[e]
        return int(e.xreplace({s: S(self.integer(s)) for s in e.free_symbols}))

    def real(self, symbol):
        """A rational of the symbol's domain, or of its complement when that hypothesis is the one dropped."""
        domain = domain_of(symbol, self.domains)
        if symbol == self.widened:
            return self.rng.choice(outside(domain))
        into = moved(domain)
        for _ in range(60):
            if (x := into[self.rng.choice(REALS)]) is not None:
                return x
        raise Inadmissible(f"{symbol} in {domain}")

    def scalar(self, symbol):
        if symbol not in self.values:
            self.values[symbol] = self.real(symbol)
        return ball(self.values[symbol])

    def entry(self, table, index):
        key = (table, index)
        if key not in self.tables:
            if table.label in self.totals:
                self._under_a_total(table, index)
            if key not in self.tables:
                self.tables[key] = self.real(table.label)
        return ball(self.tables[key])

    def _under_a_total(self, table, index):
        """Draw all that the declared total adds up, and move it onto that: by a factor if positive, else by a shift."""
        total, value = self.totals[table.label]
        sizes = {s: self.integer(upper) for s, _, upper in total.limits}
        outer = {s: k for s, k in zip(total.function.indices, index, strict=True) if s not in sizes}
        around = dict(self.bound)  # they may be drawn within a sum over the same index
        self.bound |= outer
        target = evaluate(value, self)
        self.bound = around
        ranges = (range(1, sizes[s] + 1) if s in sizes else [outer[s]] for s in total.function.indices)
        places = list(cartesian(*ranges))
        raw = [self.real(table.label) for _ in places]
        if table.label.is_positive and table.label != self.widened:
            if not bool(target.real > 0):
                raise Inadmissible(f"a positive row cannot have the total {target}")
            moved = [ball(x) * target / ball(sum(raw)) for x in raw]
        else:
            moved = [ball(x) + (target - ball(sum(raw))) / len(raw) for x in raw]
        self.tables |= {(table, place): x for place, x in zip(places, moved, strict=True)}

    def fix(self, key, value):
        """Set a hypothesis' value, so that an entry reached only through a running index has it too."""
        if isinstance(key, Indexed):
            self.tables[key.base, tuple(self.integer(i) for i in key.indices)] = evaluate(value, self)

    def show(self):
        """The assignment as text, for a reader who wants to check the witness by hand."""
        entries = {f"{base}[{', '.join(map(str, index))}]": x for (base, index), x in self.tables.items()}
        pairs = {str(k): v for k, v in self.values.items()} | entries
        return ", ".join(f"{k} = {number(v)}" for k, v in pairs.items())


def ball(x):
    return x if isinstance(x, acb | acb_series) else acb(arb(fmpq(x.numerator, x.denominator)))


def number(x):
    """A value for people: exact when rational, else six digits."""
    if isinstance(x, Fraction | int):
        return str(x)
    if not x.is_finite():
        return "undefined"
    if x.contains(0):
        return "0"
    real = f"{float(x.real.mid()):.6g}"
    return real if x.imag.contains(0) else f"{real} {float(x.imag.mid()):+.6g}i"


def evaluate(e, point):
    """The value of `e` at `point` as an Arb ball; a division by zero gives a ball that is not finite."""
    if e.is_Integer or e.is_Rational:
        return acb(arb(fmpq(int(e.p), int(e.q))))
    if e is I:
        return acb(0, 1)
    if e is S.NegativeInfinity or e is S.Infinity or e is S.NaN or e is S.ComplexInfinity:
        return acb("nan")
    if e is S.Exp1:
        return acb(1).exp()
    if e is S.Pi:
        return acb.pi()
    if isinstance(e, Symbol):
        return acb(point.integer(e)) if e.is_integer else point.scalar(e)
    if isinstance(e, Indexed):
        return point.entry(e.base, tuple(point.integer(i) for i in e.indices))
    if isinstance(e, Add | Mul):
        return reduce(add if isinstance(e, Add) else mul, (evaluate(arg, point) for arg in e.args))
    if isinstance(e, Pow) and not isinstance(e, exp):
        return _power(e.base, e.exp, point)
    if isinstance(e, Sum | Product):
        return _iterate(e, list(e.limits), point)
    if isinstance(e, Derivative):
        return _derivative(e, point)
    if isinstance(e, KroneckerDelta):
        return acb(int(point.integer(e.args[0]) == point.integer(e.args[1])))
    if isinstance(e, Before):
        return acb(int(point.integer(e.args[0]) <= point.integer(e.args[1])))
    if isinstance(e, TangentGap):
        return evaluate(e.doit(), point)
    if isinstance(e, Recurrence):
        return _run(e, point)
    if hasattr(e, "enumerate_law"):
        return e.enumerate_law(point, evaluate)
    if isinstance(e, exp | log | cos | sin | Abs | sign):
        inner = evaluate(e.args[0], point)
        if isinstance(e, Abs):
            return acb(abs(inner))
        if isinstance(e, sign):
            return acb("nan") if inner.contains(0) and not inner.is_zero() else acb((inner.real > 0) - (inner.real < 0))
        return getattr(inner, type(e).__name__)()
    raise Unreadable(f"no exact numeric reading of {e} ({type(e).__name__})")


def _power(base, power, point):
    x = evaluate(base, point)
    if power.is_integer:
        n = point.integer(power)
        return x**n if n >= 0 else _inverse(x**-n)
    if power == S.Half:
        return x.sqrt()
    if power == -S.Half:
        return _inverse(x.sqrt())
    return (evaluate(power, point) * x.log()).exp() if x != 0 else x ** evaluate(power, point)


def _inverse(x):
    """1/x; a series that may begin with zero has none: none of its terms is finite, as of a ball that may be zero."""
    try:
        return 1 / x
    except (ValueError, ZeroDivisionError):
        return acb_series([acb("nan")] * 9, prec=9)


def _iterate(e, limits, point):
    """Sum or multiply over the outermost limit, then the next."""
    if not limits:
        return evaluate(e.function, point)
    index, lower, upper = limits[-1]
    total = acb(0) if isinstance(e, Sum) else acb(1)
    saved = point.bound.get(index)
    for k in range(point.integer(lower), point.integer(upper) + 1):
        point.bound[index] = k
        term = _iterate(e, limits[:-1], point)
        total = total + term if isinstance(e, Sum) else total * term
    point.bound.pop(index, None)
    if saved is not None:
        point.bound[index] = saved
    return total


def _derivative(e, point):
    """By truncated power series in the variable: an algorithm which shares nothing with SymPy's rules."""
    ((variable, order),) = e.variable_count
    order = int(order)
    at = evaluate(variable, point)
    series = acb_series([at, 1], prec=order + 1)
    if isinstance(variable, Symbol):
        store, key = point.values, variable
    else:
        store, key = point.tables, (variable.base, tuple(point.integer(i) for i in variable.indices))
    saved, store[key] = store[key], series
    try:
        value = evaluate(e.expr, point)
    finally:
        store[key] = saved
    if not isinstance(value, acb_series):
        return acb(0)
    return value[order] * factorial(order)


def _run(recurrence, point):
    start, step, current, time, end = recurrence.args
    value = evaluate(start, point)
    table = current.base
    for k in range(point.integer(end)):
        point.bound[time] = k
        point.tables[table, (k,)] = value
        value = evaluate(step, point)
        del point.tables[table, (k,)]
    point.bound.pop(time, None)
    return value


def compare(lhs, relation, rhs, point):
    """None when consistent at this point, else a sentence with both values."""
    left, right = evaluate(lhs, point), evaluate(rhs, point)
    broken = {"=": "≠", "≤": ">", "≥": "<", "≠": "="}[relation]
    values = f"{number(left)} {broken} {number(right)}"
    if not (left.is_finite() and right.is_finite()):
        return f"undefined: {number(left)} and {number(right)}"
    gap = left - right
    if relation == "=":
        return None if gap.contains(0) else values
    if relation == "≠":
        return values if gap.contains(0) else None
    if not gap.imag.contains(0):
        return f"not real: {number(left)} and {number(right)}"
    return values if bool(gap.real > 0 if relation == "≤" else gap.real < 0) else None
