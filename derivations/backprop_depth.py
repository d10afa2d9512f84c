r"""What depth does to the gradient: plain layers multiply its length; what residual ones do: backprop_residual.py.

g is the gradient above a layer with weight W "F D" and slopes φ' of its activation: below, it is Wᵀ(φ'∘g). Layers are
counted from the top, and G_t is the squared length below t of them. That the next one is at most pG is written pG − d
with d ≥ 0; that it is at least pG, as pG + d.
Article papers/backprop.md, code reference/backprop.py, laws verify/backprop.py.
"""

from sympy import Derivative, IndexedBase, Product, Rational, Sum, Symbol, cos, exp, sin, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le
from derivations.gaussian import sigmoid
from derivations.positive import TangentGap

n, D, F = (Symbol(name, integer=True, positive=True) for name in "nDF")
i, j, k, l, r = (Symbol(name, integer=True, positive=True) for name in "ijklr")
t = Symbol("t", integer=True, nonnegative=True)
w, g, angle, G = (IndexedBase(name, real=True) for name in ("W", "g", "theta", "G"))
p, d = IndexedBase("p", positive=True), IndexedBase("d", nonnegative=True)
s, top, h = Symbol("s", real=True), Symbol("top", real=True), Symbol("h", positive=True)

FROBENIUS = Sum(w[j, k] ** 2, (j, 1, F), (k, 1, D))


def square(u):
    """The squared length of u."""
    return Sum(u(j) ** 2, (j, 1, F))


def through(u):
    """The squared length of Wᵀu."""
    return Sum(Sum(w[j, k] * u(j), (j, 1, F)) ** 2, (k, 1, D))


def lagrange(u):
    """‖W‖²‖u‖² − ‖Wᵀu‖², as half the sum of the squares of what is not parallel."""
    return Sum((w[j, k] * u(l) - w[l, k] * u(j)) ** 2, (j, 1, F), (l, 1, F), (k, 1, D)) / 2


@claim(
    source="pascanu2013difficulty, §2.1 eq. (6) and (7)",
    code="reference.backprop_layers.linear_backward",
    computes="linear_backward((s * torch.cos(theta) * g)[None], Linear(W[:1], W))[0].square().sum()",
    mistakes={
        "the mean square of the weights for their sum": {"norm": FROBENIUS / F},
        "the slope is not squared": {"slope": s},
        "the norms of the layers add": {"together": lambda t: Sum(p[r], (r, 1, t))},
        "the layers above are left out": {"together": lambda t: p[t]},
    },
)
def gradient_norm_is_bounded_by_the_product_of_norms(
    norm=FROBENIUS, slope=s**2, together=lambda t: Product(p[r], (r, 1, t))
):
    """Below t layers the gradient is at most as long as above, times each layer's weight norm and steepest slope."""

    def u(j):
        return s * cos(angle[j]) * g[j]

    def left(t):
        return Product(p[r], (r, 1, t)) * (top - Sum(d[l] / Product(p[r], (r, 1, l)), (l, 1, t)))

    return (
        below(
            through(u),
            le(norm * square(u), "Cauchy–Schwarz for each column of W, as Lagrange's identity", by=lagrange(u)),
            le(
                norm * slope * square(lambda j: g[j]),
                "slopes of at most s are s cos θ, and 1 − cos² = sin²",
                by=FROBENIUS * s**2 * square(lambda j: sin(angle[j]) * g[j]),
            ),
        ),
        induct(
            G,
            t,
            start=top,
            step=p[t + 1] * G[t] - d[t + 1],
            closed=left,
            reason="layer t + 1 has the factor p = ‖W‖²s², or any larger one; over p_1 ⋯ p_t the losses add",
        ),
        below(
            left(t),
            le(
                together(t) * top,
                "nothing is gained on the way",
                by=Product(p[r], (r, 1, t)) * Sum(d[l] / Product(p[r], (r, 1, l)), (l, 1, t)),
            ),
        ),
    )


z = IndexedBase("x", real=True)


