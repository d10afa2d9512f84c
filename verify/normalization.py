"""Laws of the normalizations of a row by its deviation and by its root mean square; those of a batch stand beside."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from verify import normalization_batch
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

SHAPES = [(2, 1), (3, 2), (5,), (2, 3), (2, 4, 5), (3, 8)]  # the last axis is D
ROWS = {  # offset, and scale of quarters
    "ordinary": (0, 1.0),
    "far from zero": (1000, 1.0),
    "one of them constant": (0, 1.0),
    "of a variance near ε": (1, 2.0**-4),
    "tiny": (0, 2.0**-6),
}


@st.composite
def rows(draw, default: float, biased: bool):
    """Rows whose variance is large, small or none beside ε, with weights that differ from one.

    With the default ε every row has an entry that sticks out: at a constant row the result turns within √ε, and no
    difference quotient could follow its gradient.
    """
    shape, kind = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(list(ROWS)))
    offset, scale = ROWS[kind]
    x = offset + draw(tensor(*shape, scale=scale))
    vectors = {"weight": draw(tensor(shape[-1]))} | ({"bias": draw(tensor(shape[-1]))} if biased else {})
    eps = draw(st.sampled_from([default, 0.5] if kind in ("ordinary", "far from zero") else [0.5, 2.0**-6, 2.0**-8]))
    if eps == default:
        x[..., 0] = offset + 5
    if kind == "one of them constant":
        x.view(-1, shape[-1])[-1] = 3.0
    return {"x": x, **vectors, "eps": eps}


def variance(x):
    """Half the mean square of all differences within a row: no mean is taken."""
    return (x.unsqueeze(-1) - x.unsqueeze(-2)).square().mean((-1, -2)) / 2


def row(*entries):
    return torch.tensor([entries], dtype=torch.float64)


def rows_have_mean_zero(layer_norm, x, weight, bias, eps):
    """Before weight and bias a row has mean zero."""
    close(layer_norm(x, eps=eps).mean(-1), torch.zeros(x.shape[:-1]), scale=1)


def variance_falls_short_by_epsilon(layer_norm, x, weight, bias, eps):
    """Before weight and bias the mean square of a row is σ²/(σ² + ε)."""
    close(layer_norm(x, eps=eps).square().mean(-1), variance(x) / (variance(x) + eps))


def shift_changes_nothing(layer_norm, x, weight, bias, eps):
    """Adding one number to a whole row, however large, leaves the result."""
    close(layer_norm(x + 4096, eps=1.0), layer_norm(x, eps=1.0), scale=1)


def unit_does_not_matter(norm, x, **others):
    """x in another unit, and ε in its square, give the same."""
    others["eps"] = 2.0**20 * (eps := others["eps"])
    close(norm(1024 * x, **others), norm(x, **others | {"eps": eps}), scale=1)


def weight_and_bias_come_last(layer_norm, x, weight, bias, eps):
    """The weight multiplies what is normalized, and the bias is added to that."""
    close(layer_norm(x, weight, bias, eps), layer_norm(x, eps=eps) * weight + bias, scale=1)


def constant_row_gives_the_bias(layer_norm, x, weight, bias, eps):
    """A row without variance is its mean, which is taken away."""
    close(layer_norm(torch.full_like(x, 3.0), weight, bias, eps), bias.expand_as(x))


def rows_do_not_mix(norm, x, **others):
    """What stands in other rows changes nothing."""
    close(norm(torch.stack([x, 3 - 2 * x]), **others)[0], norm(x, **others), scale=1)


def three_entries_by_hand(layer_norm, x, weight, bias, eps):
    """1, 2, 3 have variance 2/3; with ε = 1/3 they become −1, 0, 1."""
    close(layer_norm(row(1, 2, 3), eps=1 / 3), row(-1, 0, 1))


def default_of_layer_norm_by_hand(layer_norm, x, weight, bias, eps):
    """±2⁻⁸ has variance 2⁻¹⁶, to which 10⁻⁵ is added."""
    close(layer_norm(row(-(2.0**-8), 2.0**-8)), row(-1, 1) * 2.0**-8 / (2.0**-16 + 1e-5) ** 0.5)


def nothing_by_nothing_is_undefined(norm, x, **others):
    """Without ε a row of nothing to normalize is 0/0."""
    assert norm(torch.zeros_like(x), eps=0.0).isnan().all(), "zero divided by zero is a number"


def mean_square_falls_short_by_epsilon(rms_norm, x, weight, eps):
    """Before the weight the mean square of a row is m/(m + ε), m being that of x."""
    m = x.square().sum(-1) / x.shape[-1]
    close(rms_norm(x, eps=eps).square().sum(-1) / x.shape[-1], m / (m + eps))


def direction_is_kept(rms_norm, x, weight, eps):
    """Before the weight the result is a positive multiple of x."""
    y = rms_norm(x, eps=eps)
    close(y * x.norm(dim=-1, keepdim=True), x * y.norm(dim=-1, keepdim=True))


def weight_comes_last(rms_norm, x, weight, eps):
    """The weight multiplies what is normalized."""
    close(rms_norm(x, weight, eps), rms_norm(x, eps=eps) * weight, scale=1)


def one_and_seven_by_hand(rms_norm, x, weight, eps):
    """1 and 7 have mean square 25; with ε = 11 they are divided by 6."""
    close(rms_norm(row(1, 7), eps=11.0), row(1, 7) / 6)


def default_of_rms_norm_by_hand(rms_norm, x, weight, eps):
    """2⁻¹⁰ has the square 2⁻²⁰, to which 10⁻⁶ is added."""
    close(rms_norm(row(2.0**-10)), row(2.0**-10 / (2.0**-20 + 1e-6) ** 0.5))


def weight_around_zero(norm, x, weight=None, *bias, **options):
    """The stored weight is what is added to one."""
    return norm(x, None if weight is None else 1 + weight, *bias, **options)


OPERATIONS = [
    Operation(
        "normalization.layer_norm",
        inputs=rows(1e-5, biased=True),
        laws=[
            rows_have_mean_zero,
            variance_falls_short_by_epsilon,
            shift_changes_nothing,
            unit_does_not_matter,
            weight_and_bias_come_last,
            constant_row_gives_the_bias,
            rows_do_not_mix,
            three_entries_by_hand,
            default_of_layer_norm_by_hand,
            nothing_by_nothing_is_undefined,
        ],
        gradients=("x", "weight", "bias"),
        conventions={"the weight is stored around zero: x̂(1 + w) + b": weight_around_zero},
        unit=1,
    ),
    Operation(
        "normalization.rms_norm",
        inputs=rows(1e-6, biased=False),
        laws=[
            mean_square_falls_short_by_epsilon,
            direction_is_kept,
            unit_does_not_matter,
            weight_comes_last,
            rows_do_not_mix,
            one_and_seven_by_hand,
            default_of_rms_norm_by_hand,
            nothing_by_nothing_is_undefined,
        ],
        gradients=("x", "weight"),
        conventions={"the weight is stored around zero: x̂(1 + w)": weight_around_zero},
        unit=1,
    ),
    *normalization_batch.OPERATIONS,
]
