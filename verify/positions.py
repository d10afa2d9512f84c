"""Laws of the sinusoids, of learned rows, of ALiBi's slopes and of its biases."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.positions import alibi_slopes
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

F = torch.float64
LENGTHS = [
    (1, 2),
    (2, 4),
    (3, 6),
    (5, 4),
    (4, 8),
    (7, 2),
    (300, 4),
    (600, 6),
]  # T D: one position, one pair, far positions
HEADS = [1, 2, 3, 4, 6, 8, 12, 16, 5, 20, 96]
SIZES = [(1, 1, 2), (2, 1, 5), (2, 3, 4), (4, 3, 5), (3, 5, 2), (6, 4, 7), (12, 2, 3), (2, 1, 300)]  # H T S


@st.composite
def lengths(draw):
    """A few positions or some hundred, a base that is usually the default."""
    T, D = draw(st.sampled_from(LENGTHS))
    return {"T": T, "D": D, "base": draw(st.sampled_from([10000.0, 10000.0, 50.0, 7.5]))}


@st.composite
def sizes(draw):
    """Self-attention, decoding with a cache, and more queries than keys."""
    H, T, S = draw(st.sampled_from(SIZES))
    return {"H": H, "T": T, "S": S}


@st.composite
def looked_up(draw):
    """A table, and places in it, for one row or several, in order or not."""
    S, D, places = draw(st.sampled_from([(5, 4, (3,)), (7, 2, (2, 4))]))
    return {"table": draw(tensor(S, D)), "positions": draw(integers(*places, below=S))}


def angles(encoding):
    """The angle of every pair (sin, cos), T × D/2."""
    return torch.atan2(encoding[:, 0::2], encoding[:, 1::2])


def entries_by_hand(sinusoidal, T, D, base):
    """Column 2i is the sine, column 2i + 1 the cosine, of t·base^(−2i/D)."""
    angle = [[t * base ** (-2 * (c // 2) / D) for c in range(D)] for t in range(T)]
    expected = [[(math.sin, math.cos)[c % 2](a) for c, a in enumerate(row)] for row in angle]
    close(sinusoidal(T, D, base), torch.tensor(expected, dtype=F))


def position_zero_is_sine_zero_cosine_one(sinusoidal, T, D, base):
    """The first row is 0, 1, 0, 1, …"""
    close(sinusoidal(T, D, base)[0], torch.tensor([0.0, 1.0] * (D // 2), dtype=F))


def every_pair_has_length_one(sinusoidal, T, D, base):
    """sin² + cos² = 1: a pair shares one angle."""
    close(sinusoidal(T, D, base).reshape(T, -1, 2).norm(dim=-1), torch.ones(T, D // 2, dtype=F))


def a_step_turns_every_pair(sinusoidal, T, D, base):
    """Each position is the one before it, turned by the angles of the second row."""
    encoding = sinusoidal(T + 1, D, base)
    (sin, cos), (s1, c1) = ((x[..., 0::2], x[..., 1::2]) for x in (encoding[:-1], encoding[1]))
    turned = torch.stack([sin * c1 + cos * s1, cos * c1 - sin * s1], -1).flatten(-2)
    close(encoding[1:], turned)


def products_depend_on_the_offset(sinusoidal, T, D, base):
    """The inner products of all encodings are equal along every diagonal."""
    encoding = sinusoidal(T + 1, D, base)
    products = encoding @ encoding.T
    close(products[1:, 1:], products[:-1, :-1])


def frequencies_fall_geometrically(sinusoidal, T, D, base):
    """The first pair turns by one radian a position, the next ones by base^(−2/D) times the one before."""
    radians = angles(sinusoidal(2, D, base))[1]
    close(radians[0], 1)
    close(radians[1:], radians[:-1] * base ** (-2 / D))


def longer_sequences_begin_alike(sinusoidal, T, D, base):
    """The encoding of a position does not depend on how many there are."""
    close(sinusoidal(2 * T, D, base)[:T], sinusoidal(T, D, base))


def every_position_has_its_row(learned, table, positions):
    """Numbered rows come out as the positions that were asked for."""
    numbered = torch.arange(len(table), dtype=F)[:, None].expand_as(table)
    close(learned(numbered, positions), positions.double()[..., None].expand(*positions.shape, table.shape[1]))


def columns_stay_in_place(learned, table, positions):
    """Numbered columns come out in order."""
    numbered = torch.arange(table.shape[1], dtype=F).expand_as(table)
    close(learned(numbered, positions), numbered[0].expand(*positions.shape, -1))


def eight_and_twelve_heads_by_hand(alibi_slopes, H):
    """Eight heads: 1/2, 1/4, … 1/256. Twelve: these, and then 2^(−1/2), 2^(−3/2), 2^(−5/2), 2^(−7/2)."""
    close(alibi_slopes(8), torch.tensor([1 / 2**h for h in range(1, 9)], dtype=F))
    close(alibi_slopes(12)[8:], torch.tensor([math.sqrt(0.5) / 2**j for j in range(4)], dtype=F))


def a_power_of_two_is_geometric(alibi_slopes, H):
    """The first slope is the common ratio, the last one 1/256."""
    slopes = alibi_slopes(2 ** (H - 1).bit_length())
    close(slopes[1:], slopes[:-1] * slopes[0])
    close(slopes[-1], 1 / 256)


def fewer_heads_come_first(alibi_slopes, H):
    """The slopes of the largest power of two up to H, unchanged."""
    n = 2 ** (H.bit_length() - 1)
    close(alibi_slopes(H)[:n], alibi_slopes(n))


def the_others_lie_between(alibi_slopes, H):
    """Head n + j has the geometric mean of the slopes j − 1 and j, where slope 0 would be one."""
    n = 2 ** (H.bit_length() - 1)
    slopes = alibi_slopes(H)
    before = torch.cat([torch.ones(1, dtype=F), slopes[:n]])
    close(slopes[n:] ** 2, before[: H - n] * slopes[: H - n])


def no_two_heads_agree(alibi_slopes, H):
    """All slopes differ, and lie between zero and one."""
    slopes = alibi_slopes(H).sort().values
    assert (slopes > 0).all() and (slopes < 1).all(), f"a slope outside 0 … 1: {slopes}"
    assert (slopes.diff() > 0).all(), f"two heads have one slope: {slopes}"


def no_bias_where_the_query_stands(alibi_bias, H, T, S):
    """The last query stands at the last key, the one before it at the last but one."""
    bias = alibi_bias(H, T, S)
    close(bias[:, -1, -1], torch.zeros(H, dtype=F), scale=1)
    if min(T, S) > 1:
        close(bias[:, -2, -2], torch.zeros(H, dtype=F), scale=1)


def every_step_away_costs_the_slope(alibi_bias, H, T, S):
    """Up to the query's position the bias rises by the slope from key to key, after it the bias falls."""
    slope, bias = alibi_slopes(H), alibi_bias(H, T, S)
    rises = torch.tensor([[1.0 if s + 1 <= i + S - T else -1.0 for s in range(S - 1)] for i in range(T)], dtype=F)
    close(bias.diff(dim=-1), slope[:, None, None] * rises)


