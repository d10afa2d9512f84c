"""Trajectories "N P" of SGD, momentum and Adam on given gradients, in closed form, not step by step."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _decayed(series: jax.Array, rate: float | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Σ_{i≤t} rate^{t−i} series_i and Σ_{i≤t} rate^{t−i}, from the lower-triangular matrix of weights."""
    steps = jnp.arange(series.shape[0])
    lag = steps[:, None] - steps
    past = lag >= 0
    # Products, not powers: 0⁰ is 1, and both derivatives in the rate are exact at 0.
    weights = jnp.where(past, jnp.cumprod(jnp.where(lag > 0, rate, 1.0), axis=0), 0.0)
    # The future is replaced, not weighted by 0, so that a NaN in it stays there.
    history = jnp.where(past[..., None], series, 0.0)
    return (weights[..., None] * history).sum(1), weights.sum(1)[:, None]


def sgd(x: jax.Array, gradients: jax.Array, *, lr: float) -> jax.Array:
    """x_t = x_{t−1} − lr·g_t, as a cumulative sum of the gradients."""
    return jnp.asarray(x) - lr * jnp.cumsum(jnp.asarray(gradients), axis=0)


def momentum(x: jax.Array, gradients: jax.Array, *, lr: float, mu: float) -> jax.Array:
    """x_t = x_{t−1} − lr·v_t, v_t = μ v_{t−1} + g_t, from the explicit weights v_t = Σ_{i≤t} μ^{t−i} g_i."""
    velocity, _ = _decayed(jnp.asarray(gradients), mu)
    return jnp.asarray(x) - lr * jnp.cumsum(velocity, axis=0)


def adam(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> jax.Array:
    """x_t = x_{t−1} − lr·m̂_t/(√v̂_t + ε), m̂ and v̂ being normalised geometric averages of g and g²."""
    gradients = jnp.asarray(gradients)
    first, first_weight = _decayed(gradients, beta1)
    second, second_weight = _decayed(gradients * gradients, beta2)
    mean, square = first / first_weight, second / second_weight
    # √ has no derivative at 0 and 0/0 no value: there the denominator is ε, or 1 when ε is 0.
    still = square == 0.0
    size = jnp.where(still, 0.0, jnp.sqrt(jnp.where(still, 1.0, square))) + eps
    direction = mean / jnp.where(size == 0.0, 1.0, size)
    return jnp.asarray(x) - lr * jnp.cumsum(direction, axis=0)
