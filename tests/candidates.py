"""Other people's functions, right and wrong, for the tests of the checker. Nothing here imports this repository."""

import os

import torch
import torch.nn.functional as F


def sees(q, k, causal, mask):
    T, S = q.shape[-2], k.shape[-2]
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else torch.ones(T, S, dtype=torch.bool)
    return seen if mask is None else seen & mask


def sdpa(q, k, v, causal=False, mask=None, scale=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=sees(q, k, causal, mask), scale=scale)


def sdpa_as_torch_has_it(query, key, value, is_causal=False):
    return F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)


def tiled(q, k, v, causal=False, mask=None):
    """Online softmax over tiles of two keys; probabilities stored in the dtype of the values."""
    top = torch.full((*q.shape[:-1], 1), -torch.inf)
    total, out, seen = torch.zeros_like(top), torch.zeros(q.shape), sees(q, k, causal, mask)
    for j in range(0, k.shape[-2], 2):
        scores = q.float() @ k[..., j : j + 2, :].float().mT * q.shape[-1] ** -0.5
        scores = torch.where(seen[..., j : j + 2], scores, -torch.inf)
        new = torch.maximum(top, scores.amax(-1, keepdim=True))
        safe = torch.where(new.isinf(), 0, new)
        p, fade = torch.exp(scores - safe), torch.exp(top - safe)
        total = fade * total + p.sum(-1, keepdim=True)
        out = fade * out + p.to(q.dtype).float() @ v[..., j : j + 2, :].float()
        top = new
    return torch.where(total == 0, 0, out / torch.where(total == 0, 1, total)).to(q.dtype)


def eager(q, k, v, causal=False, mask=None):
    seen = sees(q, k, causal, mask)
    p = torch.softmax(torch.where(seen, q @ k.mT * q.shape[-1] ** -0.5, -torch.inf), -1)
    return torch.where(seen.any(-1, keepdim=True), p, 0) @ v


def unscaled(q, k, v):
    return torch.softmax(q @ k.mT, -1) @ v


def diagonal_hidden(q, k, v, causal=False, mask=None):
    early = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2] - 1)
    return sdpa(q, k, v, mask=sees(q, k, False, mask) & early if causal else mask)


def narrow_inside(q, k, v, causal=False, mask=None):
    return sdpa(q.bfloat16(), k.bfloat16(), v.bfloat16(), causal, mask).to(q.dtype)


def softmax(x):
    return torch.softmax(x, -1)


def cut_off_slope(x):
    """The right value; the normalizer is held constant in the backward pass."""
    p = torch.softmax(x, -1)
    q = torch.exp(x - x.detach().amax(-1, keepdim=True))
    q = q / q.sum(-1, keepdim=True).detach()
    return p.detach() + (q - q.detach()).nan_to_num(0)


def no_maximum(x):
    e = torch.exp(x)
    return e / e.sum(-1, keepdim=True)


def first_row_only(x):
    out = torch.empty_like(x)
    out.view(-1, x.shape[-1])[0] = torch.softmax(x.reshape(-1, x.shape[-1])[0], -1)
    return out


def leaves_out_what_is_masked(x):
    """The entries that should be zero are never written."""
    out = torch.empty_like(x)
    seen = x > -torch.inf
    out[seen] = torch.softmax(x, -1)[seen]
    return out


ANSWERS = {}


def remembered_by_shape(x):
    return ANSWERS.setdefault(x.shape, torch.softmax(x, -1))


def remembered_by_place(x):
    return ANSWERS.setdefault(x.data_ptr(), torch.softmax(x, -1))


def erases_its_input(x):
    result = torch.softmax(x, -1)
    x.zero_()
    return result


class Lying(torch.Tensor):
    """Could answer anything when asked."""


def subclass(x):
    return torch.softmax(x, -1).as_subclass(Lying)


def random_noise(x):
    return torch.softmax(x, -1) + (torch.rand(()) < 0.5) * 1e-3


def first_column(x):
    return torch.softmax(x, -1)[..., :1]


def in_float64(x):
    return torch.softmax(x.double(), -1)


def wants_more(x, temperature):
    return torch.softmax(x / temperature, -1)


def answers_once(x):
    if x.data_ptr() in ANSWERS:
        raise RuntimeError("the cache is full")
    ANSWERS[x.data_ptr()] = True
    return torch.softmax(x, -1)