def two_heads_by_hand(alibi_bias, H, T, S):
    """Slopes 1/16 and 1/256; the second of two queries stands at the third of three keys."""
    distance = torch.tensor([[1, 0, 1], [2, 1, 0]], dtype=F)
    close(alibi_bias(2, 2, 3), torch.stack([-distance / 16, -distance / 256]))


def nothing_is_favoured(alibi_bias, H, T, S):
    """No bias is above zero."""
    assert (alibi_bias(H, T, S) <= 0).all(), "a bias is above zero"


def only_the_offset_counts(alibi_bias, H, T, S):
    """One more query and one more key in front: the others' biases stay."""
    close(alibi_bias(H, T + 1, S + 1)[:, 1:, 1:], alibi_bias(H, T, S), scale=1)


def decoding_is_the_last_row(alibi_bias, H, T, S):
    """One query with a cache has the biases that it had among several."""
    close(alibi_bias(H, 1, S), alibi_bias(H, T + 1, S)[:, -1:], scale=1)


def sines_first(sinusoidal, T, D, base=10000.0):
    """sin … sin cos … cos."""
    encoding = sinusoidal(T, D, base)
    return torch.cat([encoding[:, 0::2], encoding[:, 1::2]], -1)


def tensor2tensor(sinusoidal, T, D, base=10000.0):
    """Sines first, and the last wavelength is base·2π: exponents 2i/(D − 2)."""
    return sines_first(sinusoidal, T, D, base ** (D / max(D - 2, 1)))


def after(T, S):
    """Where a key stands after its query."""
    return torch.ones(T, S, dtype=torch.bool).triu(S - T + 1)


def by_key(alibi_bias, H, T, S):
    """The last query's biases for every query: a row is shifted by a constant, which softmax does not see."""
    return alibi_bias(H, 1, S).repeat(1, T, 1)


def signed(alibi_bias, H, T, S):
    """slope · (s − position): keys after the query get a positive bias, and are masked."""
    bias = alibi_bias(H, T, S)
    return torch.where(after(T, S), -bias, bias)


def masked(alibi_bias, H, T, S):
    """−∞ for keys after the query: the causal mask is part of the bias."""
    return alibi_bias(H, T, S).masked_fill(after(T, S), -math.inf)


OPERATIONS = [
    Operation(
        "positions.sinusoidal",
        inputs=lengths(),
        laws=[
            entries_by_hand,
            position_zero_is_sine_zero_cosine_one,
            every_pair_has_length_one,
            a_step_turns_every_pair,
            products_depend_on_the_offset,
            frequencies_fall_geometrically,
            longer_sequences_begin_alike,
        ],
        conventions={
            "sines first, then cosines": sines_first,
            "sines first, then cosines, exponents 2i/(D − 2), as in tensor2tensor": tensor2tensor,
        },
    ),
    Operation(
        "positions.learned",
        inputs=looked_up(),
        laws=[every_position_has_its_row, columns_stay_in_place],
        gradients=("table",),
    ),
    Operation(
        "positions.alibi_slopes",
        inputs=st.sampled_from(HEADS).map(lambda H: {"H": H}),
        laws=[
            eight_and_twelve_heads_by_hand,
            a_power_of_two_is_geometric,
            fewer_heads_come_first,
            the_others_lie_between,
            no_two_heads_agree,
        ],
    ),
    Operation(
        "positions.alibi_bias",
        inputs=sizes(),
        laws=[
            no_bias_where_the_query_stands,
            every_step_away_costs_the_slope,
            two_heads_by_hand,
            nothing_is_favoured,
            only_the_offset_counts,
            decoding_is_the_last_row,
        ],
        conventions={
            "slope times the key position s − (S − 1)": by_key,
            "slope times s − position, positive after the query": signed,
            "the causal mask included: −∞ after the query": masked,
        },
    ),
]
