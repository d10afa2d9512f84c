"""Mistakes in attention's windows, alignments, biases, caps and sinks."""

from __future__ import annotations

import torch

from reference.attention import attend, scores, visible
from verify.mistake import mistake

NOWHERE = "no public report found"
ATTEND = "attention.attend"


def copies(q, *xs):
    return [x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in xs]


def positions(q, k, options):
    """The reference's own mask of positions."""
    names = ("causal", "alignment", "window", "kept")
    return visible(q.shape[-2], k.shape[-2], **{name: options[name] for name in names if name in options})


@mistake(
    ATTEND,
    id="swa-two-sided",
    seen="huggingface/transformers #39408; ModelTC/LightLLM PR#1311",
    fix="a causal window is (W − 1, 0)",
)
def window_sees_ahead(q, k, v, *, causal=False, window=None, **options):
    """A window of W keys on both sides, and the causal flag is dropped."""
    return attend(q, k, v, causal=causal and window is None, window=window, **options)


@mistake(
    ATTEND,
    id="swa-off-by-one",
    seen="ml-explore/mlx-lm PR#390; microsoft/onnxruntime PR#25927; zml/zml PR#763",
    fix="W keys in all, the query's own among them",
)
def one_key_more_in_the_window(q, k, v, *, window=None, **options):
    """W keys beside the query's own."""
    return attend(q, k, v, window=None if window is None else window + 1, **options)


@mistake(ATTEND, id="swa-ignored", seen=NOWHERE, fix="hide what is W or more away")
def no_window(q, k, v, *, window=None, **options):
    """The argument is accepted and not used."""
    return attend(q, k, v, **options)


@mistake(
    ATTEND,
    id="swa-position",
    seen="huggingface/transformers PR#41228",
    fix="measure from the query's position, which the cache moves",
)
def window_from_the_first_query(q, k, v, *, window=None, kept=0, mask=None, **options):
    """The window is measured from the query's number, not from its position."""
    T, S = q.shape[-2], k.shape[-2]
    near = visible(T, S, alignment="top_left", window=window, kept=kept)
    return attend(q, k, v, mask=near if mask is None else near & mask, **options)


@mistake(ATTEND, id="first-keys-evicted", seen=NOWHERE, fix="the first keys stay visible behind the window")
def first_keys_are_lost(q, k, v, *, kept=0, **options):
    """The window hides the first keys too."""
    return attend(q, k, v, **options)


@mistake(ATTEND, id="first-keys-ahead", seen=NOWHERE, fix="a causal query sees no key after it, kept or not")
def first_keys_seen_by_all(q, k, v, *, kept=0, mask=None, **options):
    """One key more is kept than was asked for."""
    return attend(q, k, v, kept=kept + 1 if options.get("window") else kept, mask=mask, **options)


@mistake(ATTEND, id="causal-top-left", seen="pytorch/pytorch #103082", fix="the alignment asked for")
def always_bottom_right(q, k, v, *, alignment="bottom_right", **options):
    """The argument is accepted and not used."""
    return attend(q, k, v, **options)


@mistake(
    ATTEND,
    id="softcap-after-mask",
    seen="onnx/onnx PR#7867; emmtrix/emx-onnx-cgen PR#731",
    fix="cap the scores, then add the bias, then mask",
)
def cap_after_the_bias(q, k, v, *, bias=None, softcap=None, **options):
    """Scores and bias are capped together: what −∞ hid comes back as −c."""
    if bias is None or softcap is None:
        return attend(q, k, v, bias=bias, softcap=softcap, **options)
    z = scores(q, copies(q, k)[0], options.get("scale")) + bias
    z = softcap * torch.tanh(z / softcap)
    own = z - scores(q, copies(q, k)[0], options.get("scale"))
    return attend(q, k, v, bias=own, **options)


@mistake(
    ATTEND,
    id="softcap-dropped",
    seen="vllm-project/vllm-metal #665; sgl-project/sglang #33915; sgl-project/sgl-kernel-xpu PR#491",
    fix="c tanh(score/c)",
)
def no_cap(q, k, v, *, softcap=None, **options):
    """The argument is accepted and not used."""
    return attend(q, k, v, **options)


@mistake(ATTEND, id="softcap-not-multiplied-back", seen=NOWHERE, fix="c tanh(score/c)")
def capped_at_one(q, k, v, *, softcap=None, scale=None, bias=None, **options):
    """tanh(score/c)."""
    if softcap is None:
        return attend(q, k, v, scale=scale, bias=bias, **options)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q, k, v, softcap=1.0, scale=scale / softcap, bias=bias, **options)


