"""The formulas behind the published numbers of papers/tables, by name; numbers go in and come out exact.

Letters as in papers/notation.md: B sequences of T tokens, L layers of width D, H query and G key-value heads of K, V
symbols, P parameters, N tokens, e bytes a number. Also n devices of `peak` FLOP/s each, t seconds, C floating-point
operations. A formula of `a` takes a derivations.architecture.Architecture; results are in parameters, bytes, FLOPs,
seconds and shares of one, and bench/published.py turns them into the unit of the print.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from derivations.architecture import (
    Architecture,
    active_parameters,
    attention_weights,
    block_weights,
    feed_forward_weights,
    parameters,
)

# --- parameters; every count comes from derivations.architecture, with what a family adds or lacks -------------------


def total_parameters(a: Architecture) -> Any:
    """All weights."""
    return parameters(a)


def embedding_parameters(V, D, tied=True):
    """The table of tokens, and the head when it is another one."""
    return parameters(Architecture(L=0, D=D, H=1, G=1, K=1, F=1, V=V, norm="none", tied=tied))


def parameters_without_embeddings(a: Architecture) -> Any:
    """All weights but the tables of tokens and positions and the head."""
    return parameters(a) - embedding_parameters(a.V, a.D, a.tied) - a.S * a.D


def block_parameters(a: Architecture) -> Any:
    """The weights of one block."""
    return sum(prod(shape) * count for _, shape, count in block_weights(a))


def attention_parameters(a: Architecture) -> Any:
    """The weights of the attention layers, without their norms."""
    return a.L * sum(prod(shape) for _, shape in attention_weights(a))


def expert_parameters(a: Architecture) -> Any:
    """The weights of all experts of all layers."""
    assert a.experts is not None
    return (a.L - a.experts.dense) * a.experts.E * sum(prod(s) for _, s in feed_forward_weights(a, a.experts.F))


def total_active_parameters(a: Architecture) -> Any:
    """The weights that one token meets, both tables counted."""
    return active_parameters(a)


def active_parameters_without_input(a: Architecture) -> Any:
    """The weights that one token meets without the table of tokens, of which it reads one row."""
    return active_parameters(a) - embedding_parameters(a.V, a.D)


def parameters_without_query_biases(a: Architecture) -> Any:
    """All weights where queries, keys and values alone have no bias (Raschka's qkv_bias=False)."""
    return parameters(a) - a.L * (a.H + 2 * a.G) * a.K


def parameters_with_embedding_norm(a: Architecture) -> Any:
    """All weights and a LayerNorm after the table of tokens (BLOOM)."""
    return parameters(a) + 2 * a.D


def parallel_parameters(a: Architecture) -> Any:
    """All weights where attention and feed-forward share one norm (PaLM, §2)."""
    return parameters(a) - a.L * a.D


def relative_parameters(a: Architecture) -> Any:
    """All weights and the relative positions of Transformer-XL: a matrix and two biases a layer (Chinchilla)."""
    return parameters(a) + a.L * (a.D * a.H * a.K + 2 * a.H * a.K)


def sink_parameters(a: Architecture) -> Any:
    """All weights and one learned sink a head (gpt-oss)."""
    return parameters(a) + a.L * a.H


def active_sink_parameters(a: Architecture) -> Any:
    """The weights that one token meets with sinks and without the table of tokens (gpt-oss)."""
    return active_parameters_without_input(a) + a.L * a.H


def attention_sink_parameters(a: Architecture) -> Any:
    """The weights of the attention layers with their norm and sinks (gpt-oss)."""
    return attention_parameters(a) + a.L * (a.D + a.H)


def prediction_module_parameters(a: Architecture) -> Any:
    """What a token meets in one more block, with two norms, a projection of 2D and both tables (DeepSeek-V3, §2.2)."""
    return active_parameters(a) + 2 * a.D**2 + 2 * a.D


def lora_parameters(L, D, matrices, r):
    """Two factors of rank r for some square matrices in each layer (LoRA, §4.2)."""
    return 2 * matrices * L * D * r


def adapter_parameters(adapters, D, r):
    """Adapters of r hidden units, with biases (LoRA, §5.1)."""
    return adapters * (2 * D * r + r + D)


def prefix_parameters(D, prefix, infix, L=1):
    """Trained vectors for new tokens before and within the prompt, once or in every layer (LoRA, §5.1)."""
    return L * D * (prefix + infix)


# --- floating-point operations --------------------------------------------------------------------------------------


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
    return B * T * (2 * (matrices + a.V * a.D) + 4 * a.L * T * a.H * a.K)


def model_flops_per_token(P, L, H, K, T):
    """PaLM's operations a token (App. B)."""
    return 6 * P + 12 * L * H * K * T


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
    return 2 * products * B * H * T**2 * K


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


# --- utilization ----------------------------------------------------------------------------------------------------


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


# --- memory ---------------------------------------------------------------------------------------------------------


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
    return B * T * D * (34 + attention_factor(T, D, H))


def attention_factor(T, D, H):
    """What the T × T tables add to the factor 34."""
    return 5 * H * T / D


def selective_saving(T, D, H):
    """The share of a layer's activations that selective recomputation frees: from Eq. 1 to 34BTD."""
    return 1 - 34 * T * D / activation_bytes(1, T, D, H)


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


# --- caches and decoding --------------------------------------------------------------------------------------------


def cache_bytes(B, T, L, G, K, e):
    """Keys and values of B sequences of T tokens."""
    return 2 * B * T * L * G * K * e


def cache_bytes_at(B, T, token):
    """Keys and values at so many bytes a token."""
    return B * T * token


def latent_cache(L, latent, rope):
    """Numbers a token of multi-head latent attention (DeepSeek-V2, §2.1.4)."""
    return L * (latent + rope)


def latent_cache_in_heads(latent, rope, K):
    """The same in units of K · L."""
    return (latent + rope) / K


def decode_seconds(B, cache, weights, bandwidth):
    """A step that reads the weights and B caches."""
    return (B * cache + weights) / bandwidth


def decode_throughput(B, cache, weights, bandwidth):
    """Tokens a second of such steps."""
    return B / decode_seconds(B, cache, weights, bandwidth)


# --- quantization ---------------------------------------------------------------------------------------------------


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


# --- roofline -------------------------------------------------------------------------------------------------------


def ridge(peak, bandwidth):
    """Operations a byte above which arithmetic is the limit."""
    return peak / bandwidth


def seconds_to_read(size, bandwidth):
    """Time to read so many bytes."""
    return size / bandwidth


def prefill_seconds(P, T, n, peak, utilization):
    """Time for 2PT operations at a share of the peak."""
    return 2 * P * T / (n * peak * utilization)
