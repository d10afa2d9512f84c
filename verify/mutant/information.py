"""Mistakes in surprisal and entropies, in mutual information, and in perplexity and bits a character."""

from __future__ import annotations

import math

import torch

from reference.information import (
    bits_per_character,
    cross_entropy,
    entropy,
    kl_divergence,
    mutual_information,
    perplexity,
    surprisal,
)
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake("information.surprisal", id="info-sign", seen=NOWHERE, fix="−log p")
def log_of_the_probability(p, base=math.e):
    """The sign is forgotten."""
    return -surprisal(p, base)


@mistake("information.surprisal", id="info-base-ignored", seen=NOWHERE, fix="divide by log base")
def surprisal_in_bits(p, base=math.e):
    """Bits, whatever is asked for."""
    return surprisal(p, 2.0)


@mistake("information.surprisal", id="info-log-epsilon", seen=NOWHERE, fix="−log 0 = ∞: an impossible symbol came")
def surprisal_is_capped(p, base=math.e):
    """1e-10 inside the logarithm caps the surprise at 23 nats."""
    return surprisal(p + 1e-10, base)


@mistake(
    "information.entropy",
    id="entropy-zero-nan",
    seen="tensorflow/probability #241; huggingface/trl #7221; pyro-ppl/numpyro PR#2276",
    fix="0 log 0 = 0: leave out symbols of probability zero",
)
def zero_times_infinity(p, base=math.e):
    """0 · log 0 is not a number."""
    return -(p * p.log()).sum(-1) / math.log(base)


@mistake("information.entropy", id="info-log-epsilon", seen=NOWHERE, fix="leave out zeros: no epsilon is needed")
def entropy_with_epsilon(p, base=math.e):
    """1e-10 inside the logarithm."""
    return -(p * (p + 1e-10).log()).sum(-1) / math.log(base)


@mistake("information.entropy", id="entropy-mean", seen=NOWHERE, fix="sum over the symbols")
def mean_over_symbols(p, base=math.e):
    """The mean over the V terms."""
    return entropy(p, base) / p.shape[-1]


@mistake("information.entropy", id="entropy-unweighted", seen=NOWHERE, fix="weight each surprise by its probability")
def mean_of_surprises(p, base=math.e):
    """Surprises are averaged over the symbols that occur, not weighted."""
    return torch.where(p > 0, surprisal(torch.where(p > 0, p, 1), base), 0).sum(-1) / (p > 0).sum(-1)


@mistake("information.entropy", id="info-sign", seen=NOWHERE, fix="−Σ p log p")
def negative_entropy(p, base=math.e):
    """The sign is forgotten."""
    return -entropy(p, base)


@mistake("information.entropy", id="info-base-ignored", seen=NOWHERE, fix="divide by log base")
def entropy_in_nats(p, base=math.e):
    """Nats, whatever is asked for."""
    return entropy(p)


@mistake("information.entropy", id="info-base-multiplied", seen=NOWHERE, fix="divide by log base")
def base_multiplies(p, base=math.e):
    """Multiplied by log base."""
    return entropy(p) * math.log(base)


@mistake("information.cross_entropy", id="ce-arguments-swapped", seen=NOWHERE, fix="weights from p, logarithms of q")
def truth_and_model_swapped(p, q, base=math.e):
    """The model's own draws, under the truth."""
    return cross_entropy(q, p, base)


@mistake("information.cross_entropy", id="entropy-zero-nan", seen="pytorch/pytorch #40553", fix="0 log 0 = 0")
def excluded_times_nothing(p, q, base=math.e):
    """0 · log 0 where truth and model agree that a symbol is impossible."""
    return -(p * q.log()).sum(-1) / math.log(base)


@mistake("information.cross_entropy", id="info-log-epsilon", seen="modelscope/easydistill PR#16", fix="it is infinite")
def model_is_clamped(p, q, base=math.e):
    """A model that excludes what comes is forgiven at 1e-10."""
    return cross_entropy(p, q.clamp(min=1e-10), base)


@mistake("information.cross_entropy", id="ce-without-entropy", seen=NOWHERE, fix="the divergence leaves H(p) out")
def divergence_for_cross_entropy(p, q, base=math.e):
    """The truth's own entropy is missing."""
    return kl_divergence(p, q, base)


