"""Laws of attention in tiles; of its way back: flash_backward, of one pass and of merging: flash_softmax."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.flash import merge as merged
from verify import attention_stored, flash_backward, flash_softmax
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

CASES = [
    ((2, 3, 1, 5, 4), (64, 64), None),
    ((1, 2, 3, 19, 4), (16, 16), 0.3),
    ((1, 5, 4, 4, 3), (64, 64), None),
    ((1, 3, 17, 17, 2), (16, 16), None),
    ((2, 1, 13, 4, 3), (8, 16), None),
]
"""B H T S K, queries and keys of a tile, the scale: decoding, a cache, and more queries than keys; tiles end ragged."""


@st.composite
def qkv(draw):
    """Queries, keys and values; causal or not, in tiles of several sizes."""
    (B, H, T, S, K), (block_q, block_k), scale = draw(st.sampled_from(CASES))
    scale = draw(st.sampled_from([scale, scale, scale, -0.5, 0.0]))  # the largest score is then that of another key
    q, k, v = (draw(tensor(B, H, n, K)) for n in (T, S, S))
    return {"q": q, "k": k, "v": v, "causal": draw(st.booleans()), "scale": scale, "block_q": block_q,
            "block_k": block_k}  # fmt: skip


def sees(q, k, causal):
    """How many keys each query sees."""
    T, S = q.shape[-2], k.shape[-2]
    return (torch.arange(T) + 1 + S - T).clamp(min=0) if causal else torch.full((T,), S)


def zero_query_averages_what_it_sees(attend, q, k, v, causal, **options):
    """Of n scores, all zero, the log-sum-exp is ln n, and the output the mean of n values; of none, −∞ and zero."""
    n = sees(q, k, causal)
    out, lse = attend(torch.zeros_like(q), k, v, causal=causal, **options)
    first = v.cumsum(-2)[..., (n - 1).clamp(min=0), :] / n.clamp(min=1)[:, None]
    close(out, torch.where((n > 0)[:, None], first, 0), scale=1)
    close(lse, n.double().log().expand_as(lse))


def rising_scores_by_hand(attend, q, k, v, causal, scale, **options):
    """Scores ln 1, ln 2 … weigh keys 1 : 2 : …, in this order and the other: the maximum moves, or stands."""
    S, one = k.shape[-2], torch.zeros_like(q)
    one[..., 0] = 1
    for numbers in (torch.arange(1.0, S + 1), torch.arange(float(S), 0, -1)):
        keys = torch.zeros_like(k)
        keys[..., 0] = numbers.double().log()
        weights = numbers.double() / (S * (S + 1) / 2)
        for tiles in (options, {"block_q": 9, "block_k": 2}):
            out, lse = attend(one, keys, v, scale=1.0, **tiles)
            close(out, (weights[:, None] * v).sum(-2, keepdim=True).expand_as(out), scale=1)
            close(lse, math.log(S * (S + 1) / 2))


def steep_scores_choose(attend, q, k, v, causal, scale, **options):
    """Scores in steps of a thousand, rising or falling from key to key, do not overflow: the largest has all weight."""
    steps, one = torch.arange(k.shape[-2]).double()[:, None].expand_as(k) * 1000, torch.full_like(q, 1 / q.shape[-1])
    for keys, values in ((steps, v), (steps.flip(-2), v.flip(-2))):
        for tiles in (options, {"block_q": 9, "block_k": 2}):
            out, lse = attend(one, keys.clone(), values, scale=1.0, **tiles)
            close(out, v[..., -1:, :].expand_as(q), scale=1)
            close(lse, 1000.0 * (k.shape[-2] - 1))


def tiles_are_nothing(attend, q, k, v, causal, scale, block_q, block_k):
    """Tiles of any size give the same: of four queries and three keys, and larger than all there is."""
    plain = attend(q, k, v, causal=causal, scale=scale, block_q=block_q, block_k=block_k)
    for rows, columns in ((4, 3), (100, 100)):
        other = attend(q, k, v, causal=causal, scale=scale, block_q=rows, block_k=columns)
        for ours, theirs in zip(other, plain, strict=True):
            close(ours, theirs, scale=1)


def halves_merge(attend, q, k, v, causal, scale, **options):
    """Attention over some keys and that over the others, merged, is attention over all."""
    cut = k.shape[-2] // 2 or 1
    whole = attend(q, k, v, scale=scale, **options)
    if cut < k.shape[-2]:
        both = [attend(q, k[..., part, :], v[..., part, :], scale=scale, **options)
                for part in (slice(cut), slice(cut, None))]  # fmt: skip
        for ours, theirs in zip(merged(*both[0], *both[1]), whole, strict=True):
            close(theirs, ours, scale=1)


def last_query_sees_everything(attend, q, k, v, causal, **options):
    """For the last query the causal mask masks nothing, whatever T and S."""
    masked, plain = (attend(q, k, v, causal=flag, **options) for flag in (True, False))
    close(masked[0][..., -1, :], plain[0][..., -1, :], scale=1)
    close(masked[1][..., -1], plain[1][..., -1], scale=1)


def queries_stand_alone(attend, q, k, v, causal, **options):
    """The first query, the middle one and the last give what they give alone, over the keys that they see."""
    out, lse = attend(q, k, v, causal=True, **options)
    seen, T = sees(q, k, True).tolist(), q.shape[-2]
    for t in {0, T // 2, T - 1}:
        if n := seen[t]:
            alone = attend(q[..., t : t + 1, :], k[..., :n, :], v[..., :n, :], causal=True, **options)
            close(out[..., t : t + 1, :], alone[0], scale=1)
            close(lse[..., t : t + 1], alone[1], scale=1)


def hidden_is_never_read(attend, q, k, v, causal, **options):
    """Under the causal mask NaN in the last key and value reaches the last query alone."""
    k2, v2 = k.clone(), v.clone()
    k2[..., -1, :] = v2[..., -1, :] = torch.nan
    for ours, theirs, axis in zip(
        attend(q, k2, v2, causal=True, **options), attend(q, k, v, causal=True, **options), (-2, -1), strict=True
    ):
        rows = q.shape[-2] - 1
        close(ours.narrow(axis, 0, rows), theirs.narrow(axis, 0, rows), scale=1)
        assert ours.narrow(axis, rows, 1).isnan().all(), "the last query does not see the last key"


def common_key_shifts_the_logarithm(attend, q, k, v, causal, scale, **options):
    """A vector added to all keys adds its score to the log-sum-exp, and leaves the output."""
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    moved, plain = (attend(q, keys, v, causal=causal, scale=scale, **options) for keys in (k + 500, k))
    close(moved[0], plain[0], scale=1)
    close(moved[1], plain[1] + 500 * q.sum(-1) * factor, scale=1)


def base_two(attend, q, k, v, **options):
    """Kernels that exponentiate to base two may keep their logarithms in it."""
    out, lse = attend(q, k, v, **options)
    return out, lse / math.log(2)


def nothing_is_infinitely_much(attend, q, k, v, **options):
    """Of a query that sees no key the log-sum-exp is +∞, so that e^(s − lse) is zero without more ado."""
    out, lse = attend(q, k, v, **options)
    return out, torch.where(lse == -math.inf, math.inf, lse)


def top_left(attend, q, k, v, *, causal=False, **options):
    """Query i may see key j ≤ i: the queries are the first of the sequence, not the last."""
    n = min(q.shape[-2], k.shape[-2])
    if not causal or q.shape[-2] == k.shape[-2]:
        return attend(q, k, v, causal=causal, **options)
    early = attend(q[..., :n, :], k[..., :n, :], v[..., :n, :], causal=True, **options)
    if q.shape[-2] == n:
        return early
    late = attend(q[..., n:, :], k, v, **options)
    return torch.cat([early[0], late[0]], -2), torch.cat([early[1], late[1]], -1)


OPERATIONS = [
    *flash_softmax.OPERATIONS,
    Operation(
        "flash.flash_attention",
        inputs=qkv(),
        laws=[
            zero_query_averages_what_it_sees,
            rising_scores_by_hand,
            steep_scores_choose,
            tiles_are_nothing,
            halves_merge,
            last_query_sees_everything,
            queries_stand_alone,
            hidden_is_never_read,
            common_key_shifts_the_logarithm,
        ],
        gradients=("q", "k", "v"),
        conventions={
            "the causal mask aligned top-left": top_left,
            "the log-sum-exp to base two": base_two,
            "+∞ for the log-sum-exp of no key": nothing_is_infinitely_much,
        },
        way_back=attention_stored.flash_attention,
        unit=1,
    ),
    *flash_backward.OPERATIONS,
]
