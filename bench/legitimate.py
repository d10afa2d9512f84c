"""Correct implementations of several kinds: what a checker must not call wrong. They take and return the io dtype."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F


def _sees(q, k, causal, mask):
    T, S = q.shape[-2], k.shape[-2]
    seen = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T if causal else S)
    return seen if mask is None else seen & mask


def library_attention(q, k, v, causal=False, mask=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_sees(q, k, causal, mask))


def eager_attention(q, k, v, causal=False, mask=None):
    seen = _sees(q, k, causal, mask)
    p = torch.softmax(torch.where(seen, q @ k.mT * q.shape[-1] ** -0.5, -torch.inf), -1)
    return torch.where(seen.any(-1, keepdim=True), p, 0) @ v


def tiled_attention(q, k, v, causal=False, mask=None):
    """Online softmax over tiles of two keys, the scale folded into the queries, probabilities in the io dtype."""
    top, seen = torch.full((*q.shape[:-1], 1), -torch.inf, device=q.device), _sees(q, k, causal, mask)
    total, out = torch.zeros_like(top), torch.zeros(q.shape, device=q.device)
    scaled = q.float() * (q.shape[-1] ** -0.5 * math.log2(math.e))
    for j in range(0, k.shape[-2], 2):
        scores = torch.where(seen[..., j : j + 2], scaled @ k[..., j : j + 2, :].float().mT, -torch.inf)
        new = torch.maximum(top, scores.amax(-1, keepdim=True))
        safe = torch.where(new.isinf(), 0, new)
        p, fade = torch.exp2(scores - safe), torch.exp2(top - safe)
        total, top = fade * total + p.sum(-1, keepdim=True), new
        out = fade * out + p.to(q.dtype).float() @ v[..., j : j + 2, :].float()
    return torch.where(total == 0, 0, out / torch.where(total == 0, 1, total)).to(q.dtype)


def library_softmax(z):
    return torch.softmax(z, -1).nan_to_num(0)


def softmax_by_its_logarithm(z):
    return torch.exp(torch.log_softmax(z.float(), -1)).nan_to_num(0).to(z.dtype)


def softmax_backwards(z):
    """The sum is taken from the end, term by term."""
    e = torch.exp(z.float() - z.float().amax(-1, keepdim=True).nan_to_num(neginf=0.0))
    total = e.flip(-1).cumsum(-1)[..., -1:]
    return (e * torch.where(total == 0, 1, total).reciprocal()).to(z.dtype)


def library_log_sum_exp(z):
    return torch.logsumexp(z, -1)


def library_cross_entropy(z, target):
    return F.cross_entropy(z, target)


def gathered_cross_entropy(z, target):
    return -torch.log_softmax(z.float(), -1)[torch.arange(len(z)), target].mean().to(z.dtype)


def matmul_scores(q, k):
    return q @ k.mT * q.shape[-1] ** -0.5


def prescaled_scores(q, k):
    return (q.float() * q.shape[-1] ** -0.5 @ k.float().mT).to(q.dtype)


def complex_rotation(x, positions, base=10000.0):
    K = x.shape[-1]
    theta = base ** (-torch.arange(0, K, 2, dtype=torch.float64) / K)
    turn = torch.polar(torch.ones(1, dtype=torch.float64), positions.double()[:, None] * theta).to(torch.complex64)
    return torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * turn).flatten(-2).to(x.dtype)


def library_optimizer(kind, x, gradients, **options):
    x = x.float().clone().requires_grad_()
    optimizer, path = kind([x], **options), []
    for g in gradients:
        x.grad = g.float()
        optimizer.step()
        path.append(x.detach().clone())
    return torch.stack(path).to(gradients.dtype)


def library_adam(x, gradients, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    return library_optimizer(torch.optim.Adam, x, gradients, lr=lr, betas=(beta1, beta2), eps=eps)


def library_sgd(x, gradients, lr):
    return library_optimizer(torch.optim.SGD, x, gradients, lr=lr)


def library_momentum(x, gradients, lr, mu):
    return library_optimizer(torch.optim.SGD, x, gradients, lr=lr, momentum=mu)


LEGITIMATE: dict[str, list[Callable[..., torch.Tensor]]] = {
    "attention.attention": [library_attention, eager_attention, tiled_attention],
    "attention.scores": [matmul_scores, prescaled_scores],
    "softmax.softmax": [library_softmax, softmax_by_its_logarithm, softmax_backwards],
    "softmax.log_sum_exp": [library_log_sum_exp],
    "loss.cross_entropy": [library_cross_entropy, gathered_cross_entropy],
    "rope.rotate": [complex_rotation],
    "optimizers.adam": [library_adam],
    "optimizers.sgd": [library_sgd],
    "optimizers.momentum": [library_momentum],
}
