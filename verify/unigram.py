"""Laws of the unigram model: all segmentations of a text, the best one, and the counts that training goes by."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.unigram import log_likelihood as reference_likelihood
from verify.compare import GAP, close
from verify.inputs import booleans, drawn, tensor
from verify.suite import Operation

PIECES = torch.tensor([[0, -1, -1], [1, -1, -1], [0, 1, -1], [1, 0, -1], [0, 1, 0]])
P = torch.tensor([0.25, 0.25, 0.25, 0.125, 0.125], dtype=torch.float64)
LOG = P.log()
TEXT = torch.tensor([0, 1, 0])  # 0·1·0, 01·0, 0·10 and 010


@st.composite
def vocabulary(draw, letters=2):
    """The letters and some longer pieces, all different, filled up with −1."""
    longer = {tuple(row[: 2 + row[3]]) for row in draw(drawn(5, 4, low=0, high=1)).tolist()}
    kept = sorted(longer)[: draw(st.integers(0, 4))]
    if draw(st.booleans()):
        kept.append((0, 0))
    rows = [(letter,) for letter in range(letters)] + [row for row in dict.fromkeys(kept) if len(row) > 1]
    return torch.tensor([[*row, *[-1] * (3 - len(row))] for row in rows])


@st.composite
def texts(draw, boundary=False):
    """A text of two letters, and pieces with probabilities on a grid of logarithms: ties are common."""
    pieces = draw(vocabulary())
    N = draw(st.sampled_from([1, 2, 4, 5]))
    text = draw(drawn(N, low=-1 if boundary else 0, high=1))
    if boundary and bool((text < 0).all()):
        text[0] = 0
    return {"text": text, "pieces": pieces, "log_p": draw(tensor(len(pieces), low=-8, high=-2))}


@st.composite
def coarse(draw):
    """The same, with many equal probabilities."""
    pieces = draw(vocabulary())
    return {
        "text": draw(drawn(draw(st.sampled_from([1, 3, 6])), low=0, high=1)),
        "pieces": pieces,
        "log_p": draw(tensor(len(pieces), low=-4, high=-1)),
    }


@st.composite
def words(draw):
    """A word and pieces, each for the beginning of words or for their inside."""
    letters = draw(st.sampled_from([1, 2]))
    pieces = draw(vocabulary(letters))
    pieces = torch.cat([pieces, pieces[: draw(st.integers(0, len(pieces)))]])
    inside = draw(booleans(len(pieces)))
    seen: set[tuple] = set()
    kept = []
    for v, row in enumerate(pieces.tolist()):
        if (bool(inside[v]), *row) not in seen:
            seen.add((bool(inside[v]), *row))
            kept.append(v)
    text = draw(drawn(draw(st.sampled_from([1, 3, 5])), low=0, high=1))
    return {"text": text, "pieces": pieces[kept], "inside": inside[kept]}


def spelling(row):
    return [x for x in row.tolist() if x >= 0]


def segmentations(text, pieces):
    """All rows of pieces that make up the text, by recursion on its first piece."""
    if not text:
        return [[]]
    found = []
    for v, row in enumerate(pieces):
        head = spelling(row)
        if text[: len(head)] == head:
            found += [[v, *rest] for rest in segmentations(text[len(head) :], pieces)]
    return found


def probability_by_hand(log_likelihood, text, pieces, log_p):
    """1/64 + 1/16 + 1/32 + 1/8 of the four segmentations of 010; a text of no piece has none."""
    close(log_likelihood(TEXT, PIECES, LOG), math.log(1 / 64 + 1 / 16 + 1 / 32 + 1 / 8))
    close(log_likelihood(torch.tensor([0, 7]), PIECES, LOG), -math.inf)


def all_segmentations_count(log_likelihood, text, pieces, log_p):
    """Each segmentation has the product of its pieces' probabilities."""
    total = sum(math.exp(sum(log_p[v].item() for v in row)) for row in segmentations(text.tolist(), pieces))
    close(log_likelihood(text, pieces, log_p), math.log(total), scale=1)


