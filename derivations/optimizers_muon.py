r"""What Muon's quintic does to a singular value. Article papers/optimizers.md, code reference/optimizers_muon.py."""

from itertools import pairwise

from sympy import Interval, Rational, Symbol

from derivations.claim import claim
from derivations.forms import Within, below, ge, le

low, high = Rational(17, 25), Rational(121, 100)
near, any_size, small = (Symbol(name, real=True) for name in ("s", "r", "q"))


@claim(
    source="jordan2024muon, NewtonSchulz5 and its coefficients",
    code="reference.optimizers_muon.newton_schulz",
    scope="enclosed",
    why="polynomials with decimal coefficients are enclosed on intervals",
    domains={near: Interval(low, high), any_size: Interval(0, high), small: Interval(0, low)},
    mistakes={
        "the cubic iteration 3s/2 − s³/2, which is exact and slow": {"a": Rational(3, 2), "b": -Rational(1, 2), "c": 0},
        "the sign of the cubic term": {"b": Rational("4.7750")},
        "no fifth power": {"c": 0},
    },
)
def newton_schulz_gathers_singular_values(a=Rational("3.4445"), b=-Rational("4.7750"), c=Rational("2.0315")):
    """p(s) = as + bs³ + cs⁵ keeps 0.68 … 1.21 within itself, and takes what is smaller up by 5/3 or more, to 1.21."""
    return (
        below(
            a * near + b * near**3 + c * near**5,
            ge(low, "once above 0.68 never below it again", by=Within(near, low, high)),
        ),
        below(
            a * any_size + b * any_size**3 + c * any_size**5,
            le(high, "and nothing is thrown beyond 1.21", by=Within(any_size, 0, high)),
        ),
        below(
            a + b * small**2 + c * small**4,
            ge(Rational(5, 3), "p(s)/s: what is below 0.68 grows geometrically", by=Within(small, 0, low)),
        ),
    )


THRESHOLDS = [Rational(text) for text in ("1/300", "0.0114", "0.039", "0.134", "0.45", "0.68")]
along = Symbol("y", real=True)


@claim(
    source="jordan2024muon, NewtonSchulz5: five steps",
    code="reference.optimizers_muon.newton_schulz",
    scope="enclosed",
    why="polynomials with decimal coefficients are enclosed on intervals",
    domains={along: Interval(0, 1)},
    mistakes={
        "the cubic iteration 3s/2 − s³/2 is as fast": {"step": lambda s: Rational(3, 2) * s - s**3 / 2},
        "four steps are enough": {"reached": [*THRESHOLDS[1:4], low, low]},
        "a thousandth is enough to start from": {"start": Rational(1, 1000)},
    },
)
def five_steps_suffice_from_a_three_hundredth(
    start=THRESHOLDS[0],
    reached=tuple(THRESHOLDS[1:]),
    step=lambda s: Rational("3.4445") * s - Rational("4.775") * s**3 + Rational("2.0315") * s**5,
):
    """From 1/300 of the norm, five steps of p take a singular value past 0.0114, 0.039, 0.134, 0.45 and 0.68."""
    return tuple(
        below(
            step(low + (high - low) * along),
            ge(least, "the next threshold; what is past one stays past it", by=Within(along, 0, 1)),
        )
        for (low, high), least in zip(pairwise([start, *THRESHOLDS[1:]]), reached, strict=True)
    )
