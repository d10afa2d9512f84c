r"""Interpolated Kneser–Ney: take D from every count, and give it back by how many different symbols came before.

    P(w | h) = max(c(h w) − D, 0)/c(h) + D n(h)/c(h) P(w | h')

n(h) is how many symbols have a count after h. For the longest contexts c counts occurrences; for shorter ones c(g) is
how many different symbols precede g in the text. The text begins with its first symbol: before it there is nothing, so
that an n-gram found only there has the count zero. Below the empty context every symbol has probability 1/V.
Article papers/markov.md, derivation derivations/markov_smoothing.py, laws verify/markov_smoothing.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.markov_smoothing import Smoothed, distribution, fractions, share, totals, tree

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def _continuations(ids: Int[Tensor, "N"], order: int, vocabulary: int) -> tuple[list[Tensor], list[Tensor]]:
    """Keys and counts for contexts of 0 … order symbols: of the longest occurrences, else different symbols before."""
    keys, places = tree(ids, order, vocabulary)
    counts = [torch.bincount(places[-1])]
    for k in range(order, 0, -1):
        shorter = keys[k].new_zeros(len(keys[k]))
        shorter[places[k + 1]] = places[k][1:]  # without its first symbol, an n-gram begins one symbol later
        counts.insert(0, torch.bincount(shorter, minlength=len(keys[k - 1])))
    return keys, counts


def _estimated(counts: list[Tensor]) -> Float[Tensor, "J"]:
    once, twice = (torch.stack([(c == times).sum() for c in counts]).double() for times in (1, 2))
    return share(once, once + 2 * twice, 0.0)


def estimated_discounts(ids: Int[Tensor, "N"], order: int, vocabulary: int) -> Float[Tensor, "J"]:
    r"""n₁/(n₁ + 2n₂) for contexts of 0 … order symbols: n₁ n-grams have the count one, n₂ two; 0 if n₁ is.

    Raises ValueError as `model`. Source: ney1994structuring; chen1999empirical, §2.6.
    """
    return _estimated(_continuations(ids, order, vocabulary)[1])


def model(ids: Int[Tensor, "N"], order: int, vocabulary: int, discounts: Float[Tensor, "J"] | None = None) -> Smoothed:
    """The model of a text; discounts[k], from 0 to 1, is for contexts of k symbols (None: `estimated_discounts`).

    With discounts[0] = 0 the empty context has the raw shares of the counts, and a symbol of no count probability zero.
    Raises ValueError for ids outside the vocabulary, a text shorter than order + 1, or other discounts.
    Source: kneser1995improved; chen1999empirical, §2.7.
    """
    keys, counts = _continuations(ids, order, vocabulary)
    D = _estimated(counts) if discounts is None else fractions("discounts", discounts, order)
    kept, back = [], []
    for k, (key, count) in enumerate(zip(keys, counts, strict=True)):
        total, types = (totals(keys, k, vocabulary, c) for c in (count, count > 0))
        kept.append(share((count - D[k]).clamp(min=0), total[key // vocabulary], 0.0))
        back.append(share(D[k] * types, total, 1.0))
    return Smoothed(vocabulary, keys, kept, back)


def kneser_ney(
    ids: Int[Tensor, "N"], contexts: Int[Tensor, "B k"], vocabulary: int, discounts: Float[Tensor, "J"] | None = None
) -> Float[Tensor, "B V"]:
    """The distribution after each context under the `model` of a text, at the order of the contexts, in float64.

    Raises ValueError as `model`, and for contexts outside the vocabulary. Source: chen1999empirical, §2.7.
    """
    order = expect.axes("contexts", contexts, "B k")["k"]
    return distribution(model(ids, order, vocabulary, discounts), contexts)
