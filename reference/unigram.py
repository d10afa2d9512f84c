r"""The unigram model: a text is a row of pieces, each with its own probability, and may be cut in many ways.

    P(text) = Σ over segmentations of Π p(piece)

Row v of `pieces` is the symbols of piece v, filled up with −1; `log_p` is its logarithm, in nats, at most 0. These are
the definitions on tensors. For real text: unigram_model.py encodes and learns pieces, tokenizer_json.py and
unigram_files.py read vocabularies; WordPiece's rule is in unigram_wordpiece.py.
Article papers/unigram.md, derivation derivations/unigram.py, laws verify/unigram.py.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

import torch

from reference import expect
from reference.softmax import log_sum_exp
from reference.unigram_wordpiece import piece_table
from reference.unigram_wordpiece import wordpiece as wordpiece

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

Edge = tuple[int, int, int]


def _edges(text: Tensor, pieces: Tensor, log_p: Tensor) -> list[Edge]:
    """(start, end, piece) of every place where a piece of probability above zero stands; ends rise, starts rise."""
    expect.floating("log_p", log_p)
    expect.agree(V=(expect.axes("log_p", log_p, "V")["V"], expect.axes("pieces", pieces, "V L")["V"]))
    if (log_p > 0).any():
        expect.fail("log_p", "logarithms of probabilities, at most 0", f"{log_p.max():g}")
    table = piece_table(pieces)
    expect.axes("text", text, "N")
    expect.indices("text", text, 2**62)
    letters, possible = text.tolist(), (log_p != -math.inf).tolist()
    found = []
    for end in range(1, len(letters) + 1):
        for start in range(max(0, end - pieces.shape[1]), end):
            v = table.get(tuple(letters[start:end]))
            if v is not None and possible[v]:
                found.append((start, end, v))
    return found


def _forward(edges: list[Edge], log_p: Tensor, N: int) -> list[Tensor | None]:
    """log P of the text up to each place; None where no segmentation ends."""
    alpha: list[Tensor | None] = [log_p.new_zeros(())]
    arriving: list[list[Edge]] = [[] for _ in range(N + 1)]
    for edge in edges:
        arriving[edge[1]].append(edge)
    for end in range(1, N + 1):
        terms = [a + log_p[v] for start, _, v in arriving[end] if (a := alpha[start]) is not None]
        alpha.append(log_sum_exp(torch.stack(terms)) if terms else None)
    return alpha


def _backward(edges: list[Edge], log_p: Tensor, N: int) -> list[Tensor | None]:
    """log P of the text from each place on."""
    mirrored = sorted((N - end, N - start, v) for start, end, v in edges)
    return _forward(mirrored, log_p, N)[::-1]


def _no_segmentation(text: Tensor) -> NoReturn:
    expect.fail("text", "a text that pieces make up", text.tolist()[:20])
    raise AssertionError


def log_likelihood(text: Int[Tensor, "N"], pieces: Int[Tensor, "V L"], log_p: Float[Tensor, "V"]) -> Float[Tensor, ""]:
    r"""log P(text), in nats, of all segmentations together; −∞ if there is none. Differentiable in log_p.

    Raises ValueError unless text is symbols ≥ 0 on one axis, pieces are not empty and all different, with −1 only after
    their symbols, and log_p is floating and at most 0. Source: kudo2018subword, §3.2 eq. (4).
    """
    total = _forward(_edges(text, pieces, log_p), log_p, len(text))[-1]
    return log_p.new_full((), -math.inf) if total is None else total


def viterbi(text: Int[Tensor, "N"], pieces: Int[Tensor, "V L"], log_p: Float[Tensor, "V"]) -> Int[Tensor, "T"]:
    r"""The pieces of the most probable segmentation; of equal ones the one whose last piece is longest, and so on.

    Raises ValueError as `log_likelihood`, or if there is no segmentation. Source: kudo2018subword, §3.2 eq. (5).
    """
    edges, scores = _edges(text, pieces, log_p), log_p.tolist()
    best, back = [0.0, *[-math.inf] * len(text)], [(0, -1)] * (len(text) + 1)
    for start, end, v in edges:
        if best[start] + scores[v] > best[end]:
            best[end], back[end] = best[start] + scores[v], (start, v)
    if best[-1] == -math.inf:
        _no_segmentation(text)
    place, found = len(text), []
    while place:
        place, v = back[place]
        found.append(v)
    return text.new_tensor(found[::-1])


def expected_counts(
    text: Int[Tensor, "N"], pieces: Int[Tensor, "V L"], log_p: Float[Tensor, "V"]
) -> Float[Tensor, "V"]:
    r"""How often each piece is expected to occur in the text, each segmentation weighted by its posterior.

    By the forward–backward recursion. Raises ValueError as `viterbi`. Source: kudo2018subword, §3.2.
    """
    edges, N = _edges(text, pieces, log_p), len(text)
    alpha, beta = _forward(edges, log_p, N), _backward(edges, log_p, N)
    total = alpha[-1]
    if total is None:
        _no_segmentation(text)
    terms, which = [], []
    for start, end, v in edges:
        before, after = alpha[start], beta[end]
        if before is not None and after is not None:
            terms.append(torch.exp(before + log_p[v] + after - total))
            which.append(v)
    counts = torch.zeros_like(log_p)
    return counts.index_add(0, torch.tensor(which, device=log_p.device), torch.stack(terms)) if terms else counts


def em_step(text: Int[Tensor, "N"], pieces: Int[Tensor, "V L"], log_p: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
    r"""log_p after one step of expectation–maximization: each piece's share of all that are expected.

    An entry −1 of the text is a boundary between two texts. A piece that cannot occur gets −∞. Raises ValueError as
    `viterbi`, or for an empty text. Source: kudo2018subword, §3.2; dempster1977maximum, Theorem 1.
    """
    expect.axes("text", text, "N")
    expect.integers("text", text)
    expect.indices("text, with 1 added", text + 1, 2**62)
    ends = [-1, *(text == -1).nonzero().flatten().tolist(), len(text)]
    parts = [text[a + 1 : b] for a, b in pairwise(ends) if b > a + 1]
    if not parts:
        expect.fail("text", "at least one symbol", "none")
    counts = torch.stack([expected_counts(part, pieces, log_p) for part in parts]).sum(0)
    return torch.log(counts) - torch.log(counts.sum())
