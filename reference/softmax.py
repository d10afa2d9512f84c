r"""Softmax: scores become a distribution.

    softmax(z)_i = exp(z_i) / Σ_j exp(z_j)

Article papers/softmax.md, derivation derivations/softmax.py, laws verify/softmax.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def largest(z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B 1"]:
    """The largest logit of each row, as a constant of differentiation, and zero where it is infinite.

    Any shift is right (softmax.log_sum_exp_is_stable_under_shift); with this one no exponential exceeds one.
    """
    top = z.detach().amax(-1, keepdim=True)
    return torch.where(top.isinf(), 0, top)


def softmax(z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    r"""The distribution exp(z_i) / Σ_j exp(z_j) over the last axis; a row of −∞ alone has no distribution: zeros.

    Raises ValueError for an integer or empty tensor, or one without axes. NaN and +∞ leave all of their row NaN.
    Source: bridle1990softmax, §2.
    """
    expect.rows("z", z)
    weights = torch.exp(z - largest(z))
    total = weights.sum(-1, keepdim=True)
    # the sum of an all-masked row is 0: divide by 1 there, before the division, so that gradients stay finite
    return weights / torch.where(total == 0, 1, torch.where(total == torch.inf, torch.nan, total))


def log_sum_exp(z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    r"""m + log Σ_j exp(z_j − m) over the last axis, m the largest logit, in nats; −∞ for a row of −∞, +∞ if one is.

    Raises ValueError for an integer or empty tensor, or one without axes.
    Source: blanchard2021logsumexp, §1 eq. (1.2).
    """
    expect.rows("z", z)
    m = largest(z)
    return m.squeeze(-1) + torch.log(torch.exp(z - m).sum(-1))


def log_softmax(z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    r"""The logarithm z_i − log Σ_j exp z_j of softmax over the last axis, in nats: exact where softmax underflows to 0.

    A row of −∞ alone is −∞. NaN and +∞ leave all of their row NaN.
    Raises ValueError for an integer or empty tensor, or one without axes.
    Source: blanchard2021logsumexp, §1 eq. (1.3).
    """
    expect.rows("z", z)
    total = log_sum_exp(z).unsqueeze(-1)
    # a row of −∞ has the total −∞, of which nothing is subtracted; a row with +∞ has none
    return z - torch.where(total == -torch.inf, 0, torch.where(total == torch.inf, torch.nan, total))


def softmax_jacobian(z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V V"]:
    r"""∂softmax(z)_i/∂z_k = p_i (δ_ik − p_k), row i, column k.

    Raises ValueError for an integer or empty tensor, or one without axes.
    Source: bridle1990softmax, §2.
    """
    p = softmax(z)
    return torch.diag_embed(p) - torch.einsum("...i,...k->...ik", p, p)
