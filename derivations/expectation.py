r"""Expectations of polynomials in random tables, from declared moments and independence alone.

Symbolically, E is linear, constants pass, independent tables factor, and a product of two entries of one table has
the moment μᵢμⱼ + c + δᵢⱼ(σᵢ² − c). Numerically, the table is given one discrete law with exactly these moments,
xᵢ = μᵢ + √c z₀ + √(σᵢ² − c) zᵢ with fair signs z, and all outcomes are enumerated.
"""

from dataclasses import dataclass
from itertools import product

from flint import acb
from sympy import Add, Expr, Function, IndexedBase, KroneckerDelta, Mul, S, Sum, Symbol

from derivations.normal import canonical, expand_numerator, factors_of, flatten


class E(Function):
    """The expectation, unevaluated until a proof is run."""

    nargs = 1

    def _latex(self, printer):
        return rf"\operatorname{{E}}\left[{printer._print(self.args[0])}\right]"

    def enumerate_law(self, point, evaluate):
        """The exact mean over all outcomes of the discrete laws attached to the point."""
        laws = list(point.laws.values())
        sizes = [point.integer(law.size) for law in laws]
        shared = point.dependent
        bits = max(n + 1 for n in sizes) if shared else sum(n + 1 for n in sizes)
        values = [law.outcome(size, point, evaluate) for law, size in zip(laws, sizes, strict=True)]
        total = acb(0)
        for signs in product((-1, 1), repeat=bits):
            start = 0
            for law, size, (means, spread, common) in zip(laws, sizes, values, strict=True):
                z = signs[start : start + size + 1]
                start += 0 if shared else size + 1
                for k in range(size):
                    point.tables[law.table, (k + 1,)] = means[k] + common * z[0] + spread[k] * z[k + 1]
            total = total + evaluate(self.args[0], point)
        for law, size in zip(laws, sizes, strict=True):
            for k in range(size):
                del point.tables[law.table, (k + 1,)]
        return total / 2**bits


class Var(Function):
    """The variance E[X²] − E[X]², unevaluated until a proof is run."""

    nargs = 1

    def _latex(self, printer):
        return rf"\operatorname{{Var}}\left[{printer._print(self.args[0])}\right]"

    def enumerate_law(self, point, evaluate):
        mean = E(self.args[0]).enumerate_law(point, evaluate)
        return E(self.args[0] ** 2).enumerate_law(point, evaluate) - mean * mean


@dataclass(frozen=True)
class Law:
    """A random table x[1..size] with mean and variance per entry (in `index`) and one covariance between entries."""

    table: IndexedBase
    size: Expr
    index: Symbol
    mean: Expr
    var: Expr
    cov: Expr = S.Zero

    def given(self, facts):
        return Law(self.table, self.size, self.index, *(S(x).xreplace(facts) for x in (self.mean, self.var, self.cov)))

    def moment(self, indices):
        """E of the product of the entries at `indices`, or None where no moment is declared."""
        mean = [S(self.mean).xreplace({self.index: i}) for i in indices]
        if len(indices) == 1:
            return mean[0]
        if len(indices) == 2:
            variance = S(self.var).xreplace({self.index: indices[0]})
            return mean[0] * mean[1] + self.cov + KroneckerDelta(*indices) * (variance - self.cov)
        return None

    def outcome(self, size, point, evaluate):
        """(means, independent spreads, common spread) at the point; refuses impossible moments."""
        from derivations.points import Inadmissible

        means, spread = [], []
        common = evaluate(S(self.cov), point)
        for k in range(1, size + 1):
            at = {self.index: S(k)}
            means.append(evaluate(S(self.mean).xreplace(at), point))
            rest = evaluate(S(self.var).xreplace(at), point) - common
            if bool(rest.real < 0) or bool(common.real < 0):
                raise Inadmissible("no law has these moments")
            spread.append(rest.sqrt())
        return means, spread, common.sqrt()

    def text(self):
        return f"E {self.table}[{self.index}] = {self.mean}, Var = {self.var}" + (
            f", Cov = {self.cov} between entries" if self.cov != 0 else ""
        )


class UndeclaredMoment(ValueError):
    """The proof needs a moment which its laws do not declare."""


def take_expectations(expr, laws, context):
    """Replace every E and Var in `expr` by what linearity, independence and the declared moments give."""
    if isinstance(expr, Var):
        inner = expr.args[0]
        expr = E(inner**2) - E(inner) ** 2
    if isinstance(expr, E):
        inner = canonical(expr.args[0], context)
        return Add(*(_mean(term, laws, context) for term in Add.make_args(expand_numerator(inner))))
    if not expr.args or not expr.has(E, Var):
        return expr
    return expr.func(*(take_expectations(arg, laws, context) for arg in expr.args))


def _mean(term, laws, context):
    factors, limits = flatten(factors_of(term), [])
    tables = {law.table: law for law in laws}
    picked: dict = {law.table: [] for law in laws}
    fixed = S.One
    for base, power in factors:
        table = getattr(base, "base", None)
        if table in tables and power.is_Integer and power > 0:
            picked[table] += [base.indices[0]] * int(power)
        elif any(base.has(t) or power.has(t) for t in tables):
            raise UndeclaredMoment(f"no moment is declared for {base**power}")
        else:
            fixed *= base**power
    moments = [tables[table].moment(indices) for table, indices in picked.items() if indices]
    if None in moments:
        raise UndeclaredMoment(f"no moment of third order or more is declared in {term}")
    body = Mul(fixed, *moments)
    return canonical(Sum(body, *limits), context) if limits else body
