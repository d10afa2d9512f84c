r"""The unigram model of tokens: the best segmentation of a text, and why training by expected counts goes uphill.

A text has m segmentations into pieces; piece i occurs c[z, i] times in segmentation z, and has the probability p[i].
Article papers/unigram.md, code reference/unigram.py, laws verify/unigram.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, S, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le
from derivations.positive import TangentGap

n, m, i, j, k, r, z = (Symbol(name, integer=True, positive=True) for name in "nmijkrz")
t = Symbol("t", integer=True, nonnegative=True)
s, theta, D, P = (IndexedBase(name, real=True) for name in ("s", "theta", "D", "P"))
gap = IndexedBase("g", nonnegative=True)
c, ratio = IndexedBase("c", positive=True), IndexedBase("b", real=True)
often = IndexedBase("c", real=True)  # any number of times
w, p, old = (IndexedBase(name, positive=True) for name in "wpa")
mass, empty, size = (Symbol(name, real=True) for name in ("s", "start", "N"))


@claim(
    source="forney1973viterbi, §III; kudo2018subword, §3.2",
    code="reference.unigram.viterbi",
    given={empty: 0},
    mistakes={
        "the best score of a place is that of the piece that ends there": {"step": lambda best, score: score},
        "what is lost by another piece is gained": {"lost": -1},
        "the scores are probabilities, which are multiplied": {"step": lambda best, score: best * score},
    },
)
def viterbi_is_optimal(step=lambda best, score: best + score, lost=1):
    """The best scores of all places, each from the places before it, make a path that no segmentation beats."""
    return (
        induct(
            D,
            t,
            start=empty,
            step=step(D[t], s[t + 1] + gap[t + 1]),
            closed=lambda now: Sum(s[r] + gap[r], (r, 1, now)),
            reason="D is the best score up to the end of piece t of any segmentation: s more than before, or better",
        ),
        below(
            Sum(s[r], (r, 1, t)),
            le(
                Sum(s[r] + lost * gap[r], (r, 1, t)),
                "so that its score is at most the D of the end: g is no less than 0, as D is a maximum",
                by=Sum(gap[r], (r, 1, t)),
            ),
        ),
        induct(
            P,
            t,
            start=empty,
            step=step(P[t], s[t + 1]),
            closed=lambda now: Sum(s[r], (r, 1, now)),
            reason="and the segmentation of which each piece gave the maximum has this score itself: there g is 0",
        ),
    )


def minus_log(x):
    return -log(x)


def expected(i):
    """How often piece i is expected: w is the posterior of a segmentation."""
    return Sum(w[r] * c[r, i], (r, 1, m))


def change(z, i, share):
    """The logarithm of what the probability of a segmentation is multiplied by."""
    return Sum(c[z, i] * log(share(i) / p[i]), (i, 1, n))


@claim(
    source="dempster1977maximum, Theorem 1; kudo2018subword, §3.2",
    code="reference.unigram.em_step",
    given={mass: 1, size: Sum(w[r] * c[r, j], (r, 1, m), (j, 1, n))},
    sums={Sum(w[z], (z, 1, m)): mass, Sum(p[i], (i, 1, n)): mass},
    mistakes={
        "the counts of one segmentation, whatever its weight": {"share": lambda i: c[1, i] / size},
        "the counts are not divided by their total": {"share": lambda i: expected(i) / m},
        "the step is taken backwards": {"sign": -1},
    },
)
def em_does_not_decrease_likelihood(share=lambda i: expected(i) / size, sign=1):
    """If each piece gets its share q of the N that are expected, log P(text) grows by N D(q‖p) or more: never less."""
    grown = Sum(w[z] * exp(change(z, i, share)), (z, 1, m))
    jensen = Sum(w[z] * TangentGap.of(minus_log, 1, exp(change(z, i, share)) / grown), (z, 1, m))
    gibbs = Sum(expected(i) * TangentGap.of(minus_log, 1, p[i] / share(i)), (i, 1, n))
    return (
        equal(
            Sum(old[z] * ratio[z], (z, 1, m)) / Sum(old[z], (z, 1, m)),
            eq(
                Sum(old[z] / Sum(old[r], (r, 1, m)) * ratio[z], (z, 1, m)),
                "a text has the probability of all its segmentations: it is multiplied by the mean of what these are, "
                "weighted with a/Σa, their posterior w",
            ),
        ),
        below(
            sign * log(grown),
            ge(
                Sum(w[z] * change(z, i, share), (z, 1, m)),
                "a segmentation is multiplied by Π (q/p)^c: the log of a mean is no less than the mean of logs",
                by=jensen,
            ),
            eq(
                Sum(expected(i) * log(share(i) / p[i]), (i, 1, n)),
                "piece by piece: its expected count, Nq, by the logarithm of q/p, which is N times a divergence",
            ),
            ge(0, "Gibbs' inequality", by=gibbs),
        ),
    )


lines = Sum(often[z, i] * theta[i], (i, 1, n))


@claim(
    source="dempster1977maximum, §3; kudo2018subword, §3.2",
    code="reference.unigram.expected_counts",
    for_all={k: n},
    mistakes={
        "all segmentations count alike": {"share": lambda z: 1 / m},
        "the pieces of a segmentation, whichever they are": {"count": lambda z: Sum(often[z, j], (j, 1, n))},
        "the best segmentation alone, here the first": {"share": lambda z: KroneckerDelta(z, 1)},
    },
)
def expected_counts_are_the_gradient(share=None, count=lambda z: often[z, k]):
    """The slope of log P(text) in the log-probability of a piece is how often the piece is expected to occur."""
    total = Sum(exp(Sum(often[r, j] * theta[j], (j, 1, n))), (r, 1, m))
    share = share or (lambda z: exp(lines) / total)
    return equal(
        Derivative(log(Sum(exp(lines), (z, 1, m))), theta[k]),
        eq(
            Sum(share(z) * count(z), (z, 1, m)),
            "segmentation z has probability e^(Σ c θ), whose slope in θ is c times itself; divided by the sum of all",
        ),
    )


chosen, fewest = Symbol("w", integer=True), Symbol("o", integer=True)


def longest_first(text, words):
    """How many words the text takes if each is the longest that fits; None where none does."""
    count = 0
    while text:
        fitting = [word for word in words if text.startswith(word)]
        if not fitting:
            return None
        text, count = text[len(max(fitting, key=len)) :], count + 1
    return count


def fewest_words(text, words):
    """The least number of words that make up the text."""
    if not text:
        return 0
    return 1 + min(fewest_words(text[len(w) :], words) for w in words if text.startswith(w))


@claim(
    source="schuster2012japanese, §3; song2021fast, §2 (longest match first)",
    code="reference.unigram.wordpiece",
    scope="instances",
    why="a counterexample settles it",
    mistakes={
        "without abc the longest match is best": {"words": ("a", "b", "c", "d", "e", "ab", "cde")},
    },
)
def longest_match_is_not_the_fewest(words=("a", "b", "c", "d", "e", "ab", "abc", "cde")):
    """The longest piece that fits, again and again, may take more pieces than there must be: abc d e for ab cde."""
    counts = {chosen: S(longest_first("abcde", words)), fewest: S(fewest_words("abcde", words))}
    return finite(chosen, ge(fewest + 1, "the long first piece leaves what no long one fits"), cases=[counts])
