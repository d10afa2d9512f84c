"""Mistakes in scaled dot-product attention, in its scores, and in which heads share keys and values."""

from __future__ import annotations

import math
from functools import wraps

import torch

from reference.attention import attention, causal_mask, scores
from reference.softmax import softmax
from verify.mistake import mistake

NOWHERE = "no public report found"
GROUPED = "attention.grouped_query_attention"


def allowed(q, k, causal, mask):
    """The reference's own mask, T × S."""
    T, S = q.shape[-2], k.shape[-2]
    full = torch.ones(T, S, dtype=torch.bool)
    causal = causal_mask(T, S) if causal else full
    return causal if mask is None else causal & mask


@mistake("attention.scores", id="attn-unscaled", seen=NOWHERE, fix="multiply by K^-1/2")
def scores_unscaled(q, k, scale=None):
    """The bare inner product is the default."""
    return scores(q, k, scale=1.0 if scale is None else scale)


@mistake(
    "attention.scores",
    id="attn-scale-inverted",
    seen="esceptico/perceiver-io #9; AI-Hypercomputer/maxtext #1370",
    fix="multiply by K^-1/2, do not divide by it",
)
def scores_multiplied_by_root(q, k, scale=None):
    """Divided by K^-1/2."""
    return scores(q, k, scale=q.shape[-1] ** 0.5 if scale is None else scale)


@mistake("attention.scores", id="attn-scale-ignored", seen=NOWHERE, fix="a given scale replaces the default")
def given_scale_is_ignored(q, k, scale=None):
    """The argument is accepted and not used."""
    return scores(q, k)


@mistake("attention.scores", id="attn-hidden-norm", seen=NOWHERE, fix="do not normalise queries or keys unasked")
def cosine_of_query_and_key(q, k, scale=None):
    """Queries and keys are normalised to length √K first."""
    q, k = (torch.nn.functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5 for x in (q, k))
    return scores(q, k, scale=scale)


@mistake("attention.scores", id="attn-keys-against-keys", seen=NOWHERE, fix="rows are queries, columns keys")
def query_read_from_the_last_key(q, k, scale=None):
    """The last query is replaced by the last key, as when a cache is passed for both."""
    q = torch.cat([q[..., :-1, :], k[..., -1:, :]], -2)
    return scores(q, k, scale=scale)


@mistake("attention.attention", id="attn-unscaled", seen=NOWHERE, fix="multiply the scores by K^-1/2")
def unscaled(q, k, v, *, causal=False, mask=None, scale=None):
    """The scores are bare inner products."""
    return attention(q, k, v, causal=causal, mask=mask, scale=1.0 if scale is None else scale)


@mistake(
    "attention.attention",
    id="attn-scale-dmodel",
    seen="lucidrains/vit-pytorch #65; karpathy/ng-video-lecture PR#6; FareedKhan-dev/train-llm-from-scratch PR#3",
    fix="scale by the head dimension: K^-1/2, not (H·K)^-1/2",
)
def scaled_by_model_dimension(q, k, v, *, causal=False, mask=None, scale=None):
    """The model dimension H·K is in the root."""
    D = q.shape[1] * q.shape[-1]
    return attention(q, k, v, causal=causal, mask=mask, scale=D**-0.5 if scale is None else scale)


@mistake(
    "attention.attention",
    id="attn-scale-inverted",
    seen="esceptico/perceiver-io #9; AI-Hypercomputer/maxtext #1370",
    fix="multiply by K^-1/2, do not divide by it",
)
def multiplied_by_root(q, k, v, *, causal=False, mask=None, scale=None):
    """The scores are divided by K^-1/2."""
    return attention(q, k, v, causal=causal, mask=mask, scale=q.shape[-1] ** 0.5 if scale is None else scale)


@mistake("attention.attention", id="attn-scale-twice", seen=NOWHERE, fix="a given scale replaces the default")
def given_scale_on_top_of_default(q, k, v, *, causal=False, mask=None, scale=None):
    """A given scale multiplies K^-1/2 instead of replacing it."""
    scale = None if scale is None else scale * q.shape[-1] ** -0.5
    return attention(q, k, v, causal=causal, mask=mask, scale=scale)


@mistake(
    "attention.attention",
    id="causal-top-left",
    seen="onnx/onnx PR#8068; pytorch/pytorch #103082; old flash-attention per #517",
    fix="align bottom-right: j <= i + S − T",
)
def causal_mask_aligned_top_left(q, k, v, *, causal=False, mask=None, scale=None):
    """Query i sees keys j <= i although it is the (i + S − T)-th position."""
    top_left = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril() if causal else None
    both = top_left if mask is None else mask if top_left is None else top_left & mask
    return attention(q, k, v, mask=both, scale=scale)


