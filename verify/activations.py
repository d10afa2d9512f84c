"""Laws of the activation functions and of the gate made of one of them."""

from __future__ import annotations

import math

import torch

from verify import activations_gates as gates
from verify.activations_inputs import (
    BY_TANH,
    ENDS,
    FAR,
    LN3,
    both_sides_differ_by_x,
    far_away_it_is_relu,
    numbers,
    off_the_kink,
    row,
    sigmoid_by_tanh,
)
from verify.compare import GAP, close
from verify.suite import Operation


def not_a_number_stays(f, x, **options):
    """What is not a number is not made one."""
    assert f(torch.full_like(x, math.nan), **options).isnan().all(), "NaN became a number"


def unit_does_not_matter(relu, x):
    """x in another unit gives the result in that unit."""
    close(relu(1024 * x), 1024 * relu(x))


def twice_is_once(relu, x):
    """What has been rectified is left alone."""
    close(relu(relu(x)), relu(x))


def negative_numbers_vanish(relu, x):
    """Nothing passes on the left of zero."""
    assert not relu(-x.abs()).any(), "something passes below zero"


def infinities_are_numbers_to_relu(relu, x):
    """−∞ gives 0 and +∞ gives +∞."""
    close(relu(ENDS), ENDS.clamp(min=0))


def at_zero_it_is_level(relu, x):
    """Of the slopes 0 and 1, between which it turns at zero, it has the left one there; the twin has no slope here."""
    zero = torch.zeros_like(x).requires_grad_()
    y = relu(zero)
    if y.requires_grad:
        assert not torch.autograd.grad(y.sum(), zero)[0].any(), "the slope at zero is not 0"


def sides_sum_to_one(sigmoid, x):
    """The probabilities of yes and of no."""
    close(sigmoid(x) + sigmoid(-x), torch.ones_like(x))


def three_to_one_by_hand(sigmoid, x):
    """Log-odds of ln 3, 0 and −ln 3 are probabilities 3/4, 1/2, 1/4."""
    close(sigmoid(row(LN3, 0.0, -LN3)), row(0.75, 0.5, 0.25))


def odds_are_exponential(sigmoid, x):
    """σ(x) = e^x σ(−x)."""
    x = x.clamp(-4, 4)
    close(sigmoid(x), x.exp() * sigmoid(-x))


def settles_at_zero_and_one(sigmoid, x):
    """Far away, and at the infinities, it is certain."""
    close(sigmoid(FAR), torch.tensor([0, 1]))
    close(sigmoid(ENDS), torch.tensor([0, 1]))


def four_by_hand(softplus, x):
    """The exponentials of ln 3, 0 and −ln 3, increased by one, are 4, 2 and 4/3."""
    close(softplus(row(LN3, 0.0, -LN3)), row(math.log(4), math.log(2), math.log(4 / 3)))


def tails_are_exponential(softplus, x):
    """Far below zero it is e^x, and at 20.5 still e^(−x) more than x: neither is rounded away."""
    close(softplus(row(-40.0)), row(math.exp(-40)))
    close(softplus(row(20.5)), row(20.5 + math.exp(-20.5)))


def stays_near_relu(softplus, x):
    """It lies above relu, by ln 2 at most."""
    above = softplus(x) - x.clamp(min=0)
    slack = GAP * (1 + x.abs())
    assert (above >= -slack).all() and (above <= math.log(2) + slack).all(), (
        f"not between relu and relu + ln 2: {above}"
    )


def infinities_are_numbers_to_softplus(softplus, x):
    """−∞ gives 0 and +∞ gives +∞."""
    close(softplus(ENDS), ENDS.clamp(min=0))


def three_quarters_of_ln_three(silu, x):
    """At ±ln 3 three quarters and one quarter pass."""
    close(silu(row(LN3, 0.0, -LN3)), row(0.75 * LN3, 0.0, -0.25 * LN3))


def least_value_by_hand(silu, x):
    """At its minimum silu equals x + 1: there σ + xσ(1 − σ) = 0, so x(1 − σ) = −1."""
    close(silu(row(-1.2784645427610738)), row(-0.2784645427610738))
    assert (silu(x) >= -0.2784645427610738 - GAP).all(), "below its minimum"


def values_by_hand(gelu, x, approximate):
    """½x(1 + erf(x/√2)) or ½x(1 + tanh(√(2/π)(x + 0.044715x³))), by Python's own functions."""
    at = (-3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.7)
    exact = {
        "none": lambda t: t * (1 + math.erf(t / math.sqrt(2))) / 2,
        "tanh": lambda t: t * (1 + math.tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t**3))) / 2,
    }
    close(gelu(row(*at), approximate=approximate), row(*map(exact[approximate], at)))


def forms_stay_near_each_other(gelu, x, approximate):
    """The two forms are nowhere 4.74·10⁻⁴ apart, and at 2.7 they are 4.73·10⁻⁴ apart."""
    both = [gelu(torch.cat([x.flatten(), row(2.7)[0]]), approximate=form) for form in ("tanh", "none")]
    apart = (both[0] - both[1]).abs()
    assert (apart <= 4.74e-4 + GAP * x.abs().max()).all(), f"the forms are {apart.max()} apart"
    assert apart[-1] >= 4.73e-4, f"at 2.7 the forms are only {apart[-1]} apart"


def linear_above_twenty(softplus, x):
    """softplus that is x itself above 20: 2·10⁻⁹ too low at most, which float32 cannot see."""
    return torch.where(x > 20, x, softplus(x))


OPERATIONS = [
    Operation(
        "activations.relu",
        inputs=off_the_kink(),
        laws=[
            both_sides_differ_by_x,
            unit_does_not_matter,
            twice_is_once,
            negative_numbers_vanish,
            infinities_are_numbers_to_relu,
            at_zero_it_is_level,
            not_a_number_stays,
        ],
        gradients=("x",),
    ),
    Operation(
        "activations.sigmoid",
        inputs=numbers(),
        laws=[
            sides_sum_to_one,
            three_to_one_by_hand,
            odds_are_exponential,
            settles_at_zero_and_one,
        ],
        gradients=("x",),
        conventions={BY_TANH: lambda _, x: sigmoid_by_tanh(x)},
        unit=1,
    ),
    Operation(
        "activations.softplus",
        inputs=numbers(),
        laws=[
            both_sides_differ_by_x,
            four_by_hand,
            tails_are_exponential,
            far_away_it_is_relu,
            stays_near_relu,
            infinities_are_numbers_to_softplus,
        ],
        gradients=("x",),
        conventions={"x itself above 20, as torch.nn.functional.softplus": linear_above_twenty},
        unit=1,
    ),
    Operation(
        "activations.silu",
        inputs=numbers(),
        laws=[both_sides_differ_by_x, three_quarters_of_ln_three, least_value_by_hand, far_away_it_is_relu],
        gradients=("x",),
        conventions={BY_TANH: lambda _, x: x * sigmoid_by_tanh(x)},
        unit=1,
    ),
    Operation(
        "activations.gelu",
        inputs=numbers(approximate=["none", "tanh"]),
        laws=[both_sides_differ_by_x, values_by_hand, forms_stay_near_each_other, far_away_it_is_relu],
        gradients=("x",),
        conventions={
            "approximate='tanh', the form with tanh": lambda gelu, **inputs: gelu(**inputs | {"approximate": "tanh"})
        },
        unit=1,
    ),
    *gates.OPERATIONS,
]
