"""Checkpoints of every family against what transformers computes for them, and laws that need no golden numbers."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from reference.checkpoint import load
from reference.families import FAMILIES, architecture
from reference.generate import continued
from reference.model import Cache, logits, loss
from reference.names import published, taken, tensors
from tests.tiny_checkpoint import GOLDEN, IDS, MASK, drawn, older, save

KNOWN = json.loads(GOLDEN.read_text())
CLOSE = 1e-12


@cache
def numbers(name):
    """The tensors of a case."""
    return {tensor: drawn(tensor, shape) for tensor, shape in KNOWN[name]["tensors"].items()}


@pytest.fixture(scope="module", params=KNOWN, ids=lambda name: name.replace(" ", "_"))
def case(request, tmp_path_factory):
    """What is known of a case, and our model of it."""
    folder = save(tmp_path_factory.mktemp("tiny"), KNOWN[request.param]["config"], numbers(request.param))
    return KNOWN[request.param], load(folder, torch.float64)


def dynamic(model):
    """Whether frequencies depend on the length of the whole batch."""
    return any(layer.rotation and layer.rotation.kind == "dynamic" for layer in model.architecture.layers)


def picked(z):
    """The logits that are kept."""
    return torch.cat([z[0, 3, :3], z[1, 3, :3], z[:, -1, :3].flatten()])


def test_logits_of_a_padded_batch(case):
    known, model = case
    assert (
        picked(logits(*model, IDS, MASK)) - torch.tensor(known["logits"], dtype=torch.float64)
    ).abs().max() < 10 * CLOSE


def test_loss_and_its_gradient(case):
    known, model = case
    weights = {name: weight.clone().requires_grad_() for name, weight in model.weights.items()}
    value = loss(weights, model.architecture, IDS, MASK)
    value.backward()
    norm = sum(weight.grad.square().sum() for weight in weights.values()).sqrt().item()
    assert abs(value.item() / known["loss"] - 1) < CLOSE
    assert abs(norm / known["gradient"] - 1) < 10 * CLOSE


def test_greedy_tokens_with_a_cache(case):
    known, model = case
    if model.architecture.S or not dynamic(model):
        assert continued(*model, IDS, 16, MASK).tolist() == known["greedy"]
    assert continued(*model, IDS, 3, MASK).tolist() == [row[:3] for row in known["greedy"]]


def test_padding_changes_nothing(case):
    """Unless a longer text of the batch, longer than those trained on, decides the frequencies."""
    _, model = case
    alone = logits(*model, IDS[1:, 3:])
    right = torch.cat([IDS[1:, 3:], IDS[1:, :3]], 1), torch.cat([MASK[1:, 3:], MASK[1:, :3]], 1)
    assert (logits(*model, *right)[:, :6] - alone).abs().max() < 10 * CLOSE
    in_company = (logits(*model, IDS, MASK)[1:, 3:] - alone).abs().max()
    assert (in_company < 10 * CLOSE) == (not dynamic(model))
    other = torch.where(MASK, IDS, 50)
    assert torch.equal(logits(*model, other, MASK)[MASK], logits(*model, IDS, MASK)[MASK])


def test_a_cache_changes_nothing(case):
    """Unless old keys were turned by other frequencies."""
    _, model = case
    kept = Cache()
    parts = [logits(*model, IDS[:, a:b], MASK[:, a:b], kept) for a, b in ((0, 2), (2, 7), (7, 8), (8, 9))]
    apart = (torch.cat(parts, 1)[MASK] - logits(*model, IDS, MASK)[MASK]).abs().max()
    assert (apart < 10 * CLOSE) == (not dynamic(model))


def test_the_future_changes_nothing(case):
    _, model = case
    changed = torch.cat([IDS[:, :5], IDS.flip(1)[:, :4]], 1)
    assert torch.equal(logits(*model, changed[:1])[:, :5], logits(*model, IDS[:1])[:, :5])


def test_names_lead_there_and_back(case):
    known, model = case
    names = FAMILIES[model.architecture.family].names
    theirs = published(model.weights, model.architecture, names)
    held = tensors(model.architecture, names)
    assert {name.replace("embed_out", "lm_head") for name in known["tensors"]} == theirs.keys()
    for name, whole in theirs.items():
        parts = held[name if name in held else name.removeprefix(names.prefix)]
        for ours, part in zip(parts, taken(whole, model.architecture, names, parts), strict=True):
            assert torch.equal(part, model.weights[ours])


def test_older_spellings_say_the_same(case):
    known, model = case
    assert architecture(older(known["config"])) == model.architecture


def test_shards_and_stored_types(tmp_path):
    tensors = numbers("llama3")
    whole = load(save(tmp_path / "one", KNOWN["llama3"]["config"], tensors), torch.float64)
    folder = save(tmp_path / "many", KNOWN["llama3"]["config"], {})
    (folder / "model.safetensors").unlink()
    stored = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
    for i, dtype in enumerate(stored):
        part = {name: tensor.to(dtype) for name, tensor in list(tensors.items())[i::6]}
        save(folder / "part", {}, part)
        (folder / "part" / "model.safetensors").rename(folder / f"model-{i}.safetensors")
    where = {name: f"model-{i % 6}.safetensors" for i, name in enumerate(tensors)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    found = load(folder, torch.float64)
    names = FAMILIES["llama"].names
    read, theirs = published(found.weights, found.architecture, names), published(*whole, names)
    for i, name in enumerate(tensors):
        full = read[name]
        assert full.dtype == torch.float64
        assert torch.equal(full, theirs[name].to(stored[i % 6]).double())
    assert load(folder, torch.bfloat16).weights["norm.weight"].dtype == torch.bfloat16


def test_fp8_with_a_scale_for_each_block(tmp_path):
    """As DeepSeek and Qwen publish it: what is stored times its scale, of blocks that need not fit."""
    plain, stored = dict(numbers("qwen3")), dict(numbers("qwen3"))
    for name, tensor in numbers("qwen3").items():
        if "_proj.weight" in name:
            rows, columns = tensor.shape
            scales = drawn(name + "_scale_inv", [-(-rows // 16), -(-columns // 10)]).float() + 1
            stored[name], stored[name + "_scale_inv"] = tensor.to(torch.float8_e4m3fn), scales
            plain[name] = stored[name].double()
            for i in range(rows):
                for j in range(columns):
                    plain[name][i, j] *= scales[i // 16, j // 10].double()
    config = KNOWN["qwen3"]["config"]
    said = {"quant_method": "fp8", "weight_block_size": [16, 10], "activation_scheme": "dynamic"}
    expected = load(save(tmp_path / "plain", config, plain), torch.float64)
    found = load(save(tmp_path / "fp8", config | {"quantization_config": said}, stored), torch.float64)
    assert all(torch.equal(found.weights[name], weight) for name, weight in expected.weights.items())
    stored["model.layers.0.mlp.up_proj.weight_scale_inv"] = torch.ones(2, 2)
    with pytest.raises(ValueError, match=r"up_proj.weight_scale_inv: expected shape \[3, 3\], received \[2, 2\]"):
        load(save(tmp_path / "fp8", config | {"quantization_config": said}, stored))
    with pytest.raises(ValueError, match="weight_block_size: expected rows and columns, received None"):
        load(save(tmp_path / "fp8", config | {"quantization_config": {"quant_method": "fp8"}}, stored))


def test_one_file_beside_its_config(tmp_path):
    folder = save(tmp_path, KNOWN["olmo2"]["config"], numbers("olmo2"))
    whole, alone = load(folder), load(Path(folder, "model.safetensors"))
    assert alone.architecture == whole.architecture
    assert all(torch.equal(alone.weights[name], weight) for name, weight in whole.weights.items())


def test_prefixes_and_buffers(tmp_path):
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in numbers("gpt2").items()}
    buffers = {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    tied = {"lm_head.weight": tensors["wte.weight"]}
    plain = load(save(tmp_path / "a", KNOWN["gpt2"]["config"], numbers("gpt2")))
    other = load(save(tmp_path / "b", KNOWN["gpt2"]["config"], tensors | buffers | tied))
    moved = {name: tensor for name, tensor in (tensors | tied).items() if name != "wte.weight"}
    third = load(save(tmp_path / "c", KNOWN["gpt2"]["config"], moved))
    for name, weight in plain.weights.items():
        assert torch.equal(other.weights[name], weight) and torch.equal(third.weights[name], weight)
