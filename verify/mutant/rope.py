"""Mistakes in the rotary position embedding."""

from __future__ import annotations

import torch

from reference.rope import frequencies, rotate
from verify.mistake import mistake

NOWHERE = "no public report found"


def rates(x, base, theta):
    """The frequencies that are given, or those of the base."""
    return frequencies(x.shape[-1], base, device=x.device) if theta is None else theta


def turn(x, angles, layout, factor=1.0):
    """Rotate the first pairs of x by angles … T × pairs."""
    angles = angles.reshape(*angles.shape[:-2], *[1] * max(0, x.ndim - angles.ndim), *angles.shape[-2:])
    R = 2 * angles.shape[-1]
    x, rest, cos, sin = x[..., :R], x[..., R:], factor * angles.cos().to(x), factor * angles.sin().to(x)
    a, b = x.chunk(2, -1) if layout == "half" else (x[..., 0::2], x[..., 1::2])
    out = a * cos - b * sin, a * sin + b * cos
    return torch.cat([torch.cat(out, -1) if layout == "half" else torch.stack(out, -1).flatten(-2), rest], -1)


@mistake(
    "rope.rotate",
    id="rope-pairing-mismatch",
    seen="baidu/ERNIE-Image #6; tenstorrent/tt-metal #26844; rasbt/LLMs-from-scratch PR#750",
    fix="repeat the angles in the layout that is rotated",
)
def angles_of_the_other_layout(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """Pairs are those of one layout, angles are laid out for the other."""
    angles = positions[..., None] * rates(x, base, theta)
    angles = angles.reshape(*angles.shape[:-2], *[1] * max(0, x.ndim - angles.ndim), *angles.shape[-2:])
    x, rest = x[..., : 2 * angles.shape[-1]], x[..., 2 * angles.shape[-1] :]
    if layout == "half":
        angles, partner = angles.repeat_interleave(2, -1), torch.cat([-x.chunk(2, -1)[1], x.chunk(2, -1)[0]], -1)
    else:
        angles, partner = torch.cat([angles] * 2, -1), torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return torch.cat([factor * (x * angles.cos() + partner * angles.sin()), rest], -1)


@mistake("rope.rotate", id="rope-layout-ignored", seen=NOWHERE, fix="pair (k, k + K/2) in the half layout")
def always_interleaved(x, positions, base=10000.0, layout="interleaved", **options):
    """The layout argument is not used."""
    return rotate(x, positions, base=base, **options)


@mistake(
    "rope.rotate",
    id="sin-base-1000",
    seen="maxjcohen/transformer #62",
    fix="use the base that is given, 10000 by default",
)
def base_is_one_thousand(x, positions, base=10000.0, layout="interleaved", **options):
    """The base is 1000."""
    return rotate(x, positions, base=1000.0, layout=layout, **options)


@mistake(
    "rope.rotate",
    id="sin-exponent-2i",
    seen="Kyubyong/transformer #38; jadore801120/attention-is-all-you-need-pytorch #32; shenweichen/DeepCTR #379",
    fix="the exponent of pair k is −2k/K",
)
def exponent_not_halved(x, positions, base=10000.0, layout="interleaved", **options):
    """The coordinate's index is doubled as if it were the pair's: −4k/K."""
    return rotate(x, positions, base=base**2, layout=layout, **options)


@mistake("rope.rotate", id="rope-exponent-half", seen=NOWHERE, fix="the exponent of pair k is −2k/K")
def exponent_over_k(x, positions, base=10000.0, layout="interleaved", **options):
    """The factor two is missing: −k/K."""
    return rotate(x, positions, base=base**0.5, layout=layout, **options)


@mistake("rope.rotate", id="rope-backwards", seen=NOWHERE, fix="turn by +position·frequency")
def turned_backwards(x, positions, base=10000.0, layout="interleaved", **options):
    """The angle is negative: a convention of its own, but not this one."""
    return rotate(x, -positions, base=base, layout=layout, **options)


@mistake(
    "rope.rotate",
    id="rope-decode-position-zero",
    seen="Blaizzy/mlx-vlm #1983; RobertCsordas/moeut PR#6; pytorch/executorch PR#2010",
    fix="add the number of cached tokens to the positions",
)
def positions_restart_at_zero(x, positions, base=10000.0, layout="interleaved", **options):
    """0, 1, 2, … whatever came before."""
    return rotate(x, torch.arange(positions.shape[-1]), base=base, layout=layout, **options)


@mistake(
    "rope.rotate",
    id="rope-offset-plus-prompt",
    seen="skyzh/tiny-llm PR#46",
    fix="the next position is one more than the last one",
)
def offset_grows_by_the_prompt(x, positions, base=10000.0, layout="interleaved", **options):
    """All that came before is counted twice: position p of a row that begins at p₀ becomes p + p₀."""
    return rotate(x, positions + positions[..., :1], base=base, layout=layout, **options)


@mistake("rope.rotate", id="rope-positions-from-one", seen=NOWHERE, fix="the first position is zero")
def positions_count_from_one(x, positions, base=10000.0, layout="interleaved", **options):
    """Every position is one too large."""
    return rotate(x, positions + 1, base=base, layout=layout, **options)


@mistake("rope.rotate", id="rope-sine-sign", seen=NOWHERE, fix="(a cos − b sin, a sin + b cos)")
def sine_without_its_sign(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """(a cos + b sin, a sin + b cos), which is no rotation."""
    forth, back = (rotate(x, p, base, layout, theta=theta, factor=factor) for p in (positions, -positions))
    index, R = torch.arange(x.shape[-1]), 2 * len(rates(x, base, theta))
    is_first = (index % 2 == 0 if layout == "interleaved" else index < R // 2) & (index < R)
    return torch.where(is_first, back, forth)


@mistake(
    "rope.rotate",
    id="rope-bf16-position",
    seen="huggingface/candle PR#3520; nkalyanv99/UNI-D2 PR#6; huggingface/transformers PR#29285",
    fix="keep positions in at least float32",
)
def positions_in_bfloat16(x, positions, base=10000.0, layout="interleaved", **options):
    """Above 256 bfloat16 skips positions."""
    return rotate(x, positions.bfloat16().double(), base=base, layout=layout, **options)


@mistake("rope.rotate", id="rope-fp16-seq", seen="NVIDIA/Megatron-LM #535", fix="keep positions in at least float32")
def positions_in_float16(x, positions, base=10000.0, layout="interleaved", **options):
    """Above 2048 float16 skips positions."""
    return rotate(x, positions.half().double(), base=base, layout=layout, **options)


@mistake("rope.rotate", id="rope-float32-angle", seen=NOWHERE, fix="compute angles in the dtype of x or better")
def angles_in_float32(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """A hidden cast: the angles of float64 vectors are rounded to float32."""
    angles = positions[..., None].float() * rates(x, base, theta).float()
    return turn(x, angles.double(), layout, factor)


@mistake(
    "rope.rotate",
    id="rope-shared-positions",
    seen="unslothai/unsloth PR#4078; ndif-team/nnsight PR#673",
    fix="a row that is padded on the left has positions of its own",
)
def positions_of_the_first_row(x, positions, base=10000.0, layout="interleaved", **options):
    """All rows of a batch get the positions of its first one."""
    return rotate(x, positions.reshape(-1, positions.shape[-1])[0], base=base, layout=layout, **options)


@mistake(
    "rope.rotate",
    id="rope-partial-pairs",
    seen="pie-project/pie PR#603",
    fix="pairs lie within the R coordinates that are turned: (k, k + R/2)",
)
def partners_from_the_whole_head(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """In the half layout the partner of k is k + K/2, though only R coordinates are turned."""
    missing = x.shape[-1] // 2 - len(rates(x, base, theta))
    still = torch.cat([rates(x, base, theta), torch.zeros(missing, dtype=torch.float64)])
    return rotate(x, positions, base, layout, theta=still, factor=factor)


@mistake(
    "rope.rotate",
    id="rope-partial-ignored",
    seen="AI-Hypercomputer/maxtext #4616; huggingface/transformers PR#48652",
    fix="coordinates without a frequency pass",
)
def whole_head_is_turned(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """The given frequencies are repeated until the head is full."""
    whole = rates(x, base, theta).repeat(x.shape[-1])[: x.shape[-1] // 2]
    return rotate(x, positions, base, layout, theta=whole, factor=factor)


@mistake(
    "rope.rotate",
    id="yarn-factor-dropped",
    seen="vllm-project/vllm PR#48351",
    fix="multiply what is turned by the attention factor",
)
def factor_is_ignored(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """The argument is accepted and not used."""
    return rotate(x, positions, base, layout, theta=theta)


@mistake("rope.rotate", id="yarn-factor-everywhere", seen=NOWHERE, fix="what passes is not multiplied by the factor")
def factor_on_all_coordinates(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """Coordinates that are not turned are multiplied too."""
    return factor * rotate(x, positions, base, layout, theta=theta)


@mistake("rope.rotate", id="rope-theta-ignored", seen=NOWHERE, fix="given frequencies replace those of the base")
def given_frequencies_are_ignored(x, positions, base=10000.0, layout="interleaved", *, theta=None, factor=1.0):
    """The frequencies of the base are used, as many as were given."""
    plain = None if theta is None else frequencies(2 * len(theta), base)
    return rotate(x, positions, base, layout, theta=plain, factor=factor)
