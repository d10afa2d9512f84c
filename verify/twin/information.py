"""Entropies H = −Σ p log p and −Σ p log q, divergences, perplexity, and lengths and words of prefix codes."""

from __future__ import annotations

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np


def surprisal(p: jax.Array, base: float = math.e) -> jax.Array:
    """−log p as log(1 + odds against)."""
    p = jnp.asarray(p)
    return jnp.log1p((1 - p) / p) / math.log(base)


def entropy(p: jax.Array, base: float = math.e) -> jax.Array:
    """Minus the slope of Σ_i p_i^α in α, where α is one."""
    p = jnp.asarray(p)
    _, slope = jax.jvp(lambda power: (p**power).sum(-1), (jnp.ones(()),), (jnp.ones(()),))
    return -slope / math.log(base)


def cross_entropy(p: jax.Array, q: jax.Array, base: float = math.e) -> jax.Array:
    """Minus the slope of Σ_i p_i q_i^α in α, where α is zero; it has none if q excludes a draw of p."""
    p, q = jnp.asarray(p), jnp.asarray(q)
    _, slope = jax.jvp(lambda power: (p * q**power).sum(-1), (jnp.zeros(()),), (jnp.ones(()),))
    return jnp.where(((q == 0) & (p > 0)).any(-1), jnp.inf, -slope / math.log(base))


def kl_divergence(p: jax.Array, q: jax.Array, base: float = math.e) -> jax.Array:
    """The sum of p h(q/p), h(x) = x − 1 − log x, none of which is negative, and of p − q."""
    p, q = jnp.asarray(p), jnp.asarray(q)
    more = jnp.where(p == 0, 0.0, q / jnp.where(p == 0, 1.0, p) - 1)
    terms = jnp.where(p == 0, q, p * (more - jnp.log1p(more)))
    return (terms.sum(-1) + (p - q).sum(-1)) / math.log(base)


def js_divergence(p: jax.Array, q: jax.Array, base: float = math.e) -> jax.Array:
    """The entropy of the mixture less the mean of the two entropies."""
    p, q = jnp.asarray(p), jnp.asarray(q)
    return entropy((p + q) / 2, base) - (entropy(p, base) + entropy(q, base)) / 2


def mutual_information(joint: jax.Array, base: float = math.e) -> jax.Array:
    """H(first) + H(second) − H(both)."""
    joint = jnp.asarray(joint)
    pair = joint.reshape(*joint.shape[:-2], -1)
    return entropy(joint.sum(-1), base) + entropy(joint.sum(-2), base) - entropy(pair, base)


def perplexity(nats: jax.Array, symbols: jax.Array) -> jax.Array:
    """The product over the texts of e^(nats/N), N the number of all symbols."""
    return jnp.prod(jnp.exp(jnp.asarray(nats) / jnp.sum(symbols, -1, keepdims=True)), -1)


def bits_per_character(nats: jax.Array, characters: jax.Array) -> jax.Array:
    """log₂ of the perplexity of a character."""
    return jnp.log2(perplexity(nats, characters))


def shannon_lengths(counts: jax.Array) -> np.ndarray:
    """The number of binary digits of ⌈N/c⌉ − 1."""
    each = np.asarray(counts)
    pairs = np.broadcast(each, each.sum(-1, keepdims=True))
    digits = [(-(-int(total) // int(count)) - 1).bit_length() for count, total in pairs]
    return np.array(digits, dtype=np.int64).reshape(each.shape)


@cache
def _full_trees(leaves: int) -> frozenset[tuple[int, ...]]:
    """The sorted depths of the leaves of every full binary tree: two subtrees under a root."""
    if leaves == 1:
        return frozenset({(0,)})
    halves = ((left, right) for k in range(1, leaves) for left in _full_trees(k) for right in _full_trees(leaves - k))
    return frozenset(tuple(sorted(depth + 1 for depth in left + right)) for left, right in halves)


def huffman(counts: jax.Array) -> np.ndarray:
    """Of all full trees one of least Σ c l, then of least Σ l; short words to large counts, then to high indices."""
    weights = [int(count) for count in np.asarray(counts).tolist()]
    falling = sorted(range(len(weights)), key=lambda i: (-weights[i], -i))

    def cost(depths: tuple[int, ...]) -> tuple[int, int]:
        return sum(weights[i] * depth for i, depth in zip(falling, depths, strict=True)), sum(depths)

    lengths = np.zeros(len(weights), dtype=np.int64)
    lengths[falling] = min(_full_trees(len(weights)), key=cost)
    return lengths


def kraft_sum(lengths: jax.Array) -> np.ndarray:
    """How many strings as long as the longest word begin with some word, of all there are."""
    whole = np.asarray(lengths).astype(object)
    longest = int(whole.max())
    return np.asarray((2 ** (longest - whole)).sum(-1), dtype=float) / 2.0**longest


def mean_length(counts: jax.Array, lengths: jax.Array) -> jax.Array:
    """The average of the lengths, weighted by the counts."""
    return jnp.average(jnp.asarray(lengths, dtype=float), axis=-1, weights=jnp.asarray(counts, dtype=float))


def codewords(lengths: jax.Array) -> np.ndarray:
    """Words in order of length, then of index: each the first string that no word before it begins."""
    bits = [int(length) for length in np.asarray(lengths).tolist()]
    words: dict[int, int] = {}
    for i in sorted(range(len(bits)), key=lambda i: bits[i]):
        strings = range(1 << bits[i])
        words[i] = next(s for s in strings if all(s >> bits[i] - bits[j] != word for j, word in words.items()))
    return np.array([words[i] for i in range(len(bits))], dtype=np.int64)
