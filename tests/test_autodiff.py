"""Derivatives equal PyTorch's, on random programs, deep graphs and in training; and micrograd's, number by number."""

import gc
import math
import re
import weakref

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from derivations.autodiff_costs import RULES, cost
from reference import autodiff, autodiff_linear, autodiff_rules
from reference.autodiff import check_gradient, cross_entropy, gradient, hessian_vector, jacobian, mlp
from reference.autodiff_dual import jvp
from reference.autodiff_linear import add, expand, reshape, take, total, transpose, where
from reference.autodiff_rules import cos, exp, largest, log, matmul, maximum, mean, power, relu, sin, sqrt, tanh
from reference.autodiff_tape import Tape, graph, value_and_gradient, vjp
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


def test_a_graph_a_hundred_thousand_deep():
    """No recursion: neither on the way back nor when the tape is freed."""

    def deep(x):
        for _ in range(100_000):
            x = x * 0.9999
        return total(x)

    x = torch.tensor([0.5, 2.0], dtype=torch.float64)
    (found,) = gradient(deep, x)
    assert torch.allclose(found, torch.full_like(x, 0.9999**100_000), rtol=1e-10)


def test_a_tape_goes_with_its_last_user():
    """No cycles: what a tape keeps is freed at once, without the garbage collector."""
    gc.disable()
    try:
        tape = Tape()
        y = tanh(tape.write("input", torch.ones(3)))
        seen = weakref.ref(y.value)
        del y, tape
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("outer", ["forward", "reverse"])
@pytest.mark.parametrize("inner", ["forward", "reverse"])
def test_nested_differentiation_is_not_confused(outer, inner):
    """d/dx of x · ∂(x + y)/∂y is one: the inner derivative is the constant one."""
    one = torch.ones((), dtype=torch.float64)
    found = autodiff.slope(lambda x: x * autodiff.slope(lambda y: x + y, one, inner), one, outer)
    assert float(found) == 1.0


def test_higher_derivatives_at_zero_are_numbers():
    """exp(−x²) at zero: 1, 0, −2, 0, 12, although x² becomes 2x¹ and then 2x⁰."""

    def nth(n):
        def f(x, n=n):
            return jvp(lambda x: f(x, n - 1), [x], [torch.ones(())])[1] if n else exp(-(x**2))

        return float(f(torch.zeros(())))

    assert [nth(n) for n in range(5)] == [1, 0, -2, 0, 12]


def test_both_modes_give_one_jacobian():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)

    def f(x):
        return sin(x[:3] * x[2:]) + largest(x)

    expected = torch.autograd.functional.jacobian(lambda x: torch.sin(x[:3] * x[2:]) + x.amax(), x)
    for mode in ("forward", "reverse"):
        assert torch.allclose(jacobian(f, x, mode), expected, atol=1e-14)


def test_gradients_are_checked_by_differences():
    x = torch.linspace(0.1, 1, 6, dtype=torch.float64).reshape(2, 3)
    assert check_gradient(lambda x: total(sin(x) * exp(x)), x) < 1e-9

    @autodiff_rules.differentiable(torch.tanh)
    def wrong(y, x):
        return (autodiff_rules.scaled(lambda: 1 - x * x),)

    assert check_gradient(lambda x: total(wrong(x)), x) > 0.01


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


def test_the_graph_is_text_for_graphviz():
    text = graph(lambda x, w: total(relu(x @ w) * 2), torch.ones(3, 4), torch.ones(4, 5))
    lines = text.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}"
    nodes = dict(re.findall(r'^  (n\d+) \[label="([^"]*)", shape=(?:box|ellipse)\]$', text, re.M))
    edges = re.findall(r"^  (n\d+) -> (n\d+)$", text, re.M)
    assert len(lines) == 3 + len(nodes) + len(edges)
    assert list(nodes.values()) == ["input 3×4", "input 4×5", "matmul 3×5", "relu 3×5", "mul 3×5", "total"]
    assert edges == [("n0", "n2"), ("n1", "n2"), ("n2", "n3"), ("n3", "n4"), ("n4", "n5")]


class Operations(TorchDispatchMode):
    """Counts arithmetic on numbers; moving them about is none."""

    FREE = frozenset("detach neg _to_copy clone ones_like zeros_like alias fill_ empty_like".split())

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name not in self.FREE:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


