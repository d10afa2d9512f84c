"""The pairs by hand as a whole: a step of GPT-2 against autograd, what the caches hold, and how errors read."""

import inspect
import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from reference import activations, attention, loss, normalization, softmax
from reference import backprop as by_hand
from reference.backprop_attention import attend as attend_pair
from reference.backprop_attention import attention as attention_pair
from reference.backprop_attention import attention_backward
from reference.backprop_block import Weights, block, block_backward
from reference.backprop_layers import (
    embedding,
    embedding_backward,
    gelu,
    gelu_backward,
    linear,
    linear_backward,
    residual,
    residual_backward,
    swiglu,
    swiglu_backward,
)
from reference.backprop_loss import cross_entropy, cross_entropy_backward, softmax_backward
from reference.backprop_loss import softmax as softmax_pair
from reference.backprop_norms import (
    batch_norm,
    batch_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)
from reference.decoder import Gpt2Block, Sizes


def tensor(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=dtype)


IDS = torch.tensor([[0, 2, 2], [4, 0, 2]])
TARGET = torch.tensor([1, -100, 3])
QKV = [tensor(2, 3, T, 4, seed=s) for s, T in enumerate((5, 7, 7))]
MASK = torch.ones(5, 7, dtype=torch.bool)
MASK[2] = False
CAUSAL = {"causal": True, "mask": MASK, "scale": 0.3}
SHARED = [tensor(2, 4, 5, 4), *(tensor(2, 2, 7, 4, seed=s) for s in (1, 2)), tensor(1, 4, 1, 7), tensor(4)]
CAPPED = {"window": 3, "kept": 1, "softcap": 1.5, "mask": MASK}
AFFINE = [tensor(2, 3, 5), tensor(5, seed=1), tensor(5, seed=2), 0.1]
PAIRS = {
    "linear": (linear, linear_backward, [tensor(2, 3, 5), tensor(4, 5), tensor(4)], F.linear),
    "embedding": (embedding, embedding_backward, [IDS, tensor(5, 4)], F.embedding),
    "residual": (
        lambda x, w, b: residual(x, partial(linear, w=w, b=b)),
        lambda dy, cache: residual_backward(dy, linear_backward, cache),
        [tensor(3, 5), tensor(5, 5), tensor(5)],
        lambda x, w, b: x + F.linear(x, w, b),
    ),
    "gelu": (gelu, gelu_backward, [tensor(3, 5)], activations.gelu),
    "gelu, tanh": (gelu, gelu_backward, [tensor(3, 5), "tanh"], activations.gelu),
    "swiglu": (swiglu, swiglu_backward, [tensor(3, 5), tensor(3, 5, seed=1)], activations.swiglu),
    "softmax": (softmax_pair, softmax_backward, [tensor(3, 5)], softmax.softmax),
    "cross_entropy": (cross_entropy, cross_entropy_backward, [tensor(3, 5), TARGET, -100, 0.1], loss.cross_entropy),
    "layer_norm": (layer_norm, layer_norm_backward, AFFINE, normalization.layer_norm),
    "rms_norm": (rms_norm, rms_norm_backward, [AFFINE[0], AFFINE[1], 0.1], normalization.rms_norm),
    "batch_norm": (
        batch_norm,
        batch_norm_backward,
        [tensor(4, 5), *AFFINE[1:]],
        lambda x, w, b, eps: F.batch_norm(x, None, None, w, b, True, 0.1, eps),
    ),
    "attention": (partial(attention_pair, **CAUSAL), attention_backward, QKV, partial(attention.attention, **CAUSAL)),
    "attend": (
        lambda q, k, v, bias, sinks: attend_pair(q, k, v, bias=bias, sinks=sinks, **CAPPED),
        attention_backward,
        SHARED,
        lambda q, k, v, bias, sinks: attention.attend(q, k, v, bias=bias, sinks=sinks, **CAPPED),
    ),
}


