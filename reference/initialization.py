r"""Initialization: a weight of a layer is a standardized random number times a deviation that the layer's shape sets.

    deviation = gain / √fan,   uniform on ±√3 · deviation, normal, or normal without its tails

LeCun: gain 1, fan_in. He: gain √2, fan_in. Glorot: gain 1 and the mean of both fans. The functions of given numbers are
deterministic; `draw` takes these numbers from a generator.
Article papers/initialization.md, derivation derivations/initialization.py, laws verify/initialization.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

LAYOUTS, MODES = ("out_in", "in_out"), ("fan_in", "fan_out", "fan_avg")
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        expect.fail(name, f"one of {', '.join(known)}", repr(value))


def fans(shape: Sequence[int], layout: str = "out_in") -> tuple[int, int]:
    r"""(fan_in, fan_out): with how many weights an output is made, and in how many outputs an input has a part.

    "out_in" is PyTorch's (out, in, *kernel), "in_out" the (*kernel, in, out) of JAX and Keras; every position of a
    kernel counts in both fans. Raises ValueError for another layout, fewer than two axes, or an empty one.
    Source: glorot2010understanding, §4.2.1; for kernels he2015delving, §2.2.
    """
    _one_of("layout", layout, LAYOUTS)
    if len(shape) < 2 or not all(hasattr(size, "__index__") and size > 0 for size in shape):
        expect.fail("shape", "two axes or more, none of them empty", tuple(shape))
    (outs, ins), kernel = (shape[:2], shape[2:]) if layout == "out_in" else (shape[:-3:-1], shape[:-2])
    return ins * math.prod(kernel), outs * math.prod(kernel)


def gain(nonlinearity: str, slope: float = 0.01) -> float:
    r"""By how much weights before this function are larger than 1/√fan: √2 for relu, √(2/(1 + a²)) if slope a leaks.

    The gains of tanh (5/3) and selu (3/4) are habits, not theorems.
    Raises ValueError for another name, or a slope that is not finite.
    Source: he2015delving, §2.2 eq. (10) and (15); pytorch2026documentation, torch.nn.init.calculate_gain.
    """
    _one_of("nonlinearity", nonlinearity, [*GAINS, "leaky_relu"])
    expect.number("slope", slope)
    return math.sqrt(2 / (1 + slope**2)) if nonlinearity == "leaky_relu" else GAINS[nonlinearity]


def deviation(shape: Sequence[int], mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in") -> float:
    r"""The standard deviation gain/√fan of the weights of a layer; "fan_avg" is Glorot's mean of both fans.

    Raises ValueError for another mode, a gain that is not a number from 0, or as `fans`.
    Source: glorot2010understanding, §4.2.1 eq. (10)–(12).
    """
    _one_of("mode", mode, MODES)
    expect.number("gain", gain, 0.0)
    into, out = fans(shape, layout)
    return gain / math.sqrt({"fan_in": into, "fan_out": out, "fan_avg": (into + out) / 2}[mode])


def uniform(
    u: Float[Tensor, "..."], mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in"
) -> Float[Tensor, "..."]:
    r"""Weights (2u − 1)·√3·deviation, uniform on ±√3·deviation if u, of the weights' shape, is uniform on (0, 1).

    Raises ValueError for an integer or empty tensor, or as `deviation`.
    Source: glorot2010understanding, §4.2.1 eq. (16).
    """
    expect.floating("u", u)
    bound = math.sqrt(3) * deviation(u.shape, mode, gain, layout)
    return u * (2 * bound) - bound


def normal(
    z: Float[Tensor, "..."], mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in"
) -> Float[Tensor, "..."]:
    r"""Weights z·deviation, where z, of the weights' shape, is standard normal, or anything of mean 0 and variance 1.

    Raises ValueError for an integer or empty tensor, or as `deviation`.
    Source: he2015delving, §2.2 eq. (10).
    """
    expect.floating("z", z)
    return z * deviation(z.shape, mode, gain, layout)


def truncated_normal(
    u: Float[Tensor, "..."], mode: str = "fan_in", gain: float = 1.0, layout: str = "out_in", cut: float = 2.0
) -> Float[Tensor, "..."]:
    r"""Weights of a normal law cut off at `cut` of its deviations, if u is uniform on (0, 1): its inverse at u.

    What is left has the standard deviation `deviation`, as in JAX and Keras; so the law before the cut has a larger
    one, by 1/0.8796 for cut = 2, and no weight exceeds 2.27 times `deviation`.
    Raises ValueError for an integer or empty tensor, unless 0 < cut < ∞, or as `deviation`.
    Source: the correction: derivations/initialization.py, truncation_shrinks_the_variance.
    """
    expect.floating("u", u)
    expect.above("cut", cut)
    inside = math.erf(cut / math.sqrt(2))
    lost = 2 * cut * math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi) / inside
    before = deviation(u.shape, mode, gain, layout) / math.sqrt(1 - lost)
    return torch.erfinv(u * (2 * inside) - inside) * (math.sqrt(2) * before)


def gpt2_block(z: list[Float[Tensor, "..."]], L: int, std: float = 0.02) -> list[Float[Tensor, "..."]]:
    r"""The four matrices of one of GPT-2's L blocks, from standard normal z in their shapes: z · std.

    In this order: queries, keys and values together; attention's output; up; down. The second and the fourth write to
    the residual stream, and are divided by √(2L).
    Raises ValueError unless z holds four floating tensors, L ≥ 1 and std is a number from 0.
    Source: radford2019language, §2.3.
    """
    if len(z) != 4:
        expect.fail("z", "four tensors: queries, keys and values; output; up; down", len(z))
    for x in z:
        expect.floating("z", x)
    expect.natural("L", L, 1)
    expect.number("std", std, 0.0)
    writes = std / math.sqrt(2 * L)
    return [x * scale for x, scale in zip(z, (std, writes, std, writes), strict=True)]


LAWS = {"uniform": (torch.rand, uniform), "normal": (torch.randn, normal), "truncated": (torch.rand, truncated_normal)}


def draw(
    shape: Sequence[int],
    law: str = "normal",
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    **how,
) -> Float[Tensor, "..."]:
    r"""Random weights of this shape; `how` are the mode, gain, layout (and cut) of `uniform`, `normal`, "truncated".

    Raises ValueError for another law, or as these functions.
    """
    _one_of("law", law, [*LAWS])
    fans(shape)
    numbers, weights = LAWS[law]
    return weights(numbers(*shape, generator=generator, dtype=dtype), **how)
