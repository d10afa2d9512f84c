r"""The published families: what their config.json says of an architecture, and what they call their weights.

One row a family: the constants of its architecture, what a config.json may leave out (the defaults of its class in
transformers 5.24), and the names of its tensors. What changes the numbers and is not known here is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.architecture import Architecture, Layer, Rotation
from reference.config import fail, flag, number, size, table
from reference.names import GEMMA, GPT2, LLAMA, NEOX, OLMO, Names

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "quick_gelu": "quick_gelu",
}
"""Of the names in transformers, those that mean exactly one of our functions."""


@dataclass(frozen=True)
class Family:
    """`fixed` goes to the architecture as it is; where `biases` names a field of config.json, that one decides."""

    names: Names
    fixed: dict[str, Any]
    defaults: dict[str, Any]
    biases: tuple[bool | str, bool | str, bool | str] = ("attention_bias", "attention_bias", False)
    eps: str = "rms_norm_eps"
    act: str = "hidden_act"


SILU = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_position_embeddings": 32768}
TANH = {"rms_norm_eps": 1e-6, "tie_word_embeddings": True, "head_dim": 256, "max_position_embeddings": 8192}
GEMMAS = {**TANH, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "sliding_window": 4096,
          "num_key_value_heads": 4}  # fmt: skip
QWEN = {**SILU, "num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28}
BIASED = ("attention_bias", "attention_bias", "mlp_bias")
FAMILIES = {
    "gpt2": Family(
        GPT2, {"norm": "layer", "gated": False},
        {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
         "scale_attn_weights": True},
        (True, True, True), "layer_norm_epsilon", "activation_function",
    ),
    "gpt_neox": Family(
        NEOX, {"norm": "layer", "gated": False},
        {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "tie_word_embeddings": False, "use_parallel_residual": True,
         "attention_bias": True, "rotary_pct": 0.25, "max_position_embeddings": 2048},
        ("attention_bias", "attention_bias", True), "layer_norm_eps",
    ),
    "llama": Family(LLAMA, {}, {**SILU, "max_position_embeddings": 2048}, BIASED),
    "mistral": Family(
        LLAMA, {}, {**SILU, "num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131072},
        (False, False, False),
    ),
    "qwen2": Family(LLAMA, {}, QWEN, (True, False, False)),
    "qwen3": Family(LLAMA, {"qk_norm": "head"}, {**QWEN, "head_dim": 128}),
    "smollm3": Family(
        LLAMA, {},
        {**SILU, "num_key_value_heads": 4, "tie_word_embeddings": True, "rope_theta": 2000000.0,
         "no_rope_layer_interval": 4},
        BIASED,
    ),
    "olmo2": Family(
        OLMO, {"before": False, "after": True, "qk_norm": "joint"},
        {**SILU, "rms_norm_eps": 1e-5, "max_position_embeddings": 2048},
    ),
    "gemma": Family(
        LLAMA, {"centred": True}, {**TANH, "hidden_act": "gelu_pytorch_tanh", "num_key_value_heads": 16},
    ),
    "gemma2": Family(
        GEMMA, {"centred": True, "after": True},
        {**GEMMAS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}, act="hidden_activation",
    ),
    "gemma3_text": Family(
        GEMMA, {"centred": True, "after": True, "qk_norm": "head"},
        {**GEMMAS, "vocab_size": 262208, "num_attention_heads": 8, "sliding_window_pattern": 6, "hidden_size": 2304,
         "num_hidden_layers": 26, "intermediate_size": 9216, "max_position_embeddings": 131072},
        act="hidden_activation",
    ),
}  # fmt: skip

KINDS = ("full_attention", "sliding_attention")
CAPS = {"attn_logit_softcapping": ("gemma2",), "final_logit_softcapping": ("gemma2", "gemma3_text")}
"""What caps scores and logits, and in which families; the class of Gemma 3 does not read the first."""
DEEPEST, WIDEST = 2**12, 2**16
"""No model has more layers, or wider heads: what says so is a slip."""

REFUSED = {
    "add_cross_attention": "a decoder alone",
    "use_bidirectional_attention": "causal attention",
    "quantization_config": "weights that are stored as plain numbers",
}


def rotation(config: Mapping[str, Any], rope: Mapping[str, Any], K: int, base: float, share: float = 1.0) -> Rotation:
    """The rotation that an entry of rope_parameters, or the older rope_scaling, says, of a share of K coordinates."""
    R = int(K * share)
    kind = rope.get("rope_type", rope.get("type", "default"))
    base = number(rope, "rope_theta", base)
    longest = size(config, "max_position_embeddings")
    trained = size(config, "original_max_position_embeddings", size(rope, "original_max_position_embeddings", longest))
    if kind == "default" and R % 2 and share < 1:  # transformers turns R + 1 of them then, as far as R would have it
        return Rotation(R + 1, base ** ((R + 1) / R))
    if kind == "default":
        return Rotation(R, base)
    if kind not in ("linear", "dynamic", "yarn", "llama3"):
        fail("rope_type", "default, linear, dynamic, yarn or llama3", kind)
    trained = longest if kind == "dynamic" else trained
    scale = number(rope, "factor", longest / trained if kind == "yarn" else None)
    if kind == "llama3":
        low, high = number(rope, "low_freq_factor"), number(rope, "high_freq_factor")
        return Rotation(R, base, kind, scale, trained, low, high)
    if kind == "yarn":
        low, high = number(rope, "beta_slow", 1.0), number(rope, "beta_fast", 32.0)
        truncate = rope.get("truncate") is None or flag(rope, "truncate")
        return Rotation(R, base, kind, scale, trained, low, high, truncate, yarn_factor(rope, scale))
    return Rotation(R, base, kind, scale, trained)


def yarn_factor(rope: Mapping[str, Any], scale: float) -> float:
    """What YaRN multiplies queries and keys by: given, or 0.1 m ln s + 1, or a ratio of two of these."""

    def grown(m):
        return 0.1 * m * math.log(scale) + 1.0 if scale > 1 else 1.0

    if rope.get("attention_factor") is not None:
        return number(rope, "attention_factor")
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return grown(number(rope, "mscale")) / grown(number(rope, "mscale_all_dim"))
    return grown(1.0)


def rotations(family: str, config: Mapping[str, Any], K: int, types: list[str]) -> list[Rotation | None]:
    """The rotation of every layer, in the older spellings (rope_theta, rope_scaling) and the newer rope_parameters."""
    if family == "gpt2":
        return [None] * len(types)
    scaled = table(config, "rope_scaling") or table(config, "rope_parameters")
    theta, share = number(config, "rope_theta", 10000.0), 1.0
    if family == "gpt_neox":
        theta, share = number(config, "rotary_emb_base", 10000.0), number(config, "rotary_pct", 0.25)
        share = number(scaled, "partial_rotary_factor", share)
    elif (given := scaled.get("partial_rotary_factor", config.get("partial_rotary_factor"))) not in (None, 1):
        fail("partial_rotary_factor", f"1 in {family}", given)
    by_type = {kind: table(scaled, kind) for kind in KINDS if kind in scaled}
    if family == "gemma3_text":
        by_type = {kind: table(table(config, "rope_parameters"), kind) for kind in KINDS}
        by_type["full_attention"] |= table(config, "rope_scaling")
        bases = {KINDS[0]: number(config, "rope_theta", 1e6), KINDS[1]: number(config, "rope_local_base_freq", 1e4)}
    else:
        bases = dict.fromkeys(KINDS, theta)
    turned = {kind: rotation(config, by_type.get(kind, scaled), K, bases[kind], share) for kind in set(types)}
    return [
        turned[kind] if turns else None for kind, turns in zip(types, turning(family, config, len(types)), strict=True)
    ]


def turning(family: str, config: Mapping[str, Any], L: int) -> list[bool]:
    """Whether a layer has rotary positions; of SmolLM3's every fourth has none."""
    given = config.get("no_rope_layers")
    if family != "smollm3":
        return [True] * L
    if given is None:
        every = size(config, "no_rope_layer_interval")
        return [(i + 1) % every != 0 for i in range(L)]
    if not isinstance(given, list) or len(given) < L or any(use not in (0, 1) for use in given):
        fail("no_rope_layers", f"a list of {L}, 1 for rotary positions and 0 for none", given)
    return [bool(use) for use in given[:L]]


