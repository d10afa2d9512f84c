"""Mistakes in attention with several heads."""

from __future__ import annotations

from functools import partial

import torch

from reference.attention import attention
from reference.transformer import multi_head_attention
from verify.mistake import mistake

NOWHERE = "no public report found"
HEADS = "transformer.multi_head_attention"


def split(x, weight, bias):
    """The queries, keys or values of all heads, "B H T K"."""
    y = torch.einsum("btd,hkd->bhtk", x, weight)
    return y if bias is None else y + bias[:, None]


def assembled(
    x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal,
    share=lambda keys, times: keys.repeat_interleave(times, 1), attend=attention, join=lambda mixed: mixed, scale=None,
):  # fmt: skip
    """The right one, with other parts."""
    times = len(q) // len(k)
    queries, keys, values = split(x, q, q_bias), *(share(split(x, *w), times) for w in ((k, k_bias), (v, v_bias)))
    y = torch.einsum("bhtk,dhk->btd", join(attend(queries, keys, values, causal=causal, scale=scale)), out)
    return y if out_bias is None else y + out_bias


def with_parts(id, seen, fix, name, doc, **parts):
    """The mistake of one part."""

    def wrong(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
        own = {what: part(q) if what == "scale" else part for what, part in parts.items()}
        return assembled(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal, **own)

    wrong.__name__, wrong.__doc__ = name, doc
    return mistake(HEADS, id=id, seen=seen, fix=fix)(wrong)


tiled_heads = with_parts(
    "gqa-tile", "onnx/onnx PR#7274; ekzhang/jax-js PR#180; apple/axlearn PR#842", "query head h reads h // (H/G)",
    "tiled_heads", "Keys and values are tiled, 0 1 0 1, where query heads come in blocks, 0 0 1 1.",
    share=lambda keys, times: keys.repeat(1, times, 1, 1),
)  # fmt: skip
first_keys_for_all = with_parts(
    "gqa-first-head", NOWHERE, "G heads of keys and values, each for H/G query heads",
    "first_keys_for_all", "All query heads read the first head of keys and values, as in multi-query attention.",
    share=lambda keys, times: keys[:, :1].expand(-1, keys.shape[1] * times, -1, -1),
)  # fmt: skip
heads_joined_without_transposing = with_parts(
    "heads-not-transposed",
    "jsbaan/transformer-from-scratch PR#6; 649453932/Chinese-Text-Classification-Pytorch #10; "
    "ajhalthor/Transformer-Neural-Network #8",
    "move the heads next to their numbers, then lay them side by side",
    "heads_joined_without_transposing", "B H T K is read as if it were B T H K: tokens mix.",
    join=lambda mixed: mixed.reshape(len(mixed), mixed.shape[2], mixed.shape[1], -1).transpose(1, 2),
)  # fmt: skip
numbers_before_heads = with_parts(
    "heads-interleaved", NOWHERE, "the h-th K columns of W_O belong to head h",
    "numbers_before_heads", "Side by side, the first numbers of all heads come first: W_O meets the wrong ones.",
    join=lambda mixed: mixed.permute(0, 2, 3, 1).reshape(*mixed.transpose(1, 2).shape).transpose(1, 2),
)  # fmt: skip
scaled_by_all_heads = with_parts(
    "attn-scale-dmodel",
    "lucidrains/vit-pytorch #65; karpathy/ng-video-lecture PR#6; FareedKhan-dev/train-llm-from-scratch PR#3",
    "K^-1/2, K the numbers of one head",
    "scaled_by_all_heads", "The root of the width of all heads.", scale=lambda q: (q.shape[0] * q.shape[1]) ** -0.5,
)  # fmt: skip
unscaled = with_parts(
    "attn-unscaled", NOWHERE, "multiply the scores by K^-1/2", "unscaled", "Bare inner products.", scale=lambda q: 1.0
)
scaled_by_the_root = with_parts(
    "attn-scale-inverted", "esceptico/perceiver-io #9; AI-Hypercomputer/maxtext #1370", "K^-1/2",
    "scaled_by_the_root", "Divided by K^-1/2.", scale=lambda q: q.shape[1] ** 0.5,
)  # fmt: skip
never_causal = with_parts(
    "causal-ignored", NOWHERE, "pass the flag on", "never_causal", "The flag does not reach the attention.",
    attend=lambda q, k, v, causal, scale: attention(q, k, v, scale=scale),
)  # fmt: skip
always_causal = with_parts(
    "causal-always", NOWHERE, "causal where it is asked for", "always_causal", "The mask is there unasked.",
    attend=lambda q, k, v, causal, scale: attention(q, k, v, causal=True, scale=scale),
)  # fmt: skip


def behind_the_diagonal(by, q, k, v, causal, scale):
    """With a mask that is `by` off."""
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(by) if causal else None
    return attention(q, k, v, mask=mask, scale=scale)


strict_mask = with_parts(
    "causal-strict", NOWHERE, "j ≤ t", "strict_mask", "A token does not see itself.",
    attend=partial(behind_the_diagonal, -1),
)  # fmt: skip
one_token_ahead = with_parts(
    "sees-the-future", NOWHERE, "j ≤ t", "one_token_ahead", "A token sees the next one.",
    attend=partial(behind_the_diagonal, 1),
)  # fmt: skip


@mistake(
    HEADS,
    id="row-parallel-bias",
    seen="huggingface/text-generation-inference #1036; PaddlePaddle/Paddle PR#35186; EleutherAI/gpt-neox #962",
    fix="add the bias of the output once, after the heads' parts are summed",
)
def bias_of_every_head(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """Where heads are computed apart, each adds the bias of the output to its part."""
    y = multi_head_attention(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)
    return y if out_bias is None else y + (len(q) - 1) * out_bias


@mistake(HEADS, id="heads-averaged", seen=NOWHERE, fix="the parts of the heads are added")
def mean_of_the_heads(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """The mean of what the heads give."""
    return multi_head_attention(x, q, k, v, out / len(q), q_bias, k_bias, v_bias, out_bias, causal=causal)


@mistake(
    HEADS,
    id="kv-swapped",
    seen="tenstorrent/tt-mlir #8958 (a fused kernel that takes them in the other order)",
    fix="compare with keys, average values",
)
def keys_for_values(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """Keys and values have changed places."""
    return multi_head_attention(x, q, v, k, out, q_bias, v_bias, k_bias, out_bias, causal=causal)


@mistake(HEADS, id="shared-qk", seen=NOWHERE, fix="queries have a projection of their own")
def keys_ask_as_well(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """The keys' projection makes the queries too."""
    times = len(q) // len(k)
    bias = k_bias if k_bias is None else k_bias.repeat_interleave(times, 0)
    return multi_head_attention(
        x, k.repeat_interleave(times, 0), k, v, out, bias, k_bias, v_bias, out_bias, causal=causal
    )


@mistake(
    HEADS,
    id="qkv-interleaved",
    seen="lablup/mlxcel PR#928; awslabs/slapo PR#46; NVIDIA-NeMo/RL PR#2802",
    fix="cut the fused rows as they were laid: all queries first, or head by head",
)
def fused_rows_cut_head_by_head(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """Rows of one tensor that lie q k v are cut as if they lay q k v for every head."""
    numbers = torch.arange(len(q) + 2 * len(k)).reshape(len(k), -1)
    order = torch.cat([numbers[:, :-2].flatten(), numbers[:, -2], numbers[:, -1]])

    def cut(queries, keys, values):
        return torch.cat([queries, keys, values])[order].split([len(q), len(k), len(v)])

    ask, key, value = (None, None, None) if q_bias is None else cut(q_bias, k_bias, v_bias)
    q, k, v = cut(q, k, v)
    return multi_head_attention(x, q, k, v, out, ask, key, value, out_bias, causal=causal)


@mistake(
    HEADS,
    id="batch-first-taken-for-second",
    seen="rish-16/tokenlearner-pytorch #1; gazelle93/Transformer-Various-Positional-Encoding #1",
    fix="say which axis is the batch; transpose, do not view",
)
def tokens_and_sequences_exchanged(
    x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False
):
    """Attention runs over the batch: sequences see each other, tokens do not."""
    y = multi_head_attention(x.transpose(0, 1), q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)
    return y.transpose(0, 1)


@mistake(
    HEADS,
    id="heads-of-the-input",
    seen="MarcoMeter/episodic-transformer-memory-ppo PR#22",
    fix="every head reads the whole token",
)
def heads_read_a_part(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """The token is cut among the heads before the projections."""
    D = x.shape[-1]

    def cut(weight):
        part = torch.arange(D) * len(weight) // D == torch.arange(len(weight))[:, None]
        return weight * part[:, None]

    return multi_head_attention(x, cut(q), cut(k), cut(v), out, q_bias, k_bias, v_bias, out_bias, causal=causal)


@mistake(HEADS, id="softmax-wrong-axis", seen=NOWHERE, fix="normalize over the keys")
def shares_of_queries(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """Softmax runs over the queries."""

    def attend(q, k, v, causal, scale):
        hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(1) if causal else torch.tensor(False)
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(hidden, -torch.inf)
        return torch.softmax(scores, -2) @ v

    return assembled(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal, attend=attend)


@mistake(HEADS, id="mask-after-softmax", seen=NOWHERE, fix="put −∞ before the softmax, not 0 after")
def masked_after_the_softmax(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """Shares of what is hidden are struck out, and the others do not sum to one."""

    def attend(q, k, v, causal, scale):
        shares = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1)
        return (shares.tril() if causal else shares) @ v

    return assembled(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal, attend=attend)


@mistake(HEADS, id="bias-of-values-forgotten", seen=NOWHERE, fix="W_O moves the bias of the values as well")
def values_without_bias(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """The bias of the values is dropped, as if it cancelled like that of the keys."""
    return multi_head_attention(x, q, k, v, out, q_bias, k_bias, None, out_bias, causal=causal)


@mistake(HEADS, id="bias-of-queries-forgotten", seen=NOWHERE, fix="the bias of the queries meets every key")
def queries_without_bias(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """The bias of the queries is dropped."""
    return multi_head_attention(x, q, k, v, out, None, k_bias, v_bias, out_bias, causal=causal)


@mistake(HEADS, id="causal-default", seen=NOWHERE, fix="causal where it is asked for")
def causal_unless_told(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=True):
    """The mask is the default."""
    return multi_head_attention(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)


@mistake(HEADS, id="residual-inside", seen=NOWHERE, fix="the block adds the stream, once")
def stream_added_here_too(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """The residual sum is taken inside attention."""
    return x + multi_head_attention(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)
