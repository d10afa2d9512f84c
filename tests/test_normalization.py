"""Batch normalization beside PyTorch's: in training and after it, images, NaN, bad input, and what has no gradient."""

import math

import pytest
import torch
from torch.nn.functional import batch_norm as theirs

from reference.normalization import batch_norm
from verify.gradients import gradients

F = torch.float64


def batch(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x, mean, weight, bias = (
        torch.randn(*s, generator=draw, dtype=F) for s in (shape, shape[1:2], shape[1:2], shape[1:2])
    )
    return x, mean, torch.rand(shape[1], generator=draw, dtype=F) + 0.1, weight, bias


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_pytorchs(training):
    x, mean, variance, weight, bias = batch(5, 3)
    kept = mean.clone(), variance.clone()
    y = theirs(x, *kept, weight, bias, training, 0.3, 1e-3)
    torch.testing.assert_close(batch_norm(x, mean, variance, weight, bias, training, 0.3, 1e-3), (y, *kept))


def test_pixels_are_rows():
    x, mean, variance, weight, bias = batch(2, 3, 4, 5)
    y, *kept = batch_norm(x.movedim(1, -1).reshape(-1, 3), mean, variance, weight, bias, training=True)
    y_theirs = theirs(x, mean, variance, weight, bias, training=True)
    torch.testing.assert_close(y.reshape(2, 4, 5, 3).movedim(-1, 1), y_theirs)
    torch.testing.assert_close(kept, [mean, variance])


def test_after_many_batches_the_running_statistics_are_those_of_the_source():
    """E[running variance] is the variance itself: with the divisor N it would be (N − 1)/N of it, here a half."""
    draw, mean, variance = torch.Generator().manual_seed(0), torch.zeros(400, dtype=F), torch.ones(400, dtype=F)
    for _ in range(400):
        x = 3 + 2 * torch.randn(2, 400, generator=draw, dtype=F)
        _, mean, variance = batch_norm(x, mean, variance, training=True, momentum=0.05)
    assert float(mean.mean()) == pytest.approx(3, rel=0.02)
    assert float(variance.mean()) == pytest.approx(4, rel=0.05)


def test_the_running_statistics_pass_no_gradient_on():
    x, mean, variance, weight, bias = batch(4, 3)
    y, *kept = batch_norm(x.requires_grad_(), mean, variance, weight, bias, training=True)
    assert y.requires_grad and not any(s.requires_grad for s in kept)


def test_of_several_results_the_first_is_differentiated():
    from verify.twin.normalization import batch_norm as twin

    x, mean, variance, weight, bias = batch(4, 3)
    given = {"x": x, "running_mean": mean, "running_var": variance, "weight": weight, "bias": bias, "training": True}
    for found in gradients(batch_norm, twin, given, ("x", "weight"), unit=1).values():
        assert found.relative <= found.allowed
    wrong = gradients(lambda x, **o: (2 * batch_norm(x, **o)[0], mean, variance), twin, given, ("x",), unit=1)
    assert any(found.relative > found.allowed for found in wrong.values())


def test_nan_stays_in_its_column():
    x, mean, variance, weight, bias = batch(4, 3)
    x[2, 1] = math.nan
    for result in batch_norm(x, mean, variance, weight, bias, training=True):
        assert torch.equal(result.isnan(), torch.tensor([False, True, False]).expand_as(result))


V = torch.ones(3)
BAD = {
    "one row": (lambda: batch_norm(torch.ones(1, 3), V, V, training=True), "two rows or more to train on"),
    "an image": (lambda: batch_norm(torch.ones(2, 3, 4, 4), V, V), "axes N D"),
    "no statistics": (lambda: batch_norm(torch.ones(2, 3), None, V), "running_mean: expected a tensor"),
    "another width": (lambda: batch_norm(torch.ones(2, 4), V, V), "axis D: expected one size, 4, received 3"),
    "momentum": (lambda: batch_norm(torch.ones(2, 3), V, V, momentum=1.5), "momentum: expected a number from 0 to 1"),
    "epsilon": (lambda: batch_norm(torch.ones(2, 3), V, V, eps=-1.0), "eps: expected a number from 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
