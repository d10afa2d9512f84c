"""Laws of byte-pair encoding: merges, the training that finds them, and the two directions between text and tokens."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import drawn
from verify.suite import Operation

LETTERS = 3
TABLE = torch.tensor([[0, 1], [1, 2], [3, 0], [4, 0]])  # 3 = 01, 4 = 12, 5 = 010, 6 = 120


@st.composite
def pairs(draw):
    """A text of few symbols, with runs, and a pair that may be of one symbol twice."""
    below = draw(st.sampled_from([1, 2, 3]))
    first, second = (draw(st.integers(0, below - 1)) for _ in "ab")
    N = draw(st.sampled_from([1, 2, 5, 9, 14]))
    return {"ids": draw(drawn(N, low=0, high=below - 1)), "first": first, "second": second, "new": below}


@st.composite
def corpora(draw):
    """Words of up to three letters, the same ones again and again, with boundaries −1."""
    base = draw(st.sampled_from([1, 2, 3]))
    N = draw(st.sampled_from([3, 8, 14, 20]))
    return {
        "ids": draw(drawn(N, low=draw(st.sampled_from([0, -1])), high=base - 1)),
        "merges": draw(st.sampled_from([0, 1, 3, 6])),
        "base": base,
        "least": draw(st.sampled_from([1, 2, 3])),
    }


@st.composite
def table(draw, base):
    """Merges of symbols that exist by then, none twice; some of them never happen."""
    rows: list[tuple[int, int]] = []
    for r in range(draw(st.sampled_from([0, 1, 3, 5]))):
        numbers = draw(drawn(12, low=0, high=base + r - 1)).tolist()
        rows += [pair for pair in pairwise(numbers) if pair not in rows][:1]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 2)


@st.composite
def words(draw):
    """A text with boundaries, and merges."""
    N = draw(st.sampled_from([1, 4, 9, 13]))
    low = draw(st.sampled_from([0, -1]))
    merges = draw(st.one_of(table(LETTERS), st.just(TABLE)))
    return {"ids": draw(drawn(N, low=low, high=LETTERS - 1)), "merges": merges, "base": LETTERS}


@st.composite
def tokens(draw):
    """Any tokens, whether a text would be encoded so or not."""
    merges = draw(table(LETTERS))
    N = draw(st.sampled_from([1, 3, 7]))
    return {"tokens": draw(drawn(N, low=0, high=LETTERS + len(merges) - 1)), "merges": merges, "base": LETTERS}


def spelled(symbol, merges, base):
    """A symbol down to its letters, by recursion."""
    if symbol < base:
        return [symbol]
    return [letter for half in merges[symbol - base].tolist() for letter in spelled(half, merges, base)]


def merged_by_hand(merge, ids, first, second, new):
    """Of three the first two are a pair, of five two pairs; the pair is looked for from the left, once."""
    a = torch.tensor
    close(merge(a([0, 0, 0]), 0, 0, 1), a([1, 0]))
    close(merge(a([0, 0, 0, 0, 0, 1, 0, 0]), 0, 0, 2), a([2, 2, 0, 1, 2]))
    close(merge(a([0, 1, 0, 1, 1, 0]), 0, 1, 2), a([2, 2, 1, 0]))


def shorter_by_what_was_found(merge, ids, first, second, new):
    """The text is as much shorter as there are new symbols: `merge_shortens_by_its_count`."""
    after = merge(ids, first, second, new)
    assert len(ids) - len(after) == int((after == new).sum()), f"{len(ids)} symbols became {after.tolist()}"


def nothing_is_lost(merge, ids, first, second, new):
    """With the pair in its place again it is the text that it was."""
    after = merge(ids, first, second, new).tolist()
    back = [x for symbol in after for x in ([first, second] if symbol == new else [symbol])]
    assert back == ids.tolist(), f"{back} for {ids.tolist()}"


def none_is_left(merge, ids, first, second, new):
    """No pair is overlooked."""
    assert (first, second) not in pairwise(merge(ids, first, second, new).tolist()), "a pair is left"


def trained_by_hand(train, ids, merges, base, least):
    """In 01 01 012 the pair 01 comes three times; then 012, once; of equal ones the least pair is first."""
    a = torch.tensor
    text = a([0, 1, -1, 0, 1, -1, 0, 1, 2])
    close(train(text, 5, 3, 1), a([[0, 1], [3, 2]]))
    close(train(text, 5, 3, 2), a([[0, 1]]))
    close(train(a([2, 1, -1, 1, 2, -1, 2, 1, -1, 1, 2]), 1, 3, 2), a([[1, 2]]))
    close(train(a([0, 0, 0, -1, 1, 2, -1, 1, 2, -1, 2, 0]), 1, 3, 2), a([[0, 0]]))  # twice in a run of three
    close(train(a([0, 0, 0, 0]), 4, 1, 1), a([[0, 0], [1, 1]]))


def most_frequent_is_first(train, ids, merges, base, least):
    """The first pair is the least of the most frequent neighbours; there is none if that is too rare."""
    counts: dict[tuple[int, int], int] = {}
    for pair in pairwise(ids.tolist()):
        if min(pair) >= 0:
            counts[pair] = counts.get(pair, 0) + 1
    best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
    expected = [list(best)] if best and counts[best] >= least else []
    assert train(ids, 1, base, least).tolist() == expected, f"expected {expected}"


def fewer_merges_are_a_beginning(train, ids, merges, base, least):
    """What is learned first does not depend on what comes later."""
    longer = train(ids, merges + 1, base, least)
    shorter = train(ids, merges, base, least)
    assert longer[:merges].tolist() == shorter.tolist(), "other merges when more are asked for"


def order_of_words_is_nothing(train, ids, merges, base, least):
    """The words the other way round are the same words."""
    words: list[list[int]] = []
    word: list[int] = []
    for symbol in [*ids.tolist(), -1]:
        if symbol < 0:
            words.append(word)
            word = []
        else:
            word.append(symbol)
    other = torch.tensor([symbol for word in words[::-1] for symbol in (*word, -1)], dtype=torch.int64)
    assert train(other, merges, base, least).tolist() == train(ids, merges, base, least).tolist()


def a_text_said_three_times_counts_three_times(train, ids, merges, base, least):
    """Every count is three times as large, before the merges and after each."""
    end = torch.tensor([-1])
    thrice = train(torch.cat([ids, end, ids, end, ids]), merges, base, 3 * least)
    assert thrice.tolist() == train(ids, merges, base, least).tolist(), "other merges when every word comes three times"


def merged_one_by_one(train, ids, merges, base, least):
    """Each merge is the first one of the text that the merges before it leave."""
    found = train(ids, merges, base, least).tolist()
    assert len(found) <= merges, f"{len(found)} merges, {merges} were asked for"
    text = ids.tolist()
    for r, (a, b) in enumerate(found):
        first = train(torch.tensor(text, dtype=torch.int64), 1, base + r, least).tolist()
        assert first == [[a, b]], f"merge {r} is {(a, b)}, but {first} comes first by then"
        shorter, k = [], 0
        while k < len(text):
            here = text[k : k + 2] == [a, b]
            shorter.append(base + r if here else text[k])
            k += 1 + here
        text = shorter


def encoded_by_hand(encode, ids, merges, base):
    """With 01, 12, (01)0 and (12)0: in 0 1 2 the earlier merge wins, in 1 2 0 nothing stands in the way."""
    a = torch.tensor
    for text, expected in (
        ([0, 1, 2, 0], [3, 2, 0]),
        ([1, 2, 0], [6]),
        ([0, 1, 0, 1, 2], [3, 3, 2]),
        ([0, 1, 0, 0], [5, 0]),
        ([0, 1, -1, 2, 0], [3, 2, 0]),
        ([1, -1, 2], [1, 2]),
    ):
        close(encode(a(text), TABLE, 3), a(expected))


def first_learned_is_first_merged(encode, ids, merges, base):
    """In 0 1 2 with the merges 12 and 01 the pair on the right comes first."""
    close(encode(torch.tensor([0, 1, 2]), torch.tensor([[1, 2], [0, 1]]), 3), torch.tensor([0, 3]))


def tokens_spell_the_text(encode, ids, merges, base):
    """`decode_inverts_encode`: every text comes back, without its boundaries."""
    found = encode(ids, merges, base).tolist()
    text = [letter for token in found for letter in spelled(token, merges, base)]
    assert text == ids[ids >= 0].tolist(), f"{found} spells {text}"


def nothing_can_be_merged(encode, ids, merges, base):
    """No two tokens of one word are a pair of the table."""
    rows = {tuple(row) for row in merges.tolist()}
    word = ids[: ids.tolist().index(-1)] if (ids < 0).any() else ids
    left = [pair for pair in pairwise(encode(word, merges, base).tolist()) if pair in rows]
    assert not left, f"{left} could be merged"


def words_are_alone(encode, ids, merges, base):
    """The tokens of two words are those of one, then those of the other."""
    both = torch.cat([ids, torch.tensor([-1]), ids])
    close(encode(both, merges, base), torch.cat([encode(ids, merges, base)] * 2))


def decoded_by_hand(decode, tokens, merges, base):
    """5 is 010 and 6 is 120."""
    close(decode(torch.tensor([5, 2, 6]), TABLE, 3), torch.tensor([0, 1, 0, 2, 1, 2, 0]))


def letters_stay(decode, tokens, merges, base):
    """A text of letters is its own spelling."""
    close(decode(tokens % base, merges, base), tokens % base)


def set_end_to_end(decode, tokens, merges, base):
    """The spelling of a text is that of its tokens, each by itself."""
    each = [decode(token[None], merges, base) for token in tokens]
    close(decode(tokens, merges, base), torch.cat(each))


def merges_are_spelled_by_halves(decode, tokens, merges, base):
    """A merged token is spelled as its two halves are."""
    for r, halves in enumerate(merges):
        close(decode(torch.tensor([base + r]), merges, base), decode(halves, merges, base))


OPERATIONS = [
    Operation(
        "bpe.merge",
        inputs=pairs(),
        laws=[merged_by_hand, shorter_by_what_was_found, nothing_is_lost, none_is_left],
        free=(),
    ),
    Operation(
        "bpe.train",
        inputs=corpora(),
        laws=[
            trained_by_hand,
            most_frequent_is_first,
            fewer_merges_are_a_beginning,
            order_of_words_is_nothing,
            a_text_said_three_times_counts_three_times,
            merged_one_by_one,
        ],
        free=(),
    ),
    Operation(
        "bpe.encode",
        inputs=words(),
        laws=[
            encoded_by_hand,
            first_learned_is_first_merged,
            tokens_spell_the_text,
            nothing_can_be_merged,
            words_are_alone,
        ],
        free=(),
    ),
    Operation(
        "bpe.decode",
        inputs=tokens(),
        laws=[decoded_by_hand, letters_stay, set_end_to_end, merges_are_spelled_by_halves],
        free=(),
    ),
]
