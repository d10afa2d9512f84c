"""Files that are wrong, and options that are not supported: one clear line each, and exit code 2."""

import json
import os
import pickle
import struct

import pytest
import torch

from reference import generate
from reference.architecture import Architecture, Layer, Rotation
from reference.checkpoint import load
from reference.families import architecture
from reference.model import Cache, logits, loss
from tests.test_checkpoint import KNOWN, numbers
from tests.tiny_checkpoint import IDS, MASK, save, write


def config(case, **changes):
    return KNOWN[case]["config"] | changes


FIELDS = {
    "no family": ("llama2", {"model_type": None}, "model_type: expected one of gemma3, gpt2"),
    "another family": ("llama2", {"model_type": "mamba"}, "model_type: expected one of gemma3, .*received 'mamba'"),
    "no size": ("llama2", {"hidden_size": None}, "hidden_size: expected an integer from 1 to 2\\*\\*40, received n"),
    "a size that is text": ("llama2", {"num_hidden_layers": "3"}, "num_hidden_layers: expected an integer"),
    "more layers than there are": ("llama2", {"num_hidden_layers": 2**30}, "num_hidden_layers: expected at most 4096"),
    "a head too wide": ("llama2", {"head_dim": 2**38}, "head_dim: expected at most 65536"),
    "heads that do not fit": ("llama2", {"num_key_value_heads": 3}, "num_attention_heads: expected a multiple of the"),
    "a width that does not fit": ("llama2", {"hidden_size": 25, "head_dim": None}, "hidden_size: expected a multiple"),
    "an activation": ("llama2", {"hidden_act": "tanh"}, "hidden_act: expected one of silu, .*received 'tanh'"),
    "an activation of GPT-2": ("gpt2", {"activation_function": "gelu_fast"}, "activation_function: expected one of"),
    "a rope type": ("llama2", {"rope_parameters": {"rope_type": "longrope"}}, "rope_type: expected default, linear"),
    "an older rope type": ("llama2", {"rope_scaling": {"type": "su", "factor": 2.0}}, "rope_type: .*received 'su'"),
    "factors that cross": (
        "llama2", {"rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 4, "high_freq_factor": 1}},
        "low: expected a number below high, 1, received 4"),
    "no factor": ("llama2", {"rope_scaling": {"type": "linear"}}, "factor: expected a number above 0, received"),
    "scaling that is no object": ("llama2", {"rope_scaling": 8.0}, "rope_scaling: expected an object, received 8.0"),
    "partial rotation": ("llama2", {"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1 in llama"),
    "a flag": ("llama2", {"attention_bias": "no"}, "attention_bias: expected true or false, received 'no'"),
    "ε": ("llama2", {"rms_norm_eps": 0}, "rms_norm_eps: expected a number above 0, received 0"),
    "types of layers": ("qwen3", {"layer_types": ["full_attention"]}, "layer_types: expected a list of 3"),
    "a type of layer": ("gemma2", {"layer_types": ["chunked_attention"] * 3}, "layer_types: expected a list of 3, e"),
    "windows without a width": ("qwen3", {"layer_types": ["sliding_attention"] * 3}, "layer_types: .*full_attention, "),
    "both directions": ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention: expected none"),
    "cross-attention": ("gpt2", {"add_cross_attention": True}, "add_cross_attention: expected none: a decoder alone"),
    "quantized": ("llama2", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config: expected none"),
    "NoPE": ("smollm3", {"no_rope_layers": [1, 2]}, "no_rope_layers: expected a list of 5"),
    "an odd head": ("llama2", {"head_dim": 7}, "rotary dimension of a head: expected an even number of coord"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FIELDS)
def test_fields_of_config(fault, tmp_path):
    case, changes, line = FIELDS[fault]
    with pytest.raises(ValueError, match=f"^[^\n]*config.json: {line}[^\n]*$"):
        load(save(tmp_path, config(case, **changes), numbers(case)))


def less(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key != name}


Q = "model.layers.1.self_attn.q_proj.weight"
TENSORS = {
    "missing": (lambda t: less(t, Q), "missing tensor layers.1.self_attn.q_proj.weight, for llama of 3 layers"),
    "many missing": (lambda t: {"lm_head.weight": t["lm_head.weight"]}, "missing tensor .* and 28 more"),
    "unknown": (lambda t: t | {"model.layers.0.self_attn.q_proj.bias": t["model.norm.weight"]}, "unknown tensor lay"),
    "a layer too many": (lambda t: t | {"model.layers.3.mlp.up_proj.weight": t[Q]}, "unknown tensor layers.3.mlp.up"),
    "misshapen": (lambda t: t | {Q: t[Q][:5]}, r"layers.1.self_attn.q_proj.weight: expected shape \[24, 24\], rec"),
    "transposed": (lambda t: t | {"model.layers.0.mlp.up_proj.weight": t["model.layers.0.mlp.up_proj.weight"].mT},
                   r"layers.0.mlp.up_proj.weight: expected shape \[40, 24\], received \[24, 40\]"),
    "twice": (lambda t: t | {"norm.weight": t["model.norm.weight"]}, "norm.weight: expected once, found under two"),
}  # fmt: skip


@pytest.mark.parametrize("fault", TENSORS)
def test_tensors(fault, tmp_path):
    change, line = TENSORS[fault]
    with pytest.raises(ValueError, match=f"{line}[^\n]*$"):
        load(save(tmp_path, config("llama2"), change(numbers("llama2"))))


def test_a_tied_head_that_is_another(tmp_path):
    tensors = numbers("gpt2") | {"lm_head.weight": torch.zeros(97, 24)}
    with pytest.raises(ValueError, match=r"lm_head.weight: expected the embedding, for its config ties them"):
        load(save(tmp_path, config("gpt2"), tensors))


def header(entries, data=b"\0" * 8):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BYTES = {
    "empty": (b"", "expected a safetensors file, received 0 bytes"),
    "no header": (struct.pack("<Q", 2**62), "expected a safetensors header within 8 bytes"),
    "pickled": (pickle.dumps({"a": 1}), "expected a safetensors"),
    "no JSON": (struct.pack("<Q", 4) + b"{{{{", "expected a safetensors header of JSON"),
    "a list": (header([1]), "expected a header that is an object, received list"),
    "no entry": (header({"a": 3}), "expected dtype, shape and data_offsets of a"),
    "a negative place": (
        header({"a": ENTRY | {"data_offsets": [-8, 0]}}),
        "expected dtype, shape and data_offsets of a",
    ),
    "a shape of text": (header({"a": ENTRY | {"shape": ["2"]}}), "expected dtype, shape and data_offsets of a"),
    "three places": (header({"a": ENTRY | {"data_offsets": [0, 4, 8]}}), "expected two data_offsets of a"),
    "a dtype": (header({"a": ENTRY | {"dtype": "F4"}}), "expected a dtype of a among F64"),
    "a size": (header({"a": ENTRY | {"shape": [3]}}), "expected 12 bytes from 0 for a, received 0 to 8"),
    "a gap": (header({"a": ENTRY | {"data_offsets": [4, 12]}}, b"\0" * 12), "expected 8 bytes from 0 for a"),
    "too long": (header({"a": ENTRY}, b"\0" * 9), "so it is cut off or not whole"),
    "cut off": (header({"a": ENTRY}, b"\0" * 7), "so it is cut off or not whole"),
}


@pytest.mark.parametrize("fault", BYTES)
def test_files(fault, tmp_path):
    data, line = BYTES[fault]
    folder = save(tmp_path, config("llama2"), {})
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=f"model.safetensors: [^\n]*{line}[^\n]*$"):
        load(folder)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_off(share, tmp_path):
    file = save(tmp_path, config("llama2"), numbers("llama2")) / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"model.safetensors: expected [^\n]*$"):
        load(tmp_path)


def test_folders(tmp_path):
    with pytest.raises(ValueError, match=r"nothing: expected a folder with config.json, a safetensors or a GGUF file"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="found neither"):
        load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"found pytorch_model.bin, which is pickled and could run code"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"expected a folder, a .safetensors or a .gguf file"):
        load(tmp_path / "pytorch_model.bin")
    write(tmp_path / "model.safetensors", numbers("llama2"))
    with pytest.raises(ValueError, match=r"config.json: cannot be read: No such file"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: expected JSON"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"dtype: expected one of torch.float64"):
        load(tmp_path, torch.int64)


def test_an_index(tmp_path):
    folder = save(tmp_path, config("llama2"), numbers("llama2"))
    os.rename(folder / "model.safetensors", folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    for where, line in (
        (None, "expected a weight_map"),
        ({"a": "../part.safetensors"}, "expected names of safetensors files in this folder"),
        ({"a": "part.bin"}, "expected names of safetensors files in this folder"),
        ({"a": "part.safetensors", "b": "gone.safetensors"}, "gone.safetensors: cannot be read: No such file"),
    ):
        index.write_text(json.dumps({"weight_map": where}))
        with pytest.raises(ValueError, match=line):
            load(folder)
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors", "b": "same.safetensors"}}))
    write(folder / "same.safetensors", {Q: torch.zeros(1)})
    with pytest.raises(ValueError, match=f"same.safetensors: expected every tensor once, {Q} is in another file"):
        load(folder)


GGUF = {
    "empty": (b"", "expected a GGUF file"),
    "another": (b"GGML" + b"\0" * 40, "expected a GGUF file, received something else"),
    "a version": (b"GGUF" + struct.pack("<I", 1), "expected version 2 or 3 of GGUF"),
    "no counts": (b"GGUF" + struct.pack("<I", 3), "received one that ends or errs in its header"),
    "a text too long": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "received one that ends or errs"),
    "a type": (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"a", 77), "received one that ends or errs"),
    "nothing in it": (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "expected an architecture among gpt2"),
    "cut off": (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"a", 1, 9, 0, 0), "for a, .*so it is cut off"),
}


