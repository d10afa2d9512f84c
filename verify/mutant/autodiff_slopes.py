"""Mistakes in slopes: what a function multiplies by, forward as well as back."""

from __future__ import annotations

from unittest.mock import patch

import torch

from reference.autodiff import FUNCTIONS, derivative, second_derivative
from reference.autodiff_number import differentiable, plain
from reference.autodiff_rules import power, scaled, sin
from verify.mistake import mistake

NOWHERE = "no public report found"


def with_rule(function, rule, x):
    """The slope by dual numbers when the named function has another rule."""
    with patch.dict(FUNCTIONS, {function: rule}):
        return derivative(x, function)


@differentiable(torch.tanh)
def tanh_of_input(y, x):
    return (scaled(lambda: 1 - x * x),)


@differentiable(torch.exp)
def exp_like_a_power(y, x):
    return (scaled(lambda: x * y),)


@differentiable(torch.cos)
def cos_rising(y, x):
    return (scaled(lambda: sin(x)),)


@differentiable(torch.sqrt)
def sqrt_without_half(y, x):
    return (scaled(lambda: 1 / y),)


@differentiable(torch.log)
def log_of_output(y, x):
    return (scaled(lambda: 1 / y),)


@differentiable(torch.relu)
def relu_like_its_value(y, x):
    return (scaled(lambda: y),)


@differentiable(lambda x, exponent: x**exponent)
def power_not_lowered(y, x, *, exponent):
    return (scaled(lambda: exponent * power(x, exponent)),)


@differentiable(lambda x, exponent: x**exponent)
def power_of_zero(y, x, *, exponent):
    return (scaled(lambda: exponent * x ** (exponent - 1.0)),)


@mistake(
    "autodiff.derivative",
    id="tanh-slope-of-input",
    seen="microsoft/knossos-ksc PR#505; apache/tvm PR#7340",
    fix="the slope of tanh is 1 − y², y the result",
)
def tanh_squares_its_input(x, function="tanh"):
    """1 − x² for 1 − tanh² x."""
    return with_rule(function, tanh_of_input, x) if function == "tanh" else derivative(x, function)


@mistake("autodiff.derivative", id="exp-slope-power-rule", seen=NOWHERE, fix="e^x is its own slope")
def exponential_as_a_power(x, function="tanh"):
    """x eˣ, the power rule where the exponent moves."""
    return with_rule(function, exp_like_a_power, x) if function == "exp" else derivative(x, function)


@mistake("autodiff.derivative", id="cos-slope-sign", seen=NOWHERE, fix="the slope of cos is −sin")
def cosine_rises(x, function="tanh"):
    """The sign of the slope of the cosine."""
    return with_rule(function, cos_rising, x) if function == "cos" else derivative(x, function)


@mistake("autodiff.derivative", id="sqrt-slope-no-half", seen=NOWHERE, fix="the slope of √x is 1/(2√x)")
def root_without_a_half(x, function="tanh"):
    """1/√x."""
    return with_rule(function, sqrt_without_half, x) if function == "sqrt" else derivative(x, function)


@mistake("autodiff.derivative", id="log-slope-of-output", seen=NOWHERE, fix="1/x needs the input: keep it")
def logarithm_of_its_result(x, function="tanh"):
    """1/log x: the rule reads the result where it needs the input."""
    return with_rule(function, log_of_output, x) if function == "log" else derivative(x, function)


@mistake("autodiff.derivative", id="relu-slope-value", seen=NOWHERE, fix="the slope of relu is 1 where x > 0")
def relu_times_its_value(x, function="tanh"):
    """The result for the mask."""
    return with_rule(function, relu_like_its_value, x) if function == "relu" else derivative(x, function)


@mistake("autodiff.derivative", id="power-not-lowered", seen=NOWHERE, fix="the slope of xᵖ is p xᵖ⁻¹")
def exponent_stays(x, function="tanh"):
    """p xᵖ."""
    return (
        with_rule(function, lambda x: power_not_lowered(x, 2), x) if function == "square" else derivative(x, function)
    )


@mistake(
    "autodiff.derivative",
    id="pow-zero-nan",
    seen="pytorch/pytorch #8940; HIPS/autograd #116",
    fix="x⁰ is constant: give slope zero when the exponent is zero",
)
def zero_to_the_minus_one(x, function="tanh"):
    """0 · x⁻¹ is not a number at zero."""
    return with_rule(function, lambda x: power_of_zero(x, 0), x) if function == "one" else derivative(x, function)


@mistake("autodiff.derivative", id="chain-rule-dropped", seen=NOWHERE, fix="multiply by the slope of what is inside")
def inner_slope_forgotten(x, function="tanh"):
    """cos x² − 1 for 2x cos x² − 1."""
    return torch.cos(x * x) - 1 if function == "wave" else derivative(x, function)


@mistake(
    "autodiff.derivative",
    id="quotient-slope-sign",
    seen="apache/singa PR#484 (review); apache/tvm PR#1512",
    fix="by its divisor a quotient has the slope −a/b²",
)
def divisor_pushes_up(x, function="tanh"):
    """The sign of a quotient's slope by its divisor."""
    return -derivative(x, function) if function in ("reciprocal", "sigmoid") else derivative(x, function)


@mistake("autodiff.derivative", id="dual-one-tangent-for-all", seen=NOWHERE, fix="a tangent for every entry")
def one_tangent_for_all(x, function="tanh"):
    """The slope at the mean of all entries."""
    return derivative(x.mean(), function).expand_as(x)


@differentiable(torch.tanh)
def tanh_with_a_constant_slope(y, x):
    return (scaled(lambda: 1 - plain(y) * plain(y)),)


@mistake(
    "autodiff.second_derivative", id="tanh-slope-detached", seen=NOWHERE, fix="write rules in differentiable operations"
)
def slope_is_taken_for_a_constant(x, function="tanh", outer="forward", inner="forward"):
    """The slope of tanh is computed from plain numbers, so that it does not move."""
    with patch.dict(FUNCTIONS, tanh=tanh_with_a_constant_slope):
        return second_derivative(x, function, outer, inner)


@mistake("autodiff.second_derivative", id="second-without-a-graph", seen=NOWHERE, fix="record the sweep back as well")
def sweep_is_not_recorded(x, function="tanh", outer="forward", inner="forward"):
    """What a sweep back computes is no part of the graph: its slope is zero."""
    return second_derivative(x, function, outer, inner) * (inner == "forward")


@mistake(
    "autodiff.second_derivative", id="second-of-constants", seen=NOWHERE, fix="what does not depend on x has slope zero"
)
def constants_have_a_slope(x, function="tanh", outer="forward", inner="forward"):
    """A result in which x does not occur gives x back, not zeros."""
    return x if function == "relu" and outer == "reverse" else second_derivative(x, function, outer, inner)


@mistake("autodiff.second_derivative", id="second-of-the-sum", seen=NOWHERE, fix="every entry by itself")
def rows_of_a_hessian_are_added(x, function="tanh", outer="forward", inner="forward"):
    """Every entry gets the mean over all."""
    return second_derivative(x, function, outer, inner).mean().expand_as(x)
