"""Laws of the cross-entropy and of its gradient by hand."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.loss import cross_entropy
from verify.compare import GAP, close
from verify.inputs import integers, tensor
from verify.suite import Operation

BY_HAND = torch.tensor([[0.0, math.log(2), math.log(3)], [0.0, 0.0, 0.0]], dtype=torch.float64)
RIGHT = torch.tensor([2, 0])


@st.composite
def batch(draw):
    """Logits of ordinary, tiny and overflowing size with a target each."""
    rows, vocabulary = draw(st.sampled_from([(2, 3), (4, 5), (3, 7)]))
    z = draw(tensor(rows, vocabulary, scale=draw(st.sampled_from([1.0, 0.01, 250.0]))))
    return {"z": z, "target": draw(integers(rows, below=vocabulary))}


def ignorance_costs_log_v(cross_entropy, z, target):
    """Equal logits cost ln V nats, whatever the target."""
    close(cross_entropy(torch.full_like(z, 3.0), target), math.log(z.shape[-1]))


def certainty_costs_nothing(cross_entropy, z, target):
    """A target far above the rest costs zero, and its neighbour the distance."""
    sure = 2000.0 * torch.nn.functional.one_hot(target, z.shape[-1]).double()
    close(cross_entropy(sure, target), 0.0)
    close(cross_entropy(sure, (target + 1) % z.shape[-1]), 2000.0)


def two_rows_by_hand(cross_entropy, z, target):
    """Probabilities 1/2 and 1/3 cost (ln 2 + ln 3)/2."""
    close(cross_entropy(BY_HAND, RIGHT), (math.log(2) + math.log(3)) / 2)


def twice_the_batch_costs_the_same(cross_entropy, z, target):
    """It is a mean: the same rows once more change nothing."""
    close(cross_entropy(z.repeat(2, 1), target.repeat(2)), cross_entropy(z, target))


def shift_costs_nothing(cross_entropy, z, target):
    """Adding one number to all logits of a row changes nothing."""
    close(cross_entropy(z + 1000, target), cross_entropy(z, target), scale=1)


def rows_sum_to_zero(gradient, z, target):
    """A shift of all logits costs nothing, so the slope along it is zero."""
    close(gradient(z, target).sum(-1), torch.zeros(len(z)).double(), scale=1)


def only_the_target_gains(gradient, z, target):
    """Raising the target's logit lowers the loss, raising another raises it."""
    others = torch.nn.functional.one_hot(target, z.shape[-1]) == 0
    slope = gradient(z, target)
    assert (slope[others] >= -GAP).all(), f"a wrong class gains: {slope}"
    assert (slope[~others] <= GAP).all(), f"the target loses: {slope}"


def two_slopes_by_hand(gradient, z, target):
    """(p − y)/2 for the probabilities 1/6, 1/3, 1/2 and 1/3, 1/3, 1/3."""
    close(gradient(BY_HAND, RIGHT), torch.tensor([[1, 2, -3], [-4, 2, 2]]).double() / 12)


def twice_the_batch_halves_the_slope(gradient, z, target):
    """Each row's share of a mean over twice as many rows is half."""
    close(gradient(z.repeat(2, 1), target.repeat(2)), gradient(z, target).repeat(2, 1) / 2, scale=1)


OPERATIONS = [
    Operation(
        "loss.cross_entropy",
        inputs=batch(),
        laws=[
            ignorance_costs_log_v,
            certainty_costs_nothing,
            two_rows_by_hand,
            twice_the_batch_costs_the_same,
            shift_costs_nothing,
        ],
        gradients=("z",),
        conventions={"the sum over rows, not their mean": lambda z, target: cross_entropy(z, target) * len(z)},
        unit=1,
    ),
    Operation(
        "loss.cross_entropy_gradient",
        inputs=batch(),
        laws=[rows_sum_to_zero, only_the_target_gains, two_slopes_by_hand, twice_the_batch_halves_the_slope],
        gradients=("z",),
        unit=1,
    ),
]
