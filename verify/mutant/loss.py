"""Mistakes in the cross-entropy and in its gradient by hand."""

from __future__ import annotations

import math

from reference.loss import cross_entropy, cross_entropy_gradient
from reference.softmax import softmax
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake(
    "loss.cross_entropy",
    id="ce-double-softmax",
    seen="tflearn/tflearn PR#562; Lightning-Universe/lightning-bolts #654",
    fix="pass logits, not probabilities",
)
def softmax_of_softmax(z, target):
    """Probabilities are taken for logits."""
    return cross_entropy(softmax(z), target)


@mistake("loss.cross_entropy", id="ce-sum", seen=NOWHERE, fix="divide by the number of rows")
def sum_over_the_batch(z, target):
    """The sum is not divided by N."""
    return cross_entropy(z, target) * len(target)


@mistake("loss.cross_entropy", id="ce-mean-over-classes", seen=NOWHERE, fix="divide by N, not by N·V")
def mean_over_rows_and_classes(z, target):
    """The mean is over all entries of the one-hot product."""
    return cross_entropy(z, target) / z.shape[-1]


@mistake("loss.cross_entropy", id="ce-no-shift", seen=NOWHERE, fix="row t is scored against its own target")
def scored_against_the_next_row(z, target):
    """Rows and targets are out of step by one."""
    return cross_entropy(z, target.roll(-1))


@mistake("loss.cross_entropy", id="ce-bits", seen=NOWHERE, fix="natural logarithm, or say bits")
def logarithm_to_base_two(z, target):
    """Bits are reported as nats."""
    return cross_entropy(z, target) / math.log(2)


@mistake("loss.cross_entropy", id="softmax-no-max", seen=NOWHERE, fix="z_target − log_sum_exp(z), shifted")
def logarithm_of_an_overflow(z, target):
    """log of exp over the sum of exp, neither shifted."""
    p = z.exp() / z.exp().sum(-1, keepdim=True)
    return -p.gather(-1, target.unsqueeze(-1)).log().mean()


@mistake("loss.cross_entropy", id="ce-log-epsilon", seen=NOWHERE, fix="stay in logarithms: no epsilon is needed")
def epsilon_inside_the_logarithm(z, target):
    """log(p + 1e-10) caps the loss at 23 nats."""
    return -(softmax(z).gather(-1, target.unsqueeze(-1)) + 1e-10).log().mean()


@mistake("loss.cross_entropy_gradient", id="ce-gradient-sum", seen=NOWHERE, fix="divide by N: the loss is a mean")
def not_divided_by_the_batch(z, target):
    """The gradient of the sum."""
    return cross_entropy_gradient(z, target) * len(target)


@mistake("loss.cross_entropy_gradient", id="ce-gradient-sign", seen=NOWHERE, fix="p − y, which descends the loss")
def target_minus_probability(z, target):
    """y − p."""
    return -cross_entropy_gradient(z, target)


@mistake("loss.cross_entropy_gradient", id="ce-gradient-row", seen=NOWHERE, fix="subtract one in the row's own target")
def one_subtracted_in_the_wrong_row(z, target):
    """Row n is given the target of row n + 1."""
    return cross_entropy_gradient(z, target.roll(-1))


@mistake("loss.cross_entropy_gradient", id="ce-gradient-no-target", seen=NOWHERE, fix="subtract the one-hot target")
def probability_only(z, target):
    """p/N: the target's one is not subtracted."""
    return softmax(z) / len(target)
