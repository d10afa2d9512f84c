r"""Positions without a rotation: sinusoids or learned rows that are added to embeddings, linear biases of scores.

    sinusoidal(t, 2i) = sin(t θ_i), sinusoidal(t, 2i + 1) = cos(t θ_i), with θ_i = base^(−2i/D)
    alibi(h, i, s) = −slope_h · |position of query i − s|

Article papers/positions.md, derivation derivations/positions.py, laws verify/positions.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.rope import frequencies

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def sinusoidal(T: int, D: int, base: float = 10000.0) -> Float[Tensor, "T D"]:
    r"""Row t = 0 … T − 1 encodes position t: sin(t θ_i) in column 2i, cos(t θ_i) in column 2i + 1, float64.

    θ_i = base^(−2i/D) in radians a position: the frequencies of RoPE for a head of dimension D.
    Raises ValueError for T below 1, an odd D, or a base that is not a number above 0.
    Source: vaswani2017attention, §3.5.
    """
    expect.natural("T", T, 1)
    expect.natural("D", D, 2)
    expect.number("base", base, 0)
    if D % 2:
        expect.fail("D", "an even number of coordinates, sines and cosines", D)
    angle = torch.arange(T, dtype=torch.float64)[:, None] * frequencies(D, base)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def learned(table: Float[Tensor, "S D"], positions: Int[Tensor, "*B T"]) -> Float[Tensor, "*B T D"]:
    r"""Row `positions[t]` of a table that is trained: an encoding for every position below S, and none beyond.

    Raises ValueError for a position that the table does not have: nothing was learned there.
    Source: gehring2017convolutional, §3.1.
    """
    expect.floating("table", table)
    expect.indices("positions", positions, expect.axes("table", table, "S D")["S"])
    return table[positions.long()]


def alibi_slopes(H: int) -> Float[Tensor, "H"]:
    r"""How much a key loses by one step away from the query, in each of H heads: 2^(−8h/H) for h = 1 … H, float64.

    That is for H a power of two. Otherwise, n the largest power of two below H: the slopes of n heads, and after them
    the first H − n that 2n heads would have between these, at the odd places 1, 3, 5, …
    Raises ValueError for H below 1.
    Source: press2022alibi, §3 and, for other H, get_slopes in its code.
    """
    expect.natural("H", H, 1)
    n = 2 ** (H.bit_length() - 1)
    own = torch.arange(1, n + 1, dtype=torch.float64)
    between = torch.arange(1, 2 * (H - n) + 1, 2, dtype=torch.float64)
    return 2.0 ** torch.cat([-8 * own / n, -8 * between / (2 * n)])


def alibi_bias(H: int, T: int, S: int) -> Float[Tensor, "H T S"]:
    r"""−slope_h · |distance|, to be added to scaled scores before the mask: query i of T stands at i + S − T of S keys.

    The queries are the last ones, as under a causal mask with a cache. A key after its query is as far as one before.
    Raises ValueError for a size below one.
    Source: press2022alibi, §3.
    """
    expect.natural("T", T, 1)
    expect.natural("S", S, 1)
    position, key = torch.arange(T, dtype=torch.float64) + (S - T), torch.arange(S, dtype=torch.float64)
    distance = (position[:, None] - key).abs()
    return -alibi_slopes(H)[:, None, None] * distance
