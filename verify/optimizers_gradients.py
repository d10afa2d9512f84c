"""Laws of what is done to gradients before a step: accumulation over microbatches, and clipping."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation


@st.composite
def microbatches(draw):
    """Mean gradients of a few microbatches and their numbers of tokens: alike, different, zero beside any row."""
    N, P = draw(st.sampled_from([(1, 2), (2, 3), (3, 2), (5, 4)]))
    counts = draw(st.sampled_from([[4] * 5, [1, 3, 10, 2, 7], [1000, 10, 3, 1, 512], [2, 0, 5, 1, 0]]))[:N]
    return {"gradients": draw(tensor(N, P)), "counts": torch.tensor(counts)}


def mean_over_all_tokens(accumulate, gradients, counts):
    """Every token with the mean of its microbatch, in one list: the mean of that."""
    tokens = torch.repeat_interleave(gradients, counts, 0)
    close(accumulate(gradients, counts), tokens.sum(0) / len(tokens))


def equal_microbatches_are_averaged(accumulate, gradients, counts):
    """With as many tokens in each, the mean of the means."""
    close(accumulate(gradients, torch.full_like(counts, 7)), gradients.mean(0))


def order_does_not_matter(accumulate, gradients, counts):
    """Microbatches in reverse give the same."""
    close(accumulate(gradients.flip(0), counts.flip(0)), accumulate(gradients, counts))


def empty_microbatches_do_not_count(accumulate, gradients, counts):
    """One more microbatch without tokens changes nothing, whatever stands in its row."""
    longer = torch.cat([gradients, torch.full_like(gradients[:1], math.nan)])
    close(accumulate(longer, torch.cat([counts, counts[:1] * 0])), accumulate(gradients, counts))


def ninety_nine_to_one_by_hand(accumulate, gradients, counts):
    """A token of gradient 100 beside 99 of gradient 0 is one in a hundred."""
    close(accumulate(torch.tensor([[100.0], [0.0]]).double(), torch.tensor([1, 99])), torch.tensor([1.0]).double())


@st.composite
def lists(draw):
    """Gradients of several tensors, a scalar among them, small and large beside the norm allowed; at times all zero."""
    shapes = draw(st.sampled_from([[(2,)], [(1,), (2,)], [(2, 3), (), (4,)], [(5,), (1, 3)], [(37,), (2, 9)]]))
    scale = draw(st.sampled_from([1.0, 1.0, 0.01, 0.0, 128.0]))
    gradients = [draw(tensor(*shape, scale=scale)) for shape in shapes]
    return {"gradients": gradients, "max_norm": draw(st.sampled_from([1.0, 0.5, 100.0, 2.0**-10]))}


def norm(tensors):
    """The Euclidean norm of all tensors together."""
    return math.sqrt(sum(float((x**2).sum()) for x in tensors))


def norm_is_at_most_the_largest(clip, gradients, max_norm):
    """All gradients together have the smaller of their norm and the one allowed."""
    close(norm(clip(gradients, max_norm)), min(norm(gradients), max_norm))


def direction_is_kept(clip, gradients, max_norm):
    """Every tensor is shortened by one and the same factor."""
    clipped = clip(gradients, max_norm)
    for ours, g in zip(clipped, gradients, strict=True):
        close(ours * norm(gradients), g * norm(clipped), scale=norm(gradients))


def short_gradients_are_left_alone(clip, gradients, max_norm):
    """Below the norm allowed nothing changes, and zero stays zero."""
    short = [g / (1 + norm(gradients)) * max_norm for g in gradients]
    for ours, g in zip(clip(short, max_norm), short, strict=True):
        close(ours, g)


def split_does_not_matter(clip, gradients, max_norm):
    """The same numbers in one tensor are clipped alike."""
    flat = [torch.cat([g.flatten() for g in tensors]) for tensors in (gradients, clip(gradients, max_norm))]
    close(clip(flat[:1], max_norm)[0], flat[1])


def three_four_five_by_hand(clip, gradients, max_norm):
    """Gradients 3 and 4, in two tensors, have norm 5: at 1 they become 3/5 and 4/5."""
    three, four = clip([torch.tensor([3.0]).double(), torch.tensor([[4.0]]).double()], 1.0)
    close(three, torch.tensor([3.0]).double() / 5)
    close(four, torch.tensor([[4.0]]).double() / 5)


def library_clip(_, gradients, max_norm):
    """A millionth beside the norm, against a division by zero."""
    total = torch.sqrt(torch.stack([(g**2).sum() for g in gradients]).sum())
    return [g * (max_norm / (total + 1e-6)).clamp(max=1) for g in gradients]


OPERATIONS = [
    Operation(
        "optimizers.accumulate",
        inputs=microbatches(),
        laws=[
            mean_over_all_tokens,
            equal_microbatches_are_averaged,
            order_does_not_matter,
            empty_microbatches_do_not_count,
            ninety_nine_to_one_by_hand,
        ],
        gradients=("gradients",),
        free=(),
    ),
    Operation(
        "optimizers.clip_by_global_norm",
        inputs=lists(),
        laws=[
            norm_is_at_most_the_largest,
            direction_is_kept,
            short_gradients_are_left_alone,
            split_does_not_matter,
            three_four_five_by_hand,
        ],
        conventions={"torch: max_norm/(norm + 1e-6)": library_clip},
    ),
]
