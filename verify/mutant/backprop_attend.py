"""Mistakes in the gradients by hand of attention with windows, alignments, biases, caps and sinks."""

from __future__ import annotations

import torch

from reference.attention import scores, visible
from reference.backprop import attend_vjp
from reference.backprop_attention import attend as pair
from verify.mistake import mistake

NOWHERE = "no public report found"
ATTEND = "backprop.attend_vjp"


def added(copies):
    return copies.sum(2)


def walk(
    dy, q, k, v, options, *,
    weights=lambda p, none: p, D=lambda p, dp, none: (p * dp).sum(-1, keepdim=True), slope=lambda cache: cache.slope,
    heads=added, by_bias=lambda dz, ds, shape: dz.sum_to_size(shape), slope_k=None,
    by_sinks=lambda p, dp, none: -(none * (p * dp).sum(-1)).sum((0, 2)),
):  # fmt: skip
    """The way back with the parts that a mistake may replace."""
    cache = pair(q, k, v, **options)[1]
    q, k, v, p, _, G, shape = cache
    p, none = p[..., : k.shape[2]], p[..., k.shape[2]] if p.shape[-1] > k.shape[2] else None
    p, dp = weights(p, none), dy @ v.mT
    dz = p * (dp - D(p, dp, none))
    ds, dv = dz * slope(cache), p.mT @ dy
    dk = (ds if slope_k is None else dz * slope_k(cache)).mT @ q
    found = [ds @ k, *(heads(d.unflatten(1, (G, -1))) for d in (dk, dv))]
    found += [] if shape is None else [by_bias(dz, ds, shape)]
    return found + ([] if none is None else [by_sinks(p, dp, none)])


def plain_slope(q, options):
    """The scale, as if there were no cap."""
    return q.shape[-1] ** -0.5 if options.get("scale") is None else options["scale"]


def kept(none):
    """What the sink leaves to the keys of a row; something where there are none."""
    return (1 - none)[..., None].clamp(1e-30)


@mistake(
    ATTEND,
    id="softcap-backward-dropped",
    seen="Dao-AILab/flash-attention #1065",
    fix="ds is dz times the scale and the cap's slope, 1 − (z/c)²",
)
def cap_taken_for_straight(dy, q, k, v, **options):
    """The gradient passes the cap unchanged."""
    return walk(dy, q, k, v, options, slope=lambda cache: plain_slope(q, options))


@mistake(ATTEND, id="softcap-slope", seen=NOWHERE, fix="1 − (z/c)² of the capped score z")
def slope_of_the_score_before_the_cap(dy, q, k, v, **options):
    """1 − (x/c)² of the score x that is not capped yet: below zero where x is beyond c."""
    if (c := options.get("softcap")) is None:
        return attend_vjp(dy, q, k, v, **options)

    def slope(cache):
        return plain_slope(q, options) * (1 - (scores(q, cache.k, options.get("scale")) / c) ** 2)

    return walk(dy, q, k, v, options, slope=slope)


@mistake(ATTEND, id="bias-through-the-cap", seen=NOWHERE, fix="the bias is added to what is capped: it gets dz")
def bias_gets_what_the_scores_get(dy, q, k, v, **options):
    """The gradient of the bias has the slope of the cap, and the scale."""
    return walk(dy, q, k, v, options, by_bias=lambda dz, ds, shape: ds.sum_to_size(shape))


@mistake(
    ATTEND,
    id="broadcast-no-unreduce",
    seen="HKUSTDial/flash-sparse-attention PR#193, PR#199",
    fix="sum over the axes along which the bias was broadcast",
)
def bias_gradient_of_every_head(dy, q, k, v, **options):
    """The gradient of the bias keeps all sequences and heads."""
    return walk(dy, q, k, v, options, by_bias=lambda dz, ds, shape: dz)


@mistake(ATTEND, id="bias-mean", seen=NOWHERE, fix="sum: the loss has its mean already")
def bias_gradient_averaged(dy, q, k, v, **options):
    """The mean over the axes along which the bias was broadcast."""
    return walk(dy, q, k, v, options, by_bias=lambda dz, ds, shape: dz.sum_to_size(shape) * shape.numel() / dz.numel())


@mistake(
    ATTEND,
    id="sink-backward-normalizer",
    seen="NVIDIA/cudnn-frontend PR#421",
    fix="the normalizer has the sink on the way back as well",
)
def weights_made_again_without_the_sink(dy, q, k, v, **options):
    """Weights are recomputed from the keys alone, so that a row sums to one."""
    return walk(dy, q, k, v, options, weights=lambda p, none: p if none is None else p / kept(none))


@mistake(
    ATTEND,
    id="sink-lse-detached",
    seen="pytorch/torchtitan PR#4796",
    fix="the share of the sink depends on queries and keys: dz = p(dp − D)",
)
def share_of_the_sink_taken_for_a_constant(dy, q, k, v, **options):
    """σ(L − s) times plain attention, of which L, the log-sum-exp, passes nothing on: D is divided by 1 − p₀."""

    def D(p, dp, none):
        return (p * dp).sum(-1, keepdim=True) / (1 if none is None else kept(none))

    return walk(dy, q, k, v, options, D=D)


