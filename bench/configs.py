"""The architecture of a model that has a name in models.toml, or of a Hugging Face config.json.

Sizes must be given. What a config.json may leave out takes the default of its family's class in transformers 5.24. Only
the language model is counted: neither vision towers nor layers that predict further tokens.
"""

from __future__ import annotations

import json
import os
import reprlib
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from derivations.architecture import Architecture, Experts, Latent
from reference.config import LIMIT as LIMIT
from reference.config import fail, flag, size

GPT = {"norm": "layer", "gated": False, "bias": True}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": GPT,
    "gpt_neox": GPT,  # that its two layers stand side by side changes no weight
    "llama": {},
    "mistral": {},
    "mixtral": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "qwen3_moe": {"qk_norm": True},
    "gemma2": {"after": True},
    "gemma3_text": {"after": True, "qk_norm": True},
    "olmo2": {"before": False, "after": True, "qk_norm": True, "joint": True},
    "gpt_oss": {"bias": True, "sinks": True},
    "deepseek_v2": {},
    "deepseek_v3": {},
    "kimi_k2": {},
}
"""What of an Architecture the model_type decides."""

UNBIASED = {"attention_bias": False}
GEMMA = {"tie_word_embeddings": True, "sliding_window": 4096, "num_key_value_heads": 4, "head_dim": 256, **UNBIASED}
DEEPSEEK = {"q_lora_rank": 1536, "n_shared_experts": 1, "first_k_dense_replace": 3, **UNBIASED}
MISSING: dict[str, dict[str, Any]] = {
    "gpt2": {"tie_word_embeddings": True, "add_cross_attention": False},
    "gpt_neox": {"attention_bias": True},
    "llama": {"attention_bias": False, "mlp_bias": False},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "mixtral": {"num_key_value_heads": 8},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128, "sliding_window": 4096, "max_window_layers": 28, **UNBIASED},
    "qwen3_moe": {"num_key_value_heads": 4, "sliding_window": 4096, **UNBIASED},
    "gemma2": GEMMA,
    "gemma3_text": {**GEMMA, "num_attention_heads": 8, "vocab_size": 262208},
    "olmo2": UNBIASED,
    "gpt_oss": {"num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128, "attention_bias": True},
    "deepseek_v2": {**DEEPSEEK, "n_shared_experts": 2, "first_k_dense_replace": 0, "mlp_bias": False},
    "deepseek_v3": DEEPSEEK,
    "kimi_k2": DEEPSEEK,
}
"""The defaults of transformers for the fields that config.json files do leave out; false where nothing is said."""

PERIOD = {"mistral": 0, "mixtral": 0, "qwen3_moe": 0, "gemma2": 2, "gemma3_text": 6, "gpt_oss": 2,
          "qwen2": -1, "qwen3": -1}  # fmt: skip
"""Of layers with windows, every so many sees everything (0: none) unless layer_types or (-1) max_window_layers says."""


def heads(family: str, config: Mapping[str, Any], D: int, mixed: Latent | None) -> tuple[int, int, int]:
    """H, G and K."""
    H, alike = size(config, "num_attention_heads"), family in ("gpt2", "gpt_neox")
    G = H if alike else size(config, "num_key_value_heads", H)
    if H % G:
        fail("num_attention_heads", f"a multiple of the {G} key-value heads", H)
    if mixed:
        return H, G, mixed.nope + mixed.rope
    K = 0 if alike else size(config, "head_dim", 0)
    if not K and D % H:
        fail("hidden_size", f"a multiple of the {H} attention heads, for head_dim is not given", D)
    K = K or D // H
    if K % 2 and family != "gpt2":
        fail("head_dim", "an even number, for rotary positions", K)
    return H, G, K


def latent(config: Mapping[str, Any]) -> Latent:
    """The ranks and widths of multi-head latent attention."""
    rope = size(config, "qk_rope_head_dim")
    if rope % 2:
        fail("qk_rope_head_dim", "an even number, for rotary positions", rope)
    q = None if config["q_lora_rank"] is None else size(config, "q_lora_rank")
    return Latent(size(config, "kv_lora_rank"), size(config, "qk_nope_head_dim"), rope, size(config, "v_head_dim"), q)


def experts(family: str, config: Mapping[str, Any], L: int) -> Experts | None:
    """The experts of a family that has them."""
    if family not in ("mixtral", "gpt_oss", "qwen3_moe", "deepseek_v2", "deepseek_v3", "kimi_k2"):
        return None
    E, active = size(config, "num_experts"), size(config, "num_experts_per_tok")
    if active > E:
        fail("num_experts_per_tok", f"at most the {E} experts", active)
    if family in ("mixtral", "gpt_oss"):
        return Experts(E, active, size(config, "intermediate_size"), biased=family == "gpt_oss")
    for name in ("decoder_sparse_step", "moe_layer_freq"):
        if size(config, name, 1) != 1:
            fail(name, "1", config[name])
    F, ordinary = size(config, "moe_intermediate_size"), config.get("mlp_only_layers")
    if family == "qwen3_moe":
        ordinary = [] if ordinary is None else ordinary
        if not isinstance(ordinary, list) or ordinary != list(range(len(ordinary))) or len(ordinary) > L:
            fail("mlp_only_layers", "the first layers: 0, 1, …", ordinary)
        return Experts(E, active, F, dense=len(ordinary))
    dense = size(config, "first_k_dense_replace", 0, least=0)
    if dense > L:
        fail("first_k_dense_replace", f"at most the {L} layers", dense)
    shared = size(config, "n_shared_experts", 0, least=0)
    return Experts(E, active, F, shared, dense, biased=family != "deepseek_v2")  # V3 corrects the scores of experts


