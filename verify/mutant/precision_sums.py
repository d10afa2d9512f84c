"""Mistakes in sums that should lose little, and in dot products of narrow formats."""

from __future__ import annotations

import torch

from reference.precision import dot, kahan_sum, pairwise_sum, rounded
from verify.mistake import mistake

NOWHERE = "no public report found"


def compensated(x, corrected, lost):
    """Kahan's loop with another correction, or another loss."""
    s, c = x[..., 0], torch.zeros_like(x[..., 0])
    for term in x[..., 1:].unbind(-1):
        y = corrected(term, c)
        t = s + y
        s, c = t, lost(t, s, y)
    return s


def one_by_one(x):
    """A running sum."""
    total = x[..., 0]
    for term in x[..., 1:].unbind(-1):
        total = total + term
    return total


@mistake("precision.kahan_sum", id="kahan-optimized-away", seen=NOWHERE, fix="no -ffast-math: (t − s) − y is not zero")
def compensation_is_zero(x):
    """A compiler that takes floating-point numbers for real ones removes the compensation."""
    return one_by_one(x)


@mistake("precision.kahan_sum", id="kahan-added", seen=NOWHERE, fix="y = x − c for c = (t − s) − y")
def compensation_is_added(x):
    """What was lost is lost twice."""
    return compensated(x, lambda x, c: x + c, lambda t, s, y: (t - s) - y)


@mistake("precision.kahan_sum", id="kahan-not-carried", seen=NOWHERE, fix="c is kept from step to step")
def compensation_of_the_term_alone(x):
    """c is what the next term has not got: s − t + x, without the correction that was in y."""
    return compensated(x, lambda x, c: x - c, lambda t, s, y: (t - y) - s)


@mistake(
    "precision.kahan_sum", id="kahan-first-twice", seen=NOWHERE, fix="start at the first term and go on at the second"
)
def first_term_twice(x):
    """The sum starts with the first term and the loop too."""
    return kahan_sum(torch.cat([x[..., :1], x], -1))


@mistake("precision.kahan_sum", id="sum-over-rows", seen=NOWHERE, fix="over the last axis")
def over_all_axes(x):
    """All rows together."""
    return kahan_sum(x.reshape(-1)).expand(x.shape[:-1])


@mistake(
    "precision.kahan_sum", id="kahan-detached", seen=NOWHERE, fix="the compensation has no slope, the terms have one"
)
def last_term_has_no_slope(x):
    """The last term is taken for a constant."""
    return kahan_sum(torch.cat([x[..., :-1], x[..., -1:].detach()], -1))


@mistake("precision.kahan_sum", id="kahan-last-lost", seen=NOWHERE, fix="return s, after the last term")
def last_but_one(x):
    """The sum before the last term."""
    return kahan_sum(x[..., :-1]) if x.shape[-1] > 1 else x[..., 0]


@mistake("precision.pairwise_sum", id="pairwise-one-by-one", seen=NOWHERE, fix="halve, do not walk")
def running_sum(x):
    """One by one: n − 1 additions on the way of the first term."""
    return one_by_one(x)


@mistake("precision.pairwise_sum", id="pairwise-base", seen=NOWHERE, fix="a base of 8 to 128 terms, and then pairs")
def pairs_of_long_runs(x):
    """512 terms one by one before anything is halved."""
    return pairwise_sum(torch.stack([one_by_one(part) for part in x.split(512, -1)], -1))


@mistake("precision.pairwise_sum", id="pairwise-odd-lost", seen=NOWHERE, fix="an odd term waits for the next level")
def odd_term_is_lost(x):
    """Of an odd number of terms the last has no partner, and is dropped."""
    while (n := x.shape[-1]) > 1:
        x = x[..., 0 : n - n % 2 : 2] + x[..., 1:n:2]
    return x[..., 0]


@mistake("precision.pairwise_sum", id="pairwise-mean", seen=NOWHERE, fix="add, do not average")
def averaged(x):
    """Every level takes the mean of two."""
    return pairwise_sum(x) / x.shape[-1]


