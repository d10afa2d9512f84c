"""Mistakes in the online softmax, in merging parts, and in attention by tiles; those of its way back are beside."""

from __future__ import annotations

import math

import torch

from reference.flash import merge, online_softmax
from reference.softmax import softmax
from verify.mistake import mistake

NOWHERE = "no public report found"
ONLINE, MERGE, FLASH = "flash.online_softmax", "flash.merge", "flash.flash_attention"
EMPTY = "pytorch/pytorch PR#130014"
BASE = "sgl-project/sglang #33064, #40903; vllm-project/vllm PR#47079"


def finite(m):
    return torch.where(m.isinf(), 0, m)


def decay(top, new):
    """The factor of what was shifted by the maximum before."""
    return torch.exp(top - finite(new))


def running(top, s):
    """The largest score so far, a constant of differentiation."""
    return torch.maximum(top, s.detach().amax(-1, keepdim=True))


def ended(top, total):
    """log Σ e^s, −∞ of nothing."""
    return torch.where(total == 0, -math.inf, finite(top) + torch.log(torch.where(total == 0, 1, total)))


def passed(z, block, peak=running, shrink=decay, base=finite, blocks=None):
    """The pass over blocks: the last maximum, and the sum."""
    top, total = torch.full_like(z[..., :1], -math.inf), torch.zeros_like(z[..., :1])
    for part in blocks or z.split(block, -1):
        new = peak(top, part)
        total = total * shrink(top, new) + torch.exp(part - base(new)).sum(-1, keepdim=True)
        top = new
    return top, total


def weighed(z, top, total):
    """Weights and log Σ exp from a finished pass."""
    sure = torch.where(total == math.inf, math.nan, torch.where(total == 0, 1, total))
    return torch.exp(z - finite(top)) / sure, ended(top, total).squeeze(-1)


@mistake(ONLINE, id="online-no-rescale", seen=NOWHERE, fix="multiply the sum by e^(old − new) when the maximum rises")
def sum_is_not_rescaled(z, block=64):
    """The sum keeps the shift of the maximum that it began with."""
    return weighed(z, *passed(z, block, shrink=lambda top, new: 1.0))


@mistake(ONLINE, id="online-rescale-inverted", seen=NOWHERE, fix="e^(old − new), which is one at most")
def sum_is_rescaled_upwards(z, block=64):
    """e^(new − old)."""
    return weighed(z, *passed(z, block, shrink=lambda top, new: torch.exp(finite(new) - finite(top))))


@mistake(ONLINE, id="online-inf-minus-inf", seen=EMPTY, fix="subtract zero while the maximum is −∞")
def infinity_less_infinity(z, block=64):
    """Of a first block of −∞ alone, NaN is left."""
    return weighed(z, *passed(z, block, shrink=lambda top, new: torch.exp(top - new), base=lambda m: m))


@mistake(ONLINE, id="online-max-frozen", seen=NOWHERE, fix="the maximum of all blocks so far")
def maximum_of_the_first_block(z, block=64):
    """Right while nothing overflows: any shift is."""

    def first(top, part):
        return torch.where(top == -math.inf, running(top, part), top)

    return weighed(z, *passed(z, block, peak=first))


@mistake(ONLINE, id="online-weights-of-the-block", seen=NOWHERE, fix="weights by the last maximum, in the end")
def weights_keep_the_maximum_of_their_time(z, block=64):
    """The weights of early blocks are shifted by an early maximum."""
    top, tops = torch.full_like(z[..., :1], -math.inf), []
    for part in z.split(block, -1):
        top = running(top, part)
        tops.append(finite(top).expand_as(part))
    total = passed(z, block)[1]
    own = torch.exp(z - torch.cat(tops, -1)) / torch.where(total == 0, 1, total)
    return torch.where(total == math.inf, math.nan, own), online_softmax(z, block)[1]


@mistake(ONLINE, id="online-block-softmax", seen=NOWHERE, fix="divide by the sum over all blocks")
def softmax_of_every_block(z, block=64):
    """Each block sums to one."""
    return torch.cat([softmax(part) for part in z.split(block, -1)], -1), online_softmax(z, block)[1]


@mistake(ONLINE, id="lse-without-max", seen=NOWHERE, fix="add the maximum to the logarithm")
def logarithm_of_the_shifted_sum(z, block=64):
    """log l for m + log l."""
    total = passed(z, block)[1].squeeze(-1)
    return online_softmax(z, block)[0], total.log()


@mistake(ONLINE, id="lse-base", seen=BASE, fix="log l + m, both in nats")
def maximum_in_nats_and_sum_in_bits(z, block=64):
    """m + log₂ l."""
    top, total = passed(z, block)
    none = total == 0
    return online_softmax(z, block)[0], torch.where(none, -math.inf, finite(top) + torch.log2(total)).squeeze(-1)


