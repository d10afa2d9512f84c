r"""Smoothing: why mixtures of orders are distributions, and which marginals Kneser–Ney gives back.

After context h symbol w was seen s[h, w] (1 + x[h, w]) times: s is one if it was seen and zero if not (only s ≥ 0 is
used), x counts how often again. That a discount D lies between 0 and 1 is written D = a/(a + b). m contexts, n symbols.
Article papers/markov.md, code reference/markov_kneser_ney.py and others, laws verify/markov_smoothing.py.
"""

from functools import partial

from sympy import IndexedBase, Product, S, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le

m, n = (Symbol(name, integer=True, positive=True) for name in "mn")
h, i, j, k, r, w = (Symbol(name, integer=True, positive=True) for name in "hijkrw")
t = Symbol("t", integer=True, nonnegative=True)
seen, again, q = (IndexedBase(name, nonnegative=True) for name in "sxq")
f, g, u, base, lower, mix, taken, total, error = (
    IndexedBase(name, real=True) for name in ("f", "g", "u", "r", "L", "mu", "d", "S", "e")
)
weight, N = IndexedBase("lambda", positive=True), IndexedBase("N", positive=True)
D, E, mass, whole, lowest = (Symbol(name, real=True) for name in ("D", "E", "mass", "whole", "lowest"))
a, b = (Symbol(name, nonnegative=True) for name in "ab")


def count(*at):
    """The count of what was seen, and zero of what was not."""
    return seen[at] * (1 + again[at])


def kept(*at, D=D):
    """The count less the discount, of what was seen."""
    return seen[at] * (1 + again[at] - D)


def over(f, *before):
    """The sum over all symbols after a context."""
    return Sum(f(*before, j), (j, 1, n))


def kinds(*before):
    """How many different symbols were seen after a context."""
    return Sum(seen[(*before, j)], (j, 1, n))


def before(w):
    """How many different contexts were seen before a symbol."""
    return Sum(seen[i, w], (i, 1, m))


ALL, PAIRS = Sum(N[i], (i, 1, m)), Sum(kinds(i), (i, 1, m))
SORTS = Sum(u[j], (j, 1, n))


def positive_part(*at):
    """Why what is kept is max(c − D, 0)."""
    return (
        below(
            kept(*at),
            ge(
                0,
                "seen 1 + x times, a symbol can spare D ≤ 1, and keeps c − D",
                by=seen[at] * (again[at] + b / (a + b)),
            ),
        ),
        below(0 - D, le(0, "not seen, it has nothing to spare, and keeps 0 = max(0 − D, 0), as D ≥ 0", by=D)),
    )


@claim(
    source="jelinek1980interpolated; chen1999empirical, §2.3",
    code="reference.markov_jelinek_mercer.jelinek_mercer",
    given={mass: 1, whole: 1},
    sums={Sum(f[k, w], (w, 1, n)): mass, Sum(g[t + 1, w], (w, 1, n)): mass, Sum(weight[k], (k, 1, m)): whole},
    mistakes={
        "the orders are added, not averaged": {"share": lambda k: 1},
        "the weights are squared": {"share": lambda k: weight[k] ** 2},
        "every order counts the same, and is weighted besides": {"share": lambda k: weight[k] / m},
        "only the longest context is scaled": {"passed": lambda k: 1},
        "both are scaled by the same weight": {"passed": lambda k: mix[k]},
    },
)
def interpolation_normalizes(share=lambda k: weight[k], passed=lambda k: 1 - mix[k]):
    """Distributions mixed by weights that sum to one are a distribution, and so is a nested mixture of any depth."""
    return (
        equal(
            Sum(share(k) * f[k, w], (w, 1, n), (k, 1, m)),
            eq(Sum(share(k), (k, 1, m)), "sum over the symbols first: every order sums to one"),
            eq(1, "and so do the weights"),
        ),
        below(
            Sum(share(k) * q[k], (k, 1, m)),
            ge(0, "no weight is negative, and no order's probability q", by=Sum(share(k) * q[k], (k, 1, m))),
        ),
        induct(
            total,
            t,
            start=Sum(1 / n, (w, 1, n)),
            step=Sum(mix[t + 1] * g[t + 1, w], (w, 1, n)) + passed(t + 1) * total[t],
            closed=lambda t: S.One,
            reason="nested over the uniform base: μ times an order, plus 1 − μ times what shorter contexts say",
        ),
    )


