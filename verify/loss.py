"""Laws of the cross-entropy, of its gradient by hand, and of the z-loss."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import GAP, close
from verify.inputs import booleans, integers, tensor
from verify.suite import Operation

BY_HAND = torch.tensor([[0.0, math.log(2), math.log(3)], [0.0, 0.0, 0.0]], dtype=torch.float64)
RIGHT = torch.tensor([2, 0])
SIZES = [(1, 2), (2, 3), (4, 5), (3, 7)]


@st.composite
def batch(draw):
    """Logits of ordinary, tiny and overflowing size with a target each; some targets, or all, may be ignored.

    The symbol that marks them is one of the vocabulary, so that a function without the option has the same inputs.
    Where nothing counts the logits are zero: the derivative of 0/0 is nobody's.
    """
    rows, vocabulary = draw(st.sampled_from(SIZES))
    z = draw(tensor(rows, vocabulary, scale=draw(st.sampled_from([1.0, 0.01, 250.0]))))
    target, mark = draw(integers(rows, below=vocabulary)), draw(st.sampled_from([-100, 0, 1]))
    nothing = mark >= 0 and draw(st.sampled_from([False] * 5 + [True]))
    if nothing:
        z, target = torch.zeros_like(z), torch.full_like(target, mark)
    elif mark >= 0:
        target = torch.where(draw(booleans(rows)), mark, target)
        mark = -100 if (target == mark).all() else mark
    smoothing = draw(st.sampled_from([0.0, 0.25, 0.1]))
    return {"z": z, "target": target, "ignore_index": mark, "label_smoothing": smoothing}


@st.composite
def logits(draw):
    """Logits of ordinary, tiny and overflowing size, and a weight."""
    z = draw(tensor(*draw(st.sampled_from(SIZES)), scale=draw(st.sampled_from([1.0, 0.01, 250.0]))))
    return {"z": z, "weight": draw(st.sampled_from([1e-4, 0.5]))}


@st.composite
def texts(draw):
    """Logits of a few sequences with their tokens, some of which may be ignored, but not all that are predicted."""
    B, T, V = draw(st.sampled_from([(2, 4, 3), (3, 2, 5)]))
    z = draw(tensor(B, T, V, scale=draw(st.sampled_from([1.0, 8.0]))))
    tokens, mark = draw(integers(B, T, below=V)), draw(st.sampled_from([-100, 0]))
    if mark == -100:
        tokens = torch.where(draw(booleans(B, T)), mark, tokens)
    tokens[-1, -1] = 1
    return {"z": z, "tokens": tokens, "ignore_index": mark}


def one_hot(z, target):
    return torch.nn.functional.one_hot(target, z.shape[-1]).double()


def mean(values, target, ignore_index):
    """A cost that is the same for every row: its mean, or 0/0 where no row counts."""
    return values if (target != ignore_index).any() else math.nan


def ignorance_costs_log_v(cross_entropy, z, target, **options):
    """Equal logits cost ln V nats, whatever the target and the smoothing."""
    uniform = torch.full_like(z, 3.0)
    close(cross_entropy(uniform, target, **options), mean(math.log(z.shape[-1]), target, options["ignore_index"]))


def certainty_costs_nothing(cross_entropy, z, target, **options):
    """A target far above the rest costs zero, and its neighbour the distance."""
    sure = 2000.0 * one_hot(z, target)
    close(cross_entropy(sure, target), 0.0)
    close(cross_entropy(sure, (target + 1) % z.shape[-1]), 2000.0)


def two_rows_by_hand(cross_entropy, z, target, **options):
    """Probabilities 1/2 and 1/3 cost (ln 2 + ln 3)/2."""
    close(cross_entropy(BY_HAND, RIGHT), (math.log(2) + math.log(3)) / 2)


def twice_the_batch_costs_the_same(cross_entropy, z, target, **options):
    """It is a mean: the same rows once more change nothing."""
    close(cross_entropy(z.repeat(2, 1), target.repeat(2), **options), cross_entropy(z, target, **options))


def shift_costs_nothing(cross_entropy, z, target, **options):
    """Adding one number to all logits of a row changes nothing."""
    close(cross_entropy(z + 1000, target, **options), cross_entropy(z, target, **options), scale=1)


def ignored_rows_could_be_left_out(cross_entropy, z, target, **options):
    """Rows marked by −100, unless another mark is named, cost nothing and count for nothing."""
    marked = torch.cat([target, torch.tensor([-100, -100])])
    close(cross_entropy(torch.cat([z, z[:1], z[:1] + 7]), marked), cross_entropy(z, target))
    counted = target != options["ignore_index"]
    if counted.any():
        close(cross_entropy(z[counted], target[counted], **options), cross_entropy(z, target, **options))


def smoothing_mixes_in_every_symbol(cross_entropy, z, target, ignore_index, label_smoothing):
    """The smoothed loss is 1 − ε times the plain one, plus ε times the mean loss over all symbols as targets."""
    plain = cross_entropy(z, target)
    every = torch.stack([cross_entropy(z, torch.full_like(target, k)) for k in range(z.shape[-1])]).mean()
    mixed = (1 - label_smoothing) * plain + label_smoothing * every
    close(cross_entropy(z, target, label_smoothing=label_smoothing), mixed, scale=1)


def seen_in_advance(next_token_loss, z, tokens, ignore_index):
    """A model that is sure of the next token pays nothing; one that is sure of the token it just read pays for it."""
    text = torch.arange(z.shape[1]).remainder(3).expand(z.shape[:2])
    sure = 2000.0 * torch.nn.functional.one_hot(text, z.shape[2]).double()
    close(next_token_loss(sure.roll(-1, 1), text), 0.0)
    close(next_token_loss(sure, text), 2000.0)


def two_tokens_by_hand(next_token_loss, z, tokens, ignore_index):
    """Logits 0, ln 2, ln 3 before the token 2, and nothing to choose before the token 0: (ln 2 + ln 3)/2."""
    rows = torch.cat([BY_HAND, 9 * BY_HAND[:1]])[None]
    close(next_token_loss(rows, torch.tensor([[1, 2, 0]])), (math.log(2) + math.log(3)) / 2)


def first_token_is_not_predicted(next_token_loss, z, tokens, ignore_index):
    """Another first token, and other logits in the last row, change nothing."""
    moved, shifted = z.clone(), tokens.clone()
    moved[:, -1] = 7 - z[:, -1]
    shifted[:, 0] = (tokens[:, 0].clamp(min=0) + 1) % z.shape[2]
    close(next_token_loss(moved, shifted, ignore_index), next_token_loss(z, tokens, ignore_index))


def tokens_weigh_the_same(next_token_loss, z, tokens, ignore_index):
    """A batch is the mean over its predicted tokens: each sequence by itself, weighted by its number of them."""
    counts = (tokens[:, 1:] != ignore_index).sum(1)
    each = [float(next_token_loss(z[b : b + 1], tokens[b : b + 1], ignore_index)) * int(counts[b])
            for b in range(len(z)) if counts[b]]  # fmt: skip
    close(next_token_loss(z, tokens, ignore_index), sum(each) / int(counts.sum()), scale=1)


def rows_sum_to_zero(gradient, z, target, **options):
    """A shift of all logits costs nothing, so the slope along it is zero."""
    close(gradient(z, target, **options).sum(-1), torch.zeros(len(z)).double(), scale=1)


def only_the_target_gains(gradient, z, target, **options):
    """Raising the target's logit lowers the loss, raising another raises it."""
    others = one_hot(z, target) == 0
    slope = gradient(z, target)
    assert (slope[others] >= -GAP).all(), f"a wrong class gains: {slope}"
    assert (slope[~others] <= GAP).all(), f"the target loses: {slope}"


