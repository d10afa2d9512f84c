"""Published bits a weight and bytes of quantized weights; a block of weights has one scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.published_parameters import expert_parameters, sink_parameters
from derivations.architecture import Architecture


def block_bits(bits, block, scale):
    """Bits a weight with one scale for each block."""
    return bits + scale / block


def nested_scale_bits(block, scale, outer, outer_scale):
    """Bits a weight of scales that are quantized in blocks themselves (QLoRA, §3)."""
    return scale / block + outer_scale / (block * outer)


def nested_saving_bits(block, scale, outer, outer_scale, before):
    """What that saves against scales of `before` bits."""
    return before / block - nested_scale_bits(block, scale, outer, outer_scale)


def nested_saving_bytes(P, block, scale, outer, outer_scale, before):
    """The same for all parameters."""
    return P * nested_saving_bits(block, scale, outer, outer_scale, before) / 8


def mean_bits(P, bits, kept):
    """Bits a weight when `kept` of them stay in 32 bits."""
    return (P * bits + kept * (32 - bits)) / P


def weight_bytes(P, bits):
    """Bytes of the weights at so many bits each."""
    return P * bits / 8


def mixed_weight_bytes(a: Architecture, bits: Any) -> Any:
    """Expert matrices at so many bits, all else in 16 (gpt-oss)."""
    matrices = expert_parameters(replace(a, bias=False))
    return (matrices * bits + (sink_parameters(a) - matrices) * 16) / 8
