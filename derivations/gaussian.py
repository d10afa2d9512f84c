"""The normal distribution function Φ as both engines read it, its imitation by tanh, and how both settle at one.

Also |x| with its derivative: together the functions of derivations/activations.py.
"""

from flint import acb, acb_series
from sympy import Abs, Function, Rational, S, Symbol, exp, pi, sqrt

from derivations.forms import Within, below, le
from derivations.positive import TangentGap

ROOT, CUBIC = sqrt(2 / pi), Rational(44715, 10**6)
s, q, delta = (Symbol(name, nonnegative=True) for name in ("s", "q", "delta"))
mass = Symbol("Q", positive=True)
ONE_BALL = Within(Symbol("t", real=True), 0, 0)
"""Certificate of an inequality between numbers: there is nothing to bisect."""


def density(x):
    """φ(x), the density of the standard normal."""
    return exp(-(x**2) / 2) / sqrt(2 * pi)


class Phi(Function):
    """The standard normal distribution function: its slope is φ, and Φ(−x) = 1 − Φ(x)."""

    nargs = 1

    @classmethod
    def eval(cls, x):
        if x.could_extract_minus_sign():
            return 1 - cls(-x)
        return S.Half if x == 0 else None

    def fdiff(self, argindex=1):
        return density(self.args[0])

    def enumerate_law(self, point, evaluate):
        """The numeric engine's reading, which knows nothing of the slope: (1 + erf(x/√2))/2 in Arb."""
        return (1 + (evaluate(self.args[0], point) / acb(2).sqrt()).erf()) / 2

    def _latex(self, printer):
        return rf"\Phi\left({printer._print(self.args[0])}\right)"


class Magnitude(Abs):
    """|x|, which the numeric engine reads as √(x²): that has a power series wherever x is not zero."""

    def enumerate_law(self, point, evaluate):
        inner = evaluate(self.args[0], point)
        at = inner[0] if isinstance(inner, acb_series) else inner
        return inner * acb("nan") if at.contains(0) else (inner * inner).sqrt()

    def _latex(self, printer, **options):
        return rf"\left|{{{printer._print(self.args[0])}}}\right|"

    def _sympystr(self, printer):
        return f"Abs({printer._print(self.args[0])})"


def sigmoid(x):
    return 1 / (1 + exp(-x))


def twice_u(x, root=ROOT, cubic=CUBIC):
    """2u for u = √(2/π)(x + 0.044715x³): since ½(1 + tanh u) = σ(2u), the tanh form of GELU is xσ(2u)."""
    return 2 * root * (x + cubic * x**3)


def beyond_five(bound, rate, doubled, ahead=None):
    """For x = 5 + s the error x(1 − Φ(x)) − x(1 − σ(2u)) lies within ±bound, where 2u = rate·x + ahead."""
    x = 5 + s
    r, tail = 5 * s + s**2 / 2, exp(-Rational(25, 2) - 5 * s - s**2 / 2)  # (x² − 5²)/2 and e^(−x²/2)
    gap, least = 1 / (1 + exp(doubled(x))), x * exp(-rate * x)
    more = q if ahead else 0
    faster = below(rate * x, le(doubled(x), f"call it {rate}x + q", by=ahead)) if ahead else None
    drop = le(least * exp(-more), "drop the one", by=least * exp(-more) / (1 + exp(rate * x + more)))
    slower = le(least, "q ≥ 0", by=least * exp(-q) * (TangentGap.of(exp, 0, q) + q)) if ahead else None
    return tuple(
        part
        for part in (
            below(
                x * (tail / 2 - delta) - x * gap,
                le(x * tail / 2, "x = 5 + s, and 1 − Φ(x) = ½e^(−x²/2) − δ by the claim above", by=x * delta + x * gap),
                le(
                    5 * exp(-Rational(25, 2)) / 2,
                    "e^r ≥ 1 + r with r = (x² − 5²)/2 outgrows x",
                    by=tail * (5 * TangentGap.of(exp, 0, r) + 24 * s + 5 * s**2 / 2) / 2,
                ),
                le(bound, "9.4·10⁻⁶", by=ONE_BALL),
            ),
            faster,
            below(x / (1 + exp(rate * x + more)), *filter(None, (drop, slower))),
            below(
                least - x * mass,
                le(least, "no less than minus the error: Q = 1 − Φ(x) is positive", by=x * mass),
                le(
                    5 * exp(-5 * rate),
                    "e^y ≥ 1 + y outgrows x",
                    by=exp(-5 * rate - rate * s) * (5 * TangentGap.of(exp, 0, rate * s) + (5 * rate - 1) * s),
                ),
                le(bound, "which is small", by=ONE_BALL),
            ),
        )
        if part
    )


def ahead_of_three(root, cubic):
    """How far 2u of the tanh form is above 3x for x = 5 + s: all coefficients are positive."""
    ahead = 2 * root * (5 + 125 * cubic) - 15 + (2 * root * (1 + 75 * cubic) - 3) * s
    return ahead + 2 * root * cubic * (15 * s**2 + s**3)
