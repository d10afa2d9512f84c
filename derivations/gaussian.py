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


def beyond_five(bound, root, cubic):
    """For x = 5 + s the error xσ(2u) − xΦ(x) = x(1 − Φ(x)) − x(1 − σ(2u)) lies within ±bound, in four parts."""
    x = 5 + s
    r, tail = 5 * s + s**2 / 2, exp(-Rational(25, 2) - 5 * s - s**2 / 2)  # (x² − 5²)/2 and e^(−x²/2)
    gap = 1 / (1 + exp(twice_u(x, root, cubic)))
    ahead = 2 * root * (5 + 125 * cubic + (1 + 75 * cubic) * s + 15 * cubic * s**2 + cubic * s**3) - 15 - 3 * s
    return (
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
        below(3 * x, le(twice_u(x, root, cubic), "call it 3x + q", by=ahead)),
        below(
            x / (1 + exp(3 * x + q)),
            le(x * exp(-3 * x - q), "drop the one", by=x * exp(-3 * x - q) / (1 + exp(3 * x + q))),
            le(x * exp(-3 * x), "q ≥ 0", by=x * exp(-3 * x - q) * (TangentGap.of(exp, 0, q) + q)),
        ),
        below(
            x * exp(-3 * x) - x * mass,
            le(x * exp(-3 * x), "no less than minus the error: Q = 1 − Φ(x) is positive", by=x * mass),
            le(5 * exp(-15), "e^(3s) ≥ 1 + 3s", by=exp(-15 - 3 * s) * (5 * TangentGap.of(exp, 0, 3 * s) + 14 * s)),
            le(bound, "1.6·10⁻⁶", by=ONE_BALL),
        ),
    )
