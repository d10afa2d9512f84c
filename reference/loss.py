r"""Cross-entropy: the mean surprise, in nats, of the targets under softmax(z).

Article papers/loss.md, derivation derivations/loss.py, laws verify/loss.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.softmax import log_sum_exp, softmax

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def _check(z, target) -> None:
    expect.floating("z", z)
    sizes = expect.axes("z", z, "N V")
    expect.agree(N=(sizes["N"], expect.axes("target", target, "N")["N"]))
    expect.indices("target", target, sizes["V"])


def cross_entropy(z: Float[Tensor, "N V"], target: Int[Tensor, "N"]) -> Float[Tensor, ""]:
    r"""The mean over rows of log Σ_j exp(z_j) − z_target.

    Raises ValueError unless z is floating "N V" and target integer "N" with entries below V.
    Source: bishop2006pattern, §4.3.4 eq. (4.108).
    """
    _check(z, target)
    chosen = z.gather(1, target.long()[:, None]).squeeze(1)
    return (log_sum_exp(z) - chosen).mean()


def cross_entropy_gradient(z: Float[Tensor, "N V"], target: Int[Tensor, "N"]) -> Float[Tensor, "N V"]:
    r"""The gradient of `cross_entropy` by the logits, (softmax(z) − one_hot(target)) / N, written out by hand.

    Raises ValueError as `cross_entropy`.
    Source: bishop2006pattern, §4.3.4 eq. (4.109).
    """
    _check(z, target)
    one_hot = torch.nn.functional.one_hot(target.long(), z.shape[1]).to(z.dtype)
    return (softmax(z) - one_hot) / len(z)
