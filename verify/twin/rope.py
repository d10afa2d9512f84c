"""Rotary embedding: pair k turned by position · base^(−2k/K), by complex numbers rather than sin and cos."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rotate(x: jax.Array, positions: jax.Array, base: float = 10000.0, layout: str = "interleaved") -> jax.Array:
    """x "... T K" with pair k turned counter-clockwise by positions[t]·base^(−2k/K), as (a + ib)·e^{iφ}."""
    x = jnp.asarray(x)
    half = x.shape[-1] // 2
    if layout == "interleaved":
        pairs = jax.lax.complex(x[..., 0::2], x[..., 1::2])
    elif layout == "half":
        pairs = jax.lax.complex(x[..., :half], x[..., half:])
    else:
        raise ValueError(f"unknown layout {layout!r}")
    angle = jnp.asarray(positions, x.dtype)[..., None] * base ** (-jnp.arange(half, dtype=x.dtype) / half)
    turned = pairs * jnp.exp(1j * angle)
    if layout == "half":
        return jnp.concatenate([turned.real, turned.imag], axis=-1)
    return jnp.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)
