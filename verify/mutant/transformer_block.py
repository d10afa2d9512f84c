"""Mistakes in a transformer's block."""

from __future__ import annotations

from functools import wraps

import torch

from reference.normalization import layer_norm, rms_norm
from reference.transformer import block, feed_forward, multi_head_attention
from reference.transformer_weights import BLOCK
from verify.mistake import mistake
from verify.mutant.transformer import NOWHERE

ONE = "transformer.block"


def parts(weights, options):
    """(norm1, attention, norm2, feed-forward) of a block, as functions of a stream."""
    w = dict(zip(BLOCK, weights, strict=False)) | {n: x for n, x in options.items() if n in BLOCK}
    causal, form, eps = options.get("causal", True), options.get("approximate", "tanh"), options.get("eps", 1e-5)
    heads = [w[n] for n in ("q", "k", "v", "out", "q_bias", "k_bias", "v_bias", "out_bias")]
    layer = [w[n] for n in ("up", "down", "up_bias", "down_bias")]
    return (
        lambda x: layer_norm(x, w["norm1"], w["norm1_bias"], eps),
        lambda x: multi_head_attention(x, *heads, causal=causal),
        lambda x: layer_norm(x, w["norm2"], w["norm2_bias"], eps),
        lambda x: feed_forward(x, *layer, approximate=form),
    )


def rebuilt(*, id, seen=NOWHERE, fix):
    """A wrong block: how the four parts are put together where norms are "pre" and where they are "post"."""

    def attach(body):
        @wraps(body)
        def wrong(x, *weights, **options):
            return body(x, options.get("norms", "pre"), *parts(weights, options))

        return mistake(ONE, id=id, seen=seen, fix=fix)(wrong)

    return attach


def put_together(x, norms, first, attend, second, think):
    """The right one."""
    if norms == "pre":
        x = x + attend(first(x))
        return x + think(second(x))
    x = first(x + attend(x))
    return second(x + think(x))


@rebuilt(id="norms-always-post", fix="GPT-2's norms stand before the branches")
def always_post(x, norms, *four):
    """The first transformer's order, whatever is asked for."""
    return put_together(x, "post", *four)


@rebuilt(
    id="norms-always-pre",
    seen="k2-fsa/snowfall PR#184 (the option did not reach the layers)",
    fix="pass on where the norms stand",
)
def always_pre(x, norms, *four):
    """Pre-norm, whatever is asked for."""
    return put_together(x, "pre", *four)


@rebuilt(
    id="residual-of-the-norm",
    seen="pytorch/pytorch #61165; Howuhh/faster-trajectory-transformer #3; tracel-ai/burn #1056",
    fix="x + f(norm(x)): the stream itself is not normed",
)
def stream_is_normed(x, norms, first, attend, second, think):
    """norm(x) + f(norm(x))."""
    if norms == "post":
        return put_together(x, norms, first, attend, second, think)
    x = first(x)
    x = second(x + attend(x))
    return x + think(x)


@rebuilt(
    id="residual-of-the-second-norm",
    seen="SHI-Labs/Compact-Transformers #25; dmlc/gluon-nlp PR#1488",
    fix="the feed-forward layer is added to the stream, not to what it reads",
)
def second_branch_joins_the_norm(x, norms, first, attend, second, think):
    """The first branch is right; the second adds to its own normed input."""
    if norms == "post":
        return put_together(x, norms, first, attend, second, think)
    x = second(x + attend(first(x)))
    return x + think(x)


@rebuilt(id="post-norm-keeps-the-sum", seen="NVIDIA-NeMo/Speech PR#4350", fix="what is added later is the normed sum")
def sum_goes_on_unnormed(x, norms, first, attend, second, think):
    """Post-norm, but the second branch is added to the sum before its norm."""
    if norms == "pre":
        return put_together(x, norms, first, attend, second, think)
    x = x + attend(x)
    return second(x + think(first(x)))


@rebuilt(
    id="one-norm-for-both",
    seen="allenai/OLMo #222; ml-explore/mlx #1636",
    fix="each branch has a norm of its own",
)
def first_norm_twice(x, norms, first, attend, second, think):
    """The first norm stands in both places."""
    return put_together(x, norms, first, attend, first, think)


@rebuilt(id="second-norm-missing", seen="agentdr1/LA_MIL #3 (declared, never used)", fix="norm(x) before both branches")
def second_norm_is_not_used(x, norms, first, attend, second, think):
    """The feed-forward layer reads the stream as it is."""
    return put_together(x, norms, first, attend, lambda x: x, think)


@rebuilt(
    id="parallel-branches", fix="the feed-forward layer reads what attention has left; GPT-J has them side by side"
)
def side_by_side(x, norms, first, attend, second, think):
    """Both branches read the same stream."""
    if norms == "post":
        return put_together(x, norms, first, attend, second, think)
    return x + attend(first(x)) + think(second(x))


@rebuilt(id="branches-exchanged", fix="attention first")
def feed_forward_first(x, norms, first, attend, second, think):
    """The feed-forward layer comes before attention."""
    return put_together(x, norms, second, think, first, attend)


