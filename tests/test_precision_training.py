"""Training in numbers of few bits: scales of losses, sums, dot products, blocks, and what is lost; as elsewhere."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from reference import precision
from reference.precision import decode, dequantize, dot, encode, kahan_sum, monitor, pairwise_sum, quantize


def test_stochastic_rounding_is_unbiased_over_all_numbers_u():
    """With u = (k + ½)/n the mean is x up to a step over 2n, also among subnormal numbers."""
    u = (torch.arange(1000).double() + 0.5) / 1000
    for x in (0.3, -0.3, 1e-3, 0.0009, -447.9, 448.0, 0.0):
        mean = precision.stochastic_round(torch.full((1000,), x, dtype=torch.float64), u, "e4m3").mean()
        assert abs(mean - x) <= 32 / 2000, x


@pytest.mark.parametrize("interval", [1, 2, 3, 7])
def test_the_scale_takes_the_path_of_gradscaler(interval):
    draw = torch.Generator().manual_seed(interval)
    overflows = torch.rand(60, generator=draw) < 0.2
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=interval)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer, theirs, moved = torch.optim.SGD([parameter], lr=1.0), [], []
    for overflow in overflows.tolist():
        parameter.grad = torch.full((1,), math.inf if overflow else 1.0) * scaler.scale(torch.ones(()))
        before = parameter.item()
        scaler.step(optimizer)
        scaler.update()
        theirs.append(scaler.get_scale())
        moved.append(parameter.item() != before)
    ours = precision.loss_scales(overflows, start=2.0**10, interval=interval)
    assert ours.tolist() == theirs and moved == (~overflows).tolist()
    gradients = torch.where(overflows, math.inf, 1.0)[:, None].double()
    path, scales = precision.scaled_sgd(
        torch.zeros(1).double(), gradients, lr=1.0, start=2.0**10, interval=interval, format="fp32"
    )
    assert scales.tolist() == theirs and path[-1].item() == parameter.item()


def test_a_scale_that_fp32_cannot_hold_is_not_taken():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer, theirs = torch.optim.SGD([parameter], lr=0.0), []
    for _ in range(4):
        scaler.scale(torch.ones(()))
        parameter.grad = torch.ones(1)
        scaler.step(optimizer)
        scaler.update()
        theirs.append(scaler.get_scale())
    assert precision.loss_scales(torch.zeros(4, dtype=torch.bool), start=2.0**126, interval=1).tolist() == theirs


def exact(terms):
    return float(sum(map(Fraction, terms.double().tolist())))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 17, 1000, 4096])
def test_sums_stay_within_their_bounds_in_float32_and_float16(n):
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        for dtype, u in ((torch.float32, 2.0**-24), (torch.float16, 2.0**-11)):
            x = torch.rand(n, generator=draw).to(dtype)
            total, size = exact(x), float(x.double().abs().sum())
            depth = math.ceil(math.log2(n)) if n > 1 else 0
            assert abs(pairwise_sum(x).double() - total) <= depth * u / (1 - depth * u) * size
            assert abs(kahan_sum(x).double() - total) <= (3 * u + 12 * n * u * u) * size


def test_compensation_keeps_what_float64_loses():
    x = torch.cat([torch.ones(1), torch.full((2**14,), 2.0**-53)]).double()
    assert kahan_sum(x) == 1 + 2.0**-39 and x.cumsum(0)[-1] == 1


def test_a_dot_product_is_numpys_in_half_precision():
    draw = torch.Generator().manual_seed(0)
    for n in (1, 2, 9, 60):
        x, y = (torch.randn(n, generator=draw).half() for _ in "xy")
        total = np.float16(0)
        for a, b in zip(x.numpy(), y.numpy(), strict=True):
            total = np.float16(total + np.float16(a * b))
        assert dot(x.double(), y.double(), "fp16", "fp16").item() == float(total)
        total = np.float32(0)
        for a, b in zip(x.numpy().astype(np.float32), y.numpy().astype(np.float32), strict=True):
            total = np.float32(total + a * b)
        assert dot(x.double(), y.double(), "fp16", "fp32").item() == float(total)


def test_blocks_of_deepseeks_sizes():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 300, generator=draw).double() * 2.0 ** torch.randint(-9, 9, (200, 1), generator=draw)
    for block, shape in (((1, 128), (200, 3)), ((128, 128), (2, 3)), (None, (1, 1))):
        codes, scales = quantize(x, "e4m3", block)
        assert scales.shape == shape and decode(codes, "e4m3").abs().max() == 448
        back = dequantize(codes, scales, block)
        floor = scales.repeat_interleave((block or x.shape)[0], 0).repeat_interleave((block or x.shape)[1], 1)[
            :200, :300
        ]
        assert ((back - x).abs() <= torch.maximum(x.abs() * 2.0**-4, floor * 2.0**-10) * (1 + 2**-40)).all()


def test_scales_that_are_powers_of_two_round_nothing_twice():
    x = torch.tensor([[448.0, 1.0, 0.0, 0.0], [449.0, 1.0, 3e-5, -1e-5]]).double()
    codes, scales = quantize(x, "e4m3", (1, 2), powers=True)
    assert scales.tolist() == [[1.0, 1.0], [2.0, 2.0**-23]]
    assert torch.equal(encode(scales, "e8m0", "zero"), encode(scales, "e8m0", "up"))
    assert codes[0, 2:].tolist() == [0, 0]


def test_gradients_that_half_precision_loses():
    g = torch.tensor([0.0, 2.0**-25, 2.0**-24, 2.0**-15, -1.0, 65519.0, 65520.0, math.inf, math.nan]).double()
    shares, exponents, counts = monitor(g, "fp16")
    assert (shares * 8).tolist() == [1, 2, 3]
    assert exponents.tolist() == [-25, -24, -15, 0, 15] and counts.tolist() == [1, 1, 1, 1, 2]
    assert monitor(torch.zeros(3).double())[0].tolist() == [0, 0, 0]
