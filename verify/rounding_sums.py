r"""The rules of operations that put several entries together, or only move them about.

A sum of n terms costs γ_n = n u/(1 − n u) of the sum of magnitudes, in any order (higham2002accuracy, §4.2); terms that
are exactly zero are free.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from verify.contract import HALF_SUBNORMAL, UNIT, allowance
from verify.rounding import Ball, NoRule, Rounding, interval, stored
from verify.rounding_rules import aten, magnitude, rule, spent, unheld
from verify.rounding_steps import jump


def gamma(m: Rounding, terms: torch.Tensor) -> torch.Tensor:
    """γ of a sum of so many terms that are not exactly zero; a sum of one is exact."""
    n = 6 * terms.double().sqrt() if m.contract.walk else m.contract.tiles * terms.double()
    return torch.where(terms <= 1, 0, n * m.contract.u / (1 - n * m.contract.u))


def _axes(x: torch.Tensor, dim: Any) -> list[int]:
    return list(range(x.ndim)) if dim in (None, [], ()) else [dim] if isinstance(dim, int) else list(dim)


def _total(m: Rounding, a: Ball, axes: list[int], keepdim: bool) -> torch.Tensor:
    """The error of a sum over some axes; each of its additions may underflow."""
    sizes = magnitude(a)
    terms = (sizes != 0).sum(axes, keepdim)
    lost = torch.where(terms > 1, m.contract.lost * terms, 0)
    return a.error.sum(axes, keepdim) + gamma(m, terms) * sizes.sum(axes, keepdim) + lost


@rule(aten.sum)
def _reduction(m, out, a, dim=None, keepdim=False, *, dtype=None):
    axes = _axes(a.value, dim)
    if not axes or not a.value.is_floating_point():  # a count of truths is as sure as they are
        return a.error.sum(axes, keepdim) if axes else a.error
    return m.rounded(out, _total(m, a, axes, keepdim))


@rule(aten.mean)
def _mean(m, out, a, dim=None, keepdim=False, *, dtype=None):
    axes = _axes(a.value, dim)
    terms = math.prod(a.value.shape[axis] for axis in axes)
    error = _total(m, a, axes, keepdim) if axes else a.error
    return spent(m, out, error / terms, allowance("root, quotient, power"))


def _narrowed(m: Rounding, x: Ball) -> Ball:
    """An operand rounded to the narrow dtype; an input is in it already, unless a folded scale is stored with it."""
    narrow = m.contract.operands
    assert narrow is not None
    size = magnitude(x)
    as_given = (x.error <= 1.01 * allowance("input") * m.contract.u * size) & (m.contract.stored is None)
    return Ball(x.value, x.error + torch.where(as_given, 0, UNIT[narrow] * size + HALF_SUBNORMAL[narrow]))


@rule(aten.mm, aten.bmm, aten.dot, aten.mv)
def _matmul(m, out, a, b):
    if m.contract.operands:  # tensor cores take their operands in the narrow dtype
        a, b = (_narrowed(m, x) for x in (a, b))
    left, right = magnitude(a), magnitude(b)
    moved = left @ b.error + a.error @ right
    terms = (left != 0).double() @ (right != 0).double()
    return m.rounded(out, moved + (gamma(m, terms) + m.contract.u) * (left @ right) + m.contract.lost * terms)


@rule(stored)
def _read_again(m, out, a):
    """Rounding keeps order: what is stored lies between the two ends, rounded. EAGER has stored it already."""
    if m.contract.operands is None or m.contract.stored is not None:
        return a.error
    low, high = interval(a, m.contract)
    return torch.maximum(a.error, torch.maximum(high - out, out - low))


@rule(aten._to_copy)
def _converted(m, out, a, *, dtype=None, **kwargs):
    """Only to float64, or from or to whole numbers: the reference computes in nothing narrower."""
    if not out.is_floating_point() and out.dtype != torch.bool and a.value.is_floating_point():
        return jump(torch.trunc, m, out, a)
    if out.dtype != torch.float64 and a.value.is_floating_point():
        raise NoRule(f"no rounding rule for a conversion to {out.dtype}")
    return a.error


@rule(aten.index_put)
def _written(m, out, a, indices, values, accumulate=False):
    places = [i and i.value for i in indices]
    if not accumulate:
        return a.error.index_put(places, values.error)
    sizes = magnitude(a).index_put(places, magnitude(values), True)
    terms = (magnitude(a) != 0).double().index_put(places, (magnitude(values) != 0).double(), True)
    lost = torch.where(terms > 1, m.contract.lost * terms, 0)
    return m.rounded(out, a.error.index_put(places, values.error, True) + gamma(m, terms) * sizes + lost)


@rule(aten.isfinite, aten.isinf, aten.isnan, aten.ones_like, aten.zeros_like, aten.new_zeros)
def _exact(m, out, *args, **kwargs):
    return torch.zeros(out.shape, dtype=torch.float64)


@rule(aten.full, aten.full_like, aten.new_full, aten.scalar_tensor, aten.arange)
def _constant(m, out, *args, **kwargs):
    return unheld(m, out.double())


@rule(aten.scatter_add, aten.index_add)
def _scatter(m, out, a, dim, index, source):
    place = aten.scatter_add if index.value.ndim == a.value.ndim and a.value.ndim > 1 else aten.index_add
    sizes = place(magnitude(a), dim, index.value, magnitude(source))
    terms = place((magnitude(a) != 0).double(), dim, index.value, (magnitude(source) != 0).double())
    lost = torch.where(terms > 1, m.contract.lost * terms, 0)
    return m.rounded(out, place(a.error, dim, index.value, source.error) + gamma(m, terms) * sizes + lost)


def named(names: str) -> set[Any]:
    return {getattr(aten, name) for name in names.split() if hasattr(aten, name)}


STRUCTURE = named("""
    view _unsafe_view reshape _reshape_alias transpose permute movedim t expand unsqueeze squeeze repeat contiguous
    clone  copy detach alias lift_fresh slice select narrow split split_with_sizes chunk unbind unfold diagonal
    diagonal_copy diag_embed tril triu cat stack flip roll index_select constant_pad_nd
    slice_backward select_backward diagonal_backward unfold_backward
""")
"""They move entries about, and change none: applied to the bounds they move the bounds."""

EXACT = named("""
    zeros ones eye empty empty_like empty_strided new_empty_strided one_hot bincount
    tril_indices triu_indices is_same_size _local_scalar_dense
""")
"""They make tensors of numbers that are exact, or read one out."""
