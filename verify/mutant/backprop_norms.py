"""Mistakes in the gradients by hand of the norms: terms left out, taken twice, or over the wrong entries."""

from __future__ import annotations

import torch

import verify.mutant.normalization as forward
from reference.backprop import batch_norm_vjp, layer_norm_vjp, rms_norm_vjp
from reference.backprop_norms import batch_norm, layer_norm, rms_norm
from verify.mistake import mistake
from verify.mutant.backprop import backward_of

NOWHERE = "no public report found"
LAYER, RMS, BATCH = "backprop.layer_norm_vjp", "backprop.rms_norm_vjp", "backprop.batch_norm_vjp"


def through(f, dy, x, weight, *others, axis=-1, mean=1.0, along=1.0, upstream=None):
    """dx with its two terms multiplied by `mean` and `along`, and w · dy replaced by `upstream`."""
    normal, inverse, _ = f(x, weight, *others)[1]
    u = dy * weight if upstream is None else upstream
    return inverse * (u - mean * u.mean(axis, keepdim=True) - along * normal * (u * normal).mean(axis, keepdim=True))


@mistake(LAYER, id="ln-detached", seen=NOWHERE, fix="mean and variance depend on x")
def statistics_taken_for_constants(dy, x, weight, bias, eps=1e-5):
    """w · dy/√(σ² + ε) alone."""
    dx = through(layer_norm, dy, x, weight, bias, eps, mean=0, along=0)
    return dx, *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(LAYER, id="ln-backward-no-mean", seen=NOWHERE, fix="subtract the mean of w · dy")
def mean_term_forgotten(dy, x, weight, bias, eps=1e-5):
    """The mean is taken for a constant."""
    return through(layer_norm, dy, x, weight, bias, eps, mean=0), *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(LAYER, id="ln-backward-no-variance", seen=NOWHERE, fix="subtract x̂ times the mean of w · dy · x̂")
def variance_term_forgotten(dy, x, weight, bias, eps=1e-5):
    """The variance is taken for a constant."""
    return through(layer_norm, dy, x, weight, bias, eps, along=0), *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(LAYER, id="ln-backward-mean", seen="tenstorrent/tt-metal #53204", fix="subtract it once")
def mean_term_twice(dy, x, weight, bias, eps=1e-5):
    """The mean of w · dy is subtracted twice."""
    return through(layer_norm, dy, x, weight, bias, eps, mean=2), *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(
    LAYER,
    id="ln-backward-last-block",
    seen="tenstorrent/tt-metal #53204 (bug 2)",
    fix="carry the sum over the blocks of a row",
)
def sum_of_the_last_block_only(dy, x, weight, bias, eps=1e-5):
    """Of the mean of w · dy · x̂ only what the last entry adds is left."""
    normal, inverse, _ = layer_norm(x, weight, bias, eps)[1]
    u = dy * weight
    along = (u * normal)[..., -1:] / x.shape[-1]
    dx = inverse * (u - u.mean(-1, keepdim=True) - normal * along)
    return dx, *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(
    LAYER,
    id="ln-backward-block-of-rows",
    seen="flagos-ai/FlagGems PR#59",
    fix="the sums of a block of rows are taken row by row",
)
def sums_over_several_rows(dy, x, weight, bias, eps=1e-5):
    """Both means are taken over all rows of a block."""
    normal, inverse, _ = layer_norm(x, weight, bias, eps)[1]
    u = dy * weight
    dx = inverse * (u - (u.sum() + normal * (u * normal).sum()) / x.shape[-1])
    return dx, *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(LAYER, id="ln-backward-missing-w", seen=NOWHERE, fix="pass back w · dy")
def weight_forgotten(dy, x, weight, bias, eps=1e-5):
    """dx from dy: right while the weight is one."""
    return through(layer_norm, dy, x, weight, bias, eps, upstream=dy), *layer_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(LAYER, id="ln-weight-of-input", seen=NOWHERE, fix="Σ dy x̂, with x̂ normalized")
def weight_learns_from_the_input(dy, x, weight, bias, eps=1e-5):
    """Σ dy x."""
    dx, _, db = layer_norm_vjp(dy, x, weight, bias, eps)
    return dx, (dy * x).reshape(-1, len(weight)).sum(0), db


@mistake(LAYER, id="ln-weight-last-row", seen=NOWHERE, fix="sum over the rows")
def vectors_learn_from_the_last_row(dy, x, weight, bias, eps=1e-5):
    """Each row overwrites the gradients of weight and bias of the one before."""
    last_dy, last_x = (t.reshape(-1, len(weight))[-1:] for t in (dy, x))
    return layer_norm_vjp(dy, x, weight, bias, eps)[0], *layer_norm_vjp(last_dy, last_x, weight, bias, eps)[1:]


unbiased = backward_of(LAYER, forward.divided_by_one_less)
epsilon_outside = backward_of(LAYER, forward.epsilon_added_to_the_deviation)
squared = backward_of(LAYER, forward.squared_for_rooted)
padded_lanes = backward_of(LAYER, forward.padding_deviates_from_the_mean)


