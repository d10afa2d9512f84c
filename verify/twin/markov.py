"""Markov-chain probabilities (c(hw)+α)/(c(h)+αV) and perplexity, by counted tuples rather than arrays."""

from __future__ import annotations

import math
from collections import Counter

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
