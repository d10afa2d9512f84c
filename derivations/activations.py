r"""Activations: their slopes, what relu does to variance and interpolates, the gate's size.

Φ and φ are distribution function and density of the standard normal; tanh is written by exponentials.
Article papers/activations.md, code reference/activations.py, laws verify/activations.py.
"""

from sympy import Abs, Derivative, IndexedBase, Rational, S, Sum, Symbol, exp, log, sign, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, induct, le
from derivations.gaussian import Magnitude, Phi, density, sigmoid, twice_u

n, m, D = (Symbol(name, integer=True, positive=True) for name in "nmD")
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
x, z = IndexedBase("x", real=True), IndexedBase("x", real=True, nonzero=True)


def elementwise(name):
    """The fields of a claim about the slope of one function of the code, at every entry of a vector."""
    slope = f"torch.func.grad(lambda x: {name}(x).sum())(x)[i]"
    return {"code": f"reference.activations.{name}", "computes": slope, "for_all": {i: n}}


def relu(x, size=Abs):
    return (x + size(x)) / 2


@claim(
    source="nair2010rectified, §2",
    **elementwise("relu"),
    mistakes={"the slope of |x|": {"slope": sign(z[i])}, "the mask of the left": {"slope": (1 - sign(z[i])) / 2}},
)
def relu_derivative(slope=(1 + sign(z[i])) / 2):
    """Away from zero the derivative of max(x, 0) is 1 on the right and 0 on the left."""
    return equal(
        Derivative(relu(z[i], Magnitude), z[i]),
        eq(slope, "max(x, 0) = (x + |x|)/2, and |x| has the slope sign x; at zero it has none"),
    )


@claim(
    source="goodfellow2016deep, §3.10",
    **elementwise("sigmoid"),
    mistakes={"y(1 − y) of the input": {"slope": x[i] * (1 - x[i])}, "the square alone": {"slope": sigmoid(x[i]) ** 2}},
)
def sigmoid_derivative(slope=sigmoid(x[i]) * (1 - sigmoid(x[i]))):
    """The derivative of σ(x) = 1/(1 + e^(−x)) is σ(x)(1 − σ(x))."""
    return equal(
        Derivative(sigmoid(x[i]), x[i]),
        eq(exp(-x[i]) / (1 + exp(-x[i])) ** 2, "quotient rule and chain rule"),
        eq(slope, "1 − σ = e^(−x)/(1 + e^(−x))"),
    )


@claim(
    source="dugas2001softplus, §2; goodfellow2016deep, §3.10",
    **elementwise("softplus"),
    mistakes={"the exponential for its share": {"slope": exp(x[i])}, "the logarithm to base two": {"unit": log(2)}},
)
def softplus_derivative_is_sigmoid(slope=sigmoid(x[i]), unit=1):
    """The derivative of log(1 + e^x) is σ(x)."""
    return equal(
        Derivative(log(1 + exp(x[i])) / unit, x[i]),
        eq(exp(x[i]) / (1 + exp(x[i])) / unit, "chain rule"),
        eq(slope, "divide numerator and denominator by e^x"),
    )


@claim(
    source="elfwing2018silu, §2",
    **elementwise("silu"),
    mistakes={
        "the product rule is left out": {"slope": sigmoid(x[i])},
        "only the last term is divided": {"slope": 1 + exp(-x[i]) + x[i] * exp(-x[i]) / (1 + exp(-x[i])) ** 2},
    },
)
def silu_derivative(slope=sigmoid(x[i]) * (1 + x[i] * (1 - sigmoid(x[i])))):
    """The derivative of xσ(x) is σ(x)(1 + x(1 − σ(x)))."""
    return equal(
        Derivative(x[i] * sigmoid(x[i]), x[i]),
        eq(sigmoid(x[i]) + x[i] * sigmoid(x[i]) * (1 - sigmoid(x[i])), "product rule, with σ' = σ(1 − σ)"),
        eq(slope, "factor out σ"),
    )


c, a, b = (Symbol(name, real=True) for name in "cab")
limit = Symbol("C", nonzero=True)


