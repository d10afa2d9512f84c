"""Attention Σ_s softmax_s(q·k_s · scale) v_s, online over single keys rather than as max-shifted matrices."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def scores(q: jax.Array, k: jax.Array, scale: float | None = None) -> jax.Array:
    """q_t·k_s times scale (1/√K unless given), "B H T S", as an explicit sum of coordinate products."""
    q, k = jnp.asarray(q), jnp.asarray(k)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    return (q[..., :, None, :] * k[..., None, :, :]).sum(-1) * scale


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    mask: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Σ_s p_ts v_s, p_t the softmax over visible keys, by online softmax: a scan over keys, one at a time."""
    q, k, v = jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    queries, keys = q.shape[-2], k.shape[-2]
    visible = jnp.ones((*q.shape[:-1], keys), dtype=bool)
    if causal:
        visible &= jnp.arange(keys) <= jnp.arange(queries)[:, None] + keys - queries
    if mask is not None:
        visible &= jnp.asarray(mask)

    return _online(q, k, v, visible, lambda score, _: score * scale)


def _online(q, k, v, visible, logit, against=None):
    """A softmax over the keys that are visible, in one pass; `logit` makes its argument of q·k and the key's number.

    The pass begins with the score `against`, for which there is no value, if there is one.
    """

    def step(carry: tuple, key: tuple) -> tuple:
        peak, normaliser, accumulator = carry
        number, k_s, v_s, sees = key
        # Hidden operands become zeros before any arithmetic, so neither they nor their products are read.
        q_t = jnp.where(sees[..., None], q, 0.0)
        k_s = jnp.where(sees[..., None], k_s[..., None, :], 0.0)
        v_s = jnp.where(sees[..., None], v_s[..., None, :], 0.0)
        score = logit((q_t * k_s).sum(-1), number)
        # The quotient does not depend on the running maximum, which may therefore go undifferentiated.
        risen = jnp.maximum(peak, jax.lax.stop_gradient(jnp.where(sees, score, -jnp.inf)))
        shift = jnp.where(risen == -jnp.inf, 0.0, risen)
        weight = jnp.where(sees, jnp.exp(jnp.where(sees, score - shift, 0.0)), 0.0)
        decay = jnp.exp(peak - shift)
        accumulator = accumulator * decay[..., None] + weight[..., None] * v_s
        return (risen, normaliser * decay + weight, accumulator), None

    empty = jnp.zeros(q.shape[:-1], q.dtype)
    peak, start = empty - jnp.inf, empty
    if against is not None:
        peak = empty + jax.lax.stop_gradient(against)
        start = empty + jnp.exp(against - jax.lax.stop_gradient(against))
    numbers = jnp.arange(k.shape[-2])
    stream = (numbers, jnp.moveaxis(k, -2, 0), jnp.moveaxis(v, -2, 0), jnp.moveaxis(visible, -1, 0))
    zeros = jnp.zeros((*q.shape[:-1], v.shape[-1]), v.dtype)
    (_, normaliser, accumulator), _ = jax.lax.scan(step, (peak, start, zeros), stream)
    return accumulator / jnp.where(normaliser == 0.0, 1.0, normaliser)[..., None]


def grouped_query_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    mask: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Attention in which H/G consecutive query heads share a key-value head, one query head at a time."""
    q, k, v = jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)
    heads, groups = q.shape[1], k.shape[1]
    if heads % groups:
        raise ValueError(f"expected query heads a multiple of {groups} key-value heads, received {heads}")
    shape = (*q.shape[:-1], k.shape[-2])
    visible = jnp.broadcast_to(True if mask is None else jnp.asarray(mask), shape)

    def head(number: jax.Array) -> jax.Array:
        own = number // (heads // groups)
        return attention(q[:, number], k[:, own], v[:, own], causal=causal, mask=visible[:, number], scale=scale)

    return jnp.moveaxis(jax.lax.map(head, jnp.arange(heads)), 0, 1)


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    alignment: str = "bottom_right",
    window: int | None = None,
    kept: int = 0,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    softcap: float | None = None,
    sinks: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Attention with windows, biases, caps and sinks: one pass over the keys, query heads on an axis of their own."""
    q, k, v = jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)
    (B, H, T, K), (_, G, S, _) = q.shape, k.shape
    scale = 1.0 / math.sqrt(K) if scale is None else scale
    grouped = (B, G, H // G, T)

    def of_heads(x):
        return jnp.broadcast_to(jnp.asarray(x), (B, H, T, S)).reshape(*grouped, S)

    place = jnp.arange(T)[:, None] + (S - T if alignment == "bottom_right" else 0)
    behind = place - jnp.arange(S)
    visible = of_heads(True if mask is None else mask)
    if causal:
        visible &= behind >= 0
    if window is not None:
        visible &= ((behind < window) & (-behind < window)) | (jnp.arange(S) < kept)
    added = of_heads(jnp.zeros(()) if bias is None else bias)
    visible &= added != -jnp.inf
    added = jnp.where(visible, added, 0.0)

    def logit(score, number):
        z = score * scale
        if softcap is not None:  # tanh x = 1 − 2/(e^{2x} + 1)
            z = softcap * (1 - 2 / (jnp.exp(2 * z / softcap) + 1))
        return z + jax.lax.dynamic_index_in_dim(added, number, axis=-1, keepdims=False)

    sink = None if sinks is None else jnp.asarray(sinks, q.dtype).reshape(G, H // G, 1)
    own = _online(q.reshape(*grouped, K), k[:, :, None], v[:, :, None], visible, logit, sink)
    return own.reshape(B, H, T, v.shape[-1])
