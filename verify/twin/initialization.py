"""Initial weights, from the fans as quotients of sizes, and the truncated normal law by Newton's method."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def _scale(shape: tuple[int, ...], mode: str, gain: float, layout: str) -> float:
    """gain/√fan: a fan is the number of all weights over the number of outputs, or of inputs."""
    size = math.prod(shape)
    outputs, inputs = (shape[0], shape[1]) if layout == "out_in" else (shape[-1], shape[-2])
    per_output, per_input = size / outputs, size / inputs
    squared = {"fan_in": per_output, "fan_out": per_input, "fan_avg": (per_output + per_input) / 2}[mode]
    return gain * squared**-0.5


def uniform(u: jax.Array, mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in") -> jax.Array:
    """The u-th part of the way from −√3·gain/√fan to √3·gain/√fan."""
    end = 3.0**0.5 * _scale(u.shape, mode, gain, layout)
    return u * end - (1.0 - u) * end


def normal(z: jax.Array, mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in") -> jax.Array:
    """z·gain/√fan."""
    return _scale(z.shape, mode, gain, layout) * z


def truncated_normal(
    u: jax.Array, mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in", cut: float = 2.0
) -> jax.Array:
    """The u-quantile of the normal law cut at ±cut, over the root of its variance, times gain/√fan.

    erf y = p by Newton's method from 0: on either side erf bends towards its tangents, so that no step goes too far.
    The variance is k²/3 · 3∫₀¹ s²e^(−k²s²/2) ds / ∫₀¹ e^(−k²s²/2) ds, each integral a power series.
    """
    inside = math.erf(cut / math.sqrt(2.0))
    share = (2.0 * u - 1.0) * inside
    root = jnp.zeros_like(share)
    for _ in range(60):
        root = root + (share - jax.lax.erf(root)) * jnp.exp(root * root) * (math.sqrt(math.pi) / 2.0)
    terms = [(-(cut**2) / 2.0) ** k / math.factorial(k) for k in range(80)]
    mass, second = (sum(t / (2 * k + 1 + more) for k, t in enumerate(terms)) for more in (0, 2))
    spread = cut * math.sqrt(second / mass)
    return root * (math.sqrt(2.0) / spread * _scale(u.shape, mode, gain, layout))


def gpt2_block(z: list[jax.Array], L: int, std: float = 0.02) -> list[jax.Array]:
    """Every second matrix writes to a stream that 2L branches share."""
    return [x * std / (2.0 * L) ** (0.5 * (k % 2)) for k, x in enumerate(z)]
