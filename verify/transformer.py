"""Laws of attention in several heads and of the feed-forward layer; of blocks and whole models: transformer_model."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.activations import APPROXIMATIONS
from verify import attention_stored
from verify import transformer_model as models
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

F64 = torch.float64
HEADS = [(2, 3, 5, 4, 2, 6), (2, 4, 6, 3, 3, 2), (1, 5, 4, 3, 1, 6), (3, 1, 4, 2, 2, 5)]
"""B T D H G K: grouped queries, many heads, one head of keys for all, one token. D = H K only in the second."""
LAYERS = [((2, 3), 4, 7), ((5,), 3, 6), ((), 2, 5)]
"""Leading axes, D, F."""


@st.composite
def attended(draw):
    """Tokens and heads, with biases or without."""
    B, T, D, H, G, K = draw(st.sampled_from(HEADS))
    shapes = {"q": (H, K, D), "k": (G, K, D), "v": (G, K, D), "out": (D, H, K)}
    inputs = {"x": draw(tensor(B, T, D)), **{name: draw(tensor(*shape, scale=0.125)) for name, shape in shapes.items()}}
    wide = {"q_bias": (H, K), "k_bias": (G, K), "v_bias": (G, K), "out_bias": (D,)}
    with_biases, causal = draw(st.sampled_from([True, True, False])), draw(st.booleans())
    biases = {name: draw(tensor(*shape, scale=0.25)) if with_biases else None for name, shape in wide.items()}
    return {**inputs, **biases, "causal": causal}


@st.composite
def fed(draw):
    """Tokens and a layer, with biases or without, in either form of gelu."""
    rows, D, width = draw(st.sampled_from(LAYERS))
    inputs = {"x": draw(tensor(*rows, D)), "up": draw(tensor(width, D, scale=0.25)), "down": draw(tensor(D, width))}
    shapes, with_biases = {"up_bias": width, "down_bias": D}, draw(st.sampled_from([True, True, False]))
    biases = {name: draw(tensor(size, scale=0.5)) if with_biases else None for name, size in shapes.items()}
    return {**inputs, **biases, "approximate": draw(st.sampled_from(APPROXIMATIONS))}


def heads_add_up(attend, x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal):
    """The output is the bias and, for every head, what this head alone with its keys and values would give."""

    def of(part, number):
        return None if part is None else part[number : number + 1]

    total = torch.zeros_like(x) if out_bias is None else torch.zeros_like(x) + out_bias
    for h in range(len(q)):
        g = h // (len(q) // len(k))
        alone = (of(q, h), of(k, g), of(v, g), out[:, h : h + 1], of(q_bias, h), of(k_bias, g), of(v_bias, g))
        total = total + attend(x, *alone, causal=causal)
    close(attend(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal), total, scale=1)


def heads_have_no_order(attend, x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal):
    """All heads in reverse, those of keys and values too, give the same."""
    turned = [None if part is None else part.flip(0) for part in (q, k, v, q_bias, k_bias, v_bias)]
    ours = attend(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)
    close(attend(x, *turned[:3], out.flip(1), *turned[3:], out_bias, causal=causal), ours, scale=1)


def a_silent_head_is_absent(attend, x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal):
    """Where W_O is zero nothing comes of a head, whatever it asks, and of none at all there is the bias."""
    silent = out.clone()
    silent[:, 0] = 0
    options = {"k_bias": k_bias, "v_bias": v_bias, "out_bias": out_bias, "causal": causal}
    other = torch.cat([-q[:1], q[1:]])
    close(attend(x, other, k, v, silent, q_bias, **options), attend(x, q, k, v, silent, q_bias, **options), scale=1)
    nothing = torch.zeros_like(x) if out_bias is None else out_bias.expand_as(x)
    close(attend(x, q, k, v, torch.zeros_like(out), q_bias, **options), nothing)


def past_ignores_the_future(attend, x, causal, **heads):
    """Of a causal sequence the beginning gives what it gives alone."""
    whole = attend(x, **heads, causal=True)
    if x.shape[1] > 1:
        close(attend(x[:, :-1], **heads, causal=True), whole[:, :-1], scale=1)


def order_goes_with_the_tokens(attend, x, causal, **heads):
    """Without the mask tokens in another order give the same outputs in this order."""
    close(attend(x.roll(1, 1), **heads, causal=False), attend(x, **heads, causal=False).roll(1, 1), scale=1)


def the_last_token_sees_all(attend, x, causal, **heads):
    """To the last token the mask hides nothing, and to a first token everything but itself."""
    masked = attend(x, **heads, causal=True)
    close(masked[:, -1], attend(x, **heads, causal=False)[:, -1], scale=1)
    close(masked[:, :1], attend(x[:, :1], **heads, causal=False), scale=1)


def sequences_are_alone(attend, x, **how):
    """Every sequence gives what it gives without the others."""
    close(attend(x[-1:], **how), attend(x, **how)[-1:], scale=1)
    together = attend(torch.cat([x, x.flip(1)]), **how)
    close(together[: len(x)], attend(x, **how), scale=1)


def equal_tokens_give_their_value(attend, x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal):
    """Shares sum to one: of equal tokens every mean is their value, W_O W_V x and the biases."""
    same = x[:, :1].expand_as(x).contiguous()
    share = len(q) // len(k)
    moved = [out[:, h] @ (v[h // share] @ x[:, 0].T + (0 if v_bias is None else v_bias[h // share][:, None]))
             for h in range(len(q))]  # fmt: skip
    expected = sum(moved).T + (0 if out_bias is None else out_bias)
    found = attend(same, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)
    close(found, expected[:, None].expand_as(x), scale=1)


def bias_of_the_keys_does_nothing(attend, x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal):
    """It adds one number to all scores of a query."""
    other = torch.ones(k.shape[:2], dtype=F64) if k_bias is None else k_bias + 1
    ours = attend(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)
    close(attend(x, q, k, v, out, q_bias, other, v_bias, out_bias, causal=causal), ours, scale=1)


def three_to_one_by_hand(attend, **inputs):
    """Of two tokens 0 and 1 two heads of four numbers score the second ln 3 more: it weighs three quarters."""
    H, K = 2, 4
    ones, no = torch.ones(H, K, 1, dtype=F64), torch.zeros(H, K, 1, dtype=F64)
    out = torch.zeros(1, H, K, dtype=F64)
    out[0, :, 0] = 1
    ask = torch.full((H, K), math.log(3) / math.sqrt(K), dtype=F64)
    found = attend(torch.tensor([[[0.0], [1.0]]], dtype=F64), no, ones, ones, out, ask)
    close(found, torch.full((1, 2, 1), 1.5, dtype=F64))


def no_bias_is_zero(layer, **inputs):
    """What is left out adds nothing, and causal is asked for."""
    biases = {name: x for name, x in inputs.items() if name.endswith("bias")}
    shapes = {"q_bias": "q", "k_bias": "k", "v_bias": "v", "up_bias": "up", "out_bias": "out", "down_bias": "down"}
    zeros = {
        name: torch.zeros(inputs[shapes[name]].shape[: 2 if name[0] in "qkv" else 1], dtype=F64) for name in biases
    }
    rest = {name: x for name, x in inputs.items() if name not in (*biases, "causal", "approximate")}
    explicit = {"causal": False} if "causal" in inputs else {"approximate": "tanh"}
    close(layer(**rest), layer(**rest, **zeros, **explicit), scale=1)


def positions_are_alone(feed, x, **layer):
    """Rows in another order give the same, in this order, and a row gives what it gives alone."""
    rows = x.reshape(-1, x.shape[-1])
    together = feed(rows, **layer)
    close(feed(rows.flip(0), **layer).flip(0), together, scale=1)
    close(feed(rows[0], **layer), together[0], scale=1)


def units_add_up(feed, x, up, down, up_bias, down_bias, approximate):
    """Every hidden unit adds what it would give alone; none of them is connected to another."""
    total = torch.zeros_like(x) if down_bias is None else torch.zeros_like(x) + down_bias
    for f in range(len(up)):
        one = slice(f, f + 1)
        total = total + feed(
            x, up[one], down[:, one], None if up_bias is None else up_bias[one], approximate=approximate
        )
    close(feed(x, up, down, up_bias, down_bias, approximate=approximate), total, scale=1)


def two_units_by_hand(feed, **inputs):
    """A unit that feels 1 adds twice 0.8413447461 (0.8411919906 in the form with tanh), one that feels 1000 adds it."""
    x, up, down = torch.ones(1, 1).double(), torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[2.0, 1.0]]).double()
    bias, last = torch.tensor([0.0, 998.0]).double(), torch.tensor([10.0]).double()
    for form, felt in (("none", 0.8413447460685429), ("tanh", 0.8411919906082768)):
        close(feed(x, up, down, bias, last, approximate=form), torch.full((1, 1), 2 * felt + 1010, dtype=F64))


def only_what_is_even_is_curved(feed, x, up, down, up_bias, down_bias, approximate):
    """f(units) − f(−units) is linear, as gelu(a) − gelu(−a) = a: the curve is only in what both share."""
    bias = torch.zeros(len(up), dtype=F64) if up_bias is None else up_bias
    apart = feed(x, up, down, bias, approximate=approximate) - feed(x, -up, down, -bias, approximate=approximate)
    close(apart, (x @ up.T + bias) @ down.T, scale=1)


OPERATIONS = [
    Operation(
        "transformer.multi_head_attention",
        inputs=attended(),
        laws=[
            heads_add_up,
            heads_have_no_order,
            a_silent_head_is_absent,
            past_ignores_the_future,
            order_goes_with_the_tokens,
            the_last_token_sees_all,
            sequences_are_alone,
            equal_tokens_give_their_value,
            bias_of_the_keys_does_nothing,
            three_to_one_by_hand,
            no_bias_is_zero,
        ],
        gradients=("x", "q", "v", "out"),
        unit=1,
        way_back=attention_stored.multi_head_attention,
        free=("v", "out"),  # by x and q scores grow as a square, and overflow in half precision on the way
    ),
    Operation(
        "transformer.feed_forward",
        inputs=fed(),
        laws=[positions_are_alone, units_add_up, two_units_by_hand, only_what_is_even_is_curved, no_bias_is_zero],
        gradients=("x", "up", "down"),
        unit=1,
    ),
    *models.OPERATIONS,
]
