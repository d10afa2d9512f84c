r"""The instants of a training step, and why every one lies below the backward pass of the loss or the end of the step.

    A = L·S + a         the loss, backward
    E = L·G + e         every gradient is there: the table of tokens gets its own, or the optimizer takes its roots
    m·S + i·G + c       i blocks are done, one is at work, m = L − 1 − i are to come

S is what a block saves, G its gradients. An instant of a block is below a weighted mean of A and E where 3BT ≥ 2D, and
below E where 3BT ≤ 2D; the gap is a polynomial whose coefficients, in sizes less one, are nonnegative. This is GPT-2's
form on a CPU in float32 with fused attention, F = 4D and V ≥ 16D; the scratch of kernels is left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from flint import acb
from sympy import Expr, Function, Poly, Symbol, expand

from derivations.decoder import Run
from derivations.forms import Goal
from derivations.polynomial import Terms, added, expression, terms
from derivations.programs import Quiet, gpt2
from derivations.training import train
from derivations.uniform import PRIMES, Doubtful, Letter, sign

B, T, H, K, V = (Symbol(x, integer=True, positive=True) for x in "BTHKV")
v = Symbol("v", integer=True, nonnegative=True)
m, i = (Symbol(x, integer=True, nonnegative=True) for x in "mi")
s = Symbol("s", nonnegative=True)
FROM_ONE = {x: 1 + Symbol(x.name.lower(), integer=True, nonnegative=True) for x in (B, T, H, K)}
SIZES = (*(x.free_symbols.pop() for x in FROM_ONE.values()), V, v, m, i, s)
LAYERS = (1, 2, 3)
LAST = {  # what and where E is
    (True, "sgd"): ("sum of gradients", "backward, Embedding"),
    (False, "sgd"): ("gradient of an embedding", "backward, Embedding"),
    (True, "adamw"): ("root of the second moment", "optimizer"),
}
VD = ("H", "K", "V")
EVER = {V: 16 * H * K + v}
MANY = EVER | {T: (2 * H * K + s) / (3 * B)}  # 3BT = 2D + s
FEW = EVER | {H: (3 * B * T + s) / (2 * K)}  # 2D = 3BT + s
MORE, LESS = {T: (V + s) / (3 * B)} | EVER, {V: 3 * B * T + s}  # 3BT = V + s, or V = 3BT + s
MEANS = ((2 * m + 3, 2 * i + 2), (m + 1, i + 1))  # weights of A and E, tried in turn


class Largest(Function):
    """The largest of its arguments: evaluated where numbers are wanted; what is proved of it stands in the goals."""

    def enumerate_law(self, point, evaluate):
        return acb(max((evaluate(arg, point) for arg in self.args), key=lambda x: float(x.real.mid())))

    def _latex(self, printer):
        return rf"\max\left({', '.join(map(printer._print, self.args))}\right)"


def running(tied, optimizer, L, B, T, H, K, F, V):
    """(what, where, bytes beyond those that were there before) at each request of the second step."""
    machine = Quiet()
    machine.state = train(machine, gpt2(L, H * K, H, K, F, V, T, tied), Run(B, T), optimizer, "loop")
    live, phase, within = 0, "", False
    for key, size, what, where in machine.events:
        if key is None:
            phase, within = what.partition(": ")[2], what.startswith("step 1") and not what.endswith("done")
            live = 0 if what == "step 1: forward" else live
        else:
            live = live + size
            if within and what:
                yield what, f"{phase}, {where}", live


@cache
def peak(tied: bool, optimizer: str):
    """The program that finds the peak of a step, beyond what is there between steps."""

    def program(L, B, T, H, K, V):
        return {"peak": max(live for _, _, live in running(tied, optimizer, L, B, T, H, K, 4 * H * K, V))}

    return program


def instants(tied: bool, optimizer: str, layers: int, **fixed: int) -> dict[frozenset, tuple[str, str]]:
    """(what, where) of every instant, a polynomial with F = 4HK put in; for all sizes from two on, or some fixed."""
    sizes: dict[str, Any] = {x: Letter(p, {(x,): 1}) for x, p in zip("BTHKFV", PRIMES, strict=False)} | fixed
    found = {}
    for what, where, live in running(tied, optimizer, layers, **sizes):
        found[frozenset(_put({"F": (4, "HK")}, terms(live)).items())] = what, where
    return found


def _put(values, p) -> Terms:
    """The polynomial with a multiple of some letters in place of another."""
    found = []
    for monomial, c in dict(p).items():
        for letter in monomial:
            c *= values.get(letter, (1,))[0]
        found.append({tuple(sorted("".join(values.get(x, (1, x))[1] for x in monomial))): c})
    return added(found)


def minus(p, q) -> Terms:
    return added([dict(p), {monomial: -c for monomial, c in dict(q).items()}])


def times(p: Terms, n: int) -> Terms:
    return {monomial: n * c for monomial, c in p.items() if n}


def is_below(p, q) -> bool:
    """p ≤ q for all sizes from two on?"""
    return sign(Letter(0, minus(q, p))) in ("0", "0+", "+")


def largest(run, what: str, phase: str) -> frozenset:
    """Of the instants of this name that in which tables of V × D weigh most."""
    mine = [p for p, (name, at) in run.items() if name == what and at.startswith(phase)]
    if not mine:
        raise Doubtful(f"no instant is the {what} of {phase}")
    return max(mine, key=lambda p: dict(p).get(VD, 0))


@cache
def pattern(tied: bool, optimizer: str) -> dict[str, Any]:
    """S, G, a, e, and the largest instants beside A and E: of the "head", in a "block", in the "tail".

    Raises Doubtful where an instant of a run of one to three layers, of one sequence or several, lies above all these.
    """
    runs = {n: instants(tied, optimizer, n) for n in LAYERS}
    A = {n: largest(run, "gradient of the logits", "backward, LogSoftmax") for n, run in runs.items()}
    E = {n: largest(run, *LAST[tied, optimizer]) for n, run in runs.items()}
    S, G = minus(A[2], A[1]), minus(E[2], E[1])
    groups: dict[str, list[Terms]] = {"head": [minus(A[1], S)], "block": [], "tail": [minus(E[1], G)]}
    for p, (_, at) in runs[1].items():
        place = "block" if "backward, block" in at else "head" if "forward" in at or "head" in at else "tail"
        rest, others = minus(p, {"head": S, "block": {}, "tail": G}[place]), groups[place]
        if not any(is_below(rest, q) for q in others):
            first = 0 if place == "block" else 1
            groups[place] = [*others[:first], *(q for q in others[first:] if not is_below(q, rest)), rest]
    for n, run in runs.items():
        known = [added([times(S, n), h]) for h in groups["head"]] + [added([times(G, n), t]) for t in groups["tail"]]
        known += [added([times(S, n - 1 - k), times(G, k), c]) for k in range(n) for c in groups["block"]]
        alone = [_put({"B": (1, "")}, q) for q in known]
        for found, bounds in ((run, known), (instants(tied, optimizer, n, B=1), alone)):
            for p, name in found.items():
                if not any(is_below(p, q) for q in bounds):
                    raise Doubtful(f"with {n} layers the instant {name} is none of those that are expected")
    a, e = groups["head"].pop(0), groups["tail"].pop(0)
    return {"S": S, "G": G, "a": a, "e": e, **groups}


def ends(tied: bool, optimizer: str, L) -> tuple[Expr, Expr]:
    """A and E."""
    S, G, a, e = (expression(pattern(tied, optimizer)[x]) for x in "SGae")
    return L * S + a, L * G + e


@cache
def inner_goals() -> tuple[Goal, ...]:
    """Whatever is done at the end, the instants of head and blocks are below A, the least E or a mean of the two."""
    first, *others = patterns = [pattern(*key) for key in LAST]
    if any(first[x] != other[x] for other in others for x in ("S", "G", "a", "head", "block")):
        raise Doubtful("what is done at the end changes instants before it")
    monomials = set.intersection(*(set(p["e"]) for p in patterns))
    least = {monomial: min(p["e"][monomial] for p in patterns) for monomial in monomials}
    S, G, L = expression(first["S"]), expression(first["G"]), m + 1 + i
    A, E = L * S + expression(first["a"]), L * G + expression(least)
    found = []
    for h in first["head"]:
        instant = L * S + expression(h)
        found += [below(instant, A, E, MANY, ((1, 0),)), below(instant, A, E, FEW, ((0, 1),))]
    for c in first["block"]:
        instant = m * S + i * G + expression(c)
        found += [below(instant, A, E, MANY, MEANS), below(instant, A, E, FEW, ((0, 1),))]
    return tuple(found)


@cache
def last_goals(tied: bool, optimizer: str) -> tuple[Goal, ...]:
    """The other instants after the last block are below A where 3BT ≥ V, and below E where not."""
    L = m + 1 + i
    A, E = ends(tied, optimizer, L)
    found = []
    for t in pattern(tied, optimizer)["tail"]:
        instant = L * expression(pattern(tied, optimizer)["G"]) + expression(t)
        if instant.has(B):
            found += [below(instant, A, E, MORE, ((1, 0),)), below(instant, A, E, LESS, ((0, 1),))]
        else:
            found.append(below(instant, A, E, EVER, ((0, 1),)))
    return tuple(found)


def below(instant, A, E, case, weights) -> Goal:
    """instant ≤ (xA + yE)/(x + y) in this case, all times a size, for weights x, y for which the gap is seen to be ≥ 0.

    It is seen where no coefficient of the gap, in sizes less one, is negative. Raises Doubtful.
    """
    for x, y in weights:
        left, right = (x + y) * instant, x * A + y * E
        for symbol, to in case.items():
            left, right = left.xreplace({symbol: to}), right.xreplace({symbol: to})
        low, high = (Poly(expand(12 * B * K * e).xreplace(FROM_ONE), *SIZES) for e in (left, right))
        if all(c > 0 for c in (high - low).coeffs()):
            return Goal(low.as_expr(), "≤", high.as_expr(), (high - low).as_expr())
    raise Doubtful(f"{instant} is not seen to be below {A} and {E} in the case {case}")
