r"""Frequencies of the rotary pairs: θ_k = base^(−2k/K) in radians a position, and what stretches them to longer texts.

    stretched θ_k = θ_k (γ_k + (1 − γ_k)/s), where γ_k says how much of pair k is kept

Position interpolation keeps nothing (γ = 0); YaRN and Llama 3 keep what turns often within the texts trained on. NTK
changes the base. K counts the coordinates that are turned: a head's, or the first R of them under partial rotation.

Article papers/rope.md, derivation derivations/rope_scaling.py, laws verify/rope_scaling.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

RAMPS = ("pairs", "turns")


def frequencies(K: int, base: float = 10000.0, dtype=torch.float64, device=None) -> Float[Tensor, "{K//2}"]:
    r"""θ_k = base^(−2k/K) for k = 0 … K/2 − 1, in radians a position.

    Raises ValueError for an odd K or a base that is not above zero.
    Source: su2021roformer, §3.2.2 eq. (15).
    """
    expect.natural("K", K, 2)
    if K % 2:
        expect.fail("K", "an even number of coordinates, to be paired", K)
    expect.above("base", base)
    return base ** (-torch.arange(0, K, 2, dtype=dtype, device=device) / K)


def interpolated(K: int, scale: float, base: float = 10000.0) -> Float[Tensor, "{K//2}"]:
    r"""θ_k / s, float64: position interpolation, which is also called linear. Position s·m is turned as m was.

    Raises ValueError for a scale below one, and as `frequencies` does.
    Source: chen2023interpolation, §2.3.
    """
    expect.number("scale", scale, 1)
    return frequencies(K, base) / scale


def ntk(K: int, scale: float, base: float = 10000.0) -> Float[Tensor, "{K//2}"]:
    r"""The frequencies of base · s^(K/(K − 2)), float64: the first pair stays, the last is divided by s.

    Raises ValueError for K below 4, a scale below one, and as `frequencies` does.
    Source: peng2023yarn, definition 1.
    """
    expect.natural("K", K, 4)
    expect.number("scale", scale, 1)
    return frequencies(K, base * scale ** (K / (K - 2)))


def dynamic_ntk(K: int, scale: float, length: int, trained: int, base: float = 10000.0) -> Float[Tensor, "{K//2}"]:
    r"""`ntk` with 1 + s (length/trained − 1) for s once the text is longer than those trained on, float64.

    `length` is what the text has now: with a cache, old keys were turned by other frequencies than new ones will be.
    Raises ValueError for a length or `trained` below one, and as `ntk` does.
    Source: peng2023yarn, §3.3; the stretch is that of transformers, s = 1 gives the paper's length/trained.
    """
    expect.number("scale", scale, 1)
    expect.natural("length", length, 1)
    expect.natural("trained", trained, 1)
    return ntk(K, 1 + scale * (max(length, trained) / trained - 1), base)


def yarn(
    K: int,
    scale: float,
    trained: int,
    base: float = 10000.0,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    ramp: str = "pairs",
    mscale: float = 1.0,
    mscale_all: float = 0.0,
) -> tuple[Float[Tensor, "{K//2}"], float]:
    r"""(frequencies, attention factor) of YaRN: pairs that turn `beta_fast` times in `trained` positions stay, float64.

    Those that turn less than `beta_slow` times are divided by s. Between these γ falls from one to zero: linearly in
    the number of the pair (ramp "pairs", as the released code does, and all models; with `truncate` from a whole
    number down to a whole number up), or in the number of turns (ramp "turns", as the paper has it; `truncate` means
    nothing then). Queries and keys are multiplied by the attention factor, m(mscale) / m(mscale_all), where
    m(x) = 0.1 x ln s + 1.
    Raises ValueError for a scale below one, betas that are not 0 < slow < fast, an unknown ramp, fewer trained
    positions than turn any pair `beta_slow` times, or more than leave the last one below `beta_fast`.
    Source: peng2023yarn, definitions 2 and 3; mscale and mscale_all as in deepseek2024v2's code.
    """
    theta = frequencies(K, base)
    expect.number("scale", scale, 1)
    expect.natural("trained", trained, 1)
    expect.above("beta_fast", beta_fast)
    expect.above("beta_slow", beta_slow)
    if beta_slow >= beta_fast:
        expect.fail("beta_slow", f"a number below beta_fast, {beta_fast:g}", beta_slow)
    expect.number("mscale", mscale, 0)
    expect.number("mscale_all", mscale_all, 0)
    if ramp not in RAMPS:
        expect.fail("ramp", f"one of {', '.join(RAMPS)}", repr(ramp))
    if ramp == "turns":
        kept = _cut((trained * theta / math.tau - beta_slow) / (beta_fast - beta_slow))
    else:
        first, last = (K / 2 * math.log(trained / (math.tau * beta), base) for beta in (beta_fast, beta_slow))
        if truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, K - 1)
        if first > last:
            expect.fail("trained", "a length in which some pair turns between beta_slow and beta_fast times", trained)
        last = first + 0.001 if first == last else last
        kept = 1 - _cut((torch.arange(K // 2, dtype=torch.float64) - first) / (last - first))
    small, large = (0.1 * x * math.log(scale) + 1 for x in (mscale_all, mscale))
    return theta * (kept + (1 - kept) / scale), large / small


def llama3(
    K: int, scale: float = 8.0, trained: int = 8192, base: float = 500000.0, *, low: float = 1.0, high: float = 4.0
) -> Float[Tensor, "{K//2}"]:
    r"""Frequencies of Llama 3.1 and later, float64: what turns `high` times in `trained` positions stays.

    Pairs that turn less than `low` times are divided by s; between them γ = (turns − low) / (high − low). That is
    YaRN's ramp "turns" with other betas and no attention factor.
    Raises ValueError for a scale below one, factors that are not 0 < low < high, and as `frequencies` does.
    Source: meta2024llama31, apply_scaling.
    """
    expect.above("low", low)
    if low >= high:
        expect.fail("low", f"a number below high, {high:g}", low)
    return yarn(K, scale, trained, base, beta_fast=high, beta_slow=low, ramp="turns")[0]


def _cut(x):
    """x where it is between 0 and 1, else the nearer of these."""
    return x.clamp(0, 1)
