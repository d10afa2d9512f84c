r"""Smoothed n-gram models: what was seen after a long context is mixed with what was seen after shorter ones.

    P(w | h) = kept(h w) + back(h) P(w | h'),   h' the context h without its first symbol, P = 1/V below the empty one

A context that never occurred gives everything back. Only n-grams that occur are stored, as a tree; what is kept and
given back is said by `reference.markov_jelinek_mercer` and `reference.markov_kneser_ney`.
Article papers/markov.md, derivation derivations/markov_smoothing.py, laws verify/markov_smoothing.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Smoothed(NamedTuple):
    """keys[k] holds the n-grams of k + 1 symbols, sorted, each as V · (place of its first k in keys[k − 1]) + its last.

    kept[k] belongs to them, and back[k] to the contexts of k symbols, by place in keys[k − 1].
    """

    vocabulary: int
    keys: list[Tensor]
    kept: list[Tensor]
    back: list[Tensor]


def tree(ids: Int[Tensor, "N"], order: int, vocabulary: int) -> tuple[list[Tensor], list[Tensor]]:
    """The keys of the n-grams of 1 … order + 1 symbols, and for 0 … order + 1 the n-gram that begins at each symbol.

    Raises ValueError for ids outside the vocabulary, a negative order, or a text shorter than order + 1.
    """
    expect.natural("order", order)
    expect.natural("vocabulary", vocabulary, 1)
    n = expect.axes("ids", ids, "N")["N"]
    expect.indices("ids", ids, vocabulary)
    long_enough("ids", n, order)
    keys, places = [], [torch.zeros(n + 1, dtype=torch.int64, device=ids.device)]
    for k in range(order + 1):
        key, place = torch.unique(places[-1][: n - k] * vocabulary + ids[k:].long(), return_inverse=True)
        keys.append(key)
        places.append(place)
    return keys, places


def long_enough(name: str, symbols: int, order: int) -> None:
    if symbols < order + 1:
        expect.fail(name, f"at least {order + 1} symbols for order {order}", symbols)


def fractions(name: str, x: Float[Tensor, "J"], order: int) -> Float[Tensor, "J"]:
    """x as float64, when it has a number from 0 to 1 for contexts of 0 … order symbols; NaN is passed on."""
    expect.floating(name, x)
    expect.agree(J=(order + 1, expect.axes(name, x, "J")["J"]))
    if any(number < 0 or number > 1 for number in x.tolist()):
        expect.fail(name, "numbers from 0 to 1", x.tolist())
    return x.double()


def totals(keys: list[Tensor], k: int, vocabulary: int, counts: Tensor) -> Float[Tensor, "C"]:
    """The counts of the n-grams of k + 1 symbols, added up for every context."""
    contexts = len(keys[k - 1]) if k else 1
    counts = counts.double()
    return counts.new_zeros(contexts).index_add(0, keys[k] // vocabulary, counts)


def share(part: Tensor, whole: Tensor, absent: float | Tensor) -> Tensor:
    """part / whole, and `absent` where the whole is zero."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), absent)


def _find(keys: Tensor, wanted: Tensor) -> Tensor:
    """Where each wanted key stands, −1 where it does not; a key that begins with −1 is below all, and not found."""
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, place, -1)


def _places(model: Smoothed, rows: Int[Tensor, "B n"]) -> Iterator[Int[Tensor, "B m"]]:
    """For the lengths 0, 1, 2, … the place of the n-gram that begins at each symbol of a row."""
    place = rows.new_zeros(len(rows), rows.shape[1] + 1)
    yield place
    for k, keys in enumerate(model.keys[: rows.shape[1]]):
        place = _find(keys, place[:, : rows.shape[1] - k] * model.vocabulary + rows[:, k:])
        yield place


def taken(values: Tensor, place: Tensor, absent: float) -> Tensor:
    """The values at these places, `absent` where there is none."""
    return torch.where(place < 0, absent, values[place.clamp(min=0)])


def _mixed(model: Smoothed, contexts: list[Tensor], ngrams: list[Tensor]) -> Tensor:
    """kept + back · (the same for the shorter context), from the empty context on."""
    p = model.kept[0].new_full((), 1 / model.vocabulary)
    for kept, back, context, ngram in zip(model.kept, model.back, contexts, ngrams, strict=False):
        p = taken(kept, ngram, 0.0) + taken(back, context, 1.0) * p
    return p


def distribution(model: Smoothed, contexts: Int[Tensor, "B k"]) -> Float[Tensor, "B V"]:
    """The distribution of the next symbol after each context, of which the last `order` symbols are read, in float64.

    A shorter context is read whole. Raises ValueError for contexts outside the vocabulary.
    """
    expect.axes("contexts", contexts, "B k")
    expect.indices("contexts", contexts, model.vocabulary)
    order = len(model.keys) - 1
    rows = contexts[:, max(contexts.shape[1] - order, 0) :].long()
    ends = [place[:, -1:] for place in _places(model, rows)]
    symbols = torch.arange(model.vocabulary, device=rows.device)
    return _mixed(model, ends, [_find(keys, end * model.vocabulary + symbols)
                                for keys, end in zip(model.keys, ends, strict=False)])  # fmt: skip


def followed(model: Smoothed, text: Int[Tensor, "N"]) -> tuple[list[Tensor], list[Tensor]]:
    """For each symbol of a text after its first `order`: its contexts of 0 … order symbols, and these with the symbol.

    Both by place, −1 where the model lacks them. Raises ValueError as `text_log_likelihood`.
    """
    order, n = len(model.keys) - 1, expect.axes("text", text, "N")["N"]
    expect.indices("text", text, model.vocabulary)
    long_enough("text", n, order)
    places = [place[0] for place in _places(model, text.long()[None])]
    contexts, ngrams = ([p[order - k : n - k] for k, p in enumerate(part)] for part in (places[:-1], places[1:]))
    return contexts, ngrams


def text_log_likelihood(model: Smoothed, text: Int[Tensor, "N"]) -> Float[Tensor, "M"]:
    """The natural logarithm of the probability of every symbol of a text after its first `order`, in float64.

    Raises ValueError for symbols outside the vocabulary or a text shorter than order + 1.
    """
    return _mixed(model, *followed(model, text)).log()


def sample(model: Smoothed, start: Int[Tensor, "S"], length: int, generator: torch.Generator) -> Int[Tensor, "N"]:
    """`length` symbols that go on from `start`, which may be empty and is not repeated, drawn one by one.

    Raises ValueError for a negative length or a start outside the vocabulary.
    """
    expect.natural("length", length)
    expect.axes("start", start, "S")
    order, text = len(model.keys) - 1, start.tolist()
    for _ in range(length):
        context = torch.tensor([text[max(len(text) - order, 0) :]], dtype=torch.int64)
        text.append(int(torch.multinomial(distribution(model, context)[0], 1, generator=generator)))
    return torch.tensor(text[len(start) :], dtype=torch.int64)
