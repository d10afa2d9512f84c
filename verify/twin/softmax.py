"""Softmax p_i = exp z_i / Σ_j exp z_j, its logarithm, its normaliser and its Jacobian, without the usual max-shift."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_OVERFLOW = 690.0  # beyond this gap exp, once summed and differentiated, could leave float64


def softmax(z: jax.Array) -> jax.Array:
    """exp z_i / Σ_j exp z_j over the last axis, as 1 / Σ_j exp(z_j − z_i) over all pairwise gaps."""
    z = jnp.asarray(z)
    # Multiplying, unlike selecting, makes the derivatives of an undefined row NaN as well.
    defined = jnp.where(jnp.any(jnp.isnan(z) | (z == jnp.inf), axis=-1, keepdims=True), jnp.nan, 1.0)
    z = z * defined
    alive = z > -jnp.inf
    finite = jnp.where(alive, z, 0.0)
    gap = finite[..., None, :] - finite[..., :, None]
    both = alive[..., None, :] & alive[..., :, None]
    beaten = both & (gap > _OVERFLOW)
    counted = both & ~beaten
    odds = jnp.where(counted, jnp.exp(jnp.where(counted, gap, 0.0)), 0.0).sum(-1)
    positive = alive & ~beaten.any(-1)
    return jnp.where(positive, 1.0 / jnp.where(positive, odds, 1.0), 0.0) * defined


def _log_add(total: jax.Array, term: jax.Array) -> jax.Array:
    """log(exp total + exp term), relative to the larger of the two, which the sum does not depend on."""
    # Not jnp.logaddexp: within a scan its second derivative by reverse mode is wrong where the terms tie.
    peak = jax.lax.stop_gradient(jnp.maximum(total, term))
    empty = peak == -jnp.inf
    shift = jnp.where(jnp.isfinite(peak), peak, 0.0)
    mass = jnp.exp(total - shift) + jnp.exp(term - shift)
    return jnp.where(empty, -jnp.inf, shift + jnp.log(jnp.where(empty, 1.0, mass)))


def log_sum_exp(z: jax.Array) -> jax.Array:
    """log Σ_j exp z_j over the last axis, by a stream of two-term additions in the log domain."""
    z = jnp.asarray(z)
    start = jnp.full(z.shape[:-1], -jnp.inf, z.dtype)
    total, _ = jax.lax.scan(lambda total, term: (_log_add(total, term), None), start, jnp.moveaxis(z, -1, 0))
    return total


def log_softmax(z: jax.Array) -> jax.Array:
    """log softmax_i = −log Σ_j exp(z_j − z_i) over the last axis: each entry a stream over its own gaps."""
    z = jnp.asarray(z)
    defined = jnp.where(jnp.any(jnp.isnan(z) | (z == jnp.inf), axis=-1, keepdims=True), jnp.nan, 1.0)
    alive = z > -jnp.inf
    own = jnp.where(alive, z, 0.0) * defined
    gaps = jnp.where(alive[..., None, :], own[..., None, :] - own[..., :, None], -jnp.inf)
    return jnp.where(alive, -log_sum_exp(gaps), z) * defined


def softmax_jacobian(z: jax.Array) -> jax.Array:
    """∂softmax_i/∂z_k as entry [..., i, k], by forward-mode differentiation of each row."""
    return jnp.vectorize(jax.jacfwd(softmax), signature="(v)->(v,v)")(jnp.asarray(z))
