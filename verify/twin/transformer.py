"""The transformer by the matrices of its heads: no query, key or value is made, and nothing is masked by −∞.

A head compares tokens by one bilinear form, W_Qᵀ W_K, and moves their means by one matrix, W_O W_V. Tokens carry a one
behind their coordinates, which the biases multiply. What a token does not see is not in the sums.
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


def _shares(score: jax.Array, seen: jax.Array) -> jax.Array:
    """Shares of the tokens that are seen, in proportion to exp of their scores: seen_i / Σ_j seen_j exp(s_j − s_i)."""
    return seen / (jnp.exp(score[..., None, :] - score[..., :, None]) * seen[..., None, :]).sum(-1)


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
    """W_O^h W_V^h applied to means of tokens, one head after another: of shares that W_Qᵀ W_K has found."""
    x = jnp.asarray(x)
    T, heads = x.shape[1], q.shape[0]
    tokens, places = _with_one(x), jnp.arange(T)
    seen = (places[:, None] >= places[None, :] if causal else jnp.ones((T, T), bool)).astype(x.dtype)
    readers = jnp.arange(heads) // (heads // k.shape[0])
    ask, key, value = _affine(q, q_bias), _affine(k, k_bias)[readers], _affine(v, v_bias)[readers]

    def head(total, own):
        ask, key, value, column = own
        score = (tokens @ (ask.T @ key) @ tokens.mT) / ask.shape[0] ** 0.5
        return total + (_shares(score, seen) @ tokens) @ (column @ value).T, None

    start = jnp.zeros_like(x) + (0.0 if out_bias is None else out_bias)
    return jax.lax.scan(head, start, (ask, key, value, jnp.moveaxis(jnp.asarray(out), 1, 0)))[0]


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
    """A sum over hidden units: each adds its column times what it feels."""
    x = jnp.asarray(x)
    feels = _gelu((_with_one(x)[..., None, :] * _affine(up, up_bias)).sum(-1), approximate)
    return (feels[..., None, :] * down).sum(-1) + (0.0 if down_bias is None else down_bias)


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
    """Codes of symbol and place pick rows of one table that holds both; a symbol's logit is an inner product."""
    V, S, T = embedding.shape[0], positions.shape[0], tokens.shape[1]
    codes = jax.nn.one_hot(tokens, V, dtype=embedding.dtype)
    places = jnp.broadcast_to(jnp.eye(S, dtype=embedding.dtype)[:T], (tokens.shape[0], T, S))
    stream = jnp.concatenate([codes, places], -1) @ jnp.concatenate([embedding, positions])
    weights = (norm1, norm1_bias, q, q_bias, k, k_bias, v, v_bias, out, out_bias,
               norm2, norm2_bias, up, up_bias, down, down_bias)  # fmt: skip

    def layer(stream, own):
        return block(stream, *own, norms=norms, approximate=approximate, eps=eps), None

    stream, _ = jax.lax.scan(layer, stream, weights)  # None is a tree without leaves, and stays None
    if norm is not None:
        stream = _normed(stream, norm, norm_bias, eps)
    rows = embedding if head is None else head
    return (stream[..., None, :] * rows).sum(-1)
