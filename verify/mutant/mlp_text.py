"""Mistakes in how the neural language model meets a text: contexts, loss, and surprise at every symbol."""

from __future__ import annotations

import math

import torch

from reference.loss import cross_entropy
from reference.mlp import logits, loss, surprise, windows
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake("mlp.windows", id="mlp-target-leaks", seen=NOWHERE, fix="the context ends before the symbol to be predicted")
def target_is_in_the_context(ids, k):
    """The context includes the symbol to be predicted."""
    contexts, target = windows(ids, k)
    return torch.cat([contexts[:, 1:], target[:, None]], 1), target


@mistake("mlp.windows", id="ce-no-shift", seen=NOWHERE, fix="the target is the symbol after the context")
def last_symbol_is_the_target(ids, k):
    """The context's own last symbol is to be predicted."""
    contexts, _ = windows(ids, k)
    return contexts, contexts[:, -1]


@mistake(
    "mlp.windows",
    id="ce-double-shift",
    seen="huggingface/transformers PR#37830, PR#47395, PR#46898",
    fix="shift once",
)
def two_symbols_ahead(ids, k):
    """The text is shifted twice: the symbol after the next is to be predicted."""
    contexts, target = windows(ids, k)
    return contexts[:-1], target[1:]


@mistake("mlp.windows", id="mlp-text-wraps", seen=NOWHERE, fix="the first k symbols have no whole context")
def text_is_a_circle(ids, k):
    """The first symbols are predicted from the end of the text."""
    return windows(torch.cat([ids[len(ids) - k :], ids]), k)


@mistake("mlp.windows", id="mlp-padded-with-a-symbol", seen=NOWHERE, fix="pad with no symbol of the vocabulary")
def padded_with_symbol_zero(ids, k):
    """The first symbols are predicted after symbol 0, k times, which never was in the text."""
    return windows(torch.cat([ids.new_zeros(k), ids]), k)


@mistake("mlp.windows", id="mlp-last-window-lost", seen=NOWHERE, fix="a text of N symbols has N − k windows")
def last_window_is_lost(ids, k):
    """range(N − k − 1): the last symbol is never predicted."""
    contexts, target = windows(ids, k)
    return contexts[:-1], target[:-1]


@mistake("mlp.windows", id="mlp-jumps", seen=NOWHERE, fix="a window starts at every symbol")
def windows_do_not_overlap(ids, k):
    """The text is cut into pieces, of which only the last symbol is predicted."""
    contexts, target = windows(ids, k)
    return contexts[:: k + 1], target[:: k + 1]


@mistake("mlp.loss", id="mlp-loss-sum", seen=NOWHERE, fix="divide by the number of rows")
def sum_over_the_batch(tokens, target, *parameters, **options):
    """The sum over rows: twice the batch is twice the step."""
    return loss(tokens, target, *parameters, **options) * len(target)


@mistake("mlp.loss", id="ce-mean-over-classes", seen=NOWHERE, fix="divide by N, not by N·V")
def mean_over_rows_and_symbols(tokens, target, embedding, *rest, **options):
    """The mean is over all entries of the one-hot product."""
    return loss(tokens, target, embedding, *rest, **options) / len(embedding)


@mistake(
    "mlp.loss",
    id="ce-double-softmax",
    seen="tflearn/tflearn PR#562; Lightning-Universe/lightning-bolts #654",
    fix="pass logits, not probabilities",
)
def softmax_of_softmax(tokens, target, *parameters, **options):
    """Probabilities are taken for logits."""
    return cross_entropy(torch.softmax(logits(tokens, *parameters, **options), -1), target)


@mistake("mlp.loss", id="ce-out-of-step", seen=NOWHERE, fix="row t is scored against its own target")
def scored_against_the_next_row(tokens, target, *parameters, **options):
    """Rows and targets are out of step by one."""
    return loss(tokens, target.roll(-1), *parameters, **options)


@mistake("mlp.loss", id="mlp-target-leaks", seen=NOWHERE, fix="the context ends before the symbol to be predicted")
def target_is_read(tokens, target, *parameters, **options):
    """The contexts are one symbol too far: they end with the target."""
    return loss(torch.cat([tokens[:, 1:], target[:, None]], 1), target, *parameters, **options)


@mistake("mlp.loss", id="mlp-zero-ignored", seen=NOWHERE, fix="symbol 0 is no padding")
def symbol_zero_is_ignored(tokens, target, *parameters, **options):
    """Rows whose target is symbol 0 do not count."""
    return cross_entropy(logits(tokens, *parameters, **options), target, ignore_index=0)


