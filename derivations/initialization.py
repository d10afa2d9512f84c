r"""Initialization: which variance of the weights keeps the size of what flows forward and back through depth.

A layer takes m numbers, its fan-in, and gives n, its fan-out. A weight is a standardized number u times the deviation
that an initialization chooses. Size means mean square; expectations are over weights and inputs. Input j has its own
mean μ_j and its own variance, and any two inputs may be correlated; so may the slopes that flow back.
Article papers/initialization.md, code reference/initialization.py, laws verify/initialization.py.
"""

from sympy import Abs, Derivative, IndexedBase, Rational, Sum, Symbol, sign, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law, Var
from derivations.forms import below, eq, equal, expect, le

m, n, N = (Symbol(name, integer=True, positive=True) for name in "mnN")
i, j, k, s = (Symbol(name, integer=True, positive=True) for name in "ijks")
u, W, x, g = (IndexedBase(name, real=True) for name in "uWxg")
mu, nu, gamma, tau = (IndexedBase(name, real=True) for name in ("mu", "nu", "gamma", "tau"))
mean_w, var_w, cov_w = (Symbol(name, real=True) for name in ("mean_w", "var_w", "cov_w"))
c, d = (Symbol(name, real=True) for name in "cd")
STANDARD = {mean_w: 0, var_w: 1, cov_w: 0}


def of_input(j):
    """E[x_j²]: the squared mean, the variance that input j has alone, and what it shares with the others."""
    return mu[j] ** 2 + nu[j] ** 2 + c**2


def of_slope(i):
    """E[g_i²], likewise, for the slope of the loss by output i."""
    return gamma[i] ** 2 + tau[i] ** 2 + d**2


SIZE, SLOPE = Sum(of_input(j), (j, 1, m)) / m, Sum(of_slope(i), (i, 1, n)) / n
INTO = (Law(u, m, j, mean_w, var_w, cov_w), Law(x, m, j, mu[j], nu[j] ** 2 + c**2, c**2))
OUT = (Law(u, n, i, mean_w, var_w, cov_w), Law(g, n, i, gamma[i], tau[i] ** 2 + d**2, d**2))


@claim(
    source="glorot2010understanding, §4.2.1 eq. (5)",
    code="reference.initialization.normal",
    given={mean_w: 0, cov_w: 0},
    mistakes={
        "the variance of the input for its mean square": {"size": Sum(nu[j] ** 2 + c**2, (j, 1, m)) / m},
        "deviations add, not variances": {"each": sqrt(var_w)},
        "the sum taken for a mean": {"terms": 1},
    },
)
def linear_variance(size=SIZE, each=var_w, terms=m):
    """An output of a linear layer has the variance m Var(w) E[x²], where E[x²] is the mean over its m inputs."""
    return expect(
        Var(Sum(u[j] * x[j], (j, 1, m))),
        eq(
            Sum(var_w * of_input(j), (j, 1, m)),
            "weights are centred, uncorrelated, and independent of the input: of the pairs j, k only j = k remains",
        ),
        eq(terms * each * size, "the sum is m times the mean"),
        laws=INTO,
    )


def forward(std, size, reason):
    """The mean square of an output, when the weights have this deviation."""
    return expect(
        E(Sum(std * u[j] * x[j], (j, 1, m)) ** 2),
        eq(
            Sum(std**2 * of_input(j), (j, 1, m)),
            "linear_variance; the mean is zero, so that the mean square is the variance",
        ),
        eq(size, reason),
        laws=INTO,
    )


def backward(std, size, reason):
    """The mean square of the loss's slope by an input, from that by the outputs."""
    return expect(
        E(Sum(std * u[i] * g[i], (i, 1, n)) ** 2),
        eq(Sum(std**2 * of_slope(i), (i, 1, n)), "linear_variance for the transposed matrix, n weights a column"),
        eq(size, reason),
        laws=OUT,
    )


@claim(
    source="glorot2010understanding, §4.2.1 eq. (8) and (10)",
    code="reference.initialization.normal",
    given=STANDARD,
    mistakes={
        "fan-out for fan-in": {"std": 1 / sqrt(n)},
        "the variance for the deviation": {"std": 1 / m},
        "the mean of both fans": {"std": sqrt(2 / (m + n))},
        "uniform on ±1/√m, PyTorch's linear layer": {"std": 1 / sqrt(3 * m)},
    },
)
def fan_in_preserves_forward_variance(std=1 / sqrt(m)):
    """Weights of variance 1/fan_in give outputs the mean square of the inputs, whatever the widths are."""
    return forward(std, SIZE, "m weights of variance 1/m")