@claim(
    source="hendrycks2016gelu, §2",
    **elementwise("gelu"),
    mistakes={
        "the density is left out": {"slope": Phi(x[i])},
        "the density without √2π": {"slope": Phi(x[i]) + x[i] * exp(-(x[i] ** 2) / 2)},
        "erf of x, not of x/√2": {"inner": sqrt(2) * x[i]},
        "the 3 of the cube is lost": {"three": 1},
    },
)
def gelu_derivative(slope=Phi(x[i]) + x[i] * density(x[i]), inner=x[i], three=3):
    """The derivative of xΦ(x) is Φ(x) + xφ(x); that of ½x(1 + tanh u) is σ(2u) + xσ(2u)(1 − σ(2u))2u'."""
    u = twice_u(x[i], c, a) / 2
    gate = sigmoid(2 * u)
    return (
        equal(Derivative(x[i] * Phi(inner), x[i]), eq(slope, "product rule; the slope of Φ is its density φ")),
        equal(
            Derivative(x[i] * (1 + (exp(u) - exp(-u)) / (exp(u) + exp(-u))) / 2, x[i]),
            eq(Derivative(x[i] * gate, x[i]), "½(1 + tanh u) = e^u/(e^u + e^(−u)) = σ(2u)"),
            eq(gate + x[i] * gate * (1 - gate) * 2 * c * (1 + three * a * x[i] ** 2), "product and chain rule"),
        ),
    )


@claim(
    source="gemma2024gemma2, §2 (logit soft-capping)",
    code="reference.activations.softcap",
    computes="C = abs(C) + 0.5; torch.func.grad(lambda x: softcap(x, C).sum())(x)[i]",
    for_all={i: n},
    mistakes={
        "multiplied, where it is divided": {"inner": lambda x: x * limit},
        "the number itself for the cap in front": {"front": lambda x: x},
        "the slope is not squared": {"power": 1},
    },
)
def softcap_derivative(inner=lambda x: x / limit, front=lambda x: limit, power=2):
    """The slope of y = c·tanh(x/c) is 1 − (y/c)², so y never passes ±c and never outruns x."""

    def capped(x):
        u = inner(x)
        return front(x) * (exp(u) - exp(-u)) / (exp(u) + exp(-u))

    up, down = exp(x[i] / limit), exp(-x[i] / limit)
    return (
        equal(
            Derivative(capped(x[i]), x[i]),
            eq(4 / (up + down) ** 2, "quotient rule, with u = x/c: (e^u + e^(−u))² − (e^u − e^(−u))² = 4"),
            eq(1 - (capped(x[i]) / limit) ** power, "the same over (e^u + e^(−u))²"),
        ),
        below((capped(x[i]) / limit) ** 2, le(1, "|y| ≤ c: what is missing is the slope", by=4 / (up + down) ** 2)),
        below(4 / (up + down) ** 2, le(1, "the slope is at most 1", by=(up - down) ** 2 / (up + down) ** 2)),
    )


y, p, v = Symbol("x", real=True), IndexedBase("p", real=True), IndexedBase("v", real=True)
skew, high, low = (Symbol(name, real=True) for name in ("skew", "high", "low"))


@claim(
    source="he2015delving, §2.2",
    code="reference.activations.relu",
    computes="(p * (relu(v) ** 2 + relu(-v) ** 2) / 2).sum()",
    given={skew: 0},
    mistakes={
        "relu keeps the second moment": {"share": 1},
        "the variance for the second moment": {"centre": 1},
        "a tenth leaks on the left": {"leak": Rational(1, 10)},
    },
)
def relu_halves_second_moment(share=Rational(1, 2), centre=0, leak=0):
    """For a symmetric law, v as likely as −v, E relu(X)² = ½E X²; a mean of zero does not suffice."""

    def passed(x):
        return relu(x) - leak * relu(-x)

    def mean(f):
        return Sum(p[j] * ((1 + skew) / 2 * f(v[j]) + (1 - skew) / 2 * f(-v[j])), (j, 1, n))

    def two(f):  # the law of mean zero on two values: low·high + high·(−low) = 0
        return (low * f(high) + high * f(-low)) / (high + low)

    return (
        equal(
            mean(lambda x: passed(x) ** 2) - centre * mean(passed) ** 2,
            eq(Sum(p[j] * (relu(v[j]) ** 2 + relu(-v[j]) ** 2) / 2, (j, 1, n)), "v and −v have half of p each"),
            eq(share * Sum(p[j] * v[j] ** 2, (j, 1, n)), "one of them passes: relu(v)² + relu(−v)² = v²"),
        ),
        finite(two(lambda x: passed(x) ** 2), eq(Rational(4, 3), "the larger one passes"), cases=[{high: 2, low: 1}]),
        finite(two(lambda x: x**2) / 2, eq(1, "which is not the half"), cases=[{high: 2, low: 1}]),
    )


