"""Codes on real text: the bits a character of what was coded, beside the entropy and the bit that a code may add.

python -m bench information [--json] [--svg FILE]. Blocks of k characters are the symbols of a code; predicted is that
Shannon's and Huffman's lie in [H/k, (H + 1)/k), with H the entropy in bits of the blocks' frequencies, and for another
text in [C, C + 1), with C the cross-entropy. Measured is the number of bits into which the text was coded, and from
which it was read again. A code is of no use without its table: what that takes, written down plainly, is added in a
column of its own. zlib, bz2 and lzma carry theirs within. Exit 1 when a measurement is not where it must be.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Iterator
from typing import Any

import torch

from bench.experiment import report
from reference.corpus import embedded
from reference.information import codewords, cross_entropy, entropy, huffman, shannon_lengths
from reference.markov import encode

BLOCKS = (1, 2, 3, 4)
"""Characters in a symbol."""
LENGTH_FIELD = 6
"""Bits in which a table says how long a word is."""
LIBRARIES = {"zlib": lambda x: zlib.compress(x, 9), "bz2": bz2.compress, "lzma": lzma.compress}


def blocks(ids: torch.Tensor, V: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(the number of each block of k characters, how often each number occurs); what does not fill a block is cut."""
    whole = ids[: len(ids) // k * k].reshape(-1, k)
    _, numbers, counts = torch.unique(whole @ V ** torch.arange(k), return_inverse=True, return_counts=True)
    return numbers, counts


def coded(numbers: list[int], lengths: torch.Tensor) -> int:
    """How many bits the text takes; it is read again. Raises ValueError if another text comes out."""
    spelled = zip(codewords(lengths).tolist(), lengths.tolist(), strict=True)
    words = [f"{word:0{length}b}" for word, length in spelled]
    text = "".join([words[i] for i in numbers])
    symbol, start, steps = {word: i for i, word in enumerate(words)}, 0, lengths.unique().tolist()
    for i in numbers:
        read = next((word for step in steps if (word := text[start : start + step]) in symbol), "")
        if symbol.get(read) != i:
            raise ValueError(f"bit {start}: expected block {i}, received the word {read!r}")
        start += len(read)
    return len(text)


def row(code: str, k: int, kinds: int, low: float, high: float, bits: int, characters: int, table: float) -> dict:
    """Bits a character: the least and the most that is predicted, what was measured, and with a table."""
    measured = bits / characters
    return {"code": code, "block": k, "kinds": kinds, "low": low / k, "high": high / k, "measured": measured,
            "ratio": measured / (low / k), "with table": measured + table / characters}  # fmt: skip


def rows() -> Iterator[dict[str, Any]]:
    """Every code at every size of block, a code for another text, then the libraries."""
    text, other = embedded()
    ids, alphabet = encode(text + other)
    ids, others, V = ids[: len(text)], ids[len(text) :], len(alphabet)
    for k in BLOCKS:
        numbers, counts = blocks(ids, V, k)
        H, kinds, characters = float(entropy(counts.double() / len(numbers), 2.0)), len(counts), k * len(numbers)
        spelled, fixed = kinds * k * math.log2(V), (kinds - 1).bit_length()
        codes = {"fixed length": torch.full_like(counts, fixed), "Shannon": shannon_lengths(counts),
                 "Huffman": huffman(counts)}  # fmt: skip
        for name, lengths in codes.items():
            low, high, table = (fixed, fixed, 0) if name == "fixed length" else (H, H + 1, kinds * LENGTH_FIELD)
            yield row(name, k, kinds, low, high, coded(numbers.tolist(), lengths), characters, spelled + table)
    model, truth = torch.bincount(ids, minlength=V) + 1, torch.bincount(others, minlength=V).double()
    C = float(cross_entropy(truth / len(others), model.double() / model.sum(), 2.0))
    bits = coded(others.tolist(), shannon_lengths(model))
    yield row("Shannon, for another text", 1, V, C, C + 1, bits, len(others), 0)
    for name, compress in LIBRARIES.items():
        yield {"code": name, "block": None, "measured": 8 * len(compress(text.encode())) / len(text)}


def holds(r: dict[str, Any]) -> bool:
    """Is the measurement where it must be? To within the rounding of the entropy."""
    return r["block"] is None or r["low"] - 1e-9 <= r["measured"] <= r["high"]


def words() -> list[tuple[float, int, int]]:
    """Of every character: −log₂ of its frequency, and the length of its word by Shannon and by Huffman."""
    counts = torch.bincount(encode(embedded()[0])[0])
    exact = (counts.sum() / counts.double()).log2()
    return list(zip(exact.tolist(), shannon_lengths(counts).tolist(), huffman(counts).tolist(), strict=True))


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Two panels: bits a character by block, and the length of each character's word."""
    from bench.figures import INK, frame, names, panels, save, series

    figure, (left, right) = panels(2, "Codes on real text: bounds are lines, what was coded is dots", size=(4.6, 3.9))
    by = {name: [r for r in found if r["code"] == name] for name in ("fixed length", "Shannon", "Huffman")}
    last, nothing = BLOCKS[-1], [math.nan] * len(BLOCKS)
    low, high = ([r[end] for r in by["Huffman"]] for end in ("low", "high"))
    for bound in (low, high):
        series(left, BLOCKS, predicted=bound, color=7)
    for color, of in enumerate(by.values()):
        series(left, BLOCKS, [r["measured"] for r in of], predicted=nothing, color=color)
    tabled = [r["with table"] for r in by["Huffman"]]
    series(left, BLOCKS, tabled, color=4)
    for name, height, color in (("fixed length", by["fixed length"][0]["measured"], 0), ("(H + 1)/k", high[0], 7)):
        left.annotate(name, (1, height), (7, 3), textcoords="offset points", color=INK[color])
    ends = [(last, low[-1], "entropy H/k", 7), (last, tabled[-1], "Huffman and its table", 4)]
    ends += [(last, by[name][-1]["measured"], name, color) for color, name in ((2, "Huffman"), (1, "Shannon"))]
    for r in (r for r in found if r["block"] is None):
        left.plot((1, last), (r["measured"],) * 2, lw=0.6, ls=(0, (4, 3)), color=INK[6])
        ends.append((last, r["measured"], r["code"], 6))
    frame(left, "characters in a block, k", "bits a character", zero=True, xticks=BLOCKS, yticks=range(8))
    names(left, ends)
    exact, shannon, optimal = zip(*sorted(words()), strict=True)
    ends = []
    for add, name in ((0, "−log₂ p"), (1, "−log₂ p + 1")):
        series(right, exact, predicted=[e + add for e in exact], color=7)
        ends.append((exact[-1], exact[-1] + add, name, 7))
    for color, lengths in ((1, shannon), (2, optimal)):
        series(right, exact, lengths, predicted=[math.nan] * len(exact), color=color)
    ticks = range(0, 21, 5)
    right.set_xlim(left=0)
    frame(right, "−log₂ of a character's frequency", "bits in its word", zero=True, xticks=ticks, yticks=ticks)
    names(right, ends)
    save(figure, path)


def told(r: dict[str, Any]) -> str:
    """One line of the table."""
    if r["block"] is None:
        return f"{'':>5}  {r['code']:<57} {r['measured']:>11.4f}"
    return (
        f"{r['block']:>5}  {r['code']:<26} {r['kinds']:>6,} {r['low']:>7.4f} {r['high']:>7.4f} {r['measured']:>9.4f}"
        f" {r['ratio']:>7.4f} {r['with table']:>11.4f}" + ("" if holds(r) else "  not where it must be")
    )


HEADING = "block  code                        words    from      to  measured   ratio  with table"


def main(options) -> int:
    return report("information", options, rows(), drawn, told=told, heading=HEADING,
                  wrong=lambda r: not holds(r), zlib=zlib.ZLIB_RUNTIME_VERSION)  # fmt: skip
