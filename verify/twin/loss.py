"""Cross-entropy −log softmax(z)[target] in nats, from logit differences rather than by a max-shift."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _log_add(total: jax.Array, term: jax.Array) -> jax.Array:
    """log(exp total + exp term), relative to the larger of the two, which the sum does not depend on."""
    # Not jnp.logaddexp: within a scan its second derivative by reverse mode is wrong where the terms tie.
    peak = jax.lax.stop_gradient(jnp.maximum(total, term))
    empty = peak == -jnp.inf
    shift = jnp.where(jnp.isfinite(peak), peak, 0.0)
    mass = jnp.exp(total - shift) + jnp.exp(term - shift)
    return jnp.where(empty, -jnp.inf, shift + jnp.log(jnp.where(empty, 1.0, mass)))


def cross_entropy(z: jax.Array, target: jax.Array) -> jax.Array:
    """mean_n of log Σ_k exp(z_nk − z_n,target), by adding the differences one by one in the log domain."""
    z = jnp.asarray(z)
    # Softmax is undefined beside +∞; multiplying, unlike selecting, makes the derivatives NaN as well.
    z = z * jnp.where(jnp.any(z == jnp.inf, axis=-1, keepdims=True), jnp.nan, 1.0)
    chosen = jnp.take_along_axis(z, jnp.asarray(target)[:, None], axis=-1)[:, 0]
    impossible = chosen == -jnp.inf
    differences = z - jnp.where(impossible, 0.0, chosen)[:, None]
    start = jnp.full(z.shape[:-1], -jnp.inf, z.dtype)
    total, _ = jax.lax.scan(lambda total, term: (_log_add(total, term), None), start, differences.T)
    # An impossible target costs +∞; its −∞ is subtracted last, leaving the limit gradient, softmax − one-hot.
    total = jnp.where(total == -jnp.inf, 0.0, total)
    return jnp.mean(total - jnp.where(impossible, chosen, 0.0))


def cross_entropy_gradient(z: jax.Array, target: jax.Array) -> jax.Array:
    """∂cross_entropy/∂z, by reverse-mode differentiation of the definition."""
    return jax.grad(cross_entropy)(jnp.asarray(z), target)
