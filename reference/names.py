r"""What the published families call their weights, and how their tensors lie: a table, and the way there and back.

Ours are named by reference.architecture.shapes and are "out in". `taken` and `published` undo each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from reference.architecture import Architecture, shapes

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS = ("rows", "columns", "heads", "pairs")


@dataclass(frozen=True)
class Names:
    """What each of our modules is called there, {} for the number of its layer, and how its tensors lie.

    "rows" is ours, "out in"; "columns" is "in out" (GPT-2's Conv1D). Modules of one name lie in one tensor, one below
    the other, or as "heads": q, k and v of the first head, then of the second (GPT-NeoX). "pairs" has the coordinates
    that turn together side by side (llama.cpp), which ours has half a head apart.
    """

    modules: dict[str, str]
    prefix: str = ""
    layouts: dict[str, str] = field(default_factory=dict)


ATTENTION, MLP = "layers.{}.self_attn.", "layers.{}.mlp."
COMMON = {
    **{module: f"{ATTENTION}{module}_proj" for module in "qkv"},
    **{"out": f"{ATTENTION}o_proj", "q_norm": f"{ATTENTION}q_norm", "k_norm": f"{ATTENTION}k_norm"},
    **{module: f"{MLP}{module}_proj" for module in ("gate", "up", "down")},
    **{"tokens": "embed_tokens", "norm": "norm", "head": "lm_head"},
}
PRE = {"before1": "layers.{}.input_layernorm", "before2": "layers.{}.post_attention_layernorm"}
POST = {"after1": "layers.{}.post_attention_layernorm", "after2": "layers.{}.post_feedforward_layernorm"}
BOTH = {"before1": "layers.{}.input_layernorm", "before2": "layers.{}.pre_feedforward_layernorm", **POST}
LLAMA, OLMO, GEMMA = (Names(COMMON | norms, "model.") for norms in (PRE, POST, BOTH))
GPT2 = Names(
    {
        **dict.fromkeys("qkv", "h.{}.attn.c_attn"),
        **{"out": "h.{}.attn.c_proj", "up": "h.{}.mlp.c_fc", "down": "h.{}.mlp.c_proj"},
        **{"before1": "h.{}.ln_1", "before2": "h.{}.ln_2"},
        **{"tokens": "wte", "positions": "wpe", "norm": "ln_f", "head": "lm_head"},
    },
    "transformer.",
    dict.fromkeys(("q", "k", "v", "out", "up", "down"), "columns"),
)
NEOX = Names(
    {
        **dict.fromkeys("qkv", "layers.{}.attention.query_key_value"),
        **{"out": "layers.{}.attention.dense", "before1": PRE["before1"], "before2": PRE["before2"]},
        **{"up": "layers.{}.mlp.dense_h_to_4h", "down": "layers.{}.mlp.dense_4h_to_h"},
        **{"tokens": "embed_in", "norm": "final_layer_norm", "head": "lm_head"},
    },
    "gpt_neox.",
    dict.fromkeys("qkv", "heads"),
)
_OF_GGUF = {
    **{"out": "blk.{}.attn_output", "before1": "blk.{}.attn_norm", "before2": "blk.{}.ffn_norm"},
    **{"after1": "blk.{}.post_attention_norm", "after2": "blk.{}.post_ffw_norm"},
    **{name: f"blk.{{}}.attn_{name}" for name in ("q", "k", "v", "q_norm", "k_norm")},
    **{name: f"blk.{{}}.ffn_{name}" for name in ("gate", "up", "down")},
    **{"tokens": "token_embd", "positions": "position_embd", "norm": "output_norm", "head": "output"},
}
GGUF = Names(_OF_GGUF)
GGUF_FUSED = Names(_OF_GGUF | dict.fromkeys("qkv", "blk.{}.attn_qkv"))
GGUF_PAIRS = Names(_OF_GGUF, layouts=dict.fromkeys("qk", "pairs"))


def tensors(architecture: Architecture, names: Names) -> dict[str, list[str]]:
    """The name of every tensor there (the prefix left out), and which of ours it holds, in order."""
    found: dict[str, list[str]] = {}
    for ours in shapes(architecture):
        module, kind = ours.removeprefix("blocks.").rsplit(".", 1)
        layer, _, module = module.rpartition(".")
        found.setdefault(f"{names.modules[module].format(layer)}.{kind}", []).append(ours)
    return found


def layout(names: Names, ours: str) -> str:
    """How the tensor lies that holds ours; what has one axis alone has no columns."""
    _, module, kind = ours.rsplit(".", 2) if ours.startswith("blocks.") else ("", *ours.split("."))
    lies = names.layouts.get(module, "rows")
    return "rows" if lies == "columns" and kind == "bias" else lies


def shape(architecture: Architecture, names: Names, held: list[str]) -> tuple[int, ...]:
    """The shape of the tensor that holds these of ours."""
    parts = [shapes(architecture)[ours] for ours in held]
    whole = (sum(part[0] for part in parts), *parts[0][1:])
    return whole[::-1] if layout(names, held[0]) == "columns" else whole


def taken(whole: Tensor, architecture: Architecture, names: Names, held: list[str]) -> list[Tensor]:
    """Ours, out of the tensor that holds them."""
    lies, K = layout(names, held[0]), architecture.K
    if lies == "columns":
        whole = whole.mT
    elif lies == "heads":
        whole = whole.unflatten(0, (-1, 3, K)).transpose(0, 1).flatten(0, 2)
    elif lies == "pairs":
        whole = whole.unflatten(0, (-1, K // 2, 2)).transpose(1, 2).flatten(0, 2)
    known = shapes(architecture)
    return list(whole.split([known[ours][0] for ours in held]))


def published(weights: Mapping[str, Tensor], architecture: Architecture, names: Names) -> dict[str, Tensor]:
    """Weights of ours, or their gradients, as the tensors of the family, under their full names."""
    found = {}
    for theirs, held in tensors(architecture, names).items():
        whole, lies, K = torch.cat([weights[ours] for ours in held]), layout(names, held[0]), architecture.K
        if lies == "columns":
            whole = whole.mT
        elif lies == "heads":
            whole = whole.unflatten(0, (3, -1, K)).transpose(0, 1).flatten(0, 2)
        elif lies == "pairs":
            whole = whole.unflatten(0, (-1, 2, K // 2)).transpose(1, 2).flatten(0, 2)
        found[theirs if theirs.startswith("lm_head") else names.prefix + theirs] = whole
    return found
