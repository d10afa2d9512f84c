r"""One rule an operation: how far its result may be off when its arguments are off, plus its own roundings.

A rule takes the mode, the result and the arguments (a `Ball` for each tensor) and returns the bound. `spent` adds k
roundings of the result; reductions of n terms cost γ_n = n u/(1 − n u) of the sum of magnitudes, in any order
(higham2002accuracy, §4.2); terms that are exactly zero are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from verify.contract import HALF_SUBNORMAL, UNIT, allowance
from verify.rounding import Ball, NoRule, Rounding

aten = torch.ops.aten
BALLS: dict[Any, Callable[..., torch.Tensor]] = {}


def rule(*packets: Any) -> Callable[..., Any]:
    def add(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        BALLS.update(dict.fromkeys(packets, f))
        return f

    return add


def ball(x: Any) -> Ball:
    """A number is a tensor without error; it may be rounded when it is put into the arithmetic's dtype."""
    if isinstance(x, Ball):
        return x
    value = torch.as_tensor(float(x), dtype=torch.float64)
    exact = not math.isfinite(x) or abs(math.frexp(float(x))[0] * 2**11) % 1 == 0  # few bits: exact in every dtype
    return Ball(value, torch.zeros((), dtype=torch.float64) if exact else value.abs() * UNIT[torch.float32])


def magnitude(x: Ball) -> torch.Tensor:
    value = x.value.double()
    return torch.where(value.isfinite(), value.abs(), 0) + x.error


def spent(m: Rounding, out: torch.Tensor, error: torch.Tensor, roundings: Any = 1.0, *, vanishes: bool = False):
    """The error after some roundings of the result, a possible underflow, and a store in the narrow dtype."""
    size = torch.where(out.isfinite(), out.abs(), 0).double() + error
    error = error + roundings * m.contract.u * size
    if vanishes:
        error = error + torch.where((size > 0) & (size < 2**20 * m.contract.lost), m.contract.lost, 0)
    return m.rounded(out, error)


@rule(aten.add, aten.sub)
def _sum(m, out, a, b, *, alpha=1):
    return spent(m, out, ball(a).error + abs(alpha) * ball(b).error, 1 if alpha == 1 else 2)


@rule(aten.rsub)
def _reversed(m, out, a, b, alpha=1):
    return _sum(m, out, b, a, alpha=alpha)


@rule(aten.mul)
def _product(m, out, a, b):
    a, b = ball(a), ball(b)
    if not out.is_floating_point():  # whole numbers, truths
        return a.error + b.error
    if a.value is b.value:  # one number squared moves together: 2|a|e + e²
        return spent(m, out, 2 * magnitude(a) * a.error - a.error**2, vanishes=True)
    power_of_two = any(x.value.ndim == 0 and not x.error and abs(math.frexp(x.value)[0]) == 0.5 for x in (a, b))
    moved = (magnitude(a) - a.error) * b.error + magnitude(b) * a.error
    return spent(m, out, moved, 0 if power_of_two else 1, vanishes=True)


@rule(aten.div)
def _quotient(m, out, a, b):
    a, b = ball(a), ball(b)
    least = (b.value.abs() - b.error).clamp(min=0)
    moved = (a.error + torch.where(out.isfinite(), out.abs(), 0) * b.error) / least
    moved = torch.where((a.error == 0) & (b.error == 0), 0, moved)
    return spent(m, out, moved, allowance("root, quotient, power"), vanishes=True)


@rule(aten.neg, aten.abs, aten.relu, aten.clamp_min, aten.logical_not, aten.bitwise_not)
def _one_to_one(m, out, a, *least):
    return a.error


@rule(aten.clamp)
def _clamp(m, out, a, low=None, high=None):
    return a.error


@rule(aten.maximum, aten.minimum)
def _larger(m, out, a, b):
    return torch.maximum(ball(a).error, ball(b).error)


@rule(aten.amax, aten.amin, aten.max, aten.min)
def _largest(m, out, a, dim=(), keepdim=False):
    finite = torch.where(a.value.isfinite(), a.error, 0)
    return finite.amax(dim, keepdim)


@rule(aten.exp)
def _exp(m, out, a):
    argument = 2 * torch.where(a.value.isfinite(), a.value.abs(), 0)  # exp2(x log2 e) rounds its argument
    return spent(m, out, out * torch.expm1(a.error), allowance("exp") + argument, vanishes=True)


