"""Laws of the filters that look at a symbol's surprise: typical sampling, the ε and the η cutoff."""

from __future__ import annotations

import math

import torch

from reference.softmax import log_softmax, softmax
from verify import sampling_conventions as other
from verify.compare import GAP
from verify.sampling_inputs import LOGITS, asked, kept, logits
from verify.suite import Operation

LN2 = math.log(2)
SKEWED = torch.tensor([0, 6, 5, 5], dtype=torch.float64) * LN2  # of 129: 1, 64, 32, 32


def entropy(z):
    """In nats; what is impossible has no part in it."""
    return torch.special.entr(softmax(z)).sum(-1, keepdim=True)


def stays_by_hand(keep, cases):
    for z, p, expected in cases:
        found = kept(keep(z, p), z).tolist()
        assert found == expected, f"{p} of {softmax(z).tolist()}: {found}"


def typical_by_hand(typical, z, p):
    """Of 0.15, 0.05, 0.5, 0.3, with entropy 1.142: surprises 1.90, 3.00, 0.69, 1.20, so the last is nearest.

    The masses in this order are 0.3, 0.8, 0.95 and 1.
    """
    cases = {0.299: [0, 0, 0, 1], 0.301: [0, 0, 1, 1], 0.799: [0, 0, 1, 1], 0.801: [1, 0, 1, 1], 0.951: [1, 1, 1, 1]}
    stays_by_hand(typical, [(LOGITS, p_, expected) for p_, expected in cases.items()])


def most_probable_may_go(typical, z, p):
    """Of 1 : 64 : 32 : 32, entropy 1.08, the two of surprise 1.39 are nearer to it than the one of 0.70."""
    stays_by_hand(typical, [(SKEWED, 0.3, [0, 0, 1, 1]), (SKEWED, 0.2, [0, 0, 1, 0])])


def nearest_that_reach_p(typical, z, p):
    """No symbol that goes is nearer to the entropy than one that stays; their mass reaches p, and needs the last."""
    far, share = (-log_softmax(z) - entropy(z)).abs(), softmax(z)
    stays = kept(typical(z, p), z)
    last = torch.where(stays, far, -math.inf).amax(-1, keepdim=True)
    assert (torch.where(stays | z.isinf(), math.inf, far) >= last - GAP).all(), f"nearer ones went: {stays.tolist()}"
    mass = torch.where(stays, share, 0).sum(-1)
    least = torch.where(stays & (far >= last - GAP), share, math.inf).amin(-1)
    assert (mass >= p - GAP).all() and (mass - least < p + GAP).all(), f"mass {mass.tolist()} for {p}"


def nothing_goes_at_one(typical, z, p):
    """p = 1 leaves out nothing that is possible."""
    assert torch.equal(kept(typical(z, 1.0), z), z.isfinite()), "a possible symbol goes"


def first_of_equally_near_ones(typical, z, p):
    """All are as near where all are equal: then the lower indices stay."""
    even = torch.zeros(4, dtype=torch.float64)
    stays_by_hand(typical, [(even, 0.5, [1, 1, 0, 0]), (even, 0.6, [1, 1, 1, 0])])


def cutoff_by_hand(epsilon_cutoff, z, epsilon):
    """Of 0.15, 0.05, 0.5, 0.3 each goes when ε passes it, but the largest never; and ε = 0 leaves all."""
    cases = {0.0: [1] * 4, 0.0499: [1] * 4, 0.0501: [1, 0, 1, 1], 0.149: [1, 0, 1, 1], 0.151: [0, 0, 1, 1],
             0.299: [0, 0, 1, 1], 0.301: [0, 0, 1, 0], 0.6: [0, 0, 1, 0]}  # fmt: skip
    stays_by_hand(epsilon_cutoff, [(LOGITS, e, expected) for e, expected in cases.items()])


