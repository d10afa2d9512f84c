"""Laws of the gradients by hand of attention with windows, alignments, biases, caps and sinks."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.attention import attend
from verify.attention_options import KINDS, seen
from verify.attention_options import asked as options_of_attention
from verify.backprop_laws import gradients_are_linear, laws
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

TOGETHER = {"shape": (2, 4, 2, 3, 4, 4), "causal": True, "softcap": 1.0, "sinks": True, "bias": (3, 4), "scale": 0.7}
"""A cap, a sink and a bias that all heads share, of which none may forget the others."""


@st.composite
def asked(draw):
    """Queries, keys and values with some of the options, and a gradient."""
    inputs = draw(options_of_attention([*KINDS, TOGETHER]))
    return {"dy": draw(tensor(*inputs["q"].shape)), **inputs}


def attended(q, k, v, bias, sinks, **options):
    return attend(q, k, v, bias=bias, sinks=sinks, **options)


def by_group(x, G):
    """The sum over the features, the places, and the query heads that share a head of keys."""
    return x.sum((-1, -2)).unflatten(1, (G, -1)).sum(2)


def spread(bias, q, k):
    """A bias with an entry of its own for every query and key."""
    shape = (*q.shape[:3], k.shape[2])
    whole = torch.zeros(1, dtype=torch.float64) if bias is None else bias
    return whole.expand(shape).clone(memory_format=torch.contiguous_format)


def values_are_linear(vjp, dy, q, k, v, **options):
    """The output is linear in the values: ⟨v, dv⟩ = ⟨y, dy⟩ over the query heads that share them."""
    dv, y = vjp(dy, q, k, v, **options)[2], attend(q, k, v, **options)
    close((v * dv).sum((-1, -2)), by_group(dy * y, v.shape[1]), scale=1)


def queries_and_keys_weigh_the_same(vjp, dy, q, k, v, **options):
    """Scores, capped or not, do not tell a factor on the queries from one on the keys: ⟨q, dq⟩ = ⟨k, dk⟩."""
    dq, dk = vjp(dy, q, k, v, **options)[:2]
    close((k * dk).sum((-1, -2)), by_group(q * dq, k.shape[1]), scale=1)


def rows_of_the_bias_sum_to_zero(vjp, dy, q, k, v, bias, sinks, **options):
    """A number added to a row shifts it, capped or not: softmax does not see that, if there is no sink."""
    dbias = vjp(dy, q, k, v, bias=spread(bias, q, k), sinks=None, **options)[3]
    close(dbias.sum(-1), torch.zeros(q.shape[:3]).double(), scale=1)


def the_sink_gets_what_the_bias_lacks(vjp, dy, q, k, v, bias, sinks, **options):
    """With a sink it takes a shift of both: their gradients cancel, head by head."""
    sinks = torch.linspace(-1, 2, q.shape[1], dtype=torch.float64) if sinks is None else sinks
    dbias, dsinks = vjp(dy, q, k, v, bias=spread(bias, q, k), sinks=sinks, **options)[3:]
    close(dsinks, -dbias.sum((0, 2, 3)), scale=1)


def a_broadcast_bias_gets_the_sum(vjp, dy, q, k, v, bias, **options):
    """A bias has its own shape, and the sum of what it gets where every head and sequence has a bias of its own."""
    small = torch.zeros(k.shape[2], dtype=torch.float64) if bias is None else bias
    ours = vjp(dy, q, k, v, bias=small, **options)[3]
    own = vjp(dy, q, k, v, bias=spread(small, q, k), **options)[3]
    for axis, size in enumerate([1] * (4 - small.ndim) + list(small.shape)):
        own = own.sum(axis, keepdim=True) if size == 1 else own
    close(ours, own.reshape(small.shape), scale=1)


def shared_heads_get_the_sum(vjp, dy, q, k, v, **options):
    """A head of keys and values gets the sum of what its copies get, one for every query head."""
    share = q.shape[1] // k.shape[1]
    alone = vjp(dy, q, *(x.repeat_interleave(share, 1) for x in (k, v)), **options)[1:3]
    for ours, copies in zip(vjp(dy, q, k, v, **options)[1:3], alone, strict=True):
        close(ours, copies.unflatten(1, (k.shape[1], share)).sum(2), scale=1)


def two_scores_by_hand(vjp, dy, q, k, v, scale, softcap, **_):
    """Scores 3 and 0, the first value one, the others zero: queries get Σdy · p(1 − p) times scale and slope."""
    scale, K = q.shape[-1] ** -0.5 if scale is None else scale, q.shape[-1]
    query, key, value = torch.full_like(q, 3 / scale / K), torch.zeros_like(k), torch.zeros_like(v)
    key[..., 0, :] = value[..., 0, :] = 1
    capped, slope = (3.0, 1.0) if softcap is None else (softcap * math.tanh(3 / softcap), math.cosh(3 / softcap) ** -2)
    p = math.exp(capped) / (math.exp(capped) + k.shape[2] - 1)
    dq = vjp(dy, query, key, value, scale=scale, softcap=softcap)[0]
    close(dq, (dy.sum(-1, keepdim=True) * p * (1 - p) * scale * slope).expand_as(q), scale=1)


def a_sink_by_hand(vjp, dy, q, k, v, sinks, **_):
    """n equal scores of zero with values of one: the sink s gets −Σdy · p(1 − p), of p = e^s/(n + e^s)."""
    s = torch.linspace(-1, 2, q.shape[1], dtype=torch.float64) if sinks is None else sinks
    p = s.exp() / (k.shape[2] + s.exp())
    dsinks = vjp(dy, torch.zeros_like(q), k, torch.ones_like(v), sinks=s)[3]
    close(dsinks, -dy.sum((0, 2, 3)) * p * (1 - p), scale=1)


def nothing_steep_beyond_the_cap(vjp, dy, q, k, v, scale, softcap, **_):
    """A score of 10⁴ caps is as good as at its cap, where nothing that it is made of matters."""
    cap = 1.5 if softcap is None else softcap
    key = torch.ones_like(k)
    key[..., 0, :] = -1
    dq, dk = vjp(dy, 1e4 * cap * torch.ones_like(q), key, v, scale=1.0, softcap=cap)[:2]
    close(dq, torch.zeros_like(q), scale=1)
    close(dk, torch.zeros_like(k), scale=1)


def hidden_has_no_gradient(vjp, dy, q, k, v, bias, **options):
    """Queries that see nothing, keys and values that none sees, have the gradient zero, and NaN there is not read;
    nor has a bias where it adds to what is hidden."""
    bias = spread(bias, q, k)
    bias[..., 1] = -math.inf
    k2, v2 = k.clone(), v.clone()
    k2[..., 1, :] = v2[..., 1, :] = torch.nan
    sees = seen(q, k, bias=bias, **options)
    dq, dk, dv, dbias, *dsinks = vjp(dy, q, k2, v2, bias=bias, **options)
    unread = ~sees.any(-2).unflatten(1, (k.shape[1], -1)).any(2)
    assert not dq[~sees.any(-1)].any(), "a query that sees nothing has a gradient"
    assert not dk[unread].any() and not dv[unread].any(), "a key or value that no query sees has a gradient"
    assert not dbias[~sees].any(), "a bias of what is hidden has a gradient"
    assert all(x.isfinite().all() for x in (dq, dk, dv, dbias, *dsinks)), "NaN was read"


def behind_and_itself(vjp, dy, q, k, v, *, window=None, **options):
    """W keys beside the query's own, as flash-attention counts them."""
    return vjp(dy, q, k, v, window=None if window is None else window + 1, **options)


OPERATIONS = [
    Operation(
        "backprop.attend_vjp",
        asked(),
        [*laws(attended, "q", "k", "v", "bias", "sinks"), gradients_are_linear, values_are_linear,
         queries_and_keys_weigh_the_same, rows_of_the_bias_sum_to_zero, the_sink_gets_what_the_bias_lacks,
         a_broadcast_bias_gets_the_sum, shared_heads_get_the_sum, two_scores_by_hand, a_sink_by_hand,
         nothing_steep_beyond_the_cap, hidden_has_no_gradient],
        conventions={"a window of W keys beside the query's own": behind_and_itself},
        free=("dy", "q", "k", "v"),
        unit=1,
    ),
]  # fmt: skip
