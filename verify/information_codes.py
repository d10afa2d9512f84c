"""Laws of prefix codes: Shannon's and Huffman's lengths, Kraft's sum, the mean length and the words."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import strategies as st

from verify.compare import GAP, close
from verify.inputs import drawn
from verify.suite import Operation

FULL = torch.tensor([3, 3, 3, 3, 3, 2, 4, 4])  # RFC 1951, §3.2.2, and its words
WORDS = torch.tensor([0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111])


@st.composite
def alphabet(draw):
    """How often each of some symbols occurs, with many equal counts or one that dwarfs the others."""
    counts = draw(drawn(draw(st.sampled_from([1, 2, 3, 5, 6, 7])), low=1, high=draw(st.sampled_from([2, 5, 40]))))
    counts[draw(st.integers(0, len(counts) - 1))] *= draw(st.sampled_from([1, 1, 1000]))
    return {"counts": counts}


@st.composite
def alphabets(draw):
    """The same, row by row."""
    shape = draw(st.sampled_from([(1,), (4,), (2, 3), (2, 3, 5)]))
    return {"counts": draw(drawn(*shape, low=1, high=draw(st.sampled_from([2, 9, 1000]))))}


@st.composite
def lengths(draw):
    """Lengths whose words all have room: leaves of a tree grown by splits, some left out or longer."""
    found = [0]
    for _ in range(draw(st.integers(0, 6))):
        split = found.pop(draw(st.integers(0, len(found) - 1)))
        found += [split + 1, split + 1]
    longer = draw(st.sampled_from([0, 0, 1, 2]))
    return {"lengths": torch.tensor([length + longer * (i % 2) for i, length in enumerate(found)])}


@st.composite
def any_lengths(draw):
    return {"lengths": draw(drawn(*draw(st.sampled_from([(1,), (4,), (2, 3), (2, 3, 5)])), low=0, high=9))}


@st.composite
def weighted(draw):
    counts = draw(alphabets())["counts"]
    return {"counts": counts, "lengths": draw(drawn(*counts.shape, low=0, high=9))}


def bits(counts):
    """−log₂ of the relative frequencies."""
    return (counts.sum(-1, keepdim=True).double() / counts).log2()


def entropy(counts):
    return mean(counts, bits(counts))


def mean(counts, l):
    return (counts * l).sum(-1).double() / counts.sum(-1)


def kraft(l):
    return (0.5 ** l.double()).sum(-1)


def shannon_by_hand(shannon_lengths, counts):
    """Of ten: 5 is a half, 3 more than a quarter, 2 more than an eighth; of sixteen, a sixteenth."""
    close(shannon_lengths(torch.tensor([[5, 3, 2], [8, 7, 1]])), torch.tensor([[1, 2, 3], [1, 2, 4]]))


def within_one_bit(shannon_lengths, counts):
    """Every word is less than a bit longer than −log₂ p, and not shorter."""
    slack = shannon_lengths(counts) - bits(counts)
    assert (slack > -GAP).all(), "shorter than −log₂ p"
    assert (slack < 1 - 2.0**-20).all(), "a whole bit longer than −log₂ p"


def rare_symbol_by_hand(shannon_lengths, counts):
    """One of 2³⁰ + 1 needs 31 bits: a logarithm in single precision says 30, and then there is no room."""
    close(shannon_lengths(torch.tensor([1, 2**30])), torch.tensor([31, 1]))


def words_have_room(f, counts):
    """Kraft's inequality."""
    assert (kraft(f(counts)) <= 1).all(), "there is no prefix code of these lengths"


def huffman_by_hand(huffman, counts):
    """5, 2, 1, 1: first the last two, then 2 with their 2, then all; one symbol alone has nothing to say."""
    close(huffman(torch.tensor([5, 2, 1, 1])), torch.tensor([1, 2, 3, 3]))
    close(huffman(torch.tensor([7])), 0)


def no_room_is_left(huffman, counts):
    """A full tree: Kraft's sum is one."""
    close(kraft(huffman(counts)), 1.0)


def between_entropy_and_shannon(huffman, counts):
    """The mean length is at least the entropy, and at most that of Shannon's code."""
    l = mean(counts, huffman(counts))
    assert l >= entropy(counts) - GAP, "below the entropy"
    assert l <= mean(counts, bits(counts).sub(GAP).ceil().clamp(min=0)) + GAP, "above Shannon's code"


