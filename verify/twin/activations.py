"""Activations through log(1 + u) = 2 artanh(u/(2 + u)) and the complementary error function, folded to x ≤ 0."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def _fold(x: jax.Array) -> jax.Array:
    """−|x|, selected so that its derivative at 0 is 1: either branch of what is built on it is smooth there."""
    return jnp.where(x > 0, -x, x)


def relu(x: jax.Array) -> jax.Array:
    """max(x, 0), as the last of the two when sorted: NaN comes after all numbers, and 0 after what equals it."""
    x = jnp.asarray(x)
    return jnp.sort(jnp.stack([x, jnp.zeros_like(x)]), axis=0, stable=True)[1]


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x), as 2 artanh(u/(2 + u)) with u = e^−|x|, plus x where x is positive."""
    x = jnp.asarray(x)
    u = jnp.exp(_fold(x))
    return jnp.where(x > 0, x, 0.0) + 2.0 * jnp.arctanh(u / (2.0 + u))


def sigmoid(x: jax.Array) -> jax.Array:
    """1/(1 + e^−x), as the exponential of its own logarithm, −softplus(−x)."""
    return jnp.exp(-softplus(-jnp.asarray(x)))


def silu(x: jax.Array) -> jax.Array:
    """x·e^(−softplus(−x)): what passes is e to the logarithm of the sigmoid."""
    x = jnp.asarray(x)
    return x * jnp.exp(-softplus(-x))


def gelu(x: jax.Array, approximate: str = "none") -> jax.Array:
    """x·Φ(x), Φ = erfc(−x/√2)/2; its "tanh" form as x·sigmoid(2y), which is x(1 + tanh y)/2 without cancellation."""
    x = jnp.asarray(x)
    if approximate == "none":
        return 0.5 * x * jax.scipy.special.erfc(-x * math.sqrt(0.5))
    if approximate == "tanh":
        return x * sigmoid(math.sqrt(8.0 / math.pi) * x * (1.0 + 0.044715 * x * x))
    raise ValueError(f"expected approximate 'none' or 'tanh', received {approximate!r}")


def quick_gelu(x: jax.Array) -> jax.Array:
    """x·sigmoid(1.702x), as the mean of x and x·tanh(0.851x)."""
    x = jnp.asarray(x)
    return 0.5 * (x + x * jnp.tanh(0.851 * x))


def softcap(x: jax.Array, cap: float) -> jax.Array:
    """cap·tanh(x/cap) = cap·(1 − u)/(1 + u) with u = e^(−2|x|/cap), the sign put back: no exponential exceeds 1."""
    x = jnp.asarray(x)
    doubled = 2.0 * _fold(x) / cap
    return jnp.where(x > 0, -1.0, 1.0) * cap * jnp.expm1(doubled) / (2.0 + jnp.expm1(doubled))


def geglu(gate: jax.Array, up: jax.Array, approximate: str = "none") -> jax.Array:
    """gelu(gate)·up, as up damped by the share of the gate that GELU lets through, times the gate."""
    gate, up = jnp.asarray(gate), jnp.asarray(up)
    share = 0.5 * jax.scipy.special.erfc(-gate * math.sqrt(0.5))
    if approximate == "tanh":
        share = sigmoid(math.sqrt(8.0 / math.pi) * gate * (1.0 + 0.044715 * gate * gate))
    return gate * (up * share)


def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """silu(gate)·up, as gate·up, the bilinear layer, damped by sigmoid(gate)."""
    gate, up = jnp.asarray(gate), jnp.asarray(up)
    return gate * up * sigmoid(gate)