@mistake(
    ATTEND,
    id="sink-no-gradient",
    seen="Dao-AILab/flash-attention #1973; ISEEKYAN/Megatron-LM PR#205",
    fix="a sink gets −Σ p₀ D",
)
def sinks_learn_nothing(dy, q, k, v, **options):
    """The gradient of the sinks is computed and lost, or was never written."""
    return walk(dy, q, k, v, options, by_sinks=lambda p, dp, none: torch.zeros(none.shape[1], dtype=p.dtype))


@mistake(ATTEND, id="sink-no-delta", seen=NOWHERE, fix="−Σ p₀ D, with D = ⟨y, dy⟩")
def sinks_get_their_weight(dy, q, k, v, **options):
    """−Σ p₀(1 − p₀): the sink is judged by its weight, not by what the keys' values are worth."""
    return walk(dy, q, k, v, options, by_sinks=lambda p, dp, none: -(none * (1 - none)).sum((0, 2)))


@mistake(ATTEND, id="sink-of-one-sequence", seen=NOWHERE, fix="sum over all sequences")
def sinks_learn_from_the_last_sequence(dy, q, k, v, **options):
    """Each sequence overwrites what the one before has left."""
    return walk(dy, q, k, v, options, by_sinks=lambda p, dp, none: -(none * (p * dp).sum(-1))[-1].sum(-1))


@mistake(ATTEND, id="gqa-backward-overwrite", seen=NOWHERE, fix="sum over the query heads that share a head of keys")
def last_query_head_wins(dy, q, k, v, **options):
    """Each query head overwrites the gradient of the keys and values that it shares."""
    return walk(dy, q, k, v, options, heads=lambda copies: copies[:, :, -1])


@mistake(
    ATTEND,
    id="gqa-backward-no-reduce",
    seen="marin-community/levanter PR#449",
    fix="sum over the query heads that share a head of keys",
)
def keys_keep_the_copies(dy, q, k, v, **options):
    """Keys and values get a gradient for every query head."""
    return walk(dy, q, k, v, options, heads=lambda copies: copies.flatten(1, 2))


@mistake(
    ATTEND,
    id="gqa-backward-tile",
    seen="XunhaoLai/native-sparse-attention-triton #27; fla-org/flash-linear-attention PR#384 (review)",
    fix="query head h belongs to h // (H/G), backward as forward",
)
def gradients_of_other_heads(dy, q, k, v, **options):
    """On the way back query head h belongs to h mod G."""
    return walk(dy, q, k, v, options, heads=lambda copies: copies.flatten(1, 2).unflatten(1, (-1, k.shape[1])).sum(1))


@mistake(ATTEND, id="attn-backward-unscaled-k", seen=NOWHERE, fix="the scale is a factor of dq and dk")
def scale_forgotten_for_the_keys(dy, q, k, v, **options):
    """dk lacks the scale."""
    return walk(dy, q, k, v, options, slope_k=lambda cache: cache.slope / plain_slope(q, options))


@mistake(
    ATTEND,
    id="swa-backward-ignored",
    seen="meta-pytorch/MSLK PR#263",
    fix="the backward pass has the forward pass's window",
)
def backward_without_the_window(dy, q, k, v, *, window=None, **options):
    """The weights are computed again for the backward pass, without the window."""
    return attend_vjp(dy, q, k, v, **options)


@mistake(
    ATTEND,
    id="swa-backward-one-side",
    seen="AMD-AGI/Primus-Turbo PR#262 (review)",
    fix="where nothing is causal a window ends on both sides, backward as forward",
)
def backward_sees_all_ahead(dy, q, k, v, *, window=None, kept=0, mask=None, **options):
    """The backward pass is told how far the window reaches back, and not how far ahead."""
    T, S = q.shape[2], k.shape[2]
    near = visible(T, S, window=window, kept=kept, alignment=options.get("alignment", "bottom_right"))
    ahead = torch.arange(S) > torch.arange(T)[:, None] + (0 if options.get("alignment") == "top_left" else S - T)
    return attend_vjp(dy, q, k, v, mask=near | ahead if mask is None else (near | ahead) & mask, **options)


@mistake(
    ATTEND,
    id="causal-backward-top-left",
    seen="xlite-dev/ffpa-attn PR#300",
    fix="the backward pass has the forward pass's alignment",
)
def backward_aligned_top_left(dy, q, k, v, *, alignment="bottom_right", **options):
    """The backward pass compares numbers of queries and keys, without the offset S − T."""
    return attend_vjp(dy, q, k, v, alignment="top_left", **options)


@mistake(
    ATTEND,
    id="fully-masked-nan-backward",
    seen="Dao-AILab/flash-attention #443",
    fix="where the log-sum-exp is −∞ the weights are zero",
)
def empty_row_made_again(dy, q, k, v, **options):
    """Weights are made again as e^(z − L), which is e^(−∞ + ∞) for a query that sees nothing."""

    def again(p, none):
        whole = p.sum(-1, keepdim=True)
        return torch.exp(p.log() - whole.log()) * whole

    return walk(dy, q, k, v, options, weights=again)