@mistake(RMS, id="rms-backward-missing-w", seen="karpathy/llm.c PR#763", fix="pass back w · dy, not dy")
def rms_weight_forgotten(dy, x, weight, eps=1e-6):
    """dx from dy: right while the weight is one."""
    return through(rms_norm, dy, x, weight, eps, mean=0, upstream=dy), rms_norm_vjp(dy, x, weight, eps)[1]


@mistake(RMS, id="rms-stored-var-as-rstd", seen="flagos-ai/FlagGems PR#5771", fix="save 1/√(mean x² + ε)")
def mean_square_saved_for_its_inverse_root(dy, x, weight, eps=1e-6):
    """The cache holds mean x² + ε where the backward pass expects 1/√(mean x² + ε)."""
    r = x.square().mean(-1, keepdim=True) + eps
    u = dy * weight
    return r * (u - x * r * (u * x * r).mean(-1, keepdim=True)), (dy * x * r).reshape(-1, len(weight)).sum(0)


@mistake(RMS, id="rms-no-weight-gradient", seen="paiml/trueno PR#178", fix="the weight learns too")
def rms_weight_learns_nothing(dy, x, weight, eps=1e-6):
    """The gradient by the weight is zero."""
    return rms_norm_vjp(dy, x, weight, eps)[0], torch.zeros_like(weight)


@mistake(RMS, id="rms-is-layer-norm", seen="ggml-org/llama.cpp #173; mit-han-lab/omniserve #32", fix="no mean")
def rms_mean_subtracted(dy, x, weight, eps=1e-6):
    """The mean of w · dy is subtracted, as in layer_norm."""
    return through(rms_norm, dy, x, weight, eps), rms_norm_vjp(dy, x, weight, eps)[1]


@mistake(RMS, id="rms-backward-constant", seen=NOWHERE, fix="the mean square depends on x")
def rms_size_taken_for_a_constant(dy, x, weight, eps=1e-6):
    """w · dy/√(mean x² + ε) alone."""
    return through(rms_norm, dy, x, weight, eps, mean=0, along=0), rms_norm_vjp(dy, x, weight, eps)[1]


@mistake(RMS, id="rms-backward-sum", seen=NOWHERE, fix="the mean of u x̂ over the row")
def rms_sum_for_mean(dy, x, weight, eps=1e-6):
    """x̂ times the sum of u x̂, not its mean."""
    dx = through(rms_norm, dy, x, weight, eps, mean=0, along=x.shape[-1])
    return dx, rms_norm_vjp(dy, x, weight, eps)[1]


@mistake(RMS, id="rms-backward-over-rows", seen=NOWHERE, fix="the mean of u x̂ over the entries of one row")
def rms_mean_over_all_rows(dy, x, weight, eps=1e-6):
    """The mean of u x̂ is taken over all rows together."""
    normal, inverse, _ = rms_norm(x, weight, eps)[1]
    u = dy * weight
    return inverse * (u - normal * (u * normal).mean()), rms_norm_vjp(dy, x, weight, eps)[1]


epsilon_hard_coded = backward_of(RMS, forward.epsilon_hard_coded)


@mistake(
    BATCH, id="bn-detached", seen="facebookresearch/CrypTen PR#143; BVLC/caffe PR#1891 (review)", fix="both depend on x"
)
def batch_statistics_taken_for_constants(dy, x, weight, bias, eps=1e-5):
    """The backward pass of evaluation, in training."""
    dx = through(batch_norm, dy, x, weight, bias, eps, axis=0, mean=0, along=0)
    return dx, *batch_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(
    BATCH, id="bn-backward-missing-w", seen="denizyuret/Knet.jl #288; ROCm/MIOpen #104", fix="pass back w · dy, not dy"
)
def batch_weight_forgotten(dy, x, weight, bias, eps=1e-5):
    """dx from dy: right while the weight is one."""
    dx = through(batch_norm, dy, x, weight, bias, eps, axis=0, upstream=dy)
    return dx, *batch_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(BATCH, id="bn-over-features", seen=NOWHERE, fix="over the batch")
def means_over_features(dy, x, weight, bias, eps=1e-5):
    """The two means of the backward pass run along the row, as in layer_norm."""
    dx = through(batch_norm, dy, x, weight, bias, eps, axis=-1)
    return dx, *batch_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(BATCH, id="bn-unbiased", seen="tinygrad/tinygrad PR#807 (review)", fix="N, not N − 1, in the output")
def batch_variance_unbiased(dy, x, weight, bias, eps=1e-5):
    """The term of the variance is divided by N − 1."""
    dx = through(batch_norm, dy, x, weight, bias, eps, axis=0, along=len(x) / (len(x) - 1))
    return dx, *batch_norm_vjp(dy, x, weight, bias, eps)[1:]


@mistake(BATCH, id="bn-bias-mean", seen=NOWHERE, fix="sum over the batch")
def batch_vectors_averaged(dy, x, weight, bias, eps=1e-5):
    """The gradients of weight and bias are means over the batch."""
    dx, dw, db = batch_norm_vjp(dy, x, weight, bias, eps)
    return dx, dw / len(x), db / len(x)
