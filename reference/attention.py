r"""Scaled dot-product attention: every query takes the average of the values, weighted by how its scores compare.

    out_t = Σ_s p_ts v_s,   p_t = softmax(q_t · k_s / √K over the keys s that t may see)

Grouped-query attention shares a head of keys and values between several heads of queries; `attend` has every option
that models use. Run as a program, `python -m reference.attention --trace`, it shows four tokens step by step.
Article papers/attention.md, derivation derivations/attention.py, laws verify/attention.py.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.softmax import softmax

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

ALIGNMENTS = ("bottom_right", "top_left")


def scores(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B H S K"], scale: float | None = None
) -> Float[Tensor, "B H T S"]:
    r"""q · k times `scale`, which is 1/√K unless given: then scores of standardized q, k have variance one.

    Raises ValueError when the axes do not agree.
    Source: vaswani2017attention, §3.2.1 eq. (1) and footnote 4.
    """
    expect.floating("q", q)
    expect.floating("k", k)
    ours, theirs = expect.axes("q", q, "B H T K"), expect.axes("k", k, "B H S K")
    expect.agree(B=(ours["B"], theirs["B"]), H=(ours["H"], theirs["H"]), K=(ours["K"], theirs["K"]))
    if scale is not None:
        expect.number("scale", scale)
    return torch.einsum("bhtk,bhsk->bhts", q, k) * (ours["K"] ** -0.5 if scale is None else scale)


def causal_mask(T: int, S: int, device=None) -> Bool[Tensor, "T S"]:
    r"""True where query i may see key j: j ≤ i + S − T, so that the last query sees every key (bottom-right aligned).

    With T = S this is the usual triangle; with a cache (S > T) the T queries are the last ones of S.
    Raises ValueError for a size below one.
    """
    return visible(T, S, causal=True, device=device)


def visible(
    T: int,
    S: int,
    *,
    causal: bool = False,
    alignment: str = "bottom_right",
    window: int | None = None,
    kept: int = 0,
    device=None,
) -> Bool[Tensor, "T S"]:
    r"""True where query i, at position p = i + S − T, may see key j, by position alone.

    `alignment` "top_left" puts query i at p = i instead. Causal: j ≤ p. A window of W: |p − j| < W, so that a causal
    query sees itself and the W − 1 keys before it. The first `kept` keys stay visible behind the window, though not
    ahead of a causal query; StreamingLLM calls them sinks.
    Raises ValueError for a size or window below one, `kept` below zero, or an unknown alignment.
    Source: jiang2023mistral, §2 (window); xiao2024streaming, §3.2 (kept).
    """
    expect.natural("T", T, 1)
    expect.natural("S", S, 1)
    expect.natural("kept", kept, 0)
    if alignment not in ALIGNMENTS:
        expect.fail("alignment", f"one of {', '.join(ALIGNMENTS)}", repr(alignment))
    key = torch.arange(S, device=device)
    ahead = key - torch.arange(T, device=device)[:, None] - (S - T if alignment == "bottom_right" else 0)  # j − p
    sees = torch.ones(T, S, dtype=torch.bool, device=device)
    if window is not None:
        expect.natural("window", window, 1)
        sees = (ahead.abs() < window) | (key < kept)
    return sees & (ahead <= 0) if causal else sees


def attention(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B H S K"],
    v: Float[Tensor, "B H S K"],
    *,
    causal: bool = False,
    mask: Bool[Tensor, "*B T S"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "B H T K"]:
    r"""Attention of q over (k, v); `mask` is True where a query may see a key, and is combined with `causal`.

    A query that may see no key gives zeros, with zero gradient. Keys and values that no query may see are not read,
    so a NaN there does not spread. In cross-attention T and S differ, and nothing is causal.
    Raises ValueError when axes do not agree, or for a mask that is not boolean or does not broadcast to B H T S.
    Source: vaswani2017attention, §3.2.
    """
    expect.floating("v", v)
    sizes, values = expect.axes("k", k, "B H S K"), expect.axes("v", v, "B H S K")
    expect.agree(B=(sizes["B"], values["B"]), H=(sizes["H"], values["H"]), S=(sizes["S"], values["S"]))
    T, S = expect.axes("q", q, "B H T K")["T"], sizes["S"]
    sees = _allowed(visible(T, S, causal=causal, device=q.device), mask, (*q.shape[:3], S))
    k, v = _read(k, v, sees)
    return average(softmax(torch.where(sees, scores(q, k, scale), -torch.inf)), v, sees)


def grouped_query_attention(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B G S K"],
    v: Float[Tensor, "B G S K"],
    *,
    causal: bool = False,
    mask: Bool[Tensor, "*B T S"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "B H T K"]:
    r"""Attention in which query head h reads key-value head h // (H/G): H/G consecutive query heads share one.

    G = H is `attention`, G = 1 multi-query attention. The gradient of a shared head is the sum over its query heads.
    Raises ValueError when H is not a multiple of G, and as `attention` does.
    Source: ainslie2023gqa, §2.2 and figure 2.
    """
    return attention(q, *shared(q, k, v), causal=causal, mask=mask, scale=scale)


def attend(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B G S K"],
    v: Float[Tensor, "B G S K"],
    *,
    causal: bool = False,
    alignment: str = "bottom_right",
    window: int | None = None,
    kept: int = 0,
    mask: Bool[Tensor, "*B T S"] | None = None,
    bias: Float[Tensor, "*B T S"] | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "H"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "B H T K"]:
    r"""Attention with what is in use beside: where `visible` says, and in this order, from scores to weights:

    capped at ±c, c tanh(score/c); plus a bias (ALiBi, an additive mask), whose −∞ hides a key; and against a sink, a
    score that every head has for no key at all, so that the weights of a row sum to less than one. Query head h reads
    key-value head h // (H/G). A query that may see no key gives zeros, with a sink or without.
    Raises ValueError as `visible` and `attention` do, for a softcap that is not above zero, and for sinks not of "H".
    Source: gemma2024gemma2, §2 (cap); press2022alibi, §3 (bias); openai2025gptoss, §2.2 (sinks).
    """
    sight = {"causal": causal, "alignment": alignment, "window": window, "kept": kept, "mask": mask}
    k, v, sees, z = logits(q, k, v, bias=bias, softcap=softcap, scale=scale, **sight)
    return average(weights(z, sinks)[..., : k.shape[2]], v, sees)


def logits(q, k, v, *, mask=None, bias=None, softcap: float | None = None, scale: float | None = None, **places):
    """(keys, values, who sees whom, what softmax gets): `attend` up to there, with keys for every query head."""
    k, v = shared(q, k, v)
    shape = (*q.shape[:3], k.shape[2])
    sees = _allowed(visible(*shape[2:], device=q.device, **places), mask, shape)
    if bias is not None:
        expect.floating("bias", bias)
        bias = _spread("bias", bias, shape).to(q.dtype)
        sees = sees & (bias != -torch.inf)
    k, v = _read(k, v, sees)
    z = scores(q, k, scale)
    if softcap is not None:
        expect.above("softcap", softcap)
        z = softcap * torch.tanh(z / softcap)
    return k, v, sees, torch.where(sees, z if bias is None else z + bias, -torch.inf)


def weights(z, sinks=None):
    """Softmax over the keys, and over the sink of a head where there are sinks: its weight comes last."""
    if sinks is None:
        return softmax(z)
    expect.floating("sinks", sinks)
    expect.agree(H=(z.shape[1], expect.axes("sinks", sinks, "H")["H"]))
    none = sinks.to(z.dtype)[:, None, None].expand(*z.shape[:3], 1)
    return softmax(torch.cat([z, none], -1))


def shared(q, k, v):
    """Keys and values with a copy for every query head."""
    expect.floating("q", q)
    expect.floating("k", k)
    expect.floating("v", v)
    heads = expect.axes("q", q, "B H T K")["H"]
    sizes, values = expect.axes("k", k, "B G S K"), expect.axes("v", v, "B G S K")
    expect.agree(G=(sizes["G"], values["G"]), B=(sizes["B"], values["B"]), S=(sizes["S"], values["S"]))
    if heads % sizes["G"]:
        expect.fail("q", f"H a multiple of {sizes['G']} key-value heads", f"{heads} query heads")
    return (x.repeat_interleave(heads // sizes["G"], dim=1) for x in (k, v))


def _spread(name, x, shape):
    try:
        return x.expand(shape)
    except RuntimeError:
        return expect.fail(name, f"a shape that broadcasts to {tuple(shape)}", tuple(x.shape))


def _allowed(sees, mask, shape):
    """What both the positions and the given mask allow."""
    if mask is None:
        return sees
    expect.tensor("mask", mask)
    if mask.dtype != torch.bool:
        expect.fail("mask", "a boolean tensor, True where a query may see a key", mask.dtype)
    return sees & _spread("mask", mask, shape)


def _read(k, v, sees):
    """Keys and values, zero where no query may see them."""
    seen = sees.expand(*k.shape[:2], *sees.shape[-2:]).any(-2)[..., None]
    return torch.where(seen, k, 0), torch.where(seen, v, 0)


def average(p, v, sees):
    """Σ_s p_ts v_s, in which a value that the query may not see has no part, were it NaN."""
    if bool(v.isfinite().all()):
        return torch.einsum("bhts,bhsk->bhtk", p, v)
    visible = torch.where(sees[..., None], v[..., None, :, :], 0)  # a value one query may see, and another not
    return torch.einsum("bhts,bhtsk->bhtk", p, visible)


if __name__ == "__main__":
    from reference.attention_trace import main

    raise SystemExit(main(sys.argv[1:]))
