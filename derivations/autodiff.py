r"""What differentiates a program: rules for combinations, dual numbers, and the transposed product of reverse mode.

A function f is differentiable at x when its difference quotient (f(x + h) − f(x))/h is f' + r and the error r vanishes
with h. The rules for products, quotients and compositions are identities between such quotients, with an error whose
every term has a factor that vanishes. The derivatives of powers, e^x, log and sine are in autodiff_rules.py, what
differentiation costs is in autodiff_costs.py. Article papers/autodiff.md, code reference/autodiff.py, laws
verify/autodiff.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Rational, Sum, Symbol, cos, exp, sin

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, induct, le

n, m, N = (Symbol(name, integer=True, positive=True) for name in "nmN")
i, j, k, l = (Symbol(name, integer=True, positive=True) for name in "ijkl")
t = Symbol("t", integer=True, nonnegative=True)
f, g, F, G, a, b, r, s, x, y = (Symbol(name, real=True) for name in "fgFGabrsxy")
h, low, high = (Symbol(name, real=True, nonzero=True) for name in ("h", "g", "G"))
A, B, R, E, K, p, u, v, w = (IndexedBase(name, real=True) for name in ("A", "b", "r", "s", "k", "p", "u", "v", "w"))


def quotient(after, before):
    """The difference quotient."""
    return (after - before) / h


@claim(
    source="rudin1976principles, Theorem 5.3",
    code="reference.autodiff_rules.mul",
    given={r: quotient(F, f) - a, s: quotient(G, g) - b},
    mistakes={
        "the product of the slopes": {"slope": a * b},
        "the second factor taken for a constant": {"slope": a * g},
        "the sign": {"slope": a * g - f * b},
    },
)
def product_rule(slope=a * g + f * b):
    """The difference quotient of fg is f'g + fg' and an error that vanishes with h and those of f and g, r and s."""
    mixed = (a + r) * (b + s)
    error = f * s + g * r + h * mixed
    bound = (f**2 + g**2 + mixed**2) * (r**2 + s**2 + h**2)
    lagrange = (f * r - g * s) ** 2 + (f * h - mixed * s) ** 2 + (g * h - mixed * r) ** 2
    return (
        equal(
            quotient(F * G, f * g),
            eq(quotient(F, f) * g + f * quotient(G, g) + h * quotient(F, f) * quotient(G, g), "F = f + h(F − f)/h"),
            eq(slope + error, "r and s are what the two quotients differ by from their slopes a and b"),
        ),
        below(error**2, le(bound, "Cauchy–Schwarz, as Lagrange's identity: it vanishes with r, s and h", by=lagrange)),
    )


@claim(
    source="rudin1976principles, Theorem 5.3",
    code="reference.autodiff_rules.div",
    given={r: quotient(F, f) - a, s: quotient(high, low) - b},
    mistakes={
        "the order in the numerator": {"slope": (f * b - a * low) / low**2},
        "the quotient of the slopes": {"slope": a / b},
        "the denominator is not squared": {"slope": (a * low - f * b) / low},
    },
)
def quotient_rule(slope=(a * low - f * b) / low**2):
    """The difference quotient of f/g is (f'g − fg')/g² and an error that vanishes with h, r and s, where g is not 0."""
    mixed = (a * low - f * b) * (b + s) / low
    error = low * r - f * s - h * mixed
    lagrange = (low * s + f * r) ** 2 + (low * h + mixed * r) ** 2 + (f * h - mixed * s) ** 2
    bound = (low**2 + f**2 + mixed**2) * (r**2 + s**2 + h**2)
    return (
        equal(
            quotient(F / high, f / low),
            eq((quotient(F, f) * low - f * quotient(high, low)) / (low * high), "over a common denominator"),
            eq(slope + error / (low * high), "r and s are the errors; 1/G = 1/g − (G − g)/(gG)"),
        ),
        below(error**2, le(bound, "Cauchy–Schwarz; and gG tends to g², which is not zero", by=lagrange)),
    )


def through(f, j=j):
    """The sum over the n numbers between."""
    return Sum(f(j), (j, 1, n))


@claim(
    source="rudin1976principles, Theorem 9.15",
    code="reference.autodiff_dual.jvp",
    given={R[j]: K[j] / h - A[j], F: f + through(lambda j: (B[j] + E[j]) * K[j])},
    mistakes={
        "the last path alone": {"slope": B[n] * A[n]},
        "the mean over the paths": {"slope": through(lambda j: B[j] * A[j]) / n},
        "the outer slopes alone": {"slope": through(lambda j: B[j])},
        "the product of the sums": {"slope": through(lambda j: B[j]) * through(lambda j: A[j], i)},
    },
)
def chain_rule(slope=through(lambda j: B[j] * A[j])):
    """Through n numbers between, slopes multiply along each and add: Σ bⱼaⱼ and an error that vanishes with h."""

    def error(j):
        return A[j] * E[j] + (B[j] + E[j]) * R[j]

    def cross(j, i):
        return (B[j] + E[j]) * E[i] - A[i] * R[j]

    def alike(p, q):
        return (p(i) * q(l) - p(l) * q(i)) ** 2

    pairs = alike(lambda j: A[j], lambda j: E[j]) / 2 + alike(lambda j: B[j] + E[j], lambda j: R[j]) / 2
    return (
        equal(
            quotient(F, f),
            eq(
                through(lambda j: (B[j] + E[j]) * (A[j] + R[j])),
                "f is totally differentiable: F − f = Σ (bⱼ + sⱼ)kⱼ, where kⱼ/h = aⱼ + rⱼ",
            ),
            eq(slope + through(error), "multiply out"),
        ),
        below(
            through(error, i) ** 2,
            le(
                through(lambda j: A[j] ** 2 + (B[j] + E[j]) ** 2, i) * through(lambda j: R[j] ** 2 + E[j] ** 2, i),
                "Cauchy–Schwarz: the error vanishes with r, and with s, which vanishes with k",
                by=Sum(Sum(pairs + cross(l, i) ** 2, (l, 1, n)), (i, 1, n)),
            ),
        ),
    )


@claim(
    source="rudin1976principles, Exercise 9.14",
    code="reference.autodiff_dual.jvp",
    scope="instances",
    why="one function settles it",
    mistakes={
        "a function that is differentiable there: x³": {"below": lambda x, y: 1},
        "along an axis, where nothing is missed": {"way": 0},
        "the sum of the partial derivatives": {"slope": 1},
    },
)
def partial_derivatives_do_not_suffice(below=lambda x, y: x**2 + y**2, way=1, slope=Rational(1, 2)):
    """At the origin f = x³/(x² + y²), f(0, 0) = 0, has ∂f/∂x = 1 and ∂f/∂y = 0, but along (1, 1) the slope ½, not 1."""

    def value(x, y):
        return x**3 / below(x, y)

    return (
        equal(quotient(value(h * x, h * y), 0), eq(value(x, y), "at the origin f has the slope f(x, y) along (x, y)")),
        finite(value(x, y), eq(1, "∂f/∂x"), cases=[{x: 1, y: 0}]),
        finite(value(x, y), eq(0, "∂f/∂y"), cases=[{x: 0, y: 1}]),
        finite(value(x, y), eq(slope, "along (1, 1): the error s does not vanish"), cases=[{x: 1, y: way}]),
    )


tau, e, here = Symbol("tau", real=True), Symbol("epsilon", real=True), Symbol("x", real=True)
coefficient, tangent = IndexedBase("c", real=True), IndexedBase("D", real=True)


def polynomial(n, factor=lambda k: 1, less=0):
    """Σ cₖ xⁿ⁻ᵏ, highest power first."""
    return Sum(factor(k) * coefficient[k] * here ** (n - k - less), (k, 1, n))


@claim(
    source="baydin2018automatic, §3.1.1; wengert1964simple",
    code="reference.autodiff_dual.jvp",
    computes="part = 8; jvp(lambda x: sum(c[k] * x ** (n - 1 - k) for k in range(n)), [x * c[0] ** 0], [c[0] ** 0])[1]",
    mistakes={
        "the parts beside ε are multiplied": {"times": lambda u, a, v, b: a * b},
        "the second factor taken for a constant": {"times": lambda u, a, v, b: a * v},
        "the sign in the quotient": {"divided": lambda u, a, v, b: (a * v + u * b) / v**2},
        "the slope of a function alone, not times what came in": {"chained": lambda slope, a: slope},
    },
)
def dual_numbers_differentiate(
    times=lambda u, a, v, b: a * v + u * b,
    divided=lambda u, a, v, b: (a * v - u * b) / v**2,
    chained=lambda slope, a: slope * a,
):
    """Where ε² = 0, a program run on x + ε has its derivative beside ε: each operation keeps the rate of its result."""
    u, v = f + a * tau, low * exp(b * tau)  # two numbers that move, at the rates a and bv
    return (
        equal(
            (u + a * e) * (v + b * v * e),
            eq(u * v + times(u, a, v, b * v) * e + a * b * v * e**2, "ε² = 0; u moves with τ at the rate a, v at bv"),
        ),
        equal(Derivative(u * v, tau), eq(times(u, a, v, b * v), "the rate of the product")),
        equal(
            Derivative(u / v, tau),
            eq(divided(u, a, v, b * v), "what qε has to be, that (u/v + qε)(v + bvε) is u + aε"),
        ),
        *(
            equal(Derivative(function(u), tau), eq(chained(slope(u), a), "the definition of a function of u + aε"))
            for function, slope in (
                (exp, exp),
                (sin, cos),
                (cos, lambda u: -sin(u)),
                (lambda u: u**n, lambda u: n * u ** (n - 1)),
            )
        ),
        induct(
            tangent,
            t,
            start=0,
            step=times(polynomial(t), tangent[t], here, 1),
            closed=lambda t: polynomial(t, lambda k: t - k, 1),
            reason="Horner's program p ← px + c on x + ε: beside ε goes p + Dx",
        ),
        equal(
            Derivative(polynomial(n), here),
            eq(polynomial(n, lambda k: n - k, 1), "which is the derivative of the polynomial, term by term"),
        ),
    )


J, pairing, count = (IndexedBase(name, real=True) for name in ("J", "c", "N"))
first = Symbol("start", real=True)


def transposed(u, j):
    """Entry j of Jᵀ u, J being the Jacobian of layer t."""
    return Sum(J[t, i, j] * u(i), (i, 1, m))


@claim(
    source="baydin2018automatic, §3.2; linnainmaa1976taylor",
    code="reference.autodiff_tape.vjp",
    for_all={k: m, l: n},
    mistakes={
        "the sweep back is not transposed": {"back": lambda u, j: Sum(J[t, j, i] * u(i), (i, 1, m))},
        "the last output alone reaches an input": {"back": lambda u, j: J[t, m, j] * u(m)},
        "the slopes are added, without what came back": {"back": lambda u, j: Sum(J[t, i, j], (i, 1, m))},
    },
)
def reverse_mode_is_transposed_product(back=transposed):
    """With tangents v ← Jv forward and cotangents u ← Jᵀu back, Σ uv is the same in all layers, of any widths."""

    def forth(i, v):
        return Sum(J[t, i, j] * v(j), (j, 1, n))

    ahead = Sum(u[t + 1, i] * forth(i, lambda j: v[t, j]), (i, 1, m))
    behind = Sum(back(lambda i: u[t + 1, i], j) * v[t, j], (j, 1, n))
    return (
        equal(ahead, eq(behind, "Σ uv after layer t and before it: the two sums change places")),
        induct(
            pairing,
            t,
            start=first,
            step=pairing[t] + ahead - behind,
            closed=lambda t: first,
            reason="so that through any number of layers it does not change",
        ),
        equal(
            back(lambda i: KroneckerDelta(i, k), l),
            eq(J[t, k, l], "back from output k alone: row k of the Jacobian, the slopes of that output by all inputs"),
        ),
        equal(
            forth(k, lambda j: KroneckerDelta(j, l)),
            eq(J[t, k, l], "forward from input l alone: column l, the slopes of all outputs by that input"),
        ),
    )


@claim(
    source="bauer1974computational, §3; baydin2018automatic, §3.2",
    code="reference.autodiff.gradient",
    computes="gradient(lambda x: total(u * sin(v * x)), x * u[0] ** 0)[0]",
    mistakes={
        "the last path overwrites the others": {"together": lambda path: path(n)},
        "the mean over the paths": {"together": lambda path: Sum(path(j), (j, 1, n)) / n},
        "a path's slopes are added": {"path": lambda j: u[j] + v[j] * cos(v[j] * x)},
    },
)
def paths_add_up(together=lambda path: Sum(path(j), (j, 1, n)), path=lambda j: u[j] * v[j] * cos(v[j] * x)):
    """A derivative is the sum over all paths from input to output of the product of the slopes along the path."""
    return (
        equal(
            Derivative(Sum(u[j] * sin(v[j] * x), (j, 1, n)), x),
            eq(together(path), "x is used n times: n paths of three steps, with the slopes v, cos vx and u"),
        ),
        equal(
            Sum(w[j] * Sum(p[j, k], (k, 1, N)), (j, 1, n)),
            eq(
                Sum(Sum(w[j] * p[j, k], (k, 1, N)), (j, 1, n)),
                "a path to a node of the next layer is one of N paths to a node j, with product p, and an edge w",
            ),
        ),
        induct(count, t, start=1, step=n * count[t], closed=lambda t: n**t, reason="paths to a node after t layers"),
        equal(
            Sum(A[i] * Sum(J[i, j] * B[j], (j, 1, n)), (i, 1, m)),
            eq(
                Sum(Sum(A[i] * J[i, j], (i, 1, m)) * B[j], (j, 1, n)),
                "a product of Jacobians adds them up: forward what leads to a node, reverse what leads on from it",
            ),
        ),
    )
