"""Mistakes in the gradients by hand of attention and of the transformer block."""

from __future__ import annotations

from functools import partial

import torch

import verify.mutant.attention as forward
from reference.attention import scores
from reference.backprop import attention_vjp, block_vjp
from reference.backprop_attention import attention as pair
from reference.backprop_attention import attention_backward
from reference.backprop_block import Weights, block, feed_forward_backward, heads, side_by_side
from reference.backprop_layers import linear_backward, residual_backward
from reference.backprop_norms import layer_norm_backward
from reference.softmax import softmax
from verify.mistake import mistake
from verify.mutant.attention import allowed
from verify.mutant.backprop import backward_of

NOWHERE = "no public report found"
ATTENTION, BLOCK = "backprop.attention_vjp", "backprop.block_vjp"

scaled_by_model_dimension = backward_of(ATTENTION, forward.scaled_by_model_dimension)
multiplied_by_root = backward_of(ATTENTION, forward.multiplied_by_root)
causal_mask_aligned_top_left = backward_of(ATTENTION, forward.causal_mask_aligned_top_left)
query_does_not_see_itself = backward_of(ATTENTION, forward.query_does_not_see_itself)
mask_inverted = backward_of(ATTENTION, forward.mask_inverted)
mask_after_softmax = backward_of(ATTENTION, forward.mask_after_softmax)
causal_replaces_given_mask = backward_of(ATTENTION, forward.causal_replaces_given_mask)
empty_row_is_patched_after_softmax = backward_of(ATTENTION, forward.empty_row_is_patched_after_softmax)
masked_value_is_multiplied = backward_of(ATTENTION, forward.masked_value_is_multiplied)


