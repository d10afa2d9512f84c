"""Tiny checkpoints on disk, without the packages that make them: numbers that any Python draws alike, and a writer."""

import json
import random
import struct
from pathlib import Path

import torch

GOLDEN = Path(__file__).parent / "data" / "checkpoints.json"
"""For each case the config.json and the tensors that transformers saves, and what it computes in float64."""

IDS = torch.tensor([[7, 19, 44, 5, 91, 62, 33, 8, 70], [0, 0, 0, 12, 88, 3, 54, 17, 29]])
MASK = torch.tensor([[1] * 9, [0] * 3 + [1] * 6]).bool()
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
          torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int64: "I64"}  # fmt: skip


def drawn(name: str, shape: list[int]) -> torch.Tensor:
    """Numbers between −0.5 and 0.6, whose sequence the name decides."""
    n, source = torch.Size(shape).numel(), random.Random(name)
    return torch.tensor([source.random() * 1.1 - 0.5 for _ in range(n)], dtype=torch.float64).reshape(shape)


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A safetensors file."""
    header, parts, begin = {}, [], 0
    for name, tensor in tensors.items():
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [begin, begin + len(data)]}  # fmt: skip
        parts.append(data)
        begin += len(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def save(folder: Path, config: dict, tensors: dict[str, torch.Tensor]) -> Path:
    """A folder with config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "model.safetensors", tensors)
    return folder


def older(config: dict) -> dict:
    """The same config.json as it was written before: what follows from a pattern or a flag is left out."""
    config = dict(config)
    family, rope = config["model_type"], dict(config.pop("rope_parameters", None) or {})
    if family in ("gemma2", "smollm3", "qwen2") or (family == "gemma3_text" and config["num_hidden_layers"] == 7):
        config.pop("layer_types", None)
    if family == "smollm3" and config["no_rope_layers"] == [1, 1, 1, 0, 1]:
        del config["no_rope_layers"]
    if family.startswith("qwen") and not config["use_sliding_window"]:
        config |= {"sliding_window": 3, "max_window_layers": 0}
        config.pop("layer_types", None)
    if family == "gemma3_text":
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    if family == "gpt_neox":
        config |= {"rotary_emb_base": rope.pop("rope_theta"), "rotary_pct": rope.pop("partial_rotary_factor")}
    elif rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        rope["type"] = rope.pop("rope_type")
        config["rope_scaling"] = rope
    return config | {"torch_dtype": "float32", "architectures": ["Anything"], "use_cache": True}