def two_slopes_by_hand(gradient, z, target, **options):
    """(p − y)/2 for the probabilities 1/6, 1/3, 1/2 and 1/3, 1/3, 1/3."""
    close(gradient(BY_HAND, RIGHT), torch.tensor([[1, 2, -3], [-4, 2, 2]]).double() / 12)


def twice_the_batch_halves_the_slope(gradient, z, target, **options):
    """Each row's share of a mean over twice as many rows is half."""
    twice = gradient(z.repeat(2, 1), target.repeat(2), **options)
    close(twice, gradient(z, target, **options).repeat(2, 1) / 2, scale=1)


def ignored_rows_have_no_slope(gradient, z, target, **options):
    """Marked rows have slope zero, and the others the slope that they have without them."""
    counted = target != options["ignore_index"]
    slope = gradient(z, target, **options)
    assert not slope[~counted].any(), f"an ignored row has a slope: {slope}"
    if counted.any():
        close(slope[counted], gradient(z[counted], target[counted], **options), scale=1)


def smoothing_spares_the_others(gradient, z, target, ignore_index, label_smoothing):
    """Smoothing moves ε/N of the wanted probability from the target to all V symbols alike."""
    moved = label_smoothing / len(z) * (one_hot(z, target) - 1 / z.shape[-1])
    close(gradient(z, target, label_smoothing=label_smoothing), gradient(z, target) + moved, scale=1)


