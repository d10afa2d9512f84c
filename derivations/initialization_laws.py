r"""Initialization: the laws that weights are drawn from, and the bound or deviation at which their variance is right.

Means are integrals of the law's density; each is found as the rise of a function that has the integrand as its slope.
Article papers/initialization.md, code reference/initialization.py, laws verify/initialization.py.
"""

from sympy import Derivative, Rational, S, Symbol, sqrt

from derivations.claim import claim
from derivations.forms import eq, equal, finite, ge, le
from derivations.gaussian import ONE_BALL, Phi, density

m, n = (Symbol(name, integer=True, positive=True) for name in "mn")
p = Symbol("p", integer=True, nonnegative=True)
a, b, y = Symbol("a", real=True), Symbol("b", real=True, nonzero=True), Symbol("y", real=True)
rho, wanted = Symbol("rho", real=True), Symbol("var", real=True)


def rising(power, at):
    """A function of slope ρ y^power at y = at."""
    return rho * at ** (power + 1) / (power + 1)


def mean(power):
    """The mean of y^power under the density ρ on (a, b), by the fundamental theorem of calculus."""
    return rising(power, b) - rising(power, a)


@claim(
    source="glorot2010understanding, §4.2.1 eq. (16)",
    code="reference.initialization.uniform",
    given={a: -b, rho: 1 / (2 * b), wanted: 2 / (m + n)},
    mistakes={
        "the bound is taken for the deviation": {"bound": sqrt(2) / sqrt(m + n)},
        "√3, as for the variance 1/(fan_in + fan_out)": {"bound": sqrt(3) / sqrt(m + n)},
        "the variance of the interval (0, b)": {"third": Rational(1, 12)},
    },
)
def uniform_bound_has_root_six(bound=sqrt(6) / sqrt(m + n), third=Rational(1, 3)):
    """The uniform law on (−b, b) has variance b²/3: for Glorot's 2/(fan_in + fan_out) b is √6/√(fan_in + fan_out)."""
    return (
        equal(Derivative(rising(p, y), y), eq(rho * y**p, "y^p times the density ρ: what rises so is its integral")),
        equal(mean(S.Zero), eq(1, "all mass lies between a = −b and b, as ρ = 1/2b")),
        equal(mean(S.One), eq(0, "the mean: a² = b²")),
        equal(mean(S(2)), eq(third * b**2, "the mean square, which is the variance: 2ρb³/3")),
        equal(sqrt(wanted / third), eq(bound, "b²/3 is to be 2/(fan_in + fan_out)")),
    )


cut = Symbol("k", real=True, nonzero=True)


def tails_cut(at):
    """A function of slope y²φ(y) at y = at, φ being the density of the standard normal."""
    return Phi(at) - at * density(at)


@claim(
    source="johnson1994continuous, ch. 13 (truncated normal distributions)",
    code="reference.initialization.truncated_normal",
    mistakes={
        "cutting changes nothing": {"lost": 0},
        "not divided by the mass that is left": {"mass": 1},
        "one tail for both": {"lost": cut * density(cut)},
        "the variance for the deviation": {"root": lambda v: v},
    },
)
def truncation_shrinks_the_variance(lost=2 * cut * density(cut), mass=2 * Phi(cut) - 1, root=sqrt):
    """Cut at ±k, the standard normal has variance 1 − 2kφ(k)/(2Φ(k) − 1): at k = 2 its deviation is 0.8796."""
    left = 1 - lost / mass
    two = root(left.xreplace({cut: S(2)}))
    return (
        equal(Derivative(tails_cut(y), y), eq(y**2 * density(y), "Φ has the slope φ, and φ has the slope −yφ")),
        equal(
            (tails_cut(cut) - tails_cut(-cut)) / (Phi(cut) - Phi(-cut)),
            eq(left, "Φ(−k) = 1 − Φ(k), and φ is even; the mean is zero by symmetry"),
        ),
        finite(two, ge(Rational(87962, 10**5), "one number", by=ONE_BALL)),
        finite(two, le(Rational(87963, 10**5), "to five digits", by=ONE_BALL)),
    )
