"""Mistakes in byte-pair encoding: in the merge, the training, and the two directions between text and tokens."""

from __future__ import annotations

from itertools import pairwise

import torch

from reference.bpe import decode, encode, merge, train
from verify.mistake import mistake

NOWHERE = "no public report found"


def tensor(symbols):
    return torch.tensor(symbols, dtype=torch.int64)


def cut(ids):
    """The words between the boundaries."""
    words: list[list[int]] = [[]]
    for symbol in ids.tolist():
        if symbol < 0:
            words.append([])
        else:
            words[-1].append(symbol)
    return words


@mistake("bpe.merge", id="bpe-merge-overlaps", seen=NOWHERE, fix="go on behind the pair")
def pairs_overlap(ids, first, second, new):
    """In a a a both pairs are taken: one new symbol too many."""
    out, covered = [], set()
    text = ids.tolist()
    for i, symbol in enumerate(text):
        if text[i : i + 2] == [first, second]:
            out.append(new)
            covered.add(i + 1)
        elif i not in covered:
            out.append(symbol)
    return tensor(out)


@mistake("bpe.merge", id="bpe-merge-from-the-right", seen=NOWHERE, fix="look for the pair from the left")
def from_the_right(ids, first, second, new):
    """In a a a the last two become one."""
    return merge(ids.flip(0), second, first, new).flip(0)


@mistake("bpe.merge", id="bpe-merge-once", seen=NOWHERE, fix="merge all occurrences")
def first_occurrence_only(ids, first, second, new):
    """Only the first occurrence is merged."""
    text = ids.tolist()
    for i in range(len(text) - 1):
        if text[i : i + 2] == [first, second]:
            return tensor([*text[:i], new, *text[i + 2 :]])
    return ids


@mistake("bpe.merge", id="bpe-merge-keeps-second", seen=NOWHERE, fix="both symbols give way to the new one")
def second_symbol_stays(ids, first, second, new):
    """The first of the two becomes the new symbol, and the second stays."""
    out = []
    for symbol in merge(ids, first, second, new).tolist():
        out += [symbol, second] if symbol == new else [symbol]
    return tensor(out)


@mistake("bpe.merge", id="bpe-merge-either-order", seen=NOWHERE, fix="(a, b) is not (b, a)")
def order_is_ignored(ids, first, second, new):
    """The pair the other way round is merged too."""
    return merge(merge(ids, first, second, new), second, first, new)


def trained(ids, merges, base, least, *, boundaries=True, key=None, disjoint=False, types=False, stale=False):
    """Training by rescanning, but for what is chosen."""
    text, counted = cut(ids) if boundaries else [ids[ids >= 0].tolist()], None
    found: list[tuple[int, int]] = []
    key = key or (lambda counts, pair: (-counts[pair], pair))
    while len(found) < merges:
        counts: dict[tuple[int, int], int] = {}
        last: dict[tuple[int, int], tuple[int, int]] = {}
        for w, word in enumerate({tuple(word): word for word in text}.values() if types else text):
            for i, pair in enumerate(pairwise(word)):
                if not (disjoint and pair[0] == pair[1] and last.get(pair) == (w, i - 1)):
                    counts[pair] = counts.get(pair, 0) + 1
                    last[pair] = (w, i)
        if stale:  # pairs keep the count that they had when they were first seen
            counted = counts | (counted or {})
            counts = {pair: counted[pair] for pair in counts}
        if not counts or max(counts.values()) < least:
            break
        best = min(counts, key=lambda pair: key(counts, pair))
        text = [merge(tensor(word), *best, base + len(found)).tolist() for word in text]
        found.append(best)
    return tensor(found).reshape(-1, 2)


@mistake("bpe.train", id="bpe-train-crosses-words", seen=NOWHERE, fix="count inside words")
def pairs_cross_words(ids, merges, base=256, least=2):
    """The last letter of a word and the first of the next are counted."""
    return trained(ids, merges, base, least, boundaries=False)


@mistake("bpe.train", id="bpe-train-ties", seen=NOWHERE, fix="state which of equal pairs comes first")
def last_of_equal_pairs(ids, merges, base=256, least=2):
    """Of equally frequent pairs the largest comes first."""
    return trained(ids, merges, base, least, key=lambda counts, pair: (-counts[pair], [-x for x in pair]))


@mistake("bpe.train", id="bpe-train-first-seen", seen=NOWHERE, fix="let ties not depend on the order of words")
def first_seen_of_equal_pairs(ids, merges, base=256, least=2):
    """Of equally frequent pairs the one comes first that was met first."""
    return trained(ids, merges, base, least, key=lambda counts, pair: -counts[pair])


@mistake("bpe.train", id="bpe-train-types", seen=NOWHERE, fix="weight a word by how often it occurs")
def every_word_counts_once(ids, merges, base=256, least=2):
    """A word counts once, however often it occurs."""
    return trained(ids, merges, base, least, types=True)


@mistake("bpe.train", id="bpe-train-stale-counts", seen=NOWHERE, fix="take what a merge uses up from its neighbours")
def counts_are_not_taken_back(ids, merges, base=256, least=2):
    """A pair keeps the count of the beginning, although merges used some of it up."""
    return trained(ids, merges, base, least, stale=True)


@mistake("bpe.train", id="bpe-train-disjoint", seen=NOWHERE, fix="count neighbours, as others do, or say otherwise")
def runs_count_half(ids, merges, base=256, least=2):
    """In a a a the pair (a, a) counts once."""
    return trained(ids, merges, base, least, disjoint=True)


