"""Laws of the Markov model's probabilities and of perplexity."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify import markov_smoothing
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

CORPUS = torch.tensor([0, 1, 0, 2, 0, 1])  # after 0 come 1, 2, 1
PAIRS = torch.tensor([0, 1, 2, 0, 1, 2, 1, 0, 2])  # after 0 1 comes 2, twice; after 1 0 comes 2; 2 0 is seen once


@st.composite
def corpus(draw):
    """A short text over a few symbols, some of them perhaps unused, and contexts that it may lack."""
    order = draw(st.sampled_from([0, 1, 2]))
    N, B, vocabulary = draw(st.sampled_from([(7, 2, 3), (12, 5, 4)]))
    return {
        "ids": draw(integers(N, below=vocabulary)),
        "contexts": draw(integers(B, order, below=vocabulary)),
        "vocabulary": vocabulary,
        "alpha": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }


@st.composite
def read_and_asked(draw):
    """The text that is counted and the text that is then judged."""
    order = draw(st.sampled_from([0, 1, 2]))
    N, M, vocabulary = draw(st.sampled_from([(9, 5, 3), (12, 7, 4)]))
    return {
        "ids": draw(integers(N, below=vocabulary)),
        "text": draw(integers(M, below=vocabulary)),
        "order": order,
        "vocabulary": vocabulary,
        "alpha": draw(st.sampled_from([0.0, 0.25, 1.0])),
    }


@st.composite
def scored(draw):
    """Log-probabilities of a text, moderate or extreme."""
    size = draw(st.sampled_from([3, 5, 7]))
    scale = draw(st.sampled_from([1.0, 0.01, 8.0]))
    return {"log_probabilities": draw(tensor(size, scale=scale, high=0))}


def rows_sum_to_one(probabilities, ids, contexts, vocabulary, alpha):
    """With α > 0 every context has a distribution; without, a context has one or nothing is defined."""
    row = probabilities(ids, contexts, vocabulary, alpha=alpha)
    assert row.shape == (len(contexts), vocabulary), f"shape {tuple(row.shape)}"
    total = row.sum(-1)
    close(total[~total.isnan()] if alpha == 0 else total, 1.0)


def counted_by_hand(probabilities, ids, contexts, vocabulary, alpha):
    """In 0 1 0 2 0 1 the symbol 0 is followed by 1 twice and by 2 once."""
    zero = torch.tensor([[0]])
    close(probabilities(CORPUS, zero, 3), torch.tensor([[0, 2, 1]]).double() / 3)
    close(probabilities(CORPUS, zero, 3, alpha=1.0), torch.tensor([[1, 3, 2]]).double() / 6)


def pairs_counted_by_hand(probabilities, ids, contexts, vocabulary, alpha):
    """In 0 1 2 0 1 2 1 0 2 the pair 0 1 is always followed by 2, the pair 1 2 by 0 or 1."""
    context = torch.tensor([[0, 1], [1, 2]])
    close(probabilities(PAIRS, context, 3), torch.tensor([[0, 0, 2], [1, 1, 0]]).double() / 2)


def unseen_context_is_undefined_or_uniform(probabilities, ids, contexts, vocabulary, alpha):
    """After a symbol that never came: 0/0 without smoothing, 1/V with it."""
    never, V = torch.tensor([[vocabulary]]), vocabulary + 1
    assert probabilities(ids, never, V).isnan().all(), "0/0 has been given a value"
    close(probabilities(ids, never, V, alpha=0.5), 1 / V)


def heavy_smoothing_is_uniform(probabilities, ids, contexts, vocabulary, alpha):
    """As α grows every row tends to 1/V."""
    close(probabilities(ids, contexts, vocabulary, alpha=2.0**60), 1 / vocabulary)


def names_do_not_matter(probabilities, ids, contexts, vocabulary, alpha):
    """Renaming the symbols renames contexts and columns."""
    last = vocabulary - 1
    renamed = probabilities(last - ids, last - contexts, vocabulary, alpha=alpha)
    close(renamed.flip(-1), probabilities(ids, contexts, vocabulary, alpha=alpha))


def text_ends_where_it_ends(probabilities, ids, contexts, vocabulary, alpha):
    """The last symbol precedes nothing: a last symbol seen only there has no successor."""
    ended = torch.cat([ids, torch.tensor([vocabulary])])
    assert probabilities(ended, torch.tensor([[vocabulary]]), vocabulary + 1).isnan().all(), "the text wraps around"


def surprised_by_hand(surprise, ids, text, order, vocabulary, alpha):
    """In 0 1 0 2 0 1 the text 0 1 0 is worth log 3/2 + log 1: two of three, then two of two; 0 0 never came."""
    nats = torch.tensor([3 / 2, 1, math.inf], dtype=torch.float64).log()
    close(surprise(torch.cat([CORPUS, torch.tensor([0])]), torch.tensor([0, 1, 0, 0]), 1, 3), nats)
    smoothed = torch.tensor([6 / 3, 5 / 3], dtype=torch.float64).log()
    close(surprise(torch.cat([CORPUS, torch.tensor([0])]), torch.tensor([0, 1, 0]), 1, 3, alpha=1.0), smoothed)


def chain_of_conditionals(surprise, ids, text, order, vocabulary, alpha):
    """All continuations of a context together have probability one, unless none was ever seen."""
    context = text[:order]
    every = [
        surprise(ids, torch.cat([context, torch.tensor([w])]), order, vocabulary, alpha=alpha)
        for w in range(vocabulary)
    ]
    total = torch.exp(-torch.cat(every)).sum()
    assert alpha == 0 or not total.isnan(), "smoothed, every context has a distribution"
    close(total[~total.isnan()], 1.0)


def texts_add(surprise, ids, text, order, vocabulary, alpha):
    """A text costs what its parts cost, when each part is given its context."""
    cut = order + 1
    parts = [surprise(ids, part, order, vocabulary, alpha=alpha) for part in (text[:cut], text[cut - order :])]
    close(torch.cat(parts), surprise(ids, text, order, vocabulary, alpha=alpha))


def far_apart_symbols_are_told_apart(surprise, ids, text, order, vocabulary, alpha):
    """Of 2³¹ symbols, three are a number of 93 bits; unsmoothed, symbols that never come change nothing."""
    spread = torch.tensor([0, 2**20, 2**30, 2**31 - 1])
    close(surprise(spread[ids], spread[text], order, 2**31), surprise(ids, text, order, vocabulary))


def uniform_guess_has_perplexity_v(perplexity, log_probabilities):
    """Guessing among five equal symbols is as bad as five."""
    close(perplexity(torch.full_like(log_probabilities, -math.log(5))), 5.0)


def geometric_mean_by_hand(perplexity, log_probabilities):
    """Probabilities 1/2 and 1/8 have geometric mean 1/4."""
    close(perplexity(torch.tensor([-math.log(2), -math.log(8)], dtype=torch.float64)), 4.0)


def text_twice_is_as_hard(f, log_probabilities):
    """The same text once more has the same perplexity."""
    close(f(log_probabilities.repeat(2)), f(log_probabilities))


def order_of_symbols_is_nothing(perplexity, log_probabilities):
    """Every symbol counts the same, wherever it stands."""
    close(perplexity(log_probabilities.roll(1)), perplexity(log_probabilities))


def impossible_symbol_is_infinitely_bad(f, log_probabilities):
    """One symbol of probability zero makes the perplexity infinite, and the bits too."""
    never = torch.cat([log_probabilities, torch.tensor([-math.inf], dtype=torch.float64)])
    close(f(never), math.inf)


def two_bits_by_hand(bits_per_character, log_probabilities):
    """Probabilities 1/2 and 1/8 cost one bit and three."""
    close(bits_per_character(torch.tensor([-math.log(2), -math.log(8)], dtype=torch.float64)), 2.0)


OPERATIONS = [
    Operation(
        "markov.probabilities",
        inputs=corpus(),
        laws=[
            rows_sum_to_one,
            counted_by_hand,
            pairs_counted_by_hand,
            unseen_context_is_undefined_or_uniform,
            heavy_smoothing_is_uniform,
            names_do_not_matter,
            text_ends_where_it_ends,
        ],
    ),
    Operation(
        "markov.surprise",
        inputs=read_and_asked(),
        laws=[surprised_by_hand, chain_of_conditionals, texts_add, far_apart_symbols_are_told_apart],
        unit=1.0,
    ),
    Operation(
        "markov.perplexity",
        inputs=scored(),
        laws=[
            uniform_guess_has_perplexity_v,
            geometric_mean_by_hand,
            text_twice_is_as_hard,
            order_of_symbols_is_nothing,
            impossible_symbol_is_infinitely_bad,
        ],
        gradients=("log_probabilities",),
    ),
    Operation(
        "markov.bits_per_character",
        inputs=scored(),
        laws=[two_bits_by_hand, text_twice_is_as_hard, impossible_symbol_is_infinitely_bad],
        gradients=("log_probabilities",),
    ),
    *markov_smoothing.OPERATIONS,
]
