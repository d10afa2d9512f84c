r"""Derivatives from first principles: powers, e^x, log and sine between two bounds that meet as the step h vanishes.

The first three are convex, or concave: what they rise over a step lies between the step times the slopes at its ends.
All three rest on Bernoulli's inequality; e^x is the limit of (1 + x/n)ⁿ, and log its inverse. Of the sine we use the
addition theorem and sin h < h < tan h: a triangle lies in a sector of the unit circle, and the sector in a triangle.
Article papers/autodiff.md, code reference/autodiff_rules.py, laws verify/autodiff.py.
"""

from sympy import IndexedBase, Sum, Symbol, cos, exp, log, pi, sin

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le

n, j, k = (Symbol(name, integer=True, positive=True) for name in "njk")
t = Symbol("t", integer=True, nonnegative=True)
x, y = (Symbol(name, nonnegative=True) for name in "xy")
low, w, q = (Symbol(name, positive=True) for name in "xwq")
z, r, h = (Symbol(name, real=True) for name in "xrh")
sequence = IndexedBase("P", real=True)


def over(y, x, n):
    """yⁿ − xⁿ − n xⁿ⁻¹ (y − x), written so that no one can miss its sign."""
    return (y - x) ** 2 * Sum(Sum(y ** (j - 1) * x ** (n - 1 - j), (j, 1, k - 1)), (k, 1, n))


def under(w, n):
    """n(w − 1) − (1 − w⁻ⁿ) likewise: the same for 1/w, and n(w + 1/w − 2)."""
    return (w - 1) ** 2 * (Sum(Sum(w ** (1 - j), (j, 1, k - 1)), (k, 1, n)) / w**2 + n / w)


@claim(
    source="hardy1952inequalities, §2.15 Theorem 41",
    code="reference.autodiff_rules.power",
    mistakes={
        "the slope is xⁿ⁻¹": {"slope": lambda x: x ** (n - 1)},
        "the slope is n xⁿ": {"slope": lambda x: n * x**n},
        "the slope is (n − 1) xⁿ⁻¹": {"slope": lambda x: (n - 1) * x ** (n - 1)},
        "the upper end's slope at the lower end": {"end": x},
    },
)
def power_rule(slope=lambda x: n * x ** (n - 1), end=y):
    """For x, y ≥ 0 the rise yⁿ − xⁿ lies between y − x times n xⁿ⁻¹ and times n yⁿ⁻¹, which meet as y → x."""
    terms = Sum(y ** (j - 1) * x ** (n - j), (j, 1, n))
    return (
        equal(y**n - x**n, eq((y - x) * terms, "the sum telescopes: each of its n terms tends to xⁿ⁻¹")),
        below(
            y**n - x**n,
            eq((y - x) * slope(x) + over(y, x, n), "each term less xⁿ⁻¹ is again a multiple of y − x"),
            ge((y - x) * slope(x), "no term is negative", by=over(y, x, n)),
        ),
        below(
            y**n - x**n,
            eq((y - x) * slope(end) - over(x, y, n), "x and y change places"),
            le((y - x) * slope(end), "no term is negative", by=over(x, y, n)),
        ),
        below(
            slope(y) - slope(x),
            eq(n * (y - x) * Sum(y ** (j - 1) * x ** (n - 1 - j), (j, 1, n - 1)), "again: the bounds meet"),
        ),
        induct(
            sequence,
            t,
            start=1,
            step=-z * sequence[t],
            closed=lambda t: (-1) ** t * z**t,
            reason="so that the graph for x < 0 is that for x > 0, turned over or not: the same slope up to sign",
        ),
    )


@claim(
    source="hardy1952inequalities, §2.15 Theorem 41",
    code="reference.autodiff_rules.power",
    mistakes={
        "one factor too few": {"power": n - 1},
        "the sign of the exponent": {"power": -n},
        "the reciprocal's rise is bounded by the power's": {"reciprocal": lambda w: w},
    },
)
def bernoulli_inequality(power=n, reciprocal=lambda w: 1 / w):
    """For w > 0 and every n, 1 − w⁻ⁿ ≤ n(w − 1) ≤ wⁿ − 1."""
    return (
        below(
            w**power - 1,
            eq(n * (w - 1) + over(w, 1, n), "the power rule's remainder at 1 and w"),
            ge(n * (w - 1), "no term is negative", by=over(w, 1, n)),
        ),
        below(
            1 - reciprocal(w) ** n,
            eq(n * (w - 1) - under(w, n), "the same for 1/w, and w + 1/w − 2 = (w − 1)²/w"),
            le(n * (w - 1), "no term is negative", by=under(w, n)),
        ),
    )


@claim(
    source="rudin1976principles, Theorem 3.31",
    code="reference.autodiff_rules.exp",
    given={z: n * (q - 1)},
    mistakes={
        "the ratio's n-th power, not the next": {"times": n},
        "the product of two is that of their sum for every n": {"cross": 0},
        "(1 + x/n)ⁿ (1 − x/n)ⁿ is one for every n": {"square": 0},
    },
)
def exponential_is_a_limit(times=n + 1, cross=z * r / n**2, square=z**2 / n**2):
    """(1 + x/n)ⁿ rises from n > −x on and stays bounded: e^x is its limit, and e^x e^r = e^(x+r)."""
    ratio = (1 + z / (n + 1)) / (1 + z / n)
    return (
        below(
            ratio,
            ge(
                0,
                "n > −x says that 1 + x/n is a number q > 0: so is this, and Bernoulli holds for it",
                by=(1 + n * q) / ((n + 1) * q),
            ),
        ),
        equal(
            1 + times * (ratio - 1),
            eq(1 / (1 + z / n), "by Bernoulli at most ratioⁿ⁺¹: so (1 + x/n)ⁿ is at most (1 + x/(n+1))ⁿ⁺¹"),
        ),
        equal(
            (1 + z / n) * (1 - z / n),
            eq(1 - square, "at most one: (1 + x/n)ⁿ stays below 1/(1 − x/n)ⁿ, which falls from n > x on"),
        ),
        equal(
            (1 + z / n) * (1 + r / n),
            eq(
                1 + (z + r) / n + cross,
                "divided by 1 + (x + r)/n it is 1 + s/n with s = xr/(n + x + r), and by Bernoulli (1 + s/n)ⁿ lies "
                "between 1 + s and 1/(1 − s): it tends to one",
            ),
        ),
    )


