"""Laws of a softmax in one pass, and of merging what is known of two sets of keys."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import tensor
from verify.softmax import (
    BY_HAND,
    equal_logits_count_themselves,
    logits,
    stays_near_the_largest,
)
from verify.suite import Operation


@st.composite
def in_blocks(draw):
    """Logits as for the softmax, and the size of a block."""
    return {**draw(logits()), "block": draw(st.sampled_from([2, 1, 3, 64]))}


@st.composite
def parts(draw):
    """Two outputs and their log-sum-exps, of which some are −∞."""
    shape = draw(st.sampled_from([(3, 2), (2, 3, 5), (4,)]))
    scale, holes = draw(st.sampled_from([1.0, 2.0, 4.0, 200.0])), draw(st.booleans())
    lse1, lse2 = (draw(tensor(*shape[:-1], scale=scale, holes=holes)) for _ in range(2))
    return {"o1": draw(tensor(*shape)), "lse1": lse1, "o2": draw(tensor(*shape)), "lse2": lse2}


def of_its_sum(law):
    """A law of the log-sum-exp, for the second result."""

    def checked(online_softmax, z, block):
        law(lambda z: online_softmax(z, block)[1], z)

    checked.__name__, checked.__doc__ = law.__name__, law.__doc__
    return checked


def weights_by_hand_in_any_blocks(online_softmax, z, block):
    """Logits 0, ln 2, ln 3, in any order and in blocks of one, are weighted 1 : 2 : 3, and sum to ln 6."""
    for size in (1, 2, 3, block):
        weights, total = online_softmax(BY_HAND, size)
        close(weights, torch.tensor([[1, 2, 3], [3, 1, 2]]).double() / 6)
        close(total, math.log(6))


def both_results_belong_together(online_softmax, z, block):
    """The weights are e^(z − lse), and sum to one unless nothing is possible."""
    weights, total = online_softmax(z, block)
    some = total.isfinite()
    close(weights.sum(-1), some.double())
    close(weights, torch.exp(z - torch.where(some, total, 0)[..., None]), scale=1)


def later_is_larger(online_softmax, z, block):
    """Logits that rise by a thousand from block to block do not overflow: the last one has all the weight."""
    steep = torch.arange(z.shape[-1]).double() * 1000 + torch.zeros_like(z[..., :1]).nan_to_num(0, 0, 0)
    weights, total = online_softmax(steep, block)
    close(weights, (torch.arange(z.shape[-1]) == z.shape[-1] - 1).double().expand_as(steep))
    close(total, steep[..., -1])


def blocks_are_nothing(online_softmax, z, block):
    """Blocks of one number, or one block, give the same."""
    for size in (1, z.shape[-1]):
        for ours, theirs in zip(online_softmax(z, size), online_softmax(z, block), strict=True):
            close(ours, theirs, scale=1)


def infinite_logit_leaves_no_distribution(online_softmax, z, block):
    """+∞ against anything is undefined: its row is NaN, and its sum +∞; the others are as they were."""
    infinite = torch.cat([torch.full_like(z[..., :1], math.inf), z[..., 1:]], -1)
    both = online_softmax(torch.stack([infinite, z]), block)
    close(both[0][0], torch.full_like(z, math.nan))
    close(both[1][0], torch.full_like(z[..., 0], math.inf))
    for ours, alone in zip(both, online_softmax(z, block), strict=True):
        close(ours[1], alone)


def weights_add_up(merge, o1, lse1, o2, lse2):
    """What is merged weighs log(e^a + e^b); the output times its weight is the sum of both."""
    out, lse = merge(o1, lse1, o2, lse2)
    close(lse, torch.logaddexp(lse1, lse2))
    weigh = [torch.exp(x - lse)[..., None].nan_to_num(0) for x in (lse1, lse2)]
    close(out, weigh[0] * o1 + weigh[1] * o2, scale=1)


def order_is_nothing(merge, o1, lse1, o2, lse2):
    """The parts may change places."""
    for ours, theirs in zip(merge(o2, lse2, o1, lse1), merge(o1, lse1, o2, lse2), strict=True):
        close(ours, theirs, scale=1)


def grouping_is_nothing(merge, o1, lse1, o2, lse2):
    """Of three parts the first two may be merged first, or the last two."""
    third = (o1.flip(0) - 1, lse2.roll(1) - 0.5)
    left = merge(*merge(o1, lse1, o2, lse2), *third)
    right = merge(o1, lse1, *merge(o2, lse2, *third))
    for ours, theirs in zip(left, right, strict=True):
        close(ours, theirs, scale=1)


def nothing_changes_nothing(merge, o1, lse1, o2, lse2):
    """A part of no keys is not heard, were its output NaN; two of them are a part of no keys, with output zero."""
    none, silent = torch.full_like(lse1, -math.inf), torch.full_like(o1, math.nan)
    for found in (merge(o1, lse1, silent, none), merge(silent, none, o1, lse1)):
        close(found[0], torch.where((lse1 == -math.inf)[..., None], 0, o1))
        close(found[1], lse1)
    out, lse = merge(silent, none, o2, none)
    close(out, torch.zeros_like(o1))
    close(lse, none)


def common_weight_moves_along(merge, o1, lse1, o2, lse2):
    """A thousand added to both log-sum-exps is added to theirs, and the output stays."""
    out, lse = merge(o1, lse1 + 1000, o2, lse2 + 1000)
    close(out, merge(o1, lse1, o2, lse2)[0], scale=1)
    close(lse - 1000, merge(o1, lse1, o2, lse2)[1], scale=1000)


def three_to_one_by_hand(merge, o1, lse1, o2, lse2):
    """Weights 3 and 1 average 2 and 6 to 3, and weigh ln 4."""
    out, lse = merge(
        torch.full_like(o1, 2), torch.full_like(lse1, math.log(3)), torch.full_like(o2, 6), torch.zeros_like(lse2)
    )
    close(out, 3.0)
    close(lse, math.log(4))


OPERATIONS = [
    Operation(
        "flash.online_softmax",
        inputs=in_blocks(),
        laws=[
            weights_by_hand_in_any_blocks,
            both_results_belong_together,
            later_is_larger,
            blocks_are_nothing,
            infinite_logit_leaves_no_distribution,
            of_its_sum(stays_near_the_largest),
            of_its_sum(equal_logits_count_themselves),
        ],
        gradients=("z",),
    ),
    Operation(
        "flash.merge",
        inputs=parts(),
        laws=[
            weights_add_up,
            order_is_nothing,
            grouping_is_nothing,
            nothing_changes_nothing,
            common_weight_moves_along,
            three_to_one_by_hand,
        ],
        gradients=("o1", "o2"),
        unit=1,
    ),
]
