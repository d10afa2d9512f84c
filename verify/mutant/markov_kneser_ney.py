"""Mistakes in interpolated Kneser–Ney."""

from __future__ import annotations

import torch

from reference.markov import estimated_discounts, kneser_ney
from verify.mistake import mistake
from verify.mutant.markov import NOWHERE, counted


def preceded(ids, contexts, vocabulary):
    """How many different symbols precede each context and symbol, B × V."""
    k = contexts.shape[-1]
    windows = ids.unfold(0, k + 2, 1).unique(dim=0)
    match = (windows[:, None, 1:-1] == contexts).all(-1).double()
    return match.T @ torch.nn.functional.one_hot(windows[:, -1], vocabulary).double()


def backed(c, D):
    """D n/c."""
    return D * (c > 0).sum(-1, keepdim=True) / c.sum(-1, keepdim=True)


def spared(c, D):
    """max(c − D, 0)/Σc."""
    return (c - D).clamp(min=0) / c.sum(-1, keepdim=True)


def mixed(c, D, p):
    """Kneser–Ney's step from a shorter context to a longer one."""
    return spared(c, D) + backed(c, D) * p


def estimated(count, ids, k, vocabulary):
    """n₁/(n₁ + 2n₂) of these counts after all contexts of k symbols."""
    c = count(ids, ids.unfold(0, k, 1).unique(dim=0) if k else ids.new_empty(1, 0), vocabulary)
    once, twice = (c == 1).sum(), (c == 2).sum()
    return once / (once + 2 * twice) if once else 0.0


def last(contexts, k):
    return contexts[:, contexts.shape[-1] - k :]


def climbed(
    ids,
    contexts,
    vocabulary,
    discounts,
    step=mixed,
    *,
    lower=preceded,
    highest=counted,
    shorter=last,
    first=0,
    base=1.0,
):
    """From 1/V up, a step for each length of context that is known."""
    order = contexts.shape[-1]
    p = torch.full((len(contexts), vocabulary), base / vocabulary, dtype=torch.float64)
    for k in range(first, order + 1):
        count = highest if k == order else lower
        c = count(ids, shorter(contexts, k), vocabulary)
        D = estimated(count, ids, k, vocabulary) if discounts is None else discounts[k]
        p = torch.where(c.sum(-1, keepdim=True) > 0, step(c, D, p), p)
    return p


@mistake(
    "markov.kneser_ney",
    id="kn-discount-in-denominator",
    seen="yandexdataschool/nlp_course #12",
    fix="divide by the sum of the counts, undiscounted",
)
def divided_by_what_is_kept(ids, contexts, vocabulary, discounts=None):
    """max(c − D, 0) / Σ max(c − D, 0)."""
    return climbed(ids, contexts, vocabulary, discounts, lambda c, D, p: (
        (c - D).clamp(min=0) / (c - D).clamp(min=0).sum(-1, keepdim=True) + backed(c, D) * p))  # fmt: skip


@mistake(
    "markov.kneser_ney",
    id="kn-continuation-normaliser",
    seen="jacobeisenstein/gt-nlp-class #35",
    fix="give to all symbols, or divide by what the unseen have of the shorter context",
)
def given_to_the_unseen_alone(ids, contexts, vocabulary, discounts=None):
    """Only symbols that were not seen get from the shorter context, in which all share."""
    return climbed(
        ids, contexts, vocabulary, discounts, lambda c, D, p: torch.where(c > 0, spared(c, D), backed(c, D) * p)
    )


@mistake(
    "markov.kneser_ney",
    id="backoff-alpha-unnormalised",
    seen="nltk/nltk #367",
    fix="α = (1 − Σ P of the seen)/(1 − Σ of their P after the shorter context)",
)
def alpha_is_a_ratio_of_discounts(ids, contexts, vocabulary, discounts=None):
    """The unseen get α P of the shorter context, α being what this context gives over what the shorter one does."""
    before = 1.0

    def step(c, D, p):
        nonlocal before
        alpha, before = backed(c, D) / before, backed(c, D)
        return torch.where(c > 0, spared(c, D), alpha * p)

    return climbed(ids, contexts, vocabulary, discounts, step)


