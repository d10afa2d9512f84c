"""Laws of scaled dot-product attention, of its scores, and of attention with shared heads of keys and values."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify import attention_options as options
from verify import attention_stored
from verify.compare import close
from verify.inputs import booleans, tensor
from verify.suite import Operation

SHAPES = [(2, 3, 1, 5, 4), (1, 2, 3, 5, 4), (1, 2, 4, 4, 3), (2, 3, 5, 4, 6)]
"""B H T S K: decoding, a cache, neither, and more queries than keys."""
GROUPED = [
    ((2, 6, 3, 1, 5, 4), False, (), None),
    ((1, 6, 2, 3, 5, 4), True, (6, 3, 5), None),
    ((2, 4, 1, 5, 3, 6), False, (2, 4, 5, 3), 0.3),
    ((2, 3, 3, 4, 5, 6), True, (), None),
    ((1, 6, 2, 3, 5, 4), False, (3, 5), None),
]  # B H G T S K, causal, the mask's shape, the scale


@st.composite
def queries_and_keys(draw):
    """Queries, keys and a scale that is usually the default."""
    B, H, T, S, K = shape = draw(st.sampled_from(SHAPES))
    scale = 0.3 if shape is SHAPES[1] else None
    return {"q": draw(tensor(B, H, T, K)), "k": draw(tensor(B, H, S, K)), "scale": scale}


@st.composite
def qkv(draw):
    """Queries, keys, values; causal or not, with a mask or none, a row of which may be empty."""
    B, H, T, S, K = draw(st.sampled_from(SHAPES))
    q, k, v = (draw(tensor(B, H, n, K)) for n in (T, S, S))
    masks = [(T, S), (), (T, S), (), (B, 1, T, S), (B, H, T, S)]
    causal, masked = draw(st.booleans()), draw(st.sampled_from(masks))
    mask, scale = draw(booleans(*masked)) if masked else None, draw(st.sampled_from([None, 0.3, None, 0.0]))
    if causal or masked:  # torch's kernel for CPUs turns scale zero into NaN there: true, but no news to anyone
        scale = scale or None
    return {"q": q, "k": k, "v": v, "causal": causal, "mask": mask, "scale": scale}


@st.composite
def grouped(draw):
    """As `qkv`, with G heads of keys and values, one and H among them; the mask may differ from head to head."""
    (B, H, G, T, S, K), causal, masked, scale = draw(st.sampled_from(GROUPED))
    q, k, v = draw(tensor(B, H, T, K)), draw(tensor(B, G, S, K)), draw(tensor(B, G, S, K))
    mask = draw(booleans(*masked)) if masked else None
    return {"q": q, "k": k, "v": v, "causal": causal, "mask": mask, "scale": scale}


def seen(q, k, causal, mask):
    """Which key each query may attend to, (H ×) T × S: query i of T is the (i + S − T)-th position."""
    T, S = q.shape[-2], k.shape[-2]
    past = torch.tensor([[j <= i + S - T or not causal for j in range(S)] for i in range(T)])
    return past if mask is None else past & mask


def aligned_ones_score_root_k(scores, q, k, scale):
    """Queries and keys of ones score K/√K."""
    close(scores(torch.ones_like(q), torch.ones_like(k)), math.sqrt(q.shape[-1]))


def given_scale_replaces_the_default(scores, q, k, scale):
    """Scale 1 gives the bare inner product, √K times the default."""
    close(scores(q, k, scale=1.0), scores(q, k) * math.sqrt(q.shape[-1]))


def doubled_query_doubles_scores(scores, q, k, scale):
    """Scores are linear in the query."""
    close(scores(2 * q, k, scale=scale), 2 * scores(q, k, scale=scale))


def roles_exchange(scores, q, k, scale):
    """Exchanging queries and keys transposes the scores."""
    close(scores(k, q, scale=scale), scores(q, k, scale=scale).mT)


def constant_value_is_returned(attend, q, k, v, causal, mask, scale):
    """Weights sum to one over the keys seen; a query that sees none gets zero."""
    some = seen(q, k, causal, mask).any(-1).double()
    expected = some.unsqueeze(-1).expand_as(q)
    close(attend(q, k, torch.ones_like(v), causal=causal, mask=mask), expected)


def zero_query_averages_what_it_sees(attend, q, k, v, causal, mask, scale):
    """Equal scores weigh the keys seen equally."""
    visible = seen(q, k, causal, mask).double()
    mean = visible / visible.sum(-1, keepdim=True).clamp(min=1)
    close(attend(torch.zeros_like(q), k, v, causal=causal, mask=mask), mean @ v, scale=1)


def two_keys_by_hand(attend, q, k, v, causal, mask, scale):
    """A score of ln 3 against zeros outweighs each other key three to one."""
    S, K = k.shape[-2:]
    query = torch.full_like(q, math.log(3) / math.sqrt(K))
    key, value = torch.zeros_like(k), torch.zeros_like(v)
    key[..., 0, :] = value[..., 0, :] = 1
    close(attend(query, key, value), 3 / (3 + S - 1))


def past_ignores_future(attend, q, k, v, causal, mask, scale):
    """Under the causal mask the last key and value reach the last query only."""
    k2, v2 = k.clone(), v.clone()
    k2[..., -1, :] += 1
    v2[..., -1, :] += 1
    before, after = (attend(q, *pair, causal=True) for pair in ((k, v), (k2, v2)))
    close(after[..., :-1, :], before[..., :-1, :])


def last_query_sees_everything(attend, q, k, v, causal, mask, scale):
    """For the last query the causal mask masks nothing, whatever T and S."""
    close(attend(q, k, v, causal=True)[..., -1, :], attend(q, k, v)[..., -1, :])


def both_masks_apply(attend, q, k, v, causal, mask, scale):
    """A key that either the causal mask or the given one hides is hidden."""
    given = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    given[0, -1] = given[-1, 0] = False
    together = seen(q, k, True, given)
    close(attend(q, k, v, causal=True, mask=given), attend(q, k, v, mask=together), scale=1)


def order_of_keys_is_nothing(attend, q, k, v, causal, mask, scale):
    """Without the causal mask, keys, values and mask columns may be permuted together."""
    turned = None if mask is None else mask.roll(1, -1)
    close(attend(q, k.roll(1, -2), v.roll(1, -2), mask=turned), attend(q, k, v, mask=mask))


def masked_is_never_read(attend, q, k, v, causal, mask, scale):
    """NaN in a key and value that no query sees changes nothing."""
    hidden = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    hidden[:, 1] = False
    k2, v2 = k.clone(), v.clone()
    k2[..., 1, :] = v2[..., 1, :] = torch.nan
    close(attend(q, k2, v2, mask=hidden), attend(q, k, v, mask=hidden))


def common_key_changes_nothing(attend, q, k, v, causal, mask, scale):
    """The same large vector added to all keys shifts a row of scores, which the softmax does not see."""
    close(attend(q, k + 500, v, causal=causal, mask=mask), attend(q, k, v, causal=causal, mask=mask), scale=1)


def given_scale_multiplies_the_query(attend, q, k, v, causal, mask, scale):
    """A scale is a factor on the query."""
    K = q.shape[-1]
    close(attend(q, k, v, scale=0.5), attend(q * 0.5 * math.sqrt(K), k, v))


def consecutive_heads_share(attend, q, k, v, causal, mask, scale):
    """Of G key-value heads the first H/G query heads read the first, the next H/G the second, and so on."""
    H, G = q.shape[1], k.shape[1]
    numbered = torch.arange(1.0, G + 1, dtype=torch.float64)[:, None, None].expand_as(v)
    expected = torch.tensor([1.0 + h // (H // G) for h in range(H)], dtype=torch.float64)
    close(attend(torch.zeros_like(q), k, numbered), expected[:, None, None].expand_as(q))


def a_head_may_be_asked_alone(attend, q, k, v, causal, mask, scale):
    """A query head with the one key-value head that it reads gives what it gives among the others."""
    share, together = q.shape[1] // k.shape[1], attend(q, k, v, causal=causal, mask=mask, scale=scale)
    for h in range(q.shape[1]):
        g, own = h // share, mask if mask is None else mask.expand(*together.shape[:3], k.shape[-2])[:, h : h + 1]
        alone = [x[:, i : i + 1] for x, i in ((q, h), (k, g), (v, g))]
        close(attend(*alone, causal=causal, mask=own, scale=scale), together[:, h : h + 1], scale=1)


def top_left(attend, q, k, v, *, causal=False, mask=None, scale=None):
    """Query i may see key j ≤ i: the queries are the first of the sequence, not the last."""
    early = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    both = early if mask is None else mask & early
    return attend(q, k, v, mask=both if causal else mask, scale=scale)


def undefined(attend, q, k, v, **options):
    """0/0 where a query sees no key, as IEEE arithmetic has it."""
    seen_weight = attend(torch.zeros_like(q), torch.zeros_like(k), torch.ones_like(v), **options)[..., :1]
    return attend(q, k, v, **options) * torch.where(seen_weight > 0.5, 1, torch.nan)


def averaged(attend, q, k, v, **options):
    """Masked scores are equal and finite, so that a query that sees no key weighs all keys alike."""
    seen_weight = attend(torch.zeros_like(q), torch.zeros_like(k), torch.ones_like(v), **options)[..., :1]
    return torch.where(seen_weight > 0.5, attend(q, k, v, **options), attend(torch.zeros_like(q), k, v))


CONVENTIONS = {
    "the causal mask aligned top-left": top_left,
    "a query that sees no key gives NaN": undefined,
    "a query that sees no key gets the mean of all values": averaged,
}


OPERATIONS = [
    Operation(
        "attention.scores",
        inputs=queries_and_keys(),
        laws=[
            aligned_ones_score_root_k,
            given_scale_replaces_the_default,
            doubled_query_doubles_scores,
            roles_exchange,
        ],
        gradients=("q", "k"),
    ),
    Operation(
        "attention.attention",
        inputs=qkv(),
        laws=[
            constant_value_is_returned,
            zero_query_averages_what_it_sees,
            two_keys_by_hand,
            past_ignores_future,
            last_query_sees_everything,
            both_masks_apply,
            order_of_keys_is_nothing,
            masked_is_never_read,
            common_key_changes_nothing,
            given_scale_multiplies_the_query,
        ],
        gradients=("q", "k", "v"),
        conventions=CONVENTIONS,
        way_back=attention_stored.attend,
    ),
    Operation(
        "attention.grouped_query_attention",
        inputs=grouped(),
        laws=[
            consecutive_heads_share,
            a_head_may_be_asked_alone,
            constant_value_is_returned,
            two_keys_by_hand,
            past_ignores_future,
            last_query_sees_everything,
            both_masks_apply,
            order_of_keys_is_nothing,
            masked_is_never_read,
            given_scale_multiplies_the_query,
        ],
        gradients=("q", "k", "v"),
        conventions=CONVENTIONS,
        way_back=attention_stored.attend,
    ),
    *options.OPERATIONS,
]
