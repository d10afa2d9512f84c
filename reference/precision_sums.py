r"""Adding many numbers with few roundings between them: one by one, in pairs, with a compensation, in a narrow format.

    one by one  s ← s + x                              n − 1 additions on the way of the first term
    in pairs    the two halves, each in pairs          ⌈log₂ n⌉ of them
    Kahan       y = x − c, t = s + y, c ← (t − s) − y, s ← t      c is what the last addition lost

All are the same sum in exact arithmetic. Article papers/precision.md, derivation derivations/precision_sums.py, laws
verify/precision_sums.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.precision_formats import rounded

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def kahan_sum(x: Float[Tensor, "*B N"]) -> Float[Tensor, "*B"]:
    r"""Σ x over the last axis by Kahan's compensated summation, in the arithmetic of the dtype of x.

    The error is at most 3u Σ|x| for any number of terms, up to terms with u² (precision.kahan_removes_the_n). Infinite
    terms give NaN: the compensation is then infinite as well.
    Raises ValueError for an integer or empty tensor, or one without axes.
    Source: kahan1965remarks; higham2002accuracy, §4.3 Algorithm 4.2.
    """
    expect.rows("x", x)
    s, c = x[..., 0], torch.zeros_like(x[..., 0])
    for term in x[..., 1:].unbind(-1):
        y = term - c
        t = s + y
        s, c = t, (t - s) - y
    return s


def pairwise_sum(x: Float[Tensor, "*B N"]) -> Float[Tensor, "*B"]:
    r"""Σ x over the last axis: neighbours are added, then neighbouring sums, until one is left; an odd one waits.

    The error is at most γ_k Σ|x| with k = ⌈log₂ N⌉ additions on the way of any term (precision.pairwise_sum_is_log_n).
    Raises ValueError for an integer or empty tensor, or one without axes.
    Source: higham2002accuracy, §4.1 and §4.2.
    """
    expect.rows("x", x)
    while (n := x.shape[-1]) > 1:
        pairs = x[..., 0 : n - n % 2 : 2] + x[..., 1:n:2]
        x = torch.cat([pairs, x[..., n - n % 2 :]], -1)
    return x[..., 0]


def dot(
    x: Float[Tensor, "*B N"], y: Float[Tensor, "*B N"], format: str = "e4m3", accumulator: str = "fp32"
) -> Float[Tensor, "*B"]:
    r"""Σ x y over the last axis as narrow hardware has it: operands in one format, an accumulator in another.

    Both operands are rounded to `format`, each product to `accumulator`, and so is the sum after every term, from the
    first to the last: 1 + (N − 1) roundings of the accumulator on the way of the first product, and what the operands
    lost. All are to the nearest, ties to even, beyond the largest number infinite, or NaN.
    Raises ValueError for tensors that are not floating, without axes or entries, or of different shapes, and formats
    other than those with a sign and an infinity or NaN.
    Source: higham2002accuracy, §3.1; micikevicius2022fp8, §3.
    """
    expect.rows("x", x)
    expect.rows("y", y)
    if x.shape != y.shape:
        expect.fail("y", f"the shape of x, {tuple(x.shape)}", f"shape {tuple(y.shape)}")
    for name, choice in (("format", format), ("accumulator", accumulator)):
        if choice in ("e2m1", "e8m0"):
            expect.fail(name, "a format with a sign, and with infinity or NaN", choice)
    # float64 holds the product of two numbers of 24 bits, and rounds their sum finely: rounding twice does no harm
    products = rounded(rounded(x.double(), format) * rounded(y.double(), format), accumulator)
    total = products[..., 0]
    for product in products[..., 1:].unbind(-1):
        total = rounded(total + product, accumulator)
    return total.to(x.dtype)
