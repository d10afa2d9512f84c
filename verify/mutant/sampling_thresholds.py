"""Mistakes in typical sampling and in the ε and the η cutoff."""

from __future__ import annotations

import math

import torch

from reference.sampling import epsilon_cutoff, top_p, typical
from reference.softmax import log_softmax, softmax
from verify.mistake import mistake
from verify.mutant.sampling import left, put_back

NOWHERE = "no public report found"


def entropy(z):
    """In nats."""
    return torch.special.entr(softmax(z)).sum(-1, keepdim=True)


def nearest(z, p, mean=None, rank=lambda gap: gap.abs(), reach=lambda before, p: before < p):
    """Typical sampling with a part exchanged: the mean surprise, what is small near it, and what p stops."""
    gap = rank(-log_softmax(z) - (entropy(z) if mean is None else mean))
    order = gap.sort(dim=-1, stable=True).indices
    share = softmax(z).gather(-1, order)
    mass = share.cumsum(-1)
    return left(z, put_back(reach(mass - share, p) | (p == 1), order))


@mistake(
    "sampling.typical",
    id="typical-boundary-left-out",
    seen="huggingface/transformers PR#26579 (merged; taken back by PR#27165)",
    fix="keep while the mass before the symbol is below p",
)
def last_symbol_left_out(z, p):
    """The symbol with which the mass reaches p goes, unless it is the first."""
    order = (-log_softmax(z) - entropy(z)).abs().sort(dim=-1, stable=True).indices
    mass = softmax(z).gather(-1, order).cumsum(-1)
    first = torch.arange(z.shape[-1]) == 0
    return left(z, put_back((mass < p) | first | (p == 1), order))


@mistake(
    "sampling.typical",
    id="typical-undefined-entropy",
    seen="PaddlePaddle/FastDeploy PR#5941 (merged); JordanAsh/badge #10",
    fix="0 · log 0 is 0 in an entropy",
)
def impossible_symbols_undefine_the_entropy(z, p):
    """Σ p log p is NaN where a symbol is impossible, and every comparison with it is false."""
    log_p = torch.log(softmax(z))
    return nearest(z, p, mean=-(softmax(z) * log_p).sum(-1, keepdim=True))


@mistake("sampling.typical", id="typical-signed", seen=NOWHERE, fix="the magnitude of the difference")
def most_probable_first(z, p):
    """The difference is not made positive: that is top-p."""
    return top_p(z, p)


@mistake("sampling.typical", id="typical-largest-first", seen=NOWHERE, fix="sort the distances in rising order")
def farthest_first(z, p):
    """The sort is descending."""
    return nearest(z, p, rank=lambda gap: -gap.abs().nan_to_num(posinf=-math.inf))


@mistake("sampling.typical", id="typical-bits", seen=NOWHERE, fix="surprise and entropy in one unit")
def entropy_in_bits(z, p):
    """The surprise is in nats, the entropy in bits."""
    return nearest(z, p, mean=entropy(z) / math.log(2))


@mistake("sampling.typical", id="typical-perplexity", seen=NOWHERE, fix="compare −log p with H, or p with e^−H")
def probability_against_entropy(z, p):
    """Probabilities are compared with e^−H: another distance, in which the improbable are near."""
    order = (softmax(z) - torch.exp(-entropy(z))).abs().sort(dim=-1, stable=True).indices
    share = softmax(z).gather(-1, order)
    return left(z, put_back((share.cumsum(-1) - share < p) | (p == 1), order))


@mistake(
    "sampling.typical", id="typical-one-cuts", seen="huggingface/transformers #16080", fix="p = 1 keeps everything"
)
def tail_is_lost_at_mass_one(z, p):
    """p = 1 is treated as if the whole mass were reached before the end."""
    return typical(z, p) if p < 1 else typical(z, 0.999)


@mistake("sampling.typical", id="typical-mask-not-scattered", seen=NOWHERE, fix="scatter the mask through the indices")
def mask_over_distances(z, p):
    """The mask over ranks is applied to indices."""
    order = (-log_softmax(z) - entropy(z)).abs().sort(dim=-1, stable=True).indices
    share = softmax(z).gather(-1, order)
    return left(z, (share.cumsum(-1) - share < p) | (p == 1))


@mistake("sampling.epsilon_cutoff", id="epsilon-nothing-left", seen=NOWHERE, fix="keep the most probable one")
def nothing_is_left(z, epsilon):
    """Where no symbol reaches ε, all go."""
    return left(z, softmax(z) >= epsilon)


