r"""A scale for each block of a matrix, so that its largest entry is the largest number of a narrow format.

Article papers/precision.md, code reference/precision_blocks.py, laws verify/precision_blocks.py.
"""

from sympy import Symbol

from derivations.claim import claim
from derivations.forms import below, le

entry, low, largest = (Symbol(name, positive=True) for name in ("A", "eta", "M"))
more, gap = Symbol("m", nonnegative=True), Symbol("d", nonnegative=True)
u, x = Symbol("u", real=True), Symbol("x", real=True)


@claim(
    source="deepseek2024v3, §3.3.2; rouhani2023microscaling, Algorithm 1",
    code="reference.precision.quantize",
    mistakes={
        "the scale upside down": {"scale": lambda most: largest / most},
        "the largest entry itself is the scale": {"scale": lambda most: most},
        "every entry keeps its relative error": {"floor": 0},
        "the next power of two below": {"power": lambda s: s / (1 + gap)},
    },
)
def block_scaling_bounds_the_error(
    scale=lambda most: most / largest, floor=low / (2 * largest), power=lambda s: s + gap
):
    """With the scale max|x|/M nothing overflows, and x is off by u|x| + η max|x|/2M at most: less in smaller blocks."""
    most = entry + more
    s = scale(most)
    return (
        below(
            entry / s,
            le(largest, "A is an entry, A + m the largest of its block: M itself is reached", by=largest * more / most),
        ),
        below(
            s * (u * (x / s) + low / 2),
            le(
                u * x + most * floor,
                "x/s is off by u of itself, or where it is subnormal by half the least number η; both come back s-fold",
                by=0,
            ),
        ),
        below(
            low * entry / (2 * largest),
            le(
                low * most / (2 * largest),
                "a block whose largest entry is less loses less",
                by=low * more / 2 / largest,
            ),
        ),
        below(
            most / power(most / largest),
            le(
                largest,
                "the next power of two, d above s, fits as well, and dividing by it is exact",
                by=largest * gap / (most / largest + gap),
            ),
        ),
    )
