r"""Learning merges from words and how often each occurs, without counting anything twice.

Kept are the symbols of all words as linked lists, how often each pair of neighbours occurs, and where. A merge looks at
the places of its pair only, and changes four counts at each: `incremental_counts_are_linear` in
derivations/bpe_costs.py says how little that is in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush

Pair = tuple[int, int]


def learn(words: Mapping[tuple[int, ...], int], merges: int, base: int, least: int = 2) -> list[Pair]:
    """The pairs to merge, most frequent first, of equal ones the least; fewer than `merges` if none counts `least`.

    Words are rows of symbols below `base`; merge number r makes the symbol base + r. Neighbours are counted, so
    that in a a a the pair (a, a) counts twice.
    """
    symbols: list[int] = []
    weights: list[int] = []
    before: list[int] = []
    after: list[int] = []
    counts: dict[Pair, int] = {}
    where: dict[Pair, list[int]] = {}

    def found(pair: Pair, place: int) -> None:
        counts[pair] = counts.get(pair, 0) + weights[place]
        where.setdefault(pair, []).append(place)

    for word, times in words.items():
        first, end = len(symbols), len(symbols) + len(word)
        symbols += word
        weights += [times] * len(word)
        before += [-1, *range(first, end - 1)][: len(word)]
        after += [*range(first + 1, end), -1][: len(word)]
        for place in range(first, end - 1):
            found((symbols[place], symbols[place + 1]), place)

    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    learned: list[Pair] = []
    while heap and len(learned) < merges:
        count, best = heappop(heap)
        now = counts.get(best, 0)
        if now != -count:  # it has changed since: every pair is here once with a count that is not too low
            if now:
                heappush(heap, (-now, best))
            continue
        if now < least:
            break
        new = base + len(learned)
        learned.append(best)
        a, b = best
        fresh: set[Pair] = set()
        for i in sorted(where.pop(best)):
            j = after[i]
            if symbols[i] != a or j < 0 or symbols[j] != b:
                continue  # one of the two belongs to another pair by now
            weight, h, k = weights[i], before[i], after[j]
            symbols[i], symbols[j], after[i] = new, -1, k
            if h >= 0:
                counts[symbols[h], a] -= weight
                found((symbols[h], new), h)
                fresh.add((symbols[h], new))
            if k >= 0:
                before[k] = i
                counts[b, symbols[k]] -= weight
                found((new, symbols[k]), i)
                fresh.add((new, symbols[k]))
        del counts[best]
        for pair in fresh:
            heappush(heap, (-counts[pair], pair))
    return learned