def window(family: str, config: Mapping[str, Any], L: int) -> tuple[int | None, int]:
    """How many keys a layer with a window sees (None: no layer has one), and every which layer has none."""
    if family not in PERIOD or config.get("sliding_window") is None:
        return None, 1
    if family.startswith("qwen") and not flag(config, "use_sliding_window"):
        return None, 1
    width, full, types = size(config, "sliding_window"), PERIOD[family], config.get("layer_types")
    if full == 0:
        return width, 0
    if types is not None:
        if not isinstance(types, list) or len(types) != L:
            fail("layer_types", f"a list of {L} types", types)
        everything = [i for i, kind in enumerate(types, 1) if kind == "full_attention"]
        full = everything[0] if everything else L + 1
        if everything != list(range(full, L + 1, full)) or len(everything) + types.count("sliding_attention") != L:
            fail("layer_types", "sliding_attention, and full_attention at every n-th layer", types)
    elif full > 0:
        full = size(config, "sliding_window_pattern", full)
    else:
        below = size(config, "max_window_layers", least=0)
        if 0 < below < L:
            fail("max_window_layers", f"0, or at least the {L} layers", below)
        full = 1 if below else L + 1
    return (None, 1) if full == 1 else (width, full if full <= L else 0)


def read(config: Any, name: str = "") -> Architecture:
    """The architecture that a config.json says, once parsed."""
    if not isinstance(config, dict):
        fail("config.json", "an object", config)
    if config.get("model_type") == "gemma3":
        text, tied = config.get("text_config"), {k: config[k] for k in ("tie_word_embeddings",) if k in config}
        if not isinstance(text, dict):
            fail("text_config", "an object", text)
        config = {**text, **tied, "model_type": "gemma3_text"}
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        fail("model_type", f"one of gemma3, {', '.join(FAMILIES)}", family)
    config = {**MISSING[family], **config}
    fixed = dict(FAMILIES[family])
    if family == "llama":
        fixed["bias"] = flag(config, "mlp_bias")
    for key in ("attention_bias", "mlp_bias"):
        if key in MISSING[family] and flag(config, key) != fixed.get("bias", False):
            fail(key, f"{json.dumps(fixed.get('bias', False))} as in the rest of a block of {family}", config[key])
    if flag(config, "add_cross_attention"):
        fail("add_cross_attention", "false: a decoder alone", True)
    L, D, V = size(config, "num_hidden_layers"), size(config, "hidden_size"), size(config, "vocab_size")
    F = size(config, "intermediate_size", 4 * D if family == "gpt2" else None)
    S = size(config, "max_position_embeddings") if family == "gpt2" else 0
    mixed = latent(config) if "q_lora_rank" in MISSING[family] else None
    H, G, K = heads(family, config, D, mixed)
    fixed["window"], fixed["full"] = window(family, config, L)
    fixed["tied"], fixed["experts"] = flag(config, "tie_word_embeddings"), experts(family, config, L)
    return Architecture(L, D, H, G, K, F, V, S, latent=mixed, name=name, **fixed)


@cache
def models() -> dict[str, dict[str, Any]]:
    """The named models: fields of their config.json, and where they and the printed count stand."""
    table = tomllib.loads(Path(__file__).with_name("models.toml").read_text(encoding="utf-8"))
    return {name: {k: None if v == "null" else v for k, v in row.items()} for name, row in table.items()}


def architecture(model: str) -> Architecture:
    """The architecture of a named model, of a config.json or of the one in a folder; ValueError, in a line, if none."""
    if model.lower() in models():
        return read(models()[model.lower()], model.lower())
    if not os.path.exists(model):
        if os.sep in model or model.endswith(".json"):
            fail("model", "a config.json or a folder with one (no such file)", model)
        near = get_close_matches(model.lower(), models(), 3) or models()
        fail("model", f"a config.json, a folder with one, or a name such as {', '.join(near)}", model)
    try:
        path = Path(model, "config.json") if os.path.isdir(model) else Path(model)
        config = json.loads(path.read_bytes())
    except OSError as error:
        fail("model", f"a readable config.json ({error.strerror})", model)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{reprlib.repr(model)}: expected JSON, received something else ({error})") from None
    try:
        return read(config, model)
    except ValueError as error:
        raise ValueError(f"{reprlib.repr(model)}: {error}") from None
