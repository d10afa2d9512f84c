"""Right functions in styles that a checker must bear with, and wrong ones that hide behind them."""

import torch
import torch.nn.functional as F


def silu_by_tanh(x):
    return x * (0.5 + 0.5 * torch.tanh(x / 2))


BUFFERS: dict = {}


def silu_in_one_buffer(x):
    """Right, until it is called again: the result lies in memory of its own."""
    buffer = BUFFERS.setdefault((x.shape, x.dtype), torch.empty_like(x))
    return buffer.copy_(F.silu(x))


def gelu_deaf(x, approximate="none"):
    return F.gelu(x, approximate="tanh")


def softmax_of_matrices(x):
    rows, columns = x.shape
    return torch.softmax(x, -1).nan_to_num(0).reshape(rows, columns)


def softmax_of_contiguous(x):
    return torch.softmax(x.view(-1, x.shape[-1]), -1).nan_to_num(0).view(x.shape)


def top_k_in_any_order(z, k):
    kept = z.topk(min(k, z.shape[-1]), -1)
    return torch.full_like(z, -torch.inf).scatter(-1, kept.indices, kept.values)


def one_option_at_a_time(q, k, v, causal=False, mask=None):
    if causal and mask is not None:
        raise ValueError("a mask or causal, not both")
    T, S = q.shape[-2], k.shape[-2]
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else mask
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def fails_with_a_mask(q, k, v, causal=False, mask=None):
    if mask is not None:
        raise ValueError("no mask")
    return one_option_at_a_time(q, k, v, causal)


def junk_where_nothing_is_seen(q, k, v, causal=False, mask=None):
    T, S = q.shape[-2], k.shape[-2]
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else torch.ones(T, S, dtype=torch.bool)
    seen = seen if mask is None else seen & mask
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return torch.where(seen.any(-1, keepdim=True), out, 77.0)


def adamw_plural(params, grads, exp_avgs, exp_avg_sqs, lr, step, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * exp_avgs + (1 - beta1) * grads
    v = beta2 * exp_avg_sqs + (1 - beta2) * grads * grads
    x = params - lr * weight_decay * params
    return x - lr * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps), m, v


def adamw_of_strangers(a, b, c, d, lr, n):
    return a, c, d


def masks_of_two_axes(q, k, v, mask=None):
    if mask is not None:
        T, S = mask.shape
        mask = mask.expand(*q.shape[:2], T, S)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def three_arguments(x, gradients, lr):
    return gradients