@mistake("attention.attention", id="causal-strict", seen=NOWHERE, fix="j <= i + S − T, equality included")
def query_does_not_see_itself(q, k, v, *, causal=False, mask=None, scale=None):
    """The diagonal is masked too."""
    T, S = q.shape[-2], k.shape[-2]
    strict = torch.ones(T, S, dtype=torch.bool).tril(S - T - 1) if causal else None
    return attention(q, k, v, mask=allowed(q, k, causal, mask) & strict if causal else mask, scale=scale)


@mistake("attention.attention", id="causal-ignored", seen=NOWHERE, fix="apply the causal mask as well as the given one")
def given_mask_replaces_causal(q, k, v, *, causal=False, mask=None, scale=None):
    """With a mask given, the causal flag is dropped."""
    return attention(q, k, v, causal=causal and mask is None, mask=mask, scale=scale)


@mistake("attention.attention", id="sees-the-future", seen=NOWHERE, fix="j <= i + S − T")
def one_key_too_many(q, k, v, *, causal=False, mask=None, scale=None):
    """The causal mask lets each query see the next key."""
    T, S = q.shape[-2], k.shape[-2]
    loose = torch.ones(T, S, dtype=torch.bool).tril(S - T + 1) if causal else None
    both = loose if mask is None else mask if loose is None else loose & mask
    return attention(q, k, v, mask=both, scale=scale)


@mistake(
    "attention.attention",
    id="mask-polarity",
    seen="pytorch/pytorch PR#170415, PR#120668",
    fix="True means may attend; invert a mask in which True means masked",
)
def mask_inverted(q, k, v, *, causal=False, mask=None, scale=None):
    """True is taken for masked."""
    return attention(q, k, v, causal=causal, mask=None if mask is None else ~mask, scale=scale)


@mistake("attention.attention", id="mask-after-softmax", seen=NOWHERE, fix="put -inf before the softmax, not 0 after")
def mask_after_softmax(q, k, v, *, causal=False, mask=None, scale=None):
    """Masked weights are zeroed after normalising, so that the rest sum to less than one."""
    return (softmax(scores(q, k, scale)) * allowed(q, k, causal, mask)) @ v


@mistake(
    "attention.attention",
    id="packing-leak",
    seen="huggingface/transformers PR#46634; alex-hh/profam #495; huggingface/trl #784",
    fix="the causal mask and the given one, here block-diagonal, both apply",
)
def causal_replaces_given_mask(q, k, v, *, causal=False, mask=None, scale=None):
    """One causal mask over a pack of documents: the mask that keeps them apart is dropped."""
    return attention(q, k, v, causal=causal, mask=None if causal else mask, scale=scale)


@mistake("attention.attention", id="softmax-over-queries", seen=NOWHERE, fix="normalise over keys, the last axis")
def normalised_over_queries(q, k, v, *, causal=False, mask=None, scale=None):
    """The softmax runs along the queries."""
    masked = scores(q, k, scale).masked_fill(~allowed(q, k, causal, mask), -math.inf)
    return softmax(masked.mT).mT @ v


@mistake(
    "attention.attention",
    id="fully-masked-nan",
    seen="pytorch/pytorch #41508, #103749; tracel-ai/burn PR#4697",
    fix="a query that sees no key gives zeros",
)
def empty_row_is_not_a_number(q, k, v, *, causal=False, mask=None, scale=None):
    """The softmax of a row of -inf is 0/0."""
    masked = scores(q, k, scale).masked_fill(~allowed(q, k, causal, mask), -math.inf)
    return torch.softmax(masked, -1) @ v


@mistake(
    "attention.attention",
    id="fully-masked-nan-backward",
    seen="pytorch/pytorch #41508",
    fix="replace the scores of an empty row before the softmax, not its weights after",
)
def empty_row_is_patched_after_softmax(q, k, v, *, causal=False, mask=None, scale=None):
    """The NaN of an empty row is overwritten by zero; its gradient is 0·NaN all the same."""
    visible = allowed(q, k, causal, mask)
    logits = scores(q, k, scale) + torch.zeros(visible.shape).masked_fill(~visible, -math.inf)
    return torch.softmax(logits, -1).masked_fill(~visible.any(-1, keepdim=True), 0) @ v


@mistake("attention.attention", id="mask-finite-minus", seen=NOWHERE, fix="use -inf, or the least finite number")
def masked_by_a_small_number(q, k, v, *, causal=False, mask=None, scale=None):
    """-10 is added where -inf is meant, so that what is masked keeps a little weight."""
    return softmax(scores(q, k, scale) - 10 * ~allowed(q, k, causal, mask)) @ v


@mistake(
    "attention.attention",
    id="masked-nan-leak",
    seen="pytorch/pytorch #101967",
    fix="replace masked values by zero before multiplying: 0·NaN is NaN",
)
def masked_value_is_multiplied(q, k, v, *, causal=False, mask=None, scale=None):
    """A weight of zero times a value of NaN."""
    return softmax(scores(q, k, scale).masked_fill(~allowed(q, k, causal, mask), -math.inf)) @ v


