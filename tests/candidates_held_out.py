"""Mistakes that nobody had told the checker of, each beside the right function: it was first blind to every one."""

import torch


def attend(q, k, v, *, causal=False, scale=None, default=None, heads=None):
    scale = q.shape[-1] ** -0.5 if scale is None or (default and not scale) else scale
    T, S = q.shape[-2], k.shape[-2]
    z = q.double() @ k.double().mT * scale
    z = z.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), -torch.inf) if causal else z
    lse = torch.logsumexp(z, -1)
    out = torch.exp(z - torch.where(lse.isfinite(), lse, 0)[..., None]) @ v.double()
    if heads:
        out, lse = (x[:, torch.arange(x.shape[1]) % heads] for x in (out, lse))
    return out.to(q.dtype), lse.to(q.dtype)


def zero_scale_is_the_default(q, k, v, *, causal=False, scale=None):
    return attend(q, k, v, causal=causal, scale=scale, default=True)


def heads_from_the_fifth_on_repeat(q, k, v, *, causal=False, scale=None):
    return attend(q, k, v, causal=causal, scale=scale, heads=4)


def merge(o1, lse1, o2, lse2):
    top = torch.maximum(lse1, lse2)
    base = torch.where(top.isfinite(), top, 0)
    w1, w2 = torch.exp(lse1 - base), torch.exp(lse2 - base)
    total = w1 + w2
    out = (o1 * w1[..., None] + o2 * w2[..., None]) / torch.where(total > 0, total, 1)[..., None]
    return out, base + torch.log(total)


def merge_that_skips_what_is_ten_below(o1, lse1, o2, lse2):
    out, lse = merge(o1, lse1, o2, lse2)
    for o, mine, other in ((o1, lse1, lse2), (o2, lse2, lse1)):
        out, lse = torch.where((mine - other > 10)[..., None], o, out), torch.where(mine - other > 10, mine, lse)
    return out, lse


def pairs(x: torch.Tensor):
    half = 1 << max(0, (x.shape[-1] - 1).bit_length() - 1)
    return x[..., 0] if x.shape[-1] == 1 else pairs(x[..., :half]) + pairs(x[..., half:])


def pairs_of_the_first_128(x: torch.Tensor):
    return pairs(x[..., :128])


def values(codes, format):
    if format == "e2m1":
        return torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6]).double()[codes % 8] * torch.where(codes < 8, 1.0, -1.0)
    kind = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}.get(format)
    if kind:
        return codes.to(torch.uint8).view(kind).double()
    return codes.to(torch.uint16).view(torch.float16).double()


def dequantize(codes, scales, block, format="e4m3", guess=False, narrow=None):
    R, C = codes.shape
    rows, columns = block or (R, C)
    if guess:
        rows, columns = -(-R // scales.shape[0]), -(-C // scales.shape[1])
    scales = scales.to(narrow or torch.float64).double()
    spread = scales.repeat_interleave(rows, 0)[:R].repeat_interleave(columns, 1)[:, :C]
    return values(codes, format) * spread


def dequantize_by_guessed_blocks(codes, scales, block, format="e4m3"):
    return dequantize(codes, scales, block, format, guess=True)


def dequantize_by_scales_in_bfloat16(codes, scales, block, format="e4m3"):
    return dequantize(codes, scales, block, format, narrow=torch.bfloat16)


def dequantize_without_nan(codes, scales, block, format="e4m3"):
    return dequantize(codes, scales, block, format).nan_to_num(0)
