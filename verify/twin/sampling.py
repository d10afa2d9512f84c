"""Filters of logits by comparing all pairs of symbols, not by sorting, and Gumbel-max as a race of clocks."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _beats(z: jax.Array) -> jax.Array:
    """Whether symbol j (last axis) stands before symbol i (the axis ahead of it): larger, or equal and earlier."""
    index = jnp.arange(z.shape[-1])
    other, own = z[..., None, :], z[..., :, None]
    return (other > own) | ((other == own) & (index < index[:, None]))


def _weights(z: jax.Array) -> jax.Array:
    """exp(z − max z), to which the probabilities are proportional; nothing but zeros where all is impossible."""
    # The proportions do not depend on the maximum, which may therefore go undifferentiated.
    peak = jax.lax.stop_gradient(z.max(-1, keepdims=True))
    return jnp.exp(z - jnp.where(peak == -jnp.inf, 0.0, peak))


def _within(weights: jax.Array, beats: jax.Array, p: float) -> jax.Array:
    """Whether less than the share p of all weight stands before the symbol, each mass a sum over pairs."""
    before = jnp.where(beats, weights[..., None, :], 0.0).sum(-1)
    # Nothing possible ever has the whole mass before it, though rounding may say so.
    return (before < p * weights.sum(-1, keepdims=True)) | (p == 1.0)


def _undefined(z: jax.Array, bad: jax.Array) -> jax.Array:
    """The rows with anything bad in them made NaN; multiplying, unlike selecting, reaches the derivatives."""
    return z * jnp.where(bad.any(-1, keepdims=True), jnp.nan, 1.0)


def temperature(z: jax.Array, T: float) -> jax.Array:
    """z/T for T > 0, as multiplication by the inverse temperature."""
    if T <= 0:
        raise ValueError(f"expected T > 0 (greedy choice is the limit at 0), received {T}")
    return jnp.asarray(z) * (1.0 / T)


def top_k(z: jax.Array, k: int) -> jax.Array:
    """The k largest logits of each row, the others −∞, by counting for each symbol the symbols that beat it."""
    z = jnp.asarray(z)
    return _undefined(jnp.where(_beats(z).sum(-1) < k, z, -jnp.inf), jnp.isnan(z))


def top_p(z: jax.Array, p: float) -> jax.Array:
    """The symbols before which less than the mass p stands, the others −∞, from masses summed over pairs."""
    z = jnp.asarray(z)
    kept = _within(_weights(z), _beats(z), p)
    return _undefined(jnp.where(kept, z, -jnp.inf), jnp.isnan(z) | (z == jnp.inf))


def min_p(z: jax.Array, p: float) -> jax.Array:
    """The symbols to no other of which their probability ratio exp(z_i − z_j) is below p, the others −∞."""
    z = jnp.asarray(z)
    outdone = jnp.any(jnp.exp(z[..., :, None] - z[..., None, :]) < p, axis=-1)
    return _undefined(jnp.where(outdone, -jnp.inf, z), jnp.isnan(z))


def repetition_penalty(z: jax.Array, tokens: jax.Array, penalty: float) -> jax.Array:
    """z times the penalty to the power −1 (positive z that occurred), 1 (others that occurred) or 0."""
    z = jnp.asarray(z)
    occurred = (jnp.asarray(tokens)[..., None] == jnp.arange(z.shape[-1])).any(-2)
    return z * jnp.asarray(penalty, z.dtype) ** jnp.where(occurred, jnp.where(z > 0.0, -1.0, 1.0), 0.0)


def distribution(
    z: jax.Array, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0, min_p: float = 0.0
) -> jax.Array:
    """Probabilities after temperature, top-k, top-p and min-p, by striking weights out of one table of pairs."""
    if temperature <= 0:
        raise ValueError(f"expected temperature > 0, received {temperature}")
    z = jnp.asarray(z) * (1.0 / temperature)
    beats, weights = _beats(z), _weights(z)
    if top_k is not None:
        weights = jnp.where(beats.sum(-1) < top_k, weights, 0.0)
    weights = jnp.where(_within(weights, beats, top_p), weights, 0.0)
    # The largest weight, 1, has survived: it is what the others are measured by.
    weights = jnp.where(weights < min_p, 0.0, weights)
    total = weights.sum(-1, keepdims=True)
    return _undefined(weights / jnp.where(total == 0.0, 1.0, total), jnp.isnan(z) | (z == jnp.inf))


def gumbel_max(z: jax.Array, u: jax.Array) -> jax.Array:
    """argmax_i (z_i − log(−log u_i)), lower index first, as the first of clocks that ring at −log u_i · e^{−z_i}."""
    z, clocks = jnp.asarray(z), -jnp.log(jnp.asarray(u))

    def challenge(best: tuple, challenger: tuple) -> tuple:
        (z_best, clock_best, _), (z_next, clock_next, _) = best, challenger
        gap = z_next - z_best
        # Both times are taken relative to the more probable symbol, so that no exponential exceeds 1.
        sooner = clock_next * jnp.exp(jnp.minimum(-gap, 0.0)) < clock_best * jnp.exp(jnp.minimum(gap, 0.0))
        return tuple(jnp.where(sooner, new, old) for new, old in zip(challenger, best, strict=True)), None

    index = jnp.broadcast_to(jnp.arange(z.shape[-1]), z.shape)
    race = tuple(jnp.moveaxis(value, -1, 0) for value in (z, clocks, index))
    return jax.lax.scan(challenge, tuple(value[0] for value in race), tuple(value[1:] for value in race))[0][2]
