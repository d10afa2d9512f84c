"""Mistakes in the normalization of columns: whose statistics, over what, and how they are kept."""

from __future__ import annotations

from reference.normalization import batch_norm, layer_norm
from verify.mistake import mistake

NOWHERE = "no public report found"


def kept_up(old, new, running, momentum):
    """The running statistics with `momentum` the weight of the new, for each pair of old and new."""
    return tuple((1 - momentum) * a + momentum * b.detach() for a, b in zip(old, new, strict=True)) if running else old


def affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def built(x, running_mean, running_var, weight, bias, training, momentum, divide, biased=0, keep=lambda v: v):
    """Batch normalization where `divide` makes y of deviations and variance; the divisor kept by is N − 1 + biased."""
    mean, variance = (x.mean(0), x.var(0, correction=0)) if training else (running_mean, running_var)
    kept = (x.mean(0), keep(x.var(0, correction=1 - biased)) if len(x) > 1 else running_var)
    y = affine(divide(x - mean, variance), weight, bias)
    return y, *kept_up((running_mean, running_var), kept, training, momentum)


@mistake(
    "normalization.batch_norm",
    id="bn-running-biased",
    seen="tenstorrent/tt-metal #55438; tinygrad/tinygrad PR#807; ml-explore/mlx PR#3817",
    fix="keep the variance with the divisor N − 1, as PyTorch does (flax keeps the other one)",
)
def biased_variance_kept(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """The running variance moves towards the variance with the divisor N."""

    def divide(centred, v):
        return centred / (v + eps).sqrt()

    return built(x, running_mean, running_var, weight, bias, training, momentum, divide, biased=1)


@mistake(
    "normalization.batch_norm", id="bn-unbiased-batch", seen=NOWHERE, fix="normalize by the variance with the divisor N"
)
def unbiased_variance_divides(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """In training x is divided by the deviation with the divisor N − 1, as torch.var gives it unasked."""
    share = len(x) / (len(x) - 1) if training else 1.0

    def divide(centred, v):
        return centred / (v * share + eps).sqrt()

    return built(x, running_mean, running_var, weight, bias, training, momentum, divide)


@mistake(
    "normalization.batch_norm",
    id="bn-momentum-reversed",
    seen="d2l-ai/d2l-en PR#2213; PaddlePaddle/Paddle PR#51120; Jermmy/pytorch-quantization-demo #17",
    fix="m is the weight of the new (in Keras that of the old, with the default 0.99)",
)
def momentum_keeps_the_old(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """m · old + (1 − m) · new."""
    return batch_norm(x, running_mean, running_var, weight, bias, training, 1 - momentum, eps)


@mistake(
    "normalization.batch_norm", id="bn-eval-batch-statistics", seen=NOWHERE, fix="after training, use the running ones"
)
def batch_statistics_after_training(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """The batch's own statistics, also after training, where they still do not move the running ones."""
    centred = x - x.mean(0)
    y = affine(centred / (centred.square().mean(0) + eps).sqrt(), weight, bias)
    return y, *batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)[1:]


@mistake("normalization.batch_norm", id="bn-train-running-statistics", seen=NOWHERE, fix="in training, use the batch's")
def running_statistics_in_training(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """The running statistics, just moved, normalize in training too."""
    _, mean, variance = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return batch_norm(x, mean, variance, weight, bias, False, momentum, eps)[0], mean, variance


@mistake("normalization.batch_norm", id="bn-eval-updates", seen=NOWHERE, fix="after training the statistics rest")
def statistics_move_after_training(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """The running statistics go on moving when training is over."""
    y, _, _ = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return y, *batch_norm(x, running_mean, running_var, weight, bias, len(x) > 1, momentum, eps)[1:]


@mistake(
    "normalization.batch_norm", id="bn-never-updates", seen="paiml/aprender PR#2166", fix="return the statistics moved"
)
def statistics_never_move(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """The running statistics stay at what they were made with."""
    return batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)[0], running_mean, running_var


@mistake(
    "normalization.batch_norm",
    id="bn-eps-outside-sqrt",
    seen="keras-team/keras PR#10427; Tencent/ncnn PR#311",
    fix="add ε to the variance: √(σ² + ε)",
)
def epsilon_added_to_the_deviation(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """σ + ε."""

    def divide(centred, v):
        return centred / (v.sqrt() + eps)

    return built(x, running_mean, running_var, weight, bias, training, momentum, divide)


@mistake(
    "normalization.batch_norm",
    id="bn-eps-clamped",
    seen="vacancy/Synchronized-BatchNorm-PyTorch #43",
    fix="add ε to the variance, do not take the larger of both",
)
def larger_of_variance_and_epsilon(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """√max(σ², ε)."""

    def divide(centred, v):
        return centred / v.clamp(min=eps).sqrt()

    return built(x, running_mean, running_var, weight, bias, training, momentum, divide)


@mistake("normalization.batch_norm", id="bn-square-for-sqrt", seen="jax-ml/jax #442", fix="the root, not the square")
def squared_for_rooted(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """(σ² + ε)²."""

    def divide(centred, v):
        return centred / (v + eps) ** 2

    return built(x, running_mean, running_var, weight, bias, training, momentum, divide)


@mistake(
    "normalization.batch_norm",
    id="bn-running-holds-epsilon",
    seen="keras-team/keras-contrib PR#287",
    fix="keep the variance without ε",
)
def epsilon_kept_with_the_variance(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """The running variance moves towards σ² + ε."""

    def divide(centred, v):
        return centred / (v + eps).sqrt()

    return built(x, running_mean, running_var, weight, bias, training, momentum, divide, keep=lambda v: v + eps)


@mistake(
    "normalization.batch_norm",
    id="bn-running-deviation",
    seen="torch/nn #567",
    fix="average variances: the mean of deviations is smaller than the deviation of the mean variance",
)
def deviation_kept(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """The deviations are averaged, and squared when they are used."""

    def divide(centred, v):
        return centred / (v + eps).sqrt()

    y, mean, _ = built(x, running_mean, running_var, weight, bias, training, momentum, divide)
    if not training:
        return y, mean, running_var
    return y, mean, ((1 - momentum) * running_var.sqrt() + momentum * x.std(0).detach()) ** 2


@mistake(
    "normalization.batch_norm", id="bn-wrong-axis", seen="chainer/chainer PR#8497", fix="statistics over the batch"
)
def rows_for_columns(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """In training each row is normalized by its own statistics."""
    y, *kept = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return layer_norm(x, weight, bias, eps) if training else y, *kept


@mistake("normalization.batch_norm", id="bn-all-axes", seen=NOWHERE, fix="statistics of each column for itself")
def statistics_of_the_whole_batch(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """In training one mean and one variance for all columns."""
    y, *kept = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return affine(layer_norm(x.flatten(), eps=eps).reshape(x.shape), weight, bias) if training else y, *kept


@mistake("normalization.batch_norm", id="bn-cancelling-variance", seen=NOWHERE, fix="subtract the mean, then square")
def difference_of_two_large_numbers(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """E[x²] − μ², which loses its digits where μ is large."""
    y, *kept = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    variance = x.square().mean(0) - x.mean(0) ** 2
    return affine((x - x.mean(0)) / (variance + eps).sqrt(), weight, bias) if training else y, *kept


@mistake("normalization.batch_norm", id="bn-bias-first", seen=NOWHERE, fix="multiply by the weight, then add the bias")
def bias_times_the_weight(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """(x̂ + b)·w."""
    y, *kept = batch_norm(x, running_mean, running_var, None, bias, training, momentum, eps)
    return affine(y, weight, None), *kept


@mistake("normalization.batch_norm", id="bn-defaults", seen=NOWHERE, fix="PyTorch's defaults are 0.1 and 1e-5")
def defaults_of_another_library(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.01, eps=1e-3
):
    """A hundredth is new, and ε is 10⁻³, unless given."""
    return batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)


@mistake("normalization.batch_norm", id="bn-hidden-epsilon", seen=NOWHERE, fix="add the ε that is asked for, no other")
def tiny_number_unasked(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """1e-10 is added to whatever ε is asked for."""
    return batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps + 1e-10)


@mistake(
    "normalization.batch_norm",
    id="bn-detached",
    seen="facebookresearch/CrypTen PR#143",
    fix="in training mean and variance depend on x, and pass their gradient on",
)
def statistics_taken_for_constants(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """The values are right, the gradient is w·g/√(σ² + ε)."""
    _, *kept = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    mean, variance = (x.mean(0), x.var(0, correction=0)) if training else (running_mean, running_var)
    return affine((x - mean.detach()) / (variance.detach() + eps).sqrt(), weight, bias), *kept


@mistake(
    "normalization.batch_norm", id="bn-backward-missing-w", seen="denizyuret/Knet.jl #288", fix="pass back w·g, not g"
)
def backward_forgets_the_weight(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """The values are right, the gradient by x lacks the weight."""
    y, *kept = batch_norm(x, running_mean, running_var, None, None, training, momentum, eps)
    right = affine(y.detach(), weight, bias)
    return right + (y - y.detach()), *kept