def kinds(family: str, config: Mapping[str, Any], L: int) -> list[str]:
    """The type of every layer: full_attention or sliding_attention."""
    full, near = KINDS
    windowed = config.get("sliding_window") is not None
    if family.startswith("qwen"):
        windowed = windowed and flag(config, "use_sliding_window")
    if family == "mistral":
        return [near if windowed else full] * L
    if family not in ("qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text"):
        return [full] * L
    given = config.get("layer_types")
    if given is not None:
        known = KINDS if windowed else (full,)
        if not isinstance(given, list) or len(given) != L or any(kind not in known for kind in given):
            fail("layer_types", f"a list of {L}, each {' or '.join(known)}", given)
        return given
    if family.startswith("gemma"):
        every = 2 if family == "gemma2" else size(config, "sliding_window_pattern")
        sliding = [(i + 1) % every != 0 for i in range(L)]
    elif family == "smollm3":
        sliding = [flag(config, "use_sliding_window") and not turns for turns in turning(family, config, L)]
    else:
        sliding = [i >= size(config, "max_window_layers", least=0) for i in range(L)]
    return [near if here and windowed else full for here in sliding]


def architecture(config: Mapping[str, Any]) -> Architecture:
    """What a config.json says, once parsed.

    Raises ValueError for a family that is not one of FAMILIES, for what is missing or no size, and for options that
    would change the numbers and are not supported.
    """
    if config.get("model_type") == "gemma3":  # a model of text and images: its text
        tied = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        config = {**tied, **table(config, "text_config"), "model_type": "gemma3_text"}
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        fail("model_type", f"one of gemma3, {', '.join(FAMILIES)}", name)
    family = FAMILIES[name]
    config = {**family.defaults, **config}
    for option, instead in REFUSED.items():
        if config.get(option) not in (None, False):
            fail(option, f"none: {instead}", config[option])
    L, D, V = size(config, "num_hidden_layers"), size(config, "hidden_size"), size(config, "vocab_size")
    F = size(config, "intermediate_size", 4 * D if name == "gpt2" else None)
    H = size(config, "num_attention_heads")
    alike = name in ("gpt2", "gpt_neox")
    G, K = H if alike else size(config, "num_key_value_heads", H), 0 if alike else size(config, "head_dim", 0)
    if not K and D % H:
        fail("hidden_size", f"a multiple of the {H} attention heads, for head_dim is not given", D)
    K = K or D // H
    for field, value, most in (("num_hidden_layers", L, DEEPEST), ("head_dim", K, WIDEST)):
        if value > most:
            fail(field, f"at most {most}", value)
    act = config[family.act]
    if name == "gemma" and act == "gelu":
        act = "gelu_pytorch_tanh"  # what its first files say, and never meant
    if not isinstance(act, str) or act not in ACTIVATIONS:
        fail(family.act, f"one of {', '.join(ACTIVATIONS)}", act)
    types = kinds(name, config, L)
    scale = (number(config, "query_pre_attn_scalar") if family.names is GEMMA else K) ** -0.5
    if name == "gpt2" and not flag(config, "scale_attn_weights"):
        scale = 1.0
    by_depth = name == "gpt2" and flag(config, "scale_attn_by_inverse_layer_idx")
    window = size(config, "sliding_window") if "sliding_attention" in types else None
    layers = [
        Layer(scale / (i + 1) if by_depth else scale, window if kind == "sliding_attention" else None, turned)
        for i, (kind, turned) in enumerate(zip(types, rotations(name, config, K, types), strict=True))
    ]
    qkv_bias, out_bias, mlp_bias = (flag(config, b) if isinstance(b, str) else b for b in family.biases)
    score_cap, logit_cap = (
        number(config, theirs) if name in having and config.get(theirs) is not None else None
        for theirs, having in CAPS.items()
    )
    return Architecture(
        name, D, H, G, K, F, V, tuple(layers),
        S=size(config, "max_position_embeddings") if name == "gpt2" else 0,
        eps=number(config, family.eps), activation=ACTIVATIONS[act],
        parallel=name == "gpt_neox" and flag(config, "use_parallel_residual"),
        embedding=math.sqrt(D) if name.startswith("gemma") else 1.0,
        qkv_bias=qkv_bias, out_bias=out_bias, mlp_bias=mlp_bias,
        tied=flag(config, "tie_word_embeddings"), score_cap=score_cap, logit_cap=logit_cap, **family.fixed,
    )  # fmt: skip