def letters_alone_multiply(log_likelihood, text, pieces, log_p):
    """Where only letters are pieces there is one segmentation."""
    close(log_likelihood(text, pieces[:2], log_p[:2]), log_p[text].sum(), scale=1)


def longer_pieces_only_add(log_likelihood, text, pieces, log_p):
    """With more pieces a text is at least as likely."""
    more, fewer = log_likelihood(text, pieces, log_p), log_likelihood(text, pieces[:-1], log_p[:-1])
    assert len(pieces) == 2 or more >= fewer - GAP * 8, f"{more:.6g} with all pieces, {fewer:.6g} without the last"


def best_by_hand(viterbi, text, pieces, log_p):
    """Of the four segmentations of 010 one piece is best; at 1/16 it ties with 01·0, and is still the longest."""
    close(viterbi(TEXT, PIECES, LOG), torch.tensor([4]))
    tie = torch.cat([LOG[:4], LOG[2:3] * 2])
    close(viterbi(TEXT, PIECES, tie), torch.tensor([4]))
    close(viterbi(TEXT, PIECES[:4], LOG[:4]), torch.tensor([2, 0]))
    even = torch.full((4,), -1.0, dtype=torch.float64)
    close(viterbi(TEXT, PIECES[:4], even), torch.tensor([0, 3]))  # 01·0 and 0·10 tie: the last piece is longer


def pieces_spell_the_text(viterbi, text, pieces, log_p):
    """Set end to end the pieces are the text."""
    found = [x for v in viterbi(text, pieces, log_p).tolist() for x in spelling(pieces[v])]
    assert found == text.tolist(), f"the pieces spell {found}"


def no_segmentation_is_better(viterbi, text, pieces, log_p):
    """`viterbi_is_optimal`: all others are tried."""
    best = max(sum(log_p[v].item() for v in row) for row in segmentations(text.tolist(), pieces))
    close(log_p[viterbi(text, pieces, log_p).long()].sum(), best, scale=1)


def ties_have_the_longest_last_piece(viterbi, text, pieces, log_p):
    """Of equally good segmentations the one with the longest last piece, then the longest before it."""

    def rank(row):
        return sum(log_p[v].item() for v in row), [len(spelling(pieces[v])) for v in reversed(row)]

    expected = max(segmentations(text.tolist(), pieces), key=rank)
    assert viterbi(text, pieces, log_p).tolist() == expected, f"expected {expected}"


def counted_by_hand(expected_counts, text, pieces, log_p):
    """The four segmentations of 010 weigh 1, 4, 2 and 8 of 15."""
    close(expected_counts(TEXT, PIECES, LOG), torch.tensor([2 + 4 + 2, 1, 4, 2, 8]).double() / 15)


def letters_are_all_there(expected_counts, text, pieces, log_p):
    """Whatever the segmentation, its pieces have the letters of the text."""
    lengths = (pieces >= 0).sum(-1)
    close((expected_counts(text, pieces, log_p) * lengths).sum(), float(len(text)))


def gradient_of_the_likelihood(expected_counts, text, pieces, log_p):
    """`expected_counts_are_the_gradient`: the slopes of log P(text) in log_p."""
    theta = log_p.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(reference_likelihood(text, pieces, theta), theta)
    close(expected_counts(text, pieces, log_p), slope, scale=1)


def step_by_hand(em_step, text, pieces, log_p):
    """8 + 1 + 4 + 2 + 8 fifteenths are expected of 010; in two texts 0 and 010 one more of the letter."""
    close(em_step(TEXT, PIECES, LOG), (torch.tensor([8, 1, 4, 2, 8]).double() / 23).log())
    close(em_step(torch.tensor([0, -1, 0, 1, 0]), PIECES, LOG), (torch.tensor([23, 1, 4, 2, 8]).double() / 38).log())


def is_a_distribution(em_step, text, pieces, log_p):
    """Probabilities sum to one."""
    close(em_step(text, pieces, log_p).exp().sum(), 1.0)


