"""Laws of attention with windows, alignments, biases, caps and sinks."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify import attention_stored
from verify.compare import close
from verify.inputs import booleans, tensor
from verify.suite import Operation

KINDS: list[dict] = [
    {"shape": (2, 4, 2, 3, 5, 4), "causal": True, "window": 2, "kept": 1},
    {"shape": (1, 4, 2, 4, 4, 3), "window": 2, "softcap": 1.5, "bias": (4, 4, 4)},
    {"shape": (2, 2, 2, 2, 5, 4), "causal": True, "alignment": "top_left", "sinks": True, "mask": (2, 5), "scale": 0.3},
    {"shape": (1, 3, 3, 5, 3, 4), "causal": True, "window": 3, "sinks": True, "softcap": 2.0, "bias": (1, 1, 5, 3)},
]
"""B H G T S K, and what is asked for: the twin is compiled for each, so there are few."""
STATIC = {"causal": False, "alignment": "bottom_right", "window": None, "kept": 0, "softcap": None, "scale": None}


@st.composite
def asked(draw, kinds=KINDS):
    """Queries, keys, values, and some of the options."""
    kind = draw(st.sampled_from(kinds))
    B, H, G, T, S, K = kind["shape"]
    arrays = {
        "mask": draw(booleans(*kind["mask"])) if "mask" in kind else None,
        "bias": draw(tensor(*kind["bias"], holes=True)) if "bias" in kind else None,
        "sinks": draw(tensor(H)) if "sinks" in kind else None,
    }
    vectors = {"q": draw(tensor(B, H, T, K)), "k": draw(tensor(B, G, S, K)), "v": draw(tensor(B, G, S, K))}
    return vectors | {name: kind.get(name, default) for name, default in STATIC.items()} | arrays


def places(T, S, causal, alignment, window, kept):
    """Which key each query may see, by its position, counted by hand."""

    def sees(i, j):
        p = i if alignment == "top_left" else i + S - T
        near = window is None or -window < p - j < window or j < kept
        return near and (j <= p or not causal)

    return torch.tensor([[sees(i, j) for j in range(S)] for i in range(T)])


def seen(q, k, mask, bias, causal, alignment, window, kept, **_):
    """B × H × T × S: where the position, the mask and the bias allow it."""
    near = places(q.shape[-2], k.shape[-2], causal, alignment, window, kept)
    near = near if mask is None else near & mask
    return (near if bias is None else near & (bias > -math.inf)).expand(*q.shape[:3], k.shape[-2])


def equal_scores_weigh_what_is_seen(attend, q, k, v, bias, sinks, **options):
    """Of n keys seen with score zero each weighs 1/n; against a sink of score s, 1/(n + e^s)."""
    flat = None if bias is None else torch.where(bias > -math.inf, 0.0, bias)
    weight = seen(q, k, bias=bias, **options).double()
    total = weight.sum(-1, keepdim=True) + (0 if sinks is None else sinks.exp()[:, None, None])
    copies = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
    expected = (weight / total.clamp(min=1e-300)) @ copies
    close(attend(torch.zeros_like(q), k, v, bias=flat, sinks=sinks, **options), expected, scale=1)


def a_bias_multiplies_the_odds(attend, q, k, v, bias, sinks, **options):
    """A bias of ln w gives a key w times the weight, whatever the scale and the cap."""
    shape = (*q.shape[:3], k.shape[-2])
    w = torch.arange(1.0, k.shape[-2] + 1, dtype=torch.float64)
    hidden = torch.zeros(shape, dtype=torch.bool) if bias is None else (bias == -math.inf).expand(shape)
    added = torch.where(hidden, -math.inf, w.log())
    if bias is None or bias.shape != shape:
        added = added[0, 0] if bias is None or bias.ndim == 2 else added[:1, :1] if bias.ndim == 4 else added[0]
    weight = seen(q, k, bias=added, **options) * w
    total = weight.sum(-1, keepdim=True) + (0 if sinks is None else sinks.exp()[:, None, None])
    copies = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
    expected = (weight / total.clamp(min=1e-300)) @ copies
    close(attend(torch.zeros_like(q), k, v, bias=added, sinks=sinks, **options), expected, scale=1)


def two_scores_by_hand(attend, q, k, v, scale, softcap, **_):
    """Scores 3 and 0, capped or not: the first key weighs e^3, or e^(c tanh(3/c))."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    query, key, value = torch.full_like(q, 3 / scale / q.shape[-1]), torch.zeros_like(k), torch.zeros_like(v)
    key[..., 0, :] = value[..., 0, :] = 1
    large = math.exp(3 if softcap is None else softcap * math.tanh(3 / softcap))
    close(attend(query, key, value, scale=scale, softcap=softcap), large / (large + k.shape[-2] - 1))