@rule(aten.log)
def _log(m, out, a):
    low = (a.value - a.error).clamp(min=0)
    moved = torch.where(a.error == 0, 0, torch.maximum(out - low.log(), (a.value + a.error).log() - out))
    return spent(m, out, moved, allowance("log"))


@rule(aten.sqrt)
def _sqrt(m, out, a):
    moved = out - (a.value - a.error).clamp(min=0).sqrt()  # the root is steepest below
    return spent(m, out, torch.where(a.error == 0, 0, moved), 2)


@rule(aten.rsqrt)
def _rsqrt(m, out, a):
    moved = (a.value - a.error).clamp(min=0).rsqrt() - out
    return spent(m, out, torch.where(a.error == 0, 0, moved), allowance("root, quotient, power"))


@rule(aten.pow)
def _power(m, out, a, p):
    if isinstance(p, Ball):  # a number to tensor powers, as in RoPE's frequencies: exp(p log a)
        base = ball(a)
        slope = base.value.log().abs()
        moved = out.abs() * (torch.expm1(slope * p.error) + magnitude(p) * base.error / base.value.abs())
        return spent(m, out, moved, allowance("root, quotient, power") + 2 * magnitude(p) * slope, vanishes=True)
    if p == 2:
        return spent(m, out, 2 * magnitude(a) * a.error - a.error**2, vanishes=True)
    ends = [(a.value.abs() + sign * a.error).clamp(min=0) ** p for sign in (-1, 1)]
    moved = torch.where(a.error == 0, 0, torch.maximum(*((end - out.abs()).abs() for end in ends)))
    return spent(m, out, moved, allowance("root, quotient, power") * max(1.0, abs(p)), vanishes=True)


@rule(aten.sin, aten.cos)
def _circular(m, out, a):
    return spent(m, out, a.error.clamp(max=2), allowance("sin, cos")) + m.contract.u * 2.0**-24


@rule(aten.tanh)
def _tanh(m, out, a):
    steepest = 1 - torch.tanh((a.value.abs() - a.error).clamp(min=0)) ** 2
    return spent(m, out, (steepest * a.error).clamp(max=2), allowance("tanh"), vanishes=True)


@rule(aten.erf)
def _erf(m, out, a):
    nearest = (a.value.abs() - a.error).clamp(min=0)
    steepest = 2 / math.sqrt(math.pi) * torch.exp(-(nearest**2))
    return spent(m, out, (steepest * a.error).clamp(max=2), allowance("erf"), vanishes=True)


@rule(aten.sigmoid)
def _sigmoid(m, out, a):
    argument = torch.where(a.value.isfinite(), a.value.abs(), 0)
    return spent(m, out, out * torch.expm1(a.error), 2 * allowance("exp") + 2 * argument, vanishes=True)


def gamma(m: Rounding, terms: torch.Tensor) -> torch.Tensor:
    """γ of a sum of so many terms that are not exactly zero; a sum of one is exact."""
    n = m.contract.tiles * terms.double()
    return torch.where(terms <= 1, 0, n * m.contract.u / (1 - n * m.contract.u))


def _axes(x: torch.Tensor, dim: Any) -> list[int]:
    return list(range(x.ndim)) if dim in (None, [], ()) else [dim] if isinstance(dim, int) else list(dim)


@rule(aten.sum)
def _reduction(m, out, a, dim=None, keepdim=False, *, dtype=None):
    axes = _axes(a.value, dim)
    if not a.value.is_floating_point():
        return torch.zeros(out.shape, dtype=torch.float64)
    if not axes:
        return a.error
    sizes = magnitude(a)
    spread = gamma(m, (sizes != 0).sum(axes, keepdim)) * sizes.sum(axes, keepdim)
    return m.rounded(out, a.error.sum(axes, keepdim) + spread)


@rule(aten.mean)
def _mean(m, out, a, dim=None, keepdim=False, *, dtype=None):
    terms = math.prod(a.value.shape[axis] for axis in _axes(a.value, dim))
    return spent(m, out, _reduction(m, out, a, dim, keepdim) / terms, allowance("root, quotient, power"))


def _narrowed(m: Rounding, x: Ball) -> Ball:
    """An operand rounded to the narrow dtype, unless it is an input: that is in it already."""
    narrow = m.contract.operands
    assert narrow is not None
    size, as_given = magnitude(x), 1.01 * allowance("input") * m.contract.u * magnitude(x)
    return Ball(x.value, x.error + torch.where(x.error > as_given, UNIT[narrow] * size + HALF_SUBNORMAL[narrow], 0))


