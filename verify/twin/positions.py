"""Sinusoids by repeated rotation, learned rows by one-hot products, ALiBi by bisection and through a sliding window."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def sinusoidal(T: int, D: int, base: float = 10000.0) -> jax.Array:
    """sin and cos of t·base^(−2i/D) at columns 2i and 2i + 1, "T D", as powers of the unit complex number e^{iω}."""
    if D % 2:
        raise ValueError(f"expected D even, received {D}")
    speed = jnp.exp(-jnp.arange(0, D, 2, dtype=jnp.float64) / max(D, 1) * math.log(base))
    turn = jnp.exp(1j * speed)
    # Row 0 has not yet turned; every later row has turned once more than the row before it.
    point = jnp.cumprod(jnp.where(jnp.arange(T)[:, None] > 0, turn, 1.0), axis=0)
    return jnp.stack([point.imag, point.real], axis=-1).reshape(T, D)


def learned(table: jax.Array, positions: jax.Array) -> jax.Array:
    """One row of the table for every position, as the product with a one-hot vector."""
    table = jnp.asarray(table)
    return (jnp.asarray(positions)[..., None] == jnp.arange(table.shape[0])).astype(table.dtype) @ table


def alibi_slopes(H: int) -> jax.Array:
    """The slope of each of H heads, from 2^−8 for one head by inserting geometric means as the heads double.

    The means stand at the odd places of the doubled heads, 1 being the neighbour before the first slope; heads beyond
    a power of two take the first of them.
    """
    slopes = [2.0**-8]
    while len(slopes) < H:
        means = [math.sqrt(left * right) for left, right in zip([1.0, *slopes], slopes, strict=False)]
        if 2 * len(slopes) > H:
            slopes += means[: H - len(slopes)]
        else:
            slopes = [slope for pair in zip(means, slopes, strict=True) for slope in pair]
    return jnp.asarray(slopes[:H], dtype=jnp.float64)


def alibi_bias(H: int, T: int, S: int) -> jax.Array:
    """−slope·|i + S − T − s| as "H T S": one line of falling distances, S − 1 to 1 − T, each query a window of it."""
    line = -alibi_slopes(H)[:, None] * jnp.abs(jnp.arange(S - 1, -T, -1))
    windows = [line[:, T - 1 - i :][:, :S] for i in range(T)]
    return jnp.stack(windows, axis=1) if windows else jnp.zeros((H, T, S))
