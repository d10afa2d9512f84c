"""Mistakes in the lengths and words of prefix codes."""

from __future__ import annotations

import math

import torch

from reference.information import codewords, huffman, kraft_sum, shannon_lengths
from verify.mistake import mistake

NOWHERE = "no public report found"


def exact(counts):
    """−log₂ p, not rounded."""
    return (counts.sum(-1, keepdim=True).double() / counts).log2()


@mistake("information.shannon_lengths", id="shannon-floor", seen=NOWHERE, fix="round up: ⌈−log₂ p⌉")
def rounded_down(counts):
    """⌊−log₂ p⌋ leaves no room for a prefix code."""
    return exact(counts).floor().long()


@mistake("information.shannon_lengths", id="shannon-round", seen=NOWHERE, fix="round up: ⌈−log₂ p⌉")
def rounded_to_nearest(counts):
    """To the nearest whole number."""
    return exact(counts).round().long()


@mistake("information.shannon_lengths", id="shannon-plus-one", seen=NOWHERE, fix="⌈−log₂ p⌉, without one more")
def always_one_more(counts):
    """⌈−log₂ p⌉ + 1: the words of the Shannon–Fano–Elias code."""
    return shannon_lengths(counts) + 1


@mistake("information.shannon_lengths", id="shannon-nats", seen=NOWHERE, fix="logarithm to base two")
def lengths_in_nats(counts):
    """⌈−ln p⌉."""
    return (exact(counts) * math.log(2)).ceil().long()


@mistake("information.shannon_lengths", id="shannon-next-power", seen=NOWHERE, fix="a half needs one bit, not two")
def powers_of_two_rounded_up(counts):
    """⌊−log₂ p⌋ + 1: too long where p is a power of two."""
    return exact(counts).floor().long() + 1


@mistake("information.shannon_lengths", id="shannon-float32", seen=NOWHERE, fix="compare whole numbers: 2^l c ≥ Σ c")
def in_single_precision(counts):
    """⌈log₂(Σ c/c)⌉ in float32, where a rare symbol's word comes out too short."""
    return (counts.sum(-1, keepdim=True).float() / counts).log2().ceil().long()


def merged(counts, chosen, weight=lambda a, b: a + b):
    """Lengths by merging the nodes at two places of the list in rising order."""
    nodes = [(c, [i]) for i, c in enumerate(counts.tolist())]
    l = [0] * len(nodes)
    while len(nodes) > 1:
        nodes.sort(key=lambda node: node[0])
        b, a = nodes.pop(chosen[1]), nodes.pop(chosen[0])
        for i in a[1] + b[1]:
            l[i] += 1
        nodes.append((weight(a[0], b[0]), a[1] + b[1]))
    return torch.tensor(l)


@mistake("information.huffman", id="huffman-heaviest", seen=NOWHERE, fix="a heap with the lightest on top")
def heaviest_are_merged(counts):
    """The heap is upside down."""
    return merged(counts, (-1, -1))


@mistake("information.huffman", id="huffman-light-and-heavy", seen=NOWHERE, fix="merge the two lightest")
def lightest_with_heaviest(counts):
    """The lightest is merged with the heaviest."""
    return merged(counts, (0, -1))


@mistake("information.huffman", id="huffman-weight-not-added", seen=NOWHERE, fix="a merged node weighs the sum")
def merged_weighs_the_heavier(counts):
    """A merged node has the weight of its heavier child."""
    return merged(counts, (0, 1), max)


@mistake(
    "information.huffman",
    id="huffman-node-overwritten",
    seen="SerenityOS/serenity PR#22118",
    fix="inner nodes are numbered after the leaves",
)
def first_merge_is_lost(counts):
    """The first inner node has the number of a leaf: its children are one bit short."""
    l = huffman(counts)
    return l - ((l == l.max()) & (l > 1)).long()


@mistake("information.huffman", id="huffman-top-down", seen=NOWHERE, fix="merge from below: halving is Fano's code")
def halved_from_the_top(counts):
    """Sorted symbols are cut where the halves are most alike: Fano's code."""
    l = torch.zeros_like(counts)

    def cut(members):
        if len(members) > 1:
            l[members] += 1
            sums = counts[members].cumsum(0)
            place = int((2 * sums[:-1] - sums[-1]).abs().argmin()) + 1
            cut(members[:place])
            cut(members[place:])

    cut(counts.argsort(descending=True, stable=True))
    return l


