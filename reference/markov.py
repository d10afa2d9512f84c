r"""N-gram language models: a word's probability depends on the `order` symbols before it, and is found by counting.

    P(w | h) = (c(h w) + α) / (c(h) + α V)

α = 0 is maximum likelihood, α = 1 Laplace's rule. Only n-grams that occur are stored, so any order is possible.
Mixtures of orders are in markov_jelinek_mercer.py and markov_kneser_ney.py, over the tree of markov_smoothing.py.
Article papers/markov.md, derivation derivations/markov.py, laws verify/markov.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect, markov_jelinek_mercer, markov_kneser_ney
from reference.markov_jelinek_mercer import interpolation_weights
from reference.markov_jelinek_mercer import jelinek_mercer as jelinek_mercer
from reference.markov_kneser_ney import estimated_discounts as estimated_discounts
from reference.markov_kneser_ney import kneser_ney as kneser_ney
from reference.markov_smoothing import sample, text_log_likelihood

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
    """Equal rows get equal numbers, in lexicographic order, found anew before a number could overflow."""
    rank, size = windows.new_zeros(len(windows)), 1
    for column in windows.unbind(1):
        if size * vocabulary >= 2**62:
            known, rank = torch.unique(rank, return_inverse=True)
            size = len(known)
        rank, size = rank * vocabulary + column, size * vocabulary
    return torch.unique(rank, return_inverse=True)[1]


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
    ngrams = windows.new_empty(len(counts), order + 1)
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
    seen = torch.zeros(len(contexts), counts.vocabulary, dtype=torch.float64, device=asked.device)
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
    sizes = torch.zeros(int(whole.max()) + 1, dtype=torch.float64, device=ids.device)
    stored = len(counts.ngrams)
    sizes[whole[:stored]] = counts.counts.double()
    contexts, wanted = _lookup(counts, asked.ngrams[:, : counts.order])
    totals = sizes.new_zeros(int(torch.cat([contexts, wanted]).max()) + 1)
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


def _added(options, ids, length, alphabet):
    """(what was done, log-likelihoods of the first `length` symbols and of the rest, a sample) by adding to counts."""
    alpha = 0.01 if options.alpha is None else options.alpha
    counts = count(ids[:length], options.order, alphabet)
    here, there = (log_likelihood(counts, part, alpha) for part in (ids[:length], ids[length:]))
    text = generate(counts, options.length, torch.Generator().manual_seed(options.seed))
    return f"add-{alpha:g}", here, there, text


def _mixed(options, ids, length, alphabet):
    """The same by mixing orders, the sample going on from a place of the text that is drawn."""
    train, numbers = ids[:length], torch.Generator().manual_seed(options.seed)
    if options.smoothing == "jelinek-mercer":
        name, found = "weights", interpolation_weights(train, options.order, alphabet)
        model = markov_jelinek_mercer.model(train, options.order, alphabet, found)
    else:
        name, found = "discounts", estimated_discounts(train, options.order, alphabet)
        found = found if options.discount is None else torch.full_like(found, options.discount)
        model = markov_kneser_ney.model(train, options.order, alphabet, found)
    start = int(torch.randint(length - options.order, (1,), generator=numbers))
    text = sample(model, train[start : start + options.order], options.length, numbers)
    here, there = (text_log_likelihood(model, part) for part in (train, ids[length:]))
    told = " ".join(f"{x:.2f}" for x in found.tolist())
    return f"{options.smoothing}, {name} {told}", here, there, text


def main(argv=None) -> int:
    """Train on real text and report: python -m reference.markov --order 3."""
    from reference import corpus

    parser = argparse.ArgumentParser(prog="python -m reference.markov", description=main.__doc__)
    parser.add_argument("--order", type=int, default=3, help="symbols of context (default 3)")
    parser.add_argument("--smoothing", choices=("add", "jelinek-mercer", "kneser-ney"), default="add")
    parser.add_argument("--corpus", metavar="FILE", help="UTF-8 text (default: the prose of Python's own help)")
    parser.add_argument("--alpha", type=float, help="added to every count (default 0.01); only with --smoothing add")
    parser.add_argument("--discount", type=float, help="taken from every count (default: estimated); only kneser-ney")
    parser.add_argument("--length", type=int, default=300, help="characters to generate (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    for name, smoothing in (("alpha", "add"), ("discount", "kneser-ney")):
        if getattr(options, name) is not None and options.smoothing != smoothing:
            parser.error(f"--{name}: expected --smoothing {smoothing} with it, received {options.smoothing}")
    try:
        expect.natural("order", options.order)
        train, held_out = corpus.read(options.corpus) if options.corpus else corpus.embedded()
        ids, alphabet = encode(train + held_out)
        corpus.long_enough(train, held_out, options.order)
        estimate = _added if options.smoothing == "add" else _mixed
        told, here, there, text = estimate(options, ids, len(train), len(alphabet))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"order {options.order}, {told}: {len(train):,} characters, {len(held_out):,} held out")
    print(f"alphabet   {len(alphabet)} characters, of both parts")
    ngrams = count(ids[: len(train)], options.order, len(alphabet)).ngrams
    contexts = len(_ranks(ngrams[:, : options.order], len(alphabet)).unique())
    print(f"contexts   {contexts:,} seen of {len(alphabet) ** options.order:,} possible; {len(ngrams):,} n-grams")
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
