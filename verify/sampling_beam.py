"""Laws of beam search, on a model that looks at one symbol only: tables of log-probabilities on a coarse grid."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

# From 0 the likelier first step leads to where all is even; symbol 2 ends. One step: 0.5, 0.4, 0.1.
TABLE = torch.tensor([[5, 4, 1], [4, 4, 2], [0, 1, 9]], dtype=torch.float64) / 10
LOG = torch.log(TABLE)


@st.composite
def searches(draw):
    """A table of up to four symbols with holes, a prompt, and everything else that a search asks for.

    Rows need not sum to one. On the grid sums are exact, so that ties are ties in every order of addition.
    """
    V, steps = draw(st.sampled_from([(3, 3), (2, 4), (4, 3), (1, 2), (3, 2), (2, 1)]))
    return {
        "log_p": draw(tensor(V, V, low=-8, high=0, holes=draw(st.booleans()))),
        "prompt": draw(integers(draw(st.sampled_from([1, 3])), below=V)),
        "width": draw(st.sampled_from([2, 1, 3, 100])),
        "steps": steps,
        "end": draw(st.integers(0, V - 1)),
        "alpha": draw(st.sampled_from([0.0, 1.0, 0.6, -0.5])),
        "penalty": draw(st.sampled_from(["power", "gnmt"])),
    }


def divisor(n, alpha, penalty):
    return {"power": n, "gnmt": (5 + n) / 6}[penalty] ** alpha


def length(text, end):
    """How many symbols a row has, the first end among them."""
    return text.index(end) + 1 if end in text else len(text)


def log_probability(log_p, prompt, text):
    before = [int(prompt[-1]), *text]
    return sum((log_p[c, w].item() for c, w in itertools.pairwise(before)), 0.0)


def every_text(log_p, prompt, steps, end, alpha, penalty):
    """All complete texts with their scores, best first, of equal ones the first in lexicographic order."""
    texts = {tuple(y[: length(y, end)]) for y in itertools.product(range(len(log_p)), repeat=steps)}
    rows = [(log_probability(log_p, prompt, y) / divisor(len(y), alpha, penalty), y) for y in texts]
    best = sorted((-score, [*y, *[end] * (steps - len(y))]) for score, y in rows if score > -math.inf)
    return [y for _, y in best], [-s for s, _ in best]


def wide_beam_is_exhaustive(search, log_p, prompt, width, steps, end, alpha, penalty):
    """With room for all texts it finds all of them, in the order of their scores, and equal ones in that of texts."""
    texts, scores = search(log_p, prompt, 4**steps, steps, end, alpha, penalty)
    expected, theirs = every_text(log_p, prompt, steps, end, alpha, penalty)
    assert texts.tolist() == expected, f"got {texts.tolist()}, expected {expected}"
    close(scores, torch.tensor(theirs, dtype=torch.float64))


def scores_are_those_of_the_texts(search, log_p, prompt, width, steps, end, alpha, penalty):
    """Each score is the text's log-probability over ℓ of its length, the end counted and the prompt not."""
    texts, scores = search(log_p, prompt, width, steps, end, alpha, penalty)
    for text, score in zip(texts.tolist(), scores.tolist(), strict=True):
        y = text[: length(text, end)]
        close(score, log_probability(log_p, prompt, y) / divisor(len(y), alpha, penalty), scale=1)


def texts_end_once(search, log_p, prompt, width, steps, end, alpha, penalty):
    """After its end a text has nothing but ends; no two are the same, none is worse than the next; `width` at most."""
    texts, scores = search(log_p, prompt, width, steps, end, alpha, penalty)
    for text in texts.tolist():
        assert set(text[length(text, end) :]) <= {end}, f"{text} goes on after {end}"
    assert len({*map(tuple, texts.tolist())}) == len(texts) <= width, f"{len(texts)} texts, some of them twice"
    assert (scores.diff() <= 0).all(), f"not in falling order: {scores.tolist()}"


def narrow_beam_follows_the_greedy_path(search, log_p, prompt, width, steps, end, alpha, penalty):
    """With room for one, the text is the greedy path without ends, cut off by an end somewhere or at the last step."""
    texts, _ = search(log_p, prompt, 1, steps, end, alpha, penalty)
    path = [int(prompt[-1])]
    others = torch.where(torch.arange(len(log_p)) == end, -math.inf, log_p)
    for _ in range(steps):
        path.append(int(others[path[-1]].argmax()))
    for text in texts.tolist():
        y = text[: length(text, end)]
        assert y[:-1] == path[1 : len(y)], f"{text} leaves the greedy path {path[1:]}"


