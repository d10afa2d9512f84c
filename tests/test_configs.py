"""Named models and config.json files: counts to the integer, spellings, the line of each error, and cards."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cards import card, cards
from bench.configs import FAMILIES, LIMIT, architecture, models, read
from derivations.architecture import Architecture, Experts, Latent, active_parameters, parameters

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


def decoder(family, L, D, H, F, V, **more):
    return {"model_type": family, "num_hidden_layers": L, "hidden_size": D, "num_attention_heads": H,
            "intermediate_size": F, "vocab_size": V, **more}  # fmt: skip


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


def without(config, name):
    return {k: v for k, v in config.items() if k != name}


GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 7, "n_positions": 5}
LLAMA = decoder("llama", 2, 8, 4, 12, 7)
MOE = decoder("mixtral", 2, 8, 4, 12, 7, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
GEMMA3 = decoder("gemma3_text", 7, 8, 4, 12, 7, num_key_value_heads=2, sliding_window=3)
QWEN3 = decoder("qwen3", 2, 8, 4, 12, 7, num_key_value_heads=2, use_sliding_window=True, sliding_window=3)
SPARSE = decoder("qwen3_moe", 3, 8, 4, 12, 7, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=5)
V3 = decoder("deepseek_v3", 4, 8, 4, 12, 7, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=5,
             kv_lora_rank=6, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=5)  # fmt: skip
LOCAL, FULL = "sliding_attention", "full_attention"

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


KNOWN = f"model_type: expected one of gemma3, {', '.join(FAMILIES)}, received"
WRONG = {
    "not an object": ([1], "config.json: expected an object, received [1]"),
    "no family": ({}, f"{KNOWN} null"),
    "another family": ({"model_type": "bert"}, f"{KNOWN} 'bert'"),
    "a list for a family": ({"model_type": []}, f"{KNOWN} []"),
    "no text": ({"model_type": "gemma3"}, "text_config: expected an object, received null"),
    "missing": (without(LLAMA, "vocab_size"), "vocab_size: expected an integer from 1 to 2**40, received nothing"),
    "missing, old": (without(GPT2, "n_embd"), "hidden_size: expected an integer from 1 to 2**40, received nothing"),
    "zero": ({**GPT2, "n_layer": 0}, "n_layer: expected an integer from 1 to 2**40, received 0"),
    "negative": ({**LLAMA, "hidden_size": -8}, "hidden_size: expected an integer from 1 to 2**40, received -8"),
    "boolean": ({**LLAMA, "vocab_size": True}, "vocab_size: expected an integer from 1 to 2**40, received true"),
    "a fraction": ({**LLAMA, "vocab_size": 7.0}, "vocab_size: expected an integer from 1 to 2**40, received 7.0"),
    "text": ({**LLAMA, "vocab_size": "7"}, "vocab_size: expected an integer from 1 to 2**40, received '7'"),
    "absurd": ({**LLAMA, "vocab_size": 2**40 + 1},
               "vocab_size: expected an integer from 1 to 2**40, received 1099511627777"),
    "two values": ({**GPT2, "hidden_size": 4},
                   "hidden_size: expected one value, received {'hidden_size': 4, 'n_embd': 8}"),
    "not a flag": ({**LLAMA, "tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false, received 1"),
    "groups": ({**LLAMA, "num_key_value_heads": 3},
               "num_attention_heads: expected a multiple of the 3 key-value heads, received 4"),
    "width": ({**LLAMA, "hidden_size": 10},
              "hidden_size: expected a multiple of the 4 attention heads, for head_dim is not given, received 10"),
    "odd": ({**LLAMA, "head_dim": 3}, "head_dim: expected an even number, for rotary positions, received 3"),
    "odd part": ({**V3, "qk_rope_head_dim": 3},
                 "qk_rope_head_dim: expected an even number, for rotary positions, received 3"),
    "experts": ({**MOE, "num_experts_per_tok": 5}, "num_experts_per_tok: expected at most the 4 experts, received 5"),
    "dense layers": ({**V3, "first_k_dense_replace": 5},
                     "first_k_dense_replace: expected at most the 4 layers, received 5"),
    "every other layer": ({**SPARSE, "decoder_sparse_step": 2}, "decoder_sparse_step: expected 1, received 2"),
    "a later layer": ({**SPARSE, "mlp_only_layers": [1]},
                      "mlp_only_layers: expected the first layers: 0, 1, …, received [1]"),
    "half biased": ({**LLAMA, "attention_bias": True},
                    "attention_bias: expected false as in the rest of a block of llama, received true"),
    "unbiased": (decoder("gpt_neox", 2, 8, 4, 12, 7, attention_bias=False),
                 "attention_bias: expected true as in the rest of a block of gpt_neox, received false"),
    "an encoder": ({**GPT2, "add_cross_attention": True},
                   "add_cross_attention: expected false: a decoder alone, received true"),
    "too few types": ({**GEMMA3, "layer_types": [FULL]},
                      "layer_types: expected a list of 7 types, received ['full_attention']"),
    "no rhythm": ({**QWEN3, "layer_types": [FULL, LOCAL]},
                  "layer_types: expected sliding_attention, and full_attention at every n-th layer, received "
                  "['full_attention', 'sliding_attention']"),
    "half the layers": ({**QWEN3, "max_window_layers": 1},
                        "max_window_layers: expected 0, or at least the 2 layers, received 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors_say_what_was_expected_and_what_came(case, tmp_path):
    config, line = WRONG[case]
    with pytest.raises(ValueError) as error:
        read(config)
    assert str(error.value) == line
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError) as error:
        architecture(str(tmp_path))
    assert str(error.value).endswith(f": {line}") and len(str(error.value).splitlines()) == 1


def test_files(tmp_path):
    file = tmp_path / "config.json"
    for content, line in ((b"", "expected JSON"), (b"{", "expected JSON"), (b"\xff\xfe\x00", "expected JSON"),
                          (b"[" * 10**5, "expected JSON"), (b"3", "expected an object")):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(ValueError, match=line) as error:
            architecture(str(file))
        assert len(str(error.value).splitlines()) == 1
    file.write_text(json.dumps(GPT2), encoding="utf-8-sig")
    for model in (str(tmp_path), str(file)):
        assert architecture(model) == replace(read(GPT2), name=model)
    file.unlink()
    for name in (str(tmp_path), str(file), "", "\0", "x" * 5000):
        with pytest.raises(ValueError, match=r"^model: expected a .*config\.json.*, received") as error:
            architecture(name)
        assert len(str(error.value).splitlines()) == 1


def test_names():
    assert architecture("GPT2-XL") == architecture("gpt2-xl") and architecture("gpt2").name == "gpt2"
    with pytest.raises(ValueError, match=r"^model: .* such as llama3-8b, llama3-70b.*, received 'llama3-9b'$"):
        architecture("llama3-9b")
    with pytest.raises(ValueError, match=r"such as gpt2, gpt2-medium, .*kimi-k2, received 'zzz'$"):
        architecture("zzz")
    with pytest.raises(ValueError, match=r"^model: .*folder with one \(no such file\), received './gpt2'$"):
        architecture("./gpt2")


def test_no_tensor_library_is_imported():
    code = "import sys, bench.configs, bench.cards; assert not {'torch', 'jax', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


sizes = st.integers(1, 2**20)


@st.composite
def valid(draw):
    """A config.json of any sizes, and the architecture that it means."""
    family = draw(st.sampled_from(["gpt2", "gpt_neox", "llama", "mixtral", "qwen3", "gemma2", "olmo2", "deepseek_v3"]))
    L, G, K, F, V = (
        draw(st.integers(1, 99)),
        draw(st.integers(1, 9)),
        2 * draw(st.integers(1, 99)),
        *draw(st.tuples(sizes, sizes)),
    )
    H, D, tied = G * draw(st.integers(1, 9)), draw(sizes), draw(st.booleans())
    if family in ("gpt2", "gpt_neox"):
        G, D = H, H * K
    config = decoder(family, L, D, H, F, V, tie_word_embeddings=tied, num_key_value_heads=G, head_dim=K)
    meant = Architecture(L, D, H, G, K, F, V, tied=tied, **FAMILIES[family])
    if family == "gpt2":
        config = {{"hidden_size": "n_embd", "intermediate_size": "n_inner"}.get(k, k): v for k, v in config.items()}
        config["n_positions"], meant = V, replace(meant, S=V)
    E, active = (lambda e: (e, draw(st.integers(1, e))))(draw(st.integers(1, 99)))
    if family == "mixtral":
        config |= {"num_local_experts": E, "num_experts_per_tok": active}
        meant = replace(meant, experts=Experts(E, active, F))
    if family == "gemma2":
        config["sliding_window"], meant = V, replace(meant, window=V, full=2 if L > 1 else 0)
    if family == "deepseek_v3":
        dense, shared, q, *c = draw(
            st.tuples(st.integers(0, L), st.integers(0, 3), st.none() | sizes, sizes, sizes, sizes)
        )
        config |= {"n_routed_experts": E, "num_experts_per_tok": active, "moe_intermediate_size": c[0],
                   "n_shared_experts": shared, "first_k_dense_replace": dense, "q_lora_rank": q, "kv_lora_rank": c[1],
                   "qk_nope_head_dim": c[2], "qk_rope_head_dim": K, "v_head_dim": D}  # fmt: skip
        meant = replace(meant, K=c[2] + K, latent=Latent(c[1], c[2], K, D, q),
                        experts=Experts(E, active, c[0], shared, dense, True))  # fmt: skip
    return config, meant


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("model") / "config.json"


@given(valid())
@settings(deadline=None)
def test_any_valid_sizes_are_read_back(file, case):
    config, meant = case
    file.write_text(json.dumps(config), encoding="utf-8")
    assert architecture(str(file)) == replace(meant, name=str(file))


NUMBERS = st.integers(-2, 5) | st.integers(-LIMIT, 2**70) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.sampled_from([FULL, LOCAL]),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=3), x, max_size=3),
)
BASES = [GPT2, LLAMA, MOE, GEMMA3, QWEN3, SPARSE, V3, {"model_type": "gemma3", "text_config": GEMMA3}]
OPTIONAL = {"layer_types", "mlp_only_layers", "max_window_layers", "attention_bias", "head_dim", "q_lora_rank",
            "first_k_dense_replace", "n_shared_experts", "tie_word_embeddings", "decoder_sparse_step"}  # fmt: skip
FIELDS = sorted({k for base in BASES for k in base} | OPTIONAL)


@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
       st.sets(st.sampled_from(FIELDS), max_size=1), st.sampled_from(sorted(FAMILIES)) | st.none())  # fmt: skip
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_no_traceback_for_random_values(file, base, changed, gone, family):
    config = {
        k: v for k, v in {**base, **({"model_type": family} if family else {}), **changed}.items() if k not in gone
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    try:
        P = parameters(architecture(str(file)))
    except ValueError as error:
        assert len(str(error).splitlines()) == 1 and "expected" in str(error) and "received" in str(error)
    else:
        assert isinstance(P, int) and P > 0


@given(VALUES | st.binary(max_size=20))
@settings(deadline=None)
def test_no_traceback_for_random_files(file, content):
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ValueError) as error:
        architecture(str(file))
    assert len(str(error.value).splitlines()) == 1


CARDS = {"h100-80": ("h100-80g", "H100 80GB", "h100", "NVIDIA H100-80GiB"), "t4-16": ("Tesla T4",),
         "rtx4090-24": ("4090", "RTX 4090", "rtx4090-24gb"), "a100-40": ("A100-40GB",)}  # fmt: skip


def test_cards():
    for name, spellings in CARDS.items():
        assert card(name) == cards()[name]
        for spelling in spellings:
            assert card(spelling).name == name
    for one in cards().values():
        nominal = int(one.name.partition("-")[2])
        assert 0.92 * nominal * 10**9 < one.bytes <= nominal * 2**30 and type(one.bytes) is int
        assert 5e13 < one.peak < 3e15 and 2e11 < one.bandwidth < 1e13 and one.source and one.memory


@pytest.mark.parametrize(("name", "line"), [
    ("a100", "card: expected a name such as a100-40, a100-80, received 'a100'"),
    ("h100-96g", "card: expected a name such as h100-80, v100-32, a100-80, received 'h100-96g'"),
    ("", f"card: expected a name such as {', '.join(cards())}, received ''"),
])  # fmt: skip
def test_unknown_cards(name, line):
    with pytest.raises(ValueError) as error:
        card(name)
    assert str(error.value) == line
