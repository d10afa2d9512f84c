"""Mistakes on the way back of attention by tiles, one line each in a walk that is right but for it."""

from __future__ import annotations

import math

import torch

from reference.flash import flash_attention, flash_attention_vjp
from verify.mistake import mistake
from verify.mutant.flash import BASE, EMPTY, NOWHERE, finite
from verify.mutant.flash_tiles import product, seen, visited

BACK = "flash.flash_attention_vjp"


def row_sums(dy, o, p, dp):
    """D = Σ dO · O, over the coordinates of a head."""
    return (dy * o).sum(-1, keepdim=True)


def again(s, lse):
    """Weights from scores and the log-sum-exp."""
    return torch.exp(s - finite(lse))


def added(old, new):
    return new if old is None else old + new


def latest(old, new):
    return new


def back(
    dy, q, k, v, causal, scale, block_q, block_k, *,
    D=row_sums, weights=again, visit=visited, see=seen, past=None, scale_q=None, scale_k=None,
    add_q=added, add_k=added, add_v=added, values=lambda v, i, j: v[j], kept=lambda lse, tops: lse,
):  # fmt: skip
    """Tiles of keys over tiles of queries, with the parts that a mistake may replace."""
    T, S = q.shape[2], k.shape[2]
    o, lse = flash_attention(q, k, v, causal=causal, scale=scale)
    scale, past = q.shape[-1] ** -0.5 if scale is None else scale, S - T if past is None else past
    scale_q, scale_k = scale if scale_q is None else scale_q, scale if scale_k is None else scale_k
    rows, keys, vs = q.split(block_q, 2), k.split(block_k, 2), v.split(block_k, 2)
    dys, os, lses = dy.split(block_q, 2), o.split(block_q, 2), lse.split(block_q, 2)
    dq = [None] * len(rows)
    found = []
    for j in range(len(keys)):
        dk = dv = None
        key = torch.arange(j * block_k, j * block_k + keys[j].shape[2])
        for i, mine in enumerate(rows):
            place = torch.arange(i * block_q, i * block_q + mine.shape[2])[:, None] + past
            if causal and not visit(int(place[0]), int(place[-1]), int(key[0])):
                continue
            sees = see(place, key) if causal else torch.ones(mine.shape[2], len(key)).bool()
            s = torch.where(sees, mine @ keys[j].mT * scale, -math.inf)
            p = weights(s, kept(lses[i][..., None], s.amax(-1, keepdim=True)))
            dp = dys[i] @ values(vs, i, j).mT
            ds = torch.where(sees, p * (dp - D(dys[i], os[i], p, dp)), 0)
            dq[i] = add_q(dq[i], product(ds, keys[j], sees) * scale_q)
            dk, dv = add_k(dk, ds.mT @ mine * scale_k), add_v(dv, p.mT @ dys[i])
        found.append([torch.zeros_like(keys[j]) if x is None else x for x in (dk, dv)])
    dk, dv = (torch.cat(tiles, 2) for tiles in zip(*found, strict=True))
    return torch.cat([torch.zeros_like(r) if x is None else x for r, x in zip(rows, dq, strict=True)], 2), dk, dv


def spoiled(name, id, fix, says, seen=NOWHERE, **parts):
    """The walk with other parts, as a mistake."""

    def wrong(dy, q, k, v, *, causal=False, scale=None, block_q=64, block_k=64):
        return back(dy, q, k, v, causal, scale, block_q, block_k, **parts)

    wrong.__name__, wrong.__doc__ = name, says
    return mistake(BACK, id=id, seen=seen, fix=fix)(wrong)