@mistake("bpe.train", id="bpe-train-least", seen=NOWHERE, fix="stop when no pair is frequent enough")
def rare_pairs_too(ids, merges, base=256, least=2):
    """Merges go on however rare the pairs are."""
    return trained(ids, merges, base, 1)


@mistake("bpe.train", id="bpe-train-one-more", seen=NOWHERE, fix="as many as were asked for")
def one_merge_more(ids, merges, base=256, least=2):
    """One merge more than was asked for, unless none was."""
    return train(ids, merges + (merges > 0), base, least)


def greedily(word, merges, base, choose):
    """Pairs merged one at a time, the next one chosen among (rank, place)."""
    ranks = {tuple(pair): r for r, pair in enumerate(merges.tolist())}
    while True:
        possible = [(ranks[p], i) for i, p in enumerate(pairwise(word)) if p in ranks]
        if not possible:
            return word
        rank, i = choose(possible)
        word = [*word[:i], base + rank, *word[i + 2 :]]


@mistake("bpe.encode", id="bpe-left-to-right-merge", seen="ztxz16/fastllm PR#715", fix="the lowest rank first")
def leftmost_pair_first(ids, merges, base=256):
    """The leftmost pair that can be merged is, whatever its rank."""
    words = [greedily(word, merges, base, lambda found: min(found, key=lambda x: x[1])) for word in cut(ids)]
    return tensor([token for word in words for token in word])


@mistake(
    "bpe.encode", id="bpe-missing-pretokenizer", seen="ggml-org/llama.cpp #3502", fix="split first, then merge inside"
)
def words_are_joined(ids, merges, base=256):
    """The text is merged as one word."""
    return encode(ids[ids >= 0], merges, base)


@mistake("bpe.encode", id="bpe-pair-rank-one-token", seen="pie-project/pie PR#83", fix="look up the rank of both parts")
def rank_of_one_part(ids, merges, base=256):
    """The rank of one part is looked up, which is none: nothing ever merges."""
    return ids[ids >= 0]


@mistake("bpe.encode", id="bpe-highest-rank-first", seen=NOWHERE, fix="the lowest rank first")
def last_learned_first(ids, merges, base=256):
    """The pair that was learned last is merged first."""
    words = [greedily(word, merges, base, lambda found: max(found, key=lambda x: (x[0], -x[1]))) for word in cut(ids)]
    return tensor([token for word in words for token in word])


@mistake("bpe.encode", id="bpe-one-round", seen=NOWHERE, fix="go on until nothing can be merged")
def one_merge_a_word(ids, merges, base=256):
    """Each word is merged by its best rule, and no further."""
    ranks = {tuple(pair): r for r, pair in enumerate(merges.tolist())}
    out: list[int] = []
    for word in cut(ids):
        best = min((ranks[pair] for pair in pairwise(word) if pair in ranks), default=None)
        if best is not None:
            first, second = merges[best].tolist()
            word = merge(tensor(word), first, second, base + best).tolist()
        out += word
    return tensor(out)


@mistake("bpe.encode", id="bpe-longest-match", seen=NOWHERE, fix="apply merges; the longest token need not be reached")
def longest_token_first(ids, merges, base=256):
    """The longest token that fits is taken, from the left."""
    spelled = {tuple(decode(tensor([i]), merges, base).tolist()): i for i in reversed(range(base + len(merges)))}
    out = []
    for word in cut(ids):
        while word:
            size = max(n for n in range(1, len(word) + 1) if tuple(word[:n]) in spelled)
            out.append(spelled[tuple(word[:size])])
            word = word[size:]
    return tensor(out)


@mistake("bpe.encode", id="bpe-last-letter", seen=NOWHERE, fix="the last letter is a symbol like others")
def last_letter_is_lost(ids, merges, base=256):
    """What is left at the end of the text by itself is dropped."""
    found = encode(ids, merges, base)
    return found[:-1] if len(found) and found[-1] < base else found


@mistake("bpe.decode", id="bpe-decode-one-level", seen=NOWHERE, fix="spell the halves too")
def one_level_deep(tokens, merges, base=256):
    """A token gives way to its halves, which are not spelled out themselves."""
    out: list[int] = []
    for token in tokens.tolist():
        out += [token] if token < base else merges[token - base].tolist()
    return tensor(out)


@mistake("bpe.decode", id="bpe-decode-swapped", seen=NOWHERE, fix="the first half first")
def second_half_first(tokens, merges, base=256):
    """The halves of a token change places."""
    return decode(tokens, merges.flip(1), base)


@mistake("bpe.decode", id="bpe-decode-next-merge", seen=NOWHERE, fix="merge number r makes base + r")
def numbered_from_one(tokens, merges, base=256):
    """The first merge is taken to make the symbol base + 1."""
    spell = [tensor([i]) for i in range(base)] + [tensor([0])]
    for a, b in merges.tolist():
        spell.append(torch.cat([spell[a], spell[b]]))
    return torch.cat([spell[i] for i in tokens.tolist()])


@mistake(
    "bpe.decode", id="bpe-decode-backwards", seen=NOWHERE, fix="set the spellings end to end in the order of tokens"
)
def last_token_first(tokens, merges, base=256):
    """The tokens are spelled from the last to the first."""
    return decode(tokens.flip(0), merges, base)


@mistake("bpe.decode", id="bpe-decode-between", seen=NOWHERE, fix="nothing stands between two tokens")
def a_letter_between(tokens, merges, base=256):
    """Symbol 0, taken for a blank, stands between tokens that were merged."""
    parts = [decode(token[None], merges, base) for token in tokens]
    return torch.cat([torch.cat([part, tensor([0])]) if len(part) > 1 else part for part in parts])
