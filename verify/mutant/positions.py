"""Mistakes in the sinusoids, in learned rows, in ALiBi's slopes and in its biases."""

from __future__ import annotations

import math

import torch

from reference.positions import alibi_bias, alibi_slopes, learned, sinusoidal
from reference.rope import frequencies
from verify.mistake import mistake

NOWHERE = "no public report found"
SINUSOIDAL, SLOPES, BIAS = "positions.sinusoidal", "positions.alibi_slopes", "positions.alibi_bias"
LEARNED = "positions.learned"
F = torch.float64


def waves(angle):
    """Sines of the even columns' angles, cosines of the odd ones'."""
    return torch.where(torch.arange(angle.shape[-1]) % 2 == 0, angle.sin(), angle.cos())


def positions(T):
    return torch.arange(T, dtype=F)[:, None]


@mistake(
    SINUSOIDAL,
    id="sin-exponent-2i",
    seen="Kyubyong/transformer #38; jadore801120/attention-is-all-you-need-pytorch #32; shenweichen/DeepCTR #379; "
    "BrianPulfer/PapersReimplementations #9; SamLynnEvans/Transformer #25",
    fix="column c has the exponent −2⌊c/2⌋/D: i counts pairs, not columns",
)
def exponent_counts_columns(T, D, base=10000.0):
    """2i/D with i = 0 … D − 1: the exponent is doubled, and sine and cosine of a pair have angles of their own."""
    return waves(positions(T) * base ** (-2 * torch.arange(D, dtype=F) / D))


