r"""N-gram language models: a word's probability depends on the `order` symbols before it, and is found by counting.

    P(w | h) = (c(h w) + α) / (c(h) + α V)

α = 0 is maximum likelihood, α = 1 Laplace's rule. Only n-grams that occur are stored, so any order is possible.
Article papers/markov.md, derivation derivations/markov.py, laws verify/markov.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Counts(NamedTuple):
    """The distinct n-grams of a text in lexicographic order (context, then word) and how often each occurs."""

    order: int
    vocabulary: int
    ngrams: Tensor
    counts: Tensor


def encode(text: str) -> tuple[Int[Tensor, "N"], str]:
    """The text as indices into its own alphabet (sorted), and that alphabet. Raises ValueError for an empty text."""
    if not text:
        expect.fail("text", "at least one character", "an empty string")
    codes = torch.frombuffer(bytearray(text.encode("utf-32-le")), dtype=torch.int32)
    alphabet, ids = codes.unique(return_inverse=True)
    return ids, "".join(map(chr, alphabet.tolist()))


def _ranks(windows: Int[Tensor, "M n"], vocabulary: int) -> Int[Tensor, "M"]:
    """Equal rows get equal numbers, in lexicographic order: one column at a time, so that nothing overflows."""
    rank = torch.zeros(len(windows), dtype=torch.int64)
    for column in windows.unbind(1):
        rank = torch.unique(rank * vocabulary + column, return_inverse=True)[1]
    return rank


def count(ids: Int[Tensor, "N"], order: int, vocabulary: int) -> Counts:
    """Count every n-gram of order + 1 symbols.

    Raises ValueError for ids outside the vocabulary, a negative order, or a text shorter than order + 1.
    Source: manning1999foundations, §6.1.
    """
    expect.natural("order", order)
    expect.natural("vocabulary", vocabulary, 1)
    n = expect.axes("ids", ids, "N")["N"]
    expect.indices("ids", ids, vocabulary)
    if n < order + 1:
        expect.fail("ids", f"at least {order + 1} symbols for order {order}", n)
    windows = ids.long().unfold(0, order + 1, 1)
    rank = _ranks(windows, vocabulary)
    counts = torch.bincount(rank)
    ngrams = torch.empty(len(counts), order + 1, dtype=torch.int64)
    ngrams[rank] = windows
    return Counts(order, vocabulary, ngrams, counts)


def _lookup(counts: Counts, contexts: Int[Tensor, "B k"]) -> tuple[Tensor, Tensor]:
    """The number of each stored n-gram's context and of each asked context, in one numbering."""
    both = _ranks(torch.cat([counts.ngrams[:, : counts.order], contexts.long()]), counts.vocabulary)
    return both[: len(counts.ngrams)], both[len(counts.ngrams) :]


def conditional(counts: Counts, contexts: Int[Tensor, "B k"], alpha: float = 0.0) -> Float[Tensor, "B V"]:
    r"""The distribution (c(h w) + α) / (c(h) + α V) of the next symbol after each context, in float64.

    A context that never occurred has, with α = 0, no distribution: 0/0, a row of NaN.
    Raises ValueError for α < 0 or contexts that do not have `order` symbols of the vocabulary.
    Source: manning1999foundations, §6.2.1–6.2.2.
    """
    expect.number("alpha", alpha, 0)
    expect.agree(order=(counts.order, expect.axes("contexts", contexts, "B k")["k"]))
    expect.indices("contexts", contexts, counts.vocabulary)
    stored, asked = _lookup(counts, contexts)
    row, here = (asked[:, None] == stored).nonzero(as_tuple=True)
    seen = torch.zeros(len(contexts), counts.vocabulary, dtype=torch.float64)
    table = alpha + seen.index_put((row, counts.ngrams[here, -1]), counts.counts[here].double())
    return table / table.sum(1, keepdim=True)


def probabilities(ids, contexts, vocabulary: int, alpha: float = 0.0) -> Float[Tensor, "B V"]:
    """`conditional` of the counts of a text, at the order of the contexts. Raises ValueError as both."""
    return conditional(count(ids, expect.axes("contexts", contexts, "B k")["k"], vocabulary), contexts, alpha)


