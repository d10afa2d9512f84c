"""Named models and config.json files: counts to the integer, and spellings."""

import subprocess
import sys

import pytest

from bench.configs import FAMILIES, architecture, models, read
from derivations.architecture import active_parameters, parameters
from tests.config_examples import FULL, GEMMA3, GPT2, LLAMA, LOCAL, MOE, QWEN3, SPARSE, V3, decoder, without

COUNTS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt-neox-20b": 20_554_567_680,
    "pythia-6.9b": 6_857_302_016,
    "llama2-7b": 6_738_415_616,
    "llama2-70b": 68_976_648_192,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3-405b": 405_853_388_800,
    "llama3.2-1b": 1_235_814_400,
    "llama3.2-3b": 3_212_749_824,
    "smollm2-135m": 134_515_008,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_630_071_296,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "gemma2-9b": 9_241_705_984,
    "gemma3-27b": 27_009_346_304,
    "olmo2-7b": 7_298_617_344,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v3": 671_026_419_200,
    "kimi-k2": 1_026_408_232_448,
}
"""As transformers 5.24 builds them on the meta device; for DeepSeek-V3 and Kimi K2 also the E numbers in each sparse
layer that correct the scores of experts: a buffer there, in the published shards a tensor like the others."""


def value(printed):
    """The number that is printed, and the unit of its last digit."""
    unit = {"B": 10**9, "T": 10**12}.get(printed[-1], 1)
    digits = printed.rstrip("BT").replace(",", "")
    return float(digits) * unit, unit / 10 ** len(digits.partition(".")[2])


@pytest.mark.parametrize("name", models())
def test_named_models_have_the_parameters_that_are_printed(name):
    P = parameters(architecture(name))
    assert COUNTS[name] == P
    if "printed" in models()[name]:
        printed, unit = value(models()[name]["printed"])
        assert abs(P - printed) < unit


def test_tokens_meet_the_parameters_that_are_printed():
    """The card of gpt-oss leaves out the embedding; DeepSeek's 37.55B has it and the head."""
    active = {name: active_parameters(architecture(name)) for name in models()}
    assert active["mixtral-8x7b"] == 12_879_925_248 and active["qwen3-30b-a3b"] == 3_353_032_704
    assert active["deepseek-v3"] == 37_552_297_472
    for name, printed in (("gpt-oss-20b", 3_608_307_264), ("gpt-oss-120b", 5_132_849_472)):
        a = architecture(name)
        assert active[name] - a.V * a.D == printed


PYTHIA = [(12, 768, 12, 3072, 50304, 162_322_944), (24, 1024, 16, 4096, 50304, 405_334_016),
          (24, 2048, 16, 8192, 50304, 1_414_647_808), (36, 5120, 40, 20480, 50688, 11_846_072_320)]  # fmt: skip


@pytest.mark.parametrize(("L", "D", "H", "F", "V", "printed"), PYTHIA)
def test_pythia(L, D, H, F, V, printed):
    assert parameters(read(decoder("gpt_neox", L, D, H, F, V))) == printed