@mistake("information.huffman", id="huffman-fixed-length", seen=NOWHERE, fix="frequent symbols get short words")
def all_words_alike(counts):
    """⌈log₂ V⌉ bits for every symbol."""
    return torch.full_like(counts, (len(counts) - 1).bit_length())


@mistake("information.huffman", id="huffman-swapped", seen=NOWHERE, fix="long words for rare symbols")
def rare_symbols_have_short_words(counts):
    """The lengths are given out in the wrong order."""
    order = counts.argsort(stable=True)
    return torch.zeros_like(counts).scatter(0, order, huffman(counts)[order.flip(0)])


@mistake("information.huffman", id="huffman-shannon", seen=NOWHERE, fix="Shannon's lengths waste room")
def shannon_lengths_for_huffman(counts):
    """Shannon's lengths, which are not the least."""
    return shannon_lengths(counts)


@mistake("information.kraft_sum", id="kraft-base", seen=NOWHERE, fix="2^(−l) for binary words")
def powers_of_e(lengths):
    """Σ e^(−l)."""
    return (-lengths.double()).exp().sum(-1)


@mistake("information.kraft_sum", id="kraft-mean", seen=NOWHERE, fix="sum over the words")
def averaged_over_words(lengths):
    """The mean of 2^(−l)."""
    return kraft_sum(lengths) / lengths.shape[-1]


@mistake("information.kraft_sum", id="kraft-zero-skipped", seen=NOWHERE, fix="the empty word takes all the room")
def empty_words_skipped(lengths):
    """Length 0 is taken for "no word"."""
    return torch.where(lengths == 0, 0, 0.5 ** lengths.double()).sum(-1)


@mistake("information.kraft_sum", id="kraft-int32", seen=NOWHERE, fix="shift whole numbers of 64 bits")
def shifted_in_32_bits(lengths):
    """1/2^l with 2^l in 32 bits, where it is lost from 2³¹ on."""
    return (1 / (1 << lengths.int()).double()).sum(-1)


@mistake("information.mean_length", id="mean-length-int32", seen=NOWHERE, fix="multiply whole numbers of 64 bits")
def multiplied_as_they_come(counts, lengths):
    """Counts times lengths in the integers of the counts, which may be too narrow."""
    return (counts * lengths).sum(-1).double() / counts.sum(-1)


@mistake("information.mean_length", id="mean-length-unweighted", seen=NOWHERE, fix="weight by the counts")
def every_word_counts_once(counts, lengths):
    """The mean over the words of the code, not over the text."""
    return lengths.double().mean(-1)


@mistake("information.mean_length", id="mean-length-total", seen=NOWHERE, fix="divide by the number of symbols")
def bits_of_the_whole_text(counts, lengths):
    """The sum of all bits."""
    return (counts * lengths).sum(-1).double()


@mistake("information.mean_length", id="mean-length-per-word", seen=NOWHERE, fix="divide by the number of symbols")
def divided_by_the_words(counts, lengths):
    """Divided by the size of the alphabet."""
    return (counts * lengths).double().mean(-1)


@mistake("information.codewords", id="codewords-not-shifted", seen=NOWHERE, fix="append zeros when words get longer")
def counted_up_only(lengths):
    """The next number, whatever its length."""
    order = lengths.argsort(stable=True)
    return torch.zeros_like(lengths).scatter(0, order, torch.arange(len(lengths)))


@mistake("information.codewords", id="codewords-by-index", seen=NOWHERE, fix="shorter words first")
def in_the_order_of_the_alphabet(lengths):
    """Not sorted by length: the next free interval may begin in the middle of a word."""
    start = (0.5 ** lengths.double()).cumsum(0) - 0.5 ** lengths.double()
    return (start * 2.0 ** lengths.double()).floor().long()


@mistake("information.codewords", id="codewords-reversed", seen=NOWHERE, fix="the first bit is the highest")
def bits_reversed(lengths):
    """The bits of each word from the last to the first."""
    words = zip(codewords(lengths).tolist(), lengths.tolist(), strict=True)
    return torch.tensor([int(f"{w:0{l}b}"[::-1], 2) if l else 0 for w, l in words])


@mistake("information.codewords", id="codewords-from-one", seen=NOWHERE, fix="the first word is all zeros")
def counted_from_one(lengths):
    """Every word is one too high."""
    return codewords(lengths) + 1
