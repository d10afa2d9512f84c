"""Filters and beams by comparing all pairs, not by sorting, over all texts at once; Gumbel-max as a race of clocks."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


@jax.jit
def _beats(z: jax.Array) -> jax.Array:
    """Whether symbol j (last axis) stands before symbol i (the axis ahead of it): larger, or equal and earlier."""
    index = jnp.arange(z.shape[-1])
    other, own = z[..., None, :], z[..., :, None]
    return (other > own) | ((other == own) & (index < index[:, None]))


@jax.jit
def _weights(z: jax.Array) -> jax.Array:
    """exp(z − max z), to which the probabilities are proportional; nothing but zeros where all is impossible."""
    # The proportions do not depend on the maximum, which may therefore go undifferentiated.
    peak = jax.lax.stop_gradient(z.max(-1, keepdims=True))
    return jnp.exp(z - jnp.where(peak == -jnp.inf, 0.0, peak))


@partial(jax.jit, static_argnames="boundary")
def _within(weights: jax.Array, beats: jax.Array, p: float, boundary: str = "reaches") -> jax.Array:
    """Whether the symbol is among those that the share p takes, each mass before it a sum over pairs."""
    before = jnp.where(beats, weights[..., None, :], 0.0).sum(-1)
    limit = p * weights.sum(-1, keepdims=True)
    # Nothing possible ever has the whole mass before it, though rounding may say so.
    kept = {"reaches": before < limit, "exceeds": before <= limit, "within": before + weights <= limit}[boundary]
    return kept | (p == 1.0) | (~beats.any(-1) & (boundary == "within"))


@jax.jit
def _surprise(z: jax.Array) -> jax.Array:
    """−log softmax(z)_i = log Σ_j exp(z_j − z_i), from the gaps of each symbol to all; infinite where it cannot be."""
    gaps = jnp.where(z[..., None, :] == -jnp.inf, -jnp.inf, z[..., None, :] - z[..., :, None])
    return jnp.where(z == -jnp.inf, jnp.inf, jax.nn.logsumexp(gaps, axis=-1))


@jax.jit
def _certainty(z: jax.Array) -> jax.Array:
    """e^−H = Π p_i^p_i of the entropy H, as a product of powers."""
    p = jnp.exp(-_surprise(z))
    # Compiled, exp(a)**b becomes exp(a·b), and 0**0 NaN: hence the selection.
    return jnp.prod(jnp.where(p == 0.0, 1.0, p**p), axis=-1, keepdims=True)


@jax.jit
def _undefined(z: jax.Array, bad: jax.Array) -> jax.Array:
    """The rows with anything bad in them made NaN; multiplying, unlike selecting, reaches the derivatives."""
    return z * jnp.where(bad.any(-1, keepdims=True), jnp.nan, 1.0)


def temperature(z: jax.Array, T: float) -> jax.Array:
    """z/T for T > 0, as multiplication by the inverse temperature."""
    if T <= 0:
        raise ValueError(f"expected T > 0 (greedy choice is the limit at 0), received {T}")
    return jnp.asarray(z) * (1.0 / T)


def top_k(z: jax.Array, k: int) -> jax.Array:
    """The k largest logits of each row, the others −∞, by counting for each symbol the symbols that beat it."""
    z = jnp.asarray(z)
    return _undefined(jnp.where(_beats(z).sum(-1) < k, z, -jnp.inf), jnp.isnan(z))


def top_p(z: jax.Array, p: float, boundary: str = "reaches") -> jax.Array:
    """The symbols before which less than the mass p stands, the others −∞, from masses summed over pairs."""
    z = jnp.asarray(z)
    kept = _within(_weights(z), _beats(z), p, boundary)
    return _undefined(jnp.where(kept, z, -jnp.inf), jnp.isnan(z) | (z == jnp.inf))


def min_p(z: jax.Array, p: float) -> jax.Array:
    """The symbols to no other of which their probability ratio exp(z_i − z_j) is below p, the others −∞."""
    z = jnp.asarray(z)
    outdone = jnp.any(jnp.exp(z[..., :, None] - z[..., None, :]) < p, axis=-1)
    return _undefined(jnp.where(outdone, -jnp.inf, z), jnp.isnan(z))


@jax.jit
def typical(z: jax.Array, p: float) -> jax.Array:
    """The symbols before which less than the mass p has a surprise nearer to the entropy, the others −∞."""
    z = jnp.asarray(z)
    far, index = jnp.abs(_surprise(z) + jnp.log(_certainty(z))), jnp.arange(z.shape[-1])
    even = (z[..., None, :] == z[..., :, None]) | (far[..., None, :] == far[..., :, None])
    nearer = jnp.where(even, index < index[:, None], far[..., None, :] < far[..., :, None])
    return _undefined(jnp.where(_within(_weights(z), nearer, p), z, -jnp.inf), jnp.isnan(z) | (z == jnp.inf))


@jax.jit
def _likely(z: jax.Array, least: jax.Array | float) -> jax.Array:
    """The symbols of at least this probability, or beaten by none, the others −∞."""
    unbeaten = ~(z[..., None, :] > z[..., :, None]).any(-1)
    return _undefined(jnp.where((jnp.exp(-_surprise(z)) >= least) | unbeaten, z, -jnp.inf), jnp.isnan(z))


def epsilon_cutoff(z: jax.Array, epsilon: float) -> jax.Array:
    """The symbols of probability ε at least, the others −∞, by comparing probabilities."""
    return _likely(jnp.asarray(z), epsilon)


def eta_cutoff(z: jax.Array, epsilon: float) -> jax.Array:
    """The symbols of probability min(ε, √ε Π p_i^p_i) at least, the others −∞."""
    z = jnp.asarray(z)
    return _likely(z, jnp.minimum(epsilon, math.sqrt(epsilon) * _certainty(z)))


def repetition_penalty(z: jax.Array, tokens: jax.Array, penalty: float) -> jax.Array:
    """z times the penalty to the power −1 (positive z that occurred), 1 (others that occurred) or 0."""
    z = jnp.asarray(z)
    occurred = (jnp.asarray(tokens)[..., None] == jnp.arange(z.shape[-1])).any(-2)
    return z * jnp.asarray(penalty, z.dtype) ** jnp.where(occurred, jnp.where(z > 0.0, -1.0, 1.0), 0.0)


def presence_penalty(z: jax.Array, tokens: jax.Array, penalty: float) -> jax.Array:
    """z − penalty·[the symbol is one of the tokens], by looking for it among them."""
    z = jnp.asarray(z)
    return z - penalty * (jnp.asarray(tokens)[..., None] == jnp.arange(z.shape[-1])).any(-2)


def frequency_penalty(z: jax.Array, tokens: jax.Array, penalty: float) -> jax.Array:
    """z less the penalty once for every token that is the symbol, token after token."""
    z = jnp.asarray(z)
    for token in jnp.moveaxis(jnp.asarray(tokens), -1, 0):
        z = z - penalty * (token[..., None] == jnp.arange(z.shape[-1]))
    return z


def distribution(
    z: jax.Array,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    temperature_last: bool = False,
) -> jax.Array:
    """Probabilities after temperature, top-k, top-p and min-p, by striking weights out of one table of pairs."""
    if temperature <= 0:
        raise ValueError(f"expected temperature > 0, received {temperature}")
    z = jnp.asarray(z)
    tempered = _weights(z * (1.0 / temperature))
    weights = _weights(z) if temperature_last else tempered
    beats, kept = _beats(z), jnp.ones(z.shape, bool)
    if top_k is not None:
        kept = beats.sum(-1) < top_k
    kept = kept & _within(jnp.where(kept, weights, 0.0), beats, top_p)
    # The largest weight, 1, has survived: it is what the others are measured by.
    kept = kept & (weights >= min_p)
    weights = jnp.where(kept, tempered, 0.0)
    total = weights.sum(-1, keepdims=True)
    return _undefined(weights / jnp.where(total == 0.0, 1.0, total), jnp.isnan(z) | (z == jnp.inf))


def greedy(z: jax.Array) -> jax.Array:
    """The symbol that fewest others beat: none."""
    return jnp.argmin(_beats(jnp.asarray(z)).sum(-1), axis=-1)


def _rank(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """How many are better than each: of a larger score, or of an equal one and before it in order."""
    ahead = (scores > scores[:, None]) | ((scores == scores[:, None]) & (order < order[:, None]))
    return ahead.sum(-1)


def beam_search(
    log_p: jax.Array,
    prompt: jax.Array,
    width: int,
    steps: int,
    end: int,
    alpha: float = 0.0,
    penalty: str = "power",
) -> tuple[np.ndarray, np.ndarray]:
    """Beams over the tree of all texts, each a number in base V: a branch that is not among the best is struck out."""
    table, V = np.asarray(log_p), len(log_p)
    sums, alive, last = np.zeros(1, table.dtype), np.ones(1, bool), np.asarray(prompt)[-1:]
    codes, scores = [], []
    for t in range(1, steps + 1):
        sums = (sums[:, None] + table[last]).ravel()
        text = np.arange(V**t)
        last = text % V
        alive = np.repeat(alive, V) & (sums > -np.inf)
        closed = alive & ((last == end) | (t == steps))
        codes.append((text * V ** (steps - t) + sum(end * V**k for k in range(steps - t)))[closed])
        scores.append((sums / float(t if penalty == "power" else (5 + t) / 6) ** alpha)[closed])
        alive = alive & ~closed
        alive = alive & (_rank(np.where(alive, sums, -np.inf), text) < width)
    code, score = np.concatenate(codes), np.concatenate(scores)
    place = np.argsort(_rank(score, code))[:width]
    digits = [code[place] // V ** (steps - 1 - k) % V for k in range(steps)]
    return np.stack(digits, -1), score[place]


@jax.jit
def gumbel_max(z: jax.Array, u: jax.Array) -> jax.Array:
    """argmax_i (z_i − log(−log u_i)), lower index first, as the first of clocks that ring at −log u_i · e^{−z_i}."""
    z, clocks = jnp.asarray(z), -jnp.log(jnp.asarray(u))

    def challenge(best: tuple, challenger: tuple) -> tuple:
        (z_best, clock_best, _), (z_next, clock_next, _) = best, challenger
        gap = z_next - z_best
        # Both times are taken relative to the more probable symbol, so that no exponential exceeds 1.
        sooner = clock_next * jnp.exp(jnp.minimum(-gap, 0.0)) < clock_best * jnp.exp(jnp.minimum(gap, 0.0))
        return tuple(jnp.where(sooner, new, old) for new, old in zip(challenger, best, strict=True)), None

    index = jnp.broadcast_to(jnp.arange(z.shape[-1]), z.shape)
    race = tuple(jnp.moveaxis(value, -1, 0) for value in (z, clocks, index))
    return jax.lax.scan(challenge, tuple(value[0] for value in race), tuple(value[1:] for value in race))[0][2]
