r"""Operations that are not linear: products, elementwise functions and the largest entry, each with its rule beside it.

A product has a linear map for either factor while the other is held; an elementwise function multiplies by its slope,
forward as well as back. Slopes are computed when they are needed, so that a tape keeps what they are made of and no
more. Article papers/autodiff.md, derivation derivations/autodiff_rules.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from reference import expect
from reference.autodiff_linear import (
    add,
    broadcasting,
    common,
    expand,
    named,
    neg,
    reshape,
    sub,
    take,
    total,
    transpose,
)
from reference.autodiff_number import Map, Number, differentiable, level, plain, shape


def scaled(slope: Callable[[], Any]) -> Map:
    """Multiplication by a slope: a diagonal Jacobian, and its own transpose."""
    return Map(lambda d: mul(d, slope()), lambda d: mul(d, slope()))


def over(divisor: Callable[[], Any]) -> Map:
    """Division, likewise."""
    return Map(lambda d: div(d, divisor()), lambda d: div(d, divisor()))


@broadcasting
@differentiable(lambda a, b: a * b)
def mul(y, a, b):
    """a b: the slope by each factor is the other."""
    return scaled(lambda: b), scaled(lambda: a)


@broadcasting
@differentiable(lambda a, b: a / b)
def div(y, a, b):
    """a/b, with the slopes 1/b and −y/b."""
    return over(lambda: b), Map(lambda d: neg(d * y / b), lambda d: neg(d * y / b))


def matmul(a: Any, b: Any) -> Any:
    """The matrix product over the last two axes; the axes before them broadcast.

    Raises ValueError unless both have two axes at least, the inner sizes agree and the others broadcast.
    """
    if min(len(shape(a)), len(shape(b))) < 2 or shape(a)[-1] != shape(b)[-2]:
        expect.fail("matmul", "shapes (…, m, k) and (…, k, n)", f"{shape(a)} and {shape(b)}")
    if len(shape(b)) == 2 < len(shape(a)):  # one matrix for all rows: a single product, and a single one back
        return reshape(_matmul(reshape(a, (-1, shape(a)[-1])), b), (*shape(a)[:-1], shape(b)[-1]))
    batch = common("matmul", shape(a)[:-2], shape(b)[:-2])
    return _matmul(*(expand(x, (*batch, *shape(x)[-2:])) if level(x) and shape(x)[:-2] != batch else x for x in (a, b)))


@differentiable(torch.matmul)
def _matmul(y, a, b):
    return (
        Map(lambda d: _matmul(d, b), lambda d: _matmul(d, transpose(b))),
        Map(lambda d: _matmul(a, d), lambda d: _matmul(transpose(a), d)),
    )


@differentiable(lambda x, exponent: x**exponent)
def power(y, x, *, exponent):
    """xᵖ for a plain number p, with the slope p xᵖ⁻¹; x⁰ is constant, at zero too."""
    return (scaled(lambda: exponent * power(x, exponent - 1) if exponent else 0.0),)


@differentiable(torch.exp)
def exp(y, x):
    """e^x, its own slope."""
    return (scaled(lambda: y),)


@differentiable(torch.log)
def log(y, x):
    """log x, with the slope 1/x."""
    return (over(lambda: x),)


@differentiable(torch.sin)
def sin(y, x):
    """sin x, with the slope cos x."""
    return (scaled(lambda: cos(x)),)


@differentiable(torch.cos)
def cos(y, x):
    """cos x, with the slope −sin x."""
    return (scaled(lambda: neg(sin(x))),)


@differentiable(torch.tanh)
def tanh(y, x):
    """tanh x, with the slope 1 − tanh² x."""
    return (scaled(lambda: 1 - y * y),)


@differentiable(torch.sqrt)
def sqrt(y, x):
    """√x, with the slope 1/(2√x), which is infinite at zero."""
    return (over(lambda: 2 * y),)


@differentiable(torch.relu)
def relu(y, x):
    """max(x, 0), with the slope 1 above zero and 0 elsewhere, at zero too."""
    return (scaled(lambda: (plain(y) > 0).to(plain(y).dtype)),)


@broadcasting
@differentiable(torch.maximum)
def maximum(y, a, b):
    """The larger one of each pair; equal ones share what comes back."""

    def share(one: Any, other: Any) -> torch.Tensor:
        even = torch.where(plain(one) == plain(other), 0.5, 0.0).to(plain(y).dtype)
        return torch.where(plain(one) > plain(other), 1, even)

    return scaled(lambda: share(a, b)), scaled(lambda: share(b, a))


def largest(x: Any, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Any:
    """The largest entry over the axes, over all if none is named; equal ones share what comes back."""
    return _largest(x, named("largest", x, axes), keepdim)


@differentiable(lambda x, axes, keepdim: x.amax(axes, keepdim) if axes else x)
def _largest(y, x, *, axes, keepdim):
    size = shape(x)
    kept = tuple(1 if i in axes else n for i, n in enumerate(size))

    def share() -> torch.Tensor:
        top = (plain(x) == plain(y).reshape(kept)).to(plain(y).dtype)
        return top / top.sum(axes, keepdim=True)

    return (
        Map(
            lambda d: total(mul(d, share()), axes, keepdim),
            lambda d: mul(expand(reshape(d, kept), size), share()),
        ),
    )


def mean(x: Any, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Any:
    """The sum over the axes divided by how many entries it has."""
    count = math.prod(shape(x)[i] for i in named("mean", x, axes))
    return total(x, axes, keepdim) / count


def reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operator of a Number that stands on the right."""
    return lambda x, other: operation(other, x)


OPERATORS: dict[str, Callable[..., Any]] = {
    "pow": power,
    "neg": neg,
    "getitem": take,
    "len": lambda x: shape(x)[0],
    "iter": lambda x: (take(x, i) for i in range(shape(x)[0])),
}
for symbol, operation in (("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("matmul", matmul)):
    OPERATORS |= {symbol: operation, f"r{symbol}": reflected(operation)}
for symbol, operation in OPERATORS.items():
    setattr(Number, f"__{symbol}__", operation)