def no_exchange_helps(huffman, counts):
    """The more frequent symbol never has the longer word; of equal ones the later never has."""
    l = huffman(counts).tolist()
    order = sorted(range(len(l)), key=lambda i: (int(counts[i]), i))
    assert all(l[a] >= l[b] for a, b in pairwise(order)), "a frequent symbol has a long word"


def equal_symbols_have_equal_words(huffman, counts):
    """Four equal symbols have two bits each; six, two or three."""
    close(huffman(torch.full((4,), 3)), 2)
    close(huffman(torch.full((6,), 3)).sort().values, torch.tensor([2, 2, 3, 3, 3, 3]))


def kraft_by_hand(kraft_sum, lengths):
    """1/2 + 1/4 + 1/8 + 1/8, and three halves."""
    close(kraft_sum(torch.tensor([[1, 2, 3, 3], [1, 2, 1, 2]])), torch.tensor([1.0, 1.5]))


def longest_words_by_hand(kraft_sum, lengths):
    """Two words of 62 bits take 2^(−61) together; one of 32 bits is not lost beside one of one."""
    close(kraft_sum(torch.tensor([62, 62])), 2.0**-61)
    close(kraft_sum(torch.tensor([1, 32])), 0.5 + 2.0**-32)


def one_bit_more_is_half_the_room(kraft_sum, lengths):
    """Every word longer by a bit, and each twice: the same sum."""
    close(kraft_sum(torch.cat([lengths, lengths], -1) + 1), kraft_sum(lengths))


def averaged_by_hand(mean_length, counts, lengths):
    """Five of one bit, two of two bits and two of three: 15 bits for nine."""
    close(mean_length(torch.tensor([5, 2, 1, 1]), torch.tensor([1, 2, 3, 3])), 15 / 9)


def long_texts_do_not_overflow(mean_length, counts, lengths):
    """Of 2³⁰ symbols of two bits, and as many of four, all bits together are no number of 32 bits."""
    big, four = torch.full((2,), 2**30, dtype=torch.int32), torch.tensor([2, 4], dtype=torch.int32)
    close(mean_length(big, four), 3.0)


def one_bit_more_is_one_more(mean_length, counts, lengths):
    """Every word longer by a bit."""
    close(mean_length(counts, lengths + 1), mean_length(counts, lengths) + 1)


def deflate_by_hand(codewords, lengths):
    """The example in the specification of DEFLATE."""
    close(codewords(FULL), WORDS)


def none_begins_another(codewords, lengths):
    """Words as fractions of one are the starts of disjoint intervals of length 2^(−l), all below one."""
    words, width = codewords(lengths).double(), 0.5 ** lengths.double()
    low, order = (words * width).sort()
    assert ((words >= 0) & (words * width < 1)).all(), "a word is longer than its length"
    assert (low[1:] >= low[:-1] + width[order][:-1]).all(), "one word begins another"


def one_bit(f, counts):
    """A single symbol has a word of one bit."""
    return f(counts).clamp(min=1)


def merged_first(_, counts):
    """Of equal weights a merged node goes before a symbol."""
    nodes = [(weight, 0, [i]) for i, weight in enumerate(counts.tolist())]
    l = [0] * len(nodes)
    while len(nodes) > 1:
        nodes.sort(key=lambda node: node[:2])
        (a, _, one), (b, _, other), *nodes = nodes
        for i in one + other:
            l[i] += 1
        nodes.append((a + b, -1, one + other))
    return torch.tensor(l)


OPERATIONS = [
    Operation(
        "information.shannon_lengths",
        inputs=alphabets(),
        laws=[shannon_by_hand, rare_symbol_by_hand, within_one_bit, words_have_room],
    ),
    Operation(
        "information.huffman",
        inputs=alphabet(),
        laws=[
            huffman_by_hand,
            no_room_is_left,
            between_entropy_and_shannon,
            no_exchange_helps,
            words_have_room,
            equal_symbols_have_equal_words,
        ],
        conventions={
            "a single symbol has a word of one bit": one_bit,
            "of equal weights a merged node goes first: another optimal code": merged_first,
        },
    ),
    Operation(
        "information.kraft_sum",
        inputs=any_lengths(),
        laws=[kraft_by_hand, longest_words_by_hand, one_bit_more_is_half_the_room],
    ),
    Operation(
        "information.mean_length",
        inputs=weighted(),
        laws=[averaged_by_hand, long_texts_do_not_overflow, one_bit_more_is_one_more],
    ),
    Operation("information.codewords", inputs=lengths(), laws=[deflate_by_hand, none_begins_another]),
]
