r"""What tokens cost: training by merges, the floor that entropy sets, and how large a vocabulary should be.

Article papers/bpe.md, code reference/bpe.py, laws verify/bpe.py.
"""

from sympy import IndexedBase, Rational, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le
from derivations.positive import TangentGap

n, i, k, r, width = (Symbol(name, integer=True, positive=True) for name in "nikrL")
t = Symbol("t", integer=True, nonnegative=True)
p, q = IndexedBase("p", positive=True), IndexedBase("q", positive=True)
A, missing = IndexedBase("A", real=True), IndexedBase("m", nonnegative=True)
mass, one, longest, weight = (Symbol(name, real=True) for name in ("s", "start", "L", "K"))
beta, words = Symbol("beta", positive=True), Symbol("t", positive=True)
excess, spare, unused = (Symbol(name, nonnegative=True) for name in ("lambda", "g", "u"))
N, left, E = Symbol("N", real=True), Symbol("e", nonnegative=True), Symbol("E", real=True)
found, saved, U = IndexedBase("m", real=True), IndexedBase("g", nonnegative=True), IndexedBase("U", real=True)


@claim(
    source="zouhar2023formal, abstract (from NM to N log M)",
    code="reference.bpe.train",
    given={N: Sum(found[r], (r, 1, t)) + 1 + left},
    mistakes={
        "two counts change where a pair is merged": {"changes": 2},
        "every merge changes the counts of the whole text": {"all_pairs": N * t},
        "rescanning reads each text once for all merges": {"read": E + saved[1]},
    },
)
def incremental_counts_are_linear(changes=4, all_pairs=None, read=None):
    """To merge x a b y to x c y changes four counts: fewer than 4N in all, where rescanning t times reads t texts."""
    total = changes * Sum(found[r], (r, 1, t)) if all_pairs is None else all_pairs
    scanned = Sum(E + saved[k], (k, 1, t + 2)) if read is None else read
    return (
        induct(
            U,
            t,
            start=0,
            step=U[t] + changes * found[t + 1],
            closed=lambda now: 4 * Sum(found[r], (r, 1, now)),
            reason="each of m pairs found: x a and b y are one fewer, x c and c y one more",
        ),
        below(
            total,
            le(4 * N - 4, "together fewer than N pairs are found, as a symbol is left", by=4 * left),
        ),
        below(
            scanned,
            ge((t + 2) * E, "no text is shorter than the last one, of E symbols", by=Sum(saved[k], (k, 1, t + 2))),
        ),
    )


def minus_log(x):
    return -log(x)


@claim(
    source="mcmillan1956two; cover2006elements, Theorem 5.5.1 and Theorem 5.3.1",
    code="reference.bpe.encode",
    given={mass: 1, longest: (exp(words * excess) + spare) / words, one: 1},
    sums={Sum(p[i], (i, 1, n)): mass, Sum(q[i], (i, 1, n)): 1 - unused},
    mistakes={
        "weighted by the code's own V^(−l)": {"weights": lambda i: q[i]},
        "there are V^(k+1) words of k tokens": {"strings": lambda k: exp(beta * (k + 1))},
        "t words have the weight of one": {"grown": lambda now: now},
        "the floor is the entropy itself, whatever the vocabulary": {"unit": 1},
    },
)
def tokens_cannot_beat_entropy(
    weights=lambda i: p[i], strings=lambda k: exp(beta * k), grown=lambda now: now * weight, unit=beta
):
    """If the tokens of texts set end to end can be told apart again, a text has H/log V of them or more on average."""
    entropy = -Sum(p[i] * log(p[i]), (i, 1, n))
    share = Sum(missing[k] * exp(-beta * k), (k, 1, t * width))
    return (
        induct(
            A,
            t,
            start=one,
            step=grown(A[t]),
            closed=lambda now: weight**now,
            reason="K is the sum of V^(−l) over the words of a code: over all rows of t words it is K^t",
        ),
        below(
            Sum((strings(k) - missing[k]) * exp(-beta * k), (k, 1, t * width)),
            le(
                t * width,
                "a row of t words is one of the V^k strings of k tokens, and of no other row: k is tL at most",
                by=share,
            ),
        ),
        below(
            excess**2,
            le(
                4 * exp(words * excess) / words**2,
                "so K^t ≤ tL. Let K be e^λ, and square x ≤ e^x for x = tλ/2",
                by=4
                / words**2
                * (TangentGap.of(exp, 0, words * excess / 2) + 1)
                * (exp(words * excess / 2) + words * excess / 2),
            ),
            le(4 * longest / words, "for every t, so that λ > 0 cannot be: K ≤ 1", by=4 * spare / words**2),
        ),
        below(
            Sum(weights(i) * minus_log(q[i]) / beta, (i, 1, n)),
            ge(
                entropy / unit,
                "call V^(−l) q, log V is β: q sums to 1 − u, and this is Gibbs' inequality",
                by=(Sum(p[i] * TangentGap.of(minus_log, 1, q[i] / p[i]), (i, 1, n)) + unused) / beta,
            ),
        ),
    )


bits, outcomes = Symbol("C", real=True), Symbol("H", real=True)


@claim(
    source="cover2006elements, Problem 5.31 (one-to-one codes)",
    code="reference.bpe.encode",
    scope="instances",
    why="a counterexample settles it",
    mistakes={"the empty word is not used": {"lengths": (1, 1, 2)}},
)
def one_to_one_codes_can_beat_entropy(lengths=(0, 1, 1)):
    """Three equal texts as the empty word, 0 and 1: two thirds of a bit on average, where the entropy is log₂ 3."""
    return finite(
        Sum(bits, (i, 1, 1)).doit(),
        le(outcomes - Rational(9, 10), "told apart while one text is sent alone, not when two are: 01 is 0 1"),
        cases=[{bits: Rational(sum(lengths), 3), outcomes: log(3) / log(2)}],
    )


y, z = Symbol("y", real=True), Symbol("z", real=True)
a, c, d, up, down = (Symbol(name, positive=True) for name in ("a", "c", "d", "v", "w"))


@claim(
    source="tao2024scaling, abstract (a best vocabulary for a given cost)",
    code="reference.bpe.encode",
    given={c: down * d * exp((up + down) * z) / up},
    mistakes={
        "the cost of a token does not grow with the vocabulary": {"each": lambda y: c},
        "tokens fall like 1/V: then the cost only falls": {"power": lambda y: -(up + down) * y},
        "the optimum is where both parts of a token's cost are equal": {"best": c / d},
        "the smaller exponent in the wrong place": {"best": down * c / (up * d)},
    },
)
def vocabulary_trade_off_has_an_optimum(
    each=lambda y: c + d * exp((up + down) * y), power=lambda y: -up * y, best=up * c / (down * d)
):
    """With a V^(−b) tokens in a text, c + dV each, the cost is least at V = b c/((1 − b) d), and only there."""
    first, second = (TangentGap.of(minus_log, 1, exp(x)) for x in (-up * (y - z), down * (y - z)))

    def cost(y):
        return a * exp(power(y)) * each(y)

    return (
        equal(best, eq(exp((up + down) * z), "write b = v/(v + w), so that 1 − b = w/(v + w), and V = e^((v + w) z)")),
        below(
            cost(y),
            ge(
                cost(z),
                "any V is e^((v + w) y): e^x lies above its tangent, and touches it only where y = z",
                by=a * exp(-up * z) * d * exp((up + down) * z) / up * (down * first + up * second),
            ),
        ),
    )
