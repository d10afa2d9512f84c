r"""SentencePiece's BPE: pieces that have scores, and no list of merges.

    "to be"  →  ▁ t o ▁ b e  →  ▁t o ▁ b e  →  ▁to ▁ b e  →  ▁to ▁be

Of all symbols side by side that make a piece, those of the highest score join first, of equal ones the leftmost. What
is no piece in the end is its bytes, each of which is a token such as <0xE2>.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reference import expect
from reference.bpe_words import Rules, encode_word
from reference.unigram_files import BYTE, NORMAL


class Scored(Rules):
    """Merges of pieces that have scores: two symbols become the piece that they spell together, if they do."""

    def __init__(self, pieces: Mapping[str, int], scores: Mapping[int, float]) -> None:
        super().__init__()
        ranks = {score: rank for rank, score in enumerate(sorted(set(scores.values()), reverse=True))}
        self.pieces, self.ranks = pieces, {i: ranks[score] for i, score in scores.items()}
        self.spelled = {i: piece for piece, i in pieces.items()}
        self.symbols = dict(pieces)
        self.free = max(self.spelled, default=-1) + 1

    def symbol(self, character: str) -> int:
        """The id of a character; one that is no piece gets an id above all, for it may be part of one."""
        if character not in self.symbols:
            self.symbols[character] = self.free
            self.spelled[self.free] = character
            self.free += 1
        return self.symbols[character]

    def __missing__(self, pair: tuple[int, int]) -> tuple[int, int] | None:
        i = self.pieces.get(self.spelled[pair[0]] + self.spelled[pair[1]])
        self[pair] = found = None if i is None else (self.ranks[i], i)
        return found


def encoder(vocabulary: Sequence[tuple[str, float]], kinds: Sequence[int]) -> Callable[[str], list[int]]:
    """The function that gives the ids of a text, from tokens with their scores and kinds.

    Normal tokens alone are made by joining. Raises ValueError unless every byte is a token.
    """
    pieces, scores, of_bytes = {}, {}, {}
    for i, ((token, score), kind) in enumerate(zip(vocabulary, kinds, strict=True)):
        if kind == NORMAL:
            pieces[token], scores[i] = i, score
        elif kind == BYTE:
            of_bytes[token] = i
    rules, letters = Scored(pieces, scores), [of_bytes.get(f"<0x{byte:02X}>", -1) for byte in range(256)]
    if min(letters) < 0:
        expect.fail("tokens", "all 256 bytes among them", f"none for <0x{letters.index(-1):02X}>")

    def encode(text: str) -> list[int]:
        found: list[int] = []
        for i in encode_word([rules.symbol(character) for character in text], rules):
            piece = rules.spelled[i]
            found += [i] if piece in pieces else [letters[byte] for byte in piece.encode()]
        return found

    return encode
