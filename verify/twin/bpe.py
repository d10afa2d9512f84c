"""Byte-pair encoding on strings: a symbol is a character, a merge is Python's own search and replace."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

EMPTY = np.zeros(0, dtype=np.int64)


def _string(ids: jax.Array | np.ndarray | Sequence[int]) -> str:
    """Symbol k as the character after k others; a boundary, −1, as a blank line's end."""
    return "".join("\n" if i < 0 else chr(0x1000 + i) for i in np.asarray(ids).tolist())


def _ids(text: str) -> np.ndarray:
    return np.array([-1 if c == "\n" else ord(c) - 0x1000 for c in text], dtype=np.int64) if text else EMPTY


def merge(ids: jax.Array | np.ndarray, first: int, second: int, new: int) -> np.ndarray:
    """Search and replace."""
    return _ids(_string(ids).replace(_string([first, second]), _string([new])))


def train(ids: jax.Array, merges: int, base: int = 256, least: int = 2) -> np.ndarray:
    """The whole text is counted anew for each merge: every pair, by its number a · 2^20 + b."""
    text, found = np.asarray(ids).astype(np.int64), []
    for new in range(base, base + merges):
        inner = (text[:-1] >= 0) & (text[1:] >= 0)
        pairs, counts = np.unique((text[:-1] * 2**20 + text[1:])[inner], return_counts=True)
        if not len(pairs) or counts.max() < least:
            break
        first, second = divmod(int(pairs[counts.argmax()]), 2**20)  # the first maximum: numbers rise
        found.append([first, second])
        text = merge(text, first, second, new)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def encode(ids: jax.Array, merges: jax.Array, base: int = 256) -> np.ndarray:
    """Merge after merge over the whole text: what a merge makes is an input of later ones only."""
    text = _string(ids)
    for r, (first, second) in enumerate(np.asarray(merges).tolist()):
        text = text.replace(_string([first, second]), _string([base + r]))
    return _ids(text.replace("\n", ""))


def decode(tokens: jax.Array, merges: jax.Array, base: int = 256) -> np.ndarray:
    """The last merge is undone first."""
    text = _string(tokens)
    for r, (first, second) in reversed(list(enumerate(np.asarray(merges).tolist()))):
        text = text.replace(_string([base + r]), _string([first, second]))
    return _ids(text)