def slope_of_sigmoid(x):
    return sigmoid(x) * (1 - sigmoid(x))


@claim(
    source="pascanu2013difficulty, §2.1 (after eq. (7))",
    code="reference.activations.sigmoid",
    computes="torch.func.grad(lambda x: sigmoid(x).sum())(x)[i]",
    for_all={i: n},
    mistakes={
        "a fifth": {"steepest": Rational(1, 5)},
        "the slope of tanh is at most a quarter as well": {"of_tanh": Rational(1, 4)},
        "y(1 − y) of the input, not of the output": {"slope": z[i] * (1 - z[i])},
    },
)
def sigmoid_slope_is_at_most_a_quarter(steepest=Rational(1, 4), of_tanh=1, slope=slope_of_sigmoid(z[i])):
    """The slope of σ is σ(1 − σ): at most ¼, and ¼ at zero; that of tanh x = 2σ(2x) − 1 is at most four times that."""
    tanh = (exp(z[i]) - exp(-z[i])) / (exp(z[i]) + exp(-z[i]))
    return (
        equal(Derivative(sigmoid(z[i]), z[i]), eq(slope, "quotient rule; 1 − σ = e^(−x)/(1 + e^(−x))")),
        below(slope_of_sigmoid(z[i]), le(steepest, "¼ − σ + σ² is a square", by=(Rational(1, 2) - sigmoid(z[i])) ** 2)),
        finite(slope_of_sigmoid(z[i]), eq(Rational(1, 4), "σ(0) = ½"), cases=[{z[i]: 0}]),
        equal(Derivative(tanh, z[i]), eq(4 * slope_of_sigmoid(2 * z[i]), "tanh x = 2σ(2x) − 1")),
        below(4 * slope_of_sigmoid(2 * z[i]), le(of_tanh, "as above", by=(1 - 2 * sigmoid(2 * z[i])) ** 2)),
    )


@claim(
    source="pascanu2013difficulty, §2.1 eq. (6) and (7)",
    code="reference.backprop_layers.linear_backward",
    computes="s = torch.tensor(-h / 2, dtype=W.dtype).exp().item() / W.norm().item(); "
    "linear_backward((s * torch.cos(theta) * g)[None], Linear(W[:1], W))[0].square().sum()",
    given={s: exp(-h / 2) / sqrt(FROBENIUS)},
    mistakes={
        "the factor is paid once, not at every layer": {"left": lambda t: exp(-h)},
        "one layer too many": {"left": lambda t: exp(-h * (t + 1))},
        "the weight alone, as if all slopes were one": {"factor": FROBENIUS},
        "the hyperbola is twice as steep": {"hyperbola": lambda t: 1 / (1 + 2 * h * t)},
    },
)
def vanishing_is_geometric(factor=exp(-h), left=lambda t: exp(-h * t), hyperbola=lambda t: 1 / (1 + h * t)):
    """If ‖W‖ times the steepest slope is e^(−h/2) < 1, t layers leave at most e^(−ht) ≤ 1/(1 + ht) of the length²."""

    def u(j):
        return cos(angle[j]) * g[j]

    def less(t):
        return exp(-h * t) * (top - Sum(d[r] * exp(h * r), (r, 1, t)))

    return (
        below(
            through(lambda j: s * u(j)),
            le(
                FROBENIUS * s**2 * square(lambda j: g[j]),
                "one layer, as above; any other norm with ‖Wᵀu‖ ≤ ‖W‖‖u‖ will do as well",
                by=s**2 * lagrange(u) + s**2 * FROBENIUS * square(lambda j: sin(angle[j]) * g[j]),
            ),
            eq(factor * square(lambda j: g[j]), "‖W‖ s = e^(−h/2)"),
        ),
        induct(
            G,
            t,
            start=top,
            step=exp(-h) * G[t] - d[t + 1],
            closed=less,
            reason="every layer leaves e^(−h) of it, less d; times e^(ht) the losses add",
        ),
        below(
            less(t),
            le(left(t) * top, "nothing is gained", by=exp(-h * t) * Sum(d[r] * exp(h * r), (r, 1, t))),
        ),
        below(
            exp(-h * t),
            le(
                hyperbola(t),
                "e^y ≥ 1 + y: below any bound, with enough layers",
                by=exp(-h * t) * TangentGap.of(exp, 0, h * t) / (1 + h * t),
            ),
        ),
    )


