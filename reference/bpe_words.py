r"""The merges of one word: a linked list of its symbols, and a heap of the pairs that can be merged.

The pair of the lowest rank comes first, of equal ones the leftmost. A merge makes at most two new pairs, so that a
word of n symbols takes O(n log n), however long it is and whatever is merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

Merges = Mapping[tuple[int, int], tuple[int, int]]
"""(symbol, symbol) → (rank, what they become)."""


class Rules(dict[tuple[int, int], "tuple[int, int] | None"]):
    """Merges that answer for every pair: None for one that does not merge, which is remembered."""

    def __missing__(self, pair: tuple[int, int]) -> tuple[int, int] | None:
        self[pair] = None
        return None


class Joined(Rules):
    """Merges of a vocabulary that has ranks only: two tokens merge if their bytes together are a token, by its rank."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        super().__init__()
        self.ranks = ranks
        self.spelled = {rank: token for token, rank in ranks.items()}

    def __missing__(self, pair: tuple[int, int]) -> tuple[int, int] | None:
        rank = self.ranks.get(self.spelled[pair[0]] + self.spelled[pair[1]])
        self[pair] = found = None if rank is None else (rank, rank)
        return found


def encode_word(symbols: Sequence[int], merges: Rules) -> list[int]:
    """The symbols that are left when nothing more can be merged."""
    ids, n = list(symbols), len(symbols)
    heap = [(found[0], i, found[1]) for i, pair in enumerate(pairwise(ids)) if (found := merges[pair])]
    heapify(heap)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))
    while heap:
        rank, i, new = heappop(heap)
        j = after[i]
        if ids[i] < 0 or j == n or merges[ids[i], ids[j]] != (rank, new):
            continue  # one of the two has become something else meanwhile
        ids[i], ids[j] = new, -1
        after[i] = k = after[j]
        if k < n:
            before[k] = i
            if found := merges[new, ids[k]]:
                heappush(heap, (found[0], i, found[1]))
        if (h := before[i]) >= 0 and (found := merges[ids[h], new]):
            heappush(heap, (found[0], h, found[1]))
    return [symbol for symbol in ids if symbol >= 0]
