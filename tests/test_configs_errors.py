"""What is wrong with a config.json, a file or a name is said in one line."""

import json
from dataclasses import replace

import pytest

from bench.configs import FAMILIES, architecture, read
from tests.config_examples import FULL, GEMMA3, GPT2, LLAMA, LOCAL, MOE, QWEN3, SPARSE, V3, decoder, without

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
