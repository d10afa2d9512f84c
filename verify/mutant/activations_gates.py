"""Mistakes in silu and gelu, which let a share of x through, and in the gate swiglu; other forms are beside."""

from __future__ import annotations

import math

import torch

from reference.activations import gelu, sigmoid, silu, swiglu
from verify.mistake import mistake

NOWHERE = "no public report found"
ROOT = math.sqrt(2 / math.pi)


def with_slope(f, slope):
    """f with a backward pass by hand: the gradient of the result times slope(x)."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return f(x)

        @staticmethod
        def backward(ctx, g):
            return g * slope(*ctx.saved_tensors)

    return ByHand.apply


def density(x):
    """The density of the standard normal."""
    return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def with_tanh(x, inner):
    """½x(1 + tanh(inner))."""
    return x * (1 + torch.tanh(inner)) / 2


@mistake("activations.silu", id="silu-is-sigmoid", seen=NOWHERE, fix="multiply by x")
def gate_without_its_input(x):
    """σ(x)."""
    return sigmoid(x)


@mistake(
    "activations.silu",
    id="silu-nan-gradient",
    seen="trymirai/lalamo PR#328; mir-group/nequip PR#604",
    fix="x times a sigmoid that cannot overflow",
)
def gradient_of_an_overflow_in_silu(x):
    """x/(1 + exp(−x)): the value is right, its gradient is ∞ times 0 far below zero."""
    return x / (1 + torch.exp(-x))


@mistake("activations.silu", id="silu-hard", seen="ARM-software/ComputeLibrary #1164", fix="x·σ(x), not its chord")
def hard_swish(x):
    """The mobile variant x·min(max(x + 3, 0), 6)/6."""
    return x * (x + 3).clamp(0, 6) / 6


@mistake("activations.silu", id="silu-quick-gelu", seen=NOWHERE, fix="the argument of σ is x itself")
def sharpened_by_1_702(x):
    """x·σ(1.702x), which imitates GELU."""
    return x * sigmoid(1.702 * x)


@mistake("activations.silu", id="silu-sign", seen=NOWHERE, fix="σ(x), which opens to the right")
def gate_opens_to_the_left(x):
    """x·σ(−x)."""
    return x * sigmoid(-x)


@mistake(
    "activations.silu",
    id="silu-slope-parentheses",
    seen="chelsea0x3b/dfdx PR#915 (review)",
    fix="(1 + e + xe)/(1 + e)² with e = e^(−x): divide all of it",
)
def only_the_last_term_is_divided(x):
    """The hand-written backward is 1 + e + xe/(1 + e)²."""
    e = 1 / sigmoid(x.clamp(min=-30)).detach() - 1
    return with_slope(silu, lambda x: 1 + e + x * e / (1 + e) ** 2)(x)


@mistake("activations.silu", id="silu-slope-is-gate", seen=NOWHERE, fix="σ(x)(1 + x(1 − σ(x)))")
def gate_taken_for_a_constant(x):
    """The hand-written backward is σ(x): the product rule is left out."""
    return with_slope(silu, sigmoid)(x)


@mistake(
    "activations.gelu",
    id="gelu-erf-vs-tanh",
    seen="google/gemma_pytorch PR#37; huggingface/transformers PR#29402; OpenNMT/CTranslate2 #1658",
    fix="the form that the checkpoint was trained with",
)
def always_the_erf_form(x, approximate="none"):
    """The argument `approximate` is not used."""
    return gelu(x)


@mistake(
    "activations.gelu",
    id="gelu-missing-x",
    seen="tensorflow/tfjs PR#8224 (review)",
    fix="multiply by x",
)
def gate_alone(x, approximate="none"):
    """½(1 + tanh(…)): the factor x is missing."""
    return with_tanh(torch.ones_like(x), ROOT * (x + 0.044715 * x**3)) if approximate == "tanh" else gelu(x)


@mistake("activations.gelu", id="gelu-quick", seen=NOWHERE, fix="Φ, or the tanh form")
def sigmoid_for_phi(x, approximate="none"):
    """x·σ(1.702x), as CLIP has it, is up to 0.02 away."""
    return x * sigmoid(1.702 * x)


@mistake("activations.gelu", id="gelu-erf-unscaled", seen=NOWHERE, fix="erf(x/√2)")
def erf_of_x(x, approximate="none"):
    """½x(1 + erf x): the normal distribution of variance ½."""
    return x * (1 + torch.erf(x)) / 2 if approximate == "none" else gelu(x, approximate)


@mistake("activations.gelu", id="gelu-unhalved", seen=NOWHERE, fix="½x(1 + erf(x/√2))")
def twice_too_large(x, approximate="none"):
    """x(1 + erf(x/√2)): the half is missing."""
    return 2 * gelu(x, approximate)


@mistake("activations.gelu", id="gelu-root-inverted", seen="pytorch/pytorch #20464 (comment)", fix="√(2/π), not √(π/2)")
def root_upside_down(x, approximate="none"):
    """√(π/2) before the cubic."""
    return with_tanh(x, (x + 0.044715 * x**3) / ROOT) if approximate == "tanh" else gelu(x)


@mistake("activations.gelu", id="gelu-root-dropped", seen=NOWHERE, fix="multiply the cubic by √(2/π)")
def root_missing(x, approximate="none"):
    """tanh(x + 0.044715x³)."""
    return with_tanh(x, x + 0.044715 * x**3) if approximate == "tanh" else gelu(x)


@mistake("activations.gelu", id="gelu-constant-tenfold", seen=NOWHERE, fix="0.044715")
def digit_lost(x, approximate="none"):
    """0.44715 for 0.044715."""
    return with_tanh(x, ROOT * (x + 0.44715 * x**3)) if approximate == "tanh" else gelu(x)


@mistake("activations.gelu", id="gelu-cubic-outside", seen=NOWHERE, fix="√(2/π) multiplies the cubic term too")
def root_before_the_linear_term_only(x, approximate="none"):
    """√(2/π)x + 0.044715x³."""
    return with_tanh(x, ROOT * x + 0.044715 * x**3) if approximate == "tanh" else gelu(x)


@mistake("activations.gelu", id="gelu-square", seen=NOWHERE, fix="x³: the argument of tanh is odd")
def square_for_cube(x, approximate="none"):
    """0.044715x²."""
    return with_tanh(x, ROOT * (x + 0.044715 * x**2)) if approximate == "tanh" else gelu(x)


@mistake("activations.gelu", id="gelu-slope-is-gate", seen=NOWHERE, fix="Φ(x) + xφ(x)")
def gate_of_gelu_taken_for_a_constant(x, approximate="none"):
    """The hand-written backward is Φ(x): the density is left out."""
    phi = (1 + torch.erf(x.detach() / math.sqrt(2))) / 2
    return with_slope(gelu, lambda x: phi)(x) if approximate == "none" else gelu(x, approximate)


@mistake(
    "activations.gelu",
    id="gelu-slope-divides-by-x",
    seen="PaddlePaddle/Paddle PR#14857",
    fix="compute Φ(x) by itself",
)
def gate_by_division(x, approximate="none"):
    """The hand-written backward is gelu(x)/x + xφ(x), which is 0/0 at 0."""
    return with_slope(gelu, lambda x: gelu(x) / x + x * density(x))(x) if approximate == "none" else gelu(x, "tanh")


@mistake(
    "activations.swiglu",
    id="swiglu-swapped",
    seen="ml-explore/mlx-lm PR#767; ooples/AiDotNet.Tensors PR#46 (review)",
    fix="silu of the gate, times up",
)
def silu_of_the_other(gate, up):
    """silu(up)·gate."""
    return swiglu(up, gate)


@mistake(
    "activations.swiglu",
    id="swiglu-silu-of-product",
    seen="Nijikadesu/breakdown-minimind #3",
    fix="silu of the gate first, then the product",
)
def silu_after_the_product(gate, up):
    """silu(gate·up)."""
    return silu(gate * up)


@mistake(
    "activations.swiglu",
    id="swiglu-is-silu",
    seen="google-research/timesfm #493",
    fix="two projections: a gate and what it lets through",
)
def no_gate(gate, up):
    """silu of one projection."""
    return silu(gate)


@mistake("activations.swiglu", id="swiglu-glu", seen=NOWHERE, fix="silu(gate), which is gate·σ(gate)")
def gate_is_a_sigmoid(gate, up):
    """σ(gate)·up, the first gated unit."""
    return sigmoid(gate) * up


@mistake("activations.swiglu", id="swiglu-geglu", seen=NOWHERE, fix="silu, not GELU")
def gate_is_a_gelu(gate, up):
    """gelu(gate)·up, another member of the family."""
    return gelu(gate) * up


@mistake("activations.swiglu", id="swiglu-both", seen=NOWHERE, fix="up passes as it is")
def silu_of_both(gate, up):
    """silu(gate)·silu(up)."""
    return silu(gate) * silu(up)


@mistake("activations.swiglu", id="swiglu-sum", seen=NOWHERE, fix="multiply")
def gate_is_added(gate, up):
    """silu(gate) + up."""
    return silu(gate) + up


@mistake("activations.swiglu", id="swiglu-detached-gate", seen=NOWHERE, fix="both factors have a gradient")
def no_gradient_through_the_gate(gate, up):
    """The values are right, the gate is taken for a constant of differentiation."""
    return silu(gate).detach() * up
