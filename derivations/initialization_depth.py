r"""Initialization: how what one layer does to the size of its input adds up, or multiplies, through depth.

After t layers the mean square is q; h is how far one side of an inequality is ahead of the other.
Article papers/initialization.md, code reference/initialization.py, laws verify/initialization.py.
"""

from sympy import IndexedBase, Product, Sum, Symbol, exp, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law
from derivations.forms import below, eq, equal, expect, ge, induct, le
from derivations.initialization import INTO, SIZE, STANDARD, c, forward, j, m, mu, nu, of_input, u, x
from derivations.positive import TangentGap

L, r = (Symbol(name, integer=True, positive=True) for name in "Lr")
t = Symbol("t", integer=True, nonnegative=True)
size, gap = IndexedBase("q", real=True), IndexedBase("h", real=True)
fan, deviation = IndexedBase("n", real=True), IndexedBase("s", real=True)
unscaled = IndexedBase("f", real=True)
first, std, factor = (Symbol(name, real=True) for name in ("start", "s", "f"))
more, ahead = Symbol("d", nonnegative=True), Symbol("h", nonnegative=True)


@claim(
    source="glorot2010understanding, §4.2.1 eq. (5) and (6); he2015delving, §2.2 eq. (9)",
    code="reference.initialization.normal",
    given=STANDARD,
    mistakes={
        "the factors add": {"join": lambda size, by: size + by},
        "a factor is a deviation, not a variance": {"power": 1},
        "the last layer is forgotten": {"late": 1},
    },
)
def depth_compounds(join=lambda size, by: size * by, power=2, late=0):
    """Layers multiply: L equal ones of factor 1 + d give at least 1 + Ld, of factor 1/(1 + d) at most 1/(1 + Ld)."""

    def lead(h):
        return (1 + more) * h + t * more**2

    return (
        forward(std, m * std**power * SIZE, "one layer multiplies the size by fan_in Var(w); back, by fan_out Var(w)"),
        induct(
            size,
            t,
            start=first,
            step=join(size[t], fan[t + 1] * deviation[t + 1] ** 2),
            closed=lambda t: first * Product(fan[r] * deviation[r] ** 2, (r, 1, t - late)),
            reason="fresh weights in every layer: t layers of fan n_r and deviation s_r",
        ),
        induct(
            size, t, start=first, step=join(size[t], factor), closed=lambda t: first * factor**t, reason="equal layers"
        ),
        induct(
            gap,
            t,
            start=0,
            step=lead(gap[t]),
            closed=lambda t: (1 + more) ** t - (1 + t * more),
            reason="how far the power of 1 + d is above 1 + td: a layer multiplies it by 1 + d, and adds td²",
        ),
        below(lead(ahead), ge(0, "so that a lead h ≥ 0 stays one", by=lead(ahead))),
        below(
            1 / (1 + L * more + ahead),
            le(
                1 / (1 + L * more),
                "and the power of 1/(1 + d), which is the inverse, stays below",
                by=ahead / ((1 + L * more + ahead) * (1 + L * more)),
            ),
        ),
    )


@claim(
    source="radford2019language, §2.3",
    code="reference.initialization.gpt2_block",
    given=STANDARD,
    mistakes={
        "not scaled": {"scale": 1},
        "one branch a layer": {"scale": 1 / sqrt(L)},
        "1/2L, the inverse of the number": {"scale": 1 / (2 * L)},
        "both matrices of a branch scaled, not the one that writes": {"times": 2},
    },
)
def residual_scaling_is_one_over_root_two_l(scale=1 / sqrt(2 * L), times=1):
    """2L branches scaled by 1/√(2L) add to the stream's mean square the mean, not the sum, of what each adds alone."""

    def added(r):
        return scale ** (2 * times) * unscaled[r]

    return (
        expect(
            E((x[m + 1] + scale * Sum(std * u[j] * x[j], (j, 1, m))) ** 2),
            eq(
                of_input(m + 1) + scale**2 * m * std**2 * SIZE,
                "linear_variance: fresh weights leave a branch uncorrelated with the stream x_{m+1} that it reads",
            ),
            laws=(INTO[0], Law(x, m + 1, j, mu[j], nu[j] ** 2 + c**2, c**2)),
        ),
        induct(
            size,
            t,
            start=first,
            step=size[t] + added(t + 1),
            closed=lambda t: first + Sum(added(r), (r, 1, t)),
            reason="branch r would add f_r unscaled, which after a normalization does not depend on the stream's size",
        ),
        equal(
            first + Sum(added(r), (r, 1, 2 * L)),
            eq(first + Sum(unscaled[r], (r, 1, 2 * L)) / (2 * L), "two branches a layer; a mean has no depth in it"),
        ),
    )


gain = Symbol("g", nonnegative=True)


@claim(
    source="hanin2018start, abstract (residual modules must be scaled)",
    code="reference.initialization.gpt2_block",
    mistakes={
        "not scaled": {"scale": 1},
        "the gain itself for its exponential": {"bound": 1 + gain},
        "one branch a layer": {"scale": 1 / sqrt(L)},
    },
)
def proportional_branches_stay_below_e_to_the_gain(scale=1 / sqrt(2 * L), bound=exp(gain)):
    """2L branches that each add g times what the stream is, scaled by 1/√(2L), multiply it by at most e^g in all."""
    y = scale**2 * gain

    def lead(h, more):
        return exp(y) * h + (1 + y) ** t * more

    return (
        induct(
            size,
            t,
            start=first,
            step=size[t] + y * size[t],
            closed=lambda t: first * (1 + y) ** t,
            reason="without a normalization a scaled branch adds y = g/2L of what the stream is",
        ),
        induct(
            gap,
            t,
            start=0,
            step=lead(gap[t], exp(y) - 1 - y),
            closed=lambda t: exp(Sum(y, (r, 1, t))) - (1 + y) ** t,
            reason="how far e^(ty) is above the power",
        ),
        below(
            lead(ahead, exp(y) - 1 - y),
            ge(0, "so that a lead h ≥ 0 stays one, as e^y ≥ 1 + y", by=lead(ahead, TangentGap.of(exp, 0, y))),
        ),
        equal(exp(Sum(y, (r, 1, 2 * L))), eq(bound, "2L times g/2L")),
    )
