r"""The symbolic engine for equality: sums have one form, and what is left of them is a generator of a field.

A sum is expanded, its constant factors move outside, Kronecker deltas and indicators collapse, nested sums are
flattened and their bound indices renamed in one canonical order; sines and cosines become exponentials. Two
expressions are equal when their difference is the zero of the field (derivations.field): sound, and incomplete by
design (whatever it cannot reduce stays `undecided`).
"""

from itertools import permutations

from sympy import (
    Abs,
    Add,
    Derivative,
    Dummy,
    Function,
    Indexed,
    Integer,
    KroneckerDelta,
    Mul,
    Pow,
    Product,
    S,
    Sum,
    Symbol,
    bernoulli,
    cos,
    exp,
    expand_mul,
    expand_multinomial,
    log,
    sign,
    sin,
)

from derivations.field import vanishes
from derivations.positive import TangentGap, is_positive


class Before(Function):
    """The indicator [i ≤ t]: one when the index i is not after t, else zero."""

    is_nonnegative = True

    def _latex(self, printer):
        index, last = map(printer._print, self.args)
        return rf"\left[{index} \le {last}\right]"


class Malformed(ValueError):
    """An expression on which the computer algebra is known to be wrong, so that we refuse it."""


class Context:
    """What a proof may use: the ranges of the free indices and the given values of whole sums."""

    def __init__(self, ranges=None, sums=None):
        self.ranges = {index: (S.One, upper) for index, upper in (ranges or {}).items()}
        self.sums = {}
        self.sums = {canonical(total, self): canonical(value, self) for total, value in (sums or {}).items()}

    def within(self, bounds):
        """This context inside sums over the indices of `bounds`."""
        inner = Context()
        inner.ranges, inner.sums = self.ranges | bounds, self.sums
        return inner

    def inside(self, index, lower, upper):
        """Is lower ≤ index ≤ upper known? A declared index may be moved down to one below its range's start."""
        shift, base = index.as_coeff_Add()
        if base not in self.ranges:
            above = (index - lower).is_nonnegative or (lower == 1 and index.is_integer and index.is_positive)
            return index == upper or ((upper - index).is_nonnegative and above)
        start, end = self.ranges[base]
        return start == lower and shift <= 0 and (end == upper or (upper - end).is_nonnegative) and shift >= -1


def is_zero(expr, context=None):
    """True when `expr` is identically zero; False means only that this engine cannot tell."""
    return vanishes(canonical(expr, context or Context()))


def canonical(expr, context):
    """`expr` with its sums canonical, derivatives taken and logarithms of positive products split."""
    if expr.is_Atom or isinstance(expr, Indexed):
        return expr
    if isinstance(expr, TangentGap):
        return canonical(expr.doit(), context)
    if isinstance(expr, (Sum, Product)):
        return _iterated(expr, context)
    if isinstance(expr, Derivative):
        refuse_bound(expr)
        return canonical(expr.expr.diff(*expr.variables), context)
    if isinstance(expr, (cos, sin)):
        return canonical(expr.rewrite(exp), context)
    if isinstance(expr, sign) and expr.args[0].is_nonzero:
        return canonical(expr.args[0] / Abs(expr.args[0]), context)
    args = [canonical(arg, context) for arg in expr.args]
    if isinstance(expr, log):
        return _logarithm(args[0])
    return expr.func(*args)


def refuse_bound(derivative):
    """Raise Malformed for a derivative by an index that a sum inside it binds: SymPy then loses a term, silently."""
    bound = {v for node in derivative.expr.atoms(Sum, Product) for v in node.bound_symbols}
    clash = bound & set().union(*(v.free_symbols for v in derivative.variables))
    if clash:
        raise Malformed(f"the index {sorted(map(str, clash))[0]} of a derivative is also bound by a sum: rename it")


def _logarithm(arg):
    factors = factors_of(expand_mul(arg))
    if not all(is_positive(base) for base, _ in factors):
        return log(arg)
    return Add(
        *(
            power * (base.args[0] if isinstance(base, exp) else log(base)) if base != S.Exp1 else power
            for base, power in factors
        )
    )


def factors_of(term):
    """The factors of a product as (base, exponent) pairs, each exponent a single term."""
    pairs = []
    for factor in Mul.make_args(term):
        base, power = (S.Exp1, factor.args[0]) if isinstance(factor, exp) else factor.as_base_exp()
        pairs += [(base, part) for part in Add.make_args(expand_mul(power))]
    return pairs


def expand_numerator(expr):
    """Multiply out, leaving denominators whole: a sum keeps a divisor that does not depend on its index outside."""
    divisors = {e: Dummy() for e in expr.atoms(Pow) if isinstance(e.base, Add) and not e.exp.is_positive}
    names = {name: e for e, name in divisors.items()}
    return expand_mul(expand_multinomial(expr.xreplace(divisors))).xreplace(names)


def _iterated(expr, context):
    """A Sum or Product over several indices, innermost first."""
    bounds = {i: (a, b) for i, a, b in expr.limits}
    body = canonical(expr.function, context.within(bounds))
    for index, lower, upper in expr.limits:
        del bounds[index]
        if isinstance(expr, Product):
            body = _peel(body, index, lower, upper, Product, Mul)
        else:
            body = _sum(body, index, lower, upper, context.within(bounds))
    return body


