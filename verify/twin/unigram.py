"""The unigram model by matrices: entry i, j is the probability of a piece from place i to place j of the text."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np


def _steps(text: jax.Array, pieces: jax.Array, weights: jax.Array) -> jax.Array:
    """Strictly upper triangular: the sum of the weights of all pieces that are the text from i to j."""
    N, (_, L) = len(text), pieces.shape
    ahead = jnp.concatenate([text, jnp.full(L, -2)])[jnp.arange(N + 1)[:, None] + jnp.arange(L)]
    fits = ((pieces == ahead[:, None]) | (pieces < 0)).all(-1)
    place = jnp.arange(N + 1)
    there = place[:, None] + (pieces >= 0).sum(1) == place[:, None, None]
    return jnp.einsum("jiv,iv,v->ij", there * 1.0, fits * 1.0, weights)


def _likelihood(text: jax.Array, pieces: jax.Array, weights: jax.Array) -> jax.Array:
    """Entry 0, N of Σ_k A^k: k pieces, for every k."""
    A = _steps(text, pieces, weights)
    state = total = jnp.eye(len(A))[0]
    for _ in range(len(text)):
        state = state @ A
        total = total + state
    return total[-1]


def log_likelihood(text: jax.Array, pieces: jax.Array, log_p: jax.Array) -> jax.Array:
    """The logarithm of that sum."""
    text, pieces, log_p = jnp.asarray(text), jnp.asarray(pieces), jnp.asarray(log_p)
    return jnp.log(_likelihood(text, pieces, jnp.exp(log_p)))


def _all(text: list[int], pieces: list[list[int]]) -> Iterator[list[int]]:
    """Every segmentation, its last piece first."""
    if not text:
        yield []
    for v, piece in enumerate(pieces):
        if text[-len(piece) :] == piece:
            yield from ([v, *rest] for rest in _all(text[: -len(piece)], pieces))


def viterbi(text: jax.Array, pieces: jax.Array, log_p: jax.Array) -> np.ndarray:
    """All segmentations are made; of the best ones the first in order of falling lengths from the end."""
    scores = np.asarray(log_p).tolist()
    spelled = [[x for x in row if x >= 0] for row in np.asarray(pieces).tolist()]
    rows = list(_all(np.asarray(text).tolist(), spelled))
    best = min(rows, key=lambda row: (-sum(scores[v] for v in reversed(row)), [-len(spelled[v]) for v in row]))
    return np.array(best[::-1], dtype=np.int64)


def expected_counts(text: jax.Array | np.ndarray, pieces: jax.Array, log_p: jax.Array) -> np.ndarray:
    """The mean, over all segmentations by their probabilities, of how often each piece is in them."""
    scores = np.asarray(log_p, dtype=float)
    spelled = [[x for x in row if x >= 0] for row in np.asarray(pieces).tolist()]
    rows = list(_all(np.asarray(text).tolist(), spelled))
    counts = np.array([np.bincount(row, minlength=len(scores)) for row in rows], dtype=float)
    weights = np.exp(counts @ scores)
    return weights @ counts / weights.sum()


def em_step(text: jax.Array, pieces: jax.Array, log_p: jax.Array) -> np.ndarray:
    """The mean counts of all texts, as shares."""
    letters = np.asarray(text)
    texts = np.split(letters, np.flatnonzero(letters < 0))
    counts = [expected_counts(part[part >= 0], pieces, log_p) for part in texts if (part >= 0).any()]
    with np.errstate(divide="ignore"):
        return np.log(np.sum(counts, 0) / np.sum(counts))


def wordpiece(text: jax.Array, pieces: jax.Array, inside: jax.Array) -> np.ndarray:
    """Of all ways to begin, the longest, then of all ways to go on: one piece after the other, by recursion."""
    spelled = [tuple(x for x in row if x >= 0) for row in np.asarray(pieces).tolist()]
    kinds = np.asarray(inside).tolist()

    def rest(left: tuple[int, ...], begun: bool) -> list[int] | None:
        if not left:
            return []
        fitting = {len(p): v for v, p in enumerate(spelled) if kinds[v] == begun and left[: len(p)] == p}
        if not fitting:
            return None
        after = rest(left[max(fitting) :], True)
        return None if after is None else [fitting[max(fitting)], *after]

    found = rest(tuple(np.asarray(text).tolist()), False)
    return np.array([-1] if found is None else found, dtype=np.int64)
