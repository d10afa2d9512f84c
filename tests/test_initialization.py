"""Initial weights: to the last bit PyTorch's where it draws the same numbers, and of the right size where not."""

import math

import pytest
import torch
from torch.nn import init

from reference.initialization import deviation, draw, fans, gain, gpt2_block, normal, truncated_normal, uniform

F = torch.float64
SHAPES = [(5, 3), (4, 6, 3, 2)]
HE, GLOROT = {"gain": gain("relu")}, {"mode": "fan_avg"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("law", "how", "theirs"), [
    ("uniform", GLOROT, lambda w, g: init.xavier_uniform_(w, generator=g)),
    ("normal", GLOROT | {"gain": gain("tanh")}, lambda w, g: init.xavier_normal_(w, gain=5 / 3, generator=g)),
    ("uniform", HE, lambda w, g: init.kaiming_uniform_(w, nonlinearity="relu", generator=g)),
    ("normal", HE | {"mode": "fan_out"}, lambda w, g: init.kaiming_normal_(w, 0, "fan_out", "relu", generator=g)),
    ("normal", {"gain": gain("leaky_relu", 0.2)}, lambda w, g: init.kaiming_normal_(w, a=0.2, generator=g)),
    ("uniform", {"gain": 1 / math.sqrt(3)}, lambda w, g: init.kaiming_uniform_(w, math.sqrt(5), generator=g)),
], ids=["Glorot", "Glorot for tanh", "He", "He, fan-out", "leaky", "nn.Linear"])  # fmt: skip
def test_weights_are_pytorchs(shape, law, how, theirs):
    ours = draw(shape, law, generator=seeded(), dtype=F, **how)
    torch.testing.assert_close(ours, theirs(torch.empty(shape, dtype=F), seeded()))


def test_gains_are_pytorchs():
    for name in ("linear", "sigmoid", "tanh", "relu", "selu"):
        assert gain(name) == pytest.approx(init.calculate_gain(name))
    for slope in (0.01, 0.2, 1.0):
        assert gain("leaky_relu", slope) == pytest.approx(init.calculate_gain("leaky_relu", slope))


def test_layouts():
    assert fans((10, 4)) == (4, 10) and fans((4, 10), "in_out") == (4, 10)
    assert fans((8, 3, 5, 5)) == (75, 200) and fans((5, 5, 3, 8), "in_out") == (75, 200)


def test_the_truncated_law_has_the_deviation_asked_for():
    """Integrated by Gauss and Legendre over u, at three cuts, and drawn: PyTorch's own draw by rejection agrees."""
    k = torch.arange(1, 96, dtype=F)
    beside = torch.diag(k / (4 * k**2 - 1).sqrt(), 1)
    nodes, vectors = torch.linalg.eigh(beside + beside.mT)
    for cut in (0.5, 1.0, 2.0):
        w = truncated_normal(((nodes + 1) / 2).expand(4, -1), cut=cut, gain=math.sqrt(96))
        assert float((vectors[0] ** 2 * w[0] ** 2).sum()) == pytest.approx(1, rel=1e-9)
    ours, before = (
        draw((400, 500), "truncated", generator=seeded(), dtype=F),
        deviation((400, 500)) / 0.87962566103423978,
    )
    theirs = init.trunc_normal_(torch.empty(400, 500, dtype=F), 0, before, -2 * before, 2 * before, generator=seeded(1))
    for w in (ours, theirs):
        assert float(w.std()) == pytest.approx(deviation((400, 500)), rel=0.01)
    q = torch.linspace(0.01, 0.99, 21, dtype=F)
    torch.testing.assert_close(
        ours.flatten()[:100_000].quantile(q), theirs.flatten()[:100_000].quantile(q), rtol=0, atol=1e-3
    )


def test_gpt2_scales_what_writes_to_the_stream():
    z = [torch.randn(s, generator=seeded(), dtype=F) for s in ((6, 2), (2, 2), (8, 2), (2, 8))]
    qkv, out, up, down = gpt2_block(z, L=8)
    torch.testing.assert_close([qkv, up], [0.02 * z[0], 0.02 * z[2]])
    torch.testing.assert_close([out, down], [0.005 * z[1], 0.005 * z[3]])


W = torch.ones(2, 3)
BAD = {
    "a vector": (lambda: fans((3,)), "two axes or more"),
    "an empty axis": (lambda: fans((3, 0)), r"none of them empty, received \(3, 0\)"),
    "half an axis": (lambda: fans((3, 1.5)), r"received \(3, 1.5\)"),
    "no shape to draw": (lambda: draw(()), r"shape: expected two axes or more, .* received \(\)"),
    "slope": (lambda: gain("leaky_relu", math.nan), "slope: expected a number"),
    "layout": (lambda: fans((3, 3), "oi"), "layout: expected one of out_in, in_out, received 'oi'"),
    "mode": (lambda: uniform(W, "fan_mean"), "mode: expected one of fan_in, fan_out, fan_avg"),
    "gain": (lambda: normal(W, gain=-1.0), "gain: expected a number from 0"),
    "whole numbers": (lambda: normal(W.long()), "floating-point tensor"),
    "nonlinearity": (lambda: gain("gelu"), "one of linear, sigmoid, tanh, relu, selu, leaky_relu"),
    "cut": (lambda: truncated_normal(W, cut=0.0), "cut: expected a number above 0"),
    "law": (lambda: draw((2, 2), "cauchy"), "law: expected one of uniform, normal, truncated"),
    "three matrices": (lambda: gpt2_block([W, W, W], 2), "four tensors"),
    "no layers": (lambda: gpt2_block([W] * 4, 0), "L: expected an integer ≥ 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_nan_comes_through():
    given = torch.tensor([[0.5, math.nan], [0.25, 0.75]])
    for weights in (uniform, normal, truncated_normal):
        assert torch.equal(weights(given).isnan(), given.isnan())