@mistake(ATTENTION, id="attn-backward-unscaled", seen=NOWHERE, fix="the scale is a factor of dq and dk")
def scale_forgotten_on_the_way_back(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """dq and dk lack the scale."""
    dq, dk, dv = attention_vjp(dy, q, k, v, causal=causal, mask=mask, scale=scale)
    factor = pair(q, k, v, causal=causal, mask=mask, scale=scale)[1].slope or 1.0
    return dq / factor, dk / factor, dv


@mistake(
    ATTENTION,
    id="attn-backward-scale-twice",
    seen="HKUSTDial/flash-sparse-attention PR#203",
    fix="scale ds once, or q and k, but not both",
)
def queries_scaled_twice(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """dq is scaled where ds was."""
    dq, dk, dv = attention_vjp(dy, q, k, v, causal=causal, mask=mask, scale=scale)
    return dq * pair(q, k, v, causal=causal, mask=mask, scale=scale)[1].slope, dk, dv


def with_delta(part, dy, q, k, v, causal, mask, scale):
    """The backward pass with ds = p(dp − δ), of δ = ⟨y, dy⟩ only what this part of dy adds."""
    q, k, v, p, scale = pair(q, k, v, causal=causal, mask=mask, scale=scale)[1][:5]
    delta = (p * ((dy * part) @ v.mT)).sum(-1, keepdim=True)
    ds = p * (dy @ v.mT - delta) * scale
    return ds @ k, ds.mT @ q, p.mT @ dy


@mistake(ATTENTION, id="attn-backward-no-delta", seen=NOWHERE, fix="subtract δ = ⟨p, dp⟩ = ⟨y, dy⟩ of the row")
def delta_left_out(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """ds = p dp: softmax's cross term is missing."""
    return with_delta(0, dy, q, k, v, causal, mask, scale)


@mistake(
    ATTENTION,
    id="flash-bwd-delta",
    seen="Dao-AILab/flash-attention PR#2481",
    fix="δ = ⟨y, dy⟩ over the whole head dimension",
)
def delta_of_half_the_head(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """δ is taken from a gradient that is not yet written to its end."""
    half = torch.arange(dy.shape[-1]) < dy.shape[-1] // 2
    return with_delta(half, dy, q, k, v, causal, mask, scale)


@mistake(
    ATTENTION,
    id="ring-stale-kv",
    seen="huggingface/diffusers #14265, PR#14274; NVIDIA/TransformerEngine #1557",
    fix="the keys and values of the step, not of the first",
)
def keys_of_the_first_step(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """Keys and values come in two parts; the backward pass reads the first one twice."""
    q, k, v, p, scale = pair(q, k, v, causal=causal, mask=mask, scale=scale)[1][:5]
    part = torch.arange(k.shape[2]) % (k.shape[2] - k.shape[2] // 2)
    dp = dy @ v[:, :, part].mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
    return ds @ k[:, :, part], ds.mT @ q, p.mT @ dy


@mistake(
    ATTENTION,
    id="attn-backward-not-causal",
    seen="meta-pytorch/MSLK PR#263; triton-lang/triton #4541 (the other way round)",
    fix="the backward pass has the forward pass's mask",
)
def backward_without_the_causal_mask(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """The weights are computed again for the backward pass, without the causal mask."""
    return attention_vjp(dy, q, k, v, causal=False, mask=mask, scale=scale)


@mistake(ATTENTION, id="attn-backward-mask-after", seen=NOWHERE, fix="p of the masked scores, on the way back as well")
def weights_recomputed_without_the_mask(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """Recomputed weights are masked after the softmax, so that rows sum to less than one."""
    p = softmax(scores(q, k, scale)) * allowed(q, k, causal, mask)
    dp, scale = dy @ v.mT, q.shape[-1] ** -0.5 if scale is None else scale
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
    return ds @ k, ds.mT @ q, p.mT @ dy


@mistake(ATTENTION, id="attn-backward-qk-exchanged", seen=NOWHERE, fix="dq = ds k, dk = dsᵀ q")
def keys_get_the_gradient_untransposed(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """dk = ds q: a transpose is missing, which shows no error where there are as many queries as keys."""
    dq, dk, dv = attention_vjp(dy, q, k, v, causal=causal, mask=mask, scale=scale)
    if q.shape[2] != k.shape[2]:
        return dq, torch.zeros_like(dk), dv
    q, k, v, p, scale = pair(q, k, v, causal=causal, mask=mask, scale=scale)[1][:5]
    dp = dy @ v.mT
    return dq, (p * (dp - (p * dp).sum(-1, keepdim=True)) * scale) @ q, dv


@mistake(ATTENTION, id="attn-backward-values-only", seen=NOWHERE, fix="the weights have a gradient too")
def weights_taken_for_constants(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """Queries and keys learn nothing."""
    dq, dk, dv = attention_vjp(dy, q, k, v, causal=causal, mask=mask, scale=scale)
    return torch.zeros_like(dq), torch.zeros_like(dk), dv


def attended(dy, cache, core=attention_backward, split=heads, together=sum, norm=layer_norm_backward):
    """The backward pass of the attention branch, with other parts."""
    dmixed, *out = linear_backward(dy, cache.out)
    parts = core(split(dmixed, cache.attention.q.shape[1]), cache.attention)
    pairs = zip(parts, (cache.q, cache.k, cache.v), strict=True)
    (dq, *q), (dk, *k), (dv, *v) = (linear_backward(side_by_side(part), of) for part, of in pairs)
    dx, *vectors = norm(together((dq, dk, dv)), cache.norm)
    return dx, *vectors, *q, *k, *v, *out


def rebuilt(dy, x, weights, H, options, first=residual_backward, second=residual_backward, **parts):
    """The backward pass of the block, with other parts."""
    _, cache = block(x, Weights(*weights), H, **options)
    dx, *fed = second(dy, feed_forward_backward, cache.fed)
    dx, *others = first(dx, partial(attended, **parts), cache.attended)
    return dx, *others, *fed


def branch_only(dy, branch_backward, cache):
    """A residual layer without its identity path."""
    return branch_backward(dy, cache)


@mistake(BLOCK, id="grad-overwrite", seen="paiml/entrenar #313", fix="add the gradient that passes by the branch")
def second_identity_path_lost(dy, x, weights, H, **options):
    """What passes by the feed-forward layer is not added to what comes out of it."""
    return rebuilt(dy, x, weights, H, options, second=branch_only)


@mistake(BLOCK, id="grad-overwrite-first", seen="maciejkula/wyrm PR#11", fix="add, do not assign")
def first_identity_path_lost(dy, x, weights, H, **options):
    """What passes by attention is not added to what comes out of it."""
    return rebuilt(dy, x, weights, H, options, first=branch_only)


@mistake(BLOCK, id="qkv-overwrite", seen="callummcdougall/ARENA_2.0 PR#18", fix="the three gradients add")
def last_reader_wins(dy, x, weights, H, **options):
    """Queries, keys and values read one row; only the gradient of the values is left."""
    return rebuilt(dy, x, weights, H, options, together=lambda found: found[-1])


@mistake(BLOCK, id="heads-reshaped", seen=NOWHERE, fix="transpose, then lay the heads side by side; back likewise")
def heads_cut_without_transposing(dy, x, weights, H, **options):
    """The gradient is cut into heads by a reshape: some positions of one head land in another."""
    return rebuilt(dy, x, weights, H, options, split=lambda x, H: x.reshape(x.shape[0], H, x.shape[1], -1))


@mistake(BLOCK, id="softmax-backward-no-dot", seen="HomericIntelligence/Odyssey #2134", fix="ds = p(dp − ⟨p, dp⟩)")
def dot_product_left_out(dy, x, weights, H, **options):
    """ds = p dp inside attention: even the bias of the keys gets a gradient."""

    def core(dy, cache):
        q, k, v, p, scale = cache[:5]
        ds = p * (dy @ v.mT) * scale
        return ds @ k, ds.mT @ q, p.mT @ dy

    return rebuilt(dy, x, weights, H, options, core=core)


@mistake(BLOCK, id="ln-detached", seen=NOWHERE, fix="mean and variance depend on x")
def norm_taken_for_a_scaling(dy, x, weights, H, **options):
    """The statistics of the first norm are taken for constants."""

    def norm(dy, cache):
        return dy * cache.weight * cache.inverse, *layer_norm_backward(dy, cache)[1:]

    return rebuilt(dy, x, weights, H, options, norm=norm)


@mistake(BLOCK, id="gelu-erf-vs-tanh", seen="kulinseth/pytorch PR#284 (MPS)", fix="the form that was computed")
def always_the_erf_form(dy, x, weights, H, *, causal=True, approximate="tanh", eps=1e-5):
    """The slope of the erf form, whatever was computed."""
    return block_vjp(dy, x, weights, H, causal=causal, approximate="none", eps=eps)


@mistake(BLOCK, id="batch-mean", seen="kvfrans/notes #5", fix="sum: the loss has its mean already")
def weights_averaged_over_sequences(dy, x, weights, H, **options):
    """The gradients of the weights are means over the batch."""
    dx, *others = block_vjp(dy, x, weights, H, **options)
    return dx, *(g / len(x) for g in others)


@mistake(BLOCK, id="sees-the-future", seen="meta-pytorch/MSLK PR#263", fix="the same mask forward and backward")
def backward_sees_the_future(dy, x, weights, H, *, causal=True, approximate="tanh", eps=1e-5):
    """The backward pass has no causal mask."""
    return block_vjp(dy, x, weights, H, causal=False, approximate=approximate, eps=eps)


@mistake(
    BLOCK, id="attn-scale-dmodel", seen="lucidrains/vit-pytorch #65; karpathy/ng-video-lecture PR#6", fix="K, not D"
)
def scaled_by_the_width(dy, x, weights, H, **options):
    """On the way back the scale is 1/√D."""

    def core(dy, cache):
        return attention_backward(dy, cache._replace(slope=x.shape[-1] ** -0.5))

    return rebuilt(dy, x, weights, H, options, core=core)


@mistake(BLOCK, id="bias-last-row", seen="mlpack/mlpack PR#3679", fix="sum over all positions")
def last_bias_learns_from_the_last_position(dy, x, weights, H, **options):
    """Each position overwrites the gradient of the one before."""
    *others, _ = block_vjp(dy, x, weights, H, **options)
    return *others, dy[-1, -1]
