r"""Sampling: from logits to the distribution that is drawn from, and to the draw.

    p = softmax(filtered(z / T)),   filtered: all but some of the most probable symbols get the logit −∞

A logit of −∞ means "impossible" on entry too, and stays −∞. NaN is never left out, so that it reaches the result.
Article papers/sampling.md, derivation derivations/sampling.py, laws verify/sampling.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.softmax import softmax

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def _restored(kept: Bool[Tensor, "*B V"], order: Int[Tensor, "*B V"]) -> Bool[Tensor, "*B V"]:
    """A mask over sorted symbols, put back where the symbols stand: place order[r] gets the r-th entry."""
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _k_largest(z: Float[Tensor, "*B V"], k: int) -> Bool[Tensor, "*B V"]:
    """Which symbols are among the k largest of their row."""
    expect.floating("z", z)
    expect.natural("k", k, 1)
    order = torch.sort(z, dim=-1, descending=True, stable=True).indices
    rank = torch.arange(z.shape[-1], device=z.device)
    return _restored((rank < k).expand_as(z), order)


def _nucleus(z: Float[Tensor, "*B V"], weights: Float[Tensor, "*B V"], p: float) -> Bool[Tensor, "*B V"]:
    """Which symbols have less than p of all weight strictly before them, in falling order."""
    if not 0 < p <= 1:
        expect.fail("p", "a number above 0, at most 1", p)
    order = torch.sort(z, dim=-1, descending=True, stable=True).indices
    falling = weights.gather(-1, order)
    before = falling.cumsum(-1) - falling
    # the weight before a possible symbol is below the total, but in floating point it may round to it
    limit = p * weights.sum(-1, keepdim=True) if p < 1 else math.inf
    return _restored(~(before >= limit), order)


def _near_the_largest(z: Float[Tensor, "*B V"], p: float) -> Bool[Tensor, "*B V"]:
    """Which symbols have at least p times the largest probability: z ≥ max z + log p."""
    expect.floating("z", z)
    expect.number("p", p, 0, 1)
    return ~(z < z.amax(-1, keepdim=True) + (math.log(p) if p > 0 else -math.inf))


def _tempered(z: Float[Tensor, "*B V"], T: float) -> Float[Tensor, "*B V"]:
    expect.floating("z", z)
    if not 0 < T < math.inf:
        expect.fail("temperature", "a number above 0 (greedy decoding is its limit: take the largest logit)", T)
    return z / T


def temperature(z: Float[Tensor, "*B V"], T: float) -> Float[Tensor, "*B V"]:
    r"""The logits z/T, whose softmax is sharper below T = 1 and flatter above.

    Raises ValueError for an integer or empty tensor and unless T > 0: greedy decoding is only the limit T → 0.
    Source: hinton2015distilling, §2 eq. (1).
    """
    return _tempered(z, T)


def top_k(z: Float[Tensor, "*B V"], k: int) -> Float[Tensor, "*B V"]:
    r"""The k largest logits of each row, the others −∞; of equal logits those of lower index are the larger.

    Exactly k stay, or all V if there are no more. Raises ValueError for an integer or empty tensor, or k < 1.
    Source: fan2018hierarchical, §5.4.
    """
    return torch.where(_k_largest(z, k), z, -torch.inf)


def top_p(z: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    r"""The fewest most probable symbols whose mass reaches p, the others −∞: "nucleus" sampling.

    In falling order, equal ones by index, a symbol stays while the mass strictly before it is below p: so the one that
    crosses p stays, one always does, and p = 1 leaves out nothing, not even what rounding hides behind a mass of 1.
    Raises ValueError for an integer or empty tensor, or unless 0 < p ≤ 1.
    Source: holtzman2020curious, §3.1 eq. (2).
    """
    return torch.where(_nucleus(z, softmax(z), p), z, -torch.inf)


def min_p(z: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    r"""The symbols with at least p times the probability of the most probable one, the others −∞.

    p = 0 changes nothing, p = 1 leaves the largest. Raises ValueError for an integer or empty tensor, or unless
    0 ≤ p ≤ 1. Source: nguyen2025minp, §3.
    """
    return torch.where(_near_the_largest(z, p), z, -torch.inf)


def repetition_penalty(z: Float[Tensor, "*B V"], tokens: Int[Tensor, "*B N"], penalty: float) -> Float[Tensor, "*B V"]:
    r"""The logits of the symbols that occur in the row's tokens, made worse: z/penalty if z > 0, else z·penalty.

    Once, however often a symbol occurs; a penalty below one rewards repetition. Raises ValueError for an integer or
    empty z, tokens outside 0 … V − 1 or of other rows, or unless penalty > 0. Source: keskar2019ctrl, §4.1.
    """
    expect.floating("z", z)
    expect.indices("tokens", tokens, z.shape[-1])
    if tokens.shape[:-1] != z.shape[:-1]:
        expect.fail("tokens", f"leading axes {tuple(z.shape[:-1])}", f"shape {tuple(tokens.shape)}")
    if not 0 < penalty < math.inf:
        expect.fail("penalty", "a number above 0", penalty)
    occurs = torch.zeros_like(z, dtype=torch.bool).scatter(-1, tokens.long(), True)
    return torch.where(occurs, torch.where(z > 0, z / penalty, z * penalty), z)


def distribution(
    z: Float[Tensor, "*B V"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Float[Tensor, "*B V"]:
    r"""The probabilities that are drawn from: temperature, then top-k, then top-p, then min-p, then softmax.

    Each filter sees what the one before it left, so that top-p counts the mass of a renormalized distribution. The
    defaults leave out nothing.
    Raises ValueError as the functions of these names do.
    """
    z = _tempered(z, temperature)
    weights = softmax(z)
    if top_k is not None:
        weights = torch.where(_k_largest(z, top_k), weights, 0)
    weights = torch.where(_nucleus(z, weights, top_p), weights, 0)
    weights = torch.where(_near_the_largest(z, min_p), weights, 0)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1, total)


def gumbel_max(z: Float[Tensor, "*B V"], u: Float[Tensor, "*B V"]) -> Int[Tensor, "*B"]:
    r"""A draw from softmax(z): the argmax of z_i − log(−log u_i), the first one if there are several.

    u is uniform on (0, 1), drawn by the caller, independently for every entry.
    Raises ValueError unless both are floating, not empty and of one shape.
    Source: maddison2014astar (the Gumbel-Max trick).
    """
    expect.floating("z", z)
    expect.floating("u", u)
    if u.shape != z.shape:
        expect.fail("u", f"the shape of z, {tuple(z.shape)}", f"shape {tuple(u.shape)}")
    return torch.argmax(z - torch.log(-torch.log(u)), dim=-1)
