"""Laws of quick GELU, of soft-capping, and of the gates made of SiLU and GELU."""

from __future__ import annotations

import math

import torch

from verify.activations_inputs import (
    BY_TANH,
    ENDS,
    FAR,
    LN3,
    both_sides_differ_by_x,
    far_away_it_is_relu,
    gates,
    numbers,
    row,
    sigmoid_by_tanh,
)
from verify.compare import GAP, close
from verify.suite import Operation


def three_and_a_half_by_hand(quick_gelu, x):
    """At x = ±ln 3/1.702 three quarters and one quarter pass."""
    third = LN3 / 1.702
    close(quick_gelu(row(third, 0.0, -third)), row(0.75 * third, 0.0, -0.25 * third))


def near_gelu_and_not_nearer(quick_gelu, x):
    """It is nowhere 0.0204 from GELU, and at 2.27 it is 0.0203 below it."""
    x = torch.cat([x.flatten(), row(2.27)[0]])
    apart = quick_gelu(x) - x * (1 + torch.erf(x / math.sqrt(2))) / 2
    assert (apart.abs() <= 0.0204 + GAP * x.abs().max()).all(), f"{apart.abs().max()} from GELU"
    assert apart[-1] <= -0.0203, f"at 2.27 it is {apart[-1]} from GELU"


def cap_is_never_passed(softcap, x, cap):
    """Between −cap and cap, and nearer to zero than x."""
    y = softcap(x, cap)
    assert (y.abs() <= cap * (1 + GAP)).all(), f"beyond {cap}: {y}"
    assert (y.abs() <= x.abs() * (1 + GAP)).all() and (y * x >= 0).all(), f"it outruns x: {y}"


def settles_at_the_cap(softcap, x, cap):
    """At ±1000 caps and at the infinities it is ±cap."""
    close(softcap(1000 * cap * torch.sign(FAR), cap), cap * torch.sign(FAR))
    close(softcap(ENDS, cap), cap * torch.sign(ENDS))


def small_numbers_stay(softcap, x, cap):
    """What is small beside the cap is left as it is, to third order."""
    small = cap * 2.0**-20 * row(1.0, -3.0, 5.0)
    close(softcap(small, cap), small)


def unit_of_the_cap_does_not_matter(softcap, x, cap):
    """x and cap in another unit give the result in that unit; of ±½ ln 3 caps it is ±½ cap."""
    close(softcap(8 * x, 8 * cap), 8 * softcap(x, cap))
    close(softcap(cap * row(LN3 / 2, 0.0, -LN3 / 2), cap), cap * row(0.5, 0.0, -0.5))


def what_passes_is_proportional(gated, gate, up, **options):
    """Twice as much to let through lets twice as much through."""
    close(gated(gate, 2 * up, **options), 2 * gated(gate, up, **options))


def closed_gate_lets_nothing_through(gated, gate, up, **options):
    """A gate of 0, or one far below it."""
    for closed in (0.0, -1000.0):
        close(gated(torch.full_like(gate, closed), up, **options), torch.zeros_like(up))


def open_gate_multiplies(gated, gate, up, **options):
    """A gate far above zero is a factor."""
    close(gated(torch.full_like(gate, 1000.0), up, **options), 1000 * up)


def gate_of_one_is_phi(geglu, gate, up, approximate):
    """A gate of 1 is the factor Φ(1) = 0.8413…, or ½(1 + tanh(√(2/π) 1.044715)), which is 0.00015 less."""
    factor = {
        "none": (1 + math.erf(math.sqrt(0.5))) / 2,
        "tanh": (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715)) / 2,
    }
    close(geglu(torch.ones_like(gate), up, approximate=approximate), factor[approximate] * up)


def gate_of_ln_three(swiglu, gate, up):
    """A gate of ln 3 is the factor ¾ ln 3."""
    close(swiglu(torch.full_like(gate, LN3), up), 0.75 * LN3 * up)


OPERATIONS = [
    Operation(
        "activations.quick_gelu",
        inputs=numbers(),
        laws=[both_sides_differ_by_x, three_and_a_half_by_hand, near_gelu_and_not_nearer, far_away_it_is_relu],
        gradients=("x",),
        conventions={BY_TANH: lambda _, x: x * sigmoid_by_tanh(1.702 * x)},
        unit=1,
    ),
    Operation(
        "activations.softcap",
        inputs=numbers(cap=[30.0, 0.5, 1.0]),
        laws=[cap_is_never_passed, settles_at_the_cap, small_numbers_stay, unit_of_the_cap_does_not_matter],
        gradients=("x",),
    ),
    Operation(
        "activations.geglu",
        inputs=gates(approximate=["none", "tanh"]),
        laws=[
            what_passes_is_proportional,
            closed_gate_lets_nothing_through,
            open_gate_multiplies,
            gate_of_one_is_phi,
        ],
        gradients=("gate", "up"),
        conventions={
            "approximate='tanh', the form with tanh": lambda geglu, **inputs: geglu(**inputs | {"approximate": "tanh"})
        },
        unit=1,
    ),
    Operation(
        "activations.swiglu",
        inputs=gates(),
        laws=[
            what_passes_is_proportional,
            closed_gate_lets_nothing_through,
            open_gate_multiplies,
            gate_of_ln_three,
        ],
        gradients=("gate", "up"),
        conventions={BY_TANH: lambda _, gate, up: gate * sigmoid_by_tanh(gate) * up},
        unit=1,
    ),
]