@mistake("sampling.epsilon_cutoff", id="epsilon-boundary", seen=NOWHERE, fix="ε itself is enough: p ≥ ε stays")
def more_than_epsilon_is_asked(z, epsilon):
    """p > ε."""
    return epsilon_cutoff(z, epsilon * (1 + 1e-15))


@mistake("sampling.epsilon_cutoff", id="epsilon-relative", seen=NOWHERE, fix="the probability itself: that is min-p")
def share_of_the_largest_probability(z, epsilon):
    """ε times the largest probability: min-p."""
    mass = softmax(z)
    return left(z, mass >= epsilon * mass.amax(-1, keepdim=True))


@mistake("sampling.epsilon_cutoff", id="epsilon-of-logits", seen=NOWHERE, fix="compare log p, which is normalized")
def logits_taken_for_log_probabilities(z, epsilon):
    """z ≥ log ε: right only where Σ exp z is one."""
    least = math.log(epsilon) if epsilon else -math.inf
    return left(z, (z >= least) | (z == z.amax(-1, keepdim=True)))


@mistake("sampling.epsilon_cutoff", id="epsilon-one-of-equals", seen=NOWHERE, fix="equals of the largest stay together")
def one_of_several_largest(z, epsilon):
    """Where no symbol reaches ε, the first of the largest stays alone."""
    first = torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).bool()
    return left(z, (softmax(z) >= epsilon) | first)


@mistake(
    "sampling.epsilon_cutoff", id="epsilon-finite-mask", seen=NOWHERE, fix="the logit of an impossible symbol is −∞"
)
def lowered_by_a_thousandth(z, epsilon):
    """What goes gets a low logit instead of none."""
    return torch.where(epsilon_cutoff(z, epsilon) == z, z, z - 20)


@mistake(
    "sampling.eta_cutoff",
    id="eta-root-of-all",
    seen="huggingface/transformers 4.37, documentation of EtaLogitsWarper",
    fix="√ε e^−H: the root is of ε alone",
)
def root_of_the_product(z, epsilon):
    """√(ε e^−H) in place of √ε e^−H."""
    limit = torch.sqrt(epsilon * torch.exp(-entropy(z))).clamp(max=epsilon)
    return left(z, (softmax(z) >= limit) | (z == z.amax(-1, keepdim=True)))


@mistake("sampling.eta_cutoff", id="eta-no-root", seen=NOWHERE, fix="√ε e^−H")
def threshold_without_the_root(z, epsilon):
    """ε e^−H."""
    limit = epsilon * torch.exp(-entropy(z))
    return left(z, (softmax(z) >= limit) | (z == z.amax(-1, keepdim=True)))


@mistake("sampling.eta_cutoff", id="eta-larger-of-two", seen=NOWHERE, fix="the smaller of the two thresholds")
def larger_of_two_thresholds(z, epsilon):
    """max for min."""
    limit = (math.sqrt(epsilon) * torch.exp(-entropy(z))).clamp(min=epsilon)
    return left(z, (softmax(z) >= limit) | (z == z.amax(-1, keepdim=True)))


@mistake("sampling.eta_cutoff", id="eta-is-epsilon", seen=NOWHERE, fix="the entropy lowers the threshold")
def entropy_left_out(z, epsilon):
    """min(ε, √ε) is ε: the entropy is not there."""
    return epsilon_cutoff(z, epsilon)


@mistake("sampling.eta_cutoff", id="eta-sign-of-entropy", seen=NOWHERE, fix="e^−H, which falls as the entropy grows")
def entropy_raises_the_threshold(z, epsilon):
    """e^H."""
    limit = (math.sqrt(epsilon) * torch.exp(entropy(z))).clamp(max=epsilon)
    return left(z, (softmax(z) >= limit) | (z == z.amax(-1, keepdim=True)))


@mistake(
    "sampling.eta_cutoff",
    id="eta-undefined-entropy",
    seen="PaddlePaddle/FastDeploy PR#5941 (merged); JordanAsh/badge #10",
    fix="0 · log 0 is 0 in an entropy",
)
def impossible_symbols_undefine_the_threshold(z, epsilon):
    """Σ p log p is NaN where a symbol is impossible: nothing is below it."""
    limit = (math.sqrt(epsilon) * torch.exp((softmax(z) * torch.log(softmax(z))).sum(-1, keepdim=True))).clamp(
        max=epsilon
    )
    return left(z, ~((softmax(z) < limit) & (z < z.amax(-1, keepdim=True))))
