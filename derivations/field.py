r"""The field of an equality: an expression is one rational function of generators, and is zero where that is.

Powers b^{s+t} split into b^s b^t, and roots of one base are powers of the finest; what is neither sum, product nor
power is a generator, and i² = −1. Sound because a generator is only ever identified with itself.
"""

from functools import reduce
from itertools import count
from operator import add, mul

from sympy import QQ, Add, Expr, I, Mul, Poly, Pow, S, Symbol, exp, expand_mul, ilcm


def vanishes(expr):
    """True when `expr` is the zero of the field."""
    reduced = generators(expr)
    if reduced.is_number:
        return reduced == 0
    names = sorted(reduced.free_symbols, key=str)
    field = QQ.frac_field(*names)
    numerator = _element(reduced, field, dict(zip(names, field.gens, strict=True))).numer.as_expr()
    unit = next((g for g in numerator.free_symbols if g.name == "I"), None)
    return numerator == 0 if unit is None else Poly(numerator, unit).rem(Poly(unit**2 + 1, unit)).is_zero


def _element(e, field, at):
    """The rational function `e` computed in the field: multiplied out as a whole, it may grow beyond all bounds."""
    if e.is_Rational:
        return field(QQ(int(e.p), int(e.q)))
    if e.is_Symbol:
        return at[e]
    if isinstance(e, Pow):
        return _element(e.base, field, at) ** int(e.exp)
    return reduce(add if isinstance(e, Add) else mul, (_element(arg, field, at) for arg in e.args))


def generators(expr):
    """Replace every power b^(cτ) by an integer power of one generator per (b, τ), everything opaque by its own."""
    table: dict = {}
    roots: dict = {}
    fresh = count()

    def split(base, power):
        for part in Add.make_args(expand_mul(power)):
            coefficient, rest = part.as_coeff_Mul()
            yield (base, rest), coefficient

    def survey(e):
        if isinstance(e, Pow | exp) and not (isinstance(e, Pow) and e.exp.is_Integer):
            base, power = (S.Exp1, e.args[0]) if isinstance(e, exp) else (e.base, e.exp)
            for key, coefficient in split(base, power):
                roots[key] = ilcm(roots.get(key, 1), coefficient.q)
        if isinstance(e, Add | Mul | Pow):
            for arg in e.args:
                survey(arg)

    def generator(key, name="g"):
        if key not in table:
            table[key] = Symbol(f"{name}{next(fresh)}" if name == "g" else name)
        return table[key]

    def convert(e) -> Expr:
        if e is I:
            return generator(I, "I")
        if e.is_Rational:
            return e
        if isinstance(e, Add | Mul):
            return e.func(*map(convert, e.args))
        if isinstance(e, Pow) and e.exp.is_Integer:
            return convert(e.base) ** e.exp
        if isinstance(e, Pow | exp):
            base, power = (S.Exp1, e.args[0]) if isinstance(e, exp) else (e.base, e.exp)
            result = S.One
            for key, coefficient in split(base, power):
                whole = convert(base) if key[1] == 1 and coefficient.is_Integer else None
                result *= whole**coefficient if whole is not None else (generator(key) ** (coefficient * roots[key]))
            return result
        if (e, S.One) in roots:
            return generator((e, S.One)) ** roots[e, S.One]
        return generator(e)

    survey(expr)
    return convert(expr)