def no_score_exceeds_the_cap(attend, q, k, v, scale, softcap, **_):
    """However long the query, odds are at most e^(2c)."""
    key, value = torch.ones_like(k), torch.zeros_like(v)
    key[..., 0, :], value[..., 0, :] = -1, 1
    cap = 1.5 if softcap is None else softcap
    least = attend(1e4 * torch.ones_like(q), key, value, scale=scale, softcap=cap)
    close(least, 1 / (1 + (k.shape[-2] - 1) * math.exp(2 * cap)))


def a_sink_is_a_key_without_a_value(attend, q, k, v, sinks, **options):
    """Values of one come out as one minus the weight of the sink; its score is neither scaled nor capped."""
    H = q.shape[1]
    score = torch.linspace(-1, 2, H, dtype=torch.float64) if sinks is None else sinks
    out = attend(torch.zeros_like(q), k, torch.ones_like(v), sinks=score, scale=options["scale"])
    expected = k.shape[-2] / (k.shape[-2] + score.exp())
    close(out, expected[:, None, None].expand_as(q))


def a_query_that_sees_nothing_gives_zeros(attend, q, k, v, **options):
    """With a sink or without."""
    nothing = ~seen(q, k, **options).any(-1)
    out = attend(q, k, v, **options)
    close(out[nothing], torch.zeros_like(out[nothing]), scale=1)


def heads_share_in_blocks(attend, q, k, v, **options):
    """A key-value head for every query head, copied, gives the same."""
    copies = [x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v)]
    close(attend(q, *copies, **options), attend(q, k, v, **options), scale=1)


def hidden_by_a_bias_is_never_read(attend, q, k, v, bias, **options):
    """NaN in a key and value that −∞ hides from every query changes nothing."""
    shape = (q.shape[-2], k.shape[-2]) if bias is None else bias.shape
    wall = torch.zeros(shape, dtype=torch.float64) if bias is None else bias.clone()
    wall[..., 1] = -math.inf
    k2, v2 = k.clone(), v.clone()
    k2[..., 1, :] = v2[..., 1, :] = torch.nan
    close(attend(q, k2, v2, bias=wall, **options), attend(q, k, v, bias=wall, **options), scale=1)


def behind_and_itself(attend, q, k, v, *, window=None, **options):
    """W keys beside the query's own, as flash-attention counts them."""
    return attend(q, k, v, window=None if window is None else window + 1, **options)


OPERATIONS = [
    Operation(
        "attention.attend",
        inputs=asked(),
        laws=[
            equal_scores_weigh_what_is_seen,
            a_bias_multiplies_the_odds,
            two_scores_by_hand,
            no_score_exceeds_the_cap,
            a_sink_is_a_key_without_a_value,
            a_query_that_sees_nothing_gives_zeros,
            heads_share_in_blocks,
            hidden_by_a_bias_is_never_read,
        ],
        gradients=("q", "k", "v"),
        conventions={"a window of W keys beside the query's own": behind_and_itself},
        way_back=attention_stored.attend,
    )
]
