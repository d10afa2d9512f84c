r"""Integers that remember how they came about: each carries the polynomial in its letters that it is the value of.

    B, T = letters(B=8, T=1024);  4 * B * T  is 32768, and its polynomial is 4BT

A program over sizes runs on them unchanged: comparisons see the value, sums and products keep the polynomial. What is
no polynomial, such as a size rounded up to a whole block, goes on as a constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

Terms = dict[tuple[str, ...], int]  # letters of a monomial, in order and as often as they occur, to its coefficient


@cache
def _monomial(m: tuple[str, ...], n: tuple[str, ...]) -> tuple[str, ...]:
    """The product of two monomials."""
    return tuple(sorted(m + n))


class Sized(int):
    terms: Terms

    def __new__(cls, value: int, terms: Terms):
        self = super().__new__(cls, value)
        self.terms = terms
        return self

    def __add__(self, other):
        if other.__class__ is int and not other:
            return self
        total = dict(self.terms)
        for m, c in terms(other).items():
            total[m] = total.get(m, 0) + c
            if not total[m]:
                del total[m]
        return self.__class__(int.__add__(self, other), total)

    def __neg__(self):
        return self.__class__(int.__neg__(self), {m: -c for m, c in self.terms.items()})

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if not isinstance(other, Sized):
            if other == 1:
                return self
            return self.__class__(int(self) * other, {m: c * other for m, c in self.terms.items()} if other else {})
        product: Terms = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                key = _monomial(m, n)
                product[key] = product.get(key, 0) + c * d
                if not product[key]:
                    del product[key]
        return self.__class__(int.__mul__(self, other), product)

    def __floordiv__(self, other):
        """Exact where the divisor divides every coefficient, or is a single letter of every monomial."""
        divisor, quotient = terms(other), {}
        if len(divisor) == 1:
            ((letters_, by),) = divisor.items()
            for m, c in self.terms.items():
                rest = list(m)
                for letter in letters_:
                    if letter not in rest:
                        return int(self) // int(other)
                    rest.remove(letter)
                if c % by:
                    return int(self) // int(other)
                quotient[tuple(rest)] = c // by
            return self.__class__(int(self) // int(other), quotient)
        return int(self) // int(other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return other + -self

    def __rfloordiv__(self, other):
        return int(other) // int(self)


def letters(**values: int) -> tuple[Sized, ...]:
    """A size for each letter, in the order given."""
    return tuple(Sized(value, {(letter,): 1}) for letter, value in values.items())


def terms(x: Any) -> Terms:
    """The polynomial of a size; of a plain integer, itself."""
    return x.terms if isinstance(x, Sized) else {(): int(x)} if x else {}


def added(polynomials: Iterable[Terms]) -> Terms:
    total: Terms = {}
    for polynomial in polynomials:
        for m, c in polynomial.items():
            total[m] = total.get(m, 0) + c
    return {m: c for m, c in total.items() if c}


def value(polynomial: Terms, at: Mapping[str, int]) -> int:
    """The polynomial at these values of its letters."""
    total = 0
    for m, c in polynomial.items():
        for letter in m:
            c *= at[letter]
        total += c
    return total


def told(polynomial: Terms) -> str:
    """For people: the largest degrees first, powers as such."""
    if not polynomial:
        return "0"
    parts = []
    for m, c in sorted(polynomial.items(), key=lambda item: (-len(item[0]), item[0])):
        powers = "".join(x if m.count(x) == 1 else f"{x}^{m.count(x)}" for x in dict.fromkeys(m))
        parts.append(("− " if c < 0 else "+ ") + (str(abs(c)) if abs(c) != 1 or not m else "") + powers)
    return " ".join(parts).removeprefix("+ ")


def expression(polynomial: Terms):
    """As a SymPy expression in positive integers."""
    from sympy import Add, Mul, Symbol

    return Add(*(Mul(c, *(Symbol(x, integer=True, positive=True) for x in m)) for m, c in polynomial.items()))
