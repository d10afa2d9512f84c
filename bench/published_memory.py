"""Published bytes of training: states, what ZeRO leaves of them on each of n devices, and activations.

B sequences of T tokens, L layers of width D, H heads, V symbols, P parameters, M bytes a device, e bytes a number.
"""

from __future__ import annotations

from bench.closed import evaluated
from derivations.memory_korthikanti import korthikanti


def state_bytes(P, e):
    """e bytes for every parameter: weights, gradients and moments, or any of them."""
    return P * e


def adamw_bytes(weight, master, gradient, moments):
    """Bytes a parameter in mixed precision."""
    return weight + master + gradient + moments


def memory_share(P, e, M):
    """The share of M bytes that e bytes a parameter take."""
    return P * e / M


def devices_for_weights(P, e, M):
    """Devices of M bytes that hold the weights."""
    return P * e / M


def zero1_bytes(P, n, k=12):
    """Optimizer states split over n: 2 + 2 bytes stay (ZeRO, §5.1)."""
    return 4 * P + k * P / n


def zero2_bytes(P, n, k=12):
    """Gradients split too (ZeRO, §5.2)."""
    return 2 * P + (2 + k) * P / n


def zero3_bytes(P, n, k=12):
    """Parameters split too (ZeRO, §5.3)."""
    return (4 + k) * P / n


def zero1_largest(M, n, parts):
    """The most parameters in M bytes a device, a model on `parts` of them, optimizer states split (ZeRO, Table 2)."""
    return parts * M / zero1_bytes(1, n)


def zero2_largest(M, n, parts):
    """The most parameters in M bytes a device, a model on `parts` of them, gradients split too (ZeRO, Table 2)."""
    return parts * M / zero2_bytes(1, n)


def estimate_zero2_bytes(P, n):
    """DeepSpeed's estimate for a device without offload."""
    return 2 * P + 18 * P / n


def estimate_host_bytes(numbers, n, e, margin):
    """DeepSpeed's estimate for the host: e bytes a number for each of n processes, times a margin."""
    return numbers * n * e * margin


def estimate_zero3_bytes(P, n, largest, e):
    """DeepSpeed's estimate for a device: the largest layer in 4 bytes, and e bytes a parameter split over n."""
    return 4 * largest + e * P / n


def activation_bytes(B, T, D, H):
    """What a layer keeps (Korthikanti et al., Eq. 1)."""
    return evaluated(korthikanti(), B=B, T=T, D=D, H=H)


def attention_factor(T, D, H):
    """What the T × T tables add to the factor 34."""
    return evaluated(korthikanti(linear=0), B=1, T=T, D=D, H=H) / (T * D)


def selective_saving(T, D, H):
    """The share of a layer's activations that selective recomputation frees: from Eq. 1 to 34BTD."""
    return 1 - evaluated(korthikanti(quadratic=0), B=1, T=T, D=D) / activation_bytes(1, T, D, H)


def output_bytes(B, T, D, stages, e):
    """Outputs of a pipeline's first stage, one for each microbatch in flight (Korthikanti et al., App. B)."""
    return B * T * D * stages * e


def zero_activation_bytes(B, T, L, D, e):
    """ZeRO's estimate of 12 numbers for each coordinate and layer (§3.2, n. 3)."""
    return 12 * B * T * L * D * e


def checkpoint_bytes(N, L, D, kept, e):
    """`kept` vectors of each layer for N tokens."""
    return N * L * D * kept * e


def llmc_activations(B, T, L, D, H, V):
    """The floats that train_gpt2.c of llm.c keeps, counted one array at a time."""
    layer = B * T * (18 * D + 4) + 2 * B * H * T**2
    return L * layer + B * T * (2 * D + 3 + 2 * V)
