r"""GELU's other forms: how far the one with tanh and the one with a logistic gate are from it, certified.

Article papers/activations.md, code reference/activations.py, laws verify/activations.py.
"""

from sympy import IndexedBase, Interval, Rational, S, Sum, Symbol, exp, sqrt

from derivations.claim import claim
from derivations.forms import Within, below, eq, equal, finite, ge, le
from derivations.gaussian import CUBIC, ONE_BALL, ROOT, Phi, ahead_of_three, beyond_five, density, sigmoid, twice_u
from derivations.positive import TangentGap

n, j = (Symbol(name, integer=True, positive=True) for name in "nj")
w, d = IndexedBase("w", positive=True), IndexedBase("d", nonnegative=True)
far = Symbol("x", nonnegative=True)


@claim(
    source="chang2011chernoff, abstract",
    code="reference.activations.gelu",
    mistakes={"the square is not halved": {"rate": 1}, "half of the half": {"share": Rational(1, 2)}},
)
def normal_tail_is_below_half_a_gaussian(rate=Rational(1, 2), share=1):
    """For x ≥ 0 a Riemann sum of φ beyond x is at most e^(−x²/2) times that beyond 0, so 1 − Φ(x) ≤ ½e^(−x²/2)."""
    lost = TangentGap.of(exp, 0, far * d[j]) + far * d[j]
    return below(
        Sum(w[j] * density(far + d[j]), (j, 1, n)),
        le(
            share * exp(-rate * far**2) * Sum(w[j] * density(d[j]), (j, 1, n)),
            "(x + d)² = x² + d² + 2xd, and e^(−xd) ≤ 1; in the limit the sum on the right is the mass ½ beyond zero",
            by=Sum(w[j] * density(d[j]) * exp(-(far**2) / 2) * exp(-far * d[j]) * lost, (j, 1, n)),
        ),
    )


t, y, M = Symbol("t", real=True), Symbol("x", real=True), 10**6


@claim(
    source="hendrycks2016gelu, §2",
    code="reference.activations.gelu",
    scope="enclosed",
    why="the maximum has no closed form: balls cover |x| ≤ 5.2; the tails beyond 5 are bounded by hand",
    domains={t: Interval(0, 1)},
    mistakes={
        "one digit too few": {"bound": Rational(470, M)},
        "one digit rounded up": {"reached": Rational(474, M)},
        "0.44715 for 0.044715": {"cubic": 10 * CUBIC},
        "√(2/π) is left out": {"root": S.One},
        "erf of x, not of x/√2": {"scale": sqrt(2)},
    },
)
def tanh_gelu_error_bound(bound=Rational(474, M), reached=Rational(473, M), cubic=CUBIC, root=ROOT, scale=1):
    """The two forms of GELU nowhere differ by more than 4.74·10⁻⁴, and at x = 2.7 they differ by 4.73·10⁻⁴."""

    def error(x):
        return x * (sigmoid(twice_u(x, root, cubic)) - Phi(scale * x))

    inside, cells = Rational(26, 5) * sqrt(t), Within(t, 0, 1)
    return (
        equal(error(-y), eq(error(y), "each gate turns into one minus itself: it is even, and x ≥ 0 suffices")),
        below(error(inside), le(bound, "x = 5.2√t; bisected until a ball shows it in every cell", by=cells)),
        below(error(inside), ge(-bound, "the same", by=cells)),
        finite(error(y), ge(reached, "one point", by=ONE_BALL), cases=[{y: Rational(27, 10)}]),
        *beyond_five(bound, 3, lambda x: twice_u(x, root, cubic), ahead_of_three(root, cubic)),
    )


@claim(
    source="hendrycks2016gelu, §2",
    code="reference.activations.quick_gelu",
    scope="enclosed",
    why="the maximum has no closed form: balls cover |x| ≤ 5.2; the tails beyond 5 are bounded by hand",
    domains={t: Interval(0, 1)},
    mistakes={
        "one digit too few": {"bound": Rational(2, 100)},
        "one digit rounded up": {"reached": Rational(204, 10**4)},
        "the sigmoid of x itself: SiLU": {"rate": 1},
        "erf of x, not of x/√2": {"scale": sqrt(2)},
    },
)
def quick_gelu_error_bound(
    bound=Rational(204, 10**4), reached=Rational(203, 10**4), rate=Rational(1702, 1000), scale=1
):
    """xσ(1.702x) is nowhere more than 0.0204 from GELU, and at x = 2.27 it is 0.0203 from it."""

    def error(x):
        return x * (sigmoid(rate * x) - Phi(scale * x))

    inside, cells = Rational(26, 5) * sqrt(t), Within(t, 0, 1)
    return (
        equal(error(-y), eq(error(y), "each gate turns into one minus itself: it is even, and x ≥ 0 suffices")),
        below(error(inside), le(bound, "x = 5.2√t; bisected until a ball shows it in every cell", by=cells)),
        below(error(inside), ge(-bound, "the same", by=cells)),
        finite(-error(y), ge(reached, "one point", by=ONE_BALL), cases=[{y: Rational(227, 100)}]),
        *beyond_five(bound, rate, lambda x: rate * x),
    )
