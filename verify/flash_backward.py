"""Laws of the gradients of attention in tiles."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from reference.attention import attention
from verify import backprop_laws
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

CASES = [
    ((1, 2, 3, 19, 4), (16, 16), None),
    ((1, 3, 17, 17, 2), (16, 16), None),
    ((1, 2, 4, 4, 3), (64, 64), 0.3),
    ((2, 1, 13, 4, 3), (8, 16), None),
    ((2, 3, 1, 5, 4), (64, 64), None),
]
"""B H T S K, queries and keys of a tile, the scale."""


@st.composite
def asked(draw):
    """Queries, keys and values under the causal mask or none, in tiles, and what arrives."""
    (B, H, T, S, K), (block_q, block_k), scale = draw(st.sampled_from(CASES))
    scale = draw(st.sampled_from([scale, scale, scale, -0.5, 0.0]))
    dy, q, k, v = (draw(tensor(B, H, n, K)) for n in (T, T, S, S))
    return {"dy": dy, "q": q, "k": k, "v": v, "causal": draw(st.booleans()), "scale": scale, "block_q": block_q,
            "block_k": block_k}  # fmt: skip


def whole(q, k, v, causal, scale, block_q, block_k):
    """Attention with its matrix of weights."""
    return attention(q, k, v, causal=causal, scale=scale)


def tiles_are_nothing(vjp, dy, q, k, v, causal, scale, block_q, block_k):
    """Tiles of any size give the same gradients."""
    plain = vjp(dy, q, k, v, causal=causal, scale=scale, block_q=block_q, block_k=block_k)
    for rows, columns in ((4, 3), (100, 100)):
        other = vjp(dy, q, k, v, causal=causal, scale=scale, block_q=rows, block_k=columns)
        for ours, theirs in zip(other, plain, strict=True):
            close(ours, theirs, scale=1)


def values_are_linear(vjp, dy, q, k, v, causal, scale, **tiles):
    """The output is linear in the values: ⟨v, dv⟩ = ⟨y, dy⟩, head by head."""
    dv = vjp(dy, q, k, v, causal=causal, scale=scale, **tiles)[2]
    y = attention(q, k, v, causal=causal, scale=scale)
    close((v * dv).sum((-1, -2)), (dy * y).sum((-1, -2)), scale=1)


def queries_and_keys_weigh_the_same(vjp, dy, q, k, v, **options):
    """The scores do not tell a factor on the queries from one on the keys: ⟨q, dq⟩ = ⟨k, dk⟩, head by head."""
    dq, dk, _ = vjp(dy, q, k, v, **options)
    close((q * dq).sum((-1, -2)), (k * dk).sum((-1, -2)), scale=1)


def common_key_has_no_slope(vjp, dy, q, k, v, **options):
    """One vector added to all keys shifts each row of scores, which softmax does not see: their gradients cancel."""
    close(vjp(dy, q, k, v, **options)[1].sum(-2), torch.zeros(k.shape[0], k.shape[1], k.shape[3]).double(), scale=1)


def constant_values_pass_nothing_on(vjp, dy, q, k, v, **options):
    """When all values are one vector no weight matters: queries and keys have no gradient."""
    dq, dk, _ = vjp(dy, q, k, v[..., :1, :].expand_as(v).contiguous(), **options)
    close(dq, torch.zeros_like(q), scale=1)
    close(dk, torch.zeros_like(k), scale=1)


def steep_scores_have_one_gradient(vjp, dy, q, k, v, causal, scale, **tiles):
    """Where scores rise by a thousand from key to key, all that arrives goes to the last value."""
    keys = (torch.arange(k.shape[-2]).double()[:, None] * 1000).expand_as(k).clone()
    one = torch.full_like(q, 1 / q.shape[-1])
    dq, dk, dv = vjp(dy, one, keys, v, scale=1.0, **tiles)
    close(dq, torch.zeros_like(q), scale=1)
    close(dk, torch.zeros_like(k), scale=1)
    last = (torch.arange(k.shape[-2]) == k.shape[-2] - 1).double()[:, None]
    close(dv, last * dy.sum(-2, keepdim=True), scale=1)


def hidden_has_no_gradient(vjp, dy, q, k, v, causal, **options):
    """Under the causal mask a query that sees nothing has the gradient zero; NaN in the last key spreads to no query
    but the last."""
    k2, v2 = k.clone(), v.clone()
    k2[..., -1, :] = v2[..., -1, :] = torch.nan
    plain, other = (vjp(dy, q, *pair, causal=True, **options) for pair in ((k, v), (k2, v2)))
    close(other[0][..., :-1, :], plain[0][..., :-1, :], scale=1)
    nothing = torch.arange(q.shape[-2]) < q.shape[-2] - k.shape[-2]
    assert not plain[0][..., nothing, :].any(), "a query that sees nothing has a gradient"


def past_learns_nothing_from_the_future(vjp, dy, q, k, v, causal, **options):
    """Under the causal mask the first query, where it is not the last, sends no gradient to the last key."""
    if q.shape[2] > 1:
        first = torch.zeros_like(dy)
        first[..., 0, :] = 1
        _, dk, dv = vjp(first, q, k, v, causal=True, **options)
        assert not dk[..., -1, :].any() and not dv[..., -1, :].any(), "the last key learns from the first query"


def top_left(vjp, dy, q, k, v, *, causal=False, **options):
    """Query i may see key j ≤ i: the queries are the first of the sequence, not the last."""
    T, S, n = q.shape[-2], k.shape[-2], min(q.shape[-2], k.shape[-2])
    if not causal or T == S:
        return vjp(dy, q, k, v, causal=causal, **options)
    dq, dk, dv = vjp(dy[..., :n, :], q[..., :n, :], k[..., :n, :], v[..., :n, :], causal=True, **options)
    if n < T:
        late = vjp(dy[..., n:, :], q[..., n:, :], k, v, **options)
        return torch.cat([dq, late[0]], -2), dk + late[1], dv + late[2]
    rest = torch.zeros_like(k[..., n:, :])
    return dq, torch.cat([dk, rest], -2), torch.cat([dv, rest], -2)


OPERATIONS = [
    Operation(
        "flash.flash_attention_vjp",
        asked(),
        [
            *backprop_laws.laws(whole, "q", "k", "v"),
            tiles_are_nothing,
            values_are_linear,
            queries_and_keys_weigh_the_same,
            common_key_has_no_slope,
            constant_values_pass_nothing_on,
            steep_scores_have_one_gradient,
            hidden_has_no_gradient,
            past_learns_nothing_from_the_future,
        ],
        conventions={"the causal mask aligned top-left": top_left},
        free=("dy", "q", "k", "v"),
        unit=1,
    ),
]
