"""Laws of the softmax, its logarithm, its normaliser and its Jacobian."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.softmax import log_sum_exp, softmax
from verify.compare import GAP, close
from verify.inputs import tensor
from verify.suite import Operation

LN2, LN3 = math.log(2), math.log(3)
BY_HAND = torch.tensor([[0.0, LN2, LN3], [LN3, 0.0, LN2]], dtype=torch.float64)  # weights 1:2:3 and 3:1:2


@st.composite
def logits(draw, holes: bool = True):
    """Rows of logits of ordinary, tiny and overflowing size; some entries may be -inf, even a whole row."""
    shape = draw(st.sampled_from([(3,), (2, 5), (2, 3, 4)]))
    scale = draw(st.sampled_from([1.0, 0.01, 250.0]))
    lacks = draw(st.sampled_from(["nothing", "entries", "a row"])) if holes else "nothing"
    z = draw(tensor(*shape, scale=scale, holes=lacks == "entries"))
    if lacks == "a row":
        z.view(-1, shape[-1])[-1] = -math.inf
    return {"z": z}


def rows_sum_to_one(softmax, z):
    """A row is a distribution; a row of -inf has nothing to distribute and is zero."""
    close(softmax(z).sum(-1), z.isfinite().any(-1).double())


def shift_changes_nothing(softmax, z):
    """Adding one number to all logits of a row, however large, leaves the row."""
    close(softmax(z + 1000), softmax(z))


def three_weights_by_hand(softmax, z):
    """Logits 0, ln 2, ln 3 are weighted 1 : 2 : 3."""
    close(softmax(BY_HAND), torch.tensor([[1, 2, 3], [3, 1, 2]]).double() / 6)


def impossible_has_no_weight(softmax, z):
    """A logit of -inf has weight zero."""
    assert not softmax(z)[z == -math.inf].any(), "a logit of -inf has weight"


def rows_do_not_mix(softmax, z):
    """Moving one row by a thousand leaves every row."""
    rows = torch.stack([z, z - 1000.0])
    close(softmax(rows)[1], softmax(z))


def infinite_logit_leaves_no_distribution(f, z):
    """+∞ against anything is undefined: all of its row is NaN, and no other row."""
    infinite = torch.cat([torch.full_like(z[..., :1], math.inf), z[..., 1:]], -1)
    for row, expected in zip(f(torch.stack([infinite, z])), (torch.full_like(z, math.nan), f(z)), strict=True):
        close(row, expected)


def shift_moves_along(log_sum_exp, z):
    """Adding one number to all logits adds it to the result."""
    close(log_sum_exp(z + 1000), log_sum_exp(z) + 1000)


def six_by_hand(log_sum_exp, z):
    """The exponentials 1, 2, 3 sum to 6."""
    close(log_sum_exp(BY_HAND), math.log(6))


def stays_near_the_largest(log_sum_exp, z):
    """It lies between the largest logit and that plus ln V, infinities included."""
    for row in (z, torch.full_like(z, -math.inf), torch.full_like(z, math.inf)):
        value, largest = log_sum_exp(row), row.amax(-1)
        slack = GAP * (1 + largest.abs())
        slack[slack.isinf()] = 0
        assert (largest - slack <= value).all(), f"below the largest logit: {value}"
        assert (value <= largest + math.log(z.shape[-1]) + slack).all(), f"above the largest plus ln V: {value}"


def single_rows_keep_their_axis(log_sum_exp, z):
    """Only the last axis goes, also where another has one entry."""
    close(log_sum_exp(z.unsqueeze(-2)), log_sum_exp(z).unsqueeze(-1))


def equal_logits_count_themselves(log_sum_exp, z):
    """V equal logits a give a + ln V."""
    close(log_sum_exp(torch.full_like(z, 2.5)), 2.5 + math.log(z.shape[-1]))


def exponentials_are_softmax(log_softmax, z):
    """exp of it is a distribution, zero where the logit is −∞."""
    close(log_softmax(z).exp(), softmax(z), scale=1)


def differences_are_those_of_the_logits(log_softmax, z):
    """What separates two symbols separates their log-probabilities, however improbable they are."""
    gap = torch.tensor([[0.0, -2000.0, -1e5]], dtype=torch.float64)
    close(log_softmax(gap), gap)
    both, ours = z.isfinite() & z[..., :1].isfinite(), log_softmax(z)
    close(torch.where(both, ours - ours[..., :1], 0), torch.where(both, z - z[..., :1], 0), scale=1)


def rows_of_nothing_are_impossible(log_softmax, z):
    """A row of −∞ alone stays −∞."""
    close(log_softmax(torch.full_like(z, -math.inf)), torch.full_like(z, -math.inf))


def rows_sum_to_zero(softmax_jacobian, z):
    """Weights sum to one, so their changes sum to zero."""
    close(softmax_jacobian(z).sum(-1), torch.zeros_like(z), scale=1)


def is_symmetric(softmax_jacobian, z):
    """Logit k moves weight i as much as logit i moves weight k."""
    jacobian = softmax_jacobian(z)
    close(jacobian.mT, jacobian, scale=1.0)


def moves_half_at_most(softmax_jacobian, z):
    """Of a step of length one, half arrives at most, and never against its direction: eigenvalues from 0 to ½."""
    eigenvalues = torch.linalg.eigvalsh(softmax_jacobian(z))
    assert (eigenvalues >= -GAP).all() and (eigenvalues <= 0.5 + GAP).all(), f"eigenvalues {eigenvalues}"
    half = softmax_jacobian(torch.tensor([7.0, 7.0, -math.inf], dtype=torch.float64))
    close(torch.linalg.eigvalsh(half)[-1], 0.5)


def quarter_by_hand(softmax_jacobian, z):
    """Two equal logits: ±1/4."""
    close(softmax_jacobian(torch.zeros(1, 2).double()), torch.tensor([[[1, -1], [-1, 1]]]).double() / 4)


def empty_row_undefined(softmax, z):
    """0/0, as IEEE arithmetic has it."""
    return softmax(z) * torch.where((z == -math.inf).all(-1, keepdim=True), torch.nan, 1)


def empty_row_undefined_in_logarithms(log_softmax, z):
    """−∞ − (−∞)."""
    return log_softmax(z) + torch.where((z == -math.inf).all(-1, keepdim=True), torch.nan, 0)


def by_log_sum_exp(_, z):
    total = log_sum_exp(z)[..., None]
    return torch.where(total == -torch.inf, 0, torch.exp(z - torch.where(total == -torch.inf, 0, total)))


OPERATIONS = [
    Operation(
        "softmax.softmax",
        inputs=logits(),
        laws=[
            rows_sum_to_one,
            shift_changes_nothing,
            three_weights_by_hand,
            impossible_has_no_weight,
            rows_do_not_mix,
            infinite_logit_leaves_no_distribution,
        ],
        gradients=("z",),
        conventions={
            "exp(z − log Σ exp z), whose logarithm may be rounded": by_log_sum_exp,
            "a row of −∞ gives NaN": empty_row_undefined,
        },
    ),
    Operation(
        "softmax.log_sum_exp",
        inputs=logits(),
        laws=[
            shift_moves_along,
            six_by_hand,
            stays_near_the_largest,
            single_rows_keep_their_axis,
            equal_logits_count_themselves,
        ],
        gradients=("z",),
    ),
    Operation(
        "softmax.log_softmax",
        inputs=logits(),
        laws=[
            exponentials_are_softmax,
            differences_are_those_of_the_logits,
            rows_of_nothing_are_impossible,
            infinite_logit_leaves_no_distribution,
        ],
        gradients=("z",),
        conventions={"a row of −∞ gives NaN": empty_row_undefined_in_logarithms},
        unit=1,
    ),
    Operation(
        "softmax.softmax_jacobian",
        inputs=logits(holes=False),
        laws=[rows_sum_to_zero, is_symmetric, moves_half_at_most, quarter_by_hand],
        gradients=("z",),
        unit=1,
    ),
]
