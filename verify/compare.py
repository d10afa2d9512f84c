"""Put two results beside each other: one measure of difference, one gap, and the crossing between torch and jax."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

GAP = 2.0**-36
"""Largest relative difference at which two float64 results still count as equal.

A floor, not a bound: at our sizes (at most some hundred additions, arguments up to some thousands) float64 rounding
stays under 2^-40, and the slightest planted mistake, 1e-10 in a denominator, lies above 2^-34. Bounds derived
operation by operation come with the rounding checker.
"""

PLAINLY = "--xla_cpu_use_fusion_emitters=false"


def jax64() -> Any:
    """jax with 64-bit numbers, imported when a twin is about to run: a check of somebody's function does without.

    Inputs are tiny, so compiling takes all the time: XLA emits fusions the plain way, and optimizes little.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if PLAINLY not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {PLAINLY}".strip()  # read when the first computation starts
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    return jax


def to_jax(value: Any) -> Any:
    """A tensor, or each of a list, as a jax array of the same dtype; anything else unchanged."""
    if isinstance(value, list):
        return [to_jax(x) for x in value]
    return jax64().numpy.asarray(value.detach().cpu().numpy()) if isinstance(value, torch.Tensor) else value


def to_torch(value: Any) -> Any:
    """A jax or numpy array, or a number, as a tensor of the same dtype; several as a list."""
    if isinstance(value, (list, tuple)):
        return [to_torch(x) for x in value]
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))


def first(result: Any) -> Any:
    """Of several results the one that is differentiated: the others are statistics that training keeps beside it."""
    return result[0] if isinstance(result, (list, tuple)) else result


def in_torch(twin: Callable[..., Any], compiled: bool = False) -> Callable[..., Any]:
    """The twin as a function of tensors, so that laws run on it unchanged; `compiled` by jax.jit."""
    fixed = jax64().jit(lambda constants, arrays: twin(**dict(constants), **arrays), static_argnums=0)
    names = list(inspect.signature(twin).parameters)

    def through_jax(*positional: Any, **named: Any) -> Any:
        named = dict(zip(names, positional, strict=False)) | named
        arrays = {name: to_jax(value) for name, value in named.items() if isinstance(value, (torch.Tensor, list))}
        constants = {name: value for name, value in named.items() if name not in arrays}
        return to_torch(fixed(tuple(constants.items()), arrays) if compiled else twin(**constants, **arrays))

    return through_jax


def compare(candidate: Any, expected: Any, scale: float = 0.0) -> float:
    """Largest difference, relative to the largest finite magnitude expected (or `scale`, if that is larger).

    NaN must meet NaN and an infinity the same infinity; otherwise, and for another shape, the difference is infinite.
    Of several results the worst difference counts.
    """
    if isinstance(expected, (list, tuple)):
        alike = isinstance(candidate, (list, tuple)) and len(candidate) == len(expected)
        return max(map(compare, candidate, expected, [scale] * len(expected)), default=0.0) if alike else float("inf")
    ours, theirs = to_torch(candidate).detach().double(), to_torch(expected).detach().double()
    if ours.shape != theirs.shape:
        return float("inf")
    finite = theirs.isfinite()
    # equal_nan makes NaN meet NaN; zero tolerance makes infinities meet their own sign only
    if not torch.equal(finite, ours.isfinite()):
        return float("inf")
    if not torch.isclose(ours[~finite], theirs[~finite], rtol=0, atol=0, equal_nan=True).all():
        return float("inf")
    if not finite.any():
        return 0.0
    difference = (ours[finite] - theirs[finite]).abs().max().item()
    size = max(theirs[finite].abs().max().item(), scale)
    return difference / size if size else difference  # nothing to be relative to: absolute


def close(candidate: Any, expected: Any, scale: float = 0.0) -> None:
    """Raise AssertionError, naming the difference, unless the two agree within the gap."""
    ours, theirs = to_torch(candidate), torch.as_tensor(expected, dtype=torch.float64)
    theirs = theirs.expand_as(ours) if theirs.ndim == 0 else theirs
    difference = compare(ours, theirs, scale)
    assert difference <= GAP, f"relative difference {difference:.3g}{worst_place(ours, theirs)}"


def worst_place(candidate: Any, expected: Any) -> str:
    """Where two results differ most: " at [1,2]: got …, expected …", or their shapes when these differ."""
    if isinstance(expected, (list, tuple)):
        pairs = list(zip(candidate, expected, strict=False))
        worst = max(range(len(pairs)), key=lambda i: compare(*pairs[i]))
        return f" in result {worst}{worst_place(*pairs[worst])}"
    ours, theirs = (to_torch(value).detach().double() for value in (candidate, expected))
    if ours.shape != theirs.shape:
        return f": got shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
    if not ours.numel():
        return ": both are empty"
    gaps = (ours - theirs).abs().nan_to_num(torch.inf)  # inf − inf is no difference, NaN against NaN neither
    gaps[(ours == theirs) | (ours.isnan() & theirs.isnan())] = 0
    place = [int(i) for i in torch.unravel_index(gaps.flatten().argmax(), gaps.shape)]
    at = f" at {place}" if place else ""
    return f"{at}: got {ours[tuple(place)].item():.6g}, expected {theirs[tuple(place)].item():.6g}"


def show(value: Any) -> str:
    """One value on one line: small tensors whole, larger ones by their shape and what sticks out."""
    if isinstance(value, list):
        return f"[{'; '.join(map(show, value))}]"
    if not isinstance(value, torch.Tensor):
        return repr(value)
    if value.numel() <= 12:
        return " ".join(np.array2string(value.detach().numpy(), separator=",", precision=6).split()).replace(", ", ",")
    shape, flat = "×".join(map(str, value.shape)), value.detach().flatten()
    entries, counts = flat.unique(return_counts=True)
    common = entries[counts.argmax()]
    others = (value != common).nonzero().tolist()
    if len(others) > 6:
        return f"{shape} entries {', '.join(f'{x:g}' for x in flat[:6].tolist())}, …"
    return f"all {common.item():g} ({shape})" + "".join(f", but {i} = {value[tuple(i)].item():g}" for i in others)
