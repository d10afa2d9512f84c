r"""Linear operations: each is its own derivative, and what comes back goes through its transpose.

What one operation copies, its transpose adds: the transpose of broadcasting is a sum, that of reading entries by an
index adds into the places that were read. Article papers/autodiff.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import zip_longest
from typing import Any

import torch

from reference import expect
from reference.autodiff_number import Map, differentiable, level, plain, shape

SAME = Map(lambda change: change, lambda change: change)


@differentiable(lambda x, size: x.expand(size))
def expand(y, x, *, size):
    """x repeated along new or single axes, so that its shape is `size`; the copies add up on the way back."""
    was = shape(x)
    return (Map(lambda d: expand(d, size), lambda d: _sum_to(d, was)),)


def _sum_to(x: Any, size: tuple[int, ...]) -> Any:
    """The sum over the axes that expanding from `size` made."""
    new = len(shape(x)) - len(size)
    single = [new + i for i, n in enumerate(size) if n == 1 and shape(x)[new + i] != 1]
    return reshape(total(x, (*range(new), *single)), size) if new or single else x


def common(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all of them broadcast to."""
    sizes = [set(axis) - {1} for axis in zip_longest(*(size[::-1] for size in shapes), fillvalue=1)]
    if any(len(size) > 1 for size in sizes):
        expect.fail(name, "shapes that broadcast", " and ".join(map(str, shapes)))
    return tuple(size.pop() if size else 1 for size in reversed(sizes))


def broadcasting(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation for operands whose shapes broadcast: a Number is expanded first, and `expand` has its own rule."""

    @wraps(operation)
    def on_one_shape(*operands, **options):
        shapes = {shape(x) for x in (*operands, *options.values()) if not isinstance(x, float | int)}
        if len(shapes) > 1 and any(map(level, operands)):
            size = common(operation.__name__, *shapes)
            operands = tuple(expand(x, size) if level(x) and shape(x) != size else x for x in operands)
        return operation(*operands, **options)

    return on_one_shape


@broadcasting
@differentiable(lambda a, b: a + b)
def add(y, a, b):
    """a + b."""
    return SAME, SAME


@broadcasting
@differentiable(lambda a, b: a - b)
def sub(y, a, b):
    """a − b."""
    return SAME, Map(neg, neg)


@differentiable(lambda x: -x)
def neg(y, x):
    """−x."""
    return (Map(neg, neg),)


@broadcasting
@differentiable(lambda a, b, mask: torch.where(mask, a, b))
def where(y, a, b, *, mask):
    """a where the mask is true, else b: what is not chosen gets zero, also where it is infinite."""
    first, second = (lambda d: where(d, 0.0, mask=mask)), (lambda d: where(0.0, d, mask=mask))
    return Map(first, first), Map(second, second)


def named(name: str, x: Any, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    """The axes from 0 on, all if none is named."""
    ndim = len(shape(x))
    chosen = range(ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    if any(not -ndim <= axis < ndim for axis in chosen):
        expect.fail(name, f"axes from {-ndim} to {ndim - 1}", axes)
    return tuple(axis % ndim for axis in chosen)


def total(x: Any, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Any:
    """The sum over the axes, over all if none is named; every term gets back what the sum gets."""
    return _total(x, named("total", x, axes), keepdim)


@differentiable(lambda x, axes, keepdim: x.sum(axes, keepdim) if axes else x)
def _total(y, x, *, axes, keepdim):
    size = shape(x)
    kept = tuple(1 if i in axes else n for i, n in enumerate(size))
    return (Map(lambda d: _total(d, axes, keepdim), lambda d: expand(reshape(d, kept), size)),)


def reshape(x: Any, size: Sequence[int]) -> Any:
    """The same entries in another shape; one size may be −1. Raises ValueError for another number of entries."""
    known, count = math.prod(n for n in size if n >= 0), math.prod(shape(x))
    if sum(n < 0 for n in size) > 1 or (count % known if -1 in size and known else count != known):
        expect.fail("reshape", f"sizes of {count} entries", tuple(size))
    return _reshape(x, tuple(size))


@differentiable(lambda x, size: x.reshape(size))
def _reshape(y, x, *, size):
    was = shape(x)
    return (Map(lambda d: _reshape(d, size), lambda d: _reshape(d, was)),)


def transpose(x: Any, first: int = -2, second: int = -1) -> Any:
    """x with two axes exchanged, the last two unless others are named."""
    return _transpose(x, *named("transpose", x, (first, second)))


@differentiable(lambda x, first, second: x.transpose(first, second))
def _transpose(y, x, *, first, second):
    def back(d):
        return _transpose(d, first, second)

    return (Map(back, back),)


def take(x: Any, index: Any) -> Any:
    """x[index], by integers, slices, masks or tensors of integers; an entry that is read twice gets both cotangents."""
    places = torch.arange(math.prod(shape(x)), device=plain(x).device).reshape(shape(x))
    index = tuple(map(_whole, index)) if isinstance(index, tuple) else _whole(index)
    try:
        return _take(x, places[index])
    except IndexError as error:
        raise ValueError(f"index: expected one for shape {shape(x)}, received another: {error}") from error


def _whole(index: Any) -> Any:
    """Bytes are whole numbers here; PyTorch takes them for a mask."""
    return index.long() if getattr(index, "dtype", None) == torch.uint8 else index


@differentiable(lambda x, places: x.flatten()[places])
def _take(y, x, *, places):
    size = shape(x)
    return (Map(lambda d: _take(d, places), lambda d: _put(d, places, size)),)


def _add_into(x: torch.Tensor, places: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    return x.new_zeros(math.prod(size)).index_add(0, places.flatten(), x.flatten()).reshape(size)


@differentiable(_add_into)
def _put(y, x, *, places, size):
    """Zeros of the size, to which every entry is added in its place: the transpose of reading."""
    return (Map(lambda d: _put(d, places, size), lambda d: _take(d, places)),)
