"""Mistakes in which token a row of logits is scored against."""

from __future__ import annotations

import torch

from reference.loss import cross_entropy, next_token_loss
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake(
    "loss.next_token_loss",
    id="ce-double-shift",
    seen="huggingface/transformers PR#37830 (JetMoe), PR#47395 (GIT), PR#46898 (Florence-2), all merged",
    fix="shift once: in the model or in the loss",
)
def shifted_twice(z, tokens, ignore_index=-100):
    """The labels come shifted, and the loss shifts them again: row t is scored against token t + 2."""
    later = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=ignore_index)
    return next_token_loss(z, later, ignore_index)


@mistake("loss.next_token_loss", id="ce-no-shift", seen=NOWHERE, fix="row t is scored against token t + 1")
def scored_against_what_it_saw(z, tokens, ignore_index=-100):
    """Row t is scored against token t, which it has read."""
    return cross_entropy(z.flatten(0, 1), tokens.flatten(), ignore_index)


@mistake("loss.next_token_loss", id="ce-shift-backwards", seen=NOWHERE, fix="the targets move, to the left")
def scored_against_the_token_before(z, tokens, ignore_index=-100):
    """Row t is scored against token t − 1."""
    return cross_entropy(z[:, 1:].flatten(0, 1), tokens[:, :-1].flatten(), ignore_index)


@mistake("loss.next_token_loss", id="ce-shift-after-flattening", seen=NOWHERE, fix="shift each sequence, then flatten")
def shifted_across_sequences(z, tokens, ignore_index=-100):
    """The batch is flattened first: the last row of a sequence is scored against the first token of the next one."""
    return cross_entropy(z.flatten(0, 1)[:-1], tokens.flatten()[1:], ignore_index)


@mistake("loss.next_token_loss", id="ce-shift-wraps", seen=NOWHERE, fix="the last row has no target")
def last_row_scored_against_the_first_token(z, tokens, ignore_index=-100):
    """The tokens are rolled, so that the last row is scored against the first token."""
    return cross_entropy(z.flatten(0, 1), tokens.roll(-1, 1).flatten(), ignore_index)


@mistake(
    "loss.next_token_loss",
    id="ppl-batch-macro-average",
    seen="huggingface/transformers #24839",
    fix="a mean over all predicted tokens, not over sequences",
)
def mean_of_sequence_means(z, tokens, ignore_index=-100):
    """Every sequence weighs the same, whatever it counts."""
    some = (tokens[:, 1:] != ignore_index).any(1)
    each = [next_token_loss(z[b : b + 1], tokens[b : b + 1], ignore_index) for b in range(len(z)) if some[b]]
    return torch.stack(each).mean()


@mistake("loss.next_token_loss", id="ce-hardcoded-ignore", seen=NOWHERE, fix="compare with ignore_index")
def next_token_ignores_minus_hundred_only(z, tokens, ignore_index=-100):
    """The mark is −100, whatever is asked for."""
    return next_token_loss(z, tokens)
