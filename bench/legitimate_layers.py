"""More correct implementations: activations, norms, positions, sampling, and single optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bench.legitimate import library_optimizer


def gelu_by_the_complement(x):
    return (x.float() * torch.erfc(-x.float() * math.sqrt(0.5)) / 2).to(x.dtype)


def silu_in_its_dtype(x):
    return x * torch.sigmoid(x)


def swiglu_in_its_dtype(gate, up):
    return F.silu(gate) * up


def swiglu_in_float32(gate, up):
    return (gate.float() / (1 + torch.exp(-gate.float())) * up.float()).to(up.dtype)


def library_layer_norm(x, weight=None, bias=None, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def welford_layer_norm(x, weight=None, bias=None, eps=1e-5):
    """Mean and squares are updated entry by entry."""
    wide = x.float()
    mean, squares = torch.zeros_like(wide[..., :1]), torch.zeros_like(wide[..., :1])
    for n in range(wide.shape[-1]):
        entry = wide[..., n : n + 1]
        step = entry - mean
        mean = mean + step / (n + 1)
        squares = squares + step * (entry - mean)
    out = (wide - mean) * torch.rsqrt(squares / wide.shape[-1] + eps)
    out = out if weight is None else out * weight.float()
    return (out if bias is None else out + bias.float()).to(x.dtype)


def library_rms_norm(x, weight=None, eps=1e-6):
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def rms_norm_rounded_before_the_weight(x, weight=None, eps=1e-6):
    """As many models have it: x̂ goes back to the narrow dtype, and meets the weight there."""
    wide = x.float()
    normed = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)
    return normed if weight is None else weight * normed


def shared_heads(q, k, v, causal=False, mask=None):
    T, S = q.shape[-2], k.shape[-2]
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T if causal else S)
    seen = seen if mask is None else seen & mask
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)


def library_cross_entropy(z, target, ignore_index=-100, label_smoothing=0.0):
    return F.cross_entropy(z, target, ignore_index=ignore_index, label_smoothing=label_smoothing)


def _library_step(kind: Callable[..., Any], x, g, m, v, t, **options):
    x = x.float().clone().requires_grad_()
    optimizer = kind([x], **options)
    optimizer.state[x] = {"step": torch.tensor(float(t - 1)), "exp_avg": m.float(), "exp_avg_sq": v.float()}
    x.grad = g.float()
    optimizer.step()
    return x.detach(), *(optimizer.state[x][name] for name in ("exp_avg", "exp_avg_sq"))


def library_adamw_step(x, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    options = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": decay}
    return tuple(y.to(x.dtype) for y in _library_step(torch.optim.AdamW, x, g, m.clone(), v.clone(), t, **options))


def library_adamw(x, gradients, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    options = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": decay}
    return library_optimizer(torch.optim.AdamW, x, gradients, **options)


def library_rmsprop(x, gradients, lr, alpha=0.99, eps=1e-8):
    return library_optimizer(torch.optim.RMSprop, x, gradients, lr=lr, alpha=alpha, eps=eps)


def clip_by_foreach(gradients, max_norm):
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients]))
    factor = min(1.0, max_norm / norm.item()) if norm > 0 else 1.0
    return [(g.float() * factor).to(g.dtype) for g in gradients]


def top_k_by_threshold(z, k):
    """As in many generation loops: what is below the k-th largest goes; ties stay."""
    return z.masked_fill(z < z.topk(min(k, z.shape[-1])).values[..., -1:], -torch.inf)


def top_p_by_sorting(z, p):
    falling, order = z.sort(dim=-1, descending=True, stable=True)
    mass = falling.float().softmax(-1)
    drop = mass.cumsum(-1) - mass >= p if p < 1 else torch.zeros_like(z, dtype=torch.bool)
    return z.masked_fill(drop.scatter(-1, order, drop), -torch.inf)


def min_p_by_probabilities(z, p):
    probabilities = z.float().softmax(-1)
    return z.masked_fill(probabilities < p * probabilities.amax(-1, keepdim=True), -torch.inf)


def penalty_by_scatter(z, tokens, penalty):
    score = z.gather(-1, tokens)
    return z.scatter(-1, tokens, torch.where(score < 0, score * penalty, score / penalty))


LAYERS: dict[str, list[Callable[..., Any]]] = {
    "activations.gelu": [F.gelu, gelu_by_the_complement],
    "activations.silu": [F.silu, silu_in_its_dtype],
    "activations.swiglu": [swiglu_in_its_dtype, swiglu_in_float32],
    "normalization.layer_norm": [library_layer_norm, welford_layer_norm],
    "normalization.rms_norm": [library_rms_norm, rms_norm_rounded_before_the_weight],
    "attention.grouped_query_attention": [shared_heads],
    "loss.cross_entropy": [library_cross_entropy],
    "optimizers.adamw_step": [library_adamw_step],
    "optimizers.adamw": [library_adamw],
    "optimizers.rmsprop": [library_rmsprop],
    "optimizers.clip_by_global_norm": [clip_by_foreach],
    "sampling.top_k": [top_k_by_threshold],
    "sampling.top_p": [top_p_by_sorting],
    "sampling.min_p": [min_p_by_probabilities],
    "sampling.repetition_penalty": [penalty_by_scatter],
}
