"""Published floating-point operations, and the time that they take: numbers go in and come out exact.

B sequences of T tokens, L layers of width D, H heads of K, V symbols, P parameters, N tokens, C operations; n devices
of `peak` FLOP/s each, t seconds.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from bench.closed import evaluated
from bench.published_parameters import relative_parameters
from derivations.architecture import Architecture, block_weights
from derivations.attention import FLOPS
from derivations.flops import SCORES


def training_flops(P, N, k=6):
    """k operations for each parameter and token: 6 forward and backward, 8 with recomputation, 3 for half a T5."""
    return k * P * N


def tokens_for_flops(C, P):
    """The tokens that C operations pay for at 6PN."""
    return C / (6 * P)


def ratio(C, whole):
    """One number of operations in units of another."""
    return C / whole


def forward_flops(a: Architecture, B: Any, T: Any) -> Any:
    """Every matrix product of a forward pass over B full (not causal) sequences of T."""
    matrices = a.L * sum(prod(s) for _, s, _ in block_weights(replace(a, norm="none", bias=False)))
    scores = evaluated(SCORES, L=a.L, H=a.H, K=a.K, T=T) // 3
    return B * T * (2 * (matrices + a.V * a.D) + scores)


def model_flops_per_token(P, L, H, K, T):
    """PaLM's operations a token (App. B)."""
    return 6 * P + evaluated(SCORES, L=L, H=H, K=K, T=T)


def flops_of_sequence(P, L, H, K, T):
    """PaLM's operations for T tokens."""
    return T * model_flops_per_token(P, L, H, K, T)


def megatron_flops(B, T, L, D, V):
    """One step with full recomputation (Narayanan et al. 2021, Eq. 3)."""
    return 96 * B * T * L * D**2 * (1 + T / (6 * D) + V / (16 * L * D))


def model_flops(B, T, L, D, V):
    """One step without recomputation (Korthikanti et al., Eq. 7)."""
    return 72 * B * T * L * D**2 * (1 + T / (6 * D) + V / (12 * L * D))


def selective_flops(B, T, L, D, V):
    """One step with selective recomputation, as printed (Korthikanti et al., Eq. 8)."""
    return 72 * B * T * L * D**2 * (1 + T / (3 * D) + V / (12 * L * D))


def selective_overhead(T, L, D, V):
    """Eq. 8 over Eq. 7, less one."""
    return selective_flops(1, T, L, D, V) / model_flops(1, T, L, D, V) - 1


def attention_flops(B, H, T, K, products):
    """Matrix products of T × T × K of a full attention: 2 forward, 4 backward."""
    return products * evaluated(FLOPS, B=B, H=H, T=T, S=T, K=K) / 2


def layer_count_over_6pn(a: Architecture, T: Any) -> Any:
    """Operations of the layers alone, with 3HT² for softmax, over 6PT (Chinchilla, App. F, without both tables)."""
    attention = 2 * T * 4 * a.D * a.H * a.K + 4 * T**2 * a.H * a.K + 3 * a.H * T**2
    return 3 * a.L * (attention + 4 * T * a.D * a.F) / (6 * relative_parameters(a) * T)


def flops_available(t, n, peak):
    """What n devices could do in t seconds."""
    return t * n * peak


def seconds_for_flops(C, n, peak, utilization):
    """Time to do C operations at a share of the peak."""
    return C / (n * peak * utilization)


def seconds_for_tokens(P, N, n, peak, utilization):
    """Time to train at 6PN and a share of the peak."""
    return seconds_for_flops(training_flops(P, N), n, peak, utilization)


def megatron_seconds(N, B, T, L, D, V, n, achieved):
    """Time for N tokens at what each device achieves (Narayanan et al. 2021, §5.1)."""
    return N / (B * T) * megatron_flops(B, T, L, D, V) / (n * achieved)


def seconds_at_throughput(N, n, throughput):
    """Time for N tokens at so many a second and device."""
    return N / (n * throughput)


def time_on_others(t, n, others):
    """The same work on another number of devices."""
    return t * n / others
