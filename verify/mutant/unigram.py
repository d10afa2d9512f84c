"""Mistakes in the unigram model and in WordPiece."""

from __future__ import annotations

import math

import torch

from reference.unigram import em_step, expected_counts, log_likelihood, viterbi, wordpiece
from verify.mistake import mistake
from verify.mutant.bpe import NOWHERE, tensor


def spelled(pieces):
    return [[x for x in row if x >= 0] for row in pieces.tolist()]


def segmentations(text, pieces):
    """All rows of pieces that make up a text."""
    if not text:
        return [[]]
    return [
        [v, *rest]
        for v, piece in enumerate(pieces)
        if text[: len(piece)] == piece
        for rest in segmentations(text[len(piece) :], pieces)
    ]


def every(text, pieces):
    return segmentations(text.tolist(), spelled(pieces))


def scored(text, pieces, log_p):
    """Each segmentation with its log-probability."""
    return [(row, sum((log_p[v] for v in row), log_p.new_zeros(()))) for row in every(text, pieces)]


@mistake(
    "unigram.log_likelihood", id="unigram-best-only", seen=NOWHERE, fix="add the probabilities of all segmentations"
)
def best_segmentation_only(text, pieces, log_p):
    """The probability of the best segmentation."""
    return max((score for _, score in scored(text, pieces, log_p)), default=log_p.new_full((), -math.inf))


@mistake("unigram.log_likelihood", id="unigram-mean", seen=NOWHERE, fix="add, do not average")
def mean_of_segmentations(text, pieces, log_p):
    """The mean of the segmentations' probabilities."""
    return log_likelihood(text, pieces, log_p) - math.log(max(1, len(every(text, pieces))))


@mistake("unigram.log_likelihood", id="unigram-by-letter", seen=NOWHERE, fix="the text has one probability")
def nats_a_letter(text, pieces, log_p):
    """Divided by the length of the text."""
    return log_likelihood(text, pieces, log_p) / len(text)


@mistake("unigram.log_likelihood", id="unigram-short-pieces", seen=NOWHERE, fix="look as far back as the longest piece")
def longest_pieces_are_missed(text, pieces, log_p):
    """Pieces as long as the table is wide are never found."""
    short = pieces[:, -1] < 0
    return log_likelihood(text, pieces[short], log_p[short])


@mistake("unigram.log_likelihood", id="unigram-sum-of-logs", seen=NOWHERE, fix="add probabilities, not logarithms")
def logarithms_are_added(text, pieces, log_p):
    """The logarithms of all segmentations are averaged."""
    scores = [score for _, score in scored(text, pieces, log_p)]
    return torch.stack(scores).mean() if scores else log_p.new_full((), -math.inf)


@mistake(
    "unigram.viterbi", id="unigram-longest-match", seen=NOWHERE, fix="take the best segmentation, not the first piece"
)
def longest_match_first(text, pieces, log_p):
    """The longest piece that fits, from the left."""
    return wordpiece(text, torch.cat([pieces, pieces]), torch.arange(2 * len(pieces)) >= len(pieces)) % len(pieces)


@mistake("unigram.viterbi", id="unigram-fewest-pieces", seen=NOWHERE, fix="weigh the pieces")
def fewest_pieces(text, pieces, log_p):
    """The segmentation with the fewest pieces."""
    return viterbi(text, pieces, torch.full_like(log_p, -1))


@mistake("unigram.viterbi", id="unigram-ties", seen=NOWHERE, fix="state which of equal segmentations is taken")
def ties_have_the_shortest_last_piece(text, pieces, log_p):
    """Of equal segmentations the one whose last piece is shortest."""
    sizes = [len(piece) for piece in spelled(pieces)]
    rows = scored(text, pieces, log_p)
    return tensor(max(rows, key=lambda x: (float(x[1]), [-sizes[v] for v in reversed(x[0])]))[0])


@mistake("unigram.viterbi", id="unigram-backwards", seen=NOWHERE, fix="turn the path round")
def last_piece_first(text, pieces, log_p):
    """The path is given as it was followed, from the end."""
    return viterbi(text, pieces, log_p).flip(0)


@mistake("unigram.viterbi", id="unigram-adds-probabilities", seen=NOWHERE, fix="multiply probabilities")
def probabilities_are_added(text, pieces, log_p):
    """The sum of probabilities is made large: many pieces are better than few."""
    return tensor(max(every(text, pieces), key=lambda row: sum(math.exp(float(log_p[v])) for v in row)))


@mistake("unigram.expected_counts", id="unigram-hard-em", seen=NOWHERE, fix="weight all segmentations")
def counts_of_the_best(text, pieces, log_p):
    """The counts of the best segmentation."""
    return torch.bincount(viterbi(text, pieces, log_p), minlength=len(log_p)).to(log_p)


@mistake("unigram.expected_counts", id="unigram-uniform-posterior", seen=NOWHERE, fix="weight by the posterior")
def all_segmentations_alike(text, pieces, log_p):
    """Every segmentation has the same weight."""
    return expected_counts(text, pieces, torch.zeros_like(log_p))


