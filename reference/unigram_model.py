r"""The unigram model on strings: the best segmentation of a word, and pieces learned from words.

Learning begins with every frequent substring. Each round is two steps of expectation–maximization and then a pruning:
the pieces whose loss would cost least are given up, until as many are left as are wanted. Letters always stay.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from reference import expect

STEPS, KEEP = 2, 0.75
UNKNOWN = 10.0
"""A character that no piece begins with costs so many nats more than the rarest piece, as in SentencePiece."""


def best_pieces(word: str, log_p: Mapping[str, float], longest: int, unknown: float = -math.inf) -> list[str]:
    """The pieces of the best segmentation, of equal ones that with the longest last piece, and so on.

    A character that is no piece itself may stand alone at the score `unknown`.
    """
    best, back = [0.0, *[-math.inf] * len(word)], [0] * (len(word) + 1)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - longest), end):
            score = log_p.get(word[start:end])
            if score is None:
                if start < end - 1:
                    continue
                score = unknown
            if best[start] + score > best[end]:
                best[end], back[end] = best[start] + score, start
    place, found = len(word), []
    while place:
        found.append(word[back[place] : place])
        place = back[place]
    return found[::-1]


def expected(words: Mapping[str, int], log_p: Mapping[str, float], longest: int) -> tuple[dict[str, float], float]:
    """(how often each piece is expected in all words, log P of all words), by the forward–backward recursion."""
    counts: dict[str, float] = defaultdict(float)
    total = 0.0
    p = {piece: math.exp(score) for piece, score in log_p.items()}
    for word, times in words.items():
        n = len(word)
        edges = [
            (start, end, piece)
            for end in range(1, n + 1)
            for start in range(max(0, end - longest), end)
            if (piece := word[start:end]) in p
        ]
        forward, backward = [1.0, *[0.0] * n], [0.0] * n + [1.0]
        for start, end, piece in edges:
            forward[end] += forward[start] * p[piece]
        for start, end, piece in reversed(edges):
            backward[start] += p[piece] * backward[end]
        total += times * math.log(forward[n])
        for start, end, piece in edges:
            counts[piece] += times * forward[start] * p[piece] * backward[end] / forward[n]
    return counts, total


def seeds(words: Mapping[str, int], longest: int, least: int = 2) -> dict[str, float]:
    """log_p of all letters and of substrings that occur `least` times, in proportion to how often they do."""
    counts: Counter[str] = Counter()
    for word, times in words.items():
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + longest) + 1):
                counts[word[start:end]] += times
    kept = {piece: n for piece, n in counts.items() if n >= least or len(piece) == 1}
    total = math.log(sum(kept.values()))
    return {piece: math.log(n) - total for piece, n in kept.items()}


def stepped(words: Mapping[str, int], log_p: Mapping[str, float], longest: int) -> tuple[dict[str, float], float]:
    """log_p after a step of EM, and log P before it. A piece that is expected less than half a time is given up.

    Letters stay: one that is not expected is given as much as half an occurrence.
    """
    counts, total = expected(words, log_p, longest)
    kept = {x: max(counts.get(x, 0.0), 0.5) for x in log_p if len(x) == 1 or counts.get(x, 0.0) >= 0.5}
    size = math.log(sum(kept.values()))
    return {x: math.log(n) - size for x, n in kept.items()}, total


def pruned(words: Mapping[str, int], log_p: Mapping[str, float], longest: int, size: int) -> dict[str, float]:
    """The `size` pieces whose loss would cost most nats, and all letters: each is given up for its best replacement."""
    uses: Counter[str] = Counter()
    for word, times in words.items():
        for piece in best_pieces(word, log_p, longest):
            uses[piece] += times
    costs = {}
    for piece in log_p:
        if len(piece) > 1:
            others = best_pieces(piece, {x: s for x, s in _inside(piece, log_p).items() if x != piece}, longest)
            costs[piece] = uses[piece] * (log_p[piece] - sum(log_p[x] for x in others))
    letters = [x for x in log_p if len(x) == 1]
    best = sorted(costs, key=lambda x: (-costs[x], x))[: max(0, size - len(letters))]
    return {x: log_p[x] for x in [*letters, *best]}


def _inside(word: str, log_p: Mapping[str, float]) -> dict[str, float]:
    """The pieces that occur in a word."""
    spans = (word[i:j] for i in range(len(word)) for j in range(i + 1, len(word) + 1))
    return {x: log_p[x] for x in spans if x in log_p}


def learn(words: Mapping[str, int], size: int, longest: int = 8) -> dict[str, float]:
    """log_p of at most `size` pieces, the letters among them, learned from words and how often each occurs.

    Raises ValueError for no words, or unless size is at least the number of letters. Source: kudo2018subword, §3.2.
    """
    if not words:
        expect.fail("words", "at least one", "none")
    expect.natural("size", size, len({letter for word in words for letter in word}))
    expect.natural("longest", longest, 1)
    log_p = seeds(words, longest)
    while True:
        for _ in range(STEPS):
            log_p, _ = stepped(words, log_p, longest)
        if len(log_p) <= size:
            return log_p
        log_p = pruned(words, log_p, longest, max(size, int(len(log_p) * KEEP)))


class Unigram:
    """Pieces with ids and scores: words become ids, unknown characters that stand together the one id `unknown`."""

    def __init__(self, pieces: Sequence[tuple[str, float]], unknown: int | None = None, fused: bool = True) -> None:
        self.ids: dict[str, int] = {}
        for i, (piece, _) in enumerate(pieces):
            self.ids.setdefault(piece, i)
        self.log_p = {piece: pieces[i][1] for piece, i in self.ids.items()}
        self.longest = max(map(len, self.ids), default=1)
        self.unknown, self.fused = unknown, fused
        self.least = min((score for _, score in pieces), default=0.0) - UNKNOWN

    def encode_word(self, word: str) -> list[str]:
        """The pieces of a word; unknown characters that stand together are one piece if they are `fused`."""
        found: list[str] = []
        joined = False
        for piece in best_pieces(word, self.log_p, self.longest, self.least):
            strange = piece not in self.log_p
            if strange and joined and self.fused:
                found[-1] += piece
            else:
                found.append(piece)
            joined = strange
        return found
