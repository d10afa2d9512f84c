"""Cross-entropy −Σ_j q_j log softmax(z)_j in nats, from logit differences rather than by a max-shift, and z-loss."""

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


def _log_total(z: jax.Array) -> jax.Array:
    """log Σ_j exp z_nj of every row n, by adding its terms one by one in the log domain."""
    start = jnp.full(z.shape[:-1], -jnp.inf, z.dtype)
    return jax.lax.scan(lambda total, term: (_log_add(total, term), None), start, z.T)[0]


def cross_entropy(z: jax.Array, target: jax.Array, ignore_index: int = -100, label_smoothing: float = 0.0) -> jax.Array:
    """Mean over counted rows of (1 − ε) log Σ_k exp(z_k − z_target) + ε mean_j log Σ_k exp(z_k − z_j): two losses."""
    z, target = jnp.asarray(z), jnp.asarray(target)
    counted = target != ignore_index
    # Ignored logits become zeros before any arithmetic, so that nothing of them is read.
    z = jnp.where(counted[:, None], z, 0.0)
    # Softmax is undefined beside +∞; multiplying, unlike selecting, makes the derivatives NaN as well.
    z = z * jnp.where(jnp.any(z == jnp.inf, axis=-1, keepdims=True), jnp.nan, 1.0)
    chosen = jnp.take_along_axis(z, jnp.where(counted, target, 0)[:, None], axis=-1)[:, 0]
    impossible = chosen == -jnp.inf
    differences = z - jnp.where(impossible, 0.0, chosen)[:, None]
    total = _log_total(differences)
    total = jnp.where(total == -jnp.inf, 0.0, total)
    # An impossible target costs +∞; its −∞ is subtracted last, leaving the limit gradient, softmax − one-hot.
    sharp = total - jnp.where(impossible, chosen, 0.0)
    flat = total - differences.mean(-1)
    # A loss of weight 0 is left out: where it is infinite, its product with 0 would be NaN.
    rows = {0.0: sharp, 1.0: flat}.get(label_smoothing)
    rows = (1.0 - label_smoothing) * sharp + label_smoothing * flat if rows is None else rows
    return jnp.where(counted, rows, 0.0).sum() / counted.sum()


def next_token_loss(z: jax.Array, tokens: jax.Array, ignore_index: int = -100) -> jax.Array:
    """Minus the mean log-probability of each token given those before it, position after position."""
    z, tokens = jnp.asarray(z), jnp.asarray(tokens)
    total, counted = jnp.zeros((), z.dtype), jnp.zeros((), int)
    for t in range(1, z.shape[1]):
        target, row = tokens[:, t], z[:, t - 1]
        counts = target != ignore_index
        chosen = jnp.take_along_axis(row, jnp.where(counts, target, 0)[:, None], axis=-1)
        total = total + jnp.where(counts, _log_total(row - chosen), 0.0).sum()
        counted = counted + counts.sum()
    return total / counted


def cross_entropy_gradient(
    z: jax.Array, target: jax.Array, ignore_index: int = -100, label_smoothing: float = 0.0
) -> jax.Array:
    """∂cross_entropy/∂z, by reverse-mode differentiation of the definition."""
    return jax.grad(cross_entropy)(jnp.asarray(z), target, ignore_index, label_smoothing)


def z_loss(z: jax.Array, weight: float = 1e-4) -> jax.Array:
    """weight·mean_n (log Σ_k exp z_nk)², each logarithm a stream of two-term additions in the log domain."""
    totals = _log_total(jnp.asarray(z))
    return weight * (totals @ totals) / totals.shape[0] if totals.shape[0] else totals.mean()