@mistake("attention.attention", id="softmax-no-max", seen=NOWHERE, fix="subtract the row's maximum before exp")
def exponentials_overflow(q, k, v, *, causal=False, mask=None, scale=None):
    """Scores are exponentiated as they are."""
    weights = scores(q, k, scale).exp() * allowed(q, k, causal, mask)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1, total) @ v


@mistake("attention.attention", id="keys-for-values", seen=NOWHERE, fix="weights multiply the values")
def keys_returned_for_values(q, k, v, *, causal=False, mask=None, scale=None):
    """The keys are averaged instead of the values."""
    return attention(q, k, k, causal=causal, mask=mask, scale=scale)


@mistake("attention.attention", id="values-out-of-step", seen=NOWHERE, fix="key j belongs to value j")
def values_one_late(q, k, v, *, causal=False, mask=None, scale=None):
    """A cache written one place late: key j is paired with value j − 1, and the first with itself."""
    late = torch.cat([v[..., :1, :], v[..., :-1, :]], -2)
    return attention(q, k, late, causal=causal, mask=mask, scale=scale)


def copied(q, *xs):
    """A key-value head for every query head."""
    return [x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in xs]


def shared(f):
    """The mistake f of attention, made after every query head has got its copy of keys and values."""

    @wraps(f)
    def wrong(q, k, v, **options):
        return f(q, *copied(q, k, v), **options)

    wrong.__name__ = f"shared_{f.__name__}"
    return mistake(GROUPED, id=f.mistake.id, seen=f.mistake.seen, fix=f.mistake.fix)(wrong)


shared_scaled_by_model_dimension = shared(scaled_by_model_dimension)
shared_query_does_not_see_itself = shared(query_does_not_see_itself)
shared_one_key_too_many = shared(one_key_too_many)
shared_mask_inverted = shared(mask_inverted)
shared_mask_after_softmax = shared(mask_after_softmax)
shared_masked_value_is_multiplied = shared(masked_value_is_multiplied)


@mistake(
    GROUPED,
    id="gqa-tile",
    seen="onnx/onnx PR#7274; ekzhang/jax-js PR#180; apple/axlearn PR#842; vectorch-ai/ScaleLLM PR#213",
    fix="repeat_interleave: heads 0, 0, 1, 1, not 0, 1, 0, 1",
)
def heads_tiled(q, k, v, **options):
    """The heads are repeated as a block: query head h reads h mod G."""
    return attention(q, *(x.repeat(1, q.shape[1] // x.shape[1], 1, 1) for x in (k, v)), **options)


@mistake(GROUPED, id="gqa-wrong-axis", seen="PrimeIntellect-ai/prime-rl PR#2681", fix="repeat along the head axis")
def repeated_along_the_sequence(q, k, v, **options):
    """Positions are repeated instead of heads, and a reshape cuts the result into H heads."""
    R = q.shape[1] // k.shape[1]
    return attention(q, *(x.repeat_interleave(R, 2).reshape(*q.shape[:2], *x.shape[2:]) for x in (k, v)), **options)


@mistake(GROUPED, id="gqa-divided-by-g", seen="PSAL-POSTECH/ONNXim #33, PR#34", fix="h // (H/G), not h // G")
def head_divided_by_the_number_of_groups(q, k, v, **options):
    """Query head h reads h // G, or the last one."""
    read = (torch.arange(q.shape[1]) // k.shape[1]).clamp(max=k.shape[1] - 1)
    return attention(q, k[:, read], v[:, read], **options)


@mistake(GROUPED, id="gqa-first-head-only", seen=NOWHERE, fix="query head h reads h // (H/G)")
def taken_for_multi_query(q, k, v, **options):
    """All query heads read the first key-value head."""
    return attention(q, *copied(q, k[:, :1], v[:, :1]), **options)


@mistake(GROUPED, id="gqa-heads-reversed", seen=NOWHERE, fix="query head h reads h // (H/G)")
def last_group_first(q, k, v, **options):
    """The key-value heads are read from the last."""
    return attention(q, *copied(q, k.flip(1), v.flip(1)), **options)


@mistake(GROUPED, id="gqa-backward-one-head", seen="ooples/AiDotNet.Tensors PR#633", fix="sum over the sharing heads")
def gradient_of_one_sharing_head(q, k, v, **options):
    """The values are right; of the heads that share, only the first passes its gradient to keys and values."""
    first = (torch.arange(q.shape[1]) % (q.shape[1] // k.shape[1]) == 0)[:, None, None]
    return attention(q, *(torch.where(first, x, x.detach()) for x in copied(q, k, v)), **options)
