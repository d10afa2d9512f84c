"""Published counts of parameters: derivations.architecture, with what a family adds or lacks, and what adapters add.

L layers of width D, V symbols, adapters of rank or width r; numbers go in and come out exact.
"""

from __future__ import annotations

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
