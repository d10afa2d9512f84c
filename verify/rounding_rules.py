r"""One rule an operation: how far its result may be off when its arguments are off, plus its own roundings.

A rule takes the mode, the result and the arguments (a `Ball` for each tensor) and returns the bound. `spent` adds k
roundings of the result. Here are the rules of elementwise arithmetic and functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from verify.contract import allowance
from verify.rounding import Ball, Rounding

aten = torch.ops.aten
BALLS: dict[Any, Callable[..., torch.Tensor]] = {}


def rule(*packets: Any) -> Callable[..., Any]:
    def add(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        BALLS.update(dict.fromkeys(packets, f))
        return f

    return add


def ball(m: Rounding, x: Any) -> Ball:
    """A number is a tensor, off by one rounding if the arithmetic cannot hold it."""
    if isinstance(x, Ball):
        return x
    value = torch.as_tensor(float(x), dtype=torch.float64)
    return Ball(value, unheld(m, value))


def addend(m: Rounding, x: Any) -> Ball:
    """A number that is added to the data may be stored narrow first, if everything may: so does PyTorch on a CPU."""
    found = ball(m, x)
    if found is x or m.contract.stored is None or not m.of_data:
        return found
    stored = found.value.to(m.contract.stored).double()
    return Ball(found.value, found.error + torch.where(stored.isfinite(), (stored - found.value).abs(), 0))


def unheld(m: Rounding, value: torch.Tensor) -> torch.Tensor:
    held = value.to(m.contract.arithmetic).double() == value
    return torch.where(held | ~value.isfinite(), 0, m.contract.u * value.abs())


def magnitude(x: Ball) -> torch.Tensor:
    value = x.value.double()
    return torch.where(value.isfinite(), value.abs(), 0) + x.error


def spent(m: Rounding, out: torch.Tensor, error: torch.Tensor, roundings: Any = 1.0) -> torch.Tensor:
    """The error after some roundings of the result, a possible underflow, and a store in the narrow dtype."""
    size = torch.where(out.isfinite(), out.abs(), 0).double() + error
    error = error + roundings * m.contract.u * size
    error = error + torch.where((size > 0) & (size < 2**20 * m.contract.lost), m.contract.lost, 0)
    return m.rounded(out, error)


@rule(aten.add, aten.sub)
def _sum(m, out, a, b, *, alpha=1):
    a, b = addend(m, a), addend(m, b)
    free = (alpha == 1) & (((a.value == 0) & (a.error == 0)) | ((b.value == 0) & (b.error == 0)))  # + 0 is exact
    return spent(m, out, a.error + abs(alpha) * b.error, torch.where(free, 0, 1 if alpha == 1 else 2))


@rule(aten.rsub)
def _reversed(m, out, a, b, alpha=1):
    return _sum(m, out, b, a, alpha=alpha)


@rule(aten.mul)
def _product(m, out, a, b):
    a, b = ball(m, a), ball(m, b)
    if not out.is_floating_point():  # whole numbers, truths
        return a.error + b.error
    if a.value is b.value:  # one number squared moves together: 2|a|e + e²
        return spent(m, out, 2 * magnitude(a) * a.error - a.error**2)
    power_of_two = [(x.error == 0) & (torch.frexp(x.value.double()).mantissa.abs() == 0.5) for x in (a, b)]
    moved = torch.where(a.value.isfinite(), a.value.abs(), 0) * b.error + magnitude(b) * a.error
    return spent(m, out, moved, torch.where(power_of_two[0] | power_of_two[1], 0, 1))


@rule(aten.div)
def _quotient(m, out, a, b):
    a, b = ball(m, a), ball(m, b)
    least = (b.value.abs() - b.error).clamp(min=0)
    moved = (a.error + torch.where(out.isfinite(), out.abs(), 0) * b.error) / least
    moved = torch.where((least == 0) & (b.error > 0), torch.inf, moved)  # the divisor may be zero
    moved = torch.where((a.error == 0) & (b.error == 0), 0, moved)
    return spent(m, out, moved, allowance("root, quotient, power"))


@rule(aten.neg, aten.abs, aten.relu, aten.clamp_min, aten.logical_not, aten.bitwise_not)
def _one_to_one(m, out, a, *least):
    return a.error


@rule(aten.clamp)
def _clamp(m, out, a, low=None, high=None):
    return a.error


@rule(aten.exp)
def _exp(m, out, a):
    argument = 2 * torch.where(a.value.isfinite(), a.value.abs(), 0)  # exp2(x log2 e) rounds its argument
    return spent(m, out, out * torch.expm1(a.error), allowance("exp") + argument)


def _ends(f: Callable[[torch.Tensor], torch.Tensor], out: torch.Tensor, a: Ball) -> torch.Tensor:
    """How far a monotone function of nonnegative numbers moves: the farther of its values at the two ends."""
    low, high = f((a.value - a.error).clamp(min=0)), f(a.value + a.error)
    moved = torch.maximum((out - low).abs(), (high - out).abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return torch.where(a.error == 0, 0, moved)


@rule(aten.log)
def _log(m, out, a):
    return spent(m, out, _ends(torch.log, out, a), allowance("log"))


@rule(aten.log1p)
def _log1p(m, out, a):
    low, high = torch.log1p((a.value - a.error).clamp(min=-1)), torch.log1p(a.value + a.error)
    moved = torch.where(a.error == 0, 0, torch.maximum(out - low, high - out).nan_to_num(nan=torch.inf))
    return spent(m, out, moved, allowance("log"))


@rule(aten.sqrt)
def _sqrt(m, out, a):
    return spent(m, out, _ends(torch.sqrt, out, a), 2)


@rule(aten.rsqrt)
def _rsqrt(m, out, a):
    return spent(m, out, _ends(torch.rsqrt, out, a), allowance("root, quotient, power"))


@rule(aten.pow)
def _power(m, out, a, p):
    if isinstance(p, Ball):  # a number to tensor powers, as in RoPE's frequencies: exp(p log a)
        base = ball(m, a)
        slope = base.value.log().abs()
        moved = out.abs() * torch.expm1(slope * p.error - magnitude(p) * torch.log1p(-base.error / base.value.abs()))
        return spent(m, out, moved, allowance("root, quotient, power") + 2 * magnitude(p) * slope)
    if p == 2:
        return spent(m, out, 2 * magnitude(a) * a.error - a.error**2)
    moved = _ends(lambda x: x**p, out.abs(), Ball(a.value.abs(), a.error))
    return spent(m, out, moved, allowance("root, quotient, power") * max(1.0, abs(p)))


@rule(aten.sin, aten.cos)
def _circular(m, out, a):
    return spent(m, out, a.error.clamp(max=2), allowance("sin, cos")) + m.contract.u * 2.0**-24


@rule(aten.tanh)
def _tanh(m, out, a):
    steepest = 1 - torch.tanh((a.value.abs() - a.error).clamp(min=0)) ** 2
    return spent(m, out, (steepest * a.error).clamp(max=2), allowance("tanh"))


@rule(aten.erf)
def _erf(m, out, a):
    nearest = (a.value.abs() - a.error).clamp(min=0)
    steepest = 2 / math.sqrt(math.pi) * torch.exp(-(nearest**2))
    return spent(m, out, (steepest * a.error).clamp(max=2), allowance("erf"))


@rule(aten.erfinv)
def _inverse_erf(m, out, a):
    low, high = torch.erfinv(a.value - a.error), torch.erfinv(a.value + a.error)
    moved = torch.where(a.error == 0, 0, torch.maximum(out - low, high - out).nan_to_num(nan=torch.inf))
    argument = m.contract.u * a.value.abs() * math.sqrt(math.pi) / 2 * torch.exp(out**2)  # it rounds 1 − a²
    return spent(m, out, moved + argument, allowance("erfinv"))


@rule(aten.sigmoid)
def _sigmoid(m, out, a):
    argument = torch.where(a.value.isfinite(), a.value.abs(), 0)
    return spent(
        m, out, out * torch.expm1(a.error), allowance("exp") + 1 + allowance("root, quotient, power") + 2 * argument
    )


DECOMPOSED: dict[Any, Callable[..., Any]] = {
    aten.reciprocal: lambda x: torch.div(torch.ones_like(x), x),
    aten.silu: lambda x: x * torch.sigmoid(x),
    aten.tanh_backward: lambda grad, out: grad * (1 - out * out),
    aten.sigmoid_backward: lambda grad, out: grad * (out * (1 - out)),
}