def several(found):
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("name", PAIRS)
def test_forward_passes_are_the_references_and_backward_passes_autograds(name):
    forward, backward, xs, reference = PAIRS[name]
    leaves = [x.clone().requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x for x in xs]
    expected = reference(*leaves)
    y, cache = forward(*xs)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-13, atol=1e-13)
    dy = tensor(*y.shape, seed=3)
    theirs = torch.autograd.grad(expected, [x for x in leaves if torch.is_tensor(x) and x.requires_grad], dy)
    for ours, other in zip(several(backward(dy, cache)), theirs, strict=True):
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, other, rtol=1e-12, atol=1e-13)


def changed(value):
    """Another value of the same kind."""
    if torch.is_tensor(value):
        return value + 1 if value.is_floating_point() else (value + 1) % 3
    if isinstance(value, torch.Size):
        return torch.Size([n + 1 for n in value])
    other = {"none": "tanh", "tanh": "none", -100: 1, 2: 1, 3: 1}
    return other.get(value, value + 0.25 if isinstance(value, float) else None)


@pytest.mark.parametrize("name", PAIRS)
def test_caches_hold_nothing_that_is_not_used(name):
    forward, backward, xs, _ = PAIRS[name]
    y, cache = forward(*xs)
    dy = tensor(*y.shape, seed=3)
    right = several(backward(dy, cache))
    for field in (name for name, value in cache._asdict().items() if value is not None):  # None: not given
        try:
            found = several(backward(dy, cache._replace(**{field: changed(getattr(cache, field))})))
        except (ValueError, RuntimeError):  # another shape than that of dy, or than fits: it was looked at
            continue
        pairs = zip(found, right, strict=True)
        assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs), field


@pytest.mark.parametrize(("B", "T", "D", "H", "hidden"), [(2, 5, 6, 3, 7), (3, 1, 4, 1, 5), (1, 9, 10, 5, 3)])
def test_a_step_of_gpt2_by_hand(B, T, D, H, hidden):
    """Look-up of repeated tokens, block, norm, projection and loss: every gradient within 1e-12 of autograd's."""
    V = 4
    ids = torch.arange(B * T).reshape(B, T) % 3
    target = (ids.flatten() * 2 + 1) % V
    table, head, head_bias = tensor(V, D), tensor(V, D, seed=1), tensor(V, seed=2)
    theirs = Gpt2Block(Sizes("gpt2", 1, D, H, H, D // H, hidden, V, T, attention="sdpa")).double()
    for seed, parameter in enumerate(theirs.parameters()):
        parameter.data = tensor(*parameter.shape, seed=seed) / 2
    p = {name: parameter.detach() for name, parameter in theirs.named_parameters()}
    qkv = [part for pair in zip(p["qkv.weight"].chunk(3), p["qkv.bias"].chunk(3), strict=True) for part in pair]
    around = [f"{name}.{kind}" for name in ("out", "norm2", "up", "down") for kind in ("weight", "bias")]
    weights = Weights(p["norm1.weight"], p["norm1.bias"], *qkv, *(p[name] for name in around))

    x, of_table = embedding(ids, table)
    x, of_block = block(x, weights, H)
    z, of_head = linear(x.flatten(0, 1), head, head_bias)
    value, of_loss = cross_entropy(z, target)
    dz = cross_entropy_backward(torch.ones_like(value), of_loss)
    dx, *of_the_head = linear_backward(dz, of_head)
    dx, of_weights = block_backward(dx.reshape(B, T, D), of_block)
    ours = [embedding_backward(dx, of_table), *of_the_head]

    leaves = [x.clone().requires_grad_() for x in (table, head, head_bias)]
    logits = F.linear(theirs(F.embedding(ids, leaves[0]), None).flatten(0, 1), *leaves[1:])
    expected = F.cross_entropy(logits, target)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-13, atol=1e-13)
    *first, _ = gradients = torch.autograd.grad(expected, [*leaves, *theirs.parameters()])
    theirs_by_name = dict(zip(p, gradients[3:], strict=True))
    dw, db = theirs_by_name["qkv.weight"].chunk(3), theirs_by_name["qkv.bias"].chunk(3)
    others = [part for pair in zip(dw, db, strict=True) for part in pair]
    rest = [theirs_by_name["norm1.weight"], theirs_by_name["norm1.bias"], *others, *map(theirs_by_name.get, around)]
    for got, wanted in zip([*ours, *of_weights], [*first[:3], *rest], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12 * max(1.0, float(dx.abs().max())))


def test_low_precision_stays_and_nan_spreads():
    dx, dw, db = by_hand.linear_vjp(*(t.bfloat16() for t in (tensor(3, 4), tensor(3, 5), tensor(4, 5), tensor(4))))
    assert {dx.dtype, dw.dtype, db.dtype} == {torch.bfloat16}
    dy = tensor(3, 5)
    dy[1, 2] = math.nan
    dx, dw, _ = by_hand.layer_norm_vjp(dy, AFFINE[0][0], *AFFINE[1:3])
    assert dx[1].isnan().all() and not dx[0].isnan().any() and dw.isnan().tolist() == [False, False, True, False, False]
    assert by_hand.softmax_vjp(dy, tensor(3, 5, seed=1))[1].isnan().all()


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (2, 1, 1, 7), (4, 5, 1), (2, 4, 5, 7)])
def test_a_learned_bias_and_shared_heads_are_pytorchs(shape):
    q, k, v, bias = (x.clone().requires_grad_() for x in (*SHARED[:3], tensor(*shape)))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(2, 4, 5, 7), enable_gqa=True)
    dy = tensor(*y.shape, seed=3)
    theirs = torch.autograd.grad(y, (q, k, v, bias), dy)
    for ours, other in zip(by_hand.attend_vjp(dy, *SHARED[:3], bias=bias.detach()), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-12, atol=1e-13)


