"""Mistakes in the normalizations of a row, in their statistics, their ε, and their gradients."""

from __future__ import annotations

import torch

from reference.normalization import layer_norm, rms_norm
from verify.mistake import mistake

NOWHERE = "no public report found"
PADDED_SEEN = "linkedin/Liger-Kernel #518, PR#519; triton-lang/triton #9838"


def affine(y, weight, bias=None):
    """y·weight + bias, each if there is one."""
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def moments(x):
    """Deviations from the mean of the last axis, and their mean square."""
    centred = x - x.mean(-1, keepdim=True)
    return centred, centred.square().mean(-1, keepdim=True)


def unbiased(x):
    """Deviations from the mean, and their mean square with the divisor D − 1: NaN for D = 1."""
    centred, variance = moments(x)
    return centred, variance * x.shape[-1] / x.new_tensor(x.shape[-1] - 1)


def mean_square(x):
    return x.square().mean(-1, keepdim=True)


def padded(D):
    """The least power of two that is not below D."""
    return 1 << (D - 1).bit_length()


@mistake(
    "normalization.layer_norm", id="ln-unbiased-var", seen="harvardnlp/annotated-transformer PR#119", fix="divide by D"
)
def divided_by_one_less(x, weight=None, bias=None, eps=1e-5):
    """The variance is divided by D − 1, as torch.var and torch.std do unasked."""
    centred, variance = unbiased(x)
    return affine(centred / (variance + eps).sqrt(), weight, bias)


@mistake(
    "normalization.layer_norm",
    id="ln-eps-outside-sqrt",
    seen="codertimo/BERT-pytorch #30; hyunwoongko/transformer #7",
    fix="add ε to the variance: √(σ² + ε)",
)
def epsilon_added_to_the_deviation(x, weight=None, bias=None, eps=1e-5):
    """σ + ε."""
    centred, variance = moments(x)
    return affine(centred / (variance.sqrt() + eps), weight, bias)


@mistake(
    "normalization.layer_norm",
    id="ln-std-plus-eps",
    seen="harvardnlp/annotated-transformer PR#119; codertimo/BERT-pytorch #30",
    fix="√(σ² + ε), with σ² divided by D",
)
def epsilon_added_to_the_unbiased_deviation(x, weight=None, bias=None, eps=1e-5):
    """x.std() + ε: divided by D − 1, and ε outside the root."""
    centred, variance = unbiased(x)
    return affine(centred / (variance.sqrt() + eps), weight, bias)


@mistake(
    "normalization.layer_norm",
    id="ln-square-for-sqrt",
    seen="131250208/TPlinker-joint-extraction #37",
    fix="** 0.5, not ** 2",
)
def squared_for_rooted(x, weight=None, bias=None, eps=1e-5):
    """(σ² + ε)²."""
    centred, variance = moments(x)
    return affine(centred / (variance + eps) ** 2, weight, bias)


@mistake("normalization.layer_norm", id="ln-eps-value", seen=NOWHERE, fix="the default is 1e-5")
def default_of_another_model(x, weight=None, bias=None, eps=1e-6):
    """ε is 1e-6 unless given."""
    return layer_norm(x, weight, bias, eps)


@mistake("normalization.layer_norm", id="ln-hidden-epsilon", seen=NOWHERE, fix="add the ε that is asked for, no other")
def epsilon_unasked(x, weight=None, bias=None, eps=1e-5):
    """1e-10 is added to whatever ε is asked for."""
    return layer_norm(x, weight, bias, eps + 1e-10)


@mistake(
    "normalization.layer_norm",
    id="ln-cancelling-variance",
    seen="microsoft/onnxruntime #28463; apache/tvm PR#19643",
    fix="subtract the mean first, then square",
)
def difference_of_two_large_numbers(x, weight=None, bias=None, eps=1e-5):
    """E[x²] − μ², which loses its digits where μ is large, and may be negative."""
    mean = x.mean(-1, keepdim=True)
    return affine((x - mean) / (mean_square(x) - mean**2 + eps).sqrt(), weight, bias)


@mistake("normalization.layer_norm", id="ln-padded-lanes", seen=PADDED_SEEN, fix="mask the deviations, not only x")
def padding_deviates_from_the_mean(x, weight=None, bias=None, eps=1e-5):
    """Zeros that pad D to a power of two add (0 − μ)² each to the variance."""
    mean, (centred, variance) = x.mean(-1, keepdim=True), moments(x)
    share = (padded(x.shape[-1]) - x.shape[-1]) / x.shape[-1]
    return affine(centred / (variance + share * mean**2 + eps).sqrt(), weight, bias)


