"""Mistakes in the distribution that is drawn from, and in drawing."""

from __future__ import annotations

import torch

from reference.sampling import distribution
from reference.sampling import min_p as near
from reference.sampling import top_k as largest
from reference.sampling import top_p as nucleus
from reference.softmax import softmax
from verify.mistake import mistake
from verify.mutant.sampling import falling, left

NOWHERE = "no public report found"


def sampled(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """The filtered and tempered logits behind `distribution`."""
    seen = z if temperature_last else z / temperature
    stays = torch.ones_like(z, dtype=torch.bool) if top_k is None else largest(seen, top_k) != -torch.inf
    stays = nucleus(left(seen, stays), top_p) != -torch.inf
    return left(z / temperature, stays & (near(seen, min_p) != -torch.inf))


@mistake("sampling.distribution", id="sampling-not-renormalized", seen=NOWHERE, fix="divide by the mass that is left")
def not_renormalized(z, temperature=1.0, **options):
    """Left-out probabilities are set to zero, the others stay as they are."""
    return torch.where(sampled(z, temperature, **options).isfinite(), softmax(z / temperature), 0)


@mistake("sampling.distribution", id="temp-multiplied", seen=NOWHERE, fix="divide by T")
def heated_for_cooled(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """The logits are multiplied by T."""
    return distribution(z, 1 / temperature, top_k, top_p, min_p, temperature_last)


@mistake(
    "sampling.distribution",
    id="temp-after-topp",
    seen="huggingface/transformers PR#8686 (merged); vllm-project/tpu-inference PR#1385 (merged); "
    "fishaudio/fish-speech PR#1150",
    fix="divide by T first, unless the temperature is said to come last",
)
def always_cooled_last(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """The filters see the logits at T = 1, whatever was asked for."""
    return distribution(z, temperature, top_k, top_p, min_p, True)


@mistake("sampling.distribution", id="temp-last-ignored", seen=NOWHERE, fix="let the filters see the logits at T = 1")
def always_cooled_first(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """The filters see the tempered logits, whatever was asked for."""
    return distribution(z, temperature, top_k, top_p, min_p)


@mistake("sampling.distribution", id="temp-last-twice", seen=NOWHERE, fix="divide by T once")
def cooled_before_and_after(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """The temperature comes last, and came first too."""
    cooled = z / temperature if temperature_last else z
    return distribution(cooled, temperature, top_k, top_p, min_p, temperature_last)


@mistake("sampling.distribution", id="sampling-softmax-twice", seen=NOWHERE, fix="draw from the softmax of the logits")
def softmax_of_probabilities(z, *args, **options):
    """Probabilities are passed on as logits, so that everything is possible again."""
    return softmax(distribution(z, *args, **options))


@mistake("sampling.distribution", id="sampling-zero-logit", seen=NOWHERE, fix="the logit of an impossible symbol is −∞")
def left_out_has_weight_one(z, *args, **options):
    """The logits are multiplied by the mask: what goes has the logit 0."""
    return softmax(sampled(z, *args, **options).nan_to_num(neginf=0.0))


@mistake("sampling.distribution", id="topp-mask-not-scattered", seen=NOWHERE, fix="put the mask back before using it")
def filtered_in_sorted_order(z, temperature=1.0, *args, **options):
    """The mask over ranks is applied to indices."""
    stays = sampled(falling(z)[0], temperature, *args, **options).isfinite()
    return softmax(left(z / temperature, stays))


@mistake("sampling.distribution", id="minp-absolute", seen=NOWHERE, fix="compare with p times the largest probability")
def min_p_absolute(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """Whatever is less probable than min_p goes."""
    p = distribution(z, 1.0 if temperature_last else temperature, top_k, top_p)
    stays = torch.where(p >= min_p, distribution(z, temperature, top_k, top_p, 0.0, temperature_last), 0)
    return stays / stays.sum(-1, keepdim=True)


@mistake("sampling.greedy", id="greedy-last-of-equals", seen=NOWHERE, fix="the first of equals")
def last_of_equal_logits(z):
    """Of equal logits the last wins."""
    return z.shape[-1] - 1 - torch.argmax(z.flip(-1), -1)


@mistake("sampling.greedy", id="greedy-smallest", seen=NOWHERE, fix="the largest logit, or the least surprise")
def least_probable(z):
    """The smallest logit wins, as if it were a cost."""
    return torch.argmin(z, -1)


@mistake("sampling.greedy", id="greedy-whole-batch", seen=NOWHERE, fix="each row has its own largest")
def largest_column(z):
    """One symbol for all rows: that of the largest mean probability."""
    return torch.argmax(softmax(z).reshape(-1, z.shape[-1]).mean(0)).expand(z.shape[:-1])


@mistake("sampling.gumbel_max", id="gumbel-sign", seen=NOWHERE, fix="the noise is −log(−log u)")
def noise_subtracted(z, u):
    """z + log(−log u): the noise of a minimum."""
    return torch.argmax(z + torch.log(-torch.log(u)), -1)


@mistake("sampling.gumbel_max", id="gumbel-one-log", seen=NOWHERE, fix="two logarithms: −log(−log u)")
def exponential_noise(z, u):
    """z − log u."""
    return torch.argmax(z - torch.log(u), -1)


@mistake("sampling.gumbel_max", id="gumbel-on-probabilities", seen=NOWHERE, fix="add the noise to logits")
def noise_on_probabilities(z, u):
    """The noise is added to softmax(z): an impossible symbol can win."""
    return torch.argmax(softmax(z) - torch.log(-torch.log(u)), -1)


@mistake("sampling.gumbel_max", id="gumbel-one-noise", seen=NOWHERE, fix="draw a number for every symbol")
def one_noise_for_all(z, u):
    """One number a row: always the largest logit."""
    return torch.argmax(z - torch.log(-torch.log(u[..., :1])), -1)


@mistake("sampling.gumbel_max", id="gumbel-last-of-equals", seen=NOWHERE, fix="the first of equals")
def last_of_equals(z, u):
    """Of equal sums the last wins."""
    noisy = z - torch.log(-torch.log(u))
    return z.shape[-1] - 1 - torch.argmax(noisy.flip(-1), -1)
