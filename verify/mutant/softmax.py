"""Mistakes in the softmax, its logarithm, its normaliser and its Jacobian."""

from __future__ import annotations

import math

import torch

from reference.softmax import log_softmax, log_sum_exp, softmax, softmax_jacobian
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake("softmax.softmax", id="softmax-no-max", seen=NOWHERE, fix="subtract the row's maximum before exp")
def exponentials_overflow(z):
    """The maximum is not subtracted."""
    return z.exp() / z.exp().sum(-1, keepdim=True)


@mistake("softmax.softmax", id="softmax-global-max", seen=NOWHERE, fix="subtract each row's own maximum")
def one_maximum_for_all_rows(z):
    """The maximum of the whole tensor is subtracted, so that a low row underflows to 0/0."""
    weights = (z - z.max()).exp()
    return weights / weights.sum(-1, keepdim=True)


@mistake("softmax.softmax", id="softmax-wrong-axis", seen=NOWHERE, fix="normalise over the last axis")
def normalised_over_the_first_axis(z):
    """Columns sum to one instead of rows."""
    return softmax(z.movedim(0, -1)).movedim(-1, 0)


@mistake("softmax.softmax", id="softmax-epsilon", seen=NOWHERE, fix="divide by the sum: it is at least one")
def epsilon_in_the_denominator(z):
    """1e-10 is added to a sum that cannot be zero."""
    total = (z - z.amax(-1, keepdim=True)).exp().sum(-1, keepdim=True)
    return softmax(z) * total / (total + 1e-10)


@mistake("softmax.softmax", id="softmax-base-two", seen=NOWHERE, fix="use e, or divide the logits by ln 2")
def powers_of_two(z):
    """exp2 without the factor 1/ln 2 that makes it exp."""
    return softmax(z * math.log(2))


@mistake(
    "softmax.softmax",
    id="fully-masked-nan",
    seen="pytorch/pytorch #41508, #103749; tracel-ai/burn PR#4697",
    fix="a row of -inf gives zeros",
)
def empty_row_is_not_a_number(z):
    """-inf minus -inf."""
    return torch.softmax(z, -1)


@mistake("softmax.softmax", id="softmax-finite-mask", seen=NOWHERE, fix="keep -inf, and treat an empty row by itself")
def impossible_becomes_unlikely(z):
    """-inf is replaced by a logit some way below the smallest."""
    finite = z[z.isfinite()]
    floor = finite.min() - 20 if finite.numel() else 0.0
    return softmax(torch.where(z == -math.inf, floor, z))


class WithoutCrossTerm(torch.autograd.Function):
    """softmax whose backward treats the normaliser as a constant."""

    @staticmethod
    def forward(ctx, z):
        p = softmax(z)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, g):
        (p,) = ctx.saved_tensors
        return g * p


@mistake("softmax.softmax", id="softmax-backward-diagonal", seen=NOWHERE, fix="backward is p·(g − Σ g·p)")
def backward_without_cross_term(z):
    """The values are right, the hand-written backward keeps the diagonal only."""
    return WithoutCrossTerm.apply(z)


@mistake("softmax.log_sum_exp", id="lse-max-not-added", seen=NOWHERE, fix="add the maximum back after the logarithm")
def maximum_not_added_back(z):
    """The maximum is subtracted inside and forgotten outside."""
    return log_sum_exp(z) - z.amax(-1)


@mistake(
    "softmax.log_sum_exp",
    id="zloss-naive-lse",
    seen="databricks/megablocks PR#133 (review)",
    fix="subtract the maximum inside, add it outside",
)
def naive_log_of_sum(z):
    """log Σ exp z overflows."""
    return z.exp().sum(-1).log()


@mistake("softmax.log_sum_exp", id="lse-mean", seen=NOWHERE, fix="sum, do not average")
def logarithm_of_the_mean(z):
    """ln V is missing."""
    return log_sum_exp(z) - math.log(z.shape[-1])


