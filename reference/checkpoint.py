r"""Published weights into this repository's own decoder: Hugging Face folders (safetensors) and GGUF files.

    weights, architecture = load("SmolLM2-135M", torch.float64)
    logits(weights, architecture, ids)                              # reference/model.py

Everything in such files is read as numbers and names; nothing in them is executed, and pickled weights are refused.
Before a number is read, every tensor is accounted for: unknown, missing, and misshapen ones are errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import conversation, gguf_file
from reference.architecture import Architecture
from reference.config import parsed
from reference.conversation import Voice
from reference.families import FAMILIES, architecture
from reference.model import frequencies
from reference.names import Names, shape, taken, tensors
from reference.stored import Stored, safetensors

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.", "transformer.", "gpt_neox.")
"""What may stand before the names of a table: the whole model, its decoder alone, or one of text and images."""
SCALES = "_scale_inv"
"""What the name of a tensor of scales ends with, in checkpoints of fp8."""
BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq")
OF_IMAGES = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")


class Model(NamedTuple):
    """A model: its weights by name, as reference.architecture.shapes names them, and what they belong to."""

    weights: dict[str, Tensor]
    architecture: Architecture


def load(path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Model:
    """The model that a folder with config.json and safetensors, one such file beside its config.json, or a GGUF holds.

    A folder that holds one GGUF and no config.json is that file.
    Weights of any stored dtype are converted to `dtype`. Raises ValueError, in one line, for a file that cannot be
    read, is cut off or is none; for a family or an option that is not supported; and for tensors that are unknown,
    missing or of another shape.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(map(str, DTYPES))}, received {dtype}")
    path = gguf_inside(Path(path))
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise ValueError(f"{path}: expected a folder with config.json, a safetensors or a GGUF file, found nothing")
    if path.suffix == ".gguf":
        made, names, found, _ = gguf_file.model(path)
        return Model(filled(found, made, names, dtype, str(path)), made)
    files = [path] if path.is_file() else shards(folder)
    if any(file.suffix != ".safetensors" for file in files):
        raise ValueError(f"{path}: expected a folder, a .safetensors or a .gguf file")
    config = parsed(folder / "config.json")
    scaled = config.get("quantization_config")
    blocks = None
    if isinstance(scaled, dict) and scaled.get("quant_method") == "fp8":
        blocks, config = scaled.get("weight_block_size"), {**config, "quantization_config": None}
        if not isinstance(blocks, list) or len(blocks) != 2 or any(type(n) is not int or n < 1 for n in blocks):
            raise ValueError(
                f"{folder / 'config.json'}: weight_block_size: expected rows and columns, received {blocks}"
            )
    try:
        made = architecture(config)
        for turned in {layer.rotation for layer in made.layers if layer.rotation is not None}:
            frequencies(turned, 1)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    stored: dict[str, Stored] = {}
    for file in files:
        for name, tensor in safetensors(file).items():
            if name in stored:
                raise ValueError(f"{file}: expected every tensor once, {name} is in another file as well")
            stored[name] = tensor
    if blocks is not None:
        stored = multiplied(stored, blocks)
    return Model(filled(bare(stored), made, FAMILIES[made.family].names, dtype, str(path)), made)


def voice(path: str | os.PathLike[str]) -> Voice:
    """The tokenizer that comes with the same weights, and how to talk with it. Raises ValueError as `load` does."""
    path = gguf_inside(Path(path))
    if path.suffix == ".gguf":
        return conversation.of_gguf(path, gguf_file.read(path)[0])
    return conversation.of_folder(path if path.is_dir() else path.parent)


def gguf_inside(path: Path) -> Path:
    """The only GGUF file of a folder that has no config.json, else the path itself."""
    if path.is_dir() and not (path / "config.json").exists():
        files = list(path.glob("*.gguf"))
        return files[0] if len(files) == 1 else path
    return path


