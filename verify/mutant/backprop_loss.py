"""Mistakes in the gradients by hand of softmax and cross-entropy."""

from __future__ import annotations

from functools import wraps

import torch

import verify.mutant.loss as forward
from reference.backprop import cross_entropy_vjp, softmax_vjp
from reference.softmax import softmax
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake(
    "backprop.softmax_vjp",
    id="softmax-backward-diagonal",
    seen="deeplearning4j/libnd4j #440; Apiquet/DeepLearningFrameworkFromScratchCpp #1",
    fix="p(dy − ⟨p, dy⟩): every logit moves every probability",
)
def taken_for_an_entrywise_function(dy, z):
    """dy · p(1 − p): the diagonal of the Jacobian."""
    p = softmax(z)
    return dy * p * (1 - p)


@mistake(
    "backprop.softmax_vjp",
    id="softmax-backward-no-dot",
    seen="HomericIntelligence/Odyssey #2134",
    fix="subtract ⟨p, dy⟩ before multiplying by p",
)
def dot_product_left_out(dy, z):
    """p · dy."""
    return softmax(z) * dy


@mistake("backprop.softmax_vjp", id="softmax-backward-copy", seen="pjreddie/darknet PR#96", fix="p(dy − ⟨p, dy⟩)")
def gradient_copied(dy, z):
    """What arrives is passed on as it is."""
    return dy.clone()


@mistake("backprop.softmax_vjp", id="softmax-backward-mean", seen=NOWHERE, fix="the mean under p, not the plain one")
def plain_mean_subtracted(dy, z):
    """p(dy − mean dy)."""
    return softmax(z) * (dy - dy.mean(-1, keepdim=True))


@mistake("backprop.softmax_vjp", id="softmax-backward-all-rows", seen=NOWHERE, fix="one dot product for every row")
def one_dot_product_for_all_rows(dy, z):
    """⟨p, dy⟩ is summed over the whole tensor."""
    p = softmax(z)
    return p * (dy - (p * dy).sum())


@mistake("backprop.softmax_vjp", id="fully-masked-nan", seen="pytorch/pytorch #41508, #103749", fix="zero there")
def empty_row_is_not_a_number(dy, z):
    """In a row of −∞ alone the probabilities are 0/0."""
    p = torch.softmax(z, -1)
    return p * (dy - (p * dy).sum(-1, keepdim=True))


def times_dy(gradient):
    """A wrong gradient of the mean loss, from reference.loss, as a backward pass."""

    @wraps(gradient)
    def wrong(dy, z, target, ignore_index=-100, label_smoothing=0.0):
        return dy * gradient(z, target, ignore_index=ignore_index, label_smoothing=label_smoothing)

    wrong.__name__ = f"dy_times_{gradient.__name__}"
    its = gradient.mistake
    return mistake("backprop.cross_entropy_vjp", id=its.id, seen=its.seen, fix=its.fix)(wrong)


not_divided_by_the_batch = times_dy(forward.not_divided_by_the_batch)
target_minus_probability = times_dy(forward.target_minus_probability)
probability_only = times_dy(forward.probability_only)
gradient_at_the_probabilities = times_dy(forward.gradient_at_the_probabilities)
gradient_over_all_rows = times_dy(forward.gradient_over_all_rows)
ignored_rows_are_pushed_down = times_dy(forward.ignored_rows_are_pushed_down)
smoothing_forgotten = times_dy(forward.smoothing_forgotten)


@mistake("backprop.cross_entropy_vjp", id="dy-ignored", seen=NOWHERE, fix="multiply by what arrives")
def upstream_gradient_ignored(dy, z, target, ignore_index=-100, label_smoothing=0.0):
    """The loss is taken for the end of the graph: a weighted or rescaled loss has the same gradient."""
    return cross_entropy_vjp(torch.ones_like(dy), z, target, ignore_index, label_smoothing)


@mistake("backprop.cross_entropy_vjp", id="softmax-backward-again", seen=NOWHERE, fix="p − y is by the logits already")
def through_the_jacobian_once_more(dy, z, target, ignore_index=-100, label_smoothing=0.0):
    """p − y is taken for the gradient by the probabilities."""
    return softmax_vjp(cross_entropy_vjp(dy, z, target, ignore_index, label_smoothing), z)
