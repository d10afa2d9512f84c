"""Mistakes in temperature, in top-k, top-p and min-p, and in drawing; those of the other filters are beside."""

from __future__ import annotations

import math

import torch

from reference.sampling import distribution, min_p, top_k, top_p
from reference.sampling import min_p as near
from reference.sampling import top_k as largest
from reference.sampling import top_p as nucleus
from reference.softmax import softmax
from verify.mistake import mistake

NOWHERE = "no public report found"


def left(z, stays):
    """The logits that stay, the others −∞."""
    return torch.where(stays, z, -math.inf)


def falling(z):
    """The logits from largest to smallest, which they are, and the mass up to and with each."""
    ordered, order = z.sort(dim=-1, descending=True, stable=True)
    return ordered, order, softmax(ordered).cumsum(-1)


def reaching(wrong):
    """The mistake at the boundary "reaches", and no mistake at the others."""

    def chosen(z, p, boundary="reaches"):
        return wrong(z, p) if boundary == "reaches" else top_p(z, p, boundary)

    chosen.__name__, chosen.__doc__ = wrong.__name__, wrong.__doc__
    return chosen


def put_back(stays, order):
    """A mask over the sorted symbols, over the symbols."""
    return stays.gather(-1, order.argsort(-1))


@mistake("sampling.temperature", id="temp-multiplied", seen=NOWHERE, fix="divide by T")
def multiplied_by_the_temperature(z, T):
    """z·T: hot is cold."""
    return z * T


@mistake("sampling.temperature", id="temp-on-probabilities", seen=NOWHERE, fix="divide the logits, before the softmax")
def probabilities_divided(z, T):
    """log(p/T): a shift, which softmax takes back."""
    return z - math.log(T)


@mistake("sampling.temperature", id="temp-epsilon", seen=NOWHERE, fix="refuse T = 0, or take the argmax there")
def epsilon_added_to_the_temperature(z, T):
    """z/(T + 1e-8), so that T = 0 is no error."""
    return z / (T + 1e-8)


@mistake("sampling.temperature", id="temp-squared", seen=NOWHERE, fix="divide once: here or in the sampler")
def applied_twice(z, T):
    """The caller divides and the sampler divides again."""
    return z / T**2


@mistake("sampling.temperature", id="temp-finite-mask", seen=NOWHERE, fix="keep −∞: it divides well")
def mask_made_finite(z, T):
    """−∞ becomes a large negative number, which a temperature can bring back."""
    return z.clamp(min=-1e4) / T


@mistake(
    "sampling.top_k",
    id="topk-off-by-one",
    seen="kingoflolz/mesh-transformer-jax #164 (fixed d2c2f59)",
    fix="remove the ranks ≥ k, counted from zero",
)
def one_too_many(z, k):
    """Only ranks above k, counted from zero, are removed."""
    return top_k(z, k + 1)


@mistake("sampling.top_k", id="topk-strict", seen=NOWHERE, fix="the k-th largest itself stays")
def only_above_the_kth(z, k):
    """Whatever is not larger than the k-th goes, it too."""
    return left(z, z > z.sort(dim=-1, descending=True).values[..., min(k, z.shape[-1]) - 1, None])


@mistake("sampling.top_k", id="topk-ascending", seen=NOWHERE, fix="sort in descending order")
def k_smallest(z, k):
    """The sort is ascending."""
    return left(z, put_back((torch.arange(z.shape[-1]) < k).expand_as(z), z.sort(dim=-1, stable=True).indices))


@mistake(
    "sampling.top_k", id="topk-mask-not-scattered", seen=NOWHERE, fix="scatter the mask through the sort's indices"
)
def mask_in_sorted_order(z, k):
    """The mask over ranks is applied to indices: the first k symbols stay."""
    return left(z, (torch.arange(z.shape[-1]) < k).expand_as(z))


@mistake("sampling.top_k", id="topk-whole-batch", seen=NOWHERE, fix="find the k-th largest in each row")
def threshold_of_the_whole_batch(z, k):
    """One threshold for all rows."""
    return top_k(z.reshape(-1), k).reshape(z.shape)


@mistake(
    "sampling.top_p",
    id="topp-exclude-boundary",
    seen="rasbt/reasoning-from-scratch #164; Biohub/esm PR#360; fishaudio/fish-speech PR#1171; thu-nics/C2C PR#21",
    fix="keep while the mass before the symbol is below p",
)
@reaching
def boundary_left_out(z, p):
    """Kept while the mass with the symbol is at most p, and at least one: what crosses p goes."""
    _, order, mass = falling(z)
    first = torch.arange(z.shape[-1]) == 0
    return left(z, put_back((mass <= p) | first, order))


@mistake("sampling.top_p", id="topp-boundary-ignored", seen=NOWHERE, fix="> where p must be exceeded, ≥ where reached")
def exceeded_is_reached(z, p, boundary="reaches"):
    """Where p must be exceeded, to reach it is enough."""
    return top_p(z, p, "reaches" if boundary == "exceeds" else boundary)


