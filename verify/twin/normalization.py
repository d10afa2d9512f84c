"""Layer norm (x − μ)/√(σ² + ε) and RMS norm x/√(mean x² + ε), from differences and inner products of rescaled rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _unit(parts: jax.Array, eps: float) -> tuple[jax.Array, jax.Array]:
    """Rows divided by the largest of their magnitudes and √ε, and ε divided by the square of it."""
    if eps < 0:
        raise ValueError(f"expected eps ≥ 0, received {eps}")
    root = jnp.sqrt(jnp.asarray(eps, parts.dtype))
    peak = jnp.maximum(jnp.abs(parts).max(-1, keepdims=True), root)
    # The normalised row does not depend on the unit, which may therefore go undifferentiated.
    peak = jax.lax.stop_gradient(jnp.where((peak > 0.0) & (peak < jnp.inf), peak, 1.0))
    return parts / peak, ((root / peak) ** 2)[..., 0]


def layer_norm(
    x: jax.Array, weight: jax.Array | None = None, bias: jax.Array | None = None, eps: float = 1e-5
) -> jax.Array:
    """(x − μ)/√(σ² + ε)·weight + bias, from all pairs: x_i − μ = mean_j (x_i − x_j), σ² = Σ_{i<j} (x_i − x_j)²/D²."""
    x = jnp.asarray(x)
    size = x.shape[-1]
    # No mean is subtracted: an offset common to the row leaves the differences before anything is rounded.
    gaps, floor = _unit((x[..., :, None] - x[..., None, :]).reshape(*x.shape[:-1], size * size), eps)
    deviation = gaps.reshape(*x.shape, size).sum(-1) / size
    variance = (gaps * gaps).sum(-1) / (2 * size * size)  # every pair is met twice
    normal = deviation / jnp.sqrt(variance + floor)[..., None]
    normal = normal if weight is None else normal * jnp.asarray(weight)
    return normal if bias is None else normal + jnp.asarray(bias)


def rms_norm(x: jax.Array, weight: jax.Array | None = None, eps: float = 1e-6) -> jax.Array:
    """x/√(mean x² + ε)·weight, as √D·x̂/√(⟨x̂, x̂⟩ + Dε̂) with x̂ the row in units of its largest magnitude."""
    x = jnp.asarray(x)
    size = x.shape[-1]
    unit, floor = _unit(x, eps)
    length = jnp.sqrt(jnp.einsum("...d,...d->...", unit, unit) + size * floor)
    normal = unit * (size**0.5 / length)[..., None]
    return normal if weight is None else normal * jnp.asarray(weight)