def probability_decides(epsilon_cutoff, z, epsilon):
    """Whatever is as probable as the threshold stays, and nothing else but the largest; all rows for themselves."""
    share = softmax(z)
    stays = kept(epsilon_cutoff(z, epsilon), z)
    largest = z == z.amax(-1, keepdim=True)
    assert not ((share < epsilon - GAP) & stays & ~largest).any(), f"less probable than {epsilon}: {stays.tolist()}"
    assert not ((share > epsilon + GAP) & ~stays).any(), f"as probable as {epsilon}, and left out: {stays.tolist()}"


def what_reaches_it_exactly_stays(epsilon_cutoff, z, epsilon):
    """Of a half and two quarters all have the probability ¼ or more."""
    halves = torch.tensor([LN2, 0.0, 0.0], dtype=torch.float64)
    stays_by_hand(epsilon_cutoff, [(halves, 0.25, [1, 1, 1]), (halves, 0.2501, [1, 0, 0])])


def equals_of_the_largest_stay(epsilon_cutoff, z, epsilon):
    """Where none reaches the threshold, those as probable as the largest stay, all of them."""
    even = torch.zeros_like(z)
    assert kept(epsilon_cutoff(even, 0.999), even).all(), "of equal symbols some went"


def entropy_lowers_the_threshold(eta_cutoff, z, epsilon):
    """Of 0.15, 0.05, 0.5, 0.3, with e^−H = 0.31914: ε itself cuts at 0.05, and √ε e^−H at 0.15 when ε is 0.2209."""
    cases = {0.0499: [1] * 4, 0.0501: [1, 0, 1, 1], 0.2205: [1, 0, 1, 1], 0.2213: [0, 0, 1, 1], 0.999: [0, 0, 1, 0]}
    stays_by_hand(eta_cutoff, [(LOGITS, e, expected) for e, expected in cases.items()])


def smaller_of_two_thresholds(eta_cutoff, z, epsilon):
    """A symbol that stays at ε stays here too; one below √ε e^−H goes, unless it is the largest."""
    share, limit = softmax(z), torch.clamp(math.sqrt(epsilon) * torch.exp(-entropy(z)), max=epsilon)
    stays, largest = kept(eta_cutoff(z, epsilon), z), z == z.amax(-1, keepdim=True)
    assert not ((share > limit + GAP) & ~stays).any(), f"above the threshold, and left out: {stays.tolist()}"
    assert not ((share < limit - GAP) & stays & ~largest).any(), f"below the threshold: {stays.tolist()}"


# Fractions with denominators up to 7, the masses of tied symbols, meet none of these thresholds.
PROBABILITIES = {"renormalized probabilities instead of logits": other.probabilities}
OPERATIONS = [
    Operation(
        "sampling.typical",
        inputs=asked(logits(), p=[0.37, 0.7, 0.93, 0.15, 1.0]),
        laws=[
            typical_by_hand,
            most_probable_may_go,
            nearest_that_reach_p,
            nothing_goes_at_one,
            first_of_equally_near_ones,
        ],
        conventions={
            other.LAST_FIRST: other.last_first,
            other.ANY_ORDER: other.any_order,
            "what rounds to probability zero is left out, also at p = 1": other.nothing_without_mass,
            **PROBABILITIES,
        },
        free=("z",),
    ),
    Operation(
        "sampling.epsilon_cutoff",
        inputs=asked(logits(), epsilon=[0.03, 0.22, 0.09, 0.0, 0.6]),
        laws=[cutoff_by_hand, probability_decides, what_reaches_it_exactly_stays, equals_of_the_largest_stay],
        conventions=PROBABILITIES,
        free=("z",),
    ),
    Operation(
        "sampling.eta_cutoff",
        inputs=asked(logits(), epsilon=[0.03, 0.22, 0.09, 0.0, 0.6]),
        laws=[entropy_lowers_the_threshold, smaller_of_two_thresholds],
        conventions=PROBABILITIES,
        free=("z",),
    ),
]
