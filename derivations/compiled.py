r"""A prediction as a few polynomials in batch, length and layers: peak(B, T, L) = max over instants, in microseconds.

All blocks of a decoder are alike, so every instant of a step is affine in L, and of instants that differ only in their
block the highest is in the first or the last one. Two runs, of three and of four layers, therefore give them all. Of
these stay that no other one is above in every coefficient; sizes are positive, so the maximum over them is that of all.

A polynomial holds as long as the program decides alike: which views need a copy (a batch, length or number of heads of
one), how long the blocks of fused attention are. Those make a `kind`, which is compiled when it is first asked for.
Exact for requested bytes on a CPU; on CUDA what kernels round up or split between blocks of threads stays what it was
at the sizes compiled for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from derivations.architecture import Architecture
from derivations.budget import Plan, stream
from derivations.decoder import Run
from derivations.eager_cpu import blocks
from derivations.polynomial import Terms, added, letters, terms, value

FEW = 3, 4


def kind(B: int, T: int) -> tuple:
    """What the program's decisions depend on."""
    rows, keys = blocks(T, T)
    return B == 1, T == 1, rows if rows < T else "T", keys if keys < T else "T"


def maxima(m, last="step 1") -> Iterator[tuple[str, str, str, Terms]]:
    """(phase, block, what was just taken and where, bytes alive) wherever the last step stops rising."""
    live: Terms = {}
    phase, name, block = "", "", ""
    for key, size, what, where in (*m.events, (None, 0, "", "")):
        if phase and name and (key is None or size < 0):
            yield phase, block, name, {m: c for m, c in live.items() if c}
            name = ""
        if key is None:
            phase = what if what.startswith(last) and not what.endswith("done") else ""
            continue
        for monomial, coefficient in terms(size).items():
            live[monomial] = live.get(monomial, 0) + coefficient
        if size > 0:
            found = re.search(r"block (\d+)", where)
            block, name = found[1] if found else "", f"{what} ({where})"


def below(p: Terms, q: Terms) -> bool:
    """No coefficient of p is above that of q."""
    return all(c <= q.get(m, 0) for m, c in p.items()) and all(c >= 0 or m in p for m, c in q.items())


def front(found) -> list[tuple[str, Terms]]:
    """The instants that no other one is above."""
    kept: list[tuple[str, Terms]] = []
    for name, candidate in found:
        if not any(below(candidate, other) for _, other in kept):
            kept = [(n, other) for n, other in kept if not below(other, candidate)] + [(name, candidate)]
    return kept


def by_place(m, L: int):
    """The instants of each phase in its first block, in its last, and outside: outside of them those on the front."""
    places = defaultdict(list)
    for phase, block, name, polynomial in maxima(m):
        place = {"0": "first", str(L - 1): "last", "": "outside"}.get(block)
        if place:
            places[phase, place].append((name, polynomial))
    return {at: front(found) if at[1] == "outside" else found for at, found in places.items()}


def in_layers(few: Terms, more: Terms) -> Terms:
    """The polynomial in L that has these values at FEW."""
    slope = added([more, {m: -c for m, c in few.items()}])
    return added(
        [few, {m: -FEW[0] * c for m, c in slope.items()}, {tuple(sorted((*m, "L"))): c for m, c in slope.items()}]
    )


@cache
def instants_of(a: Architecture, run: Run, plan: Plan, table: str, autocast: bool) -> list[tuple[str, Terms]]:
    """(instant, bytes as a polynomial in B, T and L) for the kind of sizes that run has; a's own L does not matter.

    Raises ValueError for a model whose blocks are not all alike.
    """
    if a.experts and a.experts.dense:
        raise ValueError("compiled: expected blocks that are all alike, received some with experts and some without")
    B, T = letters(B=run.B, T=run.T)
    runs = []
    for L in FEW:
        m = stream(replace(a, L=L), replace(run, B=B, T=T, positions=T), replace(plan, pp=1), table, autocast)
        runs.append(by_place(m, L))
    few, more = runs
    found = []
    for at in few:
        names = [[re.sub(r"block \d+", at[1] + " block", name) for name, _ in side[at]] for side in runs]
        if names[0] != names[1]:
            raise ValueError(f"compiled: expected the same instants in {at}, with {FEW[0]} layers and {FEW[1]}")
        pairs = zip(names[0], few[at], more[at], strict=True)
        found += [(f"{at[0][8:]}: {name}", in_layers(p, q)) for name, (_, p), (_, q) in pairs]
    return front(found)


@cache
def predictor(
    a: Architecture, run: Run, plan: Plan, table: str = "cpu", autocast: bool = False
) -> Callable[[int, int, int], tuple[int, str]]:
    """A function of B, T and L: the highest bytes of a step, and the instant. What run and a say of them is ignored."""
    known: dict[Any, list[tuple[str, Terms]]] = {}
    alike = replace(a, L=FEW[0])

    def peak(B: int, T: int, L: int) -> tuple[int, str]:
        same = kind(B, T)
        if same not in known:
            known[same] = instants_of(alike, replace(run, B=B, T=T, positions=T), plan, table, autocast)
        sizes = {"B": B, "T": T, "L": L}
        return max((value(polynomial, sizes), name) for name, polynomial in known[same])

    return peak
