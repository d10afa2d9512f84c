"""The reference as a user meets it: against PyTorch's own functions, with bad input, with NaN, in low precision."""

import inspect
import math

import pytest
import torch

from reference import schedules
from reference.activations import gelu, quick_gelu, softcap, swiglu
from reference.attention import attention, causal_mask, grouped_query_attention, scores
from reference.loss import cross_entropy, cross_entropy_gradient, z_loss
from reference.markov import conditional, count, encode, generate, log_likelihood, perplexity
from reference.normalization import layer_norm, rms_norm
from reference.optimizers import (
    adam,
    adam_init,
    adam_update,
    adamw_step,
    clip_by_global_norm,
    momentum,
    momentum_update,
    rmsprop,
    rmsprop_update,
    sgd,
)
from reference.positions import alibi_bias, alibi_slopes, learned, sinusoidal
from reference.rope import dynamic_ntk, frequencies, interpolated, llama3, ntk, rotate, yarn
from reference.sampling import gumbel_max, min_p, repetition_penalty, temperature, top_k, top_p
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
    "positions of rows": (lambda: rotate(Q, torch.zeros(2, 3)), "axis B: expected one size, 1, received 2"),
    "too many frequencies": (lambda: rotate(Q, torch.arange(3), theta=torch.ones(3)), "at most 2 frequencies"),
    "nothing learned there": (lambda: learned(torch.zeros(3, 2), torch.tensor([3])), "entries from 0 to 2"),
    "no stretch": (lambda: interpolated(4, 0.5), "scale: expected a number from 1"),
    "one pair": (lambda: ntk(2, 2.0), "K: expected an integer ≥ 4, received 2"),
    "no length": (lambda: dynamic_ntk(4, 2.0, 0, 8), "length: expected an integer ≥ 1"),
    "betas": (lambda: yarn(8, 2.0, 64, beta_slow=32.0), "beta_slow: expected a number below beta_fast, 32"),
    "ramp": (lambda: yarn(8, 2.0, 64, ramp="turn"), "one of pairs, turns"),
    "nothing turns": (lambda: yarn(8, 2.0, 1, truncate=False), "between beta_slow and beta_fast times, received 1"),
    "low and high": (lambda: llama3(8, low=4.0), "low: expected a number below high, 4"),
    "base": (lambda: frequencies(4, base=0.0), "base: expected a number above 0"),
    "beta of one": (lambda: adam_update(Q, adam_init(Q), beta1=1.0), "beta1: expected a number from 0 below 1"),
    "negative epsilon": (lambda: adam_update(Q, adam_init(Q), eps=-1e-8), "eps: expected"),
    "not a number": (lambda: momentum_update(Q, Q, mu=math.nan), "mu: expected"),
    "negative rate": (lambda: sgd(torch.zeros(2), torch.zeros(3, 2), lr=-0.1), "lr: expected a number from 0"),
    "no steps": (lambda: sgd(torch.zeros(2), torch.zeros(0, 2), lr=0.1), "gradients: expected at least one entry"),
    "parameters": (lambda: sgd(torch.zeros(2), torch.zeros(3, 4), lr=0.1), "axis P: expected one size, 2, received 4"),
    "dampening": (lambda: momentum_update(Q, Q, mu=0.5, dampening=1.5), "dampening: expected a number from 0 to 1"),
    "mu of one": (lambda: momentum_update(Q, Q, mu=1.0), "mu: expected a number from 0 below 1"),
    "second beta": (lambda: adam_update(Q, adam_init(Q), beta2=1.0), "beta2: expected a number from 0 below 1"),
    "alpha of one": (lambda: rmsprop_update(Q, Q, alpha=1.0), "alpha: expected a number from 0 below 1"),
    "step zero": (lambda: adamw_step(*[torch.zeros(2)] * 4, t=0, lr=0.1), "t: expected an integer ≥ 1, received 0"),
    "negative decay": (lambda: adamw_step(*[torch.zeros(2)] * 4, t=1, lr=0.1, decay=-1.0), "decay: expected"),
    "nothing to clip": (lambda: clip_by_global_norm([], 1.0), "gradients: expected at least one tensor"),
    "norm of zero": (lambda: clip_by_global_norm([Q], 0.0), "max_norm: expected a number above 0, received 0"),
    "too much smoothing": (
        lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(2).long(), label_smoothing=1.5),
        "label_smoothing: expected a number from 0 to 1, received 1.5",
    ),
    "weight below zero": (lambda: z_loss(torch.zeros(2, 3), -1.0), "weight: expected a number from 0"),
    "temperature zero": (lambda: temperature(Q, 0.0), "greedy decoding is its limit"),
    "no symbol": (lambda: top_k(Q, 0), "k: expected an integer ≥ 1, received 0"),
    "no mass": (lambda: top_p(Q, 0.0), "p: expected a number above 0, at most 1, received 0"),
    "too much mass": (lambda: top_p(Q, 1.5), "p: expected a number above 0, at most 1, received 1.5"),
    "above the largest": (lambda: min_p(Q, 1.5), "p: expected a number from 0 to 1, received 1.5"),
    "no penalty": (lambda: repetition_penalty(Q, torch.zeros(1, 2, 3, 1).long(), 0.0), "penalty: expected"),
    "tokens of other rows": (
        lambda: repetition_penalty(torch.zeros(2, 3, 4), torch.zeros(3, 2, 1).long(), 2.0),
        "tokens: expected leading axes",
    ),
    "noise of another shape": (lambda: gumbel_max(Q, Q[0]), "u: expected the shape of z"),
    "odd width": (lambda: sinusoidal(3, 5), "D: expected an even number of coordinates, sines and cosines, received 5"),
    "no position": (lambda: sinusoidal(0, 4), "T: expected an integer ≥ 1, received 0"),
    "negative base": (lambda: sinusoidal(3, 4, -1.0), "base: expected a number"),
    "no head": (lambda: alibi_slopes(0), "H: expected an integer ≥ 1, received 0"),
    "no key": (lambda: alibi_bias(2, 3, 0), "S: expected an integer ≥ 1, received 0"),
    "form of gelu": (lambda: gelu(Q, "quick"), "approximate: expected"),
    "whole numbers to a gate": (lambda: quick_gelu(Q.long()), "x: expected a floating-point tensor, received"),
    "a word for a cap": (lambda: softcap(Q, "30"), "cap: expected a number, received .30."),
    "a word for a number": (lambda: layer_norm(Q, eps="small"), "eps: expected a number, received .small."),
    "a list for targets": (lambda: cross_entropy(Q[0, 0], [0, 1, 2]), "target: expected a tensor, received list"),
    "nothing is ignored": (
        lambda: cross_entropy(Q[0, 0], torch.zeros(3).long(), None), "ignore_index: expected an integer, received None",
    ),
    "a gradient of another shape": (
        lambda: adam_update(Q, adam_init(Q[0])), r"m: expected the shape of g, .*, received shape \(2, 3, 4\)",
    ),
    "a whole-numbered gradient": (
        lambda: momentum_update(Q.long(), None, mu=0.9), "g: expected a floating-point tensor, received torch.int64",
    ),
    "a tensor for a list": (lambda: clip_by_global_norm(Q, 1.0), "expected a list of tensors, received Tensor"),
    "steps as a list": (lambda: schedules.constant([1, 2], peak=1.0), "t: expected a tensor, received list"),
    "unequal gates": (lambda: swiglu(Q, Q[0]), "expected"),
    "weight of another width": (lambda: rms_norm(Q, torch.zeros(3)), "axis D: expected one size, 4, received 3"),
    "epsilon below zero": (lambda: layer_norm(Q, eps=-1.0), "eps: expected a number"),
    "shared heads": (lambda: grouped_query_attention(Q, *[torch.zeros(1, 3, 3, 4)] * 2), "expected"),
    "empty text": (lambda: encode(""), "at least one character"),
    "short text": (lambda: count(torch.arange(3), 3, 3), "at least 4 symbols for order 3, received 3"),
    "negative order": (lambda: count(torch.arange(3), -1, 3), "order: expected an integer ≥ 0"),
    "symbols outside": (lambda: count(torch.arange(3), 1, 2), "entries from 0 to 1"),
    "negative alpha": (lambda: conditional(count(torch.arange(3), 0, 3), torch.zeros(1, 0).long(), -1.0), "alpha"),
    "context length": (lambda: conditional(count(torch.arange(3), 1, 3), torch.zeros(1, 2).long()), "axis order"),
    "negative length": (lambda: generate(count(torch.arange(3), 1, 3), -1, torch.Generator()), "length: expected"),
    "integer logs": (lambda: perplexity(torch.zeros(3, dtype=torch.int64)), "floating-point"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "whole"), [(momentum_update, momentum), (rmsprop_update, rmsprop), (adam_update, adam)]
)
def test_one_step_has_the_defaults_of_the_path(one, whole):
    """Those of the path are held against the twin's."""
    ours, theirs = (inspect.signature(f).parameters for f in (one, whole))
    assert {n: p.default for n, p in ours.items() if n in theirs} == {n: theirs[n].default for n in ours if n in theirs}


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
