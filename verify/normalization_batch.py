"""Laws of the normalization of a column by its statistics over a batch, and of the statistics that it keeps."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

SHAPES = [(3, 2), (2, 1), (5, 3)]  # N D
COLUMNS = {  # offset, scale of quarters, ε, and momentum: each new combination is compiled anew
    "ordinary": (0, 1.0, 1e-5, 0.1),
    "far from zero": (1000, 1.0, 0.5, 0.25),
    "near ε, one of them constant": (1, 2.0**-4, 2.0**-6, 1.0),
}


@st.composite
def batches(draw):
    """Columns whose variance is large, small or none beside ε, in training and after it.

    With the default ε every column has an entry that sticks out: see `rows` in verify/normalization.py.
    """
    (N, D), (offset, scale, eps, momentum) = (draw(st.sampled_from(list(c))) for c in (SHAPES, COLUMNS.values()))
    x = offset + draw(tensor(N, D, scale=scale))
    if eps == 1e-5:
        x[0] = offset + 5
    elif scale < 1:
        x[:, -1] = 3.0
    running = {"running_mean": offset + draw(tensor(D)), "running_var": draw(tensor(D, low=4))}
    # not zero, and in training first: then the simplest example, which is always differentiated, has every gradient
    affine = {name: draw(tensor(D)) + 0.125 for name in ("weight", "bias")}
    return {
        "x": x,
        **running,
        **affine,
        "training": draw(st.sampled_from([True, False])),
        "momentum": momentum,
        "eps": eps,
    }


def pairs(x):
    """The sum of (x_r − x_s)² over all pairs of rows, each taken twice: no mean is taken."""
    return (x[:, None] - x[None]).square().sum((0, 1))


def of_batch(batch_norm, x, momentum, eps, **others):
    """The result in training, without weight and bias, from statistics that are zero."""
    zero = torch.zeros(x.shape[1], dtype=x.dtype)
    return batch_norm(x, zero, zero, training=True, momentum=momentum, eps=eps)


def columns_have_mean_zero_in_training(batch_norm, **inputs):
    """In training, before weight and bias, a column has mean zero."""
    y, _, _ = of_batch(batch_norm, **inputs)
    close(y.mean(0), torch.zeros(y.shape[1]), scale=1)


def variance_falls_short_by_epsilon(batch_norm, x, eps, **others):
    """In training, before weight and bias, the mean square of a column is v/(v + ε), v with the divisor N."""
    v = pairs(x) / (2 * len(x) ** 2)
    close(of_batch(batch_norm, x, eps=eps, **others)[0].square().mean(0), v / (v + eps))


def running_statistics_serve_after_training(
    batch_norm, x, running_mean, running_var, weight, bias, training, momentum, eps
):
    """After training a running mean of zero and a running variance of one leave x/√(1 + ε)."""
    zero, one = torch.zeros_like(running_mean), torch.ones_like(running_var)
    close(batch_norm(x, zero, one, training=False, momentum=momentum, eps=eps)[0] * (1 + eps) ** 0.5, x)


def rows_do_not_see_each_other_after_training(batch_norm, x, training, **others):
    """After training a row stays what it is, whatever stands in the rows beside it."""
    changed = torch.cat([x[:1], 3 - 2 * x[1:]])
    whole, other = (batch_norm(rows, training=False, **others)[0] for rows in (x, changed))
    close(other[0], whole[0], scale=1)


def statistics_rest_after_training(batch_norm, x, running_mean, running_var, training, **others):
    """After training the running statistics stay what they are."""
    _, mean, variance = batch_norm(x, running_mean, running_var, training=False, **others)
    close(mean, running_mean)
    close(variance, running_var)


def old_statistics_fade(batch_norm, x, running_mean, running_var, weight, bias, training, momentum, eps):
    """In training what the running statistics were keeps the weight 1 − m."""
    options = {"training": True, "momentum": momentum, "eps": eps}
    moved = batch_norm(x, running_mean, running_var, **options)[1:]
    fresh = of_batch(batch_norm, x, momentum, eps)[1:]
    for new, started, old in zip(moved, fresh, (running_mean, running_var), strict=True):
        close(new - started, (1 - momentum) * old, scale=float(new.abs().max()))


def the_new_counts_by_the_momentum(batch_norm, x, momentum, **others):
    """In training, from zero, the running mean becomes m times the mean, the variance m times that of divisor N − 1."""
    _, mean, variance = of_batch(batch_norm, x, momentum, **others)
    close(mean, momentum * x.mean(0))
    close(variance, momentum * pairs(x) / (2 * len(x) * (len(x) - 1)))


def columns_do_not_mix(batch_norm, x, **others):
    """What stands in other columns changes nothing."""
    changed = torch.cat([x[:, :1], 3 - 2 * x[:, 1:]], 1)
    for ours, theirs in zip(batch_norm(x, **others), batch_norm(changed, **others), strict=True):
        close(ours[..., :1], theirs[..., :1], scale=1)


def weight_and_bias_come_last(batch_norm, x, running_mean, running_var, weight, bias, **others):
    """The weight multiplies what is normalized, and the bias is added to that."""
    plain, _, _ = batch_norm(x, running_mean, running_var, **others)
    close(batch_norm(x, running_mean, running_var, weight, bias, **others)[0], plain * weight + bias, scale=1)


def constant_columns_give_the_bias(batch_norm, x, training, **others):
    """In training a column without variance is its mean, which is taken away."""
    y, _, _ = batch_norm(torch.full_like(x, 3.0), training=True, **others)
    close(y, others["bias"].expand_as(x))


def one_and_three_by_hand(batch_norm, x, **others):
    """1 and 3 have mean 2 and variance 1, but 2 with the divisor one: ε = 3 makes them ∓1/2, and a quarter is new."""
    column, old_mean, old_variance = (torch.tensor(v, dtype=torch.float64) for v in ([[1.0], [3.0]], [8.0], [4.0]))
    y, mean, variance = batch_norm(column, old_mean, old_variance, training=True, momentum=0.25, eps=3.0)
    close(y, torch.tensor([[-0.5], [0.5]], dtype=torch.float64))
    close(mean, torch.tensor([6.5], dtype=torch.float64))
    close(variance, torch.tensor([3.5], dtype=torch.float64))


def defaults_by_hand(batch_norm, x, **others):
    """Unless told otherwise it is not in training and adds 10⁻⁵; in training a tenth is new."""
    column, zero = torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    close(batch_norm(column, zero, zero + 2.0**-16)[0], column / (2.0**-16 + 1e-5) ** 0.5)
    close(batch_norm(column, zero, zero, training=True)[1], zero + 0.2)


def nothing_by_nothing_is_undefined(batch_norm, x, training, eps, **others):
    """Without ε a constant column is 0/0."""
    assert batch_norm(torch.zeros_like(x), training=True, eps=0.0, **others)[0].isnan().all(), "0/0 is a number"


OPERATIONS = [
    Operation(
        "normalization.batch_norm",
        inputs=batches(),
        laws=[
            columns_have_mean_zero_in_training,
            variance_falls_short_by_epsilon,
            running_statistics_serve_after_training,
            rows_do_not_see_each_other_after_training,
            statistics_rest_after_training,
            old_statistics_fade,
            the_new_counts_by_the_momentum,
            columns_do_not_mix,
            weight_and_bias_come_last,
            constant_columns_give_the_bias,
            one_and_three_by_hand,
            defaults_by_hand,
            nothing_by_nothing_is_undefined,
        ],
        gradients=("x", "weight", "bias"),
        unit=1,
    ),
]
