"""Mistakes in the Markov model's probabilities and in perplexity."""

from __future__ import annotations

import math

import torch

from reference.markov import bits_per_character, perplexity, probabilities, surprise
from verify.mistake import mistake

NOWHERE = "no public report found"


def counted(ids, contexts, vocabulary):
    """How often each symbol follows each context, B × V."""
    k = contexts.shape[-1]
    windows = ids.unfold(0, k + 1, 1)
    match = (windows[:, None, :k] == contexts).all(-1).double()
    return match.T @ torch.nn.functional.one_hot(windows[:, k], vocabulary).double()


@mistake("markov.probabilities", id="laplace-v-wrong", seen=NOWHERE, fix="V is the size of the event space")
def smoothed_by_the_symbols_seen(ids, contexts, vocabulary, alpha=0.0):
    """V in the denominator counts only the symbols that occur."""
    count = counted(ids, contexts, vocabulary)
    return (count + alpha) / (count.sum(-1, keepdim=True) + alpha * len(ids.unique()))


@mistake("markov.probabilities", id="laplace-numerator-only", seen=NOWHERE, fix="add αV to the denominator")
def smoothed_in_the_numerator_only(ids, contexts, vocabulary, alpha=0.0):
    """(c + α)/N."""
    count = counted(ids, contexts, vocabulary)
    return (count + alpha) / count.sum(-1, keepdim=True)


@mistake("markov.probabilities", id="laplace-one-for-all", seen=NOWHERE, fix="add αV, not V, to the denominator")
def smoothed_as_if_alpha_were_one(ids, contexts, vocabulary, alpha=0.0):
    """(c + α)/(N + V) for every α > 0."""
    count = counted(ids, contexts, vocabulary)
    return (count + alpha) / (count.sum(-1, keepdim=True) + (vocabulary if alpha else 0))


@mistake("markov.probabilities", id="markov-reads-backwards", seen=NOWHERE, fix="the context precedes the symbol")
def conditioned_on_what_follows(ids, contexts, vocabulary, alpha=0.0):
    """The text is read from its end."""
    return probabilities(ids.flip(0), contexts, vocabulary, alpha=alpha)


@mistake("markov.probabilities", id="markov-context-reversed", seen=NOWHERE, fix="the oldest symbol comes first")
def context_reversed(ids, contexts, vocabulary, alpha=0.0):
    """The most recent symbol is taken for the first: visible from two symbols on."""
    return probabilities(ids, contexts.flip(-1), vocabulary, alpha=alpha)


@mistake("markov.probabilities", id="markov-order-short", seen=NOWHERE, fix="use all k symbols of the context")
def only_the_last_symbol_counts(ids, contexts, vocabulary, alpha=0.0):
    """A context of two symbols is cut to one."""
    return probabilities(ids, contexts[:, -1:], vocabulary, alpha=alpha)


@mistake("markov.probabilities", id="markov-joint", seen=NOWHERE, fix="divide by the count of the context")
def divided_by_all_windows(ids, contexts, vocabulary, alpha=0.0):
    """The joint instead of the conditional probability."""
    windows = len(ids) - contexts.shape[-1]
    return (counted(ids, contexts, vocabulary) + alpha) / (windows + alpha * vocabulary)


@mistake(
    "markov.probabilities", id="markov-last-context", seen=NOWHERE, fix="count a context only where a symbol follows"
)
def divided_by_occurrences_of_the_context(ids, contexts, vocabulary, alpha=0.0):
    """A context at the end of the text, followed by nothing, is counted too."""
    k = contexts.shape[-1]
    ends = (ids[len(ids) - k :] == contexts).all(-1, keepdim=True).double() if k else 0
    count = counted(ids, contexts, vocabulary)
    return (count + alpha) / (count.sum(-1, keepdim=True) + ends + alpha * vocabulary)


@mistake("markov.probabilities", id="markov-circular", seen=NOWHERE, fix="the last symbol has no successor")
def text_wraps_around(ids, contexts, vocabulary, alpha=0.0):
    """The text is taken for a circle."""
    return probabilities(torch.cat([ids, ids[: contexts.shape[-1]]]), contexts, vocabulary, alpha=alpha)


