"""The reference as a user meets it: against PyTorch's own functions, with bad input, with NaN, in low precision."""

import math

import pytest
import torch

from reference.attention import attention, causal_mask, scores
from reference.loss import cross_entropy, cross_entropy_gradient
from reference.markov import conditional, count, encode, generate, log_likelihood, perplexity
from reference.optimizers import adam, adam_init, adam_update, momentum, momentum_update, sgd
from reference.rope import frequencies, rotate
from reference.softmax import log_sum_exp, softmax, softmax_jacobian

F = torch.float64


def draw(*shape, dtype=F, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---- the same as PyTorch


def test_softmax_loss_and_gradient_are_pytorchs():
    z, target = draw(5, 7), torch.tensor([0, 6, 3, 3, 1])
    torch.testing.assert_close(softmax(z), torch.softmax(z, -1))
    torch.testing.assert_close(log_sum_exp(z), torch.logsumexp(z, -1))
    torch.testing.assert_close(cross_entropy(z, target), torch.nn.functional.cross_entropy(z, target))
    z.requires_grad_()
    (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(z, target), z)
    torch.testing.assert_close(cross_entropy_gradient(z.detach(), target), theirs)
    row = draw(4)
    torch.testing.assert_close(
        softmax_jacobian(row), torch.autograd.functional.jacobian(lambda x: torch.softmax(x, 0), row)
    )


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_pytorchs(causal):
    q, k, v = (draw(2, 3, 5, 4, seed=s) for s in range(3))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(attention(q, k, v, causal=causal), theirs)


def test_decoding_with_a_cache_is_the_last_row_of_the_whole():
    """Bottom-right alignment: the last queries of a longer sequence see exactly what they saw in it."""
    q, k, v = (draw(1, 2, 6, 4, seed=s) for s in range(3))
    whole = attention(q, k, v, causal=True)
    torch.testing.assert_close(attention(q[:, :, -2:], k, v, causal=True), whole[:, :, -2:])


@pytest.mark.parametrize(("ours", "theirs"), [
    (lambda x, g: sgd(x, g, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    (lambda x, g: momentum(x, g, lr=0.1, mu=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    (lambda x, g: adam(x, g, lr=0.1, beta1=0.8, beta2=0.95, eps=1e-3),
     lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-3)),
], ids=["sgd", "momentum", "adam"])  # fmt: skip
def test_optimizers_are_pytorchs(ours, theirs):
    start, gradients = draw(3), draw(6, 3, seed=1)
    parameter = torch.nn.Parameter(start.clone())
    optimizer, path = theirs([parameter]), []
    for g in gradients:
        parameter.grad = g.clone()
        optimizer.step()
        path.append(parameter.detach().clone())
    torch.testing.assert_close(ours(start, gradients), torch.stack(path))


def test_rope_is_complex_multiplication_and_the_layouts_permute_each_other():
    x, positions = draw(3, 8), torch.tensor([0, 5, 300])
    turned = torch.view_as_complex(x.reshape(3, 4, 2)) * torch.exp(1j * positions[:, None] * frequencies(8))
    torch.testing.assert_close(rotate(x, positions), torch.view_as_real(turned).flatten(-2))
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    torch.testing.assert_close(rotate(x[:, order], positions, layout="half"), rotate(x, positions)[:, order])


# ---- bad input: one sentence with what was expected and what came

Q = torch.zeros(1, 2, 3, 4)
BAD = {
    "integer logits": (lambda: softmax(torch.zeros(3, dtype=torch.int64)), "floating-point tensor, received"),
    "no logits": (lambda: softmax(torch.zeros(0)), r"at least one entry, received shape \(0,\)"),
    "a list": (lambda: softmax([1.0, 2.0]), "a tensor, received list"),
    "one axis too many": (lambda: cross_entropy(torch.zeros(2, 3, 4), torch.zeros(2).long()), r"axes N V, received"),
    "target outside": (lambda: cross_entropy(torch.zeros(2, 3), torch.tensor([0, 3])), "from 0 to 2, received"),
    "float target": (lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(2)), "an integer tensor, received"),
    "batch sizes": (lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(4).long()), "axis N: expected one size, 2"),
    "three axes": (lambda: attention(Q[0], Q[0], Q[0]), "expected axes B H"),
    "head dimensions": (lambda: scores(Q, torch.zeros(1, 2, 3, 5)), "axis K: expected one size, 4, received 5"),
    "keys and values": (lambda: attention(Q, Q, torch.zeros(1, 2, 5, 4)), "axis S: expected one size, 3, received 5"),
    "additive mask": (lambda: attention(Q, Q, Q, mask=torch.zeros(3, 3)), "a boolean tensor"),
    "mask shape": (lambda: attention(Q, Q, Q, mask=torch.ones(2, 2, dtype=torch.bool)), "broadcasts to"),
    "infinite scale": (lambda: scores(Q, Q, scale=math.inf), "scale: expected a number"),
    "negative size": (lambda: causal_mask(-1, 3), "T: expected an integer ≥ 1, received -1"),
    "odd head dimension": (lambda: rotate(torch.zeros(2, 3), torch.arange(2)), "an even number"),
    "positions": (lambda: rotate(torch.zeros(2, 4), torch.arange(3)), "axis T: expected one size, 2, received 3"),
    "layout": (lambda: rotate(torch.zeros(2, 4), torch.arange(2), layout="neox"), "one of interleaved, half"),
    "base": (lambda: frequencies(4, base=0.0), "base: expected a number above 0"),
    "beta of one": (lambda: adam_update(Q, adam_init(Q), beta1=1.0), "beta1: expected a number from 0 below 1"),
    "negative epsilon": (lambda: adam_update(Q, adam_init(Q), eps=-1e-8), "eps: expected"),
    "not a number": (lambda: momentum_update(Q, Q, mu=math.nan), "mu: expected"),
    "negative rate": (lambda: sgd(torch.zeros(2), torch.zeros(3, 2), lr=-0.1), "lr: expected a number from 0"),
    "no steps": (lambda: sgd(torch.zeros(2), torch.zeros(0, 2), lr=0.1), "gradients: expected at least one entry"),
    "parameters": (lambda: sgd(torch.zeros(2), torch.zeros(3, 4), lr=0.1), "axis P: expected one size, 2, received 4"),
    "empty text": (lambda: encode(""), "at least one character"),
    "short text": (lambda: count(torch.arange(3), 3, 3), "at least 4 symbols for order 3, received 3"),
    "negative order": (lambda: count(torch.arange(3), -1, 3), "order: expected an integer ≥ 0"),
    "symbols outside": (lambda: count(torch.arange(3), 1, 2), "entries from 0 to 1"),
    "negative alpha": (lambda: conditional(count(torch.arange(3), 0, 3), torch.zeros(1, 0).long(), -1.0), "alpha"),
    "context length": (lambda: conditional(count(torch.arange(3), 1, 3), torch.zeros(1, 2).long()), "axis order"),
    "negative length": (lambda: generate(count(torch.arange(3), 1, 3), -1, torch.Generator()), "length: expected"),
    "integer logs": (lambda: perplexity(torch.zeros(3, dtype=torch.int64)), "floating-point"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and "expected" in str(caught.value) and "received" in str(caught.value)


# ---- NaN in, NaN out


def test_nan_is_never_turned_into_a_number():
    z = draw(2, 4)
    z[0, 1] = torch.nan
    for f in (softmax, log_sum_exp, softmax_jacobian):
        value = f(z)
        assert value[0].isnan().all() and not value[1].isnan().any(), f.__name__
    assert cross_entropy(z, torch.tensor([0, 0])).isnan()
    assert cross_entropy_gradient(z, torch.tensor([0, 0]))[0].isnan().all()
    q = draw(1, 1, 3, 4)
    broken = q.clone()
    broken[0, 0, 0, 0] = torch.nan
    assert attention(broken, q, q)[0, 0, 0].isnan().all() and not attention(broken, q, q)[0, 0, 1:].isnan().any()
    assert attention(q, broken, q).isnan().all()
    assert attention(q, q, broken)[0, 0, :, 0].isnan().all()
    assert rotate(broken, torch.arange(3))[0, 0, 0, :2].isnan().all()
    g = torch.tensor([[1.0, torch.nan]], dtype=F)
    for path in (sgd(g[0], g, lr=0.1), momentum(g[0], g, lr=0.1, mu=0.9), adam(g[0], g, lr=0.1)):
        assert path[0].isnan().tolist() == [False, True]
    assert perplexity(torch.tensor([-1.0, torch.nan])).isnan()


# ---- low precision keeps its dtype and stays near


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtype_is_kept_and_the_value_near(dtype):
    q, k, v = (draw(1, 2, 5, 4, seed=s) for s in range(3))
    near = {"atol": 0.1, "rtol": 0.1}
    for f, exact in ((lambda *x: attention(*x, causal=True), attention(q, k, v, causal=True)),
                     (lambda a, b, c: rotate(a, torch.arange(5)), rotate(q, torch.arange(5))),
                     (lambda a, b, c: softmax(a), softmax(q))):  # fmt: skip
        low = f(q.to(dtype), k.to(dtype), v.to(dtype))
        assert low.dtype == dtype
        torch.testing.assert_close(low.to(F), exact, **near)


def test_far_positions_are_not_rounded_to_neighbours():
    """bfloat16 cannot tell 4096 from 4097; the angle must be computed before rounding."""
    x = torch.ones(2, 4, dtype=torch.bfloat16)
    turned = rotate(x, torch.tensor([4096, 4097]))
    assert not torch.equal(turned[0], turned[1])


# ---- the Markov model


def test_counts_on_a_text_one_can_count_by_hand():
    ids, alphabet = encode("abracadabra")
    assert alphabet == "abcdr"
    pairs = count(ids, 1, 5)
    after_a = conditional(pairs, torch.tensor([[0]]))[0]
    assert (after_a * 4).tolist() == [0, 2, 1, 1, 0]  # a is followed by b, c, d, b
    assert math.isclose(float(perplexity(log_likelihood(pairs, ids))), 4 ** (4 / 10) / 2 ** (2 / 10))


def test_any_order_without_a_table():
    ids = torch.randint(0, 90, (5000,), generator=torch.Generator().manual_seed(0))
    model = count(ids, 40, 90)  # 90^41 does not fit anything
    assert len(model.counts) == 4960 and log_likelihood(model, ids).abs().max() == 0


def test_generated_text_has_only_seen_ngrams():
    ids, _ = encode("the cat sat on the mat and the rat sat on the cat")
    model = count(ids, 2, int(ids.max()) + 1)
    text = generate(model, 30, torch.Generator().manual_seed(0))
    assert len(text) == 30 and len(generate(model, 0, torch.Generator())) == 0
    again = generate(model, 30, torch.Generator().manual_seed(0))
    assert torch.equal(text, again)
