"""Precision contracts: which roundings a legitimate implementation may make, and what each allowance was measured by.

A contract is not a tolerance: from it the rounding mode derives, for every entry of every result, how far the exact
value may be missed. All constants are here. u is the unit roundoff of the arithmetic, 2^-24 in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reference.precision import FORMATS

NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
UNIT = {torch.float64: 2.0**-53, **{dtype: FORMATS[name].roundoff for dtype, name in NAMES.items()}}
"""Largest relative error of one rounding to nearest."""
SMALLEST_NORMAL = {d: torch.finfo(d).smallest_normal for d in UNIT}
HALF_SUBNORMAL = {d: torch.finfo(d).smallest_normal * UNIT[d] for d in UNIT}
"""What rounding may lose where numbers are too small for a relative error."""

ALLOWANCE = {
    # name: (roundings of size u, what was measured on 2 million points; XLA and torch on CPU)
    "exp": (4, "torch 1.0, XLA 1.4; the argument's own rounding, 2|x|, is added by the rule"),
    "log": (4, "torch 1.0, XLA 2.0"),
    "sin, cos": (4, "torch 1.1 for arguments up to 1e5"),
    "tanh": (8, "XLA 4.6, torch 1.1"),
    "erf": (16, "torch inside GELU about 10, XLA 6.7"),
    "erfinv": (6, "XLA 3.0 beyond one rounding of its argument, torch 1.0"),
    "root, quotient, power": (4, "rsqrt 1.5; x/y as x · (1/y) with an approximate reciprocal"),
    "input": (4, "folded scales and exp2 tricks: q/√K rounded, times log2 e rounded"),
}
"""Elementary functions and inputs: how many roundings an implementation may spend on one."""


def allowance(name: str) -> int:
    return ALLOWANCE[name][0]


@dataclass(frozen=True)
class Contract:
    """What may be rounded: `io` holds inputs and outputs, `arithmetic` everything between.

    FUSED keeps every intermediate in `arithmetic`; FLASH may round to `io` the operands of a matrix product, as tensor
    cores want them, and a result that the way back reads from memory; EAGER may store every intermediate in `io`.
    `flush`: subnormal numbers may become zero (XLA and GPUs do so). `tiles`: a sum of n terms may cost up to tiles · n
    additions, for sums that are rescaled tile by tile.
    `walk`: 6√n additions in their place, as a random walk of roundings has it; that is no bound, and serves suspicion.
    `exact`: nothing is rounded at all, but for the result where its dtype cannot hold it.
    """

    name: str
    io: torch.dtype
    operands: torch.dtype | None = None
    stored: torch.dtype | None = None
    flush: bool = True
    tiles: float = 2.0
    walk: bool = False
    exact: bool = False

    @property
    def arithmetic(self) -> torch.dtype:
        return torch.float64 if self.io == torch.float64 else torch.float32

    @property
    def u(self) -> float:
        return UNIT[self.arithmetic]

    @property
    def lost(self) -> float:
        """The largest number that may become zero, or half the least one that may not."""
        tiny = SMALLEST_NORMAL[self.arithmetic]
        return tiny if self.flush else tiny * self.u

    def __str__(self) -> str:
        return f"{self.name} {str(self.io).removeprefix('torch.')}"


def contracts(io: torch.dtype, exact: bool = False) -> list[Contract]:
    """FUSED, FLASH and EAGER for one dtype, from the strictest; in float64 and float32 they are the same one.

    EXACT alone for an operation that leaves nothing to rounding.
    """
    if exact:
        return [Contract("EXACT", io, flush=False, exact=True)]
    if io in (torch.float64, torch.float32):
        return [Contract("FUSED", io)]
    return [Contract("FUSED", io), Contract("FLASH", io, operands=io), Contract("EAGER", io, operands=io, stored=io)]