@mistake("unigram.expected_counts", id="unigram-joint", seen=NOWHERE, fix="divide by the probability of the text")
def joint_for_posterior(text, pieces, log_p):
    """Not divided by the probability of the text."""
    return expected_counts(text, pieces, log_p) * log_likelihood(text, pieces, log_p).exp()


@mistake("unigram.expected_counts", id="unigram-occurs", seen=NOWHERE, fix="count every occurrence")
def whether_not_how_often(text, pieces, log_p):
    """The probability that a piece occurs at all."""
    total = log_likelihood(text, pieces, log_p)
    out = torch.zeros_like(log_p)
    for row, score in scored(text, pieces, log_p):
        out[sorted(set(row))] += (score - total).exp()
    return out


@mistake("unigram.em_step", id="unigram-not-normalized", seen=NOWHERE, fix="divide by what is expected in all")
def counts_are_not_normalized(text, pieces, log_p):
    """The logarithm of the counts, divided by the number of letters."""
    counts = torch.stack([expected_counts(part, pieces, log_p) for part in parts(text)]).sum(0)
    return torch.log(counts) - math.log(int((text >= 0).sum()))


def parts(text):
    """The texts between the boundaries."""
    found: list[list[int]] = [[]]
    for symbol in text.tolist():
        if symbol < 0:
            found.append([])
        else:
            found[-1].append(symbol)
    return [tensor(part) for part in found if part]


@mistake("unigram.em_step", id="unigram-joined-texts", seen=NOWHERE, fix="no piece crosses a boundary")
def texts_are_joined(text, pieces, log_p):
    """All texts are taken for one."""
    return em_step(text[text >= 0], pieces, log_p)


@mistake("unigram.em_step", id="unigram-mean-of-texts", seen=NOWHERE, fix="add the counts of all texts, then divide")
def mean_of_the_texts(text, pieces, log_p):
    """Each text's shares, averaged."""
    return torch.stack([em_step(part, pieces, log_p).exp() for part in parts(text)]).mean(0).log()


@mistake("unigram.em_step", id="unigram-by-length", seen=NOWHERE, fix="a piece counts once, however long it is")
def long_pieces_count_more(text, pieces, log_p):
    """Shares of the letters, not of the pieces."""
    shares = em_step(text, pieces, log_p).exp() * (pieces >= 0).sum(-1)
    return torch.log(shares) - torch.log(shares.sum())


@mistake("unigram.em_step", id="unigram-step-from-prior", seen=NOWHERE, fix="replace the old probabilities")
def halfway(text, pieces, log_p):
    """The mean of the old probabilities and the new."""
    old = log_p.softmax(0)
    return ((em_step(text, pieces, log_p).exp() + old) / 2).log()


@mistake("unigram.wordpiece", id="wordpiece-shortest", seen=NOWHERE, fix="try the longest piece first")
def shortest_match(text, pieces, inside):
    """The shortest piece that fits."""
    found: list[int] = []
    left, kinds, words = text.tolist(), inside.tolist(), spelled(pieces)
    while left:
        fits = [(len(w), v) for v, w in enumerate(words) if kinds[v] == bool(found) and left[: len(w)] == w]
        if not fits:
            return tensor([-1])
        found.append(min(fits)[1])
        left = left[min(fits)[0] :]
    return tensor(found)


@mistake("unigram.wordpiece", id="wordpiece-no-prefix", seen=NOWHERE, fix="pieces inside a word are others")
def pieces_anywhere(text, pieces, inside):
    """A piece may begin a word or stand inside it, whatever it is marked as."""
    words = spelled(pieces)
    first = {tuple(word): v for v, word in reversed(list(enumerate(words)))}
    left, found = text.tolist(), []
    while left:
        size = max((n for n in range(1, len(left) + 1) if tuple(left[:n]) in first), default=0)
        if not size:
            return tensor([-1])
        found.append(first[tuple(left[:size])])
        left = left[size:]
    return tensor(found)


@mistake("unigram.wordpiece", id="wordpiece-backtracks", seen=NOWHERE, fix="a piece that was taken stays")
def another_way_is_tried(text, pieces, inside):
    """Where the longest piece leads nowhere, a shorter one is tried."""
    kinds, words = inside.tolist(), spelled(pieces)

    def rest(left, begun):
        if not left:
            return []
        for v in sorted(range(len(words)), key=lambda v: -len(words[v])):
            if kinds[v] == begun and left[: len(words[v])] == words[v]:
                after = rest(left[len(words[v]) :], True)
                if after is not None:
                    return [v, *after]
        return None

    found = rest(text.tolist(), False)
    return tensor([-1] if found is None else found)


@mistake("unigram.wordpiece", id="wordpiece-partly-unknown", seen=NOWHERE, fix="the whole word is unknown")
def beginning_is_kept(text, pieces, inside):
    """The pieces before the unknown part are kept."""
    for end in range(len(text), 0, -1):
        found = wordpiece(text[:end], pieces, inside)
        if found.tolist() != [-1]:
            return found if end == len(text) else torch.cat([found, tensor([-1])])
    return tensor([-1])
