r"""Where a normalization stands in a residual network: after the sum, or before the branch.

A stream of n entries reads, layer after layer, x ← x + f(x). g is the gain of a branch: what it adds to the mean square
of the stream, as a multiple of it. The identity path is what is left of a network when the outputs of its branches, and
the statistics of its normalizations, are held fixed.
Article papers/normalization.md, code reference/normalization.py, laws verify/normalization.py.
"""

from sympy import Derivative, IndexedBase, S, Sum, Symbol, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law
from derivations.forms import below, eq, equal, expect, ge, induct, le

n, L = (Symbol(name, integer=True, positive=True) for name in "nL")
i, j, k, r = (Symbol(name, integer=True, positive=True) for name in "ijkr")
t = Symbol("t", integer=True, nonnegative=True)
x, y, z, u, v, f, h = (IndexedBase(name, real=True) for name in "xyzuvfh")
mean_w, var_w, cov_w = (Symbol(name, real=True) for name in ("mean_w", "var_w", "cov_w"))
a, b, c, rho, first = (Symbol(name, real=True) for name in ("a", "b", "c", "rho", "start"))
gain = Symbol("g", nonnegative=True)
STANDARD = {mean_w: 0, var_w: 1, cov_w: 0}
SIZE = a**2 + b**2 + c**2
LAWS = (Law(u, n, j, mean_w, var_w, cov_w), Law(x, n, j, a, b**2 + c**2, c**2))


def with_branch(std):
    """An entry of the stream, and what a linear branch with weights of this deviation makes of all its n entries."""
    return x[k] + Sum(std * u[j] * x[j], (j, 1, n))


def unrolled(rho, f, t, start):
    """What t layers x ← ρ(x + f) make of the start and of the branches' outputs."""
    return rho**t * start + Sum(rho ** (t - r + 1) * f(r), (r, 1, t))


def handed_back(rho):
    """The slope by entry k of the start of a loss with slopes z after L layers."""
    return Derivative(Sum(z[i] * unrolled(rho, lambda r: f[r, i], L, h[i]), (i, 1, n)), h[k])


@claim(
    source="wang2019learning, §2.2; xiong2020layer, §3",
    code="reference.normalization.layer_norm",
    given=STANDARD,
    for_all={k: n},
    mistakes={
        "pre-norm's path, which loses nothing": {"kept": 1},
        "divided by 1 + g, not by its root": {"kept": 1 / (1 + gain)},
        "the last branch is not normalized": {"late": 1},
        "the whole gradient decays with the path": {"whole": 1 / (1 + gain)},
    },
)
def post_norm_identity_path_decays(kept=1 / sqrt(1 + gain), late=0, whole=1):
    """Through L post-norms after branches of gain g the identity path hands back (1 + g)^(−L/2); the whole may stay."""
    return (
        expect(
            E(with_branch(sqrt(gain / n)) ** 2),
            eq((1 + gain) * SIZE, "variances add: to restore the mean square a norm divides by √(1 + g)"),
            laws=LAWS,
        ),
        induct(
            y,
            t,
            start=first,
            step=rho * (y[t] + v[t + 1]),
            closed=lambda t: unrolled(rho, lambda r: v[r], t + late, first),
            reason="each layer multiplies all that came before it by ρ",
        ),
        equal(
            handed_back(kept),
            eq(z[k] / (1 + gain) ** (L / S(2)), "ρ = 1/√(1 + g); the outputs f of the branches are held fixed"),
        ),
        below(1 / (1 + gain), le(1, "no layer gives back what it took", by=gain / (1 + gain))),
        expect(
            E((kept * with_branch(sqrt(gain / n))) ** 2),
            eq(
                whole * SIZE,
                "the same sum read backwards: of gradients x, the branch hands back g times as much as well",
            ),
            laws=LAWS,
        ),
    )


@claim(
    source="wang2019learning, §2.2; xiong2020layer, §3",
    code="reference.normalization.layer_norm",
    given=STANDARD,
    for_all={k: n},
    mistakes={
        "the sum is normalized as well": {"kept": 1 / sqrt(2)},
        "the branch replaces the stream": {"kept": 0},
        "the branches' gradients are subtracted": {"sign": -1},
    },
)
def pre_norm_keeps_an_identity_path(kept=S.One, sign=1):
    """Through L pre-norm layers the identity path hands back all of the gradient; branches, on average, enlarge it."""
    return (
        induct(
            y,
            t,
            start=first,
            step=kept * y[t] + v[t + 1],
            closed=lambda t: unrolled(S.One, lambda r: v[r], t, first),
            reason="a norm stands in the branch only: the stream is a sum",
        ),
        equal(handed_back(kept), eq(z[k], "the outputs f of the branches are held fixed")),
        expect(
            E(with_branch(sqrt(gain / n)) ** 2),
            eq((1 + sign * gain) * SIZE, "of gradients x, the branch hands back g times as much, uncorrelated"),
            laws=LAWS,
        ),
        below((1 + gain) * SIZE, ge(SIZE, "not less than the path alone", by=gain * SIZE)),
    )