@pytest.mark.parametrize("fault", GGUF)
def test_gguf(fault, tmp_path):
    data, line = GGUF[fault]
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(ValueError, match=f"model.gguf: [^\n]*{line}[^\n]*$"):
        load(tmp_path / "model.gguf")


def test_what_a_model_is_asked(tmp_path):
    model = load(save(tmp_path, config("gpt2"), numbers("gpt2")), torch.float64)
    with pytest.raises(ValueError, match=r"ids: expected axes B T, received shape \(9,\)"):
        logits(*model, IDS[0])
    with pytest.raises(ValueError, match="ids: expected entries from 0 to 96"):
        logits(*model, IDS + 50)
    with pytest.raises(ValueError, match="ids: expected an integer tensor"):
        logits(*model, IDS.double())
    with pytest.raises(ValueError, match="ids: expected one token or more"):
        logits(*model, IDS[:, :0])
    with pytest.raises(ValueError, match=r"mask: expected the shape of ids, \(2, 9\), received"):
        logits(*model, IDS, MASK[:, 1:])
    with pytest.raises(ValueError, match="mask: expected entries from 0 to 1"):
        logits(*model, IDS, MASK * 2)
    with pytest.raises(ValueError, match="ids: expected at most the 64 positions of the model, received 72"):
        logits(*model, IDS.repeat(1, 8))
    with pytest.raises(ValueError, match="positions: expected entries from 0 to 63"):
        logits(*model, IDS, positions=IDS + 1)
    with pytest.raises(ValueError, match="T: expected an integer ≥ 2, received 1"):
        loss(*model, IDS[:, :1])
    kept = Cache()
    logits(*model, IDS, None, kept)
    with pytest.raises(ValueError, match="axis B: expected one size, 2, received 1"):
        logits(*model, IDS[:1], None, kept)
    with pytest.raises(ValueError, match=r"mask: expected text in the last column \(padding on the left\)"):
        generate.continued(*model, IDS, 2, MASK.flip(1))
    with pytest.raises(ValueError, match="steps: expected an integer ≥ 1, received 0"):
        generate.continued(*model, IDS, 0)


