"""Mistakes in the penalties of repetition."""

from __future__ import annotations

import torch

from reference.sampling import frequency_penalty, presence_penalty
from verify.mistake import mistake

NOWHERE = "no public report found"


def penalized(z, tokens, worse):
    """The logits of the tokens that occur, made worse."""
    occurs = (tokens.unsqueeze(-1) == torch.arange(z.shape[-1])).any(-2)
    return torch.where(occurs, worse, z)


@mistake(
    "sampling.repetition_penalty",
    id="rep-penalty-negative",
    seen="huggingface/transformers #2302 / PR#2303 (merged); NVIDIA-NeMo/Speech #8194; IEIT-Yuan/Yuan-2.0 PR#112",
    fix="divide where z > 0, multiply where z < 0",
)
def negative_logits_divided(z, tokens, penalty):
    """z/penalty for all: a negative logit grows."""
    return penalized(z, tokens, z / penalty)


@mistake("sampling.repetition_penalty", id="rep-penalty-per-occurrence", seen=NOWHERE, fix="once for each symbol")
def once_for_every_occurrence(z, tokens, penalty):
    """The penalty is applied in a loop over the tokens."""
    times = (tokens.unsqueeze(-1) == torch.arange(z.shape[-1])).sum(-2)
    return torch.where(z > 0, z / penalty**times, z * penalty**times)


@mistake("sampling.repetition_penalty", id="rep-penalty-inverted", seen=NOWHERE, fix="divide where z > 0")
def repetition_rewarded(z, tokens, penalty):
    """Multiplied where it should be divided, and the reverse."""
    return penalized(z, tokens, torch.where(z > 0, z * penalty, z / penalty))


@mistake("sampling.repetition_penalty", id="rep-penalty-subtracted", seen=NOWHERE, fix="that is the presence penalty")
def subtracted(z, tokens, penalty):
    """z − penalty, which depends on the scale of the logits."""
    return penalized(z, tokens, z - penalty)


@mistake("sampling.repetition_penalty", id="rep-penalty-whole-batch", seen=NOWHERE, fix="each row has its own tokens")
def tokens_of_all_rows(z, tokens, penalty):
    """What any row has said is penalized in all."""
    return penalized(z, tokens.reshape(-1), torch.where(z > 0, z / penalty, z * penalty))


def counted(z, tokens):
    """How often each symbol occurs."""
    return (tokens.unsqueeze(-1) == torch.arange(z.shape[-1])).sum(-2)


@mistake("sampling.presence_penalty", id="presence-per-occurrence", seen=NOWHERE, fix="once for each symbol")
def once_more_for_every_occurrence(z, tokens, penalty):
    """The penalty is subtracted as often as the symbol occurs: that is the frequency penalty."""
    return frequency_penalty(z, tokens, penalty)


@mistake(
    "sampling.presence_penalty",
    id="penalty-negative-skipped",
    seen="vllm-project/vllm PR#913 (merged)",
    fix="a negative penalty is a reward: skip 0 only",
)
def negative_penalty_skipped(z, tokens, penalty):
    """Nothing is done unless the penalty is above zero."""
    return presence_penalty(z, tokens, max(penalty, 0.0))


@mistake("sampling.presence_penalty", id="penalty-sign", seen=NOWHERE, fix="subtract it")
def presence_rewarded(z, tokens, penalty):
    """The penalty is added."""
    return presence_penalty(z, tokens, -penalty)


@mistake("sampling.presence_penalty", id="presence-as-factor", seen=NOWHERE, fix="subtract from the logits")
def divided_like_a_repetition_penalty(z, tokens, penalty):
    """The logit is divided by 1 + penalty where it is positive and multiplied where it is negative."""
    factor = 1 + penalty
    return penalized(z, tokens, torch.where(z > 0, z / factor, z * factor))


@mistake("sampling.presence_penalty", id="penalty-whole-batch", seen=NOWHERE, fix="each row has its own tokens")
def presence_in_any_row(z, tokens, penalty):
    """What any row has said is penalized in all."""
    return penalized(z, tokens.reshape(-1), z - penalty)


@mistake("sampling.presence_penalty", id="presence-last-token", seen=NOWHERE, fix="all tokens so far count")
def only_the_last_token_counts(z, tokens, penalty):
    """Only the token before is looked at."""
    return presence_penalty(z, tokens[..., -1:], penalty)


@mistake(
    "sampling.frequency_penalty",
    id="frequency-once",
    seen="mlc-ai/mlc-llm PR#1693 (the presence penalty was passed for both)",
    fix="multiply by the number of occurrences",
)
def once_for_every_symbol(z, tokens, penalty):
    """The penalty is subtracted once: that is the presence penalty."""
    return presence_penalty(z, tokens, penalty)


@mistake("sampling.frequency_penalty", id="frequency-relative", seen=NOWHERE, fix="the count, not the share")
def share_of_the_tokens(z, tokens, penalty):
    """The penalty is multiplied by the symbol's share of the tokens."""
    return z - penalty * counted(z, tokens) / max(tokens.shape[-1], 1)


@mistake("sampling.frequency_penalty", id="frequency-on-probabilities", seen=NOWHERE, fix="subtract from the logits")
def subtracted_from_probabilities(z, tokens, penalty):
    """The debt is taken from the probability."""
    return (torch.softmax(z, -1) - penalty * counted(z, tokens)).clamp(min=0).log()


@mistake("sampling.frequency_penalty", id="frequency-overwritten", seen=NOWHERE, fix="scatter_add, not an assignment")
def repeated_index_subtracts_once(z, tokens, penalty):
    """z[tokens] -= penalty: a repeated index is written once."""
    return z.scatter(-1, tokens, z.gather(-1, tokens) - penalty)


@mistake("sampling.frequency_penalty", id="penalty-negative-skipped", seen="vllm-project/vllm PR#913 (merged)",
         fix="a negative penalty is a reward: skip 0 only")  # fmt: skip
def negative_frequency_skipped(z, tokens, penalty):
    """Nothing is done unless the penalty is above zero."""
    return frequency_penalty(z, tokens, max(penalty, 0.0))


@mistake("sampling.frequency_penalty", id="penalty-whole-batch", seen=NOWHERE, fix="each row has its own tokens")
def counts_of_all_rows(z, tokens, penalty):
    """What all rows have said is counted together."""
    return z - penalty * counted(z, tokens.reshape(-1))


@mistake("sampling.frequency_penalty", id="frequency-compounds", seen=NOWHERE, fix="subtract; do not divide each time")
def divided_for_every_occurrence(z, tokens, penalty):
    """The logit is divided by 1 + penalty for every occurrence, as if zero were its floor."""
    return z / (1 + penalty) ** counted(z, tokens)
