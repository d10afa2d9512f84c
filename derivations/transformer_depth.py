r"""What depth does to the residual stream: branches add to it, and what they add adds up.

A branch reads the stream through a norm, so that what it writes does not depend on the size of the stream. It writes a
sum over its m hidden numbers, of any size each, with weights that are a standardized number u times a deviation s.
After t branches the mean square of the stream is q. Article papers/transformer.md, code reference/transformer.py.
"""

from sympy import IndexedBase, Sum, Symbol, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law
from derivations.forms import below, eq, equal, expect, ge, induct, le
from derivations.initialization import INTO, SIZE, STANDARD, c, j, m, mu, nu, of_input, u, x

L, r = (Symbol(name, integer=True, positive=True) for name in "Lr")
t = Symbol("t", integer=True, nonnegative=True)
q = IndexedBase("q", real=True)
more, less = IndexedBase("a", nonnegative=True), IndexedBase("b", nonnegative=True)
std, start, least, most = (Symbol(name, real=True) for name in ("s", "start", "least", "most"))
each, begun = Symbol("f", positive=True), Symbol("begun", nonnegative=True)
STREAM = Law(x, m + 1, j, mu[j], nu[j] ** 2 + c**2, c**2)


@claim(
    source="radford2019language, §2.3; xiong2020layer, §3.3",
    code="reference.transformer.block",
    given=STANDARD,
    mistakes={
        "norms hold the stream at its size": {"grows": 0},
        "deviations add, as if all branches agreed": {"number": lambda n: n**2},
        "not scaled: it is bounded all the same": {"scale": 1},
        "a layer counted for one branch": {"scale": 1 / sqrt(L)},
        "scaled by the number, not by its root": {"scale": 1 / (2 * L)},
        "a late branch changes the stream as much as the first": {"place": 1},
    },
)
def residual_variance_grows_with_depth(grows=1, number=lambda n: n, scale=1 / sqrt(2 * L), place=t + 1):
    """Branches make the stream's mean square grow by 2L times the least, but over √(2L) by no more than the most."""

    def after(t, what):
        return start + grows * Sum(what(r), (r, 1, t))

    def lower(r):
        return least + more[r]

    def upper(r):
        return scale**2 * (most - less[r])

    return (
        expect(
            E((x[m + 1] + scale * Sum(std * u[j] * x[j], (j, 1, m))) ** 2),
            eq(
                of_input(m + 1) + scale**2 * m * std**2 * SIZE,
                "fresh weights leave what is written uncorrelated with the stream: mean squares add",
            ),
            laws=(INTO[0], STREAM),
        ),
        *(
            induct(q, t, start=start, step=q[t] + f(t + 1), closed=lambda t, f=f: after(t, f), reason=reason)
            for f, reason in (
                (lower, "a branch adds the least, and a more"),
                (upper, "scaled, a branch adds s² of the most, less b"),
            )
        ),
        below(
            after(2 * L, lower),
            eq(start + number(2 * L) * least + Sum(more[r], (r, 1, 2 * L)), "two branches a layer"),
            ge(start + number(2 * L) * least, "a ≥ 0: it grows like the depth", by=Sum(more[r], (r, 1, 2 * L))),
        ),
        below(
            after(2 * L, upper),
            eq(start + most - Sum(less[r], (r, 1, 2 * L)) / (2 * L), "2L times 1/2L"),
            le(start + most, "b ≥ 0: there is no depth in it", by=Sum(less[r], (r, 1, 2 * L)) / (2 * L)),
        ),
        equal(
            each / (begun + (t + 1) * each),
            eq(1 / (place + begun / each), "of equal branches the one after t others is this share of the stream"),
        ),
        below(
            1 / (t + 1 + begun / each),
            le(1 / (t + 1), "the later, the less", by=(begun / each) / ((t + 1) * (t + 1 + begun / each))),
        ),
    )