def _peel(body, index, lower, upper, kind, combine):
    """Split off the last terms when the upper limit is t + c with a number c > 0."""
    extra, base = upper.as_coeff_Add()
    last = []
    if base != 0 and extra.is_positive and (base - lower + 1).is_nonnegative:
        last = [body.xreplace({index: base + k}) for k in range(1, int(extra) + 1)]
        upper = base
    if upper.is_Integer and lower.is_Integer:
        return combine(*(body.xreplace({index: Integer(k)}) for k in range(int(lower), int(upper) + 1)), *last)
    return combine(kind(body, (index, lower, upper)), *last)


def _sum(body, index, lower, upper, context):
    extra, base = upper.as_coeff_Add()
    if upper.is_Integer or (base != 0 and extra.is_positive and (base - lower + 1).is_nonnegative):
        peeled, whole = _peel(body, index, lower, upper, Sum, Add), Sum(body, (index, lower, base))
        if whole not in Add.make_args(peeled):  # all terms are written out
            return canonical(peeled, context)
        return canonical(peeled - whole, context) + _sum(body, index, lower, base, context)
    return Add(*(_term(term, index, lower, upper, context) for term in Add.make_args(expand_numerator(body))))


def _term(term, index, lower, upper, context):
    """One product under one sum: constants out, deltas and indicators collapsed, the rest flattened and renamed."""
    outside, inside = S.One, []
    for base, power in factors_of(term):
        if index in (base.free_symbols | power.free_symbols):
            inside.append((base, power))
        else:
            outside *= base**power
    for position, (base, _power) in enumerate(inside):
        rest = Mul(*(b**p for k, (b, p) in enumerate(inside) if k != position))
        if isinstance(base, KroneckerDelta) and index in base.args:
            other = base.args[0] if base.args[1] == index else base.args[1]
            if not other.has(index) and context.inside(other, lower, upper):
                return outside * canonical(rest.xreplace({index: other}), context)
        if isinstance(base, Before) and base.args[0] == index and context.inside(base.args[1], lower, upper):
            return outside * _sum(canonical(rest, context), index, lower, base.args[1], context)
    if not inside:
        return outside * (upper - lower + 1)
    if len(inside) == 1 and inside[0][0] == index and inside[0][1].is_Integer and inside[0][1] > 0:
        above = inside[0][1] + 1  # Faulhaber: Σ iᵖ is a difference of Bernoulli polynomials
        return outside * canonical((bernoulli(above, upper + 1) - bernoulli(above, lower)) / above, context)
    if all(base.is_Symbol and not (power / index).has(index) for base, power in inside):
        first, past, ratio = (Mul(*(b ** (k * p / index) for b, p in inside)) for k in (lower, upper + 1, 1))
        return outside * (first - past) / (1 - ratio)  # geometric; as rational functions
    first, more = _cut(upper)
    if lower == 1 and more is not None:  # Σ to a + b is Σ to a, and b terms more
        body = Mul(*(base**power for base, power in inside))
        later = canonical(body.xreplace({index: first + index}), context)
        return outside * (_sum(body, index, lower, first, context) + _sum(later, index, lower, more, context))
    return outside * _renamed(inside, [(index, lower, upper)], context)


def _cut(upper):
    """A limit that is a sum of natural numbers as (all but the last, the last), products first; else (upper, None)."""
    parts = sorted(Add.make_args(expand_mul(upper)), key=lambda part: (-len(Mul.make_args(part)), str(part)))
    natural = len(parts) > 1 and all(part.is_integer and part.is_nonnegative for part in parts)
    return (Add(*parts[:-1]), parts[-1]) if natural else (upper, None)


def flatten(factors, limits):
    """Factors with the sums among them (to positive integer powers) opened: (plain factors, all limits)."""
    plain, limits = [], list(limits)
    for base, power in factors:
        if isinstance(base, Sum) and power.is_Integer and power > 0:
            for _ in range(int(power)):
                fresh = {i: Dummy(integer=True) for i, _, _ in base.limits}
                limits += [(fresh[i], a.xreplace(fresh), b.xreplace(fresh)) for i, a, b in base.limits]
                inner, limits = flatten(factors_of(base.function.xreplace(fresh)), limits)
                plain += inner
        else:
            plain.append((base, power))
    return plain, limits


def _renamed(factors, limits, context):
    plain, limits = flatten(factors, limits)
    body = Mul(*(base**power for base, power in plain))
    names = [Symbol(f"_{k}", integer=True) for k in range(len(limits))]
    candidates = []
    for order in permutations(names):
        rename = {i: name for (i, _, _), name in zip(limits, order, strict=True)}
        bounds = sorted(((rename[i], a.xreplace(rename), b.xreplace(rename)) for i, a, b in limits), key=str)
        candidates.append(Sum(body.xreplace(rename), *_inner_first(bounds)))
    best = min(candidates, key=str)
    return context.sums.get(best, best)


def _inner_first(limits):
    """Order the limits so that a limit which depends on another index stands before it (SymPy: innermost first)."""
    ordered: list = []
    rest = list(limits)
    while rest:
        names = {i for i, _, _ in rest}
        free = [limit for limit in rest if not (limit[1].free_symbols | limit[2].free_symbols) & (names - {limit[0]})]
        ordered = free + ordered
        rest = [limit for limit in rest if limit not in free]
    return ordered
