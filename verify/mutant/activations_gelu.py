"""Mistakes in quick GELU, in the gate made of GELU, and in soft-capping."""

from __future__ import annotations

import torch

from reference.activations import geglu, gelu, quick_gelu, sigmoid, softcap, swiglu
from verify.mistake import mistake
from verify.mutant.activations_gates import with_slope

NOWHERE = "no public report found"


@mistake(
    "activations.quick_gelu",
    id="gelu-for-quick-gelu",
    seen="mlfoundations/open_clip #771; huggingface/pytorch-image-models #1754, #2031; "
    "mertyg/vision-language-models-are-bows #35; RAIVNLab/sugar-crepe #7",
    fix="the form that the checkpoint was trained with",
)
def gelu_itself(x):
    """xΦ(x), for a model trained with xσ(1.702x)."""
    return gelu(x)


@mistake("activations.quick_gelu", id="quick-gelu-rounded", seen=NOWHERE, fix="1.702")
def factor_rounded(x):
    """1.7 for 1.702."""
    return x * sigmoid(1.7 * x)


@mistake("activations.quick_gelu", id="quick-gelu-is-silu", seen=NOWHERE, fix="the argument of σ is 1.702x")
def silu_for_quick_gelu(x):
    """xσ(x)."""
    return x * sigmoid(x)


@mistake("activations.quick_gelu", id="quick-gelu-factor-outside", seen=NOWHERE, fix="1.702 belongs into σ alone")
def number_multiplied_too(x):
    """1.702x · σ(1.702x)."""
    return 1.702 * x * sigmoid(1.702 * x)


@mistake("activations.quick_gelu", id="gelu-missing-x", seen=NOWHERE, fix="multiply by x")
def gate_of_quick_gelu_alone(x):
    """σ(1.702x)."""
    return sigmoid(1.702 * x)


@mistake("activations.quick_gelu", id="quick-gelu-slope", seen=NOWHERE, fix="the chain rule brings 1.702")
def slope_of_silu(x):
    """The hand-written backward is σ + xσ(1 − σ): the factor 1.702 of the inner slope is missing."""
    return with_slope(quick_gelu, lambda x: sigmoid(1.702 * x) * (1 + x * (1 - sigmoid(1.702 * x))))(x)


@mistake(
    "activations.softcap",
    id="softcap-overflow",
    seen="vllm-project/vllm #56578 / PR#56579 (merged); lightseekorg/tokenspeed PR#183; AMD-AGI/Primus PR#1057",
    fix="tanh, or 1 − 2/(e^(2a) + 1)",
)
def infinity_over_infinity(x, cap):
    """(e^a − e^(−a))/(e^a + e^(−a)) with a = x/cap is ∞/∞ where a is large."""
    a = x / cap
    return cap * (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())


@mistake(
    "activations.softcap",
    id="softcap-times-x",
    seen="unslothai/unsloth-zoo PR#593 (merged)",
    fix="the cap stands in front of tanh, not the number",
)
def number_for_cap(x, cap):
    """x · tanh(x/cap): nothing is capped, and negative numbers turn positive."""
    return x * torch.tanh(x / cap)


@mistake("activations.softcap", id="softcap-multiplied", seen="microsoft/onnxruntime PR#21683 (review)", fix="divide")
def multiplied_by_the_cap(x, cap):
    """cap · tanh(x · cap)."""
    return cap * torch.tanh(x * cap)


@mistake("activations.softcap", id="softcap-half", seen="trymirai/lalamo PR#275 (review)", fix="divide by the cap")
def capped_twice_as_soon(x, cap):
    """cap · tanh(2x/cap): the slope at zero is two."""
    return cap * torch.tanh(2 * x / cap)


@mistake("activations.softcap", id="softcap-not-scaled-back", seen=NOWHERE, fix="multiply by the cap")
def between_one_and_minus_one(x, cap):
    """tanh(x/cap)."""
    return torch.tanh(x / cap)


@mistake("activations.softcap", id="softcap-hard", seen=NOWHERE, fix="tanh, which bends everywhere")
def clipped(x, cap):
    """x cut off at ±cap, with no slope beyond."""
    return x.clamp(-cap, cap)


@mistake("activations.softcap", id="softcap-slope", seen=NOWHERE, fix="1 − (y/cap)²: the slope is of the capped value")
def slope_not_squared(x, cap):
    """The hand-written backward is 1 − |y|/cap."""
    return with_slope(lambda x: softcap(x, cap), lambda x: 1 - softcap(x, cap).abs() / cap)(x)


@mistake("activations.geglu", id="swiglu-swapped", seen="ml-explore/mlx-lm PR#767", fix="gelu of the gate, times up")
def gelu_of_the_other(gate, up, approximate="none"):
    """gelu(up)·gate."""
    return geglu(up, gate, approximate)


@mistake("activations.geglu", id="geglu-is-swiglu", seen=NOWHERE, fix="gelu, not silu")
def gate_is_a_silu(gate, up, approximate="none"):
    """silu(gate)·up."""
    return swiglu(gate, up)


@mistake(
    "activations.geglu",
    id="gelu-erf-vs-tanh",
    seen="google/gemma_pytorch PR#37; huggingface/transformers PR#29402",
    fix="the form that the checkpoint was trained with",
)
def gate_with_erf_always(gate, up, approximate="none"):
    """The argument `approximate` is not used."""
    return geglu(gate, up)


@mistake("activations.geglu", id="geglu-of-product", seen=NOWHERE, fix="gelu of the gate first, then the product")
def gelu_after_the_product(gate, up, approximate="none"):
    """gelu(gate·up)."""
    return gelu(gate * up, approximate)


@mistake("activations.geglu", id="geglu-phi", seen=NOWHERE, fix="gelu(gate), which is gate·Φ(gate)")
def probability_for_the_gate(gate, up, approximate="none"):
    """Φ(gate)·up."""
    return (1 + torch.erf(gate / 2**0.5)) / 2 * up


@mistake("activations.geglu", id="geglu-sum", seen=NOWHERE, fix="multiply")
def gelu_is_added(gate, up, approximate="none"):
    """gelu(gate) + up."""
    return gelu(gate, approximate) + up


@mistake("activations.geglu", id="swiglu-detached-gate", seen=NOWHERE, fix="both factors have a gradient")
def no_gradient_through_gelu(gate, up, approximate="none"):
    """The values are right, the gate is taken for a constant of differentiation."""
    return gelu(gate, approximate).detach() * up
