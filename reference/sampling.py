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
from reference.sampling_beam import beam_search as beam_search  # of the same topic
from reference.softmax import log_softmax, softmax

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

BOUNDARIES = ("reaches", "exceeds", "within")
"""Where top-p stops: its symbols are the fewest of mass ≥ p, or > p, or the most of mass ≤ p, but one at least."""


def _restored(kept: Bool[Tensor, "*B V"], order: Int[Tensor, "*B V"]) -> Bool[Tensor, "*B V"]:
    """A mask over sorted symbols, put back where the symbols stand: place order[r] gets the r-th entry."""
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _k_largest(z: Float[Tensor, "*B V"], k: int) -> Bool[Tensor, "*B V"]:
    """Which symbols are among the k largest of their row."""
    expect.rows("z", z)
    expect.natural("k", k, 1)
    order = torch.sort(z, dim=-1, descending=True, stable=True).indices
    rank = torch.arange(z.shape[-1], device=z.device)
    return _restored((rank < k).expand_as(z), order)


def _nucleus(
    rank_by: Float[Tensor, "*B V"], weights: Float[Tensor, "*B V"], p: float, boundary: str = BOUNDARIES[0]
) -> Bool[Tensor, "*B V"]:
    """Which symbols the share p of all weight takes, in falling order of `rank_by`; the boundary as `top_p` says."""
    expect.real("p", p)
    if not 0 < p <= 1:
        expect.fail("p", "a number above 0, at most 1", p)
    if boundary not in BOUNDARIES:
        expect.fail("boundary", f"one of {', '.join(BOUNDARIES)}", repr(boundary))
    order = torch.sort(rank_by, dim=-1, descending=True, stable=True).indices
    falling = weights.gather(-1, order)
    mass = falling.cumsum(-1)
    # the weight before a possible symbol is below the total, but in floating point it may round to it
    limit = p * weights.sum(-1, keepdim=True) if p < 1 else math.inf
    if boundary == "within":
        out = (mass > limit) & (torch.arange(order.shape[-1], device=order.device) > 0)
    else:
        out = mass - falling >= limit if boundary == "reaches" else mass - falling > limit
    return _restored(~out, order)


def _near_the_largest(z: Float[Tensor, "*B V"], p: float) -> Bool[Tensor, "*B V"]:
    """Which symbols have at least p times the largest probability: z ≥ max z + log p."""
    expect.rows("z", z)
    expect.number("p", p, 0, 1)
    return ~(z < z.amax(-1, keepdim=True) + (math.log(p) if p > 0 else -math.inf))


def _occurrences(z: Float[Tensor, "*B V"], tokens: Int[Tensor, "*B N"]) -> Int[Tensor, "*B V"]:
    """How often each symbol occurs in the tokens of its row."""
    expect.rows("z", z)
    expect.indices("tokens", tokens, z.shape[-1])
    if tokens.shape[:-1] != z.shape[:-1]:
        expect.fail("tokens", f"leading axes {tuple(z.shape[:-1])}", f"shape {tuple(tokens.shape)}")
    tokens = tokens.long()
    return torch.zeros_like(z, dtype=torch.long).scatter_add(-1, tokens, torch.ones_like(tokens))


