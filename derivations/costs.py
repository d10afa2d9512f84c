r"""What a run of the decoder costs, as SymPy expressions: found by derivations.machine, for all sizes and any depth.

    cost(L, B, T, …) = outside + L · layer = closed form

The first step is an induction over layers: a program of derivations.programs is run without blocks and with one, for
sizes that stand for all (derivations.uniform), and every block finds what the first one found. The rest is algebra.
Where numbers are wanted, at the points that a claim is tested at, the program is run on integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from flint import acb
from sympy import Add, Expr, Function, Integer, Mul, Symbol

from derivations.forms import Goal, Part, Step, eq
from derivations.polynomial import Terms, added, expression, told
from derivations.programs import Program
from derivations.uniform import polynomial

L = Symbol("L", integer=True, positive=True)


@cache
def per_layer(program: Program, letters: str, first: int = 0) -> tuple[dict[str, Terms], dict[str, Terms]]:
    """(outside, layer) of what a program finds, part by part, as polynomials in the letters; for L from `first` on."""
    one, two = (polynomial(lambda L=n, **sizes: program(L=L, **sizes), letters) for n in (first, first + 1))
    layer = {what: _difference(two.get(what, {}), one.get(what, {})) for what in one | two}
    outside = {what: _difference(p, {m: first * c for m, c in layer[what].items()}) for what, p in one.items()}
    return outside, {what: p for what, p in layer.items() if p}


def _difference(p: Terms, q: Terms) -> Terms:
    return added([p, {m: -c for m, c in q.items()}])


class Measured(Function):
    """What a program finds at given sizes. It has no formula of its own: where a number is wanted, the program runs."""

    cost: Cost

    def enumerate_law(self, point, evaluate):
        return acb(self.cost.at(tuple(map(point.integer, self.args))))

    def doit(self, **hints):
        return Integer(self.cost.at(tuple(map(int, self.args)))) if all(x.is_Integer for x in self.args) else self

    def _latex(self, printer, exp=None):
        index = rf"_{{\text{{{self.cost.index}}}}}" if self.cost.index else ""
        inside = ", ".join(map(printer._print, self.args))
        return rf"\operatorname{{{self.cost.title}}}{index}\left({inside}\right)" + (f"^{{{exp}}}" if exp else "")

    def _sympystr(self, printer):
        return f"{type(self).__name__}({', '.join(map(printer._print, self.args))})"


@dataclass(frozen=True)
class Cost:
    """What a program finds, `only` some parts of it, for L = `first` and more; called, it is an expression.

    `letters` are the sizes that the program takes beside L, which it is a function of in this order.
    """

    title: str
    program: Program
    letters: str
    index: str = ""
    first: int = 0
    only: tuple[str, ...] = ()

    @property
    def symbols(self):
        return [L, *(Symbol(x, integer=True, positive=True) for x in self.letters.split())]

    def __call__(self, **sizes) -> Expr:
        return _function(self)(*(sizes.get(x.name, x) for x in self.symbols))

    def at(self, sizes: tuple[int, ...]) -> int:
        found = _ran(self.program, tuple(zip(["L", *self.letters.split()], sizes, strict=True)))
        return int(sum(found.get(what, 0) for what in self.only or found))

    def _parts(self) -> tuple[dict[str, Terms], dict[str, Terms]]:
        outside, layer = per_layer(self.program, self.letters, self.first)
        kept = {what for what in outside | layer if not self.only or what in self.only}
        mine = [{what: p for what, p in parts.items() if p and what in kept} for parts in (outside, layer)]
        return mine[0], mine[1]

    @property
    def found(self) -> Expr:
        """outside + L · layer, both left as sums over operations."""
        outside, layer = self._parts()
        once = map(expression, outside.values())
        return Add(*once, Mul(L, self.layer, evaluate=False) if layer else 0, evaluate=False)

    @property
    def layer(self) -> Expr:
        """What a block adds, left as a sum over operations."""
        return Add(*map(expression, self._parts()[1].values()), evaluate=False)

    @property
    def by_operation(self) -> str:
        return "; ".join(f"{what} {told(p)}" for what, p in self._parts()[1].items())


@cache
def _function(cost: Cost):
    make: Any = type(Measured)  # the metaclass of SymPy's functions
    return make("_".join([cost.title, *cost.index.split()]), (Measured,), {"cost": cost})


@cache
def _ran(program: Program, sizes):
    return program(**dict(sizes))


def resolved(e: Expr) -> Expr:
    """With what was found in the place of every cost."""
    found = {m: m.cost.found.xreplace(dict(zip(m.cost.symbols, m.args, strict=True))) for m in e.atoms(Measured)}
    return e.xreplace(found)


def derive(start: Expr, *steps: Step) -> Part:
    """A chain that begins with costs: the symbolic engine gets what was found, the numeric one runs the programs."""
    ends = [start, *(step.expr for step in steps)]
    goals = tuple(
        Goal(resolved(a), step.relation, resolved(b), step.by)
        for a, b, step in zip(ends, ends[1:], steps, strict=False)
    )
    relations = {step.relation for step in steps} - {"="}
    relation = relations.pop() if relations else "="
    return Part("induct" if relation == "=" else "below", start, steps, goals, ((start, relation, ends[-1]),))


def in_depth(cost: Cost, closed, why: str) -> Part:
    """cost = outside + L · layer = closed, for every L."""
    return derive(cost(), eq(cost.found, f"once, and for each block {cost.by_operation}"), eq(closed, why))


def one_more(cost: Cost, closed, why: str) -> Part:
    """cost(L + 1) − cost(L) = layer = closed."""
    return derive(cost(L=L + 1) - cost(), eq(cost.layer, f"one block more: {cost.by_operation}"), eq(closed, why))
