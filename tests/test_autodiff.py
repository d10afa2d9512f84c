"""Nested differentiation, both modes, graphs as text, and what is wrong is told."""

import math
import re

import pytest
import torch

from reference import autodiff, autodiff_linear, autodiff_rules
from reference.autodiff import check_gradient, gradient, jacobian
from reference.autodiff_dual import jvp
from reference.autodiff_linear import expand, reshape, total
from reference.autodiff_rules import exp, largest, relu, sin
from reference.autodiff_tape import graph, vjp


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


def test_the_graph_is_text_for_graphviz():
    text = graph(lambda x, w: total(relu(x @ w) * 2), torch.ones(3, 4), torch.ones(4, 5))
    lines = text.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}"
    nodes = dict(re.findall(r'^  (n\d+) \[label="([^"]*)", shape=(?:box|ellipse)\]$', text, re.M))
    edges = re.findall(r"^  (n\d+) -> (n\d+)$", text, re.M)
    assert len(lines) == 3 + len(nodes) + len(edges)
    assert list(nodes.values()) == ["input 3×4", "input 4×5", "matmul 3×5", "relu 3×5", "mul 3×5", "total"]
    assert edges == [("n0", "n2"), ("n1", "n2"), ("n2", "n3"), ("n3", "n4"), ("n4", "n5")]


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


@pytest.mark.parametrize("x", [-200.0, 200.0])
def test_far_out_a_sigmoid_is_flat_and_not_nan(x):
    """In float32 e²⁰⁰ is infinite: neither the value nor its slopes may pass by it."""
    for modes in (("forward", "forward"), ("forward", "reverse"), ("reverse", "forward"), ("reverse", "reverse")):
        assert autodiff.second_derivative(torch.tensor([x]), "sigmoid", *modes).item() == 0
    assert autodiff.derivative(torch.tensor([x]), "sigmoid").item() == 0
