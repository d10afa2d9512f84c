"""Other definitions of the filters, in use and no mistakes: each turns an implementation of ours into the other."""

from __future__ import annotations

import math

import torch

from reference.sampling import min_p as near_the_largest
from reference.softmax import softmax

LAST_FIRST = "of equals the last comes first (an ascending sort)"
ANY_ORDER = "of equals any may come first (an unstable sort)"


def ties_kept(top_k, z, k):
    left = top_k(z, k)
    stays = left != -math.inf
    least = torch.where(stays, left, math.inf).amin(-1, keepdim=True)
    return torch.where(stays | ~(z < least), z, -math.inf)  # no doubt that the least stays itself


def last_first(keep, z, **options):
    return keep(z.flip(-1), **options).flip(-1)


def any_order(keep, z, **options):
    """Equals as if they came from two different sums, so that rounding may put any of them first."""
    other = torch.sigmoid(z)
    return keep(z + other - other, **options)


def nothing_without_mass(top_p, z, p, **options):
    """What rounds to probability zero may go, also at p = 1."""
    return torch.where(softmax(z) > 0, top_p(z, p=p, **options), -math.inf)


def by_share(_, z, p):
    """Where probabilities are compared, not logits."""
    weights = softmax(z)
    return torch.where(weights < p * weights.amax(-1, keepdim=True), -math.inf, z)


def probabilities(keep, z, **options):
    return softmax(keep(z, **options))


def top_k_ties_kept(distribution, z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    left = ties_kept(lambda z, k: torch.where(distribution(z, 1.0, k) > 0, z, -math.inf), z, top_k)
    return distribution(left, temperature, None, top_p, min_p, temperature_last)


def cooled_last(distribution, z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=True):
    return distribution(z, temperature, top_k, top_p, min_p, True)


def min_p_first(distribution, z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    near = near_the_largest(z if temperature_last else z / temperature, min_p) != -math.inf
    left = torch.where(near, z, -math.inf)
    return distribution(left, temperature, top_k, top_p, temperature_last=temperature_last)


def jointly(distribution, z, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, temperature_last=False):
    """No filter sees what another left out."""
    after = {"temperature_last": temperature_last}
    left = [
        distribution(z, temperature, None, top_p, **after),
        distribution(z, temperature, top_k, 1.0, min_p, **after),
    ]
    weights = torch.where(left[1] > 0, left[0], 0)
    return weights / weights.sum(-1, keepdim=True)
