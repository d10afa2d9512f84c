r"""How fast descent is: which way is down, what n steps are sure to reach, and what momentum adds on a quadratic.

A quadratic has coordinates of curvature m to L. Every such curvature is λ = (m + L)/2 − (L − m)/2 · cos θ for some
angle θ: the flattest at θ = 0, the steepest at θ = π. Article papers/optimizers.md, code reference/optimizers.py.
"""

from sympy import I, IndexedBase, S, Sum, Symbol, cos, exp, sign, sin, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le

t = Symbol("t", integer=True, nonnegative=True)
i, j, n, r, T = (Symbol(name, integer=True, positive=True) for name in "ijnrT")
g, d, x, y, angle, V = (IndexedBase(name, real=True) for name in ("g", "d", "x", "y", "theta", "V"))
eta, m, L = (Symbol(name, positive=True) for name in ("eta", "m", "L"))


def total(f):
    """The sum of f over the n coordinates."""
    return Sum(f(i), (i, 1, n))


@claim(
    source="boyd2004convex, §9.4 (Euclidean norm: §9.4.1)",
    code="reference.optimizers.sgd",
    computes="part = 1; eta = 0.5; (g * sgd(0 * g, g[None], lr=eta)[0]).sum()",
    mistakes={
        "uphill": {"way": lambda i: eta * g[i]},
        "by the sign of every entry": {"way": lambda i: -eta * sign(g[i])},
        "half of it: then the penalty is not yet worth its price": {"way": lambda i: -eta * g[i] / 2},
        "only the largest entry counts": {"way": lambda i: -eta * g[1]},
    },
)
def steepest_descent_follows_from_first_order(way=lambda i: -eta * g[i]):
    """−ηg lowers the linear part of f(x + d) − f(x) as much as any step of its length, and best at the price d²/2η."""
    price = total(lambda i: d[i] ** 2) / (2 * eta)
    lagrange = Sum(Sum((g[i] * d[j] - g[j] * d[i]) ** 2, (i, 1, n)), (j, 1, n)) / 2
    return (
        below(
            total(lambda i: g[i] * d[i]) ** 2,
            le(
                total(lambda i: g[i] ** 2) * Sum(d[j] ** 2, (j, 1, n)),
                "Cauchy–Schwarz, as Lagrange's identity: no step changes the linear part by more than ‖g‖ · ‖d‖",
                by=lagrange,
            ),
        ),
        below(
            total(lambda i: g[i] * way(i)),
            eq(-eta * total(lambda i: g[i] ** 2), "d = −ηg is parallel to g, so it changes it by all of ‖g‖ · ‖d‖"),
            le(0, "and it lowers it, since η > 0", by=eta * total(lambda i: g[i] ** 2)),
        ),
        below(
            total(lambda i: g[i] * d[i]) + price,
            ge(
                -eta * total(lambda i: g[i] ** 2) / 2,
                "complete the square: with the price no step gains more",
                by=total(lambda i: (d[i] + eta * g[i]) ** 2) / (2 * eta),
            ),
        ),
        equal(
            total(lambda i: g[i] * way(i)) + total(lambda i: way(i) ** 2) / (2 * eta),
            eq(-eta * total(lambda i: g[i] ** 2) / 2, "and d = −ηg gains that"),
        ),
    )


spare, bent, short, left = (Symbol(name, nonnegative=True) for name in ("q", "a", "b", "D_T"))
far = Symbol("D_0", real=True)
first = Symbol("start", real=True)
lost = IndexedBase("w", nonnegative=True)
steep = total(lambda i: g[i] ** 2)


@claim(
    source="beck2009fista, Theorem 3.1 (with g = 0)",
    code="reference.optimizers.sgd",
    mistakes={
        "twice as good": {"two": 4},
        "at the rate 1/t², which takes acceleration": {"weight": lambda t: t**2},
        "any step up to 2/L, with which no step climbs": {"sharpest": 2 / eta - spare},
        "the convexity is not used": {"above": 0},
    },
)
def gradient_descent_converges_like_one_over_t(
    two=2, weight=lambda t: t, sharpest=1 / eta - spare, above=total(lambda i: g[i] * (x[i] - y[i])) - bent
):
    """If f is convex and its curvature at most 1/η, then f(x_t) − f(y) ≤ ‖x₀ − y‖²/2ηt for every t ≥ 1 and point y."""
    below_it = above - eta * steep + sharpest * eta**2 / 2 * steep - short
    spent = far / (2 * eta) - Sum(lost[r], (r, 1, T))
    return (
        below(
            weight(t + 1) * below_it + total(lambda i: (x[i] - eta * g[i] - y[i]) ** 2) / (2 * eta),
            le(
                weight(t) * above + total(lambda i: (x[i] - y[i]) ** 2) / (2 * eta),
                "V = t (f(x) − f(y)) + ‖x − y‖²/2η falls: convex, f(x) − f(y) = ⟨g, x − y⟩ − a; smooth, with curvature "
                "1/η − q, a step lowers f by η‖g‖² − (1/η − q) η²‖g‖²/2 + b; a, b, q ≥ 0",
                by=(t + 1) * short + bent + (t * (1 + spare * eta) + spare * eta) * eta / 2 * steep,
            ),
        ),
        induct(
            V,
            t,
            start=far / (2 * eta),
            step=V[t] - lost[t + 1],
            closed=lambda t: far / (2 * eta) - Sum(lost[r], (r, 1, t)),
            reason="V starts at ‖x₀ − y‖²/2η and loses w ≥ 0 at every step",
        ),
        below(
            (spent - left / (2 * eta)) / T,
            le(
                spent / T,
                "f(x_T) − f(y), from V_T; the distance D_T that is left is not negative",
                by=left / (2 * eta * T),
            ),
            le(far / (two * eta * T), "nor is what V has lost", by=Sum(lost[r], (r, 1, T)) / T),
        ),
    )


