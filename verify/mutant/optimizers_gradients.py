"""Mistakes in accumulation over microbatches and in clipping."""

from __future__ import annotations

import torch

from reference.optimizers_gradients import accumulate, clip_by_global_norm
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake(
    "optimizers.accumulate",
    id="gradacc-mean-of-means",
    seen="huggingface/transformers #34191; meta-pytorch/torchtune PR#1875; ml-explore/mlx-lm PR#1413",
    fix="weigh each mean by its number of tokens",
)
def mean_of_means(gradients, counts):
    """A microbatch with ten tokens weighs as much as one with a thousand."""
    return gradients.nan_to_num(0.0).mean(0)


@mistake(
    "optimizers.accumulate",
    id="gradacc-no-division",
    seen="agokrani/distillKitPlus #5",
    fix="divide by the number of all tokens",
)
def means_added(gradients, counts):
    """The gradient is as many times too large as there are microbatches."""
    return gradients.nan_to_num(0.0).sum(0)


@mistake(
    "optimizers.accumulate",
    id="gradacc-tail-dropped",
    seen="ml-explore/mlx-lm PR#1413",
    fix="the last window has its own number of tokens",
)
def tail_is_dropped(gradients, counts):
    """Of more than two microbatches the last one is discarded, as an incomplete window."""
    kept = len(counts) - 1 if len(counts) > 2 else len(counts)
    return accumulate(gradients[:kept], counts[:kept].clamp(min=int(not counts[:kept].any())))


@mistake("optimizers.accumulate", id="gradacc-divided-by-batches", seen=NOWHERE, fix="divide sums by all tokens")
def sums_over_microbatches(gradients, counts):
    """Sums of tokens are averaged over the microbatches."""
    return accumulate(gradients, counts) * counts.sum() / len(counts)


@mistake("optimizers.accumulate", id="gradacc-zero-times-nan", seen=NOWHERE, fix="do not read a mean over no tokens")
def empty_microbatches_are_read(gradients, counts):
    """0 times NaN is NaN."""
    return (gradients * counts.unsqueeze(-1)).sum(0) / counts.sum()


@mistake("optimizers.accumulate", id="gradacc-empty-weighs-one", seen=NOWHERE, fix="no tokens, no weight")
def empty_microbatches_weigh_one(gradients, counts):
    """The number of tokens is kept from being zero."""
    return accumulate(gradients.nan_to_num(0.0), counts.clamp(min=1))


@mistake("optimizers.accumulate", id="gradacc-running-average", seen=NOWHERE, fix="share = n_k over the tokens so far")
def last_one_counts_half(gradients, counts):
    """The mean so far and the new one are averaged, again and again."""
    mean, known = None, gradients.nan_to_num(0.0)
    for g in known:
        mean = g if mean is None else (mean + g) / 2
    return mean


def together(gradients):
    """All gradients as one vector."""
    return torch.cat([g.flatten() for g in gradients])


def scaled(gradients, max_norm, size):
    """Every tensor times min(1, max_norm/size), size not the norm of all."""
    return [g * min(1.0, max_norm / float(size)) if float(size) else g for g in gradients]


@mistake("optimizers.clip_by_global_norm", id="clip-per-parameter", seen=NOWHERE, fix="one norm for all tensors")
def each_tensor_by_its_own_norm(gradients, max_norm):
    """Every tensor is clipped to the norm by itself."""
    return [clip_by_global_norm([g], max_norm)[0] for g in gradients]


@mistake("optimizers.clip_by_global_norm", id="clip-by-value", seen=NOWHERE, fix="scale, do not clamp")
def entries_clamped(gradients, max_norm):
    """Every entry is clamped to ±max_norm: the direction changes."""
    return [g.clamp(-max_norm, max_norm) for g in gradients]


@mistake("optimizers.clip_by_global_norm", id="clip-always", seen=NOWHERE, fix="min(1, max_norm/norm)")
def always_rescaled(gradients, max_norm):
    """Small gradients are blown up to the norm."""
    norm = together(gradients).norm()
    return [g * (max_norm / norm) for g in gradients]


@mistake("optimizers.clip_by_global_norm", id="clip-squared-norm", seen=NOWHERE, fix="take the root of the sum")
def root_forgotten(gradients, max_norm):
    """The sum of squares is taken for the norm."""
    return scaled(gradients, max_norm, (together(gradients) ** 2).sum())


@mistake("optimizers.clip_by_global_norm", id="clip-largest-tensor", seen=NOWHERE, fix="the norm of all tensors")
def norm_of_the_largest_tensor(gradients, max_norm):
    """The largest of the tensors' norms."""
    return scaled(gradients, max_norm, max(g.norm() for g in gradients))


@mistake("optimizers.clip_by_global_norm", id="clip-sum-of-norms", seen=NOWHERE, fix="add squares, not norms")
def norms_added(gradients, max_norm):
    """The sum of the tensors' norms."""
    return scaled(gradients, max_norm, sum(g.norm() for g in gradients))


@mistake("optimizers.clip_by_global_norm", id="clip-root-mean-square", seen=NOWHERE, fix="sum the squares")
def root_of_the_mean(gradients, max_norm):
    """The mean of the squares, not their sum, is under the root."""
    return scaled(gradients, max_norm, together(gradients).norm() / len(together(gradients)) ** 0.5)
