"""Flash attention in plain PyTorch, wrong or right on its way back: float32 inside, the given dtype in memory.

Nothing here imports this repository.
"""

import torch


def exponentials(q, k, causal):
    """e^(s − m) of float32 scores, and their sums."""
    T, S = q.shape[2], k.shape[2]
    s = q.float() @ k.float().mT * q.shape[-1] ** -0.5
    s = s.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), -torch.inf) if causal else s
    m = s.amax(-1, keepdim=True)
    e = torch.exp(s - torch.where(m.isinf(), 0, m))
    total = e.sum(-1, keepdim=True)
    return e, torch.where(total == 0, 1, total)


class Attention(torch.autograd.Function):
    """What meets in a product was rounded to the dtype; sums are in float32."""

    @staticmethod
    def forward(ctx, q, k, v, causal, wrong):
        share = q.shape[1] // k.shape[1]
        keys, values = (x.repeat_interleave(share, 1) for x in (k, v))
        e, total = exponentials(q, keys, causal)
        o = (e.to(q.dtype).float() @ values.float() / total).to(q.dtype)
        ctx.save_for_backward(q, keys, values, o)
        ctx.given = causal, wrong, share
        return o

    @staticmethod
    def backward(ctx, do):
        (q, k, v, o), (causal, wrong, share) = ctx.saved_tensors, ctx.given
        e, total = exponentials(q, k, causal and wrong != "no mask")
        p, scale = e / total, q.shape[-1] ** -0.5
        terms = do.float() * o.float()
        D = (terms[..., ::2] if wrong == "half" else terms).sum(-1, keepdim=True)
        D = {"no D": 0 * D, "unnormalized D": D * total, "other row": D.roll(1, 2)}.get(wrong, D)
        dp = do.float() @ v.float().mT
        ds = (p * dp - D if wrong == "unweighted D" else p * (dp - D)).to(q.dtype).float()
        dq, dk = ds @ k.float() * scale, ds.mT @ q.float() * (1 if wrong == "unscaled" else scale)
        dv = (e if wrong == "unnormalized weights" else p).to(q.dtype).float().mT @ do.float()
        dk, dv = (x.unflatten(1, (-1, share)) for x in (dk, dv))
        dk, dv = (x[:, :, -1] if wrong == "last head" else x.sum(2) for x in (dk, dv))
        return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), None, None


def with_a(wrong):
    return lambda q, k, v, causal=False: Attention.apply(q, k, v, causal, wrong)


right = with_a("")
no_D = with_a("no D")
D_of_the_unnormalized_output = with_a("unnormalized D")
D_of_the_row_before = with_a("other row")
D_of_half_the_head = with_a("half")
D_subtracted_without_its_weight = with_a("unweighted D")
dk_without_the_scale = with_a("unscaled")
dv_of_unnormalized_weights = with_a("unnormalized weights")
no_causal_mask_on_the_way_back = with_a("no mask")
last_of_the_heads_that_share = with_a("last head")


def heads_with_a(wrong):
    """The same between projections: attention in several heads."""

    def heads(x, weight, bias):
        y = torch.nn.functional.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
        return y.unflatten(-1, weight.shape[:2]).transpose(1, 2)

    def attend(x, q, k, v, out, q_bias=None, k_bias=None, v_bias=None, out_bias=None, causal=False):
        y = Attention.apply(heads(x, q, q_bias), heads(x, k, k_bias), heads(x, v, v_bias), causal, wrong)
        return torch.nn.functional.linear(y.transpose(1, 2).flatten(2), out.flatten(1), out_bias)

    return attend


right_heads = heads_with_a("")
heads_with_D_of_the_row_before = heads_with_a("other row")
heads_of_unnormalized_weights = heads_with_a("unnormalized weights")
