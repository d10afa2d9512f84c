r"""The merges of one word: a linked list of its symbols, and a heap of the pairs that can be merged.

The pair of the lowest rank comes first, of equal ones the leftmost. A merge makes at most two new pairs, so that a
word of n symbols takes O(n log n), however long it is and whatever is merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

Merges = Mapping[tuple[int, int], tuple[int, int]]
"""(symbol, symbol) → (rank, what they become)."""


class Joined(dict[tuple[int, int], "tuple[int, int] | None"]):
    """Merges of a vocabulary that has ranks only: two tokens merge if their bytes together are a token, by its rank."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        super().__init__()
        self.ranks = ranks
        self.spelled = {rank: token for token, rank in ranks.items()}

    def __missing__(self, pair: tuple[int, int]) -> tuple[int, int] | None:
        rank = self.ranks.get(self.spelled[pair[0]] + self.spelled[pair[1]])
        self[pair] = None if rank is None else (rank, rank)
        return self[pair]

    def get(self, pair, default=None):
        """As the table would be if all pairs were in it."""
        found = self[pair]
        return default if found is None else found


def encode_word(symbols: Sequence[int], merges: Merges) -> list[int]:
    """The symbols that are left when nothing more can be merged."""
    ids, n = list(symbols), len(symbols)
    found: tuple[int, int] | None
    heap = [(found[0], i, found[1]) for i in range(n - 1) if (found := merges.get((ids[i], ids[i + 1])))]
    heapify(heap)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))
    while heap:
        rank, i, new = heappop(heap)
        j = after[i]
        if ids[i] < 0 or j == n or merges.get((ids[i], ids[j])) != (rank, new):
            continue  # one of the two has become something else meanwhile
        ids[i], ids[j] = new, -1
        after[i] = k = after[j]
        if k < n:
            before[k] = i
            if found := merges.get((new, ids[k])):
                heappush(heap, (found[0], i, found[1]))
        if (h := before[i]) >= 0 and (found := merges.get((ids[h], new))):
            heappush(heap, (found[0], h, found[1]))
    return [symbol for symbol in ids if symbol >= 0]