y, M, above = IndexedBase("y", real=True), IndexedBase("M", real=True), Symbol("top", positive=True)
INVERSE = Sum(M[j, k] ** 2, (j, 1, F), (k, 1, D))


@claim(
    source="pascanu2013difficulty, §2.1",
    code="reference.backprop_layers.linear_backward",
    computes="s = torch.tensor(h / 2, dtype=M.dtype).exp().item() * M.norm().item(); "
    "(linear_backward(y[None], Linear(M.T[:1], M.T))[0] * torch.cos(theta) / s).square().sum()",
    given={s: exp(h / 2) * sqrt(INVERSE)},
    mistakes={
        "the factor is paid once, not at every layer": {"left": lambda t: exp(h)},
        "the slopes multiply, where they divide": {"back": lambda j: s * cos(angle[j])},
        "e^y ≥ 1 + 2y": {"line": lambda t: 1 + 2 * h * t},
        "the largest singular value suffices": {"along_the_second": 1},
    },
)
def exploding_is_geometric(
    left=lambda t: exp(h * t),
    back=lambda j: cos(angle[j]) / s,
    line=lambda t: 1 + h * t,
    along_the_second=Rational(1, 4),
):
    """If least singular value times least slope is e^(h/2) > 1, t layers multiply length² by e^(ht) ≥ 1 + ht."""
    larger, smaller, first, second = (Symbol(name, real=True) for name in ("sigma_1", "sigma_2", "g_1", "g_2"))
    parallel = Sum((cos(angle[j]) * (M[j, k] * y[l] - M[j, l] * y[k])) ** 2, (k, 1, D), (l, 1, D), (j, 1, F)) / 2
    shrunk = Sum((sin(angle[j]) * M[j, k]) ** 2, (j, 1, F), (k, 1, D)) * Sum(y[k] ** 2, (k, 1, D))

    def more(t):
        return exp(h * t) * (above + Sum(d[r] * exp(-h * r), (r, 1, t)))

    return (
        below(
            Sum((back(j) * Sum(M[j, k] * y[k], (k, 1, D))) ** 2, (j, 1, F)),
            le(
                INVERSE * Sum(y[k] ** 2, (k, 1, D)) / s**2,
                "up again: y = Wᵀ(φ'∘g) gives g = My/φ', MWᵀ = 1, and slopes of at least s are s/cos θ; 1/‖M‖ is at "
                "most the least singular value of W, which may take its place",
                by=(parallel + shrunk) / s**2,
            ),
            eq(exp(-h) * Sum(y[k] ** 2, (k, 1, D)), "s/‖M‖ = e^(h/2): below, the gradient is longer by that at least"),
        ),
        induct(
            G,
            t,
            start=above,
            step=exp(h) * G[t] + d[t + 1],
            closed=more,
            reason="every layer gives e^h of it, and d more",
        ),
        below(more(t), ge(left(t) * above, "nothing is lost", by=exp(h * t) * Sum(d[r] * exp(-h * r), (r, 1, t)))),
        below(
            exp(h * t) * above,
            ge(line(t) * above, "e^y ≥ 1 + y: above any bound", by=above * TangentGap.of(exp, 0, h * t)),
        ),
        below((1 + h * t) * above, ge(above, "never shorter than at the top, as h > 0", by=above * h * t)),
        finite(
            (larger * first) ** 2 + (smaller * second) ** 2,
            eq(along_the_second, "but with the singular values 2 and ½ a gradient along the second is halved"),
            cases=[{larger: 2, smaller: Rational(1, 2), first: 0, second: 1}],
        ),
    )