rho, kappa = (L - m) / (L + m), L / m
theta, lamda, delta = Symbol("theta", real=True), Symbol("lamda", real=True), Symbol("delta", nonnegative=True)


def curvature(theta):
    """The curvature at the angle θ, between m and L."""
    return (m + L) / 2 - (L - m) / 2 * cos(theta)


@claim(
    source="lessard2016analysis, Proposition 1; nesterov2004introductory, Theorem 2.1.15",
    code="reference.optimizers.sgd",
    given={eta: 2 / (m + L)},
    mistakes={
        "the rate of the step 1/L": {"rate": 1 - 1 / kappa},
        "the rate of momentum": {"rate": (sqrt(kappa) - 1) / (sqrt(kappa) + 1)},
        "κ upside down": {"rate": (1 / kappa - 1) / (1 / kappa + 1)},
        "one coordinate decides": {"all_of": lambda f: f(1)},
    },
)
def quadratic_rate_is_kappa_minus_over_plus(rate=(kappa - 1) / (kappa + 1), all_of=total):
    """With η = 2/(m + L) a step multiplies a coordinate of angle θ by ρ cos θ, ρ = (κ − 1)/(κ + 1) for κ = L/m."""
    return (
        induct(
            V,
            t,
            start=first,
            step=V[t] - eta * lamda * V[t],
            closed=lambda t: (1 - eta * lamda) ** t * first,
            reason="the slope of λx²/2 is λx: every step multiplies by one factor",
        ),
        equal(
            1 - eta * curvature(theta),
            eq(rho * cos(theta), "put in η and λ"),
            eq(rate * cos(theta), "divide by m: κ = L/m"),
        ),
        below(
            total(lambda i: ((1 - eta * curvature(angle[i])) * x[i]) ** 2),
            le(
                rho**2 * all_of(lambda i: x[i] ** 2),
                "cos² ≤ 1: all together keep at most ρ; the flattest (θ = 0) and the steepest (θ = π) keep just that",
                by=rho**2 * total(lambda i: (sin(angle[i]) * x[i]) ** 2),
            ),
        ),
        below(rho, le(1, "and ρ < 1, as m > 0", by=2 * m / (m + L))),
    )


@claim(
    source="lessard2016analysis, Proposition 1",
    code="reference.optimizers.sgd",
    mistakes={
        "1/L, safe and slow": {"best": 1 / L},
        "1 over the geometric mean of m and L": {"best": 1 / sqrt(m * L)},
        "the edge of stability": {"best": 2 / L},
        "unstable beyond 1/L": {"edge": 1 / L},
    },
)
def best_step_for_quadratics(best=2 / (m + L), edge=2 / L):
    """Of all steps 2/(m + L) is best: one shorter by δ lets the flattest coordinate keep mδ more, one longer Lδ."""
    return (
        below(
            1 - (best - delta) * m,
            eq(rho + m * delta, "a step shorter by δ, where the curvature is m"),
            ge(rho, "what is kept at most without δ", by=m * delta),
        ),
        below(
            (best + delta) * L - 1,
            eq(rho + L * delta, "longer by δ: the steepest coordinate goes past the minimum, 1 − ηL < 0"),
            ge(rho, "and keeps more on the other side", by=L * delta),
        ),
        below((edge + delta) * L - 1, ge(1, "beyond 2/L it does not come back at all", by=L * delta)),
    )


mu, root, X, before, z = (Symbol(name, real=True) for name in ("mu", "r", "x", "p", "z"))
RATE = (sqrt(L) - sqrt(m)) / (sqrt(L) + sqrt(m))


@claim(
    source="lessard2016analysis, Proposition 1; polyak1964heavyball, eq. (9)",
    code="reference.optimizers.momentum_update",
    given={mu: RATE**2, eta: 4 / (sqrt(L) + sqrt(m)) ** 2, root: RATE},
    mistakes={
        "μ has the square of the rate": {"size": root**2},
        "κ for its root": {"rate": (kappa - 1) / (kappa + 1)},
        "the sign of the last step": {"push": -mu},
        "both eigenvalues are real": {"turn": S.One},
    },
)
def heavy_ball_rate_is_root_kappa(size=root, rate=(sqrt(kappa) - 1) / (sqrt(kappa) + 1), push=mu, turn=exp(I * theta)):
    """With √μ = (√κ − 1)/(√κ + 1) and η = 4/(√L + √m)² every coordinate's eigenvalues have modulus √μ."""
    lam = curvature(theta)
    return (
        equal(
            X - eta * (push * (before - X) / eta + lamda * X),
            eq((1 + mu - eta * lamda) * X - mu * before, "from p to x the last step was −ηv: put in v = (p − x)/η"),
        ),
        equal(
            (1 + mu - eta * lam - z) * (0 - z) + mu,
            eq(
                (z - size * turn) * (z - size / turn),
                "the determinant of ((1 + μ − ηλ, −μ), (1, 0)) − z, which takes (x, p) on; r² = μ",
            ),
        ),
        equal(
            root,
            eq(rate, "its roots r e^{iθ} and r e^{−iθ} have modulus r, the same at every curvature; divide by √m"),
        ),
        equal(
            rho,
            eq(2 * root / (1 + root**2), "plain descent keeps more, as r < 1: 1 − ρ = (1 − r)²/(1 + r²)"),
        ),
    )