@mistake("markov.probabilities", id="markov-unseen-zero", seen=NOWHERE, fix="0/0 is undefined: smooth or say so")
def unseen_context_has_no_future(ids, contexts, vocabulary, alpha=0.0):
    """An unseen context is given zeros, a row that does not sum to one."""
    return probabilities(ids, contexts, vocabulary, alpha=alpha).nan_to_num(0)


@mistake("markov.probabilities", id="markov-hash-collision", seen=NOWHERE, fix="distinguish contexts exactly")
def contexts_share_a_bucket(ids, contexts, vocabulary, alpha=0.0):
    """Symbols are hashed to two buckets before they are compared."""
    k = contexts.shape[-1]
    windows = ids.unfold(0, k + 1, 1)
    match = (windows[:, None, :k] % 2 == contexts % 2).all(-1).double()
    count = match.T @ torch.nn.functional.one_hot(windows[:, k], vocabulary).double()
    return (count + alpha) / (count.sum(-1, keepdim=True) + alpha * vocabulary)


@mistake("markov.probabilities", id="markov-symbol-shifted", seen=NOWHERE, fix="column i belongs to symbol i")
def columns_counted_from_one(ids, contexts, vocabulary, alpha=0.0):
    """Symbol i is written to column i + 1, the last to itself."""
    count = counted((ids + 1).clamp(max=vocabulary - 1), (contexts + 1).clamp(max=vocabulary - 1), vocabulary)
    return (count + alpha) / (count.sum(-1, keepdim=True) + alpha * vocabulary)


@mistake("markov.perplexity", id="ppl-mean-of-exp", seen="magenta/magenta PR#239", fix="exp of the mean")
def mean_of_exponentials(log_probabilities):
    """The mean of the exponentials."""
    return (-log_probabilities).exp().mean()


@mistake("markov.perplexity", id="ppl-log-base-mix", seen=NOWHERE, fix="exponentiate in the logarithm's own base")
def logarithm_to_ten_exponential_to_e(log_probabilities):
    """exp of a mean of decimal logarithms."""
    return perplexity(log_probabilities / math.log(10))


@mistake("markov.perplexity", id="ppl-power-of-two", seen=NOWHERE, fix="exponentiate in the logarithm's own base")
def power_of_two_of_nats(log_probabilities):
    """2 to a mean of natural logarithms."""
    return perplexity(log_probabilities * math.log(2))


@mistake("markov.perplexity", id="ppl-inverse", seen=NOWHERE, fix="exp(−mean)")
def sign_forgotten(log_probabilities):
    """The mean probability instead of its inverse."""
    return perplexity(-log_probabilities)


@mistake("markov.perplexity", id="ppl-sum", seen=NOWHERE, fix="divide by the number of symbols")
def exponential_of_the_sum(log_probabilities):
    """The inverse probability of the whole text."""
    return (-log_probabilities.sum()).exp()


@mistake(
    "markov.perplexity",
    id="ppl-batch-macro-average",
    seen="huggingface/transformers #24839; by the mean length of each batch: macournoyer/neuralconvo #67",
    fix="divide the sum over all symbols by their number",
)
def mean_of_batch_means(log_probabilities):
    """Batches of two, the last perhaps shorter, count the same."""
    return perplexity(torch.stack([part.mean() for part in log_probabilities.split(2)]))


@mistake(
    "markov.perplexity",
    id="ppl-truncated-numerator",
    seen="facebookresearch/lingua #46",
    fix="the same symbols in the sum and in its length",
)
def truncated_sum_over_full_length(log_probabilities):
    """The sum leaves out what exceeds the context of four, the length does not."""
    return (-log_probabilities[:4].sum() / len(log_probabilities)).exp()


@mistake("markov.perplexity", id="ppl-skips-impossible", seen=NOWHERE, fix="a probability of zero is infinitely bad")
def impossible_symbols_are_skipped(log_probabilities):
    """Infinite losses are filtered out as outliers."""
    return perplexity(log_probabilities[log_probabilities.isfinite()])


def followed(ids, text, order, vocabulary):
    """How often each symbol of the text followed its context in ids, and how often anything did."""
    windows = text.unfold(0, order + 1, 1)
    count = counted(ids, windows[:, :order], vocabulary)
    return count.gather(1, windows[:, order:]).squeeze(1), count.sum(1)


