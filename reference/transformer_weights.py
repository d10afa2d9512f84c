r"""The weights of GPT-2's form: their names and axes, how they start, and their names in reference/decoder.py.

Every projection has an axis for the heads, and every weight of a block one for the layers: nothing has to be cut or
joined. A linear weight is stored "out in", so that q is "H K D" and out is "D H K".
Code reference/transformer.py, article papers/transformer.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect
from reference.initialization import gpt2_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class Gpt2(NamedTuple):
    """All weights, in the order in which `transformer.logits` takes them; None is what a model does not have."""

    embedding: Tensor
    positions: Tensor
    norm1: Tensor
    norm1_bias: Tensor | None
    q: Tensor
    q_bias: Tensor | None
    k: Tensor
    k_bias: Tensor | None
    v: Tensor
    v_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    norm2: Tensor
    norm2_bias: Tensor | None
    up: Tensor
    up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None
    norm: Tensor | None
    norm_bias: Tensor | None
    head: Tensor | None = None


AXES = {
    **{"embedding": "V D", "positions": "S D"},
    **{"norm1": "L D", "norm1_bias": "L D"},
    **{"q": "L H K D", "q_bias": "L H K", "k": "L G K D", "k_bias": "L G K", "v": "L G K D", "v_bias": "L G K"},
    **{"out": "L D H K", "out_bias": "L D"},
    **{"norm2": "L D", "norm2_bias": "L D"},
    **{"up": "L F D", "up_bias": "L F", "down": "L D F", "down_bias": "L D"},
    **{"norm": "D", "norm_bias": "D", "head": "V D"},
}
BLOCK = Gpt2._fields[2:18]
"""The weights of a block; those above have an axis of layers before its axes."""


def shapes(
    V: int,
    S: int,
    D: int,
    H: int,
    L: int,
    *,
    G: int | None = None,
    K: int | None = None,
    F: int | None = None,
    tied: bool = True,
) -> dict[str, tuple[int, ...]]:
    r"""The shape of every weight, by name: V symbols, S positions, L layers of width D with H heads.

    Unless given, G = H heads of keys and values, K = D/H numbers a head, and F = 4D hidden units.
    Raises ValueError unless all are at least one, H is a multiple of G, and D of H where K is not given.
    """
    for name, size in {"V": V, "S": S, "D": D, "H": H, "L": L}.items():
        expect.natural(name, size, 1)
    if K is None and D % H:
        expect.fail("D", f"a multiple of {H} heads", D)
    sizes = {"V": V, "S": S, "D": D, "H": H, "L": L}
    sizes |= {"G": H if G is None else G, "K": D // H if K is None else K, "F": 4 * D if F is None else F}
    for name in "GKF":
        expect.natural(name, sizes[name], 1)
    if H % sizes["G"]:
        expect.fail("H", f"a multiple of {sizes['G']} key-value heads", H)
    return {name: tuple(sizes[a] for a in axes.split()) for name, axes in AXES.items() if not tied or name != "head"}


def init(
    V: int,
    S: int,
    D: int,
    H: int,
    L: int,
    *,
    G: int | None = None,
    K: int | None = None,
    F: int | None = None,
    tied: bool = True,
    std: float = 0.02,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Gpt2:
    r"""Weights before training: normal with deviation `std`, over √(2L) in what writes to the residual stream.

    Norms start at one, biases at zero. Positions have the deviation of all others, as in most later code; the code
    released with GPT-2 has half of it there. Raises ValueError as `shapes`, and for a std that is no number from 0.
    Source: radford2019language, §2.3.
    """
    wanted = shapes(V, S, D, H, L, G=G, K=K, F=F, tied=tied)
    expect.number("std", std, 0.0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    model = {name: torch.zeros(shape, dtype=dtype) for name, shape in wanted.items()}
    for name in ("norm1", "norm2", "norm"):
        model[name] += 1
    for name in ("embedding", "positions", *([] if tied else ["head"])):
        model[name] = std * drawn(*wanted[name])
    (queries, width), keys = wanted["q"][1:3], wanted["k"][1]
    for i in range(L):
        z = [drawn((queries + 2 * keys) * width, D), drawn(D, queries * width)]
        z += [drawn(*wanted["up"][1:]), drawn(*wanted["down"][1:])]
        qkv, out, model["up"][i], model["down"][i] = gpt2_block(z, L, std)
        model["q"][i], model["k"][i], model["v"][i] = qkv.unflatten(0, (-1, width)).split([queries, keys, keys])
        model["out"][i] = out.unflatten(1, (queries, width))
    return Gpt2(**model)


def of_decoder(weights: Mapping[str, Tensor], H: int) -> Gpt2:
    r"""What a `decoder.Decoder` of GPT-2's form with H heads calls otherwise: its weights, or their gradients.

    `weights` are those of `dict(model.named_parameters())`. Raises ValueError where the width is no multiple of H.
    """
    D = weights["tokens.weight"].shape[1]
    expect.natural("H", H, 1)
    if D % H:
        expect.fail("H", f"a divisor of the width {D}", H)
    L = sum(name.endswith("norm1.weight") for name in weights)

    def stacked(module, kind):
        return torch.stack([weights[f"blocks.{i}.{module}.{kind}"] for i in range(L)])

    found = {"embedding": weights["tokens.weight"], "positions": weights["positions.weight"]}
    for ending, kind in (("", "weight"), ("_bias", "bias")):
        for module in ("norm1", "out", "norm2", "up", "down"):
            found[module + ending] = stacked(module, kind)
        parts = stacked("qkv", kind).unflatten(1, (3, H, D // H)).unbind(1)  # one below the other
        found |= {name + ending: part for name, part in zip("qkv", parts, strict=True)}
        found["norm" + ending] = weights[f"norm.{kind}"]
    found["out"] = found["out"].unflatten(2, (H, D // H))
    if "head.weight" in weights:
        found["head"] = weights["head.weight"]
    return Gpt2(**found)


def for_decoder(model: Gpt2) -> dict[str, Tensor]:
    r"""The weights by the names of `decoder.Decoder`, for its `load_state_dict`: what `of_decoder` undoes.

    Raises ValueError for a model without all biases, with shared heads, or without a final norm: GPT-2's form has none
    of this.
    """
    lacking = [name for name, part in model._asdict().items() if part is None and name != "head"]
    if lacking:
        expect.fail(lacking[0], "a tensor, which GPT-2's form has", "None")
    expect.agree(G=(model.q.shape[1], model.k.shape[1]))
    head = model.embedding if model.head is None else model.head
    found = {"tokens.weight": model.embedding, "positions.weight": model.positions, "head.weight": head}
    for ending, kind in (("", "weight"), ("_bias", "bias")):
        part = {name: getattr(model, name + ending) for name in ("norm1", *"qkv", "out", "norm2", "up", "down")}
        found[f"norm.{kind}"] = getattr(model, "norm" + ending)
        part["qkv"] = torch.stack([part.pop(name) for name in "qkv"], 1).flatten(1, 3)
        part["out"] = part["out"].flatten(2) if kind == "weight" else part["out"]
        found |= {f"blocks.{i}.{name}.{kind}": x for name, layers in part.items() for i, x in enumerate(layers)}
    return found
