r"""WordPiece: the longest piece that fits, then the longest that goes on from there; else the whole word is unknown.

A piece either begins a word or stands inside one: the latter are written ##piece in BERT's vocabularies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


def piece_table(pieces: Tensor, kind: list[bool] | None = None) -> dict[tuple, int]:
    """Symbols of a piece → its row; with `kind`, whether it stands inside a word goes before them.

    Raises ValueError for a piece that is empty, or has −1 before a symbol, or for the same piece twice.
    """
    expect.axes("pieces", pieces, "V L")
    expect.integers("pieces", pieces)
    expect.indices("pieces, with 1 added", pieces + 1, 2**62)
    table: dict[tuple, int] = {}
    for v, row in enumerate(pieces.tolist()):
        symbols = tuple(row[: row.index(-1)]) if -1 in row else tuple(row)
        if not symbols or any(x >= 0 for x in row[len(symbols) :]):
            expect.fail("pieces", "symbols, then −1 only", row)
        key = symbols if kind is None else (kind[v], *symbols)
        if key in table:
            expect.fail("pieces", "every piece once", row)
        table[key] = v
    return table


def wordpiece(text: Int[Tensor, "N"], pieces: Int[Tensor, "V L"], inside: Bool[Tensor, "V"]) -> Int[Tensor, "T"]:
    r"""The pieces of one word, longest match first: one that may begin it, then those marked `inside`; or −1 alone.

    Raises ValueError unless text is symbols ≥ 0 on one axis, inside is a mask of the pieces, and these are as for
    `unigram.viterbi`, but that a piece may be there once of each kind. Source: schuster2012japanese, §3;
    song2021fast, §2.
    """
    expect.axes("text", text, "N")
    expect.indices("text", text, 2**62)
    expect.tensor("inside", inside)
    if str(inside.dtype) != "torch.bool" or inside.shape != pieces.shape[:1]:
        expect.fail(
            "inside", f"booleans of shape {tuple(pieces.shape[:1])}", f"{inside.dtype} of {tuple(inside.shape)}"
        )
    table, letters = piece_table(pieces, inside.tolist()), text.tolist()
    start, found = 0, []
    while start < len(letters):
        for end in range(min(len(letters), start + pieces.shape[1]), start, -1):
            if (v := table.get((start > 0, *letters[start:end]))) is not None:
                found.append(v)
                start = end
                break
        else:
            return text.new_tensor([-1])
    return text.new_tensor(found)


def split_word(word: str, ids: Mapping[str, int], prefix: str = "##") -> list[int] | None:
    """The ids of one word by the same rule, pieces inside it written with the prefix; None if it does not work."""
    start, found = 0, []
    while start < len(word):
        before = prefix if start else ""
        for end in range(len(word), start, -1):
            if (i := ids.get(before + word[start:end])) is not None:
                found.append(i)
                start = end
                break
        else:
            return None
    return found
