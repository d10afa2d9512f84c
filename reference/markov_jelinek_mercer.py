r"""Jelinek–Mercer: relative frequencies of all orders, mixed.

    P(w | h) = λ c(h w)/c(h) + (1 − λ) P(w | h'),   λ for each length of context

c counts all occurrences in the text, whatever the order. Below the empty context every symbol has probability 1/V.
Article papers/markov.md, derivation derivations/markov_smoothing.py, laws verify/markov_smoothing.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.markov_smoothing import Smoothed, distribution, followed, fractions, share, taken, totals, tree

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def model(ids: Int[Tensor, "N"], order: int, vocabulary: int, weights: Float[Tensor, "J"]) -> Smoothed:
    """The model of a text; weights[k], from 0 to 1, is λ for contexts of k symbols.

    Raises ValueError for ids outside the vocabulary, a text shorter than order + 1, or other weights.
    Source: jelinek1980interpolated; chen1999empirical, §2.3.
    """
    keys, places = tree(ids, order, vocabulary)
    kept, back = [], []
    for k, weight in enumerate(fractions("weights", weights, order)):
        count = torch.bincount(places[k + 1])
        total = totals(keys, k, vocabulary, count)
        kept.append(weight * count / total[keys[k] // vocabulary])
        back.append(torch.where(total > 0, 1 - weight, 1.0))
    return Smoothed(vocabulary, keys, kept, back)


def jelinek_mercer(
    ids: Int[Tensor, "N"], contexts: Int[Tensor, "B k"], vocabulary: int, weights: Float[Tensor, "J"]
) -> Float[Tensor, "B V"]:
    """The distribution after each context under the `model` of a text, at the order of the contexts, in float64.

    Raises ValueError as `model`, and for contexts outside the vocabulary. Source: chen1999empirical, §2.3.
    """
    order = expect.axes("contexts", contexts, "B k")["k"]
    return distribution(model(ids, order, vocabulary, weights), contexts)


def interpolation_weights(
    ids: Int[Tensor, "N"], order: int, vocabulary: int, deleted: float = 0.1, steps: int = 50
) -> Float[Tensor, "J"]:
    """λ for contexts of 0 … order symbols, in float64: `steps` of EM from ½ each, on a part that is not counted.

    The last `deleted` part of the text is predicted from the counts of the rest; from its own counts λ would be 1. A λ
    for which there is no context stays as it is.
    Raises ValueError as `model`, for a part outside 0 … 1, and when either part is shorter than order + 1.
    Source: jelinek1980interpolated; chen1999empirical, §2.3.
    """
    expect.number("deleted", deleted, 0, 1)
    expect.natural("order", order)
    expect.natural("steps", steps)
    cut = expect.axes("ids", ids, "N")["N"] - round(len(ids) * deleted)
    if min(cut, len(ids) - cut) < order + 1:
        received = f"{cut} and {len(ids) - cut}"
        expect.fail("ids", f"at least {order + 1} symbols to count and {order + 1} deleted", received)
    counted = model(ids[:cut], order, vocabulary, torch.ones(order + 1, device=ids.device))
    contexts, ngrams = followed(counted, ids[cut:])
    seen = [taken(back, place, 1.0) == 0 for back, place in zip(counted.back, contexts, strict=True)]
    frequency = [taken(kept, place, 0.0) for kept, place in zip(counted.kept, ngrams, strict=True)]
    weights = torch.full((order + 1,), 0.5, dtype=torch.float64, device=ids.device)
    for _ in range(steps):
        weights = _improved(weights, seen, frequency, vocabulary)
    return weights


def _improved(weights: Tensor, seen: list[Tensor], frequency: list[Tensor], vocabulary: int) -> Tensor:
    """One step of EM: λ is the part of the symbols that came to this context, and not from a shorter one."""
    p = [frequency[0].new_full(seen[0].shape, 1 / vocabulary)]
    for known, f, weight in zip(seen, frequency, weights, strict=True):
        p.append(torch.where(known, weight * f + (1 - weight) * p[-1], p[-1]))
    better, arriving = [], torch.ones_like(p[0])
    for k in reversed(range(len(weights))):
        stays = torch.where(seen[k], arriving * weights[k] * frequency[k] / p[k + 1], 0.0)
        stays = torch.minimum(stays, arriving)  # nor may rounding let λ exceed 1
        better.append(share(stays.sum(), (arriving * seen[k]).sum(), weights[k]))
        arriving = arriving - stays
    return torch.stack(better[::-1])
