"""What to call somebody's function with: its arguments by our names, and the inputs to try."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch

from verify.suite import Operation, examples

ALIASES = {
    "q": ("query", "Q"),
    "k": ("key", "K"),
    "v": ("value", "V"),
    "mask": ("attn_mask", "attention_mask"),
    "causal": ("is_causal",),
    "scale": ("softmax_scale", "sm_scale"),
    "z": ("logits", "input", "x", "scores"),
    "x": ("input", "hidden_states", "params", "theta"),
    "target": ("targets", "labels", "y"),
    "positions": ("position_ids", "pos"),
    "gradients": ("grads", "g"),
    "mu": ("momentum", "beta"),
}
"""Names under which people take our arguments."""


class Usage(Exception):
    """The candidate cannot be called as asked."""


def match(
    reference: Callable[..., Any], theirs: list[list[Any]] | None, given: Mapping[str, str], fixed: Collection[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """(ours passed by place, their name → ours) from the two signatures, from --map and --with. Raises Usage."""
    ours = inspect.signature(reference).parameters
    required = [name for name, p in ours.items() if p.default is p.empty]
    if unknown := [name for name in given if name not in ours]:
        raise Usage(f"--map {unknown[0]}: expected one of {', '.join(ours)}")
    if theirs is None:
        return required, {their: our for our, their in given.items()}
    by_name = [name for name, may, _ in theirs if may]
    named: dict[str, str] = {}
    for our in ours:
        names = [given[our]] if our in given else [our, *ALIASES.get(our, ())]
        if free := [their for their in names if their in (*by_name, *given.values()) and their not in named]:
            named[free[0]] = our
    placed: list[str] = []
    if not set(required) <= set(named.values()):
        if len(theirs) < len(required):
            raise Usage(f"expected a function of {', '.join(required)}, received one of {len(theirs)} arguments")
        placed = required
        first = [name for name, _, _ in theirs[: len(required)]]
        named = {their: our for their, our in named.items() if our not in required and their not in first}
    filled = {*named, *fixed, *(name for name, _, _ in theirs[: len(placed)])}
    if lacking := [name for name, _, has_default in theirs if not has_default and name not in filled]:
        raise Usage(f"the function also wants {lacking[0]}: --with {lacking[0]}=VALUE gives it one")
    return placed, named


def narrowed(inputs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The inputs with every floating-point tensor in the dtype."""
    return {n: x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for n, x in inputs.items()}


def regimes(inputs: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The inputs as drawn, and in turn: moderate, constant, tiny, one entry large, zero, moderate again, minus zero."""
    kinds: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x,
        lambda x: x / 4,
        lambda x: x.flatten()[:1].expand(x.numel()).reshape(x.shape).clone(),
        lambda x: x * 2.0**-12,
        lambda x: torch.where(torch.arange(x.numel()).reshape(x.shape) == x.numel() // 2, 64 * x, x),
        lambda x: torch.zeros_like(x),
        lambda x: x / 4,
        lambda x: -torch.zeros_like(x),
        lambda x: x,
    ]
    change = kinds[number % len(kinds)]
    floating = {n: x for n, x in inputs.items() if isinstance(x, torch.Tensor) and x.is_floating_point()}
    return {**inputs, **{name: change(x) if x.numel() else x for name, x in floating.items()}}


def cases(operation: Operation, named: Sequence[str], reference: Callable[..., Any], io: torch.dtype, count: int):
    """The inputs to try, small ones first; an option the candidate lacks stays at its default."""
    defaults = {n: p.default for n, p in inspect.signature(reference).parameters.items() if p.default is not p.empty}
    fixed = {name: value for name, value in defaults.items() if name not in named}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for inputs in examples(operation, 4 * count):  # draws repeat themselves: take them in turn from every kind
        shape = {n: tuple(x.shape) if isinstance(x, torch.Tensor) else x for n, x in (inputs | fixed).items()}
        kinds.setdefault(str(shape), []).append(inputs)
    turns = [inputs for turn in zip_longest(*kinds.values()) for inputs in turn if inputs is not None]
    changed = [defaults | regimes(inputs, number) | fixed for number, inputs in enumerate(turns[:count])]
    held = [narrowed(narrowed(inputs, io), torch.float64) for inputs in changed]  # numbers that the io dtype holds
    return sorted(held, key=lambda e: sum(x.numel() for x in e.values() if isinstance(x, torch.Tensor)))


def with_cotangent(reference: Callable[..., Any], inputs: dict[str, Any], io: torch.dtype) -> dict[str, Any]:
    """The inputs and a direction in which the result is differentiated, on the same coarse grid; no entry is zero."""
    shape = reference(**inputs).shape
    draw = torch.Generator().manual_seed(sum(shape))
    eighths = torch.randint(1, 9, shape, generator=draw) * (1 - 2 * torch.randint(0, 2, shape, generator=draw))
    return {**inputs, "cotangent": (eighths.double() / 8).to(io).double()}