@claim(
    source="kneser1995improved; chen1999empirical, §2.7",
    code="reference.markov_kneser_ney.kneser_ney",
    computes="part = 3; s = (s > 1).double(); s[w] = 1.0; x = (6 * x).round(); q = 0 * q + 1 / len(q); "
    "kneser_ney(unroll(s * (1 + x)), torch.empty(1, 0).long(), len(s), 0 * q[:1] + a / (a + b))[0, w]",
    given={D: a / (a + b), mass: 1},
    sums={Sum(f[w], (w, 1, n)): mass},
    for_all={w: n},
    mistakes={
        "divided by the sum of what is kept": {"divisor": partial(over, kept)},
        "the discount is taken from what was not seen, too": {"keep": lambda *at: count(*at) - D},
        "the weight of shorter contexts does not count the kinds": {"types": lambda *at: 1},
        "it counts the occurrences": {"types": partial(over, count)},
        "shorter contexts are asked only for symbols that were not seen": {"asked": lambda w: 1 - seen[w]},
    },
)
def kneser_ney_normalizes(divisor=partial(over, count), keep=kept, types=kinds, asked=lambda w: 1):
    """What the discount takes from the symbols seen is what shorter contexts have to give: every order sums to one."""
    own = over(lambda *at: kept(*at, D=taken[t + 1]), t + 1)
    return (
        *positive_part(w),
        equal(
            Sum(keep(w) / divisor() + D * types() / divisor() * asked(w) * f[w], (w, 1, n)),
            eq(
                (over(count) - D * kinds() + D * kinds() * Sum(f[w], (w, 1, n))) / over(count),
                "each symbol seen gives D, and D for each symbol seen is passed on",
            ),
            eq(1, "the shorter context's probabilities f sum to one, whatever they are"),
        ),
        below(
            keep(w) / divisor() + D * types() / divisor() * asked(w) * q[w],
            ge(
                0,
                "and none is negative, if the shorter context's probability q is not",
                by=(seen[w] * (again[w] + b / (a + b)) + D * kinds() * q[w]) / over(count),
            ),
        ),
        induct(
            total,
            t,
            start=Sum(1 / n, (w, 1, n)),
            step=own / divisor(t + 1) + taken[t + 1] * types(t + 1) / divisor(t + 1) * total[t],
            closed=lambda t: S.One,
            reason="so, from the uniform base up, every order sums to one, with its own counts and its own discount",
        ),
    )


@claim(
    source="kneser1995improved; chen1999empirical, §2.7",
    code="reference.markov_kneser_ney.kneser_ney",
    given={D: a / (a + b), base[w]: before(w) / PAIRS},
    for_all={w: n},
    mistakes={
        "the base is the symbol's frequency": {"belief": Sum(count(h, w), (h, 1, m)) / ALL},
        "the base is uniform": {"belief": 1 / n},
        "the base is the share of the contexts that the symbol follows": {"belief": before(w) / m},
        "the weight of the base does not count the kinds": {"types": lambda h: 1},
        "contexts are weighted alike, not by how often they come": {"often": lambda h: ALL / m},
    },
)
def kneser_ney_preserves_marginals(belief=base[w], types=kinds, often=lambda h: N[h]):
    """Averaged over the text's contexts, the model says a symbol as often as the text, if its base counts contexts."""
    written = Sum(count(h, w), (h, 1, m))
    said = kept(h, w) / N[h] + D * types(h) / N[h] * f[w]
    return (
        *positive_part(h, w),
        equal(
            Sum(often(h) / ALL * said, (h, 1, m)),
            eq(
                (written - D * before(w) + D * PAIRS * f[w]) / ALL,
                "the context's count cancels: w gives D for each context it follows, and gets f of all that is given",
            ),
        ),
        equal(
            (written - D * before(w) + D * PAIRS * belief) / ALL,
            eq(written / ALL, "if f is r, w's share of the pairs seen, it gets back what it gave"),
        ),
    )


def shorter(w):
    """A level that counts contexts and gives E of each count (u is one where there is one) to its base r."""
    return (before(w) - E * u[w]) / PAIRS + E * SORTS / PAIRS * base[w]


@claim(
    source="chen1999empirical, §2.7",
    code="reference.markov_kneser_ney.kneser_ney",
    given={D: a / (a + b), lower[w]: shorter(w)},
    for_all={w: n},
    mistakes={
        "any shorter level keeps the marginal": {"off": 0},
        "the upper discount does not matter": {"off": E * (SORTS * base[w] - u[w])},
        "what is given is not multiplied by the kinds": {"off": D * E * (base[w] - u[w])},
        "the error does not shrink from level to level": {"shrinks": lambda t: 1},
    },
)
def marginal_survives_over_an_undiscounted_level(off=D * E * (SORTS * base[w] - u[w]), shrinks=lambda t: taken[t + 1]):
    """Over a level discounted by E the marginal is off by D E (U r − u); it survives if E = 0, then at any depth."""
    said = kept(h, w) / N[h] + D * kinds(h) / N[h] * lower[w]
    return (
        *positive_part(h, w),
        equal(
            Sum(N[h] * said - count(h, w), (h, 1, m)),
            eq(
                D * (PAIRS * lower[w] - before(w)),
                "as before, with L for the base; in brackets the same difference, one level down",
            ),
            eq(off, "where only D E (U r − u) is left"),
        ),
        induct(
            error,
            t,
            start=lowest,
            step=shrinks(t) * error[t],
            closed=lambda t: lowest * Product(taken[r], (r, 1, t)),
            reason="t levels up, averaged over t symbols of context, the lowest difference comes times t discounts",
        ),
        equal(
            Sum(1, (j, 1, n)) * (1 / n) - 1,
            eq(0, "U r − u of a lowest level over the uniform base, when every symbol was seen: nothing is lost there"),
        ),
    )
