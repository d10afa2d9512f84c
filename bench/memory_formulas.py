"""What other tools say that training takes, restated: bytes of a setting, None where a tool does not treat its dtype.

Letters as in papers/notation.md; each on one device. What bench/published_memory.py has is taken from there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import prod

from bench.options import Setting
from bench.published_memory import activation_bytes, estimate_zero2_bytes, estimate_zero3_bytes, state_bytes
from derivations.architecture import parameters, weights


def sixteen(s: Setting) -> int:
    """16 bytes a parameter."""
    return state_bytes(parameters(s.a), 16)


def accelerate(s: Setting) -> int:
    """The largest of: weights, gradients, optimizer, step; weights are taken to be stored in float32."""
    W = 4 * parameters(s.a)
    parts = (W, W, 2 * W, 4 * W) if s.dtype == "fp32" else (W, W + W // 2, 2 * W, 2 * W)
    return max(parts)


def zero2(s: Setting) -> int | None:
    """2 bytes of weights; 18 of gradients, once more in float32, master copy and moments, which the devices share."""
    return None if s.dtype == "fp32" else int(estimate_zero2_bytes(parameters(s.a), 1))


def zero3(s: Setting) -> int | None:
    """18 bytes that the devices share, and the largest module in 4 bytes."""
    own = Counter[str]()
    for name, shape, _ in weights(s.a):
        own[name.rpartition(".")[0]] += prod(shape)
    return None if s.dtype == "fp32" else int(estimate_zero3_bytes(parameters(s.a), 1, max(own.values()), 18))


def megatron_states(s: Setting) -> tuple[int, int]:
    """(18 bytes a parameter, V as padded to a multiple of 128), with no biases of matrices and no positions."""
    V = -(-s.a.V // 128) * 128
    return 18 * parameters(replace(s.a, V=V, S=0, bias=False, qkv_bias=False)), V


def megatron(s: Setting) -> int | None:
    """34 bytes of activations for every coordinate and layer, logits of 2 bytes, and 5 % on all that."""
    (states, V), a, tokens = megatron_states(s), s.a, s.run.B * s.run.T
    activations = tokens * (34 * a.D * a.L + 8 + a.D + 2 * (V + a.D))
    return None if s.dtype == "fp32" else int(states + Fraction(105, 100) * activations)


def megatron_parallel(s: Setting) -> int | None:
    """With sequence parallelism and selective recomputation: 18D + 4F for a token and layer, logits of 4 bytes."""
    (states, V), a, tokens = megatron_states(s), s.a, s.run.B * s.run.T
    activations = tokens * ((18 * a.D + 4 * a.F) * a.L + 8 + a.D + 4 * (V + a.D))
    return None if s.dtype == "fp32" else states + activations


def korthikanti(s: Setting) -> int | None:
    """BTD(34 + 5HT/D) a layer, and 16 bytes a parameter."""
    layer = activation_bytes(s.run.B, s.run.T, Fraction(s.a.D), s.a.H)
    return None if s.dtype == "fp32" else int(s.a.L * layer) + sixteen(s)


def korthikanti_selective(s: Setting) -> int | None:
    """34BTD a layer, without the T × T tables, and 16 bytes a parameter."""
    return None if s.dtype == "fp32" else 34 * s.run.B * s.run.T * s.a.D * s.a.L + sixteen(s)