@mistake(ONLINE, id="online-ragged-left-out", seen=NOWHERE, fix="the last block may be shorter")
def whole_blocks_only(z, block=64):
    """The sum ends before the ragged block."""
    size = min(block, z.shape[-1])
    whole = z[..., : z.shape[-1] // size * size].split(size, -1)
    return weighed(z, *passed(z, block, blocks=whole))


@mistake(ONLINE, id="online-ragged-zeros", seen=NOWHERE, fix="fill the last block with −∞, not with zeros")
def last_block_filled_with_zeros(z, block=64):
    """Logits of zero stand where there are none."""
    fill = z.new_zeros(*z.shape[:-1], -z.shape[-1] % block)
    return weighed(z, *passed(z, block, blocks=torch.cat([z, fill], -1).split(block, -1)))


@mistake(ONLINE, id="softmax-infinity-silenced", seen=NOWHERE, fix="∞ − ∞ is undefined: let it be NaN")
def infinite_logit_is_taken_for_a_large_one(z, block=64):
    """+∞ is clamped, and wins."""
    return online_softmax(z.clamp(max=1e300), block)


@mistake(MERGE, id="lse-base", seen=BASE, fix="2^lse for a logarithm to base two, e^lse for a natural one")
def exponentials_to_base_two(o1, lse1, o2, lse2):
    """Natural logarithms are taken for logarithms to base two."""
    out, lse = merge(o1, lse1 * math.log(2), o2, lse2 * math.log(2))
    return out, lse / math.log(2)


@mistake(MERGE, id="lse-double-conversion", seen="meta-pytorch/attention-gym PR#207", fix="convert once")
def converted_twice(o1, lse1, o2, lse2):
    """Natural logarithms are divided by ln 2 as if they had not been made natural already."""
    return merge(o1, lse1 / math.log(2), o2, lse2 / math.log(2))


@mistake(MERGE, id="merge-empty", seen="flashinfer-ai/flashinfer #4051, PR#4054", fix="subtract zero, not −∞")
def two_of_nothing_are_undefined(o1, lse1, o2, lse2):
    """−∞ less −∞ is NaN when both parts are empty."""
    out, lse = merge(o1, lse1, o2, lse2)
    return torch.where((lse == -math.inf)[..., None], math.nan, out), torch.where(lse == -math.inf, math.nan, lse)


@mistake(MERGE, id="merge-empty-read", seen=NOWHERE, fix="zero times what is not there may be NaN: do not read it")
def empty_part_is_multiplied_by_zero(o1, lse1, o2, lse2):
    """The output of a part of no keys is read."""
    out, lse = merge(o1, lse1, o2, lse2)
    return out + 0 * o1 + 0 * o2, lse


@mistake(MERGE, id="merge-overflow", seen=NOWHERE, fix="subtract the larger log-sum-exp first")
def exponentials_unshifted(o1, lse1, o2, lse2):
    """e^lse overflows from 710 on."""
    w1, w2 = lse1.exp()[..., None], lse2.exp()[..., None]
    total = torch.where(w1 + w2 == 0, 1, w1 + w2)
    heard1, heard2 = torch.where(w1 == 0, 0, o1), torch.where(w2 == 0, 0, o2)
    return (w1 * heard1 + w2 * heard2) / total, (lse1.exp() + lse2.exp()).log()


@mistake(MERGE, id="merge-mean", seen=NOWHERE, fix="weigh the outputs by e^lse")
def mean_of_the_outputs(o1, lse1, o2, lse2):
    """As if both parts weighed the same."""
    both = (lse1.isfinite() & lse2.isfinite())[..., None]
    out, lse = merge(o1, lse1, o2, lse2)
    return torch.where(both, (o1 + o2) / 2, out), lse


@mistake(MERGE, id="merge-by-logarithm", seen=NOWHERE, fix="weigh the outputs by e^lse, not by lse")
def weighed_by_the_logarithm(o1, lse1, o2, lse2):
    """lse is taken for the weight."""
    both = (lse1.isfinite() & lse2.isfinite())[..., None]
    out, lse = merge(o1, lse1, o2, lse2)
    own = (lse1[..., None] * o1 + lse2[..., None] * o2) / (lse1 + lse2)[..., None]
    return torch.where(both, own, out), lse


@mistake(MERGE, id="merge-unnormalised", seen=NOWHERE, fix="divide by the sum of the weights")
def not_divided_again(o1, lse1, o2, lse2):
    """o₁ e^(lse₁ − m) + o₂ e^(lse₂ − m), with the larger weight one."""
    out, lse = merge(o1, lse1, o2, lse2)
    top = torch.maximum(lse1, lse2)
    return out * torch.exp(lse - torch.where(top.isinf(), 0, top)).clamp(min=1)[..., None], lse


@mistake(MERGE, id="merge-exchanged", seen=NOWHERE, fix="each output by its own weight")
def weights_exchanged(o1, lse1, o2, lse2):
    """Each output is weighed by the other's log-sum-exp."""
    return merge(o1, lse2, o2, lse1)


@mistake(MERGE, id="merge-lse-max", seen=NOWHERE, fix="log(e^a + e^b)")
def the_larger_logarithm_is_kept(o1, lse1, o2, lse2):
    """max(a, b): what a third part then meets weighs too little."""
    return merge(o1, lse1, o2, lse2)[0], torch.maximum(lse1, lse2)


@mistake(MERGE, id="merge-lse-of-the-last", seen=NOWHERE, fix="log(e^a + e^b)")
def the_logarithm_of_the_last_part_is_kept(o1, lse1, o2, lse2):
    """In a loop over parts the old log-sum-exp is overwritten."""
    return merge(o1, lse1, o2, lse2)[0], torch.where(lse2 == -math.inf, lse1, lse2)


@mistake(MERGE, id="merge-lse-sum", seen=NOWHERE, fix="log(e^a + e^b), not a + b")
def logarithms_added(o1, lse1, o2, lse2):
    """The product of the weights."""
    return merge(o1, lse1, o2, lse2)[0], lse1 + lse2