def _entropy(z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B 1"]:
    """The entropy of softmax(z), in nats; impossible symbols have no part in it."""
    log_p = log_softmax(z)
    return -torch.where(log_p == -torch.inf, 0, softmax(z) * log_p).sum(-1, keepdim=True)


def _above(z: Float[Tensor, "*B V"], log_least: float | Float[Tensor, "*B 1"]) -> Bool[Tensor, "*B V"]:
    """Which symbols have at least the log-probability given, or as much as the most probable one."""
    log_p = log_softmax(z)
    return ~((log_p < log_least) & (z < z.amax(-1, keepdim=True)))


def _tempered(z: Float[Tensor, "*B V"], T: float) -> Float[Tensor, "*B V"]:
    expect.rows("z", z)
    expect.real("temperature", T)
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


def top_p(z: Float[Tensor, "*B V"], p: float, boundary: str = BOUNDARIES[0]) -> Float[Tensor, "*B V"]:
    r"""The fewest most probable symbols whose mass reaches p, the others −∞: "nucleus" sampling.

    In falling order, equal ones by index, a symbol stays while the mass strictly before it is below p: so the one that
    crosses p stays, one always does, and p = 1 leaves out nothing, not even what rounding hides behind a mass of 1.
    Other boundaries in use: "exceeds", while the mass before it is at most p; "within", while the mass with it is at
    most p, so that the one that crosses p goes, unless it is the first.
    Raises ValueError for an integer or empty tensor, another boundary, or unless 0 < p ≤ 1.
    Source: holtzman2020curious, §3.1 eq. (2).
    """
    return torch.where(_nucleus(z, softmax(z), p, boundary), z, -torch.inf)


def min_p(z: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    r"""The symbols with at least p times the probability of the most probable one, the others −∞.

    p = 0 changes nothing, p = 1 leaves the largest. Raises ValueError for an integer or empty tensor, or unless
    0 ≤ p ≤ 1. Source: nguyen2025minp, §3.
    """
    return torch.where(_near_the_largest(z, p), z, -torch.inf)


def typical(z: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    r"""The fewest symbols whose mass reaches p, those first whose surprise −log p_i is nearest to the entropy.

    Of equally near ones the lower index comes first; p = 1 leaves out nothing. The most probable symbol may go.
    Raises ValueError for an integer or empty tensor, or unless 0 < p ≤ 1.
    Source: meister2023typical (locally typical sampling).
    """
    surprise, weights = -log_softmax(z), softmax(z)
    return torch.where(_nucleus(-(surprise - _entropy(z)).abs(), weights, p), z, -torch.inf)


def epsilon_cutoff(z: Float[Tensor, "*B V"], epsilon: float) -> Float[Tensor, "*B V"]:
    r"""The symbols of probability ε or more, the others −∞; if none has it, all that are as probable as the largest.

    ε = 0 changes nothing. Raises ValueError for an integer or empty tensor, or unless 0 ≤ ε < 1.
    Source: hewitt2022truncation (ε-sampling).
    """
    expect.number("epsilon", epsilon, 0, 1, open_high=True)
    return torch.where(_above(z, math.log(epsilon) if epsilon else -math.inf), z, -torch.inf)


def eta_cutoff(z: Float[Tensor, "*B V"], epsilon: float) -> Float[Tensor, "*B V"]:
    r"""As `epsilon_cutoff`, with the threshold η = min(ε, √ε e^(−H)) in place of ε, H the entropy of the row in nats.

    The most probable symbol stays in any case, since η < e^(−H) ≤ max p.
    Raises ValueError for an integer or empty tensor, or unless 0 ≤ ε < 1.
    Source: hewitt2022truncation (η-sampling, with α = √ε).
    """
    expect.number("epsilon", epsilon, 0, 1, open_high=True)
    log_epsilon = math.log(epsilon) if epsilon else -math.inf
    return torch.where(_above(z, (log_epsilon / 2 - _entropy(z)).clamp(max=log_epsilon)), z, -torch.inf)


def repetition_penalty(z: Float[Tensor, "*B V"], tokens: Int[Tensor, "*B N"], penalty: float) -> Float[Tensor, "*B V"]:
    r"""The logits of the symbols that occur in the row's tokens, made worse: z/penalty if z > 0, else z·penalty.

    Once, however often a symbol occurs; a penalty below one rewards repetition. Raises ValueError for an integer or
    empty z, tokens outside 0 … V − 1 or of other rows, or unless penalty > 0. Source: keskar2019ctrl, §4.1.
    """
    often = _occurrences(z, tokens)
    expect.above("penalty", penalty)
    return torch.where(often > 0, torch.where(z > 0, z / penalty, z * penalty), z)


def presence_penalty(z: Float[Tensor, "*B V"], tokens: Int[Tensor, "*B N"], penalty: float) -> Float[Tensor, "*B V"]:
    r"""The logits of the symbols that occur in the row's tokens, less the penalty: their odds are divided by e^penalty.

    Once, however often a symbol occurs; a negative penalty rewards. Which tokens count, those of the prompt too or the
    generated ones only, is the caller's choice. Raises ValueError for an integer or empty z, tokens outside
    0 … V − 1 or of other rows, or an infinite penalty. Source: openai2023penalties.
    """
    often = _occurrences(z, tokens)
    expect.number("penalty", penalty)
    return z - penalty * (often > 0).to(z.dtype)


def frequency_penalty(z: Float[Tensor, "*B V"], tokens: Int[Tensor, "*B N"], penalty: float) -> Float[Tensor, "*B V"]:
    r"""The logits less the penalty times how often the symbol occurs in the row's tokens: a debt that grows.

    A negative penalty rewards. Raises ValueError as `presence_penalty`. Source: openai2023penalties.
    """
    often = _occurrences(z, tokens)
    expect.number("penalty", penalty)
    return z - penalty * often.to(z.dtype)


def distribution(
    z: Float[Tensor, "*B V"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    temperature_last: bool = False,
) -> Float[Tensor, "*B V"]:
    r"""The probabilities that are drawn from: temperature, then top-k, then top-p, then min-p, then softmax.

    Each filter sees what the one before it left, so that top-p counts the mass of a renormalized distribution. The
    defaults leave out nothing. With `temperature_last` the filters see the logits at T = 1, as in llama.cpp.
    Raises ValueError as the functions of these names do.
    """
    tempered = _tempered(z, temperature)
    z = z if temperature_last else tempered
    stays = torch.ones_like(z, dtype=torch.bool) if top_k is None else _k_largest(z, top_k)
    stays = stays & _nucleus(z, torch.where(stays, softmax(z), 0), top_p)
    stays = stays & _near_the_largest(z, min_p)
    weights = torch.where(stays, softmax(tempered), 0)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1, total)


def greedy(z: Float[Tensor, "*B V"]) -> Int[Tensor, "*B"]:
    r"""The most probable symbol, of several the one of lowest index: what a draw becomes as T → 0.

    A row of −∞ alone gives 0, a row with NaN the index of the first.
    Raises ValueError for an integer or empty tensor.
    Source: holtzman2020curious, §3 (maximization-based decoding).
    """
    expect.rows("z", z)
    return torch.argmax(z, dim=-1)


def gumbel_max(z: Float[Tensor, "*B V"], u: Float[Tensor, "*B V"]) -> Int[Tensor, "*B"]:
    r"""A draw from softmax(z): the argmax of z_i − log(−log u_i), the first one if there are several.

    u is uniform on (0, 1), drawn by the caller, independently for every entry.
    Raises ValueError unless both are floating, not empty and of one shape.
    Source: maddison2014astar (the Gumbel-Max trick).
    """
    expect.rows("z", z)
    expect.floating("u", u)
    if u.shape != z.shape:
        expect.fail("u", f"the shape of z, {tuple(z.shape)}", f"shape {tuple(u.shape)}")
    return torch.argmax(z - torch.log(-torch.log(u)), dim=-1)
