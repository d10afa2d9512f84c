r"""Byte-pair encoding: the most frequent pair of neighbours becomes one symbol, again and again.

Symbols 0 … base − 1 are the letters (256 bytes unless said otherwise); merge number r, a row (a, b) of `merges`, makes
the symbol base + r of a and b. These are its definitions on tensors. For real text: bpe_pretokenize.py cuts it into
words, bpe_training.py learns merges from words, bpe_words.py applies them to one, bpe_tokenizer.py does all of it, and
bpe_files.py and tokenizer_json.py read vocabularies.
Article papers/bpe.md, derivations derivations/bpe.py and bpe_costs.py, laws verify/bpe.py.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.bpe_training import learn
from reference.bpe_words import Rules, encode_word

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


def _words(ids: Tensor, base: int) -> list[list[int]]:
    """What stands between the boundaries of a text, which are −1."""
    expect.natural("base", base, 1)
    expect.axes("ids", ids, "N")
    expect.integers("ids", ids)
    expect.indices("ids, with 1 added", ids + 1, base + 1)
    words: list[list[int]] = [[]]
    for symbol in ids.tolist():
        if symbol < 0:
            words.append([])
        else:
            words[-1].append(symbol)
    return words


def _table(merges: Tensor, base: int) -> list[tuple[int, int]]:
    """The rows of a table of merges, none twice, each of symbols that exist by then."""
    expect.natural("base", base, 1)
    if expect.axes("merges", merges, "M 2")["2"] != 2:
        expect.fail("merges", "shape M 2", f"shape {tuple(merges.shape)}")
    expect.indices("merges", merges, base + len(merges))
    rows = [(a, b) for a, b in merges.tolist()]
    for r, pair in enumerate(rows):
        if max(pair) >= base + r:
            expect.fail("merges", f"symbols below {base + r} in row {r}", pair)
    if len(set(rows)) < len(rows):
        expect.fail("merges", "every pair once", f"{next(pair for pair in rows if rows.count(pair) > 1)} twice")
    return rows


def merge(ids: Int[Tensor, "N"], first: int, second: int, new: int) -> Int[Tensor, "T"]:
    r"""The text with `new` in place of every pair (first, second), found from the left: in a a a only one of two.

    Raises ValueError unless ids are integers on one axis, and the symbols integers ≥ 0. Source: gage1994new.
    """
    expect.axes("ids", ids, "N")
    expect.integers("ids", ids)
    for name, symbol in (("first", first), ("second", second), ("new", new)):
        expect.natural(name, symbol)
    here = (ids[:-1] == first) & (ids[1:] == second)
    if first == second:  # of a run of places every other one counts
        place = torch.arange(len(here), device=ids.device)
        start = torch.where(here & ~torch.nn.functional.pad(here[:-1], (1, 0)), place, 0).cummax(0).values
        here = here & ((place - start) % 2 == 0)
    kept = ~torch.nn.functional.pad(here, (1, 0))[: len(ids)]
    return torch.where(torch.nn.functional.pad(here, (0, 1))[: len(ids)], new, ids)[kept]


def train(ids: Int[Tensor, "N"], merges: int, base: int = 256, least: int = 2) -> Int[Tensor, "M 2"]:
    r"""The pairs that were merged, in order: each time the most frequent one, of equal ones the least (a, b).

    An entry −1 of ids is a boundary, which no pair crosses. Neighbours are counted: in a a a the pair (a, a) counts
    twice, though only one of the two can be merged. It ends early when no pair counts `least`.
    Raises ValueError unless ids are integers from −1 to base − 1 on one axis, merges ≥ 0, base ≥ 1 and least ≥ 1.
    Source: sennrich2016neural, §3.2.
    """
    expect.natural("merges", merges)
    expect.natural("least", least, 1)
    words = Counter(map(tuple, _words(ids, base)))
    learned = learn(words, merges, base, least)
    return torch.tensor(learned, dtype=torch.int64, device=ids.device).reshape(-1, 2)


def encode(ids: Int[Tensor, "N"], merges: Int[Tensor, "M 2"], base: int = 256) -> Int[Tensor, "T"]:
    r"""The tokens of a text: in each word the pair that was learned first is merged, until there is none.

    An entry −1 of ids is a boundary, which no token crosses and no token shows. Raises ValueError unless ids are
    integers from −1 to base − 1, and each row of merges, none twice, is of symbols that exist by then.
    Source: sennrich2016neural, §3.2, algorithm 1.
    """
    rules = Rules({pair: (r, base + r) for r, pair in enumerate(_table(merges, base))})
    return ids.new_tensor([token for word in _words(ids, base) for token in encode_word(word, rules)])


def decode(tokens: Int[Tensor, "T"], merges: Int[Tensor, "M 2"], base: int = 256) -> Int[Tensor, "N"]:
    r"""The text of some tokens: each is spelled out, and the spellings are set end to end.

    Raises ValueError unless tokens are integers from 0 to base + M − 1, or as `encode`. Source: gage1994new.
    """
    spelled = [[letter] for letter in range(base)]
    for a, b in _table(merges, base):
        spelled.append(spelled[a] + spelled[b])
    expect.axes("tokens", tokens, "T")
    expect.indices("tokens", tokens, len(spelled))
    return tokens.new_tensor([letter for token in tokens.tolist() for letter in spelled[token]])
