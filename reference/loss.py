r"""Cross-entropy: the mean surprise, in nats, of the targets under softmax(z), and the penalty on its normalizer.

Article papers/loss.md, derivation derivations/loss.py, laws verify/loss.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.softmax import log_sum_exp, softmax

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def _counted(z, target, ignore_index: int, label_smoothing: float) -> Bool[Tensor, "N"]:
    """Which rows count, after a look at all arguments."""
    expect.floating("z", z)
    sizes = expect.axes("z", z, "N V")
    expect.agree(N=(sizes["N"], expect.axes("target", target, "N")["N"]))
    if not isinstance(ignore_index, int):
        expect.fail("ignore_index", "an integer", repr(ignore_index))
    expect.number("label_smoothing", label_smoothing, 0, 1)
    counted = target != ignore_index
    expect.indices("target", target[counted], sizes["V"])
    return counted


def cross_entropy(
    z: Float[Tensor, "N V"], target: Int[Tensor, "N"], ignore_index: int = -100, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    r"""The mean of −Σ_j q_j log softmax(z)_j over the rows whose target is not `ignore_index`; over no row, 0/0 = NaN.

        q = (1 − ε) one_hot(target) + ε/V,     ε = label_smoothing

    Raises ValueError unless z is floating "N V", target integer "N" with entries below V or ignored, and 0 ≤ ε ≤ 1.
    Source: bishop2006pattern, §4.3.4 eq. (4.108); smoothing: szegedy2016rethinking, §7.
    """
    counted = _counted(z, target, ignore_index, label_smoothing)
    z, target = z[counted], target[counted].long()
    if not len(z):
        return z.sum() / len(z)
    wanted = z.gather(1, target[:, None]).squeeze(1)  # Σ_j q_j z_j, without 0 · ∞ at logits of −∞
    if label_smoothing:
        wanted = (1 - label_smoothing) * wanted + label_smoothing * z.mean(1)
    return (log_sum_exp(z) - wanted).mean()


def next_token_loss(
    z: Float[Tensor, "B T V"], tokens: Int[Tensor, "B T"], ignore_index: int = -100
) -> Float[Tensor, ""]:
    r"""The cross-entropy of texts under a language model: row t is scored against token t + 1.

    The first token of a sequence is predicted by no row, and its last row predicts no token. The mean is over all
    predicted tokens of the batch that are not `ignore_index`.
    Raises ValueError unless z is floating "B T V" with T ≥ 2, and tokens integer "B T", below V or ignored.
    Source: radford2019language, §2 eq. (1).
    """
    expect.floating("z", z)
    sizes, ours = expect.axes("z", z, "B T V"), expect.axes("tokens", tokens, "B T")
    expect.agree(B=(sizes["B"], ours["B"]), T=(sizes["T"], ours["T"]))
    expect.natural("T", sizes["T"], 2)
    return cross_entropy(z[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index)


def cross_entropy_gradient(
    z: Float[Tensor, "N V"], target: Int[Tensor, "N"], ignore_index: int = -100, label_smoothing: float = 0.0
) -> Float[Tensor, "N V"]:
    r"""The gradient of `cross_entropy` by the logits, written out by hand: zero in ignored rows, and in the n others

        (softmax(z) − q) / n,     q = (1 − ε) one_hot(target) + ε/V

    Raises ValueError as `cross_entropy`.
    Source: bishop2006pattern, §4.3.4 eq. (4.109); smoothing: szegedy2016rethinking, §7.
    """
    counted = _counted(z, target, ignore_index, label_smoothing)
    chosen = torch.where(counted, target, 0).long()
    one_hot = torch.nn.functional.one_hot(chosen, z.shape[1]).to(z.dtype)
    q = (1 - label_smoothing) * one_hot + label_smoothing / z.shape[1]
    slope = (softmax(z) - q) / counted.sum()
    return torch.where(counted[:, None], slope, 0)


def z_loss(z: Float[Tensor, "N V"], weight: float = 1e-4) -> Float[Tensor, ""]:
    r"""weight times the mean over rows of (log Σ_j exp z_j)², which is least where softmax has nothing to divide by.

    Raises ValueError unless z is floating "N V" and weight ≥ 0.
    Source: chowdhery2022palm, §5 (auxiliary loss).
    """
    expect.floating("z", z)
    expect.axes("z", z, "N V")
    expect.number("weight", weight, 0)
    return weight * (log_sum_exp(z) ** 2).mean()
