"""The gradient check itself: it passes true derivatives to second order and sees each kind of wrong one."""

import jax.numpy as jnp
import pytest
import torch

from verify.gradients import gradients

X = {"x": torch.tensor([0.5, -1.25, 2.0], dtype=torch.float64), "power": 3}


def cube(x, power):
    return x**power


def twin(x, power):
    return jnp.exp(power * jnp.log(jnp.abs(x))) * jnp.sign(x)


class WrongBackward(torch.autograd.Function):
    """The cube, with twice its derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, c):
        (x,) = ctx.saved_tensors
        return c * 6 * x**2


class ConstantSecond(torch.autograd.Function):
    """The cube, whose derivative is right but is itself taken for a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, c):
        (x,) = ctx.saved_tensors
        return c * (3 * x**2).detach()


def failing(f):
    return {name for name, found in gradients(f, twin, X, ["x"]).items() if found.excess > 1}


def test_the_truth_passes_all_four():
    assert failing(cube) == set()
    assert len(gradients(cube, twin, X, ["x"])) == 4


def test_a_wrong_backward_is_seen_without_the_twin():
    found = failing(lambda x, power: WrongBackward.apply(x))
    assert {"x, first order, twin", "x, first order, differences"} <= found


def test_a_wrong_second_derivative_is_seen():
    found = failing(lambda x, power: ConstantSecond.apply(x))
    assert found == {"x, second order, twin", "x, second order, differences"}


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 - 1e-9])
def test_small_errors_are_seen_by_the_twin(factor):
    assert "x, first order, twin" in failing(lambda x, power: factor * x**power)
