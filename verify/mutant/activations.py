"""Mistakes in relu, sigmoid and softplus; those of silu, gelu and swiglu are beside."""

from __future__ import annotations

import math

import torch

from reference.activations import relu, sigmoid, softplus
from verify.mistake import mistake
from verify.mutant.activations_gates import with_slope

NOWHERE = "no public report found"


@mistake(
    "activations.relu",
    id="relu-hides-nan",
    seen="pytorch/pytorch #7999; apache/mxnet #11115; tensorflow/tensorflow #32730",
    fix="compare so that NaN falls through: where(x <= 0, 0, x)",
)
def nan_becomes_zero(x):
    """NaN is not above zero, and so it is replaced by zero."""
    return torch.where(x > 0, x, 0)


@mistake("activations.relu", id="relu-mask-product", seen=NOWHERE, fix="select, do not multiply: −inf · 0 is NaN")
def multiplied_by_the_mask(x):
    """x times the truth of x > 0 is NaN at −∞."""
    return x * (x > 0)


@mistake("activations.relu", id="relu-leaky", seen=NOWHERE, fix="nothing passes below zero")
def a_hundredth_leaks(x):
    """The leaky variant, with its usual slope of 0.01."""
    return torch.where(x < 0, 0.01 * x, x)


@mistake("activations.relu", id="relu-six", seen=NOWHERE, fix="there is no upper bound")
def capped_at_six(x):
    """The mobile variant relu6."""
    return x.clamp(0, 6)


@mistake("activations.relu", id="relu-absolute", seen=NOWHERE, fix="max(x, 0)")
def negative_numbers_are_turned_over(x):
    """|x|."""
    return x.abs()


@mistake(
    "activations.relu",
    id="relu-backward-unmasked",
    seen="chainer/chainer PR#5898 (leaky_relu with slope 0)",
    fix="the gradient passes where x > 0",
)
def gradient_passes_everywhere(x):
    """The values are right, the hand-written backward has no mask."""
    return with_slope(relu, torch.ones_like)(x)


@mistake(
    "activations.sigmoid",
    id="sigmoid-nan-gradient",
    seen="huggingface/candle PR#1722; jeshraghian/snntorch #427",
    fix="e^(−|x|), and select between 1/(1 + e) and e/(1 + e)",
)
def gradient_of_an_overflow(x):
    """1/(1 + exp(−x)): the value is right, its gradient is ∞ times 0 far below zero."""
    return 1 / (1 + torch.exp(-x))


@mistake("activations.sigmoid", id="sigmoid-overflow", seen=NOWHERE, fix="use this form below zero only")
def infinity_by_infinity(x):
    """exp(x)/(1 + exp(x)) is ∞/∞ far above zero."""
    return x.exp() / (1 + x.exp())


@mistake("activations.sigmoid", id="sigmoid-sign", seen=NOWHERE, fix="1/(1 + e^(−x))")
def sign_of_the_exponent(x):
    """1/(1 + e^x), which falls."""
    return sigmoid(-x)


@mistake("activations.sigmoid", id="sigmoid-tanh-unhalved", seen=NOWHERE, fix="½(1 + tanh(x/2))")
def tanh_of_the_whole(x):
    """½(1 + tanh x): the argument is not halved."""
    return (1 + torch.tanh(x)) / 2


@mistake("activations.sigmoid", id="sigmoid-hard", seen=NOWHERE, fix="the exponential, not its chord")
def three_straight_pieces(x):
    """The mobile variant, x/6 + 1/2 between 0 and 1."""
    return (x / 6 + 0.5).clamp(0, 1)


@mistake("activations.sigmoid", id="sigmoid-clipped", seen=NOWHERE, fix="no clipping: e^(−|x|) cannot overflow")
def argument_is_clipped(x):
    """x is clipped to ±20 against overflow, and has no gradient beyond."""
    return sigmoid(x.clamp(-20, 20))


@mistake(
    "activations.sigmoid",
    id="sigmoid-slope-of-input",
    seen="BoltzmannEntropy/interviews.ai #4, #15",
    fix="the slope is y(1 − y) of the output y",
)
def slope_from_the_input(x):
    """The hand-written backward is x(1 − x) of the input."""
    return with_slope(sigmoid, lambda x: x * (1 - x))(x)


@mistake(
    "activations.softplus",
    id="softplus-overflow",
    seen="rushter/MLAlgorithms PR#30; apache/tvm #1768; tracel-ai/burn #5373",
    fix="max(x, 0) + log(1 + e^(−|x|))",
)
def logarithm_of_an_overflow(x):
    """log(1 + exp(x)) is infinite above 709."""
    return torch.log(1 + x.exp())


@mistake(
    "activations.softplus",
    id="softplus-overflow-below",
    seen="rushter/MLAlgorithms PR#31",
    fix="max(x, 0) + log(1 + e^(−|x|))",
)
def overflow_on_the_other_side(x):
    """x + log(1 + exp(−x)) is −∞ + ∞ far below zero."""
    return x + torch.log(1 + torch.exp(-x))


@mistake(
    "activations.softplus",
    id="softplus-abs",
    seen="pytorch/pytorch PR#2195 (binary_cross_entropy_with_logits)",
    fix="select x or −x, whose slope at 0 is one-sided, instead of |x|",
)
def no_slope_at_zero(x):
    """relu(x) + log(1 + exp(−|x|)): both kinks have slope 0 at 0, where softplus has ½."""
    return torch.relu(x) + torch.log1p(torch.exp(-x.abs()))


@mistake(
    "activations.softplus",
    id="softplus-where",
    seen="tracel-ai/burn #5373 (the gradient)",
    fix="choose a safe argument before exp, not a result after it",
)
def gradient_of_the_branch_not_taken(x):
    """where(x > 30, x, log(1 + exp(x))): the value is right, the branch not taken sends back ∞ times 0."""
    return torch.where(x > 30, x, torch.log1p(x.exp()))


@mistake(
    "activations.softplus",
    id="softplus-threshold",
    seen="aesara-devs/aesara #260",
    fix="no threshold, or one where e^(−x) rounds to nothing: 17 in float32, 37 in float64",
)
def cut_too_early(x):
    """Above 5 it is taken for x itself, 0.007 too low."""
    return torch.where(x > 5, x, softplus(x))


@mistake("activations.softplus", id="softplus-capped", seen="jaxleyverse/jaxley PR#714", fix="x beyond the threshold")
def argument_is_capped(x):
    """The argument of exp is capped at 20, so that the result is."""
    return softplus(x.clamp(max=20))


@mistake("activations.softplus", id="softplus-sign", seen=NOWHERE, fix="log(1 + e^x)")
def falls_instead_of_rising(x):
    """log(1 + e^(−x))."""
    return softplus(-x)


@mistake("activations.softplus", id="softplus-base-two", seen=NOWHERE, fix="natural logarithm")
def logarithm_to_base_two(x):
    """log2(1 + 2^x)."""
    return softplus(x * math.log(2)) / math.log(2)