@mistake(ATTEND, id="softcap-before-scale", seen=NOWHERE, fix="scale first, then cap")
def cap_before_the_scale(q, k, v, *, softcap=None, scale=None, **options):
    """c tanh(q·k/c), and then the scale."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if softcap is None:
        return attend(q, k, v, scale=scale, **options)
    key = copies(q, k)[0]
    bias = options.pop("bias", None)
    z = scale * softcap * torch.tanh(scores(q, key, 1.0) / softcap) - scores(q, key, scale)
    return attend(q, k, v, scale=scale, bias=z if bias is None else z + bias, **options)


@mistake(ATTEND, id="softcap-clipped", seen=NOWHERE, fix="c tanh(score/c), which is smooth")
def cut_off_at_the_cap(q, k, v, *, softcap=None, scale=None, bias=None, **options):
    """Scores are clipped to ±c."""
    if softcap is None:
        return attend(q, k, v, scale=scale, bias=bias, **options)
    z = scores(q, copies(q, k)[0], scale)
    own = z.clamp(-softcap, softcap) - z
    return attend(q, k, v, scale=scale, bias=own if bias is None else own + bias, **options)


@mistake(ATTEND, id="bias-scaled", seen=NOWHERE, fix="add the bias to scaled scores")
def bias_is_scaled_too(q, k, v, *, bias=None, scale=None, **options):
    """(q·k + bias) times the scale."""
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q, k, v, bias=None if bias is None else bias * factor, scale=scale, **options)


@mistake(ATTEND, id="bias-ignored", seen=NOWHERE, fix="add the bias")
def bias_for_hiding_only(q, k, v, *, bias=None, **options):
    """Only its −∞ is read."""
    return attend(q, k, v, bias=None if bias is None else torch.where(bias > -torch.inf, 0.0, bias), **options)


@mistake(ATTEND, id="bias-nan", seen="pytorch/pytorch #41508", fix="a query that sees no key gives zeros")
def bias_hides_by_arithmetic(q, k, v, *, bias=None, sinks=None, softcap=None, scale=None, mask=None, **options):
    """−∞ is added and left to the softmax: a row of it is 0/0, and NaN in a hidden value comes through."""
    if bias is None or sinks is not None:
        return attend(q, k, v, bias=bias, sinks=sinks, softcap=softcap, scale=scale, mask=mask, **options)
    key, value = copies(q, k, v)
    near = positions(q, k, options)
    z = scores(q, key, scale)
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    z = (z + bias).masked_fill(~(near if mask is None else near & mask), -torch.inf)
    return torch.softmax(z, -1) @ value


@mistake(
    ATTEND,
    id="sink-dropped",
    seen="NVIDIA/TransformerEngine #2541; vllm-project/vllm-metal PR#550",
    fix="the sink's score is in the normalizer",
)
def no_sink(q, k, v, *, sinks=None, **options):
    """The argument is accepted and not used."""
    return attend(q, k, v, **options)


@mistake(
    ATTEND,
    id="sink-sigmoid",
    seen="pytorch/torchtitan PR#2211",
    fix="one softmax over the scores and the sink",
)
def sink_against_the_mean(q, k, v, *, sinks=None, **options):
    """The output is multiplied by 1/(1 + e^s), as if the keys together had score zero."""
    out = attend(q, k, v, **options)
    return out if sinks is None else out * torch.sigmoid(-sinks)[:, None, None]


@mistake(ATTEND, id="sink-scaled", seen=NOWHERE, fix="the sink is a score already")
def sink_is_scaled_too(q, k, v, *, sinks=None, scale=None, **options):
    """The sink is multiplied by the scale of the scores."""
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q, k, v, sinks=None if sinks is None else sinks * factor, scale=scale, **options)


@mistake(ATTEND, id="sink-not-exponentiated", seen=NOWHERE, fix="exp(sink) is added to the normalizer")
def sink_added_as_it_is(q, k, v, *, sinks=None, **options):
    """The normalizer gets |s| in place of e^s."""
    return attend(q, k, v, sinks=None if sinks is None else sinks.abs().log(), **options)


@mistake(ATTEND, id="sink-of-another-head", seen=NOWHERE, fix="a sink for each query head")
def sinks_of_the_key_heads(q, k, v, *, sinks=None, **options):
    """All heads get the first sink."""
    return attend(q, k, v, sinks=None if sinks is None else sinks[:1].expand(len(sinks)), **options)


@mistake(ATTEND, id="gqa-tile", seen="onnx/onnx PR#7274; ekzhang/jax-js PR#180", fix="heads 0, 0, 1, 1, not 0, 1, 0, 1")
def heads_tiled(q, k, v, **options):
    """The heads are repeated as a block: query head h reads h mod G."""
    return attend(q, *(x.repeat(1, q.shape[1] // x.shape[1], 1, 1) for x in (k, v)), **options)


@mistake(ATTEND, id="mask-polarity", seen="pytorch/pytorch PR#170415, PR#120668", fix="True means may attend")
def mask_inverted(q, k, v, *, mask=None, **options):
    """True is taken for masked."""
    return attend(q, k, v, mask=None if mask is None else ~mask, **options)
