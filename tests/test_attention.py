"""Attention's options against PyTorch's own function, the traced example, and refusals."""

import subprocess
import sys

import pytest
import torch

from reference.attention import attend, attention, grouped_query_attention, visible
from reference.attention_trace import example, steps, trace
from reference.positions import alibi_bias

F = torch.float64
Q = torch.ones(1, 2, 3, 4, dtype=F)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F)


def test_a_bias_is_an_additive_mask():
    q, k, v = draw(2, 4, 3, 8), draw(2, 2, 7, 8, seed=1), draw(2, 2, 7, 8, seed=2)
    bias = alibi_bias(4, 3, 7).masked_fill(torch.arange(7) == 5, -torch.inf)
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)
    torch.testing.assert_close(attend(q, k, v, bias=bias), theirs)


def test_without_options_it_is_attention():
    q, k, v = draw(2, 4, 3, 8), draw(2, 2, 7, 8, seed=1), draw(2, 2, 7, 8, seed=2)
    torch.testing.assert_close(attend(q, k, v, causal=True), grouped_query_attention(q, k, v, causal=True))
    torch.testing.assert_close(attend(q[:, :2], k, v), attention(q[:, :2], k, v))
    every = attend(q, k, v, causal=True, window=7, softcap=1e9, sinks=torch.full((4,), -torch.inf))
    torch.testing.assert_close(every, grouped_query_attention(q, k, v, causal=True))


def test_sinks_and_biases_have_gradients_and_hidden_keys_none():
    q, k, v = draw(1, 2, 2, 4), draw(1, 2, 5, 4, seed=1), draw(1, 2, 5, 4, seed=2)
    bias, sinks = draw(2, 5, seed=3), draw(2, seed=4)
    bias[:, 2] = -torch.inf
    given = [x.requires_grad_() for x in (q, k, v, bias, sinks)]
    options = {"causal": True, "softcap": 2.0}
    assert torch.autograd.gradcheck(
        lambda q, k, v, sinks: attend(q, k, v, bias=bias.detach(), sinks=sinks, **options), (q, k, v, sinks)
    )
    attend(q, k, v, bias=bias, sinks=sinks, **options).sum().backward()
    assert all(x.grad.isfinite().all() for x in given) and sinks.grad.abs().min() > 0
    assert not k.grad[:, :, 2].any() and not v.grad[:, :, 2].any() and not bias.grad[:, 2].any()


def test_a_window_slides_with_the_cache():
    whole = visible(6, 6, causal=True, window=3, kept=1)
    assert whole.sum(-1).tolist() == [1, 2, 3, 4, 4, 4] and torch.equal(
        visible(2, 6, causal=True, window=3, kept=1), whole[-2:]
    )
    assert torch.equal(visible(3, 5, causal=True, alignment="top_left"), torch.ones(3, 5, dtype=torch.bool).tril())


def test_the_trace_is_computed():
    of = steps(example())
    assert torch.equal(of["bare"], of["bare"].T) and not torch.equal(of["asked"], of["asked"].T)
    assert of["bare weights"].argmax(-1)[3] == 3 and of["weights"].argmax(-1)[3] == 1, "it finds itself, then the dog"
    torch.testing.assert_close(of["output"], of["weights"] @ of["v"])
    torch.testing.assert_close(of["causal"][-1], of["output"][-1])
    done = subprocess.run([sys.executable, "-m", "reference.attention", "--trace"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == trace().strip() and "1.54, 0.15, 1.54" in done.stdout
    assert subprocess.run([sys.executable, "-m", "reference.attention"], capture_output=True).returncode == 2


REFUSED = {
    "alignment": (lambda: attend(Q, Q, Q, alignment="left"), "one of bottom_right, top_left"),
    "no window": (lambda: attend(Q, Q, Q, window=0), "window: expected an integer ≥ 1"),
    "kept": (lambda: visible(2, 2, kept=-1), "kept: expected an integer ≥ 0"),
    "cap of zero": (lambda: attend(Q, Q, Q, softcap=0.0), "softcap: expected a number above 0"),
    "negative cap": (lambda: attend(Q, Q, Q, softcap=-1.0), "softcap: expected a number above 0"),
    "sinks of too few heads": (
        lambda: attend(Q, Q, Q, sinks=torch.ones(1)),
        "axis H: expected one size, 2, received 1",
    ),
    "a boolean bias": (lambda: attend(Q, Q, Q, bias=torch.ones(3, 3) > 0), "bias: expected a floating-point"),
    "shape of the bias": (lambda: attend(Q, Q, Q, bias=torch.ones(2, 2)), "bias: expected a shape that broadcasts to"),
    "a bias for a mask": (lambda: attend(Q, Q, Q, mask=torch.zeros(3, 3)), "mask: expected a boolean tensor"),
    "heads": (lambda: attend(Q, torch.ones(1, 3, 3, 4), torch.ones(1, 3, 3, 4)), "a multiple of 3 key-value heads"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
