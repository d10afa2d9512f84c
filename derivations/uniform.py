r"""One run that stands for all sizes: letters for every integer from two on, which allow no doubtful decision.

A program over sizes decides where it compares them. Letters of this kind answer a comparison only if one answer is
right for all of them: if every coefficient of the difference, as a polynomial in x − 2, has one sign. Otherwise
`Doubtful` is raised. What is no polynomial, such as a size rounded up to whole blocks, becomes a letter of its own, so
that it cannot pass for a constant. `polynomial` runs a program in every case of a size being one, or two and more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

from derivations.eager_cpu import blocks
from derivations.polynomial import Sized, Terms, added, terms, told

LEAST = 2
PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)  # what the letters are where a value is asked for; no result shows them
ASIDE = {blocks.__code__}  # it decides about the scratch of a kernel alone, and may be doubtful


class Doubtful(ValueError):
    """A decision that is not the same for all sizes, or a result that is not the polynomial it is taken for."""


@lru_cache(maxsize=50000)
def _sign(a: frozenset, b: frozenset) -> str:
    """What is known of a − b, polynomials in letters ≥ LEAST: "0", "+" (> 0), "0+" (≥ 0), "-", "0-", or "?"."""
    shifted: Terms = {}
    for monomial, c in added([dict(a), {m: -c for m, c in b}]).items():
        parts: Terms = {(): c}
        for letter in monomial:
            if letter.startswith("⌊"):
                return "?"
            parts = added([{(*m, letter): k for m, k in parts.items()}, {m: LEAST * k for m, k in parts.items()}])
        shifted = added([shifted, *({tuple(sorted(m)): k} for m, k in parts.items())])
    if not shifted:
        return "0"
    for sign, way in (("+", 1), ("-", -1)):
        if all(way * c > 0 for c in shifted.values()):
            return sign if () in shifted else "0" + sign
    return "?"


def sign(a: Any, b: Any = 0) -> str:
    """What is known of a − b for all sizes."""
    return _sign(frozenset(terms(a).items()), frozenset(terms(b).items()))


def _aside() -> bool:
    """Is the comparison made in a function that may be doubtful?"""
    frame = sys._getframe(2)
    while frame.f_globals["__name__"] == __name__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code in ASIDE


class Letter(Sized):
    """A size of which nothing is known but that it is at least two, or a polynomial in such sizes."""

    def _decide(self, other, yes: str, no: str, plain: bool) -> bool:
        found = sign(self, other)
        if found in yes.split():
            return True
        if found in no.split():
            return False
        if _aside():
            return plain
        raise Doubtful(f"{told(terms(self))} against {told(terms(other))} is not decided for all sizes")

    def __eq__(self, other):
        return isinstance(other, int) and self._decide(other, "0", "+ -", int(self) == int(other))

    def __ne__(self, other):
        return not self == other

    def __lt__(self, other):
        return self._decide(other, "-", "0 + 0+", int(self) < int(other))

    def __le__(self, other):
        return self._decide(other, "0 - 0-", "+", int(self) <= int(other))

    def __gt__(self, other):
        return not self <= other

    def __ge__(self, other):
        return not self < other

    def __bool__(self):
        return self != 0

    __hash__ = int.__hash__

    def __floordiv__(self, other):
        found = super().__floordiv__(other)
        if isinstance(found, Letter):
            return found
        return Letter(found, {(f"⌊{told(self.terms)}/{told(terms(other))}⌋",): 1})

    def __rfloordiv__(self, other):
        return Letter(int(other) // int(self), {(f"⌊{told(terms(other))}/{told(self.terms)}⌋",): 1})

    def __mod__(self, other):
        return _remainder(self, other)

    def __rmod__(self, other):
        return _remainder(other, self)


def _remainder(a, b):
    """0 where b divides a as polynomials, a where it is less; else it is not known."""
    if isinstance(Sized.__floordiv__(Sized(int(a), terms(a)), b), Sized):
        return 0
    if sign(a, b) == "-" and sign(a) in ("+", "0+"):
        return a
    raise Doubtful(f"whether {told(terms(b))} divides {told(terms(a))} is not decided for all sizes")


def largest(sizes: Iterable[Any]) -> Any:
    """The largest of some sizes. Raises Doubtful where which it is depends on the letters."""
    found = {frozenset(terms(x).items()): x for x in sizes}
    for x in found.values():
        if all(sign(x, other) in ("0", "0+", "+") for other in found.values()):
            return x
    raise Doubtful(f"which is the largest of {len(found)} sizes is not decided for all sizes")


def polynomial(program: Callable[..., Mapping[str, Any]], names: str) -> dict[str, Terms]:
    """What program(B=…, T=…) finds, part by part, for letters from two on; with its total in every case of ones.

    `names` are letters, a space between them. The sum over the parts is shown to be the same polynomial where some of
    the sizes are one, though the parts may differ: a copy of one row is none.
    """
    letters = names.split()
    general = {what: terms(size) for what, size in program(**_sizes(letters, ())).items()}
    total = added(general.values())
    if any(x.startswith("⌊") for m in total for x in m):
        raise Doubtful(f"{told(total)} is no polynomial in {', '.join(letters)}")
    for count in range(1, len(letters) + 1):
        for ones in combinations(letters, count):
            found = added(terms(size) for size in program(**_sizes(letters, ones)).values())
            left = added({tuple(x for x in m if x not in ones): c} for m, c in total.items())
            if found != left:
                raise Doubtful(f"with {', '.join(ones)} = 1 it is {told(found)}, not {told(left)}")
    return general


def _sizes(letters, ones) -> dict[str, int]:
    return {x: 1 if x in ones else Letter(p, {(x,): 1}) for x, p in zip(letters, PRIMES, strict=False)}
