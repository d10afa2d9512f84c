"""Flash attention from its statement: rows of scores as a whole, one query at a time, nothing in tiles."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp


def _normalised(z):
    """Weights and log Σ exp of the last axis by a sort: the largest comes last, and the sum begins with the least."""
    ordered = jnp.sort(z, axis=-1)
    peak = jax.lax.stop_gradient(ordered[..., -1:])
    peak = jnp.where(jnp.isinf(peak), 0.0, peak)
    total = jnp.exp(ordered - peak).sum(-1, keepdims=True)
    empty = total == 0.0
    lse = jnp.where(empty, -jnp.inf, peak + jnp.log(jnp.where(empty, 1.0, total)))
    weights = jnp.where(empty, 0.0, jnp.exp(z - peak) / jnp.where(empty, 1.0, total))
    return jnp.where(total == jnp.inf, jnp.nan, weights), lse[..., 0]


def online_softmax(z: jax.Array, block: int = 64) -> tuple[jax.Array, jax.Array]:
    """Softmax over the last axis, and log Σ exp, "*B V" → "*B V", "*B"; blocks make no difference."""
    return _normalised(jnp.asarray(z))


def merge(o1: jax.Array, lse1: jax.Array, o2: jax.Array, lse2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of two parts the outputs, the first weighted by 1/(1 + e^(lse2 − lse1)), and log(e^lse1 + e^lse2)."""
    o1, lse1, o2, lse2 = map(jnp.asarray, (o1, lse1, o2, lse2))
    no1, no2 = lse1 == -jnp.inf, lse2 == -jnp.inf
    gap = jnp.where(no1 | no2, 0.0, lse2 - lse1)
    share = jnp.where(no1, 0.0, jnp.where(no2, 1.0, 1.0 / (1.0 + jnp.exp(gap))))[..., None]
    other = jnp.where(no2, 0.0, jnp.where(no1, 1.0, 1.0 / (1.0 + jnp.exp(-gap))))[..., None]
    heard1, heard2 = jnp.where(no1[..., None], 0.0, o1), jnp.where(no2[..., None], 0.0, o2)
    return share * heard1 + other * heard2, jnp.logaddexp(lse1, lse2)


def _one_query(q, place, k, v, scale):
    """Output and log Σ exp of one query, over the keys up to its place."""
    sees = jnp.arange(k.shape[0]) <= place
    scores = jnp.where(sees, (jnp.where(sees[:, None], k, 0.0) * q).sum(-1) * scale, -jnp.inf)
    weights, lse = _normalised(scores)
    return (weights[:, None] * jnp.where(sees[:, None], v, 0.0)).sum(0), lse


def flash_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = 64,
    block_k: int = 64,
) -> tuple[jax.Array, jax.Array]:
    """Attention, "B H T K", and log Σ exp of the scores, "B H T": each query by itself over a whole row of scores."""
    q, k, v = jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    T, S = q.shape[-2], k.shape[-2]
    place = jnp.arange(T) + S - T if causal else jnp.full(T, S)
    head = jax.vmap(partial(_one_query, scale=scale), in_axes=(0, 0, None, None))
    return jax.vmap(jax.vmap(head, in_axes=(0, None, 0, 0)), in_axes=(0, None, 0, 0))(q, place, k, v)


def flash_attention_vjp(
    dy: jax.Array,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = 64,
    block_k: int = 64,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradients of ⟨attention, dy⟩ by q, k and v, by jax's reverse mode through whole rows."""
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    return _pulled(jnp.asarray(dy), jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), scale, causal)


@partial(jax.jit, static_argnums=(4, 5))
def _pulled(dy, q, k, v, scale, causal):
    return jax.vjp(lambda *x: flash_attention(*x, causal=causal, scale=scale)[0], q, k, v)[1](dy)