@mistake(
    "markov.kneser_ney",
    id="kn-raw-lower-counts",
    seen="nltk/nltk PR#2659; the same was asked for in smilli/kneser-ney #5",
    fix="below the longest contexts count different predecessors",
)
def shorter_contexts_count_occurrences(ids, contexts, vocabulary, discounts=None):
    """Absolute discounting: frequencies at every order."""
    return climbed(ids, contexts, vocabulary, discounts, lower=counted)


@mistake("markov.kneser_ney", id="kn-uniform-unigrams", seen="nltk/nltk #2599", fix="the shortest contexts count, too")
def unigrams_are_uniform(ids, contexts, vocabulary, discounts=None):
    """The recursion ends one order too early, at 1/V for the empty context."""
    return climbed(ids, contexts, vocabulary, discounts, first=min(1, contexts.shape[-1]))


@mistake("markov.kneser_ney", id="kn-adds-logarithms", seen="smilli/kneser-ney #6", fix="add probabilities")
def logarithms_are_added(ids, contexts, vocabulary, discounts=None):
    """log of what is kept + log of the weight + log P after the shorter context."""
    return climbed(ids, contexts, vocabulary, discounts, lambda c, D, p: spared(c, D) * backed(c, D) * p)


@mistake("markov.kneser_ney", id="kn-lambda-one-kind", seen=NOWHERE, fix="D n(h)/c(h)")
def kinds_are_forgotten(ids, contexts, vocabulary, discounts=None):
    """λ = D/c(h)."""
    return climbed(ids, contexts, vocabulary, discounts, lambda c, D, p: spared(c, D) + D / c.sum(-1, keepdim=True) * p)


@mistake("markov.kneser_ney", id="kn-lambda-is-d", seen=NOWHERE, fix="D n(h)/c(h)")
def weight_is_the_discount(ids, contexts, vocabulary, discounts=None):
    """λ = D."""
    return climbed(ids, contexts, vocabulary, discounts, lambda c, D, p: spared(c, D) + D * p)


@mistake("markov.kneser_ney", id="kn-no-maximum", seen=NOWHERE, fix="discount what was seen only")
def discount_without_a_count(ids, contexts, vocabulary, discounts=None):
    """c − D also where c = 0."""
    return climbed(
        ids, contexts, vocabulary, discounts, lambda c, D, p: (c - D) / c.sum(-1, keepdim=True) + backed(c, D) * p
    )


@mistake("markov.kneser_ney", id="kn-successors", seen=NOWHERE, fix="count what precedes")
def successors_are_counted(ids, contexts, vocabulary, discounts=None):
    """An n-gram counts the different symbols that follow it."""

    def followed(ids, contexts, vocabulary):
        windows = ids.unfold(0, contexts.shape[-1] + 2, 1).unique(dim=0)
        match = (windows[:, None, :-2] == contexts).all(-1).double()
        return match.T @ torch.nn.functional.one_hot(windows[:, -2], vocabulary).double()

    return climbed(ids, contexts, vocabulary, discounts, lower=followed)


@mistake("markov.kneser_ney", id="kn-continuation-on-top", seen=NOWHERE, fix="the longest contexts count occurrences")
def longest_contexts_count_predecessors(ids, contexts, vocabulary, discounts=None):
    """Different predecessors at every order."""
    return climbed(ids, contexts, vocabulary, discounts, highest=preceded)


@mistake(
    "markov.kneser_ney",
    id="kn-kinds-of-raw-counts",
    seen="nltk/nltk 3.10.4, KneserNey.alpha_gamma",
    fix="n(h) counts the symbols whose own count after h is positive",
)
def kinds_of_another_count(ids, contexts, vocabulary, discounts=None):
    """n(h) counts all symbols that follow, also one that follows only where the text begins and has no predecessor."""
    kinds = iter([counted(ids, last(contexts, k), vocabulary) for k in range(contexts.shape[-1] + 1)])

    def step(c, D, p):
        return spared(c, D) + D * (next(kinds) > 0).sum(-1, keepdim=True) / c.sum(-1, keepdim=True) * p

    return climbed(ids, contexts, vocabulary, discounts, step)


@mistake("markov.kneser_ney", id="kn-no-base", seen=NOWHERE, fix="end at 1/V, or take no discount from single symbols")
def nothing_below_the_symbols(ids, contexts, vocabulary, discounts=None):
    """What the empty context gives away is lost."""
    return climbed(ids, contexts, vocabulary, discounts, base=0.0)