def likelihood_does_not_fall(em_step, text, pieces, log_p):
    """`em_does_not_decrease_likelihood`, of all texts together, from a distribution on."""
    start = log_p - torch.logsumexp(log_p, 0)
    parts: list[torch.Tensor] = []
    part: list[int] = []
    for symbol in [*text.tolist(), -1]:
        if symbol < 0:
            parts += [torch.tensor(part)] if part else []
            part = []
        else:
            part.append(symbol)
    before, after = (
        sum(reference_likelihood(x, pieces, at).item() for x in parts)
        for at in (start, em_step(text, pieces, start).clamp(max=0))
    )
    assert after >= before - GAP * 32, f"{after:.6g} after, {before:.6g} before"


def texts_are_apart(em_step, text, pieces, log_p):
    """No piece crosses a boundary, and an empty text is none."""
    twice = torch.cat([text, torch.tensor([-1, -1]), text])
    close(em_step(twice, pieces, log_p), em_step(text, pieces, log_p), scale=1)


def matched_by_hand(wordpiece, text, pieces, inside):
    """01 begins words and 0 ends them: 010 is the two. Without the latter it is unknown, though 0·10 would do."""
    pieces = torch.tensor([[0, -1], [0, 1], [0, -1], [1, 0]])
    kind = torch.tensor([False, False, True, True])
    close(wordpiece(TEXT, pieces, kind), torch.tensor([1, 2]))
    keep = torch.tensor([0, 1, 3])
    close(wordpiece(TEXT, pieces[keep], kind[keep]), torch.tensor([-1]))
    close(wordpiece(torch.tensor([1, 0]), pieces, kind), torch.tensor([-1]))


def word_or_unknown(wordpiece, text, pieces, inside):
    """The pieces spell the word, the first of them from the beginning of words and the others not; or −1 alone."""
    found = wordpiece(text, pieces, inside).tolist()
    if found != [-1]:
        spelled = [x for v in found for x in spelling(pieces[v])]
        assert spelled == text.tolist(), f"the pieces spell {spelled}"
        assert [bool(inside[v]) for v in found] == [i > 0 for i in range(len(found))], "a piece in the wrong place"


def longest_of_all(wordpiece, text, pieces, inside):
    """Of the segmentations in which each piece may stand the first has the longest first piece, if it works at all."""
    found, start, left = [], 0, text.tolist()
    while start < len(left):
        fitting = [
            (len(spelling(row)), v)
            for v, row in enumerate(pieces)
            if bool(inside[v]) == (start > 0) and left[start:][: len(spelling(row))] == spelling(row)
        ]
        if not fitting:
            found = [-1]
            break
        size, v = max(fitting)
        found.append(v)
        start += size
    assert wordpiece(text, pieces, inside).tolist() == found, f"expected {found}"


OPERATIONS = [
    Operation(
        "unigram.log_likelihood",
        inputs=texts(),
        laws=[probability_by_hand, all_segmentations_count, letters_alone_multiply, longer_pieces_only_add],
        gradients=("log_p",),
        unit=1.0,
        free=(),
    ),
    Operation(
        "unigram.viterbi",
        inputs=coarse(),
        laws=[best_by_hand, pieces_spell_the_text, no_segmentation_is_better, ties_have_the_longest_last_piece],
        free=(),
    ),
    Operation(
        "unigram.expected_counts",
        inputs=texts(),
        laws=[counted_by_hand, letters_are_all_there, gradient_of_the_likelihood],
        unit=1.0,
        free=(),
    ),
    Operation(
        "unigram.em_step",
        inputs=texts(boundary=True),
        laws=[step_by_hand, is_a_distribution, likelihood_does_not_fall, texts_are_apart],
        unit=1.0,
        free=(),
    ),
    Operation(
        "unigram.wordpiece",
        inputs=words(),
        laws=[matched_by_hand, word_or_unknown, longest_of_all],
        free=(),
    ),
]