D_left_out = spoiled(
    "D_left_out", "flash-bwd-no-delta", "ds = p (dp − D)", "ds = p dp: softmax's cross term is missing.",
    D=lambda dy, o, p, dp: 0.0,
)  # fmt: skip
D_of_half_the_head = spoiled(
    "D_of_half_the_head", "flash-bwd-delta", "D = Σ dO · O over the whole head dimension",
    "D is taken from a gradient that is not yet written to its end.", "Dao-AILab/flash-attention PR#2481",
    D=lambda dy, o, p, dp: (dy * o)[..., : (dy.shape[-1] + 1) // 2].sum(-1, keepdim=True),
)  # fmt: skip
D_of_the_tile = spoiled(
    "D_of_the_tile", "flash-bwd-delta-tile", "Σ P dP over the whole row, which is Σ dO · O",
    "D is summed over the keys of one tile.", D=lambda dy, o, p, dp: (p * dp).sum(-1, keepdim=True),
)  # fmt: skip
D_unweighted = spoiled(
    "D_unweighted", "flash-bwd-delta-dp", "Σ dO · O", "D is the sum of dP, not of P dP.",
    D=lambda dy, o, p, dp: dp.sum(-1, keepdim=True),
)  # fmt: skip
D_added = spoiled(
    "D_added", "flash-bwd-delta-sign", "ds = p (dp − D)", "D has the wrong sign.",
    D=lambda dy, o, p, dp: -row_sums(dy, o, p, dp),
)  # fmt: skip
scale_missing_in_dq = spoiled(
    "scale_missing_in_dq", "attn-backward-unscaled-q", "the scale is a factor of dq and dk", "dq lacks the scale.",
    scale_q=1.0,
)  # fmt: skip
scale_missing_in_dk = spoiled(
    "scale_missing_in_dk", "attn-backward-unscaled-k", "the scale is a factor of dq and dk", "dk lacks the scale.",
    scale_k=1.0,
)  # fmt: skip
dq_of_the_last_tile = spoiled(
    "dq_of_the_last_tile", "flash-bwd-dq-overwritten", "add up dq over the tiles of keys",
    "Each tile of keys overwrites what the one before has left in dq.", add_q=latest,
)  # fmt: skip
dk_of_the_last_tile = spoiled(
    "dk_of_the_last_tile", "flash-bwd-dk-overwritten", "add up dk over the tiles of queries",
    "Each tile of queries overwrites dk.", add_k=latest,
)  # fmt: skip
dv_of_the_last_tile = spoiled(
    "dv_of_the_last_tile", "flash-bwd-dv-overwritten", "add up dv over the tiles of queries",
    "Each tile of queries overwrites dv.", add_v=latest,
)  # fmt: skip
weights_from_the_maximum = spoiled(
    "weights_from_the_maximum", "lse-max-only", "p = e^(s − lse), lse = m + log l",
    "Weights are made again from the maximum of the tile, not divided by the sum.", kept=lambda lse, tops: tops,
)  # fmt: skip
weights_to_base_two = spoiled(
    "weights_to_base_two", "lse-base", "e^(s − lse) for a natural logarithm", "2^(s − lse), with lse in nats.", BASE,
    weights=lambda s, lse: torch.exp2(s - finite(lse)),
)  # fmt: skip
weights_as_a_quotient = spoiled(
    "weights_as_a_quotient", "flash-bwd-overflow", "e^(s − lse): subtract before the exponential",
    "p = e^s / e^lse, which overflows from 710 on.", weights=lambda s, lse: torch.exp(s) / torch.exp(finite(lse)),
)  # fmt: skip
infinity_less_infinity = spoiled(
    "infinity_less_infinity", "online-inf-minus-inf", "subtract zero from the scores of a query that sees nothing",
    "s − lse is −∞ − (−∞) for a query that sees nothing.", EMPTY, weights=lambda s, lse: torch.exp(s - lse),
)  # fmt: skip
tile_of_one_visible_key_is_skipped = spoiled(
    "tile_of_one_visible_key_is_skipped", "flash-causal-skip", "skip a tile when its first key is after the last query",
    "The bound of the causal walk is off by one.", visit=lambda first, last, j: j < last,
)  # fmt: skip
query_does_not_see_itself = spoiled(
    "query_does_not_see_itself", "causal-strict", "the mask of the way forth", "On the way back the mask is strict.",
    see=lambda place, key: key < place,
)  # fmt: skip
backward_aligned_top_left = spoiled(
    "backward_aligned_top_left", "causal-top-left", "the alignment of the way forth",
    "On the way back query i sees key j ≤ i.", "onnx/onnx PR#8068; pytorch/pytorch #103082", past=0,
)  # fmt: skip
backward_sees_the_future = spoiled(
    "backward_sees_the_future", "attn-backward-not-causal", "the mask of the way forth",
    "The weights are made again without the causal mask.", "meta-pytorch/MSLK PR#263; triton-lang/triton #4541",
    see=lambda place, key: (key > -1).expand(len(place), -1), visit=lambda first, last, j: True,
)  # fmt: skip
keys_of_the_first_step = spoiled(
    "keys_of_the_first_step", "ring-stale-kv", "the values of the step, not of the first",
    "dp is taken with the values of the first tile that are as many.",
    "huggingface/diffusers #14265, PR#14274; NVIDIA/TransformerEngine #1557",
    values=lambda v, i, j: v[0] if v[0].shape == v[j].shape else v[j],
)  # fmt: skip


@mistake(BACK, id="attn-backward-scale-twice", seen="HKUSTDial/flash-sparse-attention PR#203", fix="scale ds once")
def queries_scaled_twice(dy, q, k, v, *, scale=None, **options):
    """dq is scaled where ds was."""
    dq, dk, dv = flash_attention_vjp(dy, q, k, v, scale=scale, **options)
    return dq * (q.shape[-1] ** -0.5 if scale is None else scale), dk, dv


@mistake(BACK, id="flash-bwd-output-unnormalised", seen=NOWHERE, fix="D from the output that was returned")
def D_of_the_undivided_output(dy, q, k, v, *, causal=False, scale=None, block_q=64, block_k=64):
    """D = Σ dO · O is taken before the output is divided by the sum."""
    lse = flash_attention(q, k, v, causal=causal, scale=scale)[1]
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    s = q @ k.mT * factor
    if causal:
        T, S = q.shape[2], k.shape[2]
        s = s.masked_fill(torch.ones(T, S).bool().triu(S - T + 1), -math.inf)
    p = torch.exp(s - finite(lse)[..., None])
    dp = dy @ v.mT
    total = torch.exp(lse - finite(s.amax(-1)))[..., None]
    ds = torch.nan_to_num(p * (dp - (p * dp).sum(-1, keepdim=True) * total)) * factor
    return ds @ k, ds.mT @ q, p.mT @ dy


@mistake(BACK, id="attn-backward-values-only", seen=NOWHERE, fix="the weights have a gradient too")
def weights_taken_for_constants(dy, q, k, v, **options):
    """Queries and keys learn nothing."""
    return torch.zeros_like(q), torch.zeros_like(k), flash_attention_vjp(dy, q, k, v, **options)[2]


@mistake(BACK, id="masked-nan-leak", seen="pytorch/pytorch #101967", fix="never read a hidden key or value")
def hidden_key_is_multiplied(dy, q, k, v, **options):
    """A slope of zero times NaN is NaN."""
    dq, dk, dv = flash_attention_vjp(dy, q, k, v, **options)
    return dq + 0 * (k * v).sum(-2, keepdim=True), dk, dv
