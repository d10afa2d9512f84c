"""Published rates and utilizations: the share of n devices' peak that a step of t seconds reaches.

Letters as in bench/published_flops.py; shares are of one.
"""

from __future__ import annotations

from bench.published_flops import megatron_flops, model_flops, model_flops_per_token, selective_flops


def tokens_per_second(B, T, t):
    """Tokens of a step over its time."""
    return B * T / t


def achieved(B, T, L, D, V, n, t):
    """Operations a second and device at a measured step time, recomputation counted."""
    return megatron_flops(B, T, L, D, V) / (n * t)


def total_rate(achieved, n):
    """What n devices do together."""
    return achieved * n


def share(part, whole):
    """A part of the peak, or of what was available."""
    return part / whole


def utilization_of_flops(C, n, t, peak):
    """The share of the peak that C operations in t seconds are."""
    return C / (n * t * peak)


def mfu(P, L, H, K, T, throughput, n, peak):
    """Model FLOPs utilization at so many tokens a second (PaLM, App. B)."""
    return model_flops_per_token(P, L, H, K, T) * throughput / (n * peak)


def mfu_without_attention(P, throughput, n, peak):
    """Model FLOPs utilization from 6P alone."""
    return 6 * P * throughput / (n * peak)


def hfu(P, L, H, K, T, throughput, n, peak):
    """Hardware FLOPs utilization: a second forward pass makes four passes of three."""
    return 4 * mfu(P, L, H, K, T, throughput, n, peak) / 3


def step_mfu(B, T, L, D, V, n, t, peak):
    """Model FLOPs utilization of a step (Korthikanti et al., Eq. 7)."""
    return model_flops(B, T, L, D, V) / (n * t * peak)


def step_hfu(B, T, L, D, V, n, t, peak):
    """Hardware FLOPs utilization of a step with selective recomputation (Korthikanti et al., Eq. 8)."""
    return selective_flops(B, T, L, D, V) / (n * t * peak)


def hfu_from_mfu(mfu, hardware, model):
    """Hardware utilization from the operations done and the operations needed."""
    return mfu * hardware / model