@rebuilt(id="first-residual-missing", fix="x + f(norm(x)) in both branches")
def attention_replaces_the_stream(x, norms, first, attend, second, think):
    """What attention gives is not added."""
    return put_together(x, norms, first, lambda n: attend(n) - (x if norms == "pre" else n), second, think)


@rebuilt(id="second-residual-missing", fix="x + f(norm(x)) in both branches")
def feed_forward_replaces_the_stream(x, norms, first, attend, second, think):
    """What the feed-forward layer gives is not added."""
    if norms == "post":
        return second(think(first(x + attend(x))))
    x = x + attend(first(x))
    return think(second(x))


@rebuilt(id="residual-scaled", fix="the sum is not divided: depth is met where weights are drawn")
def sum_over_the_root_of_two(x, norms, first, attend, second, think):
    """(x + f)/√2 in both branches."""
    x = put_together(x, norms, first, attend, lambda x: x, lambda x: 0 * x) / 2**0.5
    return (x + think(second(x))) / 2**0.5 if norms == "pre" else second(x + think(x))


def with_options(operation, function, id, seen, fix, name, doc, **forced):
    """The function with options of its own, whatever is asked for."""

    def wrong(*arguments, **options):
        return function(*arguments, **{**options, **forced})

    wrong.__name__, wrong.__doc__ = name, doc
    return mistake(operation, id=id, seen=seen, fix=fix)(wrong)


sees_the_future = with_options(
    ONE, block, "causal-ignored", NOWHERE, "causal reaches attention", "sees_the_future", "There is no mask.",
    causal=False,
)  # fmt: skip
masked_unasked = with_options(
    ONE, block, "causal-always", NOWHERE, "an encoder has no mask", "masked_unasked", "There always is a mask.",
    causal=True,
)  # fmt: skip
erf_in_the_block = with_options(
    ONE, block, "gelu-erf-vs-tanh", "google/gemma_pytorch PR#37; huggingface/transformers PR#29402",
    "the form that is asked for", "erf_in_the_block", "gelu with erf, whatever is asked for.", approximate="none",
)  # fmt: skip
other_epsilon = with_options(
    ONE, block, "ln-eps-value", NOWHERE, "ε is 10⁻⁵ unless told otherwise", "other_epsilon", "ε = 10⁻¹², BERT's.",
    eps=1e-12,
)  # fmt: skip


def default_of(function, operation, id, fix, name, doc, **other):
    """The function with another default."""

    def wrong(*arguments, **options):
        return function(*arguments, **{**other, **options})

    wrong.__name__, wrong.__doc__ = name, doc
    return mistake(operation, id=id, seen=NOWHERE, fix=fix)(wrong)


post_unless_told = default_of(
    block, ONE, "norms-default", "pre-norm unless told otherwise", "post_unless_told", "Post-norm is the default.",
    norms="post",
)  # fmt: skip


def with_norm(norm, id, seen, fix, name, doc):
    """A block with another norm in both places."""

    def body(x, *weights, **options):
        w = dict(zip(BLOCK, weights, strict=False)) | {n: v for n, v in options.items() if n in BLOCK}
        eps = options.get("eps", 1e-5)
        _, attend, _, think = parts(weights, options)
        first, second = (
            lambda x, n=n: norm(x, eps) * w[n] + (0 if w[f"{n}_bias"] is None else w[f"{n}_bias"])
            for n in ("norm1", "norm2")
        )
        return put_together(x, options.get("norms", "pre"), first, attend, second, think)

    body.__name__, body.__doc__ = name, doc
    return mistake(ONE, id=id, seen=seen, fix=fix)(body)


divided_by_one_less = with_norm(
    lambda x, eps: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps),
    "ln-unbiased-var", "harvardnlp/annotated-transformer PR#119", "the variance has the divisor D",
    "divided_by_one_less", "The variance has the divisor D − 1.",
)  # fmt: skip
epsilon_beside_the_root = with_norm(
    lambda x, eps: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, unbiased=False) + eps),
    "ln-eps-outside-sqrt", "codertimo/BERT-pytorch #30; hyunwoongko/transformer #7", "√(σ² + ε)",
    "epsilon_beside_the_root", "σ + ε.",
)  # fmt: skip
not_centred = with_norm(
    lambda x, eps: rms_norm(x, None, eps),
    "rms-for-layer-norm", NOWHERE, "GPT-2's norm takes the mean away", "not_centred", "RMSNorm.",
)  # fmt: skip
normed_over_tokens = with_norm(
    lambda x, eps: torch.nn.functional.layer_norm(x, x.shape[1:], eps=eps),
    "ln-all-axes", "Qualcomm-AI-research/geometric-algebra-transformer PR#8", "each token has its own mean",
    "normed_over_tokens", "Mean and variance are taken over all tokens of a sequence.",
)  # fmt: skip


normed_over_the_batch = with_norm(
    lambda x, eps: (x - x.mean((0, 1))) / torch.sqrt(x.var((0, 1), unbiased=False) + eps),
    "batch-norm-for-layer-norm", NOWHERE, "a token is normed by itself",
    "normed_over_the_batch", "Each feature is normed over all tokens of the batch.",
)  # fmt: skip