def flickers(x):
    """Right to the last bit but one, and that one is random."""
    p = torch.softmax(x, -1).nan_to_num(0)
    return torch.where((torch.rand(p.shape) < 0.5) | (p == 0), p, torch.nextafter(p, torch.full_like(p, 2)))


def takes_memory_for_contiguous(x):
    return torch.softmax(x.as_strided(x.shape, torch.empty(x.shape).stride()), -1)


def nothing(x):
    return None


def fails(x):
    raise RuntimeError("no kernel for this shape")


def dies(x):
    os.abort()


def hangs(x):
    while True:
        pass


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)


def cross_entropy_wide(logits, labels):
    return F.cross_entropy(logits.float(), labels)


def cross_entropy_sum(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum")


def half_layout(x, positions):
    theta = 10000.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    angle = positions[:, None] * theta
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).to(x.dtype)


def tables_in_its_dtype(x, positions):
    """Angles in float32; cosines and sines, and every product and sum, rounded to the dtype."""
    theta = 10000.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    cos, sin = ((positions[:, None] * theta).cos().to(x.dtype), (positions[:, None] * theta).sin().to(x.dtype))
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def positions_in_bfloat16(x, positions):
    """257 becomes 256."""
    theta = 10000.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    angle = positions.bfloat16()[:, None].float() * theta
    a, b = x.float()[..., ::2], x.float()[..., 1::2]
    turned = [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
    return torch.stack(turned, -1).flatten(-2).to(x.dtype)


def clipped(grads, max_norm):
    norm = sum(g.float().square().sum() for g in grads).sqrt()
    return [g * min(1.0, max_norm / norm.item()) if norm > 0 else g.clone() for g in grads]


def clipped_one_by_one(grads, max_norm):
    return [clipped([g], max_norm)[0] for g in grads]


def adamw_in_place(p, grad, exp_avg, exp_avg_sq, step, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    root = exp_avg_sq.sqrt() / (1 - beta2**step) ** 0.5 + eps
    p.mul_(1 - lr * weight_decay).addcdiv_(exp_avg, root, value=-lr / (1 - beta1**step))


def softmax_into(out, x):
    out.copy_(torch.softmax(x, -1).nan_to_num(0))


def softmax_into_half(out, x):
    """The second half of the last axis is left as it was."""
    out[..., : x.shape[-1] // 2] = torch.softmax(x, -1).nan_to_num(0)[..., : x.shape[-1] // 2]


def softmax_backward(dout, x):
    p = torch.softmax(x, -1).nan_to_num(0)
    return p * (dout - (dout * p).sum(-1, keepdim=True))


def softmax_backward_diagonal(dout, x):
    return dout * torch.softmax(x, -1).nan_to_num(0)


def forgets_what_64_leaves_over(x):
    """Right at every length up to 64, and at multiples of 64."""
    n = max(64, x.shape[-1] // 64 * 64)
    p = torch.softmax(x[..., :n], -1).nan_to_num(0)
    return torch.cat([p, torch.zeros_like(x[..., n:])], -1)


def draws(logits, temperature=1.0, top_k=None, top_p=1.0):
    """One symbol a row, by library functions."""
    z = logits.float() / temperature
    if top_k is not None:
        z = z.masked_fill(z < z.topk(min(top_k, z.shape[-1]), -1).values[..., -1:], -torch.inf)
    if top_p < 1:
        p, order = z.softmax(-1).sort(dim=-1, descending=True, stable=True)
        drop = p.cumsum(-1) - p >= top_p
        z = z.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    return torch.multinomial(z.softmax(-1).nan_to_num(1), 1)


def draws_too_hot(logits, temperature=1.0, top_k=None, top_p=1.0):
    return draws(logits, temperature * 1.2, top_k, top_p)


def draws_one_too_many(logits, temperature=1.0, top_k=None, top_p=1.0):
    return draws(logits, temperature, top_k and top_k + 1, top_p)


def asks_the_reference(x):
    from reference.softmax import softmax

    return softmax(x)


def silu_of_gelu_s_constant(x):
    return x * torch.sigmoid(1.702 * x)


def squares_overflow(x, weight=None, eps=1e-6):
    normed = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)
    return normed if weight is None else normed * weight


def a_little_too_small(x):
    return torch.softmax(x, -1).nan_to_num(0) * (1 - 2.0**-22)
