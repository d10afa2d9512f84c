r"""Prefix codes: which lengths can be had, and how near to the entropy they come.

A symbol of probability p has a codeword of l bits; C, the mean length, is the sum of p l, and H₂ the entropy in bits.
Article papers/information.md, code reference/information.py, laws verify/information.py.
"""

from sympy import IndexedBase, Interval, S, Sum, Symbol, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le
from derivations.positive import TangentGap

n, L = (Symbol(name, integer=True, positive=True) for name in "nL")
i, r, x = (Symbol(name, integer=True, positive=True) for name in "irx")
m, t = (Symbol(name, integer=True, nonnegative=True) for name in "mt")
p, q, v = (IndexedBase(name, positive=True) for name in "pqv")
u, unused = (IndexedBase(name, nonnegative=True) for name in ("u", "u"))
begins, l, d, K, N, c = (IndexedBase(name, real=True) for name in "BldKNc")
mass, one, root, start = (Symbol(name, real=True) for name in ("s", "o", "root", "start"))
length, after = Symbol("l", real=True), Symbol("l_j", real=True)
spare = Symbol("u", nonnegative=True)


def bits(probability):
    """−log₂ of a probability."""
    return -log(probability) / log(2)


@claim(
    source="cover2006elements, Theorem 5.2.1 (Kraft inequality)",
    code="reference.information.kraft_sum",
    given={start: 1},
    sums={Sum(begins[x, i], (i, 1, n), (x, 1, 2**L)): 2**L - spare},
    mistakes={
        "strings are counted, not their share": {"share": lambda strings: strings},
        "a further bit adds one string": {"doubled": lambda strings: strings + 1},
        "the words' own lengths added": {"step": lambda l: l},
    },
)
def kraft_inequality(
    share=lambda strings: strings / 2**L, doubled=lambda strings: 2 * strings, step=lambda l: 2 ** (-l)
):
    """The words of a prefix code have Σ 2^(−l) ≤ 1, and any lengths with that sum are those of a prefix code."""
    width = Sum(2 ** (-l[r]), (r, 1, t))
    return (
        induct(
            N,
            t,
            start=start,
            step=doubled(N[t]),
            closed=lambda t: 2**t,
            reason="a word begins one string of its own length, and twice as many with every further bit",
        ),
        equal(share(2 ** (L - length)), eq(step(length), "of all 2^L, a word of l bits begins 2^(L−l): its share")),
        below(
            Sum(share(Sum(begins[x, i], (x, 1, 2**L))), (i, 1, n)),
            eq(
                Sum(begins[x, i], (i, 1, n), (x, 1, 2**L)) / 2**L,
                "B is one where word i begins string x, else zero: the shares of all words, counted by strings",
            ),
            le(
                1,
                "a string has one beginning at most, for none of two begins the other: u strings are left over",
                by=spare / 2**L,
            ),
        ),
        induct(
            c,
            t,
            start=0,
            step=c[t] + step(l[t + 1]),
            closed=lambda now: Sum(2 ** (-l[r]), (r, 1, now)),
            reason="conversely, let the lengths rise, and the word after t others be c in binary: all are below one",
        ),
        equal(
            2**length * Sum(2 ** (-(length - d[r])), (r, 1, t)),
            eq(
                Sum(2 ** d[r], (r, 1, t)), "l bits of it suffice: the words before are d bits shorter, and 2^d is whole"
            ),
        ),
        below(
            step(after) + Sum(2 ** (-l[r]), (r, 1, m)),
            ge(
                2 ** (-after),
                "a later c is more by at least 2^(−l_j), so that it differs in the first l_j bits",
                by=width.xreplace({t: m}),
            ),
        ),
    )