@claim(
    source="glorot2010understanding, §4.2.1 eq. (6), (9) and (11)",
    code="reference.initialization.normal",
    given=STANDARD,
    for_all={k: m},
    mistakes={
        "fan-in for fan-out": {"std": 1 / sqrt(m)},
        "the matrix is not transposed": {"passed": Sum(W[k, j] * g[j], (j, 1, m))},
        "a mean over the outputs, not a sum": {"std": 1},
    },
)
def fan_out_preserves_backward_variance(std=1 / sqrt(n), passed=Sum(W[i, k] * g[i], (i, 1, n))):
    """Weights of variance 1/fan_out hand the mean square of the outputs' slopes, independent of them, to the inputs."""
    return (
        equal(
            Derivative(Sum(Sum(g[i] * W[i, j] * x[j], (j, 1, m)), (i, 1, n)), x[k]),
            eq(passed, "a loss of slope g by the outputs: input k meets the n weights of its column"),
        ),
        backward(std, SLOPE, "n weights of variance 1/n"),
    )


keeps_forward, keeps_backward = Symbol("a", real=True), Symbol("b", real=True)


@claim(
    source="glorot2010understanding, §4.2.1 eq. (12)",
    code="reference.initialization.normal",
    given=STANDARD | {keeps_forward: 1 / m, keeps_backward: 1 / n},
    mistakes={
        "1/(fan_in + fan_out)": {"std": 1 / sqrt(m + n)},
        "the mean of the two variances": {"std": sqrt((1 / m + 1 / n) / 2)},
        "their geometric mean": {"std": (m * n) ** -Rational(1, 4)},
        "exact in both directions whatever the widths": {"lean": 0},
    },
)
def glorot_is_the_compromise(std=sqrt(2 / (m + n)), lean=(m - n) / (m + n)):
    """2/(fan_in + fan_out) is the harmonic mean of both conditions: what one size gains the other loses, if m ≠ n."""
    return (
        equal(
            std**2,
            eq(2 / (1 / keeps_forward + 1 / keeps_backward), "the harmonic mean of a = 1/m and b = 1/n"),
        ),
        forward(std, (1 + lean) * SIZE, "2m = (m + n) + (m − n)"),
        backward(std, (1 - lean) * SLOPE, "2n = (m + n) − (m − n)"),
        below(
            m * std**2 * n * std**2,
            eq(1 - lean**2, "(1 + λ)(1 − λ) with λ = (m − n)/(m + n)"),
            le(1, "and it is one, as where both are kept, only if λ is zero: m = n", by=lean**2),
        ),
    )


V, z, chance = IndexedBase("V", real=True), IndexedBase("z", real=True), IndexedBase("p", real=True)
unlike = IndexedBase("y", real=True, nonzero=True)
skew = Symbol("skew", real=True)


def relu(y):
    return (y + Abs(y)) / 2


def slope(y):
    """relu's: one on the right, zero on the left."""
    return (1 + sign(y)) / 2


def mirrored(f, y):
    """The mean of f(y_s) over N cases of probability p_s and their mirror images, as likely as they when skew = 0."""
    return Sum(chance[s] * ((1 + skew) / 2 * f(y(s, 1)) + (1 - skew) / 2 * f(y(s, -1))), (s, 1, N))


def unit(s, side):
    """A unit below when its weights are those of case s, or, on the other side, all of these with their sign turned."""
    return Sum(side * V[s, k] * z[k], (k, 1, n))


@claim(
    source="he2015delving, §2.2 eq. (7)–(14)",
    code="reference.initialization.normal",
    given=STANDARD | {skew: 0},
    mistakes={
        "Glorot's weights, which know of no relu": {"double": sqrt},
        "doubled once more": {"double": lambda share: 2 * sqrt(share)},
        "relu keeps the mean square": {"half": 1},
        "the variance of what passes, not its mean square": {"centre": 1},
    },
)
def he_doubles_for_relu(double=lambda share: sqrt(2 * share), half=Rational(1, 2), centre=0):
    """After symmetric weights relu halves the mean square both ways: 2/fan_in makes up for it, or 2/fan_out back."""
    return (
        equal(
            mirrored(lambda y: relu(y) ** 2, unit) - centre * mirrored(relu, unit) ** 2,
            eq(
                Sum(chance[s] * (relu(unit(s, 1)) ** 2 + relu(-unit(s, 1)) ** 2) / 2, (s, 1, N)),
                "a unit is linear in its weights: −V gives −y, and is as likely as V",
            ),
            eq(half * Sum(chance[s] * unit(s, 1) ** 2, (s, 1, N)), "relu(y)² + relu(−y)² = y²"),
        ),
        forward(double(1 / m), 2 * SIZE, "m weights of variance 2/m: twice what passed relu, so what was before"),
        equal(
            mirrored(lambda y: slope(y) ** 2, lambda s, side: side * unlike[s]),
            eq(half * Sum(chance[s], (s, 1, N)), "of y and −y, neither zero, one lets the slope pass"),
        ),
        backward(double(1 / n), 2 * SLOPE, "n weights of variance 2/n"),
    )
