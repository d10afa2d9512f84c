r"""The symbolic engine for order: why an expression cannot be negative.

A certificate is nonnegative when it is built from nonnegative pieces by sums and products, is a square, or is a
`TangentGap`: the height of a convex function above its tangent. Polynomial inequalities without sums go to z3.
"""

import z3
from sympy import (
    Abs,
    Add,
    Derivative,
    Dummy,
    Function,
    Indexed,
    KroneckerDelta,
    Lambda,
    Mul,
    Pow,
    Product,
    S,
    Sum,
    Symbol,
    exp,
)


class TangentGap(Function):
    r"""f(x) − f(x₀) − f'(x₀)(x − x₀) for a function f on the positive reals: nonnegative when f is convex there."""

    nargs = 3

    @classmethod
    def of(cls, f, x0, x):
        variable = Symbol("x", positive=True)
        return cls(Lambda(variable, f(variable)), S(x0), x)

    def doit(self, **hints):
        f, x0, x = self.args
        slope = f.expr.diff(f.variables[0]).xreplace({f.variables[0]: x0})
        return f(x) - f(x0) - slope * (x - x0)

    def is_convex(self):
        f, x0, x = self.args
        inside = is_positive(x) or (is_nonnegative(x) and f.expr.subs(f.variables[0], 0).is_finite)
        return inside and x0.is_nonnegative and is_nonnegative(f.expr.diff(f.variables[0], 2))

    def _latex(self, printer):
        return rf"\left[{printer._print(self.doit())}\right]"


def is_positive(e):
    """Is `e` > 0 for every admissible value of its symbols? False means: not known."""
    if isinstance(e, exp) and e.args[0].is_real is not False:
        return True
    if isinstance(e, Sum | Product):
        found = is_positive(e.function) and all(b.is_positive and a == 1 for _, a, b in e.limits)
    elif isinstance(e, Mul):
        found = all(map(is_positive, e.args))
    elif isinstance(e, Add):
        found = all(map(is_nonnegative, e.args)) and any(map(is_positive, e.args))
    else:
        found = isinstance(e, Pow) and is_positive(e.base) and e.exp.is_real is not False
    return found or bool(e.is_positive)  # last, since SymPy may look for roots


def is_nonnegative(e):
    """Is `e` ≥ 0 for every admissible value of its symbols? False means: not known."""
    if isinstance(e, KroneckerDelta | Abs):
        return True
    if isinstance(e, TangentGap):
        return bool(e.is_convex())
    if isinstance(e, Sum | Product):
        found = is_nonnegative(e.function)
    elif isinstance(e, Add | Mul):
        found = all(map(is_nonnegative, e.args))
    else:
        found = isinstance(e, Pow) and (is_nonnegative(e.base) or bool(e.exp.is_even and e.base.is_real))
    return found or is_positive(e) or bool(e.is_nonnegative)  # last, since SymPy may look for roots


def z3_proves(e):
    """Ask z3 whether a rational expression of real symbols is ≥ 0 under their assumptions (None: it does not apply).

    It may contain absolute values of such expressions.
    """
    sizes = {size: Dummy() for size in e.atoms(Abs)}
    if any(x.has(Sum, Product, Derivative, Function) or not x.is_rational_function()
           for x in (e.xreplace(sizes), *(size.args[0].xreplace(sizes) for size in sizes))):  # fmt: skip
        return None
    solver = z3.Solver()
    solver.set("timeout", 5000)
    names: dict = {}

    def convert(x):
        if x.is_Rational:
            return z3.RealVal(str(x))
        if isinstance(x, Add):
            return z3.Sum([convert(a) for a in x.args])
        if isinstance(x, Mul):
            return z3.Product([convert(a) for a in x.args])
        if isinstance(x, Pow) and x.exp.is_Integer:
            base = convert(x.base)
            if x.exp > 0:
                return z3.Product([base] * int(x.exp))
            solver.add(base != 0)
            return 1 / z3.Product([base] * -int(x.exp))
        if isinstance(x, Abs):
            inside = convert(x.args[0])
            return z3.If(inside >= 0, inside, -inside)
        if isinstance(x, Symbol | Indexed):
            variable = names.setdefault(x, z3.Real(str(x)))
            for assumed, fact in (("is_positive", variable > 0), ("is_nonnegative", variable >= 0)):
                if getattr(x, assumed):
                    solver.add(fact)
            return variable
        raise TypeError(f"z3 has no reading of {x}")

    solver.add(convert(e) < 0)
    return solver.check() == z3.unsat