@mistake("normalization.layer_norm", id="ln-mean-kept", seen=NOWHERE, fix="subtract the mean")
def mean_not_subtracted(x, weight=None, bias=None, eps=1e-5):
    """x/√(σ² + ε)."""
    return affine(x / (moments(x)[1] + eps).sqrt(), weight, bias)


@mistake(
    "normalization.layer_norm",
    id="ln-all-axes",
    seen="Qualcomm-AI-research/geometric-algebra-transformer PR#8",
    fix="statistics over the last axis only",
)
def statistics_of_the_whole_tensor(x, weight=None, bias=None, eps=1e-5):
    """One mean and one variance for all rows."""
    return affine(layer_norm(x.flatten(), eps=eps).reshape(x.shape), weight, bias)


@mistake(
    "normalization.layer_norm", id="ln-wrong-axis", seen="tensorflow/addons PR#2142", fix="normalize over the last axis"
)
def statistics_over_the_first_axis(x, weight=None, bias=None, eps=1e-5):
    """Columns are normalized instead of rows."""
    return affine(layer_norm(x.movedim(0, -1), eps=eps).movedim(-1, 0), weight, bias)


@mistake("normalization.layer_norm", id="ln-weight-first", seen=NOWHERE, fix="normalize, then multiply by the weight")
def weight_before_the_statistics(x, weight=None, bias=None, eps=1e-5):
    """x·w is normalized."""
    return layer_norm(affine(x, weight), None, bias, eps)


@mistake("normalization.layer_norm", id="ln-bias-first", seen=NOWHERE, fix="multiply by the weight, then add the bias")
def bias_times_the_weight(x, weight=None, bias=None, eps=1e-5):
    """(x̂ + b)·w."""
    return affine(affine(layer_norm(x, eps=eps), None, bias), weight)


@mistake("normalization.layer_norm", id="ln-bias-scaled", seen=NOWHERE, fix="add the bias after the division")
def bias_divided_too(x, weight=None, bias=None, eps=1e-5):
    """((x − μ)·w + b)/√(σ² + ε)."""
    centred, variance = moments(x)
    return affine(centred, weight, bias) / (variance + eps).sqrt()


@mistake("normalization.layer_norm", id="ln-detached", seen=NOWHERE, fix="differentiate through μ and σ² as well")
def statistics_taken_for_constants(x, weight=None, bias=None, eps=1e-5):
    """The values are right, the gradient is w·g/√(σ² + ε)."""
    centred, variance = x - x.detach().mean(-1, keepdim=True), moments(x.detach())[1]
    return affine(centred / (variance + eps).sqrt(), weight, bias)


class MeanTwice(torch.autograd.Function):
    """The normalized row, whose backward subtracts the mean of the gradient twice."""

    @staticmethod
    def forward(ctx, x, eps):
        centred, variance = moments(x)
        ctx.rstd = (variance + eps).rsqrt()
        ctx.save_for_backward(centred * ctx.rstd)
        return centred * ctx.rstd

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return ctx.rstd * (g - 2 * g.mean(-1, keepdim=True) - y * (g * y).mean(-1, keepdim=True)), None


@mistake("normalization.layer_norm", id="ln-backward-mean", seen="tenstorrent/tt-metal #53204", fix="subtract it once")
def mean_of_the_gradient_twice(x, weight=None, bias=None, eps=1e-5):
    """The values are right, the backward pass subtracts mean(w·g) twice."""
    return affine(MeanTwice.apply(x, eps), weight, bias)


@mistake("normalization.layer_norm", id="ln-weight-last-row", seen=NOWHERE, fix="sum the weight's gradient over rows")
def weight_learns_from_the_last_row(x, weight=None, bias=None, eps=1e-5):
    """The values are right, each row overwrites the weight's gradient of the one before."""
    y = layer_norm(x, eps=eps)
    is_last = (torch.arange(y.numel()) >= y.numel() - y.shape[-1]).reshape(y.shape)
    return affine(y, None if weight is None else torch.where(is_last, weight, weight.detach()), bias)


@mistake(
    "normalization.rms_norm",
    id="rms-eps-value",
    seen="apache/tvm PR#15856; NVIDIA/cutlass PR#1112",
    fix="use the ε of the model",
)
def epsilon_hard_coded(x, weight=None, eps=1e-6):
    """ε is 1e-5 whatever is asked for."""
    return rms_norm(x, weight, 1e-5)