@claim(
    source="cover2006elements, §5.2; mackay2003information, §5.1 (complete codes)",
    code="reference.information.kraft_sum",
    given={start: 1},
    mistakes={
        "the two new leaves are no deeper": {"deeper": 0},
        "a leaf stays when it is split": {"gone": 0},
        "leaves counted, not their shares": {"share": lambda depth: depth},
    },
)
def full_trees_fill_kraft(deeper=1, gone=1, share=lambda depth: 2 ** (-depth)):
    """A tree grown by splitting leaves in two always has the sum one, and a leaf more than splits."""
    return (
        induct(
            K,
            t,
            start=start,
            step=K[t] - gone * share(d[t + 1]) + 2 * share(d[t + 1] + deeper),
            closed=lambda t: S.One,
            reason="a leaf of depth d gives way to two of depth d + 1; a root alone has depth 0 and 2^(−0) = 1",
        ),
        induct(N, t, start=1, step=N[t] - gone + 2, closed=lambda t: t + 1, reason="n leaves after n − 1 splits"),
    )


@claim(
    source="cover2006elements, Theorem 5.3.1; shannon1948communication, §9 Theorem 9",
    code="reference.information.shannon_lengths",
    given={mass: 1},
    sums={Sum(p[i], (i, 1, n)): mass, Sum(q[i], (i, 1, n)): 1 - spare},
    domains={spare: Interval.Ropen(0, 1)},
    mistakes={
        "Shannon's upper bound for the lower one": {"more": 1},
        "weighted by the code's own 2^(−l)": {"weight": lambda i: q[i]},
        "the code's own entropy": {"own": lambda i: q[i]},
    },
)
def no_code_beats_entropy(more=0, weight=lambda i: p[i], own=lambda i: p[i]):
    """No code whose lengths satisfy Kraft's inequality has a mean length below the entropy in bits."""
    return below(
        Sum(weight(i) * bits(q[i]), (i, 1, n)),
        ge(
            -Sum(own(i) * log(own(i)), (i, 1, n)) / log(2) + more,
            "call 2^(−l) q: it sums to 1 − u, and the difference is the divergence of q from p, in bits: Gibbs",
            by=(Sum(p[i] * TangentGap.of(lambda x: -log(x), 1, q[i] / p[i]), (i, 1, n)) + spare) / log(2),
        ),
    )


def one_minus_power(y):
    """1 − 2^(−y), which is nonnegative for y ≥ 0, as such."""
    return 2 ** (-y) * (TangentGap.of(lambda y: 2**y, 0, y) + y * log(2))


@claim(
    source="cover2006elements, §5.4; shannon1948communication, §9",
    code="reference.information.shannon_lengths",
    given={mass: 1},
    sums={Sum(p[i], (i, 1, n)): mass},
    mistakes={
        "rounded down": {"length": lambda i: bits(p[i]) - u[i]},
        "within one nat": {"unit": 1},
        "rounded to the nearest": {"length": lambda i: bits(p[i]) + u[i] - S.Half},
    },
)
def shannon_code_is_within_one_bit(unit=log(2), length=lambda i: bits(p[i]) + u[i]):
    """Lengths with −log₂ p ≤ l < −log₂ p + 1 belong to a prefix code, whose mean length is in [H₂, H₂ + 1)."""
    entropy = -Sum(p[i] * log(p[i]), (i, 1, n)) / unit
    return (
        below(
            Sum(2 ** (-length(i)), (i, 1, n)),
            eq(Sum(p[i] * 2 ** (-u[i]), (i, 1, n)), "l = −log₂ p + u with u ≥ 0"),
            le(1, "2^(−u) ≤ 1: Kraft's inequality", by=Sum(p[i] * one_minus_power(u[i]), (i, 1, n))),
        ),
        below(
            Sum(p[i] * length(i), (i, 1, n)),
            ge(entropy, "u is not negative", by=Sum(p[i] * u[i], (i, 1, n))),
        ),
        below(
            Sum(p[i] * (bits(p[i]) + 1 - v[i]), (i, 1, n)),
            eq(entropy + 1 - Sum(p[i] * v[i], (i, 1, n)), "l = −log₂ p + 1 − v with v > 0"),
            le(entropy + 1, "by more than nothing: the mean of v", by=Sum(p[i] * v[i], (i, 1, n))),
        ),
    )
