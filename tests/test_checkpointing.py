"""Recomputation by hand is PyTorch's own: the same bits, the same bytes, the same refusals; and cuttings of chains."""

import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from reference import decoder
from reference.checkpointing import (
    block_gradients,
    chain,
    chain_gradients,
    optimal_segments,
    recomputed,
    segment_length,
    segmented_peak,
)

SIZES = {"L": 2, "D": 12, "H": 3, "G": 3, "K": 4, "F": 20, "V": 17, "S": 9}
F64 = torch.float64


def ours(function, *inputs, use_reentrant):
    return recomputed(function, *inputs)


def step(**how):
    """Loss, all gradients, and the generator's state afterwards, of a decoder in training with dropout."""
    torch.manual_seed(3)
    model = decoder.Decoder(decoder.Sizes("gpt2", **SIZES, attention="explicit", dropout=0.3, **how)).double()
    ids, target = torch.randint(17, (2, 2, 7))
    torch.manual_seed(4)
    loss = model(ids, target)
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters()), torch.get_rng_state()]


@pytest.mark.parametrize("how", ["selective", "full"])
def test_decoder_has_the_same_bits_recomputed_by_hand_by_pytorch_or_not_at_all(how, monkeypatch):
    plain, theirs = step(), step(recompute=how)
    monkeypatch.setattr(decoder, "checkpoint", ours)
    for a, b, c in zip(plain, theirs, step(recompute=how), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


@pytest.mark.parametrize("how", ["selective", "full", "full --every 2"])
def test_bytes_are_those_predicted_for_pytorch(how, monkeypatch):
    """The whole stream of the allocator, with our function in the place of theirs."""
    from bench.measure import compare_cpu
    from bench.options import parser, setting

    monkeypatch.setattr(decoder, "checkpoint", ours)
    case = f"gpt2 --layers 3 --batch 2 --seq 24 --attention explicit --dropout 0.1 --optimizer sgd --recompute {how}"
    found = compare_cpu(setting(parser("measure", "").parse_args(case.split())))
    for row in found["rows"]:
        assert row["predicted"] == row["measured"], row


def layers(n, D=6, dropout=0.5):
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.Dropout(dropout)).double() for _ in range(n)]


def gradients(f, x, weights):
    torch.manual_seed(1)
    y = f(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *weights], retain_graph=True)]


@pytest.mark.parametrize("every", [1, 2, 3, 7, 9])
def test_chain_has_the_bits_of_the_plain_loop(every):
    functions = layers(7)
    x, weights = torch.randn(4, 6, dtype=F64, requires_grad=True), [p for f in functions for p in f.parameters()]
    plain = gradients(nn.Sequential(*functions), x, weights)
    for a, b in zip(plain, gradients(lambda x: chain(functions, x, every), x, weights), strict=True):
        assert torch.equal(a, b)


def test_gradients_may_be_asked_for_twice_and_differentiated():
    x = torch.randn(3, 4, dtype=F64, requires_grad=True)
    w = torch.randn(4, 4, dtype=F64, requires_grad=True)

    def f(x):
        return nn.functional.dropout(torch.tanh(x @ w), 0.5).square()

    found = []
    for g in (f, lambda x: recomputed(f, x)):
        torch.manual_seed(5)
        y = g(x).sum()
        first = torch.autograd.grad(y, [x, w], create_graph=True)
        again = torch.autograd.grad(y, [x, w], create_graph=True)
        second = torch.autograd.grad(sum(s.square().sum() for s in first), [x, w])
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        found.append([*first, *second])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=0)


def test_second_run_is_under_the_autocast_of_the_first():
    w = torch.randn(8, 8, requires_grad=True)
    x = torch.randn(4, 8, requires_grad=True)
    kept = []
    for again in (lambda f, x: f(x), recomputed):
        with torch.autocast("cpu", torch.bfloat16):
            y = again(lambda x: torch.tanh(x @ w) @ w, x)
        kept.append(torch.autograd.grad(y.float().square().sum(), [x, w]))
    for a, b in zip(*kept, strict=True):
        assert torch.equal(a, b)


def test_within_another_and_without_gradients():
    x = torch.randn(3, dtype=F64, requires_grad=True)
    nested = recomputed(lambda x: recomputed(torch.sin, x).exp(), x)
    (slope,) = torch.autograd.grad(nested.sum(), x)
    torch.testing.assert_close(slope, x.cos() * x.sin().exp())
    with torch.no_grad():
        assert torch.equal(recomputed(torch.sin, x), x.sin())
    y, number = recomputed(lambda x, n: (x * n, n + 1), x, 2)
    assert number == 3 and torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.full((3,), 2.0, dtype=F64))