def log_likelihood(counts: Counts, ids: Int[Tensor, "N"], alpha: float = 0.0) -> Float[Tensor, "M"]:
    r"""The natural logarithm of the probability of every symbol of a text after its first `order`, in float64.

    −∞ where the symbol never followed that context; NaN where the context never occurred (both with α = 0).
    Raises ValueError as `count` and `conditional`.
    """
    expect.number("alpha", alpha, 0)
    asked = count(ids, counts.order, counts.vocabulary)
    whole = _ranks(torch.cat([counts.ngrams, asked.ngrams]), counts.vocabulary)
    sizes = torch.zeros(int(whole.max()) + 1, dtype=torch.float64)
    stored = len(counts.ngrams)
    sizes[whole[:stored]] = counts.counts.double()
    contexts, wanted = _lookup(counts, asked.ngrams[:, : counts.order])
    totals = torch.zeros(int(torch.cat([contexts, wanted]).max()) + 1, dtype=torch.float64)
    totals.index_add_(0, contexts, counts.counts.double())
    logs = torch.log((sizes[whole[stored:]] + alpha) / (totals[wanted] + alpha * counts.vocabulary))
    return logs[_ranks(ids.long().unfold(0, counts.order + 1, 1), counts.vocabulary)]


def surprise(ids, text, order: int, vocabulary: int, alpha: float = 0.0) -> Float[Tensor, "M"]:
    """Minus `log_likelihood` of a text under the counts of the symbols `ids`, in nats. Raises ValueError as both."""
    return -log_likelihood(count(ids, order, vocabulary), text, alpha)


def perplexity(log_probabilities: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    r"""exp(−mean log p): the size of the uniform choice that would be as surprising, a symbol (natural logarithms).

    Raises ValueError for an empty or integer tensor. Source: jurafsky2025speech, §3.3.
    """
    expect.floating("log_probabilities", log_probabilities)
    return torch.exp(-log_probabilities.mean())


def bits_per_character(log_probabilities: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    r"""−mean log₂ p of natural-log probabilities, in bits a symbol.

    Raises ValueError as `perplexity`. Source: shannon1948communication, §7.
    """
    expect.floating("log_probabilities", log_probabilities)
    return -log_probabilities.mean() / math.log(2)


def generate(counts: Counts, length: int, generator: torch.Generator) -> Int[Tensor, "N"]:
    """Sample a text of `length` symbols at α = 0, starting (and at a dead end starting again) from a context seen.

    Raises ValueError for a negative length.
    """
    expect.natural("length", length)
    rows: dict[tuple[int, ...], tuple[int, int]] = {(): (0, len(counts.ngrams))}
    if counts.order:
        contexts, sizes = counts.ngrams[:, : counts.order].unique_consecutive(dim=0, return_counts=True)
        ends = sizes.cumsum(0)
        spans = zip((ends - sizes).tolist(), ends.tolist(), strict=True)
        rows = dict(zip(map(tuple, contexts.tolist()), spans, strict=True))
    weights = counts.counts.double()
    text: list[int] = []
    context: tuple[int, ...] | None = None
    while len(text) < length:
        if context not in rows:
            start = torch.multinomial(weights, 1, generator=generator)[0]
            context = tuple(counts.ngrams[start, : counts.order].tolist())
            text += context
        low, high = rows[context]
        word = counts.ngrams[low + int(torch.multinomial(weights[low:high], 1, generator=generator)), -1]
        text.append(int(word))
        context = (*context, text[-1])[1:] if counts.order else ()
    return torch.tensor(text[:length], dtype=torch.int64)


def main(argv=None) -> int:
    """Train on real text and report: python -m reference.markov --order 3."""
    from reference import corpus

    parser = argparse.ArgumentParser(prog="python -m reference.markov", description=main.__doc__)
    parser.add_argument("--order", type=int, default=3, help="symbols of context (default 3)")
    parser.add_argument("--corpus", metavar="FILE", help="UTF-8 text (default: the prose of Python's own help)")
    parser.add_argument("--alpha", type=float, default=0.01, help="added to every count (default 0.01)")
    parser.add_argument("--length", type=int, default=300, help="characters to generate (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        train, held_out = corpus.read(options.corpus) if options.corpus else corpus.embedded()
        ids, alphabet = encode(train + held_out)
        corpus.long_enough(train, held_out, options.order)
        counts = count(ids[: len(train)], options.order, len(alphabet))
        here = log_likelihood(counts, ids[: len(train)], options.alpha)
        there = log_likelihood(counts, ids[len(train) :], options.alpha)
        text = generate(counts, options.length, torch.Generator().manual_seed(options.seed))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    contexts = len(_ranks(counts.ngrams[:, : options.order], len(alphabet)).unique())
    print(f"order {options.order}, add-{options.alpha:g}: {len(train):,} characters, {len(held_out):,} held out")
    print(f"alphabet   {len(alphabet)} characters")
    possible = len(alphabet) ** options.order
    print(f"contexts   {contexts:,} seen of {possible:,} possible; {len(counts.counts):,} n-grams")
    for name, logs in (("train", here), ("held out", there)):
        print(f"{name:<10} perplexity {perplexity(logs):.3f}, {bits_per_character(logs):.3f} bits per character")
    print("generated  ------------------------------------------------------------")
    print("".join(alphabet[i] for i in text))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