@mistake("mlp.loss", id="mlp-mean-of-probabilities", seen=NOWHERE, fix="the mean of logarithms")
def logarithm_of_the_mean(tokens, target, *parameters, **options):
    """−log of the mean probability of the targets."""
    p = torch.softmax(logits(tokens, *parameters, **options), -1)
    return -torch.log(p.gather(1, target[:, None]).mean())


@mistake("mlp.loss", id="ce-bits", seen=NOWHERE, fix="natural logarithm, or say bits")
def loss_in_bits(tokens, target, *parameters, **options):
    """Bits are reported as nats."""
    return loss(tokens, target, *parameters, **options) / math.log(2)


@mistake("mlp.loss", id="mlp-decay-in-the-loss", seen=NOWHERE, fix="AdamW decays: no penalty in the loss beside it")
def penalty_added(tokens, target, embedding, *rest, **options):
    """A penalty on the table is added, and reported as surprise."""
    return loss(tokens, target, embedding, *rest, **options) + 1e-3 * (embedding**2).sum()


@mistake("mlp.surprise", id="mlp-context-reversed", seen=NOWHERE, fix="read the oldest symbol first, as in training")
def contexts_reversed(ids, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """Contexts are read newest first, by weights that were trained oldest first."""
    contexts, target = windows(ids, w1.shape[1])
    z = logits(contexts.flip(1), embedding, w1, b1, w2, b2, direct, deep_w, deep_b)
    return -z.log_softmax(-1).gather(1, target[:, None]).squeeze(1)


@mistake("mlp.surprise", id="mlp-nll-leak", seen=NOWHERE, fix="the context ends before the symbol")
def symbol_predicts_itself(ids, embedding, w1, *rest, **options):
    """The context includes the symbol to be predicted."""
    contexts, target = windows(ids, w1.shape[1])
    z = logits(torch.cat([contexts[:, 1:], target[:, None]], 1), embedding, w1, *rest, **options)
    return -z.log_softmax(-1).gather(1, target[:, None]).squeeze(1)


@mistake("mlp.surprise", id="mlp-contexts-restart", seen=NOWHERE, fix="carry the context over the end of a batch")
def batches_start_anew(ids, embedding, w1, *rest, **options):
    """The text is cut into batches, and each starts without a context: k symbols a batch are not judged."""
    k = w1.shape[1]
    halves = [part for part in ids.chunk(2) if len(part) > k]
    nats = [surprise(part, embedding, w1, *rest, **options) for part in halves]
    return torch.cat(nats) if nats else surprise(ids, embedding, w1, *rest, **options)[:0]


@mistake("mlp.surprise", id="mlp-whole-batches-only", seen=NOWHERE, fix="judge the last, short batch as well")
def short_batch_is_dropped(ids, embedding, *rest, **options):
    """Only whole batches of four are judged."""
    nats = surprise(ids, embedding, *rest, **options)
    return nats[: len(nats) // 4 * 4]


@mistake("mlp.surprise", id="markov-nll-bits", seen=NOWHERE, fix="natural logarithms throughout")
def surprise_in_bits(ids, *parameters, **options):
    """Logarithms to base two."""
    return surprise(ids, *parameters, **options) / math.log(2)


@mistake("mlp.surprise", id="mlp-batch-mean", seen=NOWHERE, fix="one number a symbol; average once, at the end")
def mean_for_every_symbol(ids, *parameters, **options):
    """Every symbol is given the mean of its batch of four: short batches then weigh as much."""
    return torch.cat([part.mean().expand(len(part)) for part in surprise(ids, *parameters, **options).split(4)])


@mistake("mlp.surprise", id="mlp-padded-with-a-symbol", seen=NOWHERE, fix="judge what has a whole context")
def first_symbols_judged_after_padding(ids, embedding, w1, *rest, **options):
    """The first k symbols are judged too, after symbol 0."""
    return surprise(torch.cat([ids.new_zeros(w1.shape[1]), ids]), embedding, w1, *rest, **options)


@mistake("mlp.surprise", id="softmax-no-max", seen=NOWHERE, fix="stay in logarithms")
def probability_rounds_to_zero(ids, embedding, w1, *rest, **options):
    """log of a probability plus 1e-10: no symbol costs more than 23 nats."""
    contexts, target = windows(ids, w1.shape[1])
    p = torch.softmax(logits(contexts, embedding, w1, *rest, **options), -1)
    return -torch.log(p.gather(1, target[:, None]).squeeze(1) + 1e-10)