class WrongBackward(torch.autograd.Function):
    """rms_norm whose backward is r·h − r³·x·mean(x·h), with (r, h) = saved(mean x² + ε, w·g, g)."""

    @staticmethod
    def forward(ctx, x, weight, eps, saved):
        ctx.save_for_backward(x, weight)
        ctx.eps, ctx.saved = eps, saved
        return rms_norm(x, weight, eps)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        square = mean_square(x) + ctx.eps
        r, inner = ctx.saved(square, g * weight, g)
        by_weight = (g * x * square.rsqrt()).reshape(-1, x.shape[-1]).sum(0)
        return r * inner - r**3 * x * (x * inner).mean(-1, keepdim=True), by_weight, None, None


@mistake(
    "normalization.rms_norm", id="rms-backward-missing-w", seen="karpathy/llm.c PR#763", fix="pass back w·g, not g"
)
def backward_forgets_the_weight(x, weight=None, eps=1e-6):
    """The values are right, the gradient by x lacks the weight."""
    weight = x.new_ones(x.shape[-1]) if weight is None else weight
    return WrongBackward.apply(x, weight, eps, lambda square, wg, g: (square.rsqrt(), g))


@mistake(
    "normalization.rms_norm",
    id="rms-stored-var-as-rstd",
    seen="flagos-ai/FlagGems PR#5771",
    fix="save 1/√(mean x² + ε)",
)
def mean_square_saved_for_its_root(x, weight=None, eps=1e-6):
    """The values are right, the backward pass finds mean x² + ε where it expects 1/√(mean x² + ε)."""
    weight = x.new_ones(x.shape[-1]) if weight is None else weight
    return WrongBackward.apply(x, weight, eps, lambda square, wg, g: (square, wg))


@mistake("normalization.rms_norm", id="rms-no-weight-gradient", seen="paiml/trueno PR#178", fix="the weight learns too")
def weight_learns_nothing(x, weight=None, eps=1e-6):
    """The values are right, the gradient by the weight is zero."""
    return rms_norm(x, None if weight is None else weight.detach(), eps)


@mistake(
    "normalization.rms_norm",
    id="rms-is-layer-norm",
    seen="ggml-org/llama.cpp #173; mit-han-lab/omniserve #32",
    fix="do not subtract the mean",
)
def mean_subtracted(x, weight=None, eps=1e-6):
    """A layer norm without bias."""
    return layer_norm(x, weight, None, eps)


@mistake("normalization.rms_norm", id="rms-sum", seen=NOWHERE, fix="divide the sum of squares by D")
def sum_of_squares(x, weight=None, eps=1e-6):
    """x/√(Σ x² + ε), of length one."""
    return affine(x / (x.square().sum(-1, keepdim=True) + eps).sqrt(), weight)


@mistake("normalization.rms_norm", id="rms-eps-outside-sqrt", seen=NOWHERE, fix="add ε under the root")
def epsilon_outside_the_root(x, weight=None, eps=1e-6):
    """ε is added to the root mean square, as its authors' first code did and no model since."""
    square = x.square().mean(-1, keepdim=True)
    return rms_norm(x, weight, eps) * ((square + eps).sqrt() / (square.sqrt() + eps))


@mistake("normalization.rms_norm", id="rms-eps-in-sum", seen=NOWHERE, fix="add ε after dividing by D")
def epsilon_added_to_the_sum(x, weight=None, eps=1e-6):
    """√((Σ x² + ε)/D)."""
    return rms_norm(x, weight, eps / x.shape[-1])


@mistake("normalization.rms_norm", id="rms-padded-size", seen=NOWHERE, fix="divide by D, not by the size of the block")
def divided_by_the_padded_size(x, weight=None, eps=1e-6):
    """The sum of squares is divided by D rounded up to a power of two."""
    return affine(x / (mean_square(x) * x.shape[-1] / padded(x.shape[-1]) + eps).sqrt(), weight)


@mistake("normalization.rms_norm", id="rms-all-axes", seen=NOWHERE, fix="statistics over the last axis only")
def one_size_for_all_rows(x, weight=None, eps=1e-6):
    """The mean square of the whole tensor."""
    return affine(x / (x.square().mean() + eps).sqrt(), weight)


@mistake("normalization.rms_norm", id="rms-weight-first", seen=NOWHERE, fix="normalize, then multiply by the weight")
def weight_before_the_size(x, weight=None, eps=1e-6):
    """x·w is normalized."""
    return rms_norm(affine(x, weight), None, eps)


@mistake("normalization.rms_norm", id="rms-hidden-epsilon", seen=NOWHERE, fix="add the ε that is asked for, no other")
def tiny_number_unasked(x, weight=None, eps=1e-6):
    """1e-10 is added to whatever ε is asked for."""
    return rms_norm(x, weight, eps + 1e-10)
