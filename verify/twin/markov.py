"""Markov-chain probabilities (c(hw)+α)/(c(h)+αV), perplexity and its bits, by counted tuples rather than arrays."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np


def probabilities(
    ids: np.ndarray | jax.Array, contexts: np.ndarray | jax.Array, vocabulary: int, alpha: float = 0.0
) -> np.ndarray:
    """P(w|h) = (c(hw)+α)/(c(h)+αV) as "B V", by a Counter of every (k+1)-gram of the text as a tuple."""
    text = [int(token) for token in np.asarray(ids).tolist()]
    rows = [tuple(int(token) for token in row) for row in np.asarray(contexts).tolist()]
    order = np.asarray(contexts).shape[1]
    counts = Counter(tuple(text[start : start + order + 1]) for start in range(len(text) - order))
    table = np.full((len(rows), vocabulary), math.nan)
    for row, context in enumerate(rows):
        followers = [counts[(*context, word)] for word in range(vocabulary)]
        mass = sum(followers) + alpha * vocabulary
        if mass:
            table[row] = [(count + alpha) / mass for count in followers]
    return table


def surprise(
    ids: np.ndarray | jax.Array, text: np.ndarray | jax.Array, order: int, vocabulary: int, alpha: float = 0.0
) -> np.ndarray:
    """log (c(h)+αV) − log (c(hw)+α) for every symbol w of the text after its first k, each searched for anew."""
    read, asked = ([int(token) for token in np.asarray(x).tolist()] for x in (ids, text))
    windows = [read[start : start + order + 1] for start in range(len(read) - order)]
    nats = []
    for end in range(order, len(asked)):
        context, word = asked[end - order : end], asked[end]
        after = [window[-1] for window in windows if window[:-1] == context]
        seen, total = after.count(word) + alpha, len(after) + alpha * vocabulary
        nats.append(math.nan if not total else math.log(total) - math.log(seen) if seen else math.inf)
    return np.array(nats)


def perplexity(log_probabilities: jax.Array) -> jax.Array:
    """exp(−mean_n log p_n), as the geometric mean Π_n exp(−log p_n / N) of the inverse probabilities."""
    log_probabilities = jnp.asarray(log_probabilities)
    return jnp.prod(jnp.exp(-log_probabilities / log_probabilities.shape[0]))


def bits_per_character(log_probabilities: jax.Array) -> jax.Array:
    """log₂ of the perplexity."""
    return jnp.log2(perplexity(log_probabilities))


def grams(text: list[int], length: int) -> list[tuple[int, ...]]:
    """Every run of so many symbols, from left to right."""
    return [tuple(text[start : start + length]) for start in range(len(text) - length + 1)]


def kneser_ney(
    ids: np.ndarray | jax.Array,
    contexts: np.ndarray | jax.Array,
    vocabulary: int,
    discounts: np.ndarray | jax.Array | None = None,
) -> np.ndarray:
    """P(w|h) = max(c(hw)−D, 0)/c(h) + D·n(h)/c(h)·P(w|h'), by recursion over ever shorter h, with sets of tuples.

    c counts occurrences of the longest grams and, of shorter ones, the different symbols before them; at the end 1/V.
    """
    text = [int(token) for token in np.asarray(ids).tolist()]
    longest = np.asarray(contexts).shape[1]

    @cache
    def count(gram: tuple[int, ...]) -> int:
        if len(gram) == longest + 1:
            return grams(text, longest + 1).count(gram)
        return len({longer[0] for longer in grams(text, len(gram) + 1) if longer[1:] == gram})

    def discount(order: int) -> float:
        if discounts is not None:
            return float(np.asarray(discounts)[order])
        every = [count(gram) for gram in set(grams(text, order + 1))]
        once, twice = every.count(1), every.count(2)
        return once / (once + 2 * twice) if once else 0.0

    taken = [discount(order) for order in range(longest + 1)]

    def after(context: tuple[int, ...]) -> list[float]:
        shorter = after(context[1:]) if context else [1 / vocabulary] * vocabulary
        counts = [count((*context, word)) for word in range(vocabulary)]
        total, kinds, D = sum(counts), sum(c > 0 for c in counts), taken[len(context)]
        if not total:
            return shorter
        return [max(c - D, 0.0) / total + D * kinds / total * q for c, q in zip(counts, shorter, strict=True)]

    rows = [after(tuple(int(token) for token in row)) for row in np.asarray(contexts).tolist()]
    return np.array(rows).reshape(len(rows), vocabulary)


def jelinek_mercer(
    ids: np.ndarray | jax.Array,
    contexts: np.ndarray | jax.Array,
    vocabulary: int,
    weights: np.ndarray | jax.Array,
) -> np.ndarray:
    """Σ_k share_k·c(h_k w)/c(h_k) + share·1/V: the longest context seen takes λ of all, the next λ of the rest …"""
    text = [int(token) for token in np.asarray(ids).tolist()]
    table = np.zeros((len(np.asarray(contexts)), vocabulary))
    for row, context in zip(table, np.asarray(contexts).tolist(), strict=True):
        left = 1.0
        for order in range(len(context), -1, -1):
            end = tuple(int(token) for token in context[len(context) - order :])
            words = [gram[-1] for gram in grams(text, order + 1) if gram[:-1] == end]
            if words:
                weight = float(np.asarray(weights)[order])
                row += [left * weight * words.count(word) / len(words) for word in range(vocabulary)]
                left *= 1 - weight
        row += left / vocabulary
    return table


def interpolation_weights(
    ids: np.ndarray | jax.Array, order: int, vocabulary: int, deleted: float = 0.1, steps: int = 50
) -> np.ndarray:
    """EM for the λ of `jelinek_mercer`: each deleted symbol is shared out among the orders that could have said it.

    λ_k becomes what order k got over what order k and all that are asked after it got, where its context is known.
    """
    text = [int(token) for token in np.asarray(ids).tolist()]
    size = round(len(text) * deleted)
    read, asked = text[: len(text) - size], text[len(text) - size :]
    weights = [0.5] * (order + 1)
    known: list[dict[int, float]] = []
    for *context, word in grams(asked, order + 1):
        said = {}
        for k in range(order + 1):
            words = [gram[-1] for gram in grams(read, k + 1) if list(gram[:-1]) == context[order - k :]]
            if words:
                said[k] = words.count(word) / len(words)
        known.append(said)
    for _ in range(steps):
        got, reached = [0.0] * (order + 1), [0.0] * (order + 1)
        for said in known:
            left, part = 1.0, dict[int, float]()
            for k in sorted(said, reverse=True):
                part[k] = left * weights[k] * said[k]
                left *= 1 - weights[k]
            whole = sum(part.values()) + left / vocabulary
            for k in said:
                got[k] += part[k] / whole
                reached[k] += (sum(p for shorter, p in part.items() if shorter <= k) + left / vocabulary) / whole
        weights = [g / r if r else w for g, r, w in zip(got, reached, weights, strict=True)]
    return np.array(weights)