@mistake("markov.surprise", id="markov-nll-denominator", seen=NOWHERE, fix="add αV, not α, to the denominator")
def normalized_by_one_alpha(ids, text, order, vocabulary, alpha=0.0):
    """(c + α)/(N + α)."""
    here, total = followed(ids, text, order, vocabulary)
    return -torch.log((here + alpha) / (total + alpha))


@mistake("markov.surprise", id="markov-nll-joint", seen=NOWHERE, fix="divide by the count of the context")
def surprise_at_the_whole_window(ids, text, order, vocabulary, alpha=0.0):
    """The symbol and its context are both found surprising."""
    here, _ = followed(ids, text, order, vocabulary)
    return -torch.log((here + alpha) / (len(ids) - order + alpha * vocabulary))


@mistake("markov.surprise", id="markov-nll-bits", seen=NOWHERE, fix="natural logarithms throughout")
def surprise_in_bits(ids, text, order, vocabulary, alpha=0.0):
    """Logarithms to base two."""
    return surprise(ids, text, order, vocabulary, alpha) / math.log(2)


@mistake("markov.surprise", id="markov-nll-own-counts", seen=NOWHERE, fix="never train on what is judged")
def judged_by_its_own_counts(ids, text, order, vocabulary, alpha=0.0):
    """The text that is judged is counted as well."""
    return surprise(torch.cat([ids, text]), text, order, vocabulary, alpha)


@mistake("markov.surprise", id="markov-nll-skips-impossible", seen=NOWHERE, fix="probability zero is infinitely bad")
def impossible_costs_nothing(ids, text, order, vocabulary, alpha=0.0):
    """Infinite losses are set to zero."""
    return surprise(ids, text, order, vocabulary, alpha).nan_to_num(nan=math.nan, posinf=0.0)


@mistake("markov.surprise", id="markov-nll-sorted", seen=NOWHERE, fix="one loss a symbol, in the order of the text")
def sorted_as_the_table_is(ids, text, order, vocabulary, alpha=0.0):
    """Losses come in the order of the n-grams, not of the text."""
    windows = text.unfold(0, order + 1, 1)
    key = (windows * vocabulary ** torch.arange(order, -1, -1)).sum(1)
    return surprise(ids, text, order, vocabulary, alpha)[key.argsort(stable=True)]


@mistake("markov.surprise", id="markov-nll-off-by-one", seen=NOWHERE, fix="the context ends before the symbol")
def symbol_predicts_itself(ids, text, order, vocabulary, alpha=0.0):
    """The context includes the symbol to be predicted."""
    return surprise(ids, text.roll(-1), order, vocabulary, alpha)


@mistake("markov.surprise", id="markov-keys-overflow", seen=NOWHERE, fix="number n-grams anew before 64 bits are full")
def numbered_without_care(ids, text, order, vocabulary, alpha=0.0):
    """An n-gram is one number of 64 bits, however large the vocabulary: the first symbols are pushed out."""
    powers = torch.tensor(vocabulary) ** torch.arange(order, -1, -1)
    read, asked = (x.unfold(0, order + 1, 1) * powers for x in (ids, text))
    here, there = ((asked[:, :k].sum(1)[:, None] == read[:, :k].sum(1)).double().sum(1) for k in (order + 1, order))
    return -torch.log((here + alpha) / (there + alpha * vocabulary))


@mistake("markov.bits_per_character", id="markov-bpc-nats", seen=NOWHERE, fix="divide by log 2")
def nats_for_bits(log_probabilities):
    """Natural logarithms, called bits."""
    return -log_probabilities.mean()


@mistake("markov.bits_per_character", id="markov-bpc-upside-down", seen=NOWHERE, fix="divide by log 2")
def multiplied_by_log_two(log_probabilities):
    """The factor between nats and bits upside down."""
    return -log_probabilities.mean() * math.log(2)


@mistake("markov.bits_per_character", id="markov-bpc-sum", seen=NOWHERE, fix="divide by the number of characters")
def bits_of_the_whole_text(log_probabilities):
    """The bits of the text, not of a character."""
    return bits_per_character(log_probabilities) * len(log_probabilities)


@mistake("markov.bits_per_character", id="markov-bpc-finite", seen=NOWHERE, fix="probability zero is infinitely bad")
def impossible_characters_are_skipped(log_probabilities):
    """Infinite losses are filtered out as outliers."""
    return bits_per_character(log_probabilities[log_probabilities.isfinite()])