@rule(aten.mm, aten.bmm, aten.dot, aten.mv)
def _matmul(m, out, a, b):
    if m.contract.operands:  # tensor cores take their operands in the narrow dtype
        a, b = (_narrowed(m, x) for x in (a, b))
    multiply: Callable[..., torch.Tensor] = torch.matmul
    sizes = magnitude(a), magnitude(b)
    total = multiply(*sizes)
    moved = multiply(sizes[0], b.error) + multiply(a.error, sizes[1])
    terms = multiply(*((x != 0).double() for x in sizes))
    return m.rounded(out, moved + (gamma(m, terms) + m.contract.u) * total)


@rule(aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge)
def _comparison(m, out, a, b):
    """Infinite where rounding may turn the comparison round."""
    a, b = ball(a), ball(b)
    if a.value is b.value:  # x == x asks for NaN
        return torch.zeros(out.shape, dtype=torch.float64)
    apart = (a.value.double() - b.value.double()).abs() > a.error + b.error
    return torch.where(apart | ((a.error == 0) & (b.error == 0)), 0.0, torch.inf)


@rule(aten.logical_and, aten.bitwise_and, aten.logical_or, aten.bitwise_or)
def _both(m, out, a, b):
    return a.error + b.error


@rule(aten.any, aten.all)
def _quantifier(m, out, a, dim=None, keepdim=False):
    return a.error.sum(_axes(a.value, dim), keepdim) if a.value.ndim else a.error


@rule(aten.where)
def _choice(m, out, condition, a, b):
    return torch.where(condition.value, ball(a).error, ball(b).error) + condition.error


@rule(aten.masked_fill)
def _fill(m, out, a, mask, value):
    return torch.where(mask.value, ball(value).error, a.error) + mask.error


@rule(aten._to_copy)
def _converted(m, out, a, *, dtype=None, **kwargs):
    """Only to float64, or from whole numbers: the reference computes in nothing narrower."""
    if out.dtype != torch.float64 and a.value.is_floating_point():
        raise NoRule(f"no rounding rule for a conversion to {out.dtype}")
    return a.error


@rule(aten.index_put)
def _written(m, out, a, indices, values, accumulate=False):
    if accumulate:
        raise NoRule("no rounding rule for aten.index_put that accumulates")
    return a.error.index_put([i and i.value for i in indices], values.error)


@rule(aten.isfinite, aten.isinf, aten.isnan, aten.ones_like, aten.zeros_like, aten.full_like, aten.new_zeros)
def _exact(m, out, *args, **kwargs):
    return torch.zeros(out.shape, dtype=torch.float64)


@rule(aten.scatter_add, aten.index_add)
def _scatter(m, out, a, dim, index, source):
    place = aten.scatter_add if index.value.ndim == a.value.ndim and a.value.ndim > 1 else aten.index_add
    sizes = place(magnitude(a), dim, index.value, magnitude(source))
    terms = place((magnitude(a) != 0).double(), dim, index.value, (magnitude(source) != 0).double())
    return m.rounded(out, place(a.error, dim, index.value, source.error) + gamma(m, terms) * sizes)


def named(names: str) -> set[Any]:
    return {getattr(aten, name) for name in names.split() if hasattr(aten, name)}


STRUCTURE = named("""
    view _unsafe_view reshape _reshape_alias transpose permute movedim t expand unsqueeze squeeze repeat contiguous
    clone copy detach alias lift_fresh slice select narrow split split_with_sizes chunk unbind unfold diagonal
    diagonal_copy diag_embed tril triu cat stack flip roll gather scatter index index_select constant_pad_nd
    slice_backward select_backward diagonal_backward unfold_backward
""")
"""They move entries about, and change none: applied to the bounds they move the bounds."""

EXACT = named("""
    full zeros ones arange eye scalar_tensor empty empty_like empty_strided new_full new_empty_strided one_hot bincount
    tril_indices triu_indices is_same_size _local_scalar_dense
""")
"""They make tensors of numbers that are exact, or read one out."""

DECOMPOSED: dict[Any, Callable[..., Any]] = {
    aten.reciprocal: lambda x: torch.div(torch.ones_like(x), x),
    aten.silu: lambda x: x * torch.sigmoid(x),
}
