"""One small GPT-2 in the three forms that this repository has: written, trained and loaded."""

import torch

from reference.architecture import Architecture, Layer
from reference.decoder import Decoder, Sizes
from reference.transformer_weights import BLOCK, Gpt2, for_decoder, shapes

F64 = torch.float64
SIZES = Sizes("gpt2", 3, 24, 4, 4, 6, 40, 61, 32)
IDS = torch.randint(61, (2, 17), generator=torch.Generator().manual_seed(0))


def drawn(std=0.3, **sizes):
    """A model of the decoder's sizes whose every weight matters."""
    draw = torch.Generator().manual_seed(1)
    wanted = shapes(**({"V": 61, "S": 32, "D": 24, "H": 4, "L": 3, "F": 40} | sizes))
    return Gpt2(**{name: std * torch.randn(*shape, generator=draw, dtype=F64) for name, shape in wanted.items()})


def trained_form(model, tied=True):
    """A decoder with these weights."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(F64)
    try:
        decoder = Decoder(SIZES if tied else Sizes("gpt2", 3, 24, 4, 4, 6, 40, 61, 32, tied=False))
    finally:
        torch.set_default_dtype(default)
    decoder.load_state_dict(for_decoder(model))
    return decoder


def loaded_form(model):
    """The weights and the architecture of reference/model.py."""
    V, D = model.embedding.shape
    L, H, K, _ = model.q.shape
    a = Architecture(
        "gpt2", D, H, H, K, model.up.shape[1], V, (Layer(K**-0.5),) * L, S=len(model.positions), norm="layer",
        activation="gelu_tanh", gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, tied=True,
    )  # fmt: skip
    found = {"tokens.weight": model.embedding, "positions.weight": model.positions}
    found |= {"norm.weight": model.norm, "norm.bias": model.norm_bias}
    theirs = {"norm1": "before1", "norm2": "before2"}
    for i in range(L):
        for name in BLOCK:
            module, kind = (name.removesuffix("_bias"), "bias" if name.endswith("bias") else "weight")
            part = getattr(model, name)[i]
            joined = (
                {"q": part.flatten(0, 1), "k": part.flatten(0, 1), "v": part.flatten(0, 1)} if module in "qkv" else {}
            )
            joined |= {"out": part.flatten(1)} if module == "out" and kind == "weight" else {}
            found[f"blocks.{i}.{theirs.get(module, module)}.{kind}"] = joined.get(module, part)
    return found, a


def near(ours, theirs):
    """Equal but for rounding, relative to the largest entry."""
    assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max().clamp(min=1)