@claim(
    source="shazeer2020glu, §2; touvron2023llama, §2.2",
    code="reference.activations.swiglu",
    given={D: 3 * m},
    mistakes={"the width 4D is kept": {"width": 4 * D}, "the third matrix is forgotten": {"matrices": 2}},
)
def swiglu_matches_parameters_at_eight_thirds(width=8 * m, matrices=3):
    """Three matrices between width D and 8D/3 have as many parameters as two between D and 4D, if 3 divides D."""
    return equal(
        Sum(1, (j, 1, width), (i, 1, D), (k, 1, matrices)),
        eq(8 * D**2, "gate, up and down: 3 · D · 8D/3"),
        eq(Sum(1, (j, 1, 4 * D), (i, 1, D), (k, 1, 2)), "up and down: 2 · D · 4D"),
    )


opened, shut, g, h, before, after = (IndexedBase(name, real=True) for name in ("c", "e", "g", "h", "p", "q"))


@claim(
    source="arora2018understanding, §2",
    code="reference.activations.relu",
    given={g[k]: y - before[k] ** 2, h[k]: y + after[k] ** 2},
    mistakes={
        "the units to the right count too": {"others": Sum(shut[k] * (y - h[k]), (k, 1, m))},
        "no unit has a slope": {"slope": 0},
    },
)
def relu_networks_are_piecewise_linear(slope=Sum(opened[k], (k, 1, n)), others=0):
    """Between nodes a one-layer relu network is a line, whose slope is the sum of the weights of the nodes before x."""
    units = Sum(opened[k] * relu(y - g[k]), (k, 1, n)) + Sum(shut[k] * relu(y - h[k]), (k, 1, m))
    return equal(
        b + units,
        eq(b + Sum(opened[k] * (y - g[k]), (k, 1, n)) + others, "a node g = x − p² is open, a node h = x + q² shut"),
        eq(b - Sum(opened[k] * g[k], (k, 1, n)) + slope * y + others, "collect x"),
    )


now = Symbol("t", integer=True, nonnegative=True)
node, turned, risen = IndexedBase("y", real=True), IndexedBase("u", real=True), IndexedBase("v", real=True)
to_left, to_right, f = Symbol("a", positive=True), Symbol("b", positive=True), Symbol("f", real=True)
L, short, late = (Symbol(name, nonnegative=True) for name in "Lpq")
width = to_left + to_right


def steepness(t):
    """The slope from node t + 1 to node t + 2."""
    return (node[t + 2] - node[t + 1]) / width


@claim(
    source="arora2018understanding, §2",
    code="reference.activations.relu",
    computes="part = 1; h = a + b; slopes = torch.diff(y) / h; weights = torch.diff(slopes, prepend=slopes[:1] * 0); "
    "y[0] + (weights * relu((t - torch.arange(t + 1).double()) * h + a)).sum()",
    mistakes={
        "a unit's weight is the slope, not its change": {"weight": lambda t: steepness(t + 1)},
        "steps, not lines": {"share": 0},
        "half the bound": {"half": Rational(1, 4)},
    },
)
def relu_networks_interpolate(
    weight=lambda t: steepness(t + 1) - steepness(t), share=to_left / width, half=Rational(1, 2)
):
    """One relu for each node, h apart, meets any values there; an L-Lipschitz f is missed by Lh/2 at most."""
    line = (1 - share) * (f - L * to_left + short) + share * (f - L * to_right + late)
    lost = (to_right * short + to_left * late) / width
    return (
        induct(
            turned,
            now,
            start=steepness(S.Zero),
            step=turned[now] + weight(now),
            closed=steepness,
            reason="each node adds its unit's weight to the slope: the changes of slope telescope",
        ),
        induct(
            risen,
            now,
            start=node[1] + to_left * steepness(S.Zero),
            step=risen[now] + to_right * steepness(now) + to_left * steepness(now + 1),
            closed=lambda t: (1 - share) * node[t + 1] + share * node[t + 2],
            reason="from a behind one node to a behind the next: b at one slope, a at the other",
        ),
        below(
            f - line,
            eq(2 * L * to_left * to_right / width - lost, "f = y + La − p = y' + Lb − q; for the other sign take −f"),
            le(2 * L * to_left * to_right / width, "f changes by L a unit: p, q ≥ 0", by=lost),
            le(half * L * width, "4ab ≤ (a + b)²", by=L * (to_left - to_right) ** 2 / (2 * width)),
        ),
    )
