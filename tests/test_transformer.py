"""GPT-2 written, trained and loaded: one function, one gradient; and what it counts and draws."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reference.attention import grouped_query_attention
from reference.backprop import block_vjp
from reference.backprop_block import Weights
from reference.model import logits as of_model
from reference.transformer import block, feed_forward, generate, init, logits, multi_head_attention
from reference.transformer_weights import BLOCK, Gpt2, for_decoder, of_decoder, shapes
from tests.transformer_forms import F64, IDS, drawn, loaded_form, near, trained_form


def with_slopes(model):
    """Copies that can be differentiated."""
    return Gpt2(*(None if part is None else part.detach().clone().requires_grad_() for part in model))


@pytest.mark.parametrize("tied", [True, False])
def test_logits_and_every_gradient_are_those_of_the_decoder_that_is_trained(tied):
    model = with_slopes(drawn(tied=tied))
    decoder = trained_form(model, tied)
    z, theirs = logits(IDS, *model), decoder(IDS)
    near(z, theirs)
    dz = torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    names, parameters = zip(*decoder.named_parameters(), strict=True)
    expected = dict(zip(names, torch.autograd.grad(theirs, parameters, dz), strict=True))
    ours = torch.autograd.grad(z, [part for part in model if part is not None], dz)
    for mine, other in zip(ours, (x for x in of_decoder(expected, 4) if x is not None), strict=True):
        near(mine, other)


def test_weights_go_to_the_decoder_and_back_unchanged():
    model = drawn(tied=False)
    back = of_decoder(for_decoder(model), 4)
    assert all(torch.equal(a, b) for a, b in zip(model, back, strict=True))
    tied = drawn()
    assert torch.equal(of_decoder(dict(trained_form(tied).named_parameters()), 4).embedding, tied.embedding)


def test_logits_and_gradients_are_those_of_the_model_that_is_loaded():
    model = with_slopes(drawn())
    z, theirs = logits(IDS, *model), of_model(*loaded_form(model), IDS)
    near(z, theirs)
    parts = [part for part in model if part is not None]
    dz = torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    for mine, other in zip(torch.autograd.grad(z, parts, dz), torch.autograd.grad(theirs, parts, dz), strict=True):
        near(mine, other)


@pytest.mark.parametrize(("causal", "approximate"), [(True, "tanh"), (False, "none")])
def test_a_block_has_the_gradient_that_is_written_by_hand(causal, approximate):
    one = with_slopes(drawn())
    weights = [getattr(one, name)[0] for name in BLOCK]
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(3), dtype=F64).requires_grad_()
    dy = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(4), dtype=F64)
    flat = [part.flatten(0, 1) if name[0] in "qkv" else part.flatten(1) if name == "out" else part
            for name, part in zip(BLOCK, weights, strict=True)]  # fmt: skip
    assert Weights._fields == BLOCK
    y = block(x, *weights, causal=causal, approximate=approximate, eps=1e-3)
    ours = torch.autograd.grad(y, [x, *flat], dy, retain_graph=True, allow_unused=True)
    hand = block_vjp(dy, x.detach(), [w.detach() for w in flat], 4, causal=causal, approximate=approximate, eps=1e-3)
    near(ours[0], hand[0])
    leaves = [w.detach().clone().requires_grad_() for w in weights]
    y = block(x, *leaves, causal=causal, approximate=approximate, eps=1e-3)
    for mine, by_hand in zip(torch.autograd.grad(y, leaves, dy), hand[1:], strict=True):
        near(mine, by_hand.reshape(mine.shape))


@pytest.mark.parametrize("causal", [True, False])
def test_heads_are_those_of_grouped_query_attention(causal):
    draw = torch.Generator().manual_seed(6)
    x, q, k, v, out = (torch.randn(*shape, generator=draw, dtype=F64) for shape in (
        (2, 7, 5), (6, 4, 5), (2, 4, 5), (2, 4, 5), (5, 6, 4)))  # fmt: skip
    heads = (torch.einsum("btd,hkd->bhtk", x, weight) for weight in (q, k, v))
    mixed = grouped_query_attention(*heads, causal=causal).transpose(1, 2).flatten(2)
    near(multi_head_attention(x, q, k, v, out, causal=causal), mixed @ out.flatten(1).T)


# ---- what is counted


@pytest.mark.parametrize(("L", "D", "H", "printed"), [
    (12, 768, 12, 124_439_808), (24, 1024, 16, 354_823_168), (36, 1280, 20, 774_030_080), (48, 1600, 25, 1_557_611_200),
])  # fmt: skip
def test_the_four_sizes_of_gpt2(L, D, H, printed):
    V, S = 50257, 1024
    assert sum(map(math.prod, shapes(V, S, D, H, L).values())) == printed
    assert printed == 12 * L * D**2 + 13 * L * D + (V + S + 2) * D


@pytest.mark.parametrize("sizes", [
    {"V": 7, "S": 5, "D": 6, "H": 3, "L": 2}, {"V": 3, "S": 4, "D": 5, "H": 6, "L": 3, "G": 2, "K": 4, "F": 11},
    {"V": 9, "S": 2, "D": 4, "H": 2, "L": 1, "G": 1, "tied": False},
])  # fmt: skip
def test_what_is_drawn_has_the_shapes_that_are_counted(sizes):
    model = init(**sizes)
    found = {name: tuple(part.shape) for name, part in model._asdict().items() if part is not None}
    assert found == shapes(**sizes)
    tokens = torch.zeros(1, sizes["S"], dtype=torch.long)
    assert logits(tokens, *model).shape == (1, sizes["S"], sizes["V"])


def counted(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_operations_are_those_of_the_claim_and_twice_as_many_backward():
    B, T, V, D, H, G, K, F, L = 2, 17, 61, 24, 4, 2, 5, 40, 3
    model = with_slopes(drawn(G=G, K=K))
    matrices = L * (2 * D * H * K + 2 * D * G * K + 2 * D * F)
    forward = 2 * B * T * (matrices + V * D) + 4 * B * L * H * K * T**2
    z = []
    assert counted(lambda: z.append(logits(IDS, *model))) == forward
    assert counted(lambda: z[0].sum().backward()) == 2 * forward


# ---- where it starts


def test_weights_start_as_gpt2s():
    model = init(499, 300, 64, 4, 8, generator=torch.Generator().manual_seed(0))
    for name, part in model._asdict().items():
        if name.endswith("bias"):
            assert not part.any()
        elif name.startswith("norm"):
            assert (part == 1).all()
        elif part is not None:
            wanted = 0.02 / (math.sqrt(16) if name in ("out", "down") else 1)
            assert part.std().item() == pytest.approx(wanted, rel=0.03), name
            assert abs(part.mean().item()) < 4 * wanted / math.sqrt(part.numel())
    again = init(499, 300, 64, 4, 8, generator=torch.Generator().manual_seed(0))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(model, again, strict=True))


@pytest.mark.parametrize("scaled", [True, False])
def test_the_stream_grows_with_depth_unless_what_writes_is_scaled(scaled):
    """The claim, on drawn models: sixteen times the depth adds sixteen times as much, or as much if it is scaled."""

    def added(L):
        model = init(11, 64, 32, 4, L, std=0.3, generator=torch.Generator().manual_seed(L))
        x = start = model.embedding[torch.randint(11, (8, 64), generator=torch.Generator().manual_seed(0))]
        for i in range(L):
            own = {name: getattr(model, name)[i] for name in BLOCK}
            if not scaled:
                own |= {name: own[name] * math.sqrt(2 * L) for name in ("out", "down")}
            x = block(x, **own)
        return (x.square().mean() - start.square().mean()).item()

    ratio = added(32) / added(2)
    assert 0.6 < ratio < 1.6 if scaled else 10 < ratio < 26, ratio


# ---- bad input

X = torch.zeros(1, 2, 4, dtype=F64)
W = torch.zeros(2, 3, 4, dtype=F64)
OUT = torch.zeros(4, 2, 3, dtype=F64)
THREE = torch.zeros(3, 3, 4, dtype=F64)
UP, DOWN = torch.zeros(5, 4, dtype=F64), torch.zeros(4, 5, dtype=F64)
TINY = init(5, 3, 4, 2, 1)
BAD = {
    "width": (lambda: multi_head_attention(X[..., :3], W, W, W, OUT), "axis D: expected one size, 3, received 4"),
    "heads": (lambda: multi_head_attention(X, W, W, W, OUT[:, :1]), "axis H: expected one size, 2, received 1"),
    "shared": (lambda: multi_head_attention(X, W, THREE, THREE, OUT), "H a multiple of 3"),
    "values": (lambda: multi_head_attention(X, W, W, W[:1], OUT), "axis G: expected one size, 2, received 1"),
    "dtype": (lambda: multi_head_attention(X.float(), W, W, W, OUT), "the dtype of all others, torch.float32"),
    "no queries": (lambda: multi_head_attention(X, None, W, W, OUT), "q: expected a tensor, received NoneType"),
    "a bias": (lambda: multi_head_attention(X, W, W, W, OUT, torch.zeros(3, 2).double()), "axis H: expected"),
    "hidden": (lambda: feed_forward(X, UP, DOWN[:, :4]), "axis F: expected one size, 5, received 4"),
    "form": (lambda: feed_forward(X, UP, DOWN, approximate="erf"), "approximate: expected"),
    "a number": (lambda: feed_forward(X[0, 0, 0], UP, DOWN), "x: expected at least one axis"),
    "norms": (lambda: block(X, *(p[0] for p in TINY[2:18]), norms="both"), "norms: expected one of pre, post"),
    "a norm": (lambda: block(X, X[0, 0, :3], *(p[0] for p in TINY[3:18])), "axis D: expected one size, 4, received 3"),
    "symbol": (lambda: logits(torch.tensor([[5]]), *TINY), "tokens: expected entries from 0 to 4"),
    "text": (lambda: logits(torch.zeros(1, 4).long(), *TINY), "axis T: expected at most the 3 positions"),
    "no text": (lambda: logits(torch.zeros(1, 0).long(), *TINY), "tokens: expected one token or more"),
    "one text": (lambda: logits(torch.zeros(2).long(), *TINY), "tokens: expected axes B T"),
    "float tokens": (lambda: logits(torch.zeros(1, 2), *TINY), "tokens: expected an integer tensor"),
    "layers": (lambda: logits(torch.zeros(1, 2).long(), *TINY._replace(up=TINY.up.repeat(2, 1, 1))), "axis L"),
    "head": (lambda: logits(torch.zeros(1, 2).long(), *TINY._replace(head=TINY.embedding[:4])), "axis V"),
    "length": (lambda: generate(TINY, torch.zeros(1, 2).long(), 0), "length: expected an integer ≥ 1"),
    "cut": (lambda: init(5, 3, 4, 3, 1), "D: expected a multiple of 3 heads, received 4"),
    "groups": (lambda: shapes(5, 3, 4, 2, 1, G=4), "H: expected a multiple of 4 key-value heads"),
    "layer": (lambda: init(5, 3, 4, 2, 0), "L: expected an integer ≥ 1"),
    "std": (lambda: init(5, 3, 4, 2, 1, std=-1.0), "std: expected a number from 0"),
    "no form": (lambda: for_decoder(TINY._replace(q_bias=None)), "q_bias: expected a tensor"),
    "grouped": (lambda: for_decoder(init(5, 3, 4, 2, 1, G=1)), "axis G: expected one size, 2, received 1"),
    "uncut": (lambda: of_decoder(for_decoder(TINY), 3), "H: expected a divisor of the width 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_bytes_are_tokens():
    near(logits(IDS.to(torch.uint8), *drawn()), logits(IDS, *drawn()))