@mistake("sampling.top_p", id="topp-within-empty", seen=NOWHERE, fix="the first symbol stays in any case")
def nothing_within(z, p, boundary="reaches"):
    """Where the first symbol alone is more than p, nothing stays within."""
    _, order, mass = falling(z)
    return left(z, put_back((mass <= p) | (p == 1), order)) if boundary == "within" else top_p(z, p, boundary)


@mistake(
    "sampling.top_p",
    id="topp-one-is-argmax",
    seen="BlinkDL/ChatRWKV PR#170 (merged)",
    fix="p = 1 keeps everything",
)
@reaching
def nothing_exceeds_one(z, p):
    """argmax(mass > p) is zero when no mass is above p = 1."""
    return top_k(z, 1) if p == 1 else top_p(z, p)


@mistake("sampling.top_p", id="topp-first-can-go", seen=NOWHERE, fix="shift the mask by one, and keep the first")
@reaching
def first_symbol_can_go(z, p):
    """The mask is not shifted: a first symbol that crosses p goes, and nothing is left."""
    _, order, mass = falling(z)
    return left(z, put_back(mass < p, order))


@mistake("sampling.top_p", id="topp-not-strict", seen=NOWHERE, fix="the mass before must be below p, not at most p")
@reaching
def one_beyond_an_exact_p(z, p):
    """A symbol stays though the mass before it is p already."""
    _, order, mass = falling(z)
    before = torch.cat([torch.zeros_like(mass[..., :1]), mass[..., :-1]], -1)
    return left(z, put_back(before <= p, order))


@mistake("sampling.top_p", id="topp-one-cuts", seen=NOWHERE, fix="p = 1 keeps everything: do not compare sums then")
@reaching
def tail_is_lost_at_one(z, p):
    """Where the mass before a symbol rounds to one, it goes also at p = 1."""
    _, order, mass = falling(z)
    before = torch.cat([torch.zeros_like(mass[..., :1]), mass[..., :-1]], -1)
    return left(z, put_back(before < p, order))


@mistake("sampling.top_p", id="topp-unsorted", seen=NOWHERE, fix="sort before adding up")
@reaching
def mass_in_order_of_index(z, p):
    """The mass is added up without sorting."""
    mass = softmax(z)
    return left(z, mass.cumsum(-1) - mass < p)


@mistake("sampling.top_p", id="topp-ascending", seen=NOWHERE, fix="sort in descending order, or cut at 1 − p")
@reaching
def least_probable_first(z, p):
    """The sort is ascending: the tail is kept and the head goes."""
    return left(z, top_p(-z, p).isfinite())


@mistake(
    "sampling.top_p", id="topp-mask-not-scattered", seen=NOWHERE, fix="scatter the mask through the sort's indices"
)
@reaching
def mask_over_ranks(z, p):
    """The mask over ranks is applied to indices."""
    return left(z, top_p(falling(z)[0], p).isfinite())


@mistake("sampling.min_p", id="minp-absolute", seen=NOWHERE, fix="compare with p times the largest probability")
def absolute_threshold(z, p):
    """Whatever is less probable than p goes."""
    return left(z, softmax(z) >= p)


@mistake("sampling.min_p", id="minp-strict", seen=NOWHERE, fix="p·max itself stays: ≥")
def threshold_itself_goes(z, p):
    """>, so that p = 1 leaves nothing."""
    mass = softmax(z)
    return left(z, mass > p * mass.amax(-1, keepdim=True))


@mistake("sampling.min_p", id="minp-on-logits", seen=NOWHERE, fix="in logits the factor p is the term log p")
def share_of_the_largest_logit(z, p):
    """z ≥ p·max z."""
    return left(z, z >= p * z.amax(-1, keepdim=True))


@mistake("sampling.min_p", id="minp-whole-batch", seen=NOWHERE, fix="each row has its own largest")
def largest_of_the_whole_batch(z, p):
    """One largest probability for all rows."""
    mass = softmax(z)
    return left(z, mass >= p * mass.max())


@mistake("sampling.min_p", id="minp-zero-probability", seen=NOWHERE, fix="the logit of an impossible symbol is −∞")
def left_out_is_unlikely(z, p):
    """What goes is lowered by 20, which is unlikely but possible."""
    return torch.where(min_p(z, p) == z, z, z - 20)


def sampled(z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """The filtered and tempered logits behind `distribution`."""
    seen = z if temperature_last else z / temperature
    stays = torch.ones_like(z, dtype=torch.bool) if top_k is None else largest(seen, top_k) != -math.inf
    stays = nucleus(left(seen, stays), top_p) != -math.inf
    return left(z / temperature, stays & (near(seen, min_p) != -math.inf))


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
