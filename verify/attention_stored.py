r"""Attention whose way back reads its result as it was stored: ds = p (dy · v − D) with D = ⟨dy, y⟩.

Differentiating the definition gives D as Σ_s p_s (dy · v_s), which is the same number. But who keeps no weights takes
it from y, and y lies in memory in the io dtype: one more rounding, which moves D by up to u Σ_k |dy_k y_k|, and every
ds of the row with it, also where dy · v and D cancel. Source: dao2023flashattention2, §3.1 algorithm 2.
"""

from __future__ import annotations

import torch

from reference import flash
from reference.attention import visible
from reference.softmax import softmax
from verify.rounding import stored


class FromOutput(torch.autograd.Function):
    """Σ_s p_ts v_s, p = softmax(z), with the way back that has only y of the way forth for D."""

    @staticmethod
    def forward(ctx, z, v):
        p = softmax(z)
        y = p @ v
        ctx.save_for_backward(p, v, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        p, v, y = ctx.saved_tensors
        D = (dy * stored(y)).sum(-1, keepdim=True)
        return p * (dy @ v.mT - D), p.mT @ dy


def attend(q, k, v, *, causal=False, mask=None, bias=None, softcap=None, sinks=None, scale=None, **places):
    """reference.attention.attend of finite numbers with that way back, and so every attention with fewer options."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    sees = visible(q.shape[2], k.shape[2], causal=causal, **places)
    sees = sees if mask is None else sees & mask
    sees = sees if bias is None else sees & (bias > -torch.inf)
    read = sees.expand(*q.shape[:3], k.shape[2]).any(-2)[..., None]  # what no query sees has no gradient, were dy NaN
    k, v = torch.where(read, k, 0), torch.where(read, v, 0)
    z = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)  # no einsum: that multiplies axes of length one
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    z = torch.where(sees, z if bias is None else z + bias, -torch.inf)
    if sinks is not None:  # one more key, whose value is zero
        z = torch.cat([z, sinks[:, None, None].expand(*z.shape[:3], 1)], -1)
        v = torch.nn.functional.pad(v, (0, 0, 0, 1))
    return FromOutput.apply(z, v)


def flash_attention(q, k, v, *, causal=False, scale=None, **tiles):
    """reference.flash.flash_attention with that way back."""
    lse = flash.flash_attention(q, k, v, causal=causal, scale=scale, **tiles)[1]
    return attend(q, k, v, causal=causal, scale=scale), lse


def multi_head_attention(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, *, causal=False):
    """reference.transformer.multi_head_attention with that way back."""

    def heads(weight, bias):
        y = torch.einsum("btd,hkd->bhtk", x, weight)
        return y if bias is None else y + bias[:, None]

    y = attend(heads(q, q_bias), heads(k, k_bias), heads(v, v_bias), causal=causal)
    mixed = torch.einsum("bhtk,dhk->btd", y, out)
    return mixed if out_bias is None else mixed + out_bias
