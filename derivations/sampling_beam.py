r"""Search: why the likeliest next symbol does not make the likeliest text, and when a beam may stop.

Article papers/sampling.md, code reference/sampling_beam.py, laws verify/sampling_beam.py.
"""

from sympy import IndexedBase, Rational, Sum, Symbol, exp

from derivations.claim import claim
from derivations.forms import below, eq, finite, ge, le
from derivations.positive import TangentGap

n, j, k = (Symbol(name, integer=True, positive=True) for name in "njk")
g = IndexedBase("g", nonnegative=True)
q, d, alpha, h = (Symbol(name, nonnegative=True) for name in ("q", "d", "alpha", "h"))
ell = Symbol("ell", positive=True)
x, first = Symbol("x", real=True), Symbol("p", real=True)


@claim(
    source="huang2017finish, §3",
    code="reference.sampling.beam_search",
    mistakes={
        "log-probabilities of later symbols are added with the wrong sign": {"later": 1},
        "the present divisor, where a larger one is to come": {"most": ell / (1 + d)},
        "the largest divisor is that of the shortest text where α > 0": {"longer": -1},
        "and that of the longest where α < 0": {"shorter": -1},
    },
)
def beam_may_stop_early(later=-1, most=ell + d, longer=1, shorter=1):
    """No continuation of a text of log p = −q scores above −q/max ℓ: at the longest for α ≥ 0, the next for α ≤ 0."""

    def power(exponent, log_length):
        return exp(exponent * log_length)

    return (
        below(
            (-q + later * Sum(g[j], (j, 1, k))) / ell,
            le(-q / ell, "k further symbols cost g ≥ 0 each", by=Sum(g[j], (j, 1, k)) / ell),
            le(-q / most, "a cost is least over the largest divisor ℓ + d", by=q * d / (ell * (ell + d))),
        ),
        below(
            longer * power(alpha, x),
            le(
                longer * power(alpha, x + h),
                "ℓ = e^(αx), with x the logarithm of n, or of (5 + n)/6, which grows by h",
                by=power(alpha, x) * (TangentGap.of(exp, 0, alpha * h) + alpha * h),
            ),
        ),
        below(
            shorter * power(-alpha, x),
            ge(
                shorter * power(-alpha, x + h),
                "and with a negative exponent it falls",
                by=power(-alpha, x + h) * (TangentGap.of(exp, 0, alpha * h) + alpha * h),
            ),
        ),
    )


@claim(
    source="wu2016gnmt, §7",
    code="reference.sampling.greedy",
    scope="instances",
    why="a counterexample settles it",
    mistakes={
        "the second step is sure as well: then greedy is right": {"after_greedy": 1},
        "the other symbol leaves a choice too": {"after_other": Rational(1, 2)},
    },
)
def greedy_is_not_the_likeliest_text(after_greedy=Rational(1, 2), after_other=1):
    """After a symbol of 0.6 come two even ones: texts of 0.3; after that of 0.4 a sure one: the likeliest, of 0.4."""
    likelier = [{first: Rational(3, 5)}]
    return (
        finite(first * after_greedy, eq(Rational(3, 10), "the likelier first symbol, then either"), cases=likelier),
        finite((1 - first) * after_other, eq(Rational(2, 5), "the other one, then what must follow"), cases=likelier),
    )
