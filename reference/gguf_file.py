r"""The GGUF format of llama.cpp: metadata, names, shapes and places of tensors, then their numbers, often quantized.

    "GGUF" | version | counts | key, type, value … | name, axes, type, place … | padding | numbers

The package `gguf` is needed for quantized numbers alone, and says what they mean. A file is read as numbers and text;
its chat template is not run.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from reference.architecture import Architecture
from reference.families import architecture
from reference.names import GGUF, GGUF_FUSED, GGUF_PAIRS, Names
from reference.stored import Stored, fail

if TYPE_CHECKING:
    from torch import Tensor

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, F32 = 8, 9, 6
PLAIN = {0: torch.float32, 1: torch.float16, 28: torch.float64, 30: torch.bfloat16}
"""Types of tensors that are not quantized."""

TYPES = {
    "gpt2": ("gpt2", GGUF_FUSED),
    "gptneox": ("gpt_neox", GGUF_FUSED),
    "llama": ("llama", GGUF_PAIRS),
    "smollm3": ("smollm3", GGUF_PAIRS),
    "qwen2": ("qwen2", GGUF),
    "qwen3": ("qwen3", GGUF),
    "gemma": ("gemma", GGUF),
    "gemma2": ("gemma2", GGUF),
    "gemma3": ("gemma3_text", GGUF),
    "olmo2": ("olmo2", GGUF),
}
"""Of general.architecture: the family, and how its tensors are called and lie."""

FIELDS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "layer_norm_eps": "attention.layer_norm_epsilon",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
    "rope_theta": "rope.freq_base",
    "rotary_emb_base": "rope.freq_base",
    "rope_local_base_freq": "rope.freq_base_swa",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "use_parallel_residual": "use_parallel_residual",
}
"""Fields of a config.json, and the metadata that say the same."""

LARGEST = {"gemma2": 46, "gemma3": 62}
"""The layers of those models of a family whose scores are divided by √(D/H) and not by √K; GGUF does not say it."""


class Reader:
    """Values from a place on, each of which must lie within the file."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory, self.place = memory, 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.memory, self.place)
        self.place += struct.calcsize("<" + code)
        return value

    def text(self) -> str:
        length = self.scalar("Q")
        if length > len(self.memory) - self.place:
            raise struct.error("a text beyond the end")
        self.place += length
        return self.memory[self.place - length : self.place].decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            of, count = self.scalar("I"), self.scalar("Q")
            if count > len(self.memory) - self.place:
                raise struct.error("a list beyond the end")
            if of in SCALARS:  # hundreds of thousands, of which no two may become one by rounding: scores of tokens
                code = f"<{count}{SCALARS[of]}"
                values = struct.unpack_from(code, self.memory, self.place)
                self.place += struct.calcsize(code)
                return list(values)
            return [self.value(of) for _ in range(count)]
        value = self.scalar(SCALARS[kind])
        return float(f"{value:.7g}") if kind == F32 else value  # the decimals that were meant: 1e-05, not 9.9999997e-06


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Stored]]:
    """The metadata of a GGUF file, and its tensors by name, none of them read yet.

    Raises ValueError for a file that is cut off or is none, and for quantized tensors without the package `gguf`.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                fail(path, "a GGUF file", "something else")
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    reader = Reader(memory)
    reader.place = 4
    try:
        version = reader.scalar("I")
        if version not in (2, 3):
            fail(path, "version 2 or 3 of GGUF, little-endian", version)
        count, fields = reader.scalar("Q"), reader.scalar("Q")
        found = {reader.text(): reader.value(reader.scalar("I")) for _ in range(fields)}
        entries = list(_entries(reader, count))
    except (struct.error, UnicodeDecodeError, KeyError, RecursionError):
        raise ValueError(f"{path}: expected a whole GGUF file, received one that ends or errs in its header") from None
    align = found.get("general.alignment", 32)
    if not isinstance(align, int) or align < 1:
        fail(path, "an alignment above 0", align)
    start = -(-reader.place // align) * align
    tensors: dict[str, Stored] = {}
    for name, shape, kind, offset in entries:
        width = _bytes(path, name, kind, shape)
        begin = start + offset
        if begin + width > len(memory):
            fail(path, f"{begin + width} bytes or more, for {name}", f"{len(memory)}, so it is cut off")
        if name in tensors:
            fail(path, "every tensor once", f"{name} twice")
        tensors[name] = Stored(shape, partial(_numbers, memory, begin, begin + width, kind, shape))
    return found, tensors


def _entries(reader: Reader, count: int) -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    for _ in range(count):
        name, axes = reader.text(), reader.scalar("I")
        shape = tuple(reader.scalar("Q") for _ in range(min(axes, 9)))[::-1]  # the last axis comes first
        yield name, shape, reader.scalar("I"), reader.scalar("Q")


def _bytes(path, name: str, kind: int, shape: tuple[int, ...]) -> int:
    """How many bytes a tensor takes."""
    n = 1
    for axis in shape:
        n *= axis
    if kind in PLAIN:
        return n * PLAIN[kind].itemsize
    package = _package(path)
    try:
        block, width = package.GGML_QUANT_SIZES[package.GGMLQuantizationType(kind)]
    except (KeyError, ValueError):
        fail(path, f"a type of {name} that the package gguf knows", kind)
    if not shape or shape[-1] % block:
        fail(path, f"rows of {name} in blocks of {block}", f"shape {list(shape)}")
    return n // block * width


def _package(path) -> Any:
    try:
        import gguf
    except ModuleNotFoundError:
        raise ValueError(f"{path}: its numbers are quantized; expected the package gguf (pip install gguf)") from None
    return gguf


def _numbers(memory: mmap.mmap, begin: int, end: int, kind: int, shape: tuple[int, ...]) -> Tensor:
    """The numbers of a tensor, float32 if they are quantized."""
    data = bytearray(memory[begin:end])
    if kind in PLAIN:
        return torch.frombuffer(data, dtype=PLAIN[kind]).reshape(shape)
    import numpy as np

    package = _package("GGUF")
    rows = np.frombuffer(data, np.uint8).reshape(*shape[:-1], -1)
    try:
        return torch.from_numpy(package.dequantize(rows, package.GGMLQuantizationType(kind))).reshape(shape)
    except NotImplementedError:
        raise ValueError(f"GGUF: cannot be dequantized: {package.GGMLQuantizationType(kind).name}") from None


def described(path: str | os.PathLike[str], found: dict[str, Any], stored: dict[str, Stored]) -> dict[str, Any]:
    """The config.json that says what the metadata say."""
    kind = found.get("general.architecture")
    if kind not in TYPES:
        fail(path, f"an architecture among {', '.join(TYPES)}", kind)
    said = {key.removeprefix(f"{kind}."): value for key, value in found.items() if key.startswith(f"{kind}.")}
    config: dict[str, Any] = {"model_type": TYPES[kind][0]}
    for theirs, ours in FIELDS.items():
        if (value := said.get(ours)) is not None:
            if isinstance(value, list):  # one for every layer
                if len(set(value)) != 1:
                    fail(path, f"one {ours} for all layers", value)
                value = value[0]
            config[theirs] = value
    if "token_embd.weight" not in stored:
        fail(path, "tensor token_embd.weight", "none")
    D, H = config.get("hidden_size", 0), config.get("num_attention_heads", 1)
    K = config.get("head_dim", D // H)
    config |= {
        "vocab_size": stored["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in stored,
        "attention_bias": any(f"blk.0.attn_{name}.bias" in stored for name in ("q", "qkv")),
        "mlp_bias": "blk.0.ffn_up.bias" in stored,
        "query_pre_attn_scalar": D // H if LARGEST.get(kind) == config.get("num_hidden_layers") else K,
    }
    if said.get("attention.value_length", K) != K:
        fail(path, f"heads of values as wide as those of keys, {K}", said["attention.value_length"])
    turned = said.get("rope.dimension_count", K)
    if kind == "gptneox":
        config["rotary_pct"] = turned / K
    elif kind != "gpt2" and turned != K:
        fail(path, f"all {K} coordinates of a head turned", turned)
    scaling = said.get("rope.scaling.type", "none")
    if scaling != "none":
        config["rope_scaling"] = {
            "rope_type": scaling,
            "factor": said.get("rope.scaling.factor"),
            "original_max_position_embeddings": said.get("rope.scaling.original_context_length"),
        }
    return config


def model(path: str | os.PathLike[str]) -> tuple[Architecture, Names, dict[str, Stored], dict[str, Any]]:
    """(architecture, names, tensors, metadata) of a GGUF file. Norms are stored whole there, in Gemma too."""
    found, stored = read(path)
    config = described(path, found, stored)
    try:
        made = replace(architecture(config), centred=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    divisors = stored.pop("rope_freqs.weight", None)
    if divisors is not None:  # Llama 3's scaling, written out
        divided = tuple(divisors.read().double().tolist())
        turned = [layer.rotation and replace(layer.rotation, kind="divided", divisors=divided) for layer in made.layers]
        layers = (replace(layer, rotation=r) for layer, r in zip(made.layers, turned, strict=True))
        made = replace(made, layers=tuple(layers))
    return made, TYPES[found["general.architecture"]][1], stored, found
