"""Inputs of other sizes than those drawn: axes are named by the letters in the reference's annotations.

A grown tensor takes its entries at random from the drawn one, so it holds what that one holds: the same numbers, −∞,
symbols of the vocabulary; only logits are moved apart, so that none are equal. A sparse one is zero but for a few
entries a row: zeros are exact, so that the bound of a long sum stays as sharp as that of a short one.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from verify.compare import to_torch

LARGER: tuple[dict[str, int], ...] = (
    {"T": 9, "S": 9, "N": 12, "B": 3, "D": 11, "V": 11, "F": 11, "P": 11, "K": 10},
    {"T": 17, "S": 35, "D": 37, "V": 35, "F": 37, "P": 37},
    {"T": 70, "S": 131, "D": 67, "V": 67, "F": 67, "P": 67, "K": 34},
    {"T": 1, "S": 67, "D": 260, "V": 131, "F": 260, "P": 261, "K": 64},
    {"T": 5, "S": 259, "D": 1024, "V": 1031, "F": 1024, "P": 1024, "K": 128},
)
"""Sizes at which tiles end in the middle: beyond 8, 16, 32 … 256; and powers of two, in decoding, and square."""
NEIGHBOURS = 6
"""Entries that a sparse row keeps."""
MOST = 300_000
"""Entries of a result beyond which a case would take seconds."""


SYMBOLS = ("target", "tokens")
"""Arguments whose entries are places on the axis V."""


def letters(reference: Callable[..., Any]) -> dict[str, list[str]]:
    """The axes of every tensor argument, by its annotation; a leading *B stands for any number of axes."""
    given = inspect.signature(reference).parameters.items()
    found = {name: re.search(r"Tensor, [\"']([^\"']*)", str(p.annotation)) for name, p in given}
    return {name: match.group(1).split() for name, match in found.items() if match}


def sizes(inputs: Mapping[str, Any], axes: Mapping[str, list[str]]) -> dict[str, int]:
    """How long each lettered axis is in these inputs; whole-number arguments count by their name."""
    found = {name: x for name, x in inputs.items() if isinstance(x, int) and len(name) == 1 and name.isupper()}
    for name, names in axes.items():
        x = inputs.get(name)
        if isinstance(x, torch.Tensor):
            named = [n for n in names if not n.startswith("*")]
            found |= dict(zip(named, x.shape[x.ndim - len(named) :], strict=True))
    return found


def _largest_last(x: torch.Tensor) -> torch.Tensor:
    """Every other row with its largest entry in the last place: a running maximum ends there."""
    rows = x.reshape(-1, x.shape[-1]).clone()
    place = rows.argmax(-1)[::2]
    every = torch.arange(0, len(rows), 2)
    rows[every, place], rows[every, -1] = rows[every, -1], rows[every, place]
    return rows.reshape(x.shape)


def resized(
    inputs: Mapping[str, Any], axes: Mapping[str, list[str]], wanted: Mapping[str, int], seed: int, sparse: bool
) -> dict[str, Any]:
    """The inputs with the lettered axes as long as wanted."""
    draw = torch.Generator().manual_seed(seed)
    grown: dict[str, Any] = {n: wanted.get(n, x) if type(x) is int else x for n, x in inputs.items()}
    for name, x in inputs.items():
        if not isinstance(x, torch.Tensor) or name not in axes or not x.numel():
            continue
        names = [n for n in axes[name] if not n.startswith("*")]
        lead = x.ndim - len(names)
        shape = (*x.shape[:lead], *(wanted.get(n, size) for n, size in zip(names, x.shape[lead:], strict=True)))
        symbols = "V" in wanted and name in SYMBOLS
        if shape == tuple(x.shape) and not symbols:
            continue
        pick = torch.randint(x.numel(), shape, generator=draw)
        grown[name] = x.flatten()[pick]
        if not sparse and lead == 0 and names[-1] == "D" and len(names) > 1 and not set(names) & {"B", "N", "T"}:
            grown[name] *= 2.0 ** round(math.log2(x.shape[-1] / shape[-1]))  # Σ|x w| stays, by which a bound goes
        if symbols:  # of the larger vocabulary; what is ignored stays so
            other = torch.randint(wanted["V"], shape, generator=draw)
            grown[name] = torch.where(grown[name] < 0, grown[name], other.to(x.dtype))
        if not sparse and name == "k" and names[-2:-1] == ["S"]:
            grown[name][..., -1, :] *= 4  # what the last tile holds matters
        if name == "z" and names[-1:] == ["V"]:  # a logit of zero is nothing that drops out of a sum; and no equals
            uneven = torch.rand(shape, generator=draw, dtype=x.dtype)
            grown[name] = _largest_last(grown[name] * (1 - uneven / 4) + uneven / 8)
        elif sparse and x.is_floating_point() and shape and shape[-1] > NEIGHBOURS:
            kept = torch.rand(shape, generator=draw).argsort(-1) < NEIGHBOURS
            grown[name] = torch.where(kept, grown[name], 0)
    return grown


def with_leading(inputs: Mapping[str, Any], axes: Mapping[str, list[str]], number: int) -> dict[str, Any]:
    """The inputs with so many axes for a leading *B: its first ones flattened into one, or ones put before."""
    changed = dict(inputs)
    for name, x in inputs.items():
        if isinstance(x, torch.Tensor) and axes.get(name, [""])[0].startswith("*"):
            lead = x.ndim - len(axes[name]) + 1
            flat = x.flatten(0, lead - max(number, 1)) if lead > max(number, 1) else x
            changed[name] = flat[0] if number == 0 < lead else flat[(None,) * max(number - lead, 0)]
    return changed


def plainness(inputs: Mapping[str, Any]) -> float:
    """How far from one the largest finite magnitude is, in powers of two; the most for constant tensors."""
    floating = [x for x in inputs.values() if isinstance(x, torch.Tensor) and x.is_floating_point() and x.numel() > 1]
    sizes = [float(x[x.isfinite()].abs().max()) if x.isfinite().any() else 0.0 for x in floating]
    flat = any(bool((x == x.flatten()[0]).all()) for x in floating) or not all(sizes)
    return math.inf if flat else max((abs(math.log2(size)) for size in sizes), default=0.0)


def larger(
    drawn: Sequence[Mapping[str, Any]], reference: Callable[..., Any], given: Mapping[str, Sequence[int]], seed: int
) -> Iterator[dict[str, Any]]:
    """Grown versions of the drawn inputs, dense and sparse in turn; with `given` sizes, of those and no others.

    What the reference refuses (heads that cannot be shared, an odd rotation) is left out.
    """
    axes = letters(reference)
    combined = [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())] if given else []
    plans = combined or [dict(plan) for plan in LARGER]
    rounds = math.ceil(len(drawn) / len(plans)) if given else 2
    plain = sorted(drawn, key=plainness)  # of ordinary size and all different, so that little hides in a long sum
    for number, (turn, plan) in enumerate(itertools.product(range(rounds), plans)):
        inputs = drawn[(number * 7 + turn) % len(drawn)] if turn % 2 else plain[number % len(plain)]
        known = sizes(inputs, axes)
        wanted = {letter: size for letter, size in plan.items() if letter in known}
        if wanted != plan if given else not any(size != known[letter] for letter, size in wanted.items()):
            continue
        grown = resized(inputs, axes, wanted, seed + number, sparse=number % 2 == 1)
        with suppress(ValueError):
            if sum(to_torch(x).numel() for x in tree_leaves(reference(**grown))) <= MOST:
                yield grown