OTHERS = {
    "Gemma 2 2B": (decoder("gemma2", 26, 2304, 8, 9216, 256000, num_key_value_heads=4), 2_024_517_888),
    "Gemma 2 27B": (decoder("gemma2", 46, 4608, 32, 36864, 256000, num_key_value_heads=16, head_dim=128),
                    26_047_480_320),
    # what google/gemma-3-4b-it says: its heads and its vocabulary are the defaults of the class
    "Gemma 3 4B": ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
                    "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}}, 3_209_010_688),
    "Qwen3 14B": (decoder("qwen3", 40, 5120, 40, 17408, 151936, num_key_value_heads=8), 13_212_482_560),
    "Qwen2.5 0.5B": (decoder("qwen2", 24, 896, 14, 4864, 151936, num_key_value_heads=2, tie_word_embeddings=True),
                     494_032_768 - 151936 * 896),
    "LLaMA 65B": (decoder("llama", 80, 8192, 64, 22016, 32000), 65_285_660_672 - 2 * 32000 * 8192),
    "DeepSeek-V2": (decoder("deepseek_v2", 60, 5120, 128, 12288, 102400, moe_intermediate_size=1536, q_lora_rank=1536,
                            n_routed_experts=160, num_experts_per_tok=6, n_shared_experts=2, first_k_dense_replace=1,
                            kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128),
                    235_741_434_880 - 2 * 102400 * 5120),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_sizes_besides_the_embedding(name):
    a = read(OTHERS[name][0])
    assert parameters(a) - a.V * a.D * (1 if a.tied else 2) == OTHERS[name][1]


SAME = {
    "GPT-2 in new words": (GPT2, decoder("gpt2", 2, 8, 2, 32, 7, max_position_embeddings=5)),
    "null is nothing": (GPT2, {**GPT2, "n_inner": None}),
    "head_dim is the quotient": (LLAMA, {**LLAMA, "head_dim": 2}),
    "key-value heads are heads": (LLAMA, {**LLAMA, "num_key_value_heads": 4}),
    "Llama has a head of its own": (LLAMA, {**LLAMA, "tie_word_embeddings": False}),
    "GPT-2 has none": (GPT2, {**GPT2, "tie_word_embeddings": True}),
    "Gemma has none": (GEMMA3, {**GEMMA3, "tie_word_embeddings": True}),
    "head_dim of Gemma": (GEMMA3, {**GEMMA3, "head_dim": 256}),
    "rotary base, new": ({**LLAMA, "rope_theta": 1e4}, {**LLAMA, "rope_parameters": {"rope_theta": 1e4}}),
    "experts": (MOE, {**{k: v for k, v in MOE.items() if k != "num_local_experts"}, "num_experts": 4}),
    "text inside": (GEMMA3, {"model_type": "gemma3", "text_config": GEMMA3, "vision_config": {}}),
    "pattern and types": (GEMMA3, {**GEMMA3, "layer_types": [LOCAL] * 5 + [FULL, LOCAL]}),
    "pattern and its default": (GEMMA3, {**GEMMA3, "sliding_window_pattern": 6}),
    "windows from below": ({**QWEN3, "max_window_layers": 0}, {**QWEN3, "layer_types": [LOCAL] * 2}),
    "no windows below": (QWEN3, {**QWEN3, "use_sliding_window": False}),
    "all layers full": (QWEN3, {**QWEN3, "layer_types": [FULL] * 2}),
    "all layers sparse": (SPARSE, {**SPARSE, "mlp_only_layers": [], "decoder_sparse_step": 1}),
    "DeepSeek's defaults": (V3, {**V3, "q_lora_rank": 1536, "n_shared_experts": 1, "first_k_dense_replace": 3}),
    "Kimi K2 is one of them": (V3, {**V3, "model_type": "kimi_k2"}),
}


@pytest.mark.parametrize("case", SAME)
def test_two_ways_to_say_the_same(case):
    one, other = SAME[case]
    assert read(one) == read(other)


LEFT_OUT = {
    "gpt2": {"tie_word_embeddings": True, "n_inner": 512},
    "gpt_neox": {"tie_word_embeddings": False, "attention_bias": True},
    "llama": {"num_key_value_heads": 64, "head_dim": 2, "attention_bias": False, "mlp_bias": False},
    "mistral": {"num_key_value_heads": 8, "head_dim": 2, "sliding_window": 4096},
    "mixtral": {"num_key_value_heads": 8, "head_dim": 2, "sliding_window": None},
    "qwen2": {"num_key_value_heads": 32, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128, "use_sliding_window": False},
    "qwen3_moe": {"num_key_value_heads": 4, "head_dim": 2, "use_sliding_window": False, "mlp_only_layers": []},
    "gemma2": {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": True},
    "gemma3_text": {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": True},
    "olmo2": {"num_key_value_heads": 64, "attention_bias": False, "tie_word_embeddings": False},
    "gpt_oss": {"num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128, "attention_bias": True},
    "deepseek_v2": {"q_lora_rank": 1536, "n_shared_experts": 2, "first_k_dense_replace": 0, "moe_layer_freq": 1},
    "deepseek_v3": {"q_lora_rank": 1536, "n_shared_experts": 1, "first_k_dense_replace": 3},
    "kimi_k2": {"q_lora_rank": 1536, "n_shared_experts": 1, "first_k_dense_replace": 3},
}
"""Defaults as they stand in the classes of transformers 5.24; kimi_k2 has no class there and is read as deepseek_v3."""


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_out_takes_the_default_of_transformers(family):
    config = {**SPARSE, **V3, "n_positions": 5, **decoder(family, 3, 128, 64, 5, 7)}
    config = without(config, "intermediate_size") if family == "gpt2" else config
    assert read(config) == read({**config, **LEFT_OUT[family]}) != read({**config, "vocab_size": 8})


def test_windows():
    named = {name: (architecture(name).window, architecture(name).full) for name in models()}
    assert named["mistral-7b"] == (4096, 0) and named["gemma2-9b"] == (4096, 2)
    assert named["gemma3-27b"] == (1024, 6) and named["gpt-oss-20b"] == (128, 2)
    assert all(windows == (None, 1) for name, windows in named.items()
               if name not in ("mistral-7b", "gemma2-9b", "gemma3-27b", "gpt-oss-20b", "gpt-oss-120b"))  # fmt: skip
    for family in ("qwen2", "qwen3", "qwen3_moe"):
        config = {**SPARSE, "model_type": family, "head_dim": 2, "num_key_value_heads": 4, "use_sliding_window": True}
        assert read({**config, "max_window_layers": 0}).window == 4096
    assert read({**QWEN3, "layer_types": [LOCAL, FULL]}).full == 2
    assert read({**GEMMA3, "num_hidden_layers": 5}).full == 0


def test_no_tensor_library_is_imported():
    code = "import sys, bench.configs, bench.cards; assert not {'torch', 'jax', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
