"""The neural language model, one context at a time: one-hot codes pick rows of tables of products, one a position."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def windows(ids: np.ndarray | jax.Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Contexts and what follows, read from the text symbol by symbol with a memory of the last k."""
    memory: list[int] = []
    contexts, targets = [], []
    for symbol in np.asarray(ids).tolist():
        if len(memory) == k:
            contexts.append(tuple(memory))
            targets.append(symbol)
            memory.pop(0)
        memory.append(symbol)
    return np.array(contexts), np.array(targets)


def _bent(a: jax.Array) -> jax.Array:
    """tanh a = 2σ(2a) − 1."""
    return 2.0 * jax.nn.sigmoid(2.0 * a) - 1.0


def _tables(embedding: jax.Array, weights: jax.Array) -> jax.Array:
    """What symbol v at position j adds to unit f, as entry [j, v, f]: the embedding's product, made beforehand."""
    return jnp.stack([embedding @ weights[:, j].T for j in range(weights.shape[1])])


def logits(
    tokens: jax.Array,
    embedding: jax.Array,
    w1: jax.Array,
    b1: jax.Array,
    w2: jax.Array,
    b2: jax.Array,
    direct: jax.Array | None = None,
    deep_w: jax.Array | None = None,
    deep_b: jax.Array | None = None,
) -> jax.Array:
    """b₂ + W₂h + the direct part for one context after another, by a scan; sums over positions, not side by side."""
    both = w1 if direct is None else jnp.concatenate([w1, direct])
    tables = _tables(embedding, both)
    F = b1.shape[0]

    def one(_, context):
        codes = jax.nn.one_hot(context, embedding.shape[0], dtype=tables.dtype)
        reads = jnp.tensordot(codes, tables, ((0, 1), (0, 1)))
        hidden = _bent(b1 + reads[:F])
        if deep_w is not None and deep_b is not None:
            hidden, _ = jax.lax.scan(lambda h, layer: (_bent(layer[0] @ h + layer[1]), None), hidden, (deep_w, deep_b))
        score = b2 + (w2 * hidden).sum(-1)
        return None, score if direct is None else score + reads[F:]

    return jax.lax.scan(one, None, jnp.asarray(tokens))[1]


def loss(
    tokens: jax.Array,
    target: jax.Array,
    embedding: jax.Array,
    w1: jax.Array,
    b1: jax.Array,
    w2: jax.Array,
    b2: jax.Array,
    direct: jax.Array | None = None,
    deep_w: jax.Array | None = None,
    deep_b: jax.Array | None = None,
) -> jax.Array:
    """The mean of log Σ_w exp(z_w − z_target): a target costs what the others' logits rise above its own."""
    z = logits(tokens, embedding, w1, b1, w2, b2, direct, deep_w, deep_b)
    own = (z * jax.nn.one_hot(target, z.shape[-1], dtype=z.dtype)).sum(-1, keepdims=True)
    gap = z - own
    peak = jax.lax.stop_gradient(gap.max(-1, keepdims=True))  # on which the sum does not depend
    return (jnp.log(jnp.exp(gap - peak).sum(-1)) + peak[:, 0]).mean()


def surprise(
    ids: np.ndarray | jax.Array,
    embedding: jax.Array,
    w1: jax.Array,
    b1: jax.Array,
    w2: jax.Array,
    b2: jax.Array,
    direct: jax.Array | None = None,
    deep_w: jax.Array | None = None,
    deep_b: jax.Array | None = None,
) -> np.ndarray:
    """−log p of every symbol that has k before it, from a text read symbol by symbol, in plain numpy."""
    table, first, bias, out, shift = (np.asarray(x) for x in (embedding, w1, b1, w2, b2))
    layers = [] if deep_w is None or deep_b is None else list(zip(np.asarray(deep_w), np.asarray(deep_b), strict=True))
    straight = np.zeros((len(shift), *first.shape[1:])) if direct is None else np.asarray(direct)
    nats = []
    for context, wanted in zip(*windows(ids, first.shape[1]), strict=True):
        a, z = bias, shift
        for j, symbol in enumerate(context):
            a, z = a + first[:, j] @ table[symbol], z + straight[:, j] @ table[symbol]
        hidden = np.tanh(a)
        for weight, b in layers:
            hidden = np.tanh(weight @ hidden + b)
        z = z + out @ hidden
        nats.append(np.logaddexp.reduce(z - z[wanted]))
    return np.array(nats)
