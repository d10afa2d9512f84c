"""Three opinions on a derivative: torch's autograd, jax's of the twin, and extrapolated differences of the values.

Everything is projected once: a random cotangent c turns f into the number ⟨c, f⟩, a random direction d turns its
gradient into the number ⟨d, ∇⟨c, f⟩⟩ whose gradient is the second-order check. Differences of autograd's own gradient
confirm the second order without the twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import torch

from verify.compare import GAP, compare, first, to_jax

CAUTION = 32.0
"""The extrapolation's own estimate of its error is the change in its last refinement; picking the refinement where
that change is least makes it optimistic, and in trials by about ten."""
STEP, LEVELS = 2.0**-3, 8
"""First step and number of halvings: entries of a direction are ±1, and the smallest step is 2^-10."""


@partial(jax.jit, static_argnums=(0, 1))
def jax_slopes(twin, constants, arrays, xs, c, ones):
    """(gradients of ⟨c, twin⟩ by every x, and how they change along `ones`), compiled once for all of one shape."""

    def slopes(values):
        value, pull = jax.vjp(lambda moved: first(twin(**{**dict(constants), **arrays, **moved})), values)
        return pull(c.astype(value.dtype))[0]

    return jax.jvp(slopes, (xs,), (ones,))


class Difference(NamedTuple):
    """A largest relative difference and the largest one that rounding and extrapolation can explain."""

    relative: float
    allowed: float

    @property
    def excess(self) -> float:
        return self.relative / self.allowed if self.allowed else self.relative


def extrapolated(at: Callable[[float], torch.Tensor], rounding: float) -> tuple[torch.Tensor, float]:
    """The derivative of `at` at zero by Ridders' extrapolated central differences, and the error it admits.

    `rounding` is the absolute error of one value of `at`; ridders1982derivative, with halved steps.
    """
    best, error = torch.tensor(torch.nan), float("inf")
    row: list[torch.Tensor] = []
    for level in range(LEVELS):
        h = STEP / 2**level
        finer = [(at(h) - at(-h)) / (2 * h)]
        for order, coarse in enumerate(row, 1):
            finer.append(finer[-1] + (finer[-1] - coarse) / (4**order - 1))  # cancels the h^(2·order) term
            change = max((finer[-1] - other).abs().max().item() for other in (finer[-2], coarse))
            if change + rounding / h < error:
                best, error = finer[-1], change + rounding / h
        row = finer
    return best, CAUTION * error


def pullback(f: Callable[..., Any], xs: Sequence[torch.Tensor], c: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """∇⟨c, f⟩ by autograd, still differentiable; zeros where f does not depend on an argument."""
    value = (first(f(*xs)) * c).sum()
    if not value.requires_grad:
        return tuple(torch.zeros_like(x) for x in xs)
    return torch.autograd.grad(value, xs, create_graph=True, materialize_grads=True)


class Slope(NamedTuple):
    """⟨c, f⟩ at xs: its gradients, still differentiable, by every x, and the sizes that rounding is relative to."""

    xs: list[torch.Tensor]
    c: torch.Tensor
    first: tuple[torch.Tensor, ...]
    magnitude: float
    size: float


def slope(f: Callable[..., Any], inputs: Mapping[str, Any], names: Sequence[str], unit: float = 0.0) -> Slope:
    """The slope of f by the arguments `names`, with the same cotangent c for every f of one shape of result."""
    xs = [inputs[name].detach().clone().requires_grad_() for name in names]
    value = first(f(**{**inputs, **dict(zip(names, xs, strict=True))})).detach()
    c = torch.randn(value.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = pullback(lambda *moved: f(**{**inputs, **dict(zip(names, moved, strict=True))}), xs, c)
    # A relative change u of x moves f by u·|f| at least through rounding, so a derivative is resolved to u·|f|/|x|.
    magnitude = (c * value.abs().clamp(min=unit)).abs().sum().item()
    return Slope(xs, c, slopes, magnitude, magnitude / max(1.0, *(x.detach().abs().max().item() for x in xs)))


def gradients(
    f: Callable[..., Any], twin: Callable[..., Any], inputs: Mapping[str, Any], names: Sequence[str], unit: float = 0.0
) -> dict[str, Difference]:
    """Compare first and second derivatives of f and its twin by the arguments `names`, all of them at once.

    Keys read "q, first order, twin"; f takes tensors, the twin jax arrays, both by keyword. `unit` is the size of the
    terms that may cancel in the result.
    """
    others = {name: value for name, value in inputs.items() if name not in names}
    constants = tuple((name, value) for name, value in others.items() if not isinstance(value, torch.Tensor))
    arrays = {name: to_jax(value) for name, value in others.items() if isinstance(value, torch.Tensor)}
    xs, c, gradient, magnitude, size = slope(f, inputs, names, unit)
    draw = torch.Generator().manual_seed(1)
    ones = [torch.randint(0, 2, x.shape, generator=draw, dtype=torch.float64) * 2 - 1 for x in xs]

    def ours(*values: torch.Tensor) -> torch.Tensor:
        return f(**{**inputs, **dict(zip(names, values, strict=True))})

    along = torch.stack([(g * d).sum() for g, d in zip(gradient, ones, strict=True)]).sum()
    second = (
        torch.autograd.grad(along, xs, materialize_grads=True)
        if along.requires_grad
        else tuple(torch.zeros_like(x) for x in xs)
    )
    moving, along_ones = (dict(zip(names, map(to_jax, values), strict=True)) for values in (xs, ones))
    jax_first, jax_second = jax_slopes(twin, constants, arrays, moving, to_jax(c), along_ones)

    found = {}
    noise = 2.0**-50 * magnitude
    gradient_noise = 2.0**-50 * max(size, *(g.detach().abs().max().item() for g in gradient))

    def shifted(h: float, only: int | None = None) -> list[torch.Tensor]:
        moved = range(len(xs)) if only is None else [only]
        return [(x + h * d if i in moved else x).detach() for i, (x, d) in enumerate(zip(xs, ones, strict=True))]

    def values(h: float, i: int) -> torch.Tensor:
        return (first(ours(*shifted(h, i))) * c).sum().detach()

    def pulled(h: float, i: int) -> torch.Tensor:
        return pullback(ours, [x.requires_grad_() for x in shifted(h)], c)[i].detach()

    for i, name in enumerate(names):
        g, d = gradient[i].detach(), ones[i]
        for order, ours_, theirs, sampled, unsure, total in (
            ("first", g, jax_first[name], values, noise, (g * d).abs().sum()),
            ("second", second[i], jax_second[name], pulled, gradient_noise, second[i].abs().max()),
        ):
            scale = max(size, total.item())
            change, error = extrapolated(partial(sampled, i=i), unsure)
            along_d = (g * d).sum() if order == "first" else ours_
            found[f"{name}, {order} order, twin"] = Difference(compare(ours_, theirs, size), GAP)
            allowed = error / scale if scale else error
            found[f"{name}, {order} order, differences"] = Difference(compare(along_d, change, scale), allowed)
    return found
