"""Derivatives equal PyTorch's, on random programs and in training; and micrograd's, number by number."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference.autodiff import cross_entropy, gradient, hessian_vector, mlp
from reference.autodiff_dual import jvp
from reference.autodiff_linear import add, reshape, take, total, transpose, where
from reference.autodiff_rules import cos, exp, largest, log, matmul, maximum, mean, power, relu, sin, sqrt, tanh
from reference.autodiff_tape import value_and_gradient
from reference.corpus import embedded

quietly = settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

OURS = {
    "add": add, "mul": lambda a, b: a * b, "sub": lambda a, b: a - b, "div": lambda a, b: a / (2 + b * b),
    "maximum": maximum, "matmul": lambda a, b: matmul(a, transpose(b)), "exp": lambda a: exp(tanh(a)),
    "log": lambda a: log(1 + a * a), "sin": sin, "cos": cos, "tanh": tanh, "relu": relu,
    "sqrt": lambda a: sqrt(1 + a * a), "power": lambda a: power(a, 3) / 8, "sum": lambda a: total(a, -1, True),
    "mean": lambda a: mean(a, 0), "largest": lambda a: largest(a, (0,), True),
    "reshape": lambda a: reshape(a, (1, *a.shape)), "index": lambda a: a[[0, -1, 0]],
    "slice": lambda a: a[..., 1:], "where": lambda a, b: where(a, b, mask=(torch.arange(4) > 1)),
}  # fmt: skip
THEIRS = {
    "add": torch.add, "mul": torch.mul, "sub": torch.sub, "div": lambda a, b: a / (2 + b * b),
    "maximum": torch.maximum, "matmul": lambda a, b: a @ b.mT, "exp": lambda a: a.tanh().exp(),
    "log": lambda a: (1 + a * a).log(), "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "relu": torch.relu,
    "sqrt": lambda a: (1 + a * a).sqrt(), "power": lambda a: a**3 / 8, "sum": lambda a: a.sum(-1, True),
    "mean": lambda a: a.mean(0), "largest": lambda a: a.amax((0,), True), "reshape": lambda a: a.reshape(1, *a.shape),
    "index": lambda a: a[[0, -1, 0]], "slice": lambda a: a[..., 1:],
    "where": lambda a, b: torch.where(torch.arange(4) > 1, a, b),
}  # fmt: skip
TWO = {"add", "mul", "sub", "div", "maximum", "matmul", "where"}


def ran(operations, steps, inputs):
    """The sum of all that a program makes: each step applies an operation to two of the numbers made so far."""
    made = list(inputs)
    for name, first, second in steps:
        operands = [made[first % len(made)], made[second % len(made)]][: 1 + (name in TWO)]
        made.append(operations[name](*operands))
    return sum(total(x) for x in made)


@st.composite
def programs(draw):
    """A random graph on inputs of shapes (3, 4), (4,) and (2, 1, 4); steps whose shapes do not fit are left out."""
    seed = draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(*size, dtype=torch.float64, generator=generator) for size in ((3, 4), (4,), (2, 1, 4))]
    steps, made = [], list(inputs)
    for _ in range(draw(st.integers(1, 12))):
        step = (draw(st.sampled_from(sorted(OURS))), draw(st.integers(0, 15)), draw(st.integers(0, 15)))
        name, *which = step
        operands = [made[i % len(made)] for i in which][: 1 + (name in TWO)]
        if name == "matmul" and min(x.ndim for x in operands) < 2:
            continue
        try:
            value = THEIRS[name](*operands)
        except (RuntimeError, IndexError):
            continue
        if 0 < value.numel() < 500:
            steps.append(step)
            made.append(value)
    return steps, inputs


def difference(ours, theirs):
    """The largest one, relative to one or to the largest entry."""
    pairs = zip(ours, (b.detach() for b in theirs), strict=True)
    return max(float((a - b).abs().max() / (1 + b.abs().max())) for a, b in pairs)


@quietly
@given(programs())
def test_random_programs_have_the_gradients_of_pytorch(program):
    steps, inputs = program
    leaves = [x.clone().requires_grad_() for x in inputs]
    expected = torch.autograd.grad(ran(THEIRS, steps, leaves), leaves)
    value, found = value_and_gradient(lambda *xs: ran(OURS, steps, xs), *inputs)
    assert torch.allclose(value, ran(THEIRS, steps, inputs), rtol=1e-12, atol=1e-12)
    assert difference(found, expected) < 1e-12
    along = [torch.ones_like(x) for x in inputs]
    slope = jvp(lambda *xs: ran(OURS, steps, xs), inputs, along)[1]
    assert difference([slope], [sum(g.sum() for g in expected)]) < 1e-11


@quietly
@given(programs())
def test_second_derivatives_are_those_of_pytorch(program):
    steps, inputs = program
    along = [torch.cos(torch.arange(x.numel()).double()).reshape(x.shape) for x in inputs]
    leaves = [x.clone().requires_grad_() for x in inputs]
    first = torch.autograd.grad(ran(THEIRS, steps, leaves), leaves, create_graph=True)
    along_v = sum((g * v).sum() for g, v in zip(first, along, strict=True))
    expected = [torch.zeros_like(x) for x in inputs]
    if along_v.requires_grad:
        expected = torch.autograd.grad(along_v, leaves, materialize_grads=True)
    assert difference(hessian_vector(lambda *xs: ran(OURS, steps, xs), inputs, along), expected) < 1e-11

    def slope(*xs):
        return sum((total(g * v) for g, v in zip(gradient(lambda *ys: ran(OURS, steps, ys), *xs), along, strict=True)))

    assert difference(gradient(slope, *inputs), expected) < 1e-11  # reverse mode over reverse mode


def micrograd_and_ours(a, b):
    """An expression with fan-out, in scalars that either engine can hold."""
    c = a * b + b**3
    d = c + c * a - (b - a)
    e = (d * 2 + (b + a).relu()) if hasattr(d, "relu") else d * 2 + relu(b + a)
    return e / (c * c + 1) + d**2 / 10


def test_micrograd_gives_the_same_numbers():
    from micrograd.engine import Value

    for start in ((-1.5, 2.0), (0.5, -0.25), (3.0, 1.0)):
        scalars = [Value(x) for x in start]
        expected = micrograd_and_ours(*scalars)
        expected.backward()
        value, found = value_and_gradient(micrograd_and_ours, *(torch.tensor(x, dtype=torch.float64) for x in start))
        assert math.isclose(float(value), expected.data, rel_tol=1e-14)
        assert [float(g) for g in found] == pytest.approx([v.grad for v in scalars], rel=1e-13)


def test_training_follows_the_curve_of_pytorch():
    """A network that reads three characters of real text and says the next, 60 steps: the same losses to 10⁻¹²."""
    text = embedded()[0][:4000]
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(c) for c in text])
    windows, target = ids.unfold(0, 3, 1)[:-1], ids[3:]
    generator = torch.Generator().manual_seed(0)
    V, D, F = len(alphabet), 8, 32
    shapes = [(V, D), (3 * D, F), (F,), (F, V), (V,)]
    start = [torch.randn(*size, dtype=torch.float64, generator=generator) * 0.2 for size in shapes]

    ours, theirs = [w.clone() for w in start], [w.clone() for w in start]
    curves: list[tuple[float, float]] = []
    for step in range(60):
        rows = torch.arange(64 * step, 64 * step + 64) % len(target)

        def mine(table, *weights, rows=rows):
            x = reshape(take(table, windows[rows]), (64, 3 * D))
            return cross_entropy(mlp(x, *weights), target[rows])

        value, found = value_and_gradient(mine, *ours)
        leaves = [w.requires_grad_() for w in theirs]
        logits = torch.tanh(leaves[0][windows[rows]].reshape(64, -1) @ leaves[1] + leaves[2]) @ leaves[3] + leaves[4]
        expected = torch.nn.functional.cross_entropy(logits, target[rows])
        curves.append((float(value), expected.item()))
        ours = [w - 0.5 * g for w, g in zip(ours, found, strict=True)]
        theirs = [(w - 0.5 * g).detach() for w, g in zip(leaves, torch.autograd.grad(expected, leaves), strict=True)]
    assert max(abs(a / b - 1) for a, b in curves) < 1e-12
    assert curves[-1][0] < 0.8 * curves[0][0]