def test_an_architecture_that_is_none():
    sizes = dict(family="x", D=8, H=2, G=1, K=4, F=8, V=9, layers=(Layer(0.5),))
    for changes, line in (
        ({"norm": "batch"}, "norm: expected one of layer, rms"),
        ({"qk_norm": "x"}, "qk_norm: expected one of none, head, joint"),
        ({"norm": "layer", "qk_norm": "head"}, "qk_norm: expected none beside LayerNorm"),
        ({"G": 4}, "num_attention_heads: expected a multiple of the 4"),
    ):
        with pytest.raises(ValueError, match=line):
            Architecture(**(sizes | changes))
    with pytest.raises(ValueError, match="rope_type: expected one of default"):
        Rotation(4, kind="none")
    with pytest.raises(ValueError, match="divisors of frequencies: expected 2, one a pair, received 1"):
        Rotation(4, kind="divided", divisors=(1.0,))


def test_the_text_of_a_model_of_images(tmp_path):
    """A Gemma 3 of text and images holds its text under either prefix; of its config the text's part counts."""
    known = KNOWN["gemma3"]
    plain = load(save(tmp_path / "text", known["config"], numbers("gemma3")))
    outer = {"model_type": "gemma3", "text_config": known["config"], "vision_config": {}}
    for prefix in ("language_model.model.", "model.language_model."):
        tensors = {name.replace("model.", prefix, 1): tensor for name, tensor in numbers("gemma3").items()}
        tensors["vision_tower.a"] = tensors["multi_modal_projector.b"] = torch.ones(1)
        found = load(save(tmp_path / prefix, outer, tensors))
        assert found.architecture == plain.architecture
        assert all(torch.equal(found.weights[name], weight) for name, weight in plain.weights.items())


