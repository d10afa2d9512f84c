"""Recomputed chains and blocks as if nothing were: masks from the generator's own numbers, gradients of what is kept.

The generator is PyTorch's on a CPU, a Mersenne twister seeded with one number, of which a number takes two words.
Segments are found by trying every cutting of the chain.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def _numbers(seed: int, count: int) -> np.ndarray:
    """The first numbers after the seed: the 53 low bits of two words, the first one high."""
    words = np.random.RandomState(seed).randint(0, 2**32, size=2 * count, dtype=np.uint32).astype(np.uint64)
    return ((words[0::2] << np.uint64(32) | words[1::2]) & np.uint64(2**53 - 1)).astype(np.int64)


def _factors(seed: int, dropout: float, shapes) -> tuple[list[jax.Array], jax.Array]:
    """What dropout multiplies tensors of these shapes by, drawn one after the other, and the number that follows."""
    sizes = [int(np.prod(shape)) if dropout else 0 for shape in shapes]
    drawn = _numbers(seed, sum(sizes) + 1)
    places = np.cumsum([0, *sizes])
    masks = [
        jnp.asarray((drawn[a:b] / 2**53 >= dropout) / (1 - dropout)).reshape(shape) if dropout else jnp.ones(shape)
        for a, b, shape in zip(places, places[1:], shapes, strict=False)
    ]
    return masks, jnp.asarray(drawn[-1])


def chain_gradients(dy, x, w, every=1, dropout=0.0, seed=0):
    """Everything is kept: forward through the layers, back through their transposes."""
    w = jnp.asarray(w)
    masks, after = _factors(seed, dropout, [x.shape] * len(w))
    stream, wide = [jnp.asarray(x)], []
    for weight, mask in zip(w, masks, strict=True):
        wide.append(stream[-1] @ weight)
        stream.append(stream[-1] + mask * wide[-1] * jax.scipy.stats.norm.cdf(wide[-1]))
    back, slopes = jnp.asarray(dy), []
    for t in reversed(range(len(w))):
        density = jnp.exp(-(wide[t] ** 2) / 2) / jnp.sqrt(2 * jnp.pi)
        inner = back * masks[t] * (jax.scipy.stats.norm.cdf(wide[t]) + wide[t] * density)
        slopes.append(stream[t].T @ inner)
        back = back + inner @ w[t].T
    return stream[-1], back, jnp.stack(slopes[::-1]), after


def _normal(x):
    middle = x.mean(-1, keepdims=True)
    return (x - middle) / jnp.sqrt(((x - middle) ** 2).mean(-1, keepdims=True) + 1e-5)


def _block(x, q, k, v, out, up, down, masks, H):
    """One head and one query at a time would be too slow: an axis for heads in every weight instead."""
    on_weights, on_heads, on_hidden = masks
    D = x.shape[-1]
    split = [part.reshape(H, D // H, D) for part in (q, k, v)]
    queries, keys, values = (jnp.einsum("btd,hkd->bthk", _normal(x), part) for part in split)
    likeness = jnp.einsum("bthk,bshk->bhts", queries, keys) / jnp.sqrt(D // H)
    T = x.shape[1]
    likeness = jnp.where(jnp.arange(T)[:, None] >= jnp.arange(T), likeness, -jnp.inf)
    weights = on_weights * jax.nn.softmax(likeness, -1)
    mixed = jnp.einsum("bhts,bshk,dhk->btd", weights, values, out.reshape(D, H, D // H))
    x = x + on_heads * mixed
    hidden = jnp.einsum("btd,fd->btf", _normal(x), up)
    bent = hidden * jax.scipy.stats.norm.cdf(hidden)
    return x + on_hidden * jnp.einsum("btf,df->btd", bent, down)


def block_gradients(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """By jax.vjp through jax.checkpoint, which is handed its masks."""
    B, T, D = x.shape
    masks, after = _factors(seed, dropout, [(B, H, T, T), (B, T, D), (B, T, D)])
    y, pull = jax.vjp(jax.checkpoint(partial(_block, masks=masks, H=H)), jnp.asarray(x), *map(jnp.asarray, weights))
    return y, *pull(jnp.asarray(dy)), after


def segmented_peak(starts, kept, inside):
    """Segment by segment: the inputs so far, and all that its own layers keep."""
    begins, inputs, insides = (np.asarray(a) for a in (starts, kept, inside))
    (at,) = np.nonzero(begins)
    ends = [*at[1:], len(begins)]
    held = [inputs[at[: s + 1]].sum() + insides[a:b].sum() for s, (a, b) in enumerate(zip(at, ends, strict=True))]
    return jnp.asarray(max(held))


def optimal_segments(kept, inside):
    """Every set of places to begin a segment, the first among them."""
    n = len(kept)
    best: tuple = ()
    for number in range(2 ** (n - 1)):
        begins = [True] + [bool(number >> i & 1) for i in range(n - 1)]
        places = [i for i, begin in enumerate(begins) if begin]
        key = (int(segmented_peak(begins, kept, inside)), len(places), places)
        if not best or key < best[0]:
            best = key, begins
    return jnp.asarray(best[1])
