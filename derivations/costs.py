r"""What runs of a decoder cost, as SymPy expressions: found by derivations.machine, shown for all sizes and any depth.

    start = what the program finds = outside + L · (one layer), operation by operation = closed form

The first step is an induction over layers. The program is run for sizes that stand for all (derivations.uniform), and
every block leaves the residual stream as it found it: same shape, strides and dtype, with a gradient to come. A block
is a function of that, so each one does what the first one did. At points the program itself is run, on integers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from flint import acb
from sympy import Add, Function, Integer, Mul, Symbol

from derivations.architecture import Architecture
from derivations.budget import TABLES, saved
from derivations.decoder import Run, loss
from derivations.forms import Goal, Part, eq
from derivations.polynomial import Terms, added, expression, terms, told
from derivations.uniform import Doubtful, polynomial

Program = Callable[..., Mapping[str, Any]]
L = Symbol("L", integer=True, positive=True)


def gpt2(L, D, H, K, F, V, S=0, **more):
    """GPT-2's form."""
    return Architecture(L, D, H, H, K, F, V, S or 2, norm="layer", gated=False, bias=True, tied=True, **more)


def llama(L, D, G, H, K, F, V, **more):
    """Llama's."""
    return Architecture(L, D, H, G, K, F, V, **more)


@cache
def transparent(table: str):
    """A machine on which blocks may be checkpointed without being run again: it looks at what goes in and comes out."""

    class Transparent(TABLES[table]):
        def checkpoint(self, part, *inputs):
            before = [_outside(x) for x in inputs]
            out = part(*inputs)
            if before != [_outside(out)]:
                raise Doubtful("a block does not leave the residual stream as it found it")
            return out

    return Transparent


def _outside(x):
    """All that an operation can see of a tensor."""
    axes = [tuple(sorted(terms(n).items())) for n in (*x.shape, *x.strides, x.storage.bytes)]
    return axes, x.dtype, x.view, x.edge is not None


def kept(form, table="cpu", autocast=False, **run) -> Program:
    """What is alive when the backward pass begins, by operation; workspaces of libraries left out."""

    def program(L, B, T, **sizes):
        m = transparent(table)(autocast)
        m.mark("forward")
        out = loss(m, form(L, **sizes), Run(B, T, **run, recompute="full"))
        m.cache.clear()
        m.mark("backward")
        found = saved(m, "backward")
        del out, found["workspace"]
        return found

    return program


@cache
def per_layer(program: Program, letters: str, derived: Callable[..., dict] = dict) -> tuple[dict, dict]:
    """(outside, one layer) of what a program finds, part by part, as polynomials in the letters.

    `derived` makes the sizes of the program from the letters, where some of them are products.
    """
    none, one = (polynomial(lambda L=depth, **sizes: program(L=L, **derived(**sizes)), letters) for depth in (0, 1))
    layer = {what: added([one.get(what, {}), {m: -c for m, c in none.get(what, {}).items()}]) for what in one | none}
    return none, {what: p for what, p in layer.items() if p}


class Measured(Function):
    """What a program finds at given sizes. It has no formula: where a number is wanted, the program is run."""

    names: tuple[str, ...] = ()
    program: Program
    title = ""

    def enumerate_law(self, point, evaluate):
        return acb(_ran(self.program, tuple(zip(self.names, map(point.integer, self.args), strict=True))))

    def _latex(self, printer, exp=None):
        inside = ", ".join(map(printer._print, self.args))
        return rf"\operatorname{{{self.title}}}\left({inside}\right)" + (f"^{{{exp}}}" if exp else "")

    def _sympystr(self, printer):
        return f"{self.title}({', '.join(map(printer._print, self.args))})"


@cache
def _ran(program, sizes):
    return int(sum(program(**dict(sizes)).values()))


@cache
def measured(title: str, program: Program, names: str):
    """The function that a program is, of the sizes named."""
    return type(Measured)(title, (Measured,), {"title": title, "program": program, "names": tuple(names.split())})


def total(parts: Mapping[str, Terms]):
    """The sum, left as a sum over the parts."""
    return Add(*(expression(p) for p in parts.values()), evaluate=False) if parts else Integer(0)


def in_depth(start, parts: tuple[dict, dict], closed, reason: str) -> Part:
    """start = outside + L · layer = closed, for every L: base and step as the module says, the rest is algebra."""
    outside, layer = parts
    found = Add(total(outside), Mul(L, total(layer), evaluate=False), evaluate=False)
    listed = "; ".join(f"{what} {told(p)}" for what, p in layer.items())
    steps = (eq(found, f"L = 0, and one block more adds {listed}"), eq(closed, reason))
    return Part("induct", start, steps, (Goal(found, "=", closed),), ((start, "=", closed),))
