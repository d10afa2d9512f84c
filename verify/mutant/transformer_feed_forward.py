"""Mistakes in the feed-forward layer."""

from __future__ import annotations

import math

import torch

from reference.activations import gelu, quick_gelu, relu
from reference.transformer import feed_forward
from verify.mistake import mistake
from verify.mutant.transformer import NOWHERE

FEED = "transformer.feed_forward"


def bent(x, up, down, up_bias, down_bias, bend):
    """A feed-forward layer with another curve."""
    hidden = torch.einsum("...d,fd->...f", x, up)
    y = torch.einsum("...f,df->...d", bend(hidden if up_bias is None else hidden + up_bias), down)
    return y if down_bias is None else y + down_bias


@mistake(
    FEED,
    id="gelu-erf-vs-tanh",
    seen="google/gemma_pytorch PR#37; huggingface/transformers PR#29402; OpenNMT/CTranslate2 #1658",
    fix="the form that is asked for; GPT-2's has tanh",
)
def always_the_erf_form(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """The form with erf, whatever is asked for."""
    return bent(x, up, down, up_bias, down_bias, gelu)


@mistake(FEED, id="gelu-default", seen=NOWHERE, fix="GPT-2's form has tanh")
def erf_unless_told(x, up, down, up_bias=None, down_bias=None, *, approximate="none"):
    """The form with erf is the default."""
    return feed_forward(x, up, down, up_bias, down_bias, approximate=approximate)


@mistake(FEED, id="gelu-quick", seen=NOWHERE, fix="gelu, not x σ(1.702x)")
def quick_form(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """x σ(1.702x)."""
    return bent(x, up, down, up_bias, down_bias, quick_gelu)


@mistake(FEED, id="gelu-missing-x", seen="tensorflow/tfjs PR#8224 (review)", fix="x Φ(x)")
def gate_alone(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """Φ(x): the factor x is missing."""
    return bent(x, up, down, up_bias, down_bias, lambda a: (1 + torch.erf(a / math.sqrt(2))) / 2)


@mistake(FEED, id="relu-for-gelu", seen=NOWHERE, fix="the first transformer has relu, GPT has gelu")
def bent_by_relu(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """max(x, 0)."""
    return bent(x, up, down, up_bias, down_bias, relu)


@mistake(FEED, id="no-activation", seen=NOWHERE, fix="bend the hidden units: two linear layers are one")
def nothing_bends(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """Two products, one linear map."""
    return bent(x, up, down, up_bias, down_bias, lambda a: a)


@mistake(FEED, id="activation-outside", seen=NOWHERE, fix="bend between the products, not after them")
def bent_at_the_end(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """gelu of the output as well."""
    return gelu(feed_forward(x, up, down, up_bias, down_bias, approximate=approximate), approximate)


@mistake(FEED, id="bias-after-activation", seen=NOWHERE, fix="the bias of a unit is part of what it feels")
def bias_behind_the_curve(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """gelu(up x) + up_bias."""

    def bend(a):
        return gelu(a if up_bias is None else a - up_bias, approximate) + (0 if up_bias is None else up_bias)

    return bent(x, up, down, up_bias, down_bias, bend)


@mistake(FEED, id="last-bias-forgotten", seen=NOWHERE, fix="down has a bias too")
def no_bias_at_the_end(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """down_bias is not added."""
    return bent(x, up, down, up_bias, None, lambda a: gelu(a, approximate))


@mistake(FEED, id="per-tensor-scale", seen=NOWHERE, fix="a scale for every token, or none")
def rounded_to_a_common_step(x, up, down, up_bias=None, down_bias=None, *, approximate="tanh"):
    """Hidden units are rounded to 8 bits with one scale for all tokens: what a token gives depends on the others."""

    def bend(a):
        felt = gelu(a, approximate)
        step = felt.abs().amax() / 127
        return torch.round(felt / step) * step

    return bent(x, up, down, up_bias, down_bias, bend)
