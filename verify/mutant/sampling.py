"""Mistakes in temperature, in top-k, top-p and min-p; those of the other filters and of drawing are beside."""

from __future__ import annotations

import math

import torch

from reference.sampling import min_p, top_k, top_p
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
