"""The transformer by the matrices of its heads: no query, key or value is made, and what is masked is never there.

A head compares tokens by one bilinear form, W_Qᵀ W_K, and moves them by one matrix, W_O W_V. Tokens carry a one behind
their coordinates, which the biases multiply. A causal token reads a sequence that ends with it.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def _with_one(x: jax.Array) -> jax.Array:
    """(x, 1): a linear map of it has a bias."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], -1)


def _affine(weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    """(weight, bias) along the last axis, zeros where there is no bias."""
    column = jnp.zeros(weight.shape[:-1], weight.dtype) if bias is None else jnp.asarray(bias)
    return jnp.concatenate([weight, column[..., None]], -1)


def _shares(score: jax.Array) -> jax.Array:
    """Shares in proportion to exp of the scores, 1 / Σ_j exp(s_j − s_i)."""
    return 1.0 / jnp.exp(score[None, :] - score[:, None]).sum(-1)


def _heads(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal):
    """One sequence "T D": every token, head by head."""
    T, heads, groups, K = x.shape[0], q.shape[0], k.shape[0], q.shape[1]
    ask, key, value = _affine(q, q_bias), _affine(k, k_bias), _affine(v, v_bias)
    tokens = _with_one(x)
    rows = []
    for t in range(T):
        read = tokens[: t + 1] if causal else tokens
        total = jnp.zeros(x.shape[1], x.dtype) if out_bias is None else jnp.asarray(out_bias)
        for h in range(heads):
            g = math.floor(h * groups / heads)
            compares, moves = ask[h].T @ key[g] / K**0.5, out[:, h] @ value[g]
            total = total + moves @ (_shares(read @ (tokens[t] @ compares)) @ read)
        rows.append(total)
    return jnp.stack(rows)


def multi_head_attention(
    x: jax.Array,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    out: jax.Array,
    q_bias: jax.Array | None = None,
    k_bias: jax.Array | None = None,
    v_bias: jax.Array | None = None,
    out_bias: jax.Array | None = None,
    *,
    causal: bool = False,
) -> jax.Array:
    """Σ_h W_O^h W_V^h applied to means of tokens, one sequence, one token and one head at a time."""
    sequences = [_heads(each, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal) for each in jnp.asarray(x)]
    return jnp.stack(sequences)


def _gelu(a: jax.Array, approximate: str) -> jax.Array:
    """a Φ(a) from the other tail, or with the logistic function in place of tanh."""
    if approximate == "tanh":
        return a * jax.nn.sigmoid(math.sqrt(8.0 / math.pi) * (a + 0.044715 * a**3))
    return 0.5 * a * jax.scipy.special.erfc(-a / math.sqrt(2.0))


def feed_forward(
    x: jax.Array,
    up: jax.Array,
    down: jax.Array,
    up_bias: jax.Array | None = None,
    down_bias: jax.Array | None = None,
    *,
    approximate: str = "tanh",
) -> jax.Array:
    """A sum over hidden units, one after another: each adds its column times what it feels."""
    x = jnp.asarray(x)
    tokens, rows = _with_one(x), _affine(up, up_bias)

    def unit(total, own):
        row, column = own
        return total + _gelu((tokens * row).sum(-1), approximate)[..., None] * column, None

    start = jnp.zeros_like(x) if down_bias is None else jnp.zeros_like(x) + down_bias
    return jax.lax.scan(unit, start, (rows, jnp.asarray(down).T))[0]


def _normed(x: jax.Array, weight: jax.Array, bias: jax.Array | None, eps: float) -> jax.Array:
    """√D c/√(c·c + Dε) with c the part of a row that is orthogonal to (1, …, 1)."""
    D = x.shape[-1]
    c = x @ (jnp.eye(D, dtype=x.dtype) - 1.0 / D)
    normal = c * jnp.sqrt(D / ((c * c).sum(-1, keepdims=True) + D * eps))
    return normal * weight + (0.0 if bias is None else bias)


def block(
    x: jax.Array,
    norm1: jax.Array,
    norm1_bias: jax.Array | None,
    q: jax.Array,
    q_bias: jax.Array | None,
    k: jax.Array,
    k_bias: jax.Array | None,
    v: jax.Array,
    v_bias: jax.Array | None,
    out: jax.Array,
    out_bias: jax.Array | None,
    norm2: jax.Array,
    norm2_bias: jax.Array | None,
    up: jax.Array,
    up_bias: jax.Array | None,
    down: jax.Array,
    down_bias: jax.Array | None,
    *,
    norms: str = "pre",
    causal: bool = True,
    approximate: str = "tanh",
    eps: float = 1e-5,
) -> jax.Array:
    """The stream after both branches: what is read is normed in "pre", what is handed on in "post"."""
    stream = jnp.asarray(x)
    branches = (
        (
            norm1,
            norm1_bias,
            lambda n: multi_head_attention(n, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal),
        ),
        (norm2, norm2_bias, lambda n: feed_forward(n, up, down, up_bias, down_bias, approximate=approximate)),
    )
    for weight, bias, branch in branches:
        if norms == "post":
            stream = _normed(stream + branch(stream), weight, bias, eps)
        else:
            stream = stream + branch(_normed(stream, weight, bias, eps))
    return stream


def logits(
    tokens: jax.Array,
    embedding: jax.Array,
    positions: jax.Array,
    norm1: jax.Array,
    norm1_bias: jax.Array | None,
    q: jax.Array,
    q_bias: jax.Array | None,
    k: jax.Array,
    k_bias: jax.Array | None,
    v: jax.Array,
    v_bias: jax.Array | None,
    out: jax.Array,
    out_bias: jax.Array | None,
    norm2: jax.Array,
    norm2_bias: jax.Array | None,
    up: jax.Array,
    up_bias: jax.Array | None,
    down: jax.Array,
    down_bias: jax.Array | None,
    norm: jax.Array | None,
    norm_bias: jax.Array | None,
    head: jax.Array | None = None,
    *,
    norms: str = "pre",
    approximate: str = "tanh",
    eps: float = 1e-5,
) -> jax.Array:
    """One-hot codes of symbol and place pick rows of one table that holds both; a symbol's logit is an inner product."""
    V, S, T = embedding.shape[0], positions.shape[0], tokens.shape[1]
    codes = jax.nn.one_hot(tokens, V, dtype=embedding.dtype)
    places = jnp.broadcast_to(jnp.eye(S, dtype=embedding.dtype)[:T], (tokens.shape[0], T, S))
    stream = jnp.concatenate([codes, places], -1) @ jnp.concatenate([embedding, positions])
    weights = (norm1, norm1_bias, q, q_bias, k, k_bias, v, v_bias, out, out_bias,
               norm2, norm2_bias, up, up_bias, down, down_bias)  # fmt: skip
    for layer in range(q.shape[0]):
        own = (None if weight is None else weight[layer] for weight in weights)
        stream = block(stream, *own, norms=norms, approximate=approximate, eps=eps)
    if norm is not None:
        stream = _normed(stream, norm, norm_bias, eps)
    rows = embedding if head is None else head
    return (stream[..., None, :] * rows).sum(-1)