@mistake("markov.kneser_ney", id="kn-unseen-context-zero", seen=NOWHERE, fix="an unseen context gives everything back")
def unseen_context_has_no_future(ids, contexts, vocabulary, discounts=None):
    """A context that never occurred has zeros."""
    seen = counted(ids, contexts, vocabulary).sum(-1, keepdim=True) > 0
    return torch.where(seen, kneser_ney(ids, contexts, vocabulary, discounts), 0.0)


@mistake("markov.kneser_ney", id="kn-wrong-end", seen=NOWHERE, fix="forget the oldest symbol first")
def newest_symbol_forgotten_first(ids, contexts, vocabulary, discounts=None):
    """The shorter context is the longer one without its last symbol."""
    return climbed(ids, contexts, vocabulary, discounts, shorter=lambda contexts, k: contexts[:, :k])


@mistake("markov.kneser_ney", id="kn-one-discount", seen=NOWHERE, fix="a discount for each order, from its own counts")
def one_discount_for_all_orders(ids, contexts, vocabulary, discounts=None):
    """The discount of the longest contexts is used for all."""
    order = contexts.shape[-1]
    discounts = estimated_discounts(ids, order, vocabulary) if discounts is None else discounts
    return kneser_ney(ids, contexts, vocabulary, discounts[-1:].expand(order + 1))


@mistake("markov.kneser_ney", id="kn-discounts-reversed", seen=NOWHERE, fix="discounts[k] is for contexts of k symbols")
def discounts_from_the_longest(ids, contexts, vocabulary, discounts=None):
    """The first discount is that of the longest contexts."""
    return kneser_ney(ids, contexts, vocabulary, None if discounts is None else discounts.flip(0))


@mistake("markov.kneser_ney", id="kn-estimate-without-two", seen=NOWHERE, fix="n₁/(n₁ + 2n₂)")
def estimate_counts_pairs_once(ids, contexts, vocabulary, discounts=None):
    """D = n₁/(n₁ + n₂)."""
    if discounts is None:
        right = estimated_discounts(ids, contexts.shape[-1], vocabulary)
        discounts = 2 * right / (1 + right)
    return kneser_ney(ids, contexts, vocabulary, discounts)


@mistake("markov.kneser_ney", id="kn-circular", seen=NOWHERE, fix="before the first symbol there is nothing")
def text_is_a_circle(ids, contexts, vocabulary, discounts=None):
    """The text goes on with its beginning."""
    return kneser_ney(torch.cat([ids, ids[: contexts.shape[-1]]]), contexts, vocabulary, discounts)


@mistake("markov.kneser_ney", id="kn-zero-is-padding", seen=NOWHERE, fix="every id of the vocabulary is a symbol")
def symbol_zero_is_padding(ids, contexts, vocabulary, discounts=None):
    """Symbol 0 is taken for padding, and not counted."""

    def blind(count):
        return lambda *to_count: count(*to_count) * (torch.arange(vocabulary) > 0)

    return climbed(ids, contexts, vocabulary, discounts, lower=blind(preceded), highest=blind(counted))


@mistake("markov.kneser_ney", id="kn-last-context", seen=NOWHERE, fix="count a context only where a symbol follows")
def last_context_is_empty(ids, contexts, vocabulary, discounts=None):
    """A context that only ends the text has no continuations, and for that reason no distribution."""
    order, c = contexts.shape[-1], counted(ids, contexts, vocabulary)
    stuck = (contexts == ids[len(ids) - order :]).all(-1) & (c.sum(-1) == 0) if order else torch.zeros(len(c)) > 0
    return torch.where(stuck[:, None], 0, kneser_ney(ids, contexts, vocabulary, discounts))


@mistake("markov.kneser_ney", id="kn-estimate-default", seen=NOWHERE, fix="n₁/(n₁ + 2n₂), 0 if n₁ is")
def usual_discount_where_none_is_estimated(ids, contexts, vocabulary, discounts=None):
    """¾ where no n-gram comes once."""
    D = estimated_discounts(ids, contexts.shape[-1], vocabulary) if discounts is None else discounts
    return kneser_ney(ids, contexts, vocabulary, torch.where(D > 0, D, 0.75) if discounts is None else D)
