"""Mistakes in attention by tiles, one line each in a walk that is right but for it."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import pad

from reference.flash import flash_attention
from verify.mistake import mistake
from verify.mutant.flash import BASE, EMPTY, FLASH, NOWHERE, decay, ended, finite, running


def product(p, x, sees):
    """Σ p x over what is seen: the rest has no part, were it NaN."""
    return torch.einsum("bhts,bhtsk->bhtk", p, torch.where(sees[..., None], x[..., None, :, :], 0))


def divided(top, total, out):
    return out / torch.where(total == 0, 1, total), ended(top, total)


def visited(first, last, j):
    """Is any query of places first … last to see a tile of keys that begins at j?"""
    return j <= last


def seen(place, key):
    return key <= place


def walk(
    q, k, v, causal, scale, block_q, block_k, *,
    shrink_sum=decay, shrink_out=decay, peak=running, base=finite, visit=visited, see=seen, past=None,
    hidden=-math.inf, beyond=0, add=lambda weights: weights.sum(-1, keepdim=True), end=divided,
):  # fmt: skip
    """Tiles of queries over tiles of keys, with the parts that a mistake may replace."""
    T, S, tiles = q.shape[2], k.shape[2], []
    scale, past = q.shape[-1] ** -0.5 if scale is None else scale, S - T if past is None else past
    if beyond:  # keys that are not there, up to the end of the last tile
        k, v = (pad(x, (0, 0, 0, -S % block_k)) for x in (k, v))
    for i in range(0, T, block_q):
        mine = q[:, :, i : i + block_q]
        place = torch.arange(i, i + mine.shape[2])[:, None] + past
        top = torch.full_like(mine[..., :1], -math.inf)
        total, out = torch.zeros_like(top), torch.zeros_like(mine)
        for j in range(0, k.shape[2], block_k):
            if causal and not visit(int(place[0]), int(place[-1]), j):
                continue
            keys, values = k[:, :, j : j + block_k], v[:, :, j : j + block_k]
            key = torch.arange(j, j + keys.shape[2])
            sees = see(place, key) if causal else torch.ones(mine.shape[2], keys.shape[2]).bool()
            s = torch.where(sees, mine @ keys.mT * scale, hidden)
            new = peak(top, s)
            weights = torch.exp(s - base(new))
            total = total * shrink_sum(top, new) + add(weights)
            out = out * shrink_out(top, new) + product(weights, values, sees | (hidden > -math.inf))
            top = new
        tiles.append(end(top, total, out))
    out, lse = (torch.cat(parts, 2) for parts in zip(*tiles, strict=True))
    return out, lse.squeeze(-1)


def one(top, new):
    return 1.0


def unguarded(top, new):
    return torch.exp(top - new)


def upwards(top, new):
    return torch.exp(finite(new) - finite(top))


def spoiled(name, id, fix, says, seen=NOWHERE, **parts):
    """The walk with other parts, as a mistake."""

    def wrong(q, k, v, *, causal=False, scale=None, block_q=64, block_k=64):
        return walk(q, k, v, causal, scale, block_q, block_k, **parts)

    wrong.__name__, wrong.__doc__ = name, says
    return mistake(FLASH, id=id, seen=seen, fix=fix)(wrong)


output_is_not_rescaled = spoiled(
    "output_is_not_rescaled", "online-no-rescale", "multiply the output by e^(old − new) as well",
    "When the maximum rises only the sum is rescaled.", shrink_out=one,
)  # fmt: skip
sum_is_not_rescaled = spoiled(
    "sum_is_not_rescaled", "online-no-rescale-sum", "multiply the sum by e^(old − new) as well",
    "When the maximum rises only the output is rescaled.", shrink_sum=one,
)  # fmt: skip
nothing_is_rescaled = spoiled(
    "nothing_is_rescaled", "online-no-rescale-both", "multiply both by e^(old − new)",
    "Neither sum nor output is rescaled when the maximum rises.", shrink_sum=one, shrink_out=one,
)  # fmt: skip
rescaled_upwards = spoiled(
    "rescaled_upwards", "online-rescale-inverted", "e^(old − new), which is one at most",
    "Sum and output are multiplied by e^(new − old).", shrink_sum=upwards, shrink_out=upwards,
)  # fmt: skip
maximum_of_the_first_tile = spoiled(
    "maximum_of_the_first_tile", "online-max-frozen", "the maximum of all tiles so far",
    "The maximum is not updated: right, until a later tile overflows.",
    peak=lambda top, s: torch.where(top == -math.inf, running(top, s), top),
)  # fmt: skip
maximum_of_the_tile_alone = spoiled(
    "maximum_of_the_tile_alone", "online-max-local", "the larger of the old maximum and the tile's",
    "The running maximum is replaced by the tile's, which may be lower: what was larger overflows.",
    peak=lambda top, s: s.detach().amax(-1, keepdim=True),
)  # fmt: skip
infinity_less_infinity = spoiled(
    "infinity_less_infinity", "online-inf-minus-inf", "subtract zero while the maximum is −∞",
    "Of a query that has seen no key yet, −∞ − (−∞) leaves NaN.", EMPTY,
    base=lambda m: m, shrink_sum=unguarded, shrink_out=unguarded,
)  # fmt: skip
tile_of_one_visible_key_is_skipped = spoiled(
    "tile_of_one_visible_key_is_skipped", "flash-causal-skip", "skip a tile when its first key is after the last query",
    "The bound of the causal walk is off by one: a tile of which one key is seen is left out.",
    visit=lambda first, last, j: j < last,
)  # fmt: skip
tile_is_judged_by_its_first_query = spoiled(
    "tile_is_judged_by_its_first_query", "flash-causal-skip-first", "the last query of the tile sees most",
    "A tile of keys that begins after the first query is left out for the others too.",
    visit=lambda first, last, j: j <= first,
)  # fmt: skip
query_does_not_see_itself = spoiled(
    "query_does_not_see_itself", "causal-strict", "j ≤ i + S − T, with equality",
    "The causal mask is strict.", see=lambda place, key: key < place,
)  # fmt: skip
query_sees_the_next_key = spoiled(
    "query_sees_the_next_key", "causal-one-ahead", "j ≤ i + S − T",
    "The causal mask lets one key of the future through.", see=lambda place, key: key <= place + 1,
)  # fmt: skip
causal_mask_aligned_top_left = spoiled(
    "causal_mask_aligned_top_left", "causal-top-left", "j ≤ i + S − T",
    "Query i sees key j ≤ i, with a cache too.", "onnx/onnx PR#8068; pytorch/pytorch #103082", past=0,
)  # fmt: skip
hidden_scores_are_large_and_negative = spoiled(
    "hidden_scores_are_large_and_negative", "mask-finite", "−∞: a query that sees nothing weighs nothing",
    "A hidden score is −10⁹: a query that sees no key averages what it must not see.", hidden=-1e9,
)  # fmt: skip
logarithm_without_the_maximum = spoiled(
    "logarithm_without_the_maximum", "lse-without-max", "log l + m",
    "log l alone is kept for the way back.",
    end=lambda top, total, out: (divided(top, total, out)[0], total.log()),
)  # fmt: skip
maximum_without_the_logarithm = spoiled(
    "maximum_without_the_logarithm", "lse-max-only", "log l + m",
    "m alone is kept for the way back.",
    end=lambda top, total, out: (divided(top, total, out)[0], top),
)  # fmt: skip
sum_in_bits = spoiled(
    "sum_in_bits", "lse-base", "m + log l, both in nats",
    "m in nats and log₂ l are added.", BASE,
    end=lambda top, total, out: (divided(top, total, out)[0], top + total.log2()),
)  # fmt: skip
not_divided = spoiled(
    "not_divided", "flash-unnormalised", "divide by the sum in the end",
    "The output is not divided by the sum.", end=lambda top, total, out: (out, ended(top, total)),
)  # fmt: skip
nothing_over_nothing = spoiled(
    "nothing_over_nothing", "fully-masked-nan", "divide by one where the sum is zero",
    "Of a query that sees no key, 0/0 is left.", "pytorch/pytorch #41508, #103749; tracel-ai/burn PR#4697",
    end=lambda top, total, out: (out / total, ended(top, total)),
)  # fmt: skip
last_tile_filled_with_zeros = spoiled(
    "last_tile_filled_with_zeros", "flash-ragged-tail", "−∞ for keys that are not there",
    "The last tile of keys is filled with zeros, whose scores, zero, are weighed.", beyond=1,
)  # fmt: skip
sum_of_the_last_tile = spoiled(
    "sum_of_the_last_tile", "online-sum-overwritten", "l ← l e^(old − new) + Σ e^(s − new)",
    "The sum is overwritten by each tile's.", shrink_sum=lambda top, new: 0.0,
)  # fmt: skip


@mistake(FLASH, id="flash-tiles-averaged", seen=NOWHERE, fix="divide once, by the sum over all tiles")
def softmax_of_every_tile(q, k, v, *, block_k=64, **options):
    """Each tile is normalized by itself, and the tiles are averaged."""
    lse = flash_attention(q, k, v, block_k=block_k, **options)[1]
    if options.get("causal"):
        return flash_attention(q, k, v, block_k=block_k, **options)
    parts = zip(k.split(block_k, 2), v.split(block_k, 2), strict=True)
    return torch.stack([flash_attention(q, *part, **options)[0] for part in parts]).mean(0), lse


@mistake(FLASH, id="attn-unscaled", seen=NOWHERE, fix="multiply by K^-1/2 unless a scale is given")
def scores_unscaled(q, k, v, *, scale=None, **options):
    """The bare inner product is the default."""
    return flash_attention(q, k, v, scale=1.0 if scale is None else scale, **options)


@mistake(FLASH, id="attn-scale-ignored", seen=NOWHERE, fix="a given scale replaces the default")
def given_scale_is_ignored(q, k, v, *, scale=None, **options):
    """The scale is accepted, and not used."""
    return flash_attention(q, k, v, **options)


@mistake(FLASH, id="lse-unscaled", seen=NOWHERE, fix="the log-sum-exp is that of the scaled scores")
def logarithm_of_unscaled_scores(q, k, v, *, scale=None, **options):
    """The output is right; what is kept is of the bare inner products."""
    return flash_attention(q, k, v, scale=scale, **options)[0], flash_attention(q, k, v, scale=1.0, **options)[1]


@mistake(FLASH, id="masked-nan-leak", seen="pytorch/pytorch #101967", fix="never read a hidden value")
def hidden_value_is_multiplied(q, k, v, **options):
    """A weight of zero times NaN is NaN."""
    out, lse = flash_attention(q, k, v, **options)
    return out + 0 * v.sum(-2, keepdim=True), lse


@mistake(FLASH, id="flash-query-tail", seen=NOWHERE, fix="the last tile of queries may be shorter")
def last_queries_left_out(q, k, v, *, block_q=64, **options):
    """Queries of a ragged tile are not written."""
    out, lse = flash_attention(q, k, v, block_q=block_q, **options)
    written = torch.arange(q.shape[2]) < max(q.shape[2] // block_q * block_q, block_q * (q.shape[2] < block_q))
    return torch.where(written[:, None], out, 0), torch.where(written, lse, -math.inf)


@mistake(FLASH, id="flash-keys-of-one-head", seen=NOWHERE, fix="offset keys and values by batch and head")
def keys_of_the_first_head(q, k, v, **options):
    """The pointer of keys and values does not move with the head."""
    return flash_attention(q, k[:, :1].expand_as(k), v[:, :1].expand_as(v), **options)