def by_hand(search, log_p, prompt, width, steps, end, alpha, penalty):
    """After 0: 0.5, 0.4, 0.1; the end is worth 0.1 at once, and 0.4 · 0.2 or 0.5 · 0.1 after one more symbol.

    Two steps: 00 has 0.25, 01 0.2, 10 and 11 0.16 each. With α = 1 the mean over symbols counts, and longer texts gain.
    """
    start = torch.tensor([1, 0])
    for options, expected, score in (
        ((4, 2, 2, 0.0, "power"), [[0, 0], [0, 1], [1, 0], [1, 1]], math.log(0.25)),
        ((2, 1, 2, 0.0, "power"), [[0], [1]], math.log(0.5)),
        ((1, 3, 0, 0.0, "power"), [[0, 0, 0]], math.log(0.5)),
        ((2, 2, 2, 1.0, "power"), [[0, 0], [0, 1]], math.log(0.25) / 2),
        ((1, 2, 2, 2.0, "gnmt"), [[0, 0]], math.log(0.25) / (7 / 6) ** 2),
    ):
        texts, scores = search(LOG, start, *options)
        assert texts.tolist() == expected, f"{options}: {texts.tolist()}"
        close(scores[0], score)


def worth_waiting_for(search, log_p, prompt, width, steps, end, alpha, penalty):
    """One text is complete at once, and another, no better so far, is the better one when it ends a step later.

    After 0 the end costs d and symbol 1 costs s; after 1 the end is free, but 1 may follow too. The last is a tie.
    """
    no = -math.inf
    for d, s, alpha_, score in ((0.75, 1.0, 1.0, -0.5), (2.0, 0.75, -1.0, -1.5), (1.0, 1.0, 0.0, -1.0)):
        table = torch.tensor([[no, -s, -d], [no, -1.0, 0.0], [no, no, 0.0]], dtype=torch.float64)
        texts, scores = search(table, torch.tensor([0]), 1, 3, 2, alpha_, "power")
        assert texts.tolist() == [[1, 2, 2]], f"{alpha_ = }: {texts.tolist()}"
        close(scores, torch.tensor([score]))


def worth_waiting_for_more_than_a_step(search, log_p, prompt, width, steps, end, alpha, penalty):
    """What cannot be reached by the next symbol may be by the longest text, or only the second best text may be.

    After 0 the end costs d and symbol 1 costs s; after 1 the end costs e, and 1 costs f.
    """
    no = -math.inf
    cases = [
        ((0.75, 1.75, 0.0, 0.0), 1, 1.0, [[1, 1, 1]], [-1.75 / 3]),  # 1.75/2 is more than 0.75
        ((0.5, 0.5, 3.0, 1.0), 2, 0.0, [[2, 2, 2], [1, 1, 1]], [-0.5, -2.5]),  # the second was [1, 2, 2], at 3.5
    ]
    for (d, s, e, f), beam, alpha_, best, expected in cases:
        table = torch.tensor([[no, -s, -d], [no, -f, -e], [no, no, 0.0]], dtype=torch.float64)
        texts, scores = search(table, torch.tensor([0]), beam, 3, 2, alpha_, "power")
        assert texts.tolist() == best, f"{alpha_ = }: {texts.tolist()}"
        close(scores, torch.tensor(expected, dtype=torch.float64))


def beam_of_one_is_greedy_by_hand(search, log_p, prompt, width, steps, end, alpha, penalty):
    """After 1, of 0.6, come two even symbols, after 2, of 0.4, a sure end: one text sees 0.3 only, two see 0.4 too."""
    rows = torch.tensor([[0.0, 0.6, 0.4], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    for beam, best, chances in ((1, [[1, 0]], [0.3]), (2, [[2, 0], [1, 0]], [0.4, 0.3])):
        texts, scores = search(rows.log(), torch.tensor([0]), beam, 2, 0, 0.0, "power")
        assert texts.tolist() == best, f"width {beam}: {texts.tolist()}"
        close(scores, torch.tensor(chances, dtype=torch.float64).log())


def prompt_does_not_count(search, log_p, prompt, width, steps, end, alpha, penalty):
    """A longer prompt with the same last symbol changes nothing."""
    longer = torch.cat([prompt, prompt])
    for ours, theirs in zip(
        search(log_p, longer, width, steps, end, alpha, penalty),
        search(log_p, prompt, width, steps, end, alpha, penalty),
        strict=True,
    ):
        close(ours.double(), theirs.double())


OPERATIONS = [
    Operation(
        "sampling.beam_search",
        inputs=searches(),
        laws=[
            wide_beam_is_exhaustive,
            scores_are_those_of_the_texts,
            texts_end_once,
            narrow_beam_follows_the_greedy_path,
            by_hand,
            worth_waiting_for,
            worth_waiting_for_more_than_a_step,
            beam_of_one_is_greedy_by_hand,
            prompt_does_not_count,
        ],
        free=(),
    ),
]
