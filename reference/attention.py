r"""Scaled dot-product attention: every query takes the average of the values, weighted by how its scores compare.

    out_t = Σ_s p_ts v_s,   p_t = softmax(q_t · k_s / √K over the keys s that t may see)

Grouped-query attention shares a head of keys and values between several heads of queries.

Article papers/attention.md, derivation derivations/attention.py, laws verify/attention.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.softmax import softmax

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


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
    expect.natural("T", T, 1)
    expect.natural("S", S, 1)
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


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
    so a NaN there does not spread.
    Raises ValueError when axes do not agree, or for a mask that is not boolean or does not broadcast to B H T S.
    Source: vaswani2017attention, §3.2.
    """
    expect.floating("v", v)
    sizes, values = expect.axes("k", k, "B H S K"), expect.axes("v", v, "B H S K")
    expect.agree(B=(sizes["B"], values["B"]), H=(sizes["H"], values["H"]), S=(sizes["S"], values["S"]))
    T, S = expect.axes("q", q, "B H T K")["T"], sizes["S"]
    sees = causal_mask(T, S, q.device) if causal else torch.ones(T, S, dtype=torch.bool, device=q.device)
    if mask is not None:
        sees = sees & _checked(mask, (*q.shape[:3], S))
    seen = sees.expand(*q.shape[:3], S).any(-2)[..., None]  # keys that some query may see
    k, v = torch.where(seen, k, 0), torch.where(seen, v, 0)
    p = softmax(torch.where(sees, scores(q, k, scale), -torch.inf))
    if bool(v.isfinite().all()):
        return torch.einsum("bhts,bhsk->bhtk", p, v)
    visible = torch.where(sees[..., None], v[..., None, :, :], 0)  # a value one query may see, and another not
    return torch.einsum("bhts,bhtsk->bhtk", p, visible)


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
    expect.floating("q", q)
    expect.floating("k", k)
    heads, groups = expect.axes("q", q, "B H T K")["H"], expect.axes("k", k, "B G S K")["G"]
    expect.agree(G=(groups, expect.axes("v", v, "B G S K")["G"]))
    if heads % groups:
        expect.fail("q", f"H a multiple of {groups} key-value heads", f"{heads} query heads")
    copied = (x.repeat_interleave(heads // groups, dim=1) for x in (k, v))
    return attention(q, *copied, causal=causal, mask=mask, scale=scale)


def _checked(mask, shape):
    if mask.dtype != torch.bool:
        expect.fail("mask", "a boolean tensor, True where a query may see a key", mask.dtype)
    try:
        return mask.expand(shape)
    except RuntimeError:
        return expect.fail("mask", f"a shape that broadcasts to {tuple(shape)}", tuple(mask.shape))