def test_the_command_line(tmp_path, capsys):
    folder = save(tmp_path, config("llama2"), numbers("llama2"))
    (folder / "model.safetensors").write_bytes(b"no")
    for arguments, line in (
        (("--weights", str(tmp_path / "gone")), "gone: expected a folder with config.json"),
        (("--weights", str(folder)), "expected a safetensors file, received 2 bytes"),
        (("--weights", str(folder), "--length", "0"), "length: expected an integer ≥ 1"),
        (("--weights", str(folder), "--temperature", "-1"), "temperature: expected a number from 0"),
        (("--weights", str(folder), "--temperature", "1", "--top-p", "2"), "p: expected a number above 0, at most 1"),
    ):
        assert generate.main([*arguments, "--prompt", "a"]) == 2
        assert line in (told := capsys.readouterr().err) and told.count("\n") == 1


def test_configs_that_leave_things_out():
    """What the first published files leave out is what the class of the family has."""
    least = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "vocab_size": 9,
        "intermediate_size": 8,
    }
    llama, mistral = (architecture({**least, "model_type": name}) for name in ("llama", "mistral"))
    assert (llama.G, llama.K, llama.tied, llama.eps, llama.layers[0].window) == (8, 8, False, 1e-6, None)
    assert mistral.layers[0].window == 4096
    assert architecture(
        {**least, "model_type": "gemma", "hidden_act": "gelu", "num_key_value_heads": 1}
    ) == architecture({**least, "model_type": "gemma", "hidden_act": "gelu_pytorch_tanh", "num_key_value_heads": 1})