def equal_logits_by_hand(z_loss, z, weight):
    """V equal logits a cost (a + ln V)², also where e^a overflows."""
    for a in (0.5, 1000.0):
        close(z_loss(torch.full_like(z, a), weight), weight * (a + math.log(z.shape[-1])) ** 2)


def log_probabilities_cost_nothing(z_loss, z, weight):
    """Logits that are logarithms of probabilities have Σ exp z = 1."""
    close(z_loss(torch.log_softmax(z, -1), weight), 0.0, scale=1)


def six_and_three_by_hand(z_loss, z, weight):
    """Exponentials that sum to 6 and to 3 cost (ln² 6 + ln² 3)/2."""
    close(z_loss(BY_HAND, weight), weight * (math.log(6) ** 2 + math.log(3) ** 2) / 2)


def weight_is_a_ten_thousandth(z_loss, z, weight):
    """Unless it is named, and then the loss is proportional to it."""
    close(z_loss(z) * weight, z_loss(z, weight) * 1e-4)


def smoothed_over_the_others(f, z, target, ignore_index=-100, label_smoothing=0.0):
    """1 − ε for the target and ε/(V − 1) for each of the others: our smoothing by εV/(V − 1)."""
    V = z.shape[-1]
    return f(z, target, ignore_index, min(1.0, label_smoothing * V / (V - 1)))


def summed(cross_entropy, z, target, ignore_index=-100, label_smoothing=0.0):
    """The sum over the rows that count."""
    return cross_entropy(z, target, ignore_index, label_smoothing) * (target != ignore_index).sum()


def zero_over_no_target(cross_entropy, z, target, ignore_index=-100, label_smoothing=0.0):
    """Where every target is ignored the mean is 0."""
    value = cross_entropy(z, target, ignore_index, label_smoothing)
    return value if (target != ignore_index).any() else z.new_zeros(())


OTHERS = "ε/(V − 1) for each symbol but the target"

OPERATIONS = [
    Operation(
        "loss.cross_entropy",
        inputs=batch(),
        laws=[
            ignorance_costs_log_v,
            certainty_costs_nothing,
            two_rows_by_hand,
            twice_the_batch_costs_the_same,
            shift_costs_nothing,
            ignored_rows_could_be_left_out,
            smoothing_mixes_in_every_symbol,
        ],
        gradients=("z",),
        conventions={
            "the sum over rows, not their mean": summed,
            "the mean over no target is 0": zero_over_no_target,
            OTHERS: smoothed_over_the_others,
        },
        unit=1,
    ),
    Operation(
        "loss.next_token_loss",
        inputs=texts(),
        laws=[seen_in_advance, two_tokens_by_hand, first_token_is_not_predicted, tokens_weigh_the_same],
        gradients=("z",),
        unit=1,
    ),
    Operation(
        "loss.cross_entropy_gradient",
        inputs=batch(),
        laws=[
            rows_sum_to_zero,
            only_the_target_gains,
            two_slopes_by_hand,
            twice_the_batch_halves_the_slope,
            ignored_rows_have_no_slope,
            smoothing_spares_the_others,
        ],
        gradients=("z",),
        conventions={OTHERS: smoothed_over_the_others},
        unit=1,
    ),
    Operation(
        "loss.z_loss",
        inputs=logits(),
        laws=[
            equal_logits_by_hand,
            log_probabilities_cost_nothing,
            six_and_three_by_hand,
            weight_is_a_ten_thousandth,
        ],
        gradients=("z",),
        conventions={"the sum over rows, not their mean": lambda z_loss, z, weight=1e-4: z_loss(z, weight) * len(z)},
    ),
]