def test_without_options_it_is_attention():
    ours, plain = (vjp(QKV[0], *QKV, **CAUSAL) for vjp in (by_hand.attend_vjp, by_hand.attention_vjp))
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    *plain, dsinks = by_hand.attend_vjp(SHARED[0], *SHARED[:3], sinks=torch.full((4,), -math.inf))
    assert not dsinks.any(), "a sink of −∞ takes nothing, and learns nothing"
    for ours, other in zip(plain, by_hand.attend_vjp(SHARED[0], *SHARED[:3]), strict=True):
        torch.testing.assert_close(ours, other)


def test_nothing_uses_autograd():
    for module in ("layers", "loss", "norms", "attention", "block"):
        source = inspect.getsource(__import__(f"reference.backprop_{module}", fromlist=["x"]))
        assert "autograd" not in source and "requires_grad" not in source and ".backward(" not in source
    for f in (by_hand.linear_vjp, by_hand.attend_vjp, by_hand.block_vjp):
        assert "autograd" not in inspect.getsource(f)


WEIGHTS = [tensor(*shape) for shape in [(4,)] * 2 + [(4, 4), (4,)] * 4 + [(4,)] * 2 + [(6, 4), (6,), (4, 6), (4,)]]
REFUSED = {
    r"dy: expected the shape of the output, \(2, 3, 4\), received shape \(2, 3, 5\)": lambda: by_hand.linear_vjp(
        tensor(2, 3, 5), tensor(2, 3, 5), tensor(4, 5), tensor(4)
    ),
    r"axis D: expected one size, 5, received 6": lambda: by_hand.linear_vjp(
        tensor(3, 4), tensor(3, 5), tensor(4, 6), tensor(4)
    ),
    r"axis F: expected one size, 4, received 5": lambda: by_hand.linear_vjp(
        tensor(3, 4), tensor(3, 5), tensor(4, 5), tensor(5)
    ),
    r"x: expected at least one axis, received shape \(\)": lambda: by_hand.linear_vjp(
        tensor(4), tensor(), tensor(4, 5), tensor(4)
    ),
    r"ids: expected an integer tensor, received torch.float64": lambda: by_hand.embedding_vjp(
        tensor(3, 4), tensor(3), tensor(5, 4)
    ),
    r"ids: expected entries from 0 to 4, received entries from 0 to 5": lambda: by_hand.embedding_vjp(
        tensor(2, 4), torch.tensor([0, 5]), tensor(5, 4)
    ),
    r"axis D: expected one size, 4, received 5": lambda: by_hand.residual_vjp(
        tensor(3, 5), tensor(3, 4), tensor(5, 5), tensor(5)
    ),
    r"dy: expected a floating-point tensor, received torch.int64": lambda: by_hand.gelu_vjp(
        torch.ones(3, dtype=torch.int64), tensor(3)
    ),
    r"approximate: expected one of none, tanh, received 'erf'": lambda: by_hand.gelu_vjp(tensor(3), tensor(3), "erf"),
    r"up: expected the shape of gate, \(3,\), received shape \(4,\)": lambda: by_hand.swiglu_vjp(
        tensor(3), tensor(3), tensor(4)
    ),
    r"dy: expected at least one entry, received shape \(0, 3\)": lambda: by_hand.softmax_vjp(
        tensor(0, 3), tensor(2, 3)
    ),
    r"dy: expected the shape of the output, \(\), received shape \(3,\)": lambda: by_hand.cross_entropy_vjp(
        tensor(3), tensor(3, 5), TARGET
    ),
    r"eps: expected a number from 0 to inf, received -1": lambda: by_hand.layer_norm_vjp(tensor(3, 5), *AFFINE[:3], -1),
    r"x: expected axes N D, received shape \(2, 3, 5\)": lambda: by_hand.batch_norm_vjp(tensor(3, 5), *AFFINE),
    r"q: expected axes B H T K, received shape \(2, 3\)": lambda: by_hand.attention_vjp(
        tensor(2, 3), tensor(2, 3), *QKV[1:]
    ),
    r"axis S: expected one size, 7, received 5": lambda: by_hand.attention_vjp(QKV[0], QKV[0], QKV[1], QKV[0]),
    r"mask: expected a boolean tensor": lambda: by_hand.attention_vjp(QKV[0], *QKV, mask=MASK.long()),
    r"axis H: expected one size, 4, received 2": lambda: by_hand.attention_vjp(SHARED[0], *SHARED[:3]),
    r"q: expected H a multiple of 2 key-value heads, received 3 query heads": lambda: by_hand.attend_vjp(
        QKV[0], QKV[0], *SHARED[1:3]
    ),
    r"bias: expected a shape that broadcasts to \(2, 4, 5, 7\)": lambda: by_hand.attend_vjp(
        SHARED[0], *SHARED[:3], bias=tensor(4, 7)
    ),
    r"softcap: expected a number above 0": lambda: by_hand.attend_vjp(SHARED[0], *SHARED[:3], softcap=0.0),
    r"dy: expected the shape of the output, \(2, 4, 5, 4\)": lambda: by_hand.attend_vjp(QKV[0], *SHARED[:3]),
    r"weights: expected the 16 tensors of Weights, received 15 tensors": lambda: by_hand.block_vjp(
        tensor(1, 2, 4), tensor(1, 2, 4), WEIGHTS[:15], 2
    ),
    r"weight: expected a tensor, received NoneType": lambda: by_hand.rms_norm_vjp(tensor(3, 5), tensor(3, 5), None),
    r"axis D: expected one size, 4, received 6": lambda: by_hand.block_vjp(
        tensor(1, 2, 4), tensor(1, 2, 4), [*WEIGHTS[:2], WEIGHTS[12], WEIGHTS[13], *WEIGHTS[4:]], 2
    ),
    r"x: expected D a multiple of 3 heads, received D = 4": lambda: by_hand.block_vjp(
        tensor(1, 2, 4), tensor(1, 2, 4), WEIGHTS, 3
    ),
    r"x: expected axes B T D, received shape \(2, 4\)": lambda: by_hand.block_vjp(
        tensor(2, 4), tensor(2, 4), WEIGHTS, 2
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_told(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
