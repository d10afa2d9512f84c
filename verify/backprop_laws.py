"""Laws of every gradient by hand: it is the one of autograd, and of differences of the outputs, and it is linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from verify.compare import close


def several(found: Any) -> list[torch.Tensor]:
    """One gradient, or some, as a list."""
    return list(found) if isinstance(found, (list, tuple)) else [found]


def taken(inputs: Mapping[str, Any], names: Sequence[str]) -> list[torch.Tensor]:
    """The tensors among the arguments `names`, those of lists one by one; what is not given is left out."""
    return [x for name in names for x in several(inputs[name]) if x is not None]


def put(inputs: Mapping[str, Any], names: Sequence[str], values: Sequence[torch.Tensor]) -> dict[str, Any]:
    """The inputs with these tensors in place of those that `taken` takes."""
    rest = iter(values)
    given = {n: inputs[n] for n in names if inputs[n] is not None}
    return {**inputs, **{n: [next(rest) for _ in x] if isinstance(x, list) else next(rest) for n, x in given.items()}}


def of_autograd(forward: Callable[..., torch.Tensor], *names: str) -> Callable[..., None]:
    """The law that the gradients are those of torch's autograd by the arguments `names` of `forward`."""

    def gradients_are_those_of_autograd(vjp, dy, **inputs):
        xs = [x.detach().clone().requires_grad_() for x in taken(inputs, names)]
        y = forward(**put(inputs, names, xs))
        expected = torch.autograd.grad(y, xs, dy, materialize_grads=True)
        for ours, theirs in zip(several(vjp(dy, **inputs)), expected, strict=True):
            close(ours, theirs, scale=1)

    return gradients_are_those_of_autograd


def of_differences(forward: Callable[..., torch.Tensor], *names: str) -> Callable[..., None]:
    """The law ⟨dy, f(x + hd) − f(x − hd)⟩/2h → ⟨gradient, d⟩ as h → 0, with d a direction of signs in all arguments."""

    def gradients_are_those_of_differences(vjp, dy, **inputs):
        from verify.gradients import extrapolated

        draw, xs = torch.Generator().manual_seed(2), taken(inputs, names)
        signs = [torch.randint(0, 2, x.shape, generator=draw, dtype=torch.float64) * 2 - 1 for x in xs]

        def along(h):
            moved = [x + h * d for x, d in zip(xs, signs, strict=True)]
            return (dy * forward(**put(inputs, names, moved))).sum()

        sizes = (dy * forward(**inputs)).abs()
        change, error = extrapolated(along, 2.0**-50 * float(torch.where(sizes.isfinite(), sizes, 0).sum() + 1))
        found = several(vjp(dy, **inputs))
        difference = float((sum((g * d).sum() for g, d in zip(found, signs, strict=True)) - change).abs())
        assert difference <= error, f"along d it is {difference:.3g} off, of which {error:.3g} may be rounding"

    return gradients_are_those_of_differences


def gradients_are_linear(vjp, dy, **inputs):
    """Two losses together have the sum of their gradients."""
    together, one, other = (several(vjp(c, **inputs)) for c in (dy + 2, dy, torch.ones_like(dy)))
    for sum_, first, second in zip(together, one, other, strict=True):
        close(sum_, first + 2 * second, scale=1)


def laws(forward: Callable[..., torch.Tensor], *names: str) -> list[Callable[..., None]]:
    """What every gradient must be."""
    return [of_autograd(forward, *names), of_differences(forward, *names)]