CODE = {
    "sum": lambda a, b: a + b, "difference": lambda a, b: a - b, "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / b, "power": lambda a: a**1.5, "exp": exp, "log": log, "sin": sin, "cos": cos,
    "tanh": tanh, "sqrt": sqrt,
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_code_takes_as_many_operations_as_the_derivation_counts(name):
    forward, back, operands = cost(name)
    xs = [torch.tensor([2.0 + i], dtype=torch.float64) for i in range(operands)]
    with Operations() as there:
        _, pull = vjp(CODE[name], *xs)
    arrived = torch.tensor([3.0], dtype=torch.float64)
    with Operations() as again:
        pull(arrived)
    assert (len(there.names), len(again.names)) == (forward, back), (there.names, again.names)


def test_what_the_bench_predicts_is_so():
    """Bytes on a tape to the byte; operations of function and gradient below their bound, and not far."""
    from bench.autodiff import of_gradients, of_tape

    assert [r["ratio"] for r in of_tape()] == [1.0] * 7
    assert all(r["measured"] <= r["predicted"] for r in of_gradients())


def test_symbols_may_be_bytes():
    """PyTorch takes a uint8 index for a mask."""
    table, ids = torch.arange(6.0).double().reshape(2, 3), torch.tensor([1, 0])
    g = torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=torch.float64)
    bytes_, wide = (autodiff.tied_gradient(table, i, g) for i in (ids.to(torch.uint8), ids))
    assert torch.equal(bytes_, wide)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: gradient(lambda x: x * 2, x), "f: expected one number"),
        (lambda x: vjp(lambda x: x * 2, x)[1](torch.ones(7)), "cotangent: expected the shape"),
        (lambda x: gradient(lambda x: total(x + torch.ones(7)), x), "add: expected shapes that broadcast"),
        (lambda x: gradient(lambda x: total(x @ torch.ones(7, 2)), x), "matmul: expected shapes"),
        (lambda x: gradient(lambda x: total(x, 5), x), "total: expected axes from -2 to 1"),
        (lambda x: gradient(lambda x: total(reshape(x, (5, -1))), x), "reshape: expected sizes of 6 entries"),
        (lambda x: gradient(lambda x: total(x[:, 9]), x), "index: expected one for shape"),
        (lambda x: jvp(lambda x: x, [x], [torch.ones(1)]), "vs: expected the shapes"),
        (lambda x: autodiff.tied_gradient(x, [0], x[:1]), "ids: expected a tensor, received list"),
        (lambda x: autodiff.mlp_gradients(x, x.T, x[:, 0], x, x[0], x[0, 0].long()), "target: expected axes B"),
        (lambda x: autodiff.log_sum_exp_hessian_vector(x, x > 0), "v: expected a floating-point tensor"),
        (lambda x: autodiff.derivative(x, "gamma"), "function: expected one of"),
        (lambda x: autodiff.jacobian(lambda x: x, x[0], "sideways"), "mode: expected forward or reverse"),
        (lambda x: autodiff.nested_slope(x, "up"), "outer: expected forward or reverse"),
        (lambda x: autodiff.arithmetic_pullback(x, x, x, "mod"), "operation: expected one of"),
        (lambda x: check_gradient(lambda x: total(x), x, step=0.0), "step: expected a number above 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        wrong(torch.ones(2, 3, dtype=torch.float64))


def test_what_does_not_depend_has_gradient_zero():
    x = torch.ones(2, 3)
    assert not gradient(lambda x: torch.tensor(3.0), x)[0].any()
    assert not jvp(lambda x: torch.tensor(3.0), [x], [x])[1].any()
    assert not gradient(lambda x, y: total(y), x, x)[0].any()


def test_not_a_number_stays_one():
    x = torch.tensor([1.0, math.nan])
    for function in ("exp", "log", "sin", "cos", "tanh", "sqrt", "square", "reciprocal", "sigmoid", "wave"):
        assert autodiff.derivative(x, function).isnan().tolist() == [False, True]


def test_expand_is_undone_by_sums():
    x = torch.ones(3, 1)
    (found,) = gradient(lambda x: total(expand(x, (2, 3, 4))), x)
    assert found.shape == x.shape and (found == 8).all()
    assert autodiff_linear.common("add", (3, 1), (4,), ()) == (3, 4)