@mistake(SINUSOIDAL, id="sin-integer-division", seen="Kyubyong/transformer PR#81", fix="divide in floating point")
def exponent_divided_in_integers(T, D, base=10000.0):
    """2i/D of integers is 0 or 1: two frequencies in all."""
    return waves(positions(T) * base ** -(2 * torch.arange(D) // D).double())


@mistake(SINUSOIDAL, id="sin-floored-rate", seen="zju3dv/LoFTR #41", fix="−log(base)/(D/2): // binds as tightly as /")
def rate_rounded_down(T, D, base=10000.0):
    """−log(base)/D//2 is floored to −1 where −2·log(base)/D was meant."""
    rate = torch.exp(torch.arange(D // 2, dtype=F) * (-math.log(base) / D // 2))
    return waves((positions(T) * rate).repeat_interleave(2, -1))


@mistake(SINUSOIDAL, id="sin-power-swapped", seen="ivanvovk/WaveGrad #12", fix="base^−exponent, not exponent^(1/base)")
def base_and_exponent_swapped(T, D, base=10000.0):
    """The exponent is raised to the power 1/base: all frequencies but the first are nearly one."""
    return waves((positions(T) * (torch.arange(0, D, 2, dtype=F) / D) ** (1 / base)).repeat_interleave(2, -1))


@mistake(SINUSOIDAL, id="sin-base-1000", seen="maxjcohen/transformer #62", fix="use the base given, 10000 by default")
def base_is_one_thousand(T, D, base=10000.0):
    """The base is 1000."""
    return sinusoidal(T, D, 1000.0)


@mistake(SINUSOIDAL, id="sin-cosine-exponent", seen="maxjcohen/transformer #62", fix="sine and cosine share −2i/D")
def cosine_with_its_own_exponent(T, D, base=10000.0):
    """The cosine of pair i has the exponent −(2i + 1)/D."""
    return waves(positions(T) * base ** (-torch.arange(D, dtype=F) / D))


@mistake(SINUSOIDAL, id="sin-base-ignored", seen=NOWHERE, fix="use the base that is given")
def base_is_ten_thousand(T, D, base=10000.0):
    """The argument is accepted and not used."""
    return sinusoidal(T, D)


@mistake(SINUSOIDAL, id="sin-exponent-half", seen=NOWHERE, fix="the exponent of pair i is −2i/D")
def exponent_without_the_two(T, D, base=10000.0):
    """−i/D."""
    return sinusoidal(T, D, base**0.5)


@mistake(SINUSOIDAL, id="sin-exponent-d-minus-2", seen=NOWHERE, fix="the exponent of pair i is −2i/D")
def last_exponent_is_one(T, D, base=10000.0):
    """−2i/(D − 2), as in tensor2tensor, but interleaved."""
    return sinusoidal(T, D, base ** (D / max(D - 2, 1)))


@mistake(SINUSOIDAL, id="sin-cos-swapped", seen=NOWHERE, fix="sine in the even columns, cosine in the odd ones")
def cosine_first(T, D, base=10000.0):
    """Cosines in the even columns."""
    return sinusoidal(T, D, base).reshape(T, -1, 2).flip(-1).flatten(-2)


@mistake(SINUSOIDAL, id="sin-positions-from-one", seen=NOWHERE, fix="the first position is zero")
def counted_from_one(T, D, base=10000.0):
    """Every position is one too large."""
    return sinusoidal(T + 1, D, base)[1:]


@mistake(SINUSOIDAL, id="sin-relative-to-length", seen=NOWHERE, fix="positions are whole numbers, whatever the length")
def positions_divided_by_the_length(T, D, base=10000.0):
    """Position t/T: the last one is always near one."""
    return waves((positions(T) / T * frequencies(D, base)).repeat_interleave(2, -1))


@mistake(SINUSOIDAL, id="sin-bf16-position", seen=NOWHERE, fix="keep positions in at least float32")
def positions_in_bfloat16(T, D, base=10000.0):
    """Above 256 bfloat16 skips positions."""
    return waves((positions(T).bfloat16().double() * frequencies(D, base)).repeat_interleave(2, -1))


@mistake(SINUSOIDAL, id="sin-float32-angle", seen=NOWHERE, fix="compute the angles in float64")
def angles_in_float32(T, D, base=10000.0):
    """A hidden cast: the angles are rounded to float32."""
    return waves((positions(T) * frequencies(D, base)).float().double().repeat_interleave(2, -1))


@mistake(LEARNED, id="learned-from-one", seen=NOWHERE, fix="position t is row t; what a checkpoint adds is its own")
def one_row_further(table, positions):
    """Every position reads the next row, and the last one the first."""
    return learned(table, (positions + 1) % len(table))


@mistake(
    LEARNED,
    id="rope-decode-position-zero",
    seen="Blaizzy/mlx-vlm #1983; RobertCsordas/moeut PR#6; pytorch/executorch PR#2010",
    fix="add the number of cached tokens to the positions",
)
def restarted_at_zero(table, positions):
    """0, 1, 2, … whatever came before."""
    return learned(table, torch.arange(positions.shape[-1]).expand(positions.shape))


@mistake(
    LEARNED,
    id="rope-shared-positions",
    seen="ndif-team/nnsight PR#673",
    fix="a row that is padded on the left has positions of its own",
)
def rows_of_the_first_text(table, positions):
    """All rows of a batch get the positions of its first one."""
    return learned(table, positions.reshape(-1, positions.shape[-1])[0].expand(positions.shape))


@mistake(LEARNED, id="learned-reversed", seen=NOWHERE, fix="columns as they stand in the table")
def columns_reversed(table, positions):
    """The columns are read from the last."""
    return learned(table, positions).flip(-1)


@mistake(
    LEARNED,
    id="gather-backward-overwrite",
    seen="pytorch/pytorch #1631, #1528; pymc-devs/pytensor PR#2242",
    fix="gradients of one row add up",
)
def last_gradient_counts(table, positions):
    """Of several places that read one row only the last passes its gradient on."""
    flat = positions.flatten()
    last = torch.tensor([not bool((flat[n + 1 :] == p).any()) for n, p in enumerate(flat)]).reshape(positions.shape)
    rows = learned(table, positions)
    return torch.where(last[..., None], rows, rows.detach())


@mistake(
    SLOPES,
    id="alibi-nonpow2",
    seen="ml-explore/mlx #343, PR#3071",
    fix="the slopes of n heads, n the power of two below, then those at odd places of 2n",
)
def one_progression_for_every_number(H):
    """2^(−8h/H) although H is no power of two."""
    return 2.0 ** (-8 * torch.arange(1, H + 1, dtype=F) / H)


@mistake(SLOPES, id="alibi-slopes-from-one", seen="paiml/aprender PR#2143", fix="h counts from 1: 2^(−8h/H)")
def first_slope_is_one(H):
    """Heads are counted from zero: every slope lacks a factor 2^(−8/n)."""
    return alibi_slopes(H) * 2.0 ** (8 / 2 ** (H.bit_length() - 1))


@mistake(SLOPES, id="alibi-ratio-half", seen=NOWHERE, fix="the ratio is 2^(−8/H), one half for eight heads only")
def halved_from_head_to_head(H):
    """2^(−h), the slopes of eight heads, for any number."""
    return 2.0 ** -torch.arange(1, H + 1, dtype=F)


@mistake(SLOPES, id="alibi-even-places", seen=NOWHERE, fix="the odd places 1, 3, 5, … of 2n heads")
def others_at_even_places(H):
    """The other heads take the places 2, 4, 6, … of 2n, whose slopes are taken already."""
    n = 2 ** (H.bit_length() - 1)
    return torch.cat([alibi_slopes(n), alibi_slopes(2 * n)[1::2][: H - n]])


@mistake(SLOPES, id="alibi-consecutive-places", seen=NOWHERE, fix="every second slope of 2n heads, from the first")
def others_at_consecutive_places(H):
    """The other heads take the first slopes of 2n, without leaving any out."""
    n = 2 ** (H.bit_length() - 1)
    return torch.cat([alibi_slopes(n), alibi_slopes(2 * n)[: H - n]])


@mistake(SLOPES, id="alibi-next-power", seen=NOWHERE, fix="n is the power of two below H")
def first_of_the_next_power(H):
    """The first H slopes of the power of two above."""
    return alibi_slopes(2 ** (H - 1).bit_length())[:H]


@mistake(SLOPES, id="alibi-sorted", seen=NOWHERE, fix="the other heads follow after the first n")
def sorted_by_size(H):
    """The right slopes, but from the steepest to the flattest."""
    return alibi_slopes(H).sort(descending=True).values


@mistake(BIAS, id="alibi-decode-zero", seen="keras-team/keras-hub PR#2862", fix="build the bias over all keys")
def built_for_the_queries(H, T, S):
    """The bias is built for T keys and broadcast: for one query with a cache it is zero everywhere."""
    return alibi_bias(H, T, T).expand(H, T, S)


@mistake(BIAS, id="alibi-sign", seen="meta-pytorch/attention-gym #29, PR#86", fix="−slope · distance")
def far_keys_are_favoured(H, T, S):
    """+slope · distance."""
    return -alibi_bias(H, T, S)


@mistake(BIAS, id="alibi-query-from-zero", seen=NOWHERE, fix="query i of T stands at i + S − T")
def queries_are_the_first(H, T, S):
    """Query i stands at position i, whatever is in the cache."""
    return -alibi_slopes(H)[:, None, None] * (positions(T) - positions(S).mT).abs()


@mistake(BIAS, id="alibi-nonpow2", seen="ml-explore/mlx #343, PR#3071", fix="the slopes of alibi_slopes(H)")
def slopes_of_one_progression(H, T, S):
    """Slopes 2^(−8h/H) although H is no power of two."""
    return one_progression_for_every_number(H)[:, None, None] * alibi_bias(H, T, S) / alibi_slopes(H)[:, None, None]


@mistake(BIAS, id="alibi-slopes-of-length", seen=NOWHERE, fix="the slopes depend on the number of heads")
def slopes_by_length(H, T, S):
    """2^(−8h/S): the number of keys in place of the number of heads."""
    slopes = 2.0 ** (-8 * torch.arange(1, H + 1, dtype=F) / S)
    return slopes[:, None, None] * alibi_bias(H, T, S) / alibi_slopes(H)[:, None, None]


@mistake(BIAS, id="alibi-one-slope", seen=NOWHERE, fix="every head has a slope of its own")
def one_slope_for_all_heads(H, T, S):
    """The first slope for every head."""
    return alibi_bias(H, T, S)[:1].repeat(H, 1, 1)


@mistake(BIAS, id="alibi-heads-reversed", seen=NOWHERE, fix="the first head has the steepest of n slopes")
def flattest_first(H, T, S):
    """The slopes are given to the heads from the last."""
    return alibi_bias(H, T, S).flip(0)


@mistake(BIAS, id="alibi-squared", seen=NOWHERE, fix="the bias is linear in the distance")
def square_of_the_distance(H, T, S):
    """−slope · distance²."""
    bias = alibi_bias(H, T, S)
    return -(bias**2) / alibi_slopes(H)[:, None, None]


@mistake(BIAS, id="alibi-bf16", seen="HabanaAI/vllm-fork PR#503", fix="keep the bias in at least float32")
def bias_in_bfloat16(H, T, S):
    """Neighbouring keys that are more than 256 steps away have one bias."""
    return alibi_bias(H, T, S).bfloat16().double()