@mistake("information.mutual_information", id="mi-sign", seen="christiando/gaussian-toolbox #29", fix="H(Y) − H(Y|X)")
def given_less_not_given(joint, base=math.e):
    """H(Y|X) − H(Y)."""
    return -mutual_information(joint, base)


@mistake("information.mutual_information", id="entropy-zero-nan", seen="NVIDIA/cuml PR#8356 (review)", fix="skip zeros")
def empty_cell(joint, base=math.e):
    """0 · log 0 in a pair that never comes."""
    expected = joint.sum(-1, keepdim=True) * joint.sum(-2, keepdim=True)
    return (joint * (joint / expected).log()).sum((-2, -1)) / math.log(base)


@mistake("information.mutual_information", id="mi-conditional", seen=NOWHERE, fix="subtract H(Y|X) from H(Y)")
def what_is_left_over(joint, base=math.e):
    """H(Y|X), which is what the first does not tell of the second."""
    return entropy(joint.flatten(-2), base) - entropy(joint.sum(-1), base)


@mistake("information.mutual_information", id="mi-one-marginal", seen=NOWHERE, fix="divide by both marginals")
def one_marginal_twice(joint, base=math.e):
    """2H(X) − H(X, Y)."""
    return 2 * entropy(joint.sum(-1), base) - entropy(joint.flatten(-2), base)


@mistake("information.mutual_information", id="info-base-ignored", seen=NOWHERE, fix="divide by log base")
def shared_in_nats(joint, base=math.e):
    """Nats, whatever is asked for."""
    return mutual_information(joint)


@mistake(
    "information.perplexity", id="ppl-mean-of-exp", seen="bartvm on lisa-lab/pylearn2 #1383", fix="exp of the mean"
)
def mean_of_perplexities(nats, symbols):
    """Each text's perplexity, averaged."""
    return (nats / symbols).exp().mean(-1)


@mistake(
    "information.perplexity",
    id="ppl-batch-macro-average",
    seen="huggingface/transformers #24839, PR#34387",
    fix="divide all nats by all symbols",
)
def texts_count_alike(nats, symbols):
    """The mean over texts of nats a symbol: a short text counts as much as a long one."""
    return (nats / symbols).mean(-1).exp()


@mistake(
    "information.perplexity",
    id="ppl-average-length-normaliser",
    seen="macournoyer/neuralconvo #67",
    fix="divide all nats by all symbols",
)
def divided_by_the_longest(nats, symbols):
    """Texts are taken to be as long as the longest: padding counts."""
    return (nats.mean(-1) / symbols.amax(-1)).exp()


@mistake("information.perplexity", id="ppl-sum", seen=NOWHERE, fix="divide by the number of symbols")
def a_text_is_one_symbol(nats, symbols):
    """Nats a text, not a symbol."""
    return nats.mean(-1).exp()


@mistake("information.perplexity", id="ppl-power-of-two", seen=NOWHERE, fix="e to nats")
def two_to_the_nats(nats, symbols):
    """2 to a mean of natural logarithms."""
    return perplexity(nats * math.log(2), symbols)


@mistake(
    "information.bits_per_character",
    id="bpb-in-nats",
    seen="EleutherAI/lm-evaluation-harness PR#242",
    fix="divide by ln 2",
)
def nats_for_bits(nats, characters):
    """ln 2 is missing."""
    return nats.sum(-1) / characters.sum(-1)


@mistake("information.bits_per_character", id="bpc-multiplied", seen=NOWHERE, fix="divide by ln 2")
def multiplied_by_ln_two(nats, characters):
    """ln 2 is on the wrong side."""
    return nats.sum(-1) * math.log(2) / characters.sum(-1)


@mistake(
    "information.bits_per_character", id="bpc-macro-average", seen=NOWHERE, fix="divide all bits by all characters"
)
def mean_over_texts(nats, characters):
    """Each text's bits a character, averaged."""
    return (nats / characters).mean(-1) / math.log(2)


@mistake(
    "information.bits_per_character", id="bpc-of-nats", seen=NOWHERE, fix="log₂ of the perplexity, not of the mean"
)
def logarithm_of_the_loss(nats, characters):
    """log₂ of nats a character."""
    return bits_per_character(nats, characters).mul(math.log(2)).log2()
