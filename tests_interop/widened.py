"""Transformers with its hard-coded float32 casts widened to float64, and tiny random models of every family."""

import importlib
import types
from contextlib import contextmanager

import torch
import transformers
from transformers import AutoModelForCausalLM

COMMON = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEAD = {"head_dim": 8}
SCALED = {"rope_theta": 1000.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **SCALED}
YARN = {"rope_type": "yarn", "factor": 4.0, **SCALED}
MSCALE = {**YARN, "mscale": 0.7, "mscale_all_dim": 0.4, "beta_fast": 1.0, "beta_slow": 0.05, "truncate": False}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1000.0}
ALTERNATE = ["sliding_attention", "full_attention", "sliding_attention"]
GPT2 = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 97}
NEOX = {**COMMON, "num_key_value_heads": None}
GEMMA3 = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 3000.0},
}

CASES = {
    "gpt2": ("GPT2", GPT2),
    "gpt2 untied, inner, scaled by depth": (
        "GPT2",
        {**GPT2, "n_inner": 36, "tie_word_embeddings": False, "scale_attn_by_inverse_layer_idx": True},
    ),
    "gpt2 unscaled, relu": ("GPT2", {**GPT2, "scale_attn_weights": False, "activation_function": "relu"}),
    "llama2": ("Llama", {**COMMON, "num_key_value_heads": 4}),
    "llama3": ("Llama", {**COMMON, "rope_parameters": LLAMA3}),
    "llama tied, wide heads": ("Llama", {**COMMON, "head_dim": 10, "tie_word_embeddings": True}),
    "llama with biases": ("Llama", {**COMMON, "attention_bias": True, "mlp_bias": True}),
    "llama linear": ("Llama", {**COMMON, "rope_parameters": LINEAR}),
    "llama yarn": ("Llama", {**COMMON, "rope_parameters": YARN}),
    "llama yarn, other betas": ("Llama", {**COMMON, "head_dim": 16, "rope_parameters": MSCALE}),
    "llama dynamic": ("Llama", {**COMMON, "max_position_embeddings": 6, "rope_parameters": DYNAMIC}),
    "mistral": ("Mistral", {**COMMON, "sliding_window": 4}),
    "mistral without a window": ("Mistral", {**COMMON, "sliding_window": None, **HEAD}),
    "qwen2": ("Qwen2", {**COMMON, "tie_word_embeddings": True}),
    "qwen2 with windows": (
        "Qwen2",
        {**COMMON, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {**COMMON, **HEAD}),
    "qwen3 with windows, biases": (
        "Qwen3",
        {**COMMON, **HEAD, "attention_bias": True, "use_sliding_window": True, "sliding_window": 3,
         "layer_types": ALTERNATE},
    ),
    "gemma": ("Gemma", {**COMMON, **HEAD}),
    "gemma2": ("Gemma2", {**COMMON, **HEAD, "sliding_window": 4, "query_pre_attn_scalar": 12,
                          "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma2 untied, uncapped": ("Gemma2", {**COMMON, "head_dim": 10, "sliding_window": 4,
                                           "attn_logit_softcapping": None, "final_logit_softcapping": None,
                                           "tie_word_embeddings": False}),
    "gemma3": ("Gemma3Text", {**COMMON, **HEAD, "sliding_window": 4, "rope_parameters": GEMMA3,
                              "query_pre_attn_scalar": 12, "num_hidden_layers": 7}),
    "gemma3 capped": ("Gemma3Text", {**COMMON, **HEAD, "sliding_window": 3, "layer_types": ALTERNATE,
                                     "final_logit_softcapping": 3.0}),
    "olmo2": ("Olmo2", COMMON),
    "gpt_neox": ("GPTNeoX", {**NEOX, "rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.67,
                                                         "rope_type": "default"}}),
    "gpt_neox one after the other": ("GPTNeoX", {**NEOX, "use_parallel_residual": False, "attention_bias": False,
                                                 "tie_word_embeddings": True}),
    "smollm3": ("SmolLM3", {**COMMON, "num_hidden_layers": 5}),
    "smollm3 with windows": ("SmolLM3", {**COMMON, "use_sliding_window": True, "sliding_window": 3,
                                         "no_rope_layers": [0, 1, 0], "tie_word_embeddings": False}),
}  # fmt: skip
"""The class of transformers, and its config."""


class Wide(types.ModuleType):
    """torch, where float32 means float64."""

    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextmanager
def wide(kind):
    """Every cast to float32 in the code of one class of models, and in what it shares, is a cast to float64."""
    family = kind.removesuffix("Text").lower().replace("gptneox", "gpt_neox")
    names = (f"models.{family}.modeling_{family}", "modeling_rope_utils", "loss.loss_utils", "activations")
    modules = [importlib.import_module(f"transformers.{name}") for name in names]
    narrow = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    for module in modules:
        module.torch = Wide("torch")
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch
        torch.Tensor.float = narrow
        torch.set_default_dtype(torch.float32)


def random_model(kind, given, seed=0):
    """A model of that class whose every parameter is drawn at random, in float64."""
    config = getattr(transformers, f"{kind}Config")(
        **{k: v for k, v in given.items() if k != "num_key_value_heads" or v}
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float64).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3).add_(0.02)
    return model