@mistake("softmax.log_sum_exp", id="lse-infinity", seen=NOWHERE, fix="replace an infinite maximum by zero")
def infinite_maximum_subtracted(z):
    """inf minus inf, in rows of -inf or with +inf."""
    largest = z.amax(-1, keepdim=True)
    return (z - largest).exp().sum(-1).log() + largest.squeeze(-1)


@mistake("softmax.log_softmax", id="log-of-softmax", seen=NOWHERE, fix="z − log Σ exp z, never a probability")
def logarithm_of_what_underflowed(z):
    """log(softmax(z)) is −∞ where the probability underflows."""
    return softmax(z).log()


@mistake("softmax.log_softmax", id="log-softmax-epsilon", seen=NOWHERE, fix="stay in logarithms: no epsilon is needed")
def epsilon_inside_the_logarithm(z):
    """log(softmax(z) + 1e-10): nothing is less probable than that."""
    return (softmax(z) + 1e-10).log()


@mistake("softmax.log_softmax", id="log-softmax-max-only", seen=NOWHERE, fix="subtract log Σ exp z, not the largest z")
def largest_subtracted(z):
    """z − max z: the most probable symbol would be certain."""
    return z - torch.where(z.amax(-1, keepdim=True) == -math.inf, 0, z.amax(-1, keepdim=True))


@mistake(
    "softmax.log_softmax", id="log-softmax-naive-lse", seen=NOWHERE, fix="subtract the maximum inside, add it back"
)
def naive_normalizer(z):
    """z − log Σ exp z with a sum that overflows."""
    return z - z.exp().sum(-1, keepdim=True).log()


@mistake("softmax.log_softmax", id="softmax-wrong-axis", seen=NOWHERE, fix="normalise over the last axis")
def logarithms_over_the_first_axis(z):
    """Columns are normalised instead of rows."""
    return log_softmax(z.movedim(0, -1)).movedim(-1, 0)


@mistake(
    "softmax.log_softmax",
    id="fully-masked-nan",
    seen="pytorch/pytorch #41508, #103749",
    fix="subtract nothing from a row of -inf",
)
def empty_row_of_logarithms(z):
    """-inf minus -inf."""
    return torch.log_softmax(z, -1)


@mistake("softmax.softmax_jacobian", id="jacobian-diagonal", seen=NOWHERE, fix="subtract p_i·p_k off the diagonal too")
def diagonal_only(z):
    """softmax is taken for an elementwise function."""
    return torch.diag_embed(softmax_jacobian(z).diagonal(dim1=-2, dim2=-1))


@mistake("softmax.softmax_jacobian", id="jacobian-sign", seen=NOWHERE, fix="p_i·(δ_ik − p_k)")
def cross_term_added(z):
    """p_i·(δ_ik + p_k)."""
    p = softmax(z)
    return torch.diag_embed(p) + p.unsqueeze(-1) * p.unsqueeze(-2)


@mistake("softmax.softmax_jacobian", id="jacobian-missing-factor", seen=NOWHERE, fix="multiply row i by p_i")
def rows_not_weighted(z):
    """δ_ik − p_k."""
    p = softmax(z)
    return torch.eye(p.shape[-1], dtype=p.dtype) - p.unsqueeze(-2)


@mistake("softmax.softmax", id="softmax-infinite-part", seen=NOWHERE, fix="a row with +∞ is undefined as a whole")
def others_have_nothing_beside_infinity(z):
    """Beside a logit of +∞ the others are given the weight zero, and it alone is NaN."""
    return torch.where((z == torch.inf).any(-1, keepdim=True) & z.isfinite(), 0, softmax(z))


@mistake(
    "softmax.log_softmax", id="log-softmax-infinite-part", seen=NOWHERE, fix="a row with +∞ is undefined as a whole"
)
def others_are_impossible_beside_infinity(z):
    """Beside a logit of +∞ the others are −∞, and it alone is NaN."""
    return torch.where((z == torch.inf).any(-1, keepdim=True) & z.isfinite(), -torch.inf, log_softmax(z))


@mistake("softmax.log_sum_exp", id="lse-squeezed", seen=NOWHERE, fix="remove the last axis only")
def all_single_axes_are_removed(z):
    """A single row comes back without its axis."""
    return log_sum_exp(z).squeeze()
