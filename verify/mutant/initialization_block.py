"""Mistakes in what is scaled by depth in a block: what writes to the residual stream, and by how much."""

from __future__ import annotations

import math

from reference.initialization import gpt2_block
from verify.mistake import mistake

NOWHERE = "no public report found"


def with_deviations(z, deviations):
    return [x * scale for x, scale in zip(z, deviations, strict=True)]


@mistake(
    "initialization.gpt2_block",
    id="init-no-residual-scale",
    seen="stanford-crfm/mistral #30; huggingface/transformers #47458",
    fix="divide what writes to the stream by √(2L)",
)
def nothing_scaled_by_depth(z, L, std=0.02):
    """0.02 everywhere."""
    return with_deviations(z, [std] * 4)


@mistake(
    "initialization.gpt2_block",
    id="init-depth-scale-wrong-matrix",
    seen="pytorch/torchtitan #3334; facebookresearch/lingua #39",
    fix="only the matrix that writes to the stream",
)
def every_matrix_scaled_by_depth(z, L, std=0.02):
    """All four matrices are divided by √(2L)."""
    return with_deviations(z, [std / math.sqrt(2 * L)] * 4)


@mistake(
    "initialization.gpt2_block",
    id="init-depth-scale-one-branch",
    seen="tenstorrent/tt-metal PR#48716",
    fix="√(2L): every layer has two branches",
)
def layers_counted_for_branches(z, L, std=0.02):
    """1/√L."""
    return with_deviations(z, [std, std / math.sqrt(L)] * 2)


@mistake("initialization.gpt2_block", id="init-depth-scale-no-root", seen=NOWHERE, fix="1/√(2L): variances add")
def number_of_branches_for_its_root(z, L, std=0.02):
    """1/2L."""
    return with_deviations(z, [std, std / (2 * L)] * 2)


@mistake(
    "initialization.gpt2_block", id="init-depth-scale-readers", seen=NOWHERE, fix="scale what writes, not what reads"
)
def readers_scaled_for_writers(z, L, std=0.02):
    """The matrices that read from the stream are scaled, those that write to it are not."""
    return with_deviations(z, [std / math.sqrt(2 * L), std] * 2)


@mistake("initialization.gpt2_block", id="init-gpt2-variance", seen=NOWHERE, fix="0.02 is the deviation")
def root_of_the_deviation(z, L, std=0.02):
    """0.02 is taken for the variance."""
    return gpt2_block(z, L, math.sqrt(std))
