"""Rotary embedding: pair k turned by position · base^(−2k/K), by complex numbers rather than sin and cos."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def rotate(
    x: jax.Array,
    positions: jax.Array,
    base: float = 10000.0,
    layout: str = "interleaved",
    *,
    theta: jax.Array | None = None,
    factor: float = 1.0,
) -> jax.Array:
    """x "... T K" with pair k turned counter-clockwise by positions[t]·θ_k, as factor·(a + ib)·e^{iφ}."""
    x = jnp.asarray(x)
    half = x.shape[-1] // 2 if theta is None else theta.shape[0]
    theta = base ** (-jnp.arange(half, dtype=x.dtype) / half) if theta is None else jnp.asarray(theta, x.dtype)
    x, rest = x[..., : 2 * half], x[..., 2 * half :]
    if layout == "interleaved":
        pairs = jax.lax.complex(x[..., 0::2], x[..., 1::2])
    elif layout == "half":
        pairs = jax.lax.complex(x[..., :half], x[..., half:])
    else:
        raise ValueError(f"unknown layout {layout!r}")
    angle = jnp.asarray(positions, x.dtype)[..., None] * theta
    if angle.ndim == 3:
        angle = jnp.expand_dims(angle, tuple(range(1, x.ndim - 2)))
    out = pairs * (factor * jnp.exp(1j * angle))
    if layout == "half":
        return jnp.concatenate([out.real, out.imag, rest], axis=-1)
    return jnp.concatenate([jnp.stack([out.real, out.imag], axis=-1).reshape(x.shape), rest], axis=-1)


def _wavelengths(K: int, base: float) -> list[float]:
    """Positions in which each pair turns once."""
    return [2 * math.pi * math.exp(2 * k / K * math.log(base)) for k in range(K // 2)]


def _turning(wavelengths: list[float]) -> jax.Array:
    """Radians a position."""
    return jnp.asarray([2 * math.pi / w for w in wavelengths])


def interpolated(K: int, scale: float, base: float = 10000.0) -> jax.Array:
    """Every wavelength s times as long."""
    return _turning([w * scale for w in _wavelengths(K, base)])


def ntk(K: int, scale: float, base: float = 10000.0) -> jax.Array:
    """Wavelength k of K/2 grows by s^(k/(K/2 − 1)): geometrically, from none to s."""
    return _turning([w * scale ** (k / (K // 2 - 1)) for k, w in enumerate(_wavelengths(K, base))])


def dynamic_ntk(K: int, scale: float, length: int, trained: int, base: float = 10000.0) -> jax.Array:
    """`ntk` by one plus s times what the text is longer, as a share of what was trained on."""
    beyond = max(0, length - trained) / trained
    return ntk(K, 1 + scale * beyond, base)


def _between(wavelengths: list[float], interpolate: list[float], scale: float) -> jax.Array:
    """Frequencies 2π/λ, of which a share is taken at the s times longer wavelength."""
    shares = [min(1.0, max(0.0, x)) for x in interpolate]
    rates = zip(wavelengths, shares, strict=True)
    return jnp.asarray([(1 - x) * 2 * math.pi / w + x * 2 * math.pi / (w * scale) for w, x in rates])


def yarn(
    K: int,
    scale: float,
    trained: int,
    base: float = 10000.0,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    ramp: str = "pairs",
    mscale: float = 1.0,
    mscale_all: float = 0.0,
) -> tuple[jax.Array, float]:
    """Frequencies between those of the base and those of interpolation, and the factor on queries and keys."""
    waves = _wavelengths(K, base)
    growth = math.log(scale) / 10
    factor = (1 + mscale * growth) / (1 + mscale_all * growth)
    if ramp == "turns":
        return _between(waves, [(beta_fast - trained / w) / (beta_fast - beta_slow) for w in waves], scale), factor
    # wavelength trained/β belongs to the pair whose number solves 2π·base^(2k/K) = trained/β
    ends = [(math.log(trained) - math.log(2 * math.pi * b)) * K / (2 * math.log(base)) for b in (beta_fast, beta_slow)]
    if truncate:
        ends = [float(math.floor(ends[0])), float(math.ceil(ends[1]))]
    low, high = max(ends[0], 0.0), min(ends[1], K - 1.0)
    width = high - low if high != low else 0.001
    return _between(waves, [(k - low) / width for k in range(len(waves))], scale), factor


def llama3(
    K: int, scale: float = 8.0, trained: int = 8192, base: float = 500000.0, *, low: float = 1.0, high: float = 4.0
) -> jax.Array:
    """Wavelengths up to trained/high stay, from trained/low on they grow by s; between, by the turns in `trained`."""
    waves = _wavelengths(K, base)
    return _between(waves, [1 - (trained / w - low) / (high - low) for w in waves], scale)
