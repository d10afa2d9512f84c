"""Laws of the penalties of repetition: by a factor, once for each symbol, and for each occurrence."""

from __future__ import annotations

import math

import torch

from reference.softmax import softmax
from verify.compare import close
from verify.sampling_inputs import LOGITS, asked, said_before
from verify.suite import Operation

SAID = torch.tensor([0, 1, 0])


def penalty_by_hand(repetition_penalty, z, tokens, penalty):
    """Penalty 2 halves a positive logit and doubles a negative one, once for each symbol."""
    logits = torch.tensor([2, -2, 1, -1], dtype=torch.float64)
    close(repetition_penalty(logits, torch.tensor([0, 1, 0]), 2.0), torch.tensor([1, -4, 1, -1.0]))


def repeated_symbols_lose(repetition_penalty, z, tokens, penalty):
    """A penalty above one lowers what occurred, one below raises it, and nothing else changes."""
    change = (repetition_penalty(z, tokens, penalty) - z).nan_to_num(0.0)
    occurs = (tokens.unsqueeze(-1) == torch.arange(z.shape[-1])).any(-2)
    assert not change[~occurs].any(), "a symbol that did not occur has changed"
    assert (change * (penalty - 1) <= 0).all(), f"a repeated symbol is rewarded: {change.tolist()}"


def once_however_often(repetition_penalty, z, tokens, penalty):
    """Neither the number of occurrences nor their order matters."""
    twice = torch.cat([tokens, tokens], -1).flip(-1)
    close(repetition_penalty(z, twice, penalty), repetition_penalty(z, tokens, penalty))


def odds_fall_by_the_penalty(presence_penalty, z, tokens, penalty):
    """Weights 3 : 1 : 10 : 6, of which the first two occur, become 1 : ⅓ : 10 : 6 by a penalty of ln 3."""
    left = torch.tensor([3, 1, 30, 18], dtype=torch.float64)
    close(softmax(presence_penalty(LOGITS, SAID, math.log(3))), left / left.sum())


def shift_does_not_matter(penalize, z, tokens, penalty):
    """Subtraction does not ask where zero is: adding one number to all logits adds it to the result."""
    close(penalize(z + 100, tokens, penalty), penalize(z, tokens, penalty) + 100)


def debt_grows_with_every_occurrence(frequency_penalty, z, tokens, penalty):
    """The first symbol occurs twice: by a penalty of ln 3 the weights 3 : 1 : 10 : 6 become ⅓ : ⅓ : 10 : 6."""
    left = torch.tensor([1, 1, 30, 18], dtype=torch.float64)
    close(softmax(frequency_penalty(LOGITS, SAID, math.log(3))), left / left.sum())


def twice_as_often_costs_twice(frequency_penalty, z, tokens, penalty):
    """The same tokens once more, in any order, are as good as the double penalty."""
    twice = torch.cat([tokens, tokens], -1).flip(-1)
    close(frequency_penalty(z, twice, penalty), frequency_penalty(z, tokens, 2 * penalty))


def all_occurrences_are_counted(frequency_penalty, z, tokens, penalty):
    """What the row lost in all is the penalty times its number of tokens."""
    lost = -frequency_penalty(torch.zeros_like(z), tokens, penalty).sum(-1)
    close(lost, torch.full(z.shape[:-1], penalty * tokens.shape[-1]))


OPERATIONS = [
    Operation(
        "sampling.repetition_penalty",
        inputs=asked(said_before(), penalty=[2.0, 1.5, 0.8, 1.0]),
        laws=[penalty_by_hand, repeated_symbols_lose, once_however_often],
        gradients=("z",),
    ),
    Operation(
        "sampling.presence_penalty",
        inputs=asked(said_before(), penalty=[0.5, 0.7, -0.75, 0.0]),
        laws=[odds_fall_by_the_penalty, once_however_often, shift_does_not_matter],
        gradients=("z",),
    ),
    Operation(
        "sampling.frequency_penalty",
        inputs=asked(said_before(), penalty=[0.5, 0.7, -0.75, 0.0]),
        laws=[
            debt_grows_with_every_occurrence,
            twice_as_often_costs_twice,
            all_occurrences_are_counted,
            shift_does_not_matter,
        ],
        gradients=("z",),
    ),
]