def shards(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or those that its index names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    if not index.exists():
        pickled = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth") for file in folder.glob(kind))
        found = f"{pickled[0]}, which is pickled and could run code" if pickled else "neither"
        raise ValueError(f"{folder}: expected model.safetensors or model.safetensors.index.json, found {found}")
    files = parsed(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{index}: expected a weight_map")
    for name in files.values():
        if not isinstance(name, str) or name != os.path.basename(name) or not name.endswith(".safetensors"):
            raise ValueError(f"{index}: expected names of safetensors files in this folder, received {name!r}")
    return [folder / name for name in sorted(set(files.values()))]


def multiplied(stored: Mapping[str, Stored], blocks: Sequence[int]) -> dict[str, Stored]:
    """The tensors, of which those that have scales are the product: one scale for every block of rows and columns."""
    found = {name: tensor for name, tensor in stored.items() if not name.endswith(SCALES)}
    for name in stored.keys() - found.keys():
        whole, scales = found.get(name.removesuffix(SCALES)), stored[name]
        if whole is None:
            raise ValueError(f"{name}: expected beside the tensor that it scales")
        right = tuple(-(-n // block) for n, block in zip(whole.shape, blocks, strict=False))
        if len(whole.shape) != 2 or scales.shape != right:
            raise ValueError(f"{name}: expected shape {list(right)}, received {list(scales.shape)}")
        found[name.removesuffix(SCALES)] = Stored(whole.shape, partial(_product, whole, scales, blocks))
    return found


def _product(whole: Stored, scales: Stored, blocks: Sequence[int]) -> Tensor:
    rows, columns = whole.shape
    each = scales.read().double().repeat_interleave(blocks[0], 0).repeat_interleave(blocks[1], 1)
    return whole.read().double() * each[:rows, :columns]


def bare(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors that are weights of the decoder, without the prefix of their names."""
    found: dict[str, Stored] = {}
    for full, tensor in stored.items():
        if full.endswith(BUFFERS) or full.startswith(OF_IMAGES):
            continue
        name = full
        for prefix in PREFIXES:
            if full.startswith(prefix):
                name = full.removeprefix(prefix)
                break
        name = "lm_head.weight" if name == "embed_out.weight" else name  # GPT-NeoX before transformers 5
        if name in found:
            raise ValueError(f"{full}: expected once, found under two names")
        found[name] = tensor
    return found


def filled(
    stored: dict[str, Stored], made: Architecture, names: Names, dtype: torch.dtype, source: str
) -> dict[str, Tensor]:
    """Our weights, from tensors under the names of a table, every one of which is needed and has the right shape."""
    wanted = tensors(made, names)
    tokens, head = f"{names.modules['tokens']}.weight", f"{names.modules['head']}.weight"
    doubled = stored.get(head) if made.tied and tokens in stored else None
    if made.tied and head in stored:  # a tied head may be written out, beside the embedding or in its place
        stored = {tokens: stored[head], **{name: tensor for name, tensor in stored.items() if name != head}}
    for what, names_of in (("missing", wanted.keys() - stored.keys()), ("unknown", stored.keys() - wanted.keys())):
        if names_of:
            first, more = min(names_of), len(names_of) - 1
            others = f" and {more} more" if more else ""
            raise ValueError(f"{source}: {what} tensor {first}{others}, for {made.family} of {len(made.layers)} layers")
    for name, held in wanted.items():
        right = shape(made, names, held)
        if stored[name].shape != right:
            raise ValueError(f"{source}: {name}: expected shape {list(right)}, received {list(stored[name].shape)}")
    weights: dict[str, Tensor] = {}
    for name, held in wanted.items():
        for ours, part in zip(held, taken(stored[name].read().to(dtype), made, names, held), strict=True):
            weights[ours] = part.contiguous()
    if doubled is not None and not torch.equal(doubled.read().to(dtype), weights["tokens.weight"]):
        raise ValueError(f"{source}: {head}: expected the embedding, for its config ties them; it is another tensor")
    return weights