@claim(
    source="rudin1976principles, Theorem 8.6",
    code="reference.autodiff_rules.exp",
    given={h: n * (w - 1)},
    mistakes={
        "the power rule: x eˣ⁻¹": {"slope": lambda x: x * exp(x - 1)},
        "the slope at the lower end bounds from above": {"end": exp(z)},
        "that of 2ˣ": {"slope": lambda x: log(2) * exp(x)},
    },
)
def exponential_rule(slope=exp, end=exp(z) * w**n):
    """The rise e^(x+h) − e^x lies between h e^x and h e^(x+h), h of either sign: divided by h they meet as h → 0."""
    at = exp(z)
    return (
        equal(exp(z + h) - exp(z), eq(exp(z) * (exp(h) - 1), "the product of two is that of their sum")),
        below(at * w**n - at, ge(h * slope(z), "wⁿ = (1 + h/n)ⁿ tends to e^h; by Bernoulli", by=at * over(w, 1, n))),
        below(at * w**n - at, le(h * end, "and by its other half, for every n", by=at * w**n * under(w, n))),
        below((1 - h) * w**n, le(1, "so e^(x+h) ≤ e^x/(1 − h) for h < 1: the bounds meet", by=w**n * under(w, n))),
    )


@claim(
    source="rudin1976principles, ch. 8, The Exponential and Logarithmic Functions",
    code="reference.autodiff_rules.log",
    given={y: low * w**n, h: n * (w - 1)},
    mistakes={
        "the slope is 1/x²": {"slope": lambda x: 1 / x**2},
        "base two": {"unit": log(2)},
        "the slope is the logarithm's inverse: e^x": {"slope": exp},
    },
)
def logarithm_rule(slope=lambda x: 1 / x, unit=1):
    """For x, y > 0 the rise h = log(y/x) lies between (y − x)/y and (y − x)/x, and 1/x and 1/y meet as y → x."""
    return (
        below(
            h / unit,
            le((y - low) * slope(low), "e^h = y/x is the limit of wⁿ; by Bernoulli, for every n", by=over(w, 1, n)),
        ),
        below(h / unit, ge((y - low) * slope(y), "and by its other half", by=under(w, n))),
        equal(slope(low) - slope(y), eq((y - low) / (low * y), "the bounds meet")),
    )


p, b = Symbol("p", positive=True), Symbol("b", positive=True)
s, c, step = (Symbol(name, real=True) for name in "sch")
CIRCLE = 1 + 2 * p + 2 * p**2
SIN, COS, BEND = 2 * p * (1 + p) / CIRCLE, (1 + 2 * p) / CIRCLE, 2 * p**2 / CIRCLE  # a quarter circle; BEND = 1 − COS


@claim(
    source="apostol1967calculus, §2.5",
    code="reference.autodiff_rules.sin",
    given={c: (1 + 2 * p) / CIRCLE, s: 2 * p * (1 + p) / CIRCLE, step: SIN * (1 + b) / (1 + b * COS)},
    mistakes={
        "the slope is −cos x": {"slope": lambda x: -cos(x)},
        "the slope is sin x": {"slope": sin},
        "the angle in degrees": {"unit": 180 / pi},
    },
)
def sine_rule(slope=cos, unit=1):
    """With s = sin h, c = cos h and 0 < s < h < s/c, (sin(x + h) − sin x)/h is within h + h² of cos x."""
    angle, longer = SIN * (1 + b) / (1 + b * COS), SIN * b * BEND / (1 + b * COS)  # h, and h − s

    def bounded(relation, sign):
        """How far the quotient is above the slope (sign 1), or below it (−1)."""
        least = [((1 + sign * f(z)) ** 2 + g(z) ** 2) / 2 for f, g in ((sin, cos), (cos, sin))]  # 1 ± sin x, 1 ± cos x
        return below(
            (unit * (sin(z) * c + cos(z) * s) - unit * sin(z)) / step - slope(z),
            eq(-sin(z) * (1 - c) / step - cos(z) * (1 - s / step), "collect: both brackets are positive"),
            relation(
                sign * ((1 - c) / step + 1 - s / step),
                "sine and cosine are at most one",
                by=BEND * (least[0] / angle + b / (1 + b) * least[1]),
            ),
            relation(sign * ((1 - c) / step + 1 - c), "h < s/c, so that s/h > c", by=BEND / (1 + b)),
            relation(
                sign * (step + step**2),
                "1 − c = s²/(1 + c) < s² < h²",
                by=(1 + 1 / angle) * (longer * (angle + SIN) + BEND * COS),
            ),
        )

    return (
        equal(
            sin(z + r),
            eq(
                sin(z) * cos(r) + cos(z) * sin(r),
                "addition theorem; as the sine is odd, a step to the left at x is one to the right at −x",
            ),
        ),
        bounded(le, 1),
        bounded(ge, -1),
    )
