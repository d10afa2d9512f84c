r"""What is done to gradients before a step: those of several microbatches become one, and long ones are shortened.

Article papers/optimizers.md, derivation derivations/optimizers.py, laws verify/optimizers_gradients.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def accumulate(gradients: Float[Tensor, "N P"], counts: Int[Tensor, "N"]) -> Float[Tensor, "P"]:
    r"""The mean gradient over all tokens, Σ n_k g_k / Σ n_k, from the means g_k of N microbatches of n_k tokens.

    A microbatch without tokens has no mean: whatever its row holds, it is not read. Raises ValueError for axes that do
    not agree, counts that are no integers ≥ 0, or no token at all.
    Source: goodfellow2016deep, §8.1.3; huggingface/transformers #34191 is what happens otherwise.
    """
    expect.floating("gradients", gradients)
    expect.agree(N=(expect.axes("gradients", gradients, "N P")["N"], expect.axes("counts", counts, "N")["N"]))
    expect.indices("counts", counts, 2**53)
    if not counts.any():
        expect.fail("counts", "at least one token", "none")
    weight = counts.to(gradients.dtype).unsqueeze(-1)
    return torch.where(weight == 0, 0, weight * gradients).sum(0) / weight.sum()


def clip_by_global_norm(gradients: list[Float[Tensor, "..."]], max_norm: float) -> list[Float[Tensor, "..."]]:
    r"""Every tensor times min(1, max_norm/‖g‖), where ‖g‖ is the Euclidean norm of all of them together.

    Gradients that are all zero stay zero. Raises ValueError for an empty list or unless 0 < max_norm < ∞.
    Source: pascanu2013difficulty, §3.2 Algorithm 1.
    """
    if not isinstance(gradients, list | tuple):
        expect.fail("gradients", "a list of tensors", type(gradients).__name__)
    if not gradients:
        expect.fail("gradients", "at least one tensor", "none")
    for g in gradients:
        expect.floating("gradients", g)
    expect.above("max_norm", max_norm)
    norm = torch.sqrt(torch.stack([(g**2).sum() for g in gradients]).sum())
    factor = torch.full_like(norm, max_norm) / norm.clamp(min=max_norm)  # min(1, ratio), and no division by zero
    return [g * factor for g in gradients]