def test_nothing_is_computed_in_vain():
    """The second run stops when all is found: the last product of a block is not made again, as with PyTorch."""
    from bench.meter import counted_flops

    w = [torch.randn(16, 16, requires_grad=True) for _ in range(3)]
    x = torch.randn(8, 16, requires_grad=True)

    def f(x):
        return ((x @ w[0]).tanh() @ w[1]).tanh() @ w[2]

    one = 2 * 8 * 16 * 16
    for again, extra in (
        (lambda f, x: f(x), 0),
        (recomputed, 2),
        (lambda f, x: checkpoint(f, x, use_reentrant=False), 2),
    ):
        assert counted_flops(lambda again=again: again(f, x).sum().backward()) == (9 + extra) * one


def test_what_cannot_be_run_again_is_refused():
    x = torch.randn(4, dtype=F64, requires_grad=True)
    held = (2 * x).detach().requires_grad_()
    y = recomputed(torch.sin, held)
    with torch.no_grad():
        held.mul_(2)
    with pytest.raises(ValueError, match="inputs: expected tensors as they were when the function first ran"):
        y.sum().backward()
    runs = iter([1, 2, 3])
    other = recomputed(lambda x: (x.repeat(next(runs))).sin(), x)
    with pytest.raises(ValueError, match=r"function: expected the same again, \(\(4,\)"):
        other.sum().backward()
    runs = iter([1, 0])
    less = recomputed(lambda x: x.sin().exp() if next(runs) else x.sin(), x)
    with pytest.raises(ValueError, match="function: expected the same again, 2 tensors kept, received 1"):
        less.sum().backward()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 12, 13, 99, 100, 101, 2000])
def test_square_root_rule_is_the_least_of_all_lengths(n):
    every = segment_length(n)
    assert -(-n // every) + every == min(k + -(-n // k) for k in range(1, n + 1)) == math.isqrt(4 * n - 1) + 1


@pytest.mark.parametrize("P", [2, 3, 6, 9])
def test_unequal_segments_hold_as_the_claim_says(P):
    """P(P − 1)/2 equal layers have the peak P, and one more has not."""
    for more in (0, 1):
        ones = torch.ones(P * (P - 1) // 2 + more, dtype=torch.int64)
        assert segmented_peak(optimal_segments(ones, ones), ones, ones) == P + more


ONE, TWO = torch.ones(1, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
X, W = torch.ones(2, 3), torch.ones(4, 3, 3)
BAD = {
    "length": (lambda: segment_length(0), "n: expected an integer ≥ 1, received 0"),
    "every": (lambda: chain([], X, 0), "every: expected an integer ≥ 1, received 0"),
    "no layers": (lambda: optimal_segments(ONE[:0], ONE[:0]), "kept: expected at least one layer, received none"),
    "sizes": (lambda: optimal_segments(ONE, TWO), "axis N: expected one size, 1, received 2"),
    "fractions": (lambda: optimal_segments(ONE / 2, ONE), "kept: expected an integer tensor"),
    "negative": (lambda: optimal_segments(ONE, -ONE), "inside: expected sizes of 0 and more, received -1"),
    "first": (lambda: segmented_peak(TWO == 2, TWO, TWO), "starts: expected True for the first layer, received False"),
    "rate": (lambda: chain_gradients(X, X, W, dropout=1.0), "dropout: expected a number from 0 below 1"),
    "cotangent": (lambda: chain_gradients(X[:1], X, W), r"dy: expected the shape of the output, \(2, 3\)"),
    "square": (lambda: chain_gradients(X, X, W[:, :2]), "axis D: expected one size, 3, received 2"),
    "way": (lambda: block_gradients(X, X, [X] * 6, 1, "some"), "recompute: expected one of none, selective, full"),
    "weights": (lambda: block_gradients(X, X, [X], 1), "weights: expected the 6 tensors of Weights, rec"),
    "heads": (
        lambda: block_gradients(X[None], X[None], [torch.ones(3, 3)] * 6, 2), "x: expected D a multiple of 2 heads",
    ),
    "matrix": (
        lambda: block_gradients(X[None], X[None], [torch.ones(3, 3)] * 4 + [X, X], 1), r"down: expected shape \(3, 2\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told(what):
    call, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        call()
