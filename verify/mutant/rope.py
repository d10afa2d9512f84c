"""Mistakes in the rotary position embedding."""

from __future__ import annotations

import torch

from reference.rope import frequencies, rotate
from verify.mistake import mistake

NOWHERE = "no public report found"


def turn(x, angles, layout):
    """Rotate pairs of x by angles T × K/2."""
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    if layout == "half":
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


@mistake(
    "rope.rotate",
    id="rope-pairing-mismatch",
    seen="baidu/ERNIE-Image #6; tenstorrent/tt-metal #26844; rasbt/LLMs-from-scratch PR#750",
    fix="repeat the angles in the layout that is rotated",
)
def angles_of_the_other_layout(x, positions, base=10000.0, layout="interleaved"):
    """Pairs are those of one layout, angles are laid out for the other."""
    angles = positions[:, None] * frequencies(x.shape[-1], base, dtype=x.dtype, device=x.device)
    if layout == "half":
        angles, partner = angles.repeat_interleave(2, -1), torch.cat([-x.chunk(2, -1)[1], x.chunk(2, -1)[0]], -1)
    else:
        angles, partner = angles.repeat(1, 2), torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return x * angles.cos() + partner * angles.sin()


@mistake("rope.rotate", id="rope-layout-ignored", seen=NOWHERE, fix="pair (k, k + K/2) in the half layout")
def always_interleaved(x, positions, base=10000.0, layout="interleaved"):
    """The layout argument is not used."""
    return rotate(x, positions, base=base)


@mistake(
    "rope.rotate",
    id="sin-base-1000",
    seen="maxjcohen/transformer #62",
    fix="use the base that is given, 10000 by default",
)
def base_is_one_thousand(x, positions, base=10000.0, layout="interleaved"):
    """The base is 1000."""
    return rotate(x, positions, base=1000.0, layout=layout)


@mistake(
    "rope.rotate",
    id="sin-exponent-2i",
    seen="Kyubyong/transformer #38; jadore801120/attention-is-all-you-need-pytorch #32; shenweichen/DeepCTR #379",
    fix="the exponent of pair k is −2k/K",
)
def exponent_not_halved(x, positions, base=10000.0, layout="interleaved"):
    """The coordinate's index is doubled as if it were the pair's: −4k/K."""
    return rotate(x, positions, base=base**2, layout=layout)


@mistake("rope.rotate", id="rope-exponent-half", seen=NOWHERE, fix="the exponent of pair k is −2k/K")
def exponent_over_k(x, positions, base=10000.0, layout="interleaved"):
    """The factor two is missing: −k/K."""
    return rotate(x, positions, base=base**0.5, layout=layout)


@mistake("rope.rotate", id="rope-backwards", seen=NOWHERE, fix="turn by +position·frequency")
def turned_backwards(x, positions, base=10000.0, layout="interleaved"):
    """The angle is negative: a convention of its own, but not this one."""
    return rotate(x, -positions, base=base, layout=layout)


@mistake(
    "rope.rotate",
    id="rope-decode-position-zero",
    seen="Blaizzy/mlx-vlm #1983; RobertCsordas/moeut PR#6; pytorch/executorch PR#2010",
    fix="add the number of cached tokens to the positions",
)
def positions_restart_at_zero(x, positions, base=10000.0, layout="interleaved"):
    """0, 1, 2, … whatever came before."""
    return rotate(x, torch.arange(len(positions)), base=base, layout=layout)


@mistake("rope.rotate", id="rope-positions-from-one", seen=NOWHERE, fix="the first position is zero")
def positions_count_from_one(x, positions, base=10000.0, layout="interleaved"):
    """Every position is one too large."""
    return rotate(x, positions + 1, base=base, layout=layout)


@mistake("rope.rotate", id="rope-sine-sign", seen=NOWHERE, fix="(a cos − b sin, a sin + b cos)")
def sine_without_its_sign(x, positions, base=10000.0, layout="interleaved"):
    """(a cos + b sin, a sin + b cos), which is no rotation."""
    angles = positions[:, None] * frequencies(x.shape[-1], base, dtype=x.dtype, device=x.device)
    a, b = (x[..., 0::2], x[..., 1::2]) if layout == "interleaved" else x.chunk(2, -1)
    turned = a * angles.cos() + b * angles.sin(), a * angles.sin() + b * angles.cos()
    return torch.cat(turned, -1) if layout == "half" else torch.stack(turned, -1).flatten(-2)


@mistake(
    "rope.rotate",
    id="rope-bf16-position",
    seen="huggingface/candle PR#3520; nkalyanv99/UNI-D2 PR#6; huggingface/transformers PR#29285",
    fix="keep positions in at least float32",
)
def positions_in_bfloat16(x, positions, base=10000.0, layout="interleaved"):
    """Above 256 bfloat16 skips positions."""
    return rotate(x, positions.bfloat16().double(), base=base, layout=layout)


@mistake("rope.rotate", id="rope-fp16-seq", seen="NVIDIA/Megatron-LM #535", fix="keep positions in at least float32")
def positions_in_float16(x, positions, base=10000.0, layout="interleaved"):
    """Above 2048 float16 skips positions."""
    return rotate(x, positions.half().double(), base=base, layout=layout)


@mistake("rope.rotate", id="rope-float32-angle", seen=NOWHERE, fix="compute angles in the dtype of x or better")
def angles_in_float32(x, positions, base=10000.0, layout="interleaved"):
    """A hidden cast: the angles of float64 vectors are rounded to float32."""
    angles = positions[:, None].float() * frequencies(x.shape[-1], base, dtype=torch.float32, device=x.device)
    return turn(x, angles.double(), layout)
