"""Rates at steps counted from one: minima of lines, squares of half an angle's sine and cosine, e to a logarithm."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _rising(t: jax.Array, peak: float, warmup: int) -> jax.Array:
    """The straight line through zero at step 0 and the peak at step `warmup`; infinite when there is no warm-up."""
    return t * peak / warmup if warmup else jnp.full(t.shape, jnp.inf)


def constant(t: jax.Array, *, peak: float, warmup: int = 0) -> jax.Array:
    """The lower of the rising line and the peak."""
    return jnp.minimum(_rising(jnp.asarray(t, jnp.float64), peak, warmup), peak)


def cosine(t: jax.Array, *, peak: float, total: int, warmup: int = 0, low: float = 0.0) -> jax.Array:
    """The peak weighed by cos², the lowest rate by sin² of half the angle; below the peak the line, where it rises."""
    t = jnp.asarray(t, jnp.float64)
    half = jnp.pi / 2 * jnp.clip(t - warmup, 0, total - warmup) / (total - warmup)
    falling = peak * jnp.cos(half) ** 2 + low * jnp.sin(half) ** 2
    return jnp.where(t >= warmup, falling, _rising(t, peak, warmup))


def inverse_square_root(t: jax.Array, *, peak: float, warmup: int) -> jax.Array:
    """The lower of the rising line and of peak·e^{(log W − log t)/2}, which cross at step W."""
    t = jnp.asarray(t, jnp.float64)
    return jnp.minimum(_rising(t, peak, warmup), peak * jnp.exp((jnp.log(warmup) - jnp.log(t)) / 2))


def wsd(t: jax.Array, *, peak: float, total: int, decay: int, warmup: int = 0, low: float = 0.0) -> jax.Array:
    """The lowest of three lines, rising, level and falling to `low` at the last step, where it stays."""
    t = jnp.asarray(t, jnp.float64)
    falling = low + (peak - low) * (total - t) / decay
    return jnp.minimum(jnp.minimum(_rising(t, peak, warmup), peak), jnp.maximum(falling, low))