@mistake("precision.pairwise_sum", id="sum-over-rows", seen=NOWHERE, fix="over the last axis")
def rows_together(x):
    """All rows together."""
    return pairwise_sum(x.reshape(-1)).expand(x.shape[:-1])


@mistake(
    "precision.pairwise_sum", id="sum-of-absolute-values", seen=NOWHERE, fix="the bound has magnitudes, the sum has not"
)
def magnitudes(x):
    """Signs are lost."""
    return pairwise_sum(x.abs())


def terms(x, y, format, accumulator, product=None, final=None):
    """Products one after the other, each rounded to `product` and the sum to `accumulator`."""
    x, y = rounded(x, format), rounded(y, format)
    total = torch.zeros_like(x[..., 0])
    for a, b in zip(x.unbind(-1), y.unbind(-1), strict=True):
        term = a * b
        total = total + (term if product is None else rounded(term, product))
        total = total if accumulator is None else rounded(total, accumulator)
    return total if final is None else rounded(total, final)


@mistake("precision.dot", id="dot-rounded-once", seen=NOWHERE, fix="round the sum after every term")
def rounded_at_the_end(x, y, format="e4m3", accumulator="fp32"):
    """The accumulator is float64, and only the result is rounded."""
    return terms(x, y, format, None, accumulator, accumulator)


@mistake("precision.dot", id="dot-fused", seen=NOWHERE, fix="say whether products are rounded; here they are")
def fused(x, y, format="e4m3", accumulator="fp32"):
    """Products are added before they are rounded, as a fused multiply-add does."""
    return terms(x, y, format, accumulator)


@mistake("precision.dot", id="dot-operands-kept", seen=NOWHERE, fix="round the operands to their format")
def operands_are_not_rounded(x, y, format="e4m3", accumulator="fp32"):
    """The operands are used as they are."""
    return terms(x, y, "fp32", accumulator, accumulator)


@mistake("precision.dot", id="dot-one-operand", seen=NOWHERE, fix="both operands have the format")
def one_operand_is_rounded(x, y, format="e4m3", accumulator="fp32"):
    """Weights are narrow, activations are not."""
    products = rounded(rounded(x, format) * y, accumulator)
    total = products[..., 0]
    for product in products[..., 1:].unbind(-1):
        total = rounded(total + product, accumulator)
    return total


@mistake("precision.dot", id="dot-narrow-accumulator", seen=NOWHERE, fix="accumulate in fp32")
def accumulates_in_the_operands_format(x, y, format="e4m3", accumulator="fp32"):
    """The sum is kept in the format of the operands."""
    return dot(x, y, format, format)


@mistake("precision.dot", id="dot-wide-accumulator", seen=NOWHERE, fix="the accumulator is a choice")
def accumulates_in_fp32(x, y, format="e4m3", accumulator="fp32"):
    """The sum is kept in fp32, whatever was asked for."""
    return dot(x, y, format, "fp32")


@mistake("precision.dot", id="dot-saturates", seen=NOWHERE, fix="an overflow must be seen")
def sum_saturates(x, y, format="e4m3", accumulator="fp32"):
    """The accumulator stops at its largest number."""
    x, y = rounded(x, format), rounded(y, format)
    total = torch.zeros_like(x[..., 0])
    for a, b in zip(x.unbind(-1), y.unbind(-1), strict=True):
        total = rounded(total + rounded(a * b, accumulator, overflow="saturate"), accumulator, overflow="saturate")
    return total


@mistake("precision.dot", id="dot-from-the-end", seen=NOWHERE, fix="from the first term to the last")
def from_the_last_term(x, y, format="e4m3", accumulator="fp32"):
    """The order is turned round."""
    return dot(x.flip(-1), y.flip(-1), format, accumulator)


@mistake("precision.dot", id="dot-default", seen=NOWHERE, fix="e4m3 into fp32")
def half_when_left_out(x, y, format="fp16", accumulator="fp32"):
    """Left out, the operands are fp16."""
    return dot(x, y, format, accumulator)
