"""Laws of the gradients by hand of attention and of the transformer block."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch.nn import functional as F

from reference.attention import attention
from reference.backprop_block import Weights
from verify.attention import qkv, seen
from verify.backprop_laws import laws
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

BLOCKS = [(2, 3, 4, 2, 5), (1, 1, 6, 3, 4)]
"""B T D H F."""


@st.composite
def asked(draw):
    """Queries, keys and values under masks as in attention, and a gradient."""
    inputs = draw(qkv())
    return {"dy": draw(tensor(*inputs["q"].shape)), **inputs}


@st.composite
def stacked(draw):
    """A sequence or two with the weights of a block; an entry of every row sticks out when ε is small."""
    B, T, D, H, width = draw(st.sampled_from(BLOCKS))
    x, eps = draw(tensor(B, T, D)), draw(st.sampled_from([1e-5, 0.5]))
    x[..., 0] += 16
    shapes = dict.fromkeys(Weights._fields, (D,)) | dict.fromkeys(("q", "k", "v", "out"), (D, D))
    shapes |= {"up": (width, D), "up_bias": (width,), "down": (D, width)}
    weights = [draw(tensor(*shapes[name], scale=0.25)) for name in Weights._fields]
    options = {"causal": draw(st.booleans()), "approximate": draw(st.sampled_from(["tanh", "none"])), "eps": eps}
    return {"dy": draw(tensor(B, T, D)), "x": x, "weights": weights, "H": H, **options}


def attended(q, k, v, causal, mask, scale):
    return attention(q, k, v, causal=causal, mask=mask, scale=scale)


def block(x, weights, H, causal, approximate, eps):
    """GPT-2's block by PyTorch's functions."""
    w, D = Weights(*weights), x.shape[-1:]
    normal = F.layer_norm(x, D, w.norm1, w.norm1_bias, eps)
    parts = (F.linear(normal, *pair) for pair in ((w.q, w.q_bias), (w.k, w.k_bias), (w.v, w.v_bias)))
    q, k, v = (part.unflatten(-1, (H, -1)).transpose(1, 2) for part in parts)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
    x = x + F.linear(mixed, w.out, w.out_bias)
    wide = F.gelu(F.linear(F.layer_norm(x, D, w.norm2, w.norm2_bias, eps), w.up, w.up_bias), approximate=approximate)
    return x + F.linear(wide, w.down, w.down_bias)


def values_are_linear(vjp, dy, q, k, v, **options):
    """The output is linear in the values: ⟨v, dv⟩ = ⟨y, dy⟩, head by head."""
    close(
        (v * vjp(dy, q, k, v, **options)[2]).sum((-1, -2)), (dy * attention(q, k, v, **options)).sum((-1, -2)), scale=1
    )


def queries_and_keys_weigh_the_same(vjp, dy, q, k, v, **options):
    """The scores do not tell a factor on the queries from one on the keys: ⟨q, dq⟩ = ⟨k, dk⟩, head by head."""
    dq, dk, _ = vjp(dy, q, k, v, **options)
    close((q * dq).sum((-1, -2)), (k * dk).sum((-1, -2)), scale=1)


def common_key_has_no_slope(vjp, dy, q, k, v, **options):
    """One vector added to all keys shifts each row of scores, which softmax does not see: their gradients cancel."""
    close(vjp(dy, q, k, v, **options)[1].sum(-2), torch.zeros(k.shape[0], k.shape[1], k.shape[3]).double(), scale=1)


def constant_values_pass_nothing_on(vjp, dy, q, k, v, causal, mask, scale):
    """When all values are one vector no weight matters: queries and keys have no gradient."""
    dq, dk, _ = vjp(dy, q, k, v[..., :1, :].expand_as(v).contiguous(), causal=causal, mask=mask, scale=scale)
    close(dq, torch.zeros_like(q), scale=1)
    close(dk, torch.zeros_like(k), scale=1)


def hidden_has_no_gradient(vjp, dy, q, k, v, causal, mask, scale):
    """Queries that see nothing, keys and values that none sees, have the gradient zero, and NaN there is not read."""
    sees = seen(q, k, causal, mask).expand(*q.shape[:3], k.shape[2]).clone()
    sees[..., 1] = False
    k2, v2 = k.clone(), v.clone()
    k2[..., 1, :] = v2[..., 1, :] = torch.nan
    dq, dk, dv = vjp(dy, q, k2, v2, mask=sees, scale=scale)
    assert not dq[~sees.any(-1)].any(), "a query that sees nothing has a gradient"
    assert not dk[~sees.any(-2)].any(), "a key that no query sees has a gradient"
    assert not dv[~sees.any(-2)].any(), "a value that no query sees has a gradient"


def past_learns_nothing_from_the_future(vjp, dy, q, k, v, causal, mask, scale):
    """Under the causal mask the first query, where it is not the last, sends no gradient to the last key."""
    if q.shape[2] > 1:
        first = torch.zeros_like(dy)
        first[..., 0, :] = 1
        _, dk, dv = vjp(first, q, k, v, causal=True)
        assert not dk[..., -1, :].any() and not dv[..., -1, :].any(), "the last key learns from the first query"


def silenced_branches_pass_all(vjp, dy, x, weights, **options):
    """When both branches end in zeros, the gradient passes unchanged."""
    w = Weights(*weights)
    silent = [*w._replace(out=torch.zeros_like(w.out), down=torch.zeros_like(w.down))]
    close(vjp(dy, x, silent, **options)[0], dy)


def sequences_add(vjp, dy, x, weights, **options):
    """A sequence has the gradient that it has alone, and those of the weights are sums over sequences."""
    if len(x) == 1:
        return
    alone = [vjp(d[None], s[None], weights, **options) for d, s in zip(dy, x, strict=True)]
    dx, *gradients = vjp(dy, x, weights, **options)
    close(dx, torch.cat([one[0] for one in alone]), scale=1)
    for i, total in enumerate(gradients, 1):
        close(total, torch.stack([one[i] for one in alone]).sum(0), scale=1)


def bias_of_keys_learns_nothing(vjp, dy, x, weights, **options):
    """It shifts the scores of a query alike, which softmax does not see."""
    close(
        vjp(dy, x, weights, **options)[1 + Weights._fields.index("k_bias")], torch.zeros(x.shape[-1]).double(), scale=1
    )


def last_bias_gets_what_arrives(vjp, dy, x, weights, **options):
    """The gradient of the last bias is the sum of dy over all positions."""
    close(vjp(dy, x, weights, **options)[-1], dy.sum((0, 1)), scale=1)


def top_left(vjp, dy, q, k, v, *, causal=False, mask=None, scale=None):
    """Query i may see key j ≤ i: the queries are the first of the sequence, not the last."""
    early = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    both = early if mask is None else mask & early
    return vjp(dy, q, k, v, mask=both if causal else mask, scale=scale)


OPERATIONS = [
    Operation(
        "backprop.attention_vjp",
        asked(),
        [*laws(attended, "q", "k", "v"), values_are_linear, queries_and_keys_weigh_the_same, common_key_has_no_slope,
         constant_values_pass_nothing_on, hidden_has_no_gradient, past_learns_nothing_from_the_future],
        conventions={"the causal mask aligned top-left": top_left},
        free=("dy", "q", "k", "v"),
        unit=1,
    ),
    Operation(
        "backprop.block_vjp",
        stacked(),
        [*laws(block, "x", "weights"), silenced_branches_pass_all, sequences_add, bias_of_keys_learns_nothing,
         last_bias_gets_what_arrives],
        free=("dy", "x"),
        unit=1,
    ),
]  # fmt: skip
