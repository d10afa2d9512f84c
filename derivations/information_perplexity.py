r"""Perplexity: e to the mean surprise, what it is a mean of, and what it is not.

A text of N tokens gives them the probabilities p; a model has n symbols; of M texts, number k has w tokens and
perplexity v. Article papers/information.md, code reference/information.py, laws verify/information.py.
"""

from sympy import IndexedBase, Sum, Symbol, exp, log, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le
from derivations.positive import TangentGap

n, k, N, M, C = (Symbol(name, integer=True, positive=True) for name in "nkNMC")
i, r = (Symbol(name, integer=True, positive=True) for name in "ir")
t = Symbol("t", integer=True, nonnegative=True)
p, v, w = (IndexedBase(name, positive=True) for name in "pvw")
d, P = (IndexedBase(name, real=True) for name in "dP")
mass, empty, x, y, f, h = (Symbol(name, real=True) for name in ("s", "start", "x", "y", "f", "h"))
chance, ppl = (Symbol(name, positive=True) for name in ("P_N", "PP"))


@claim(
    source="jurafsky2025speech, §3.3; cover2006elements, Theorem 2.6.4",
    code="reference.information.perplexity",
    computes="part = 1; cross_entropy(d, torch.full_like(d, 1 / len(d))).exp()",
    given={mass: 1},
    sums={Sum(d[i], (i, 1, n)): mass},
    mistakes={
        "bits in an exponential of base e": {"unit": log(2)},
        "its logarithm": {"size": log(n)},
        "the sum over the text, not its mean": {"symbols": 1},
    },
)
def perplexity_of_uniform_is_its_size(unit=1, size=n, symbols=N):
    """A uniform model over n symbols has perplexity n: on its own draws, on those of any d, and on every text."""
    return (
        equal(exp(-Sum(1 / n * log(1 / n), (i, 1, n)) / unit), eq(size, "n equal terms (log n)/n")),
        equal(exp(-Sum(d[i] * log(1 / n), (i, 1, n)) / unit), eq(size, "every symbol costs log n, and d sums to one")),
        equal(exp(-Sum(log(1 / n), (t, 1, N)) / symbols), eq(size, "so does every symbol of a text")),
    )


@claim(
    source="jurafsky2025speech, §3.3",
    code="reference.information.perplexity",
    computes="part = 1; perplexity(-p.log().sum()[None], torch.tensor([len(p)]))",
    given={chance: exp(Sum(log(p[r]), (r, 1, N))), empty: 1},
    mistakes={
        "the mean of the probabilities": {"text": (Sum(p[r], (r, 1, N)) / N) ** N},
        "the text's own inverse probability: not the N-th root": {"root": 1},
        "the mean of the inverse probabilities": {"average": Sum(1 / p[r], (r, 1, N)) / N},
    },
)
def perplexity_is_inverse_geometric_mean(text=chance, root=1 / N, average=exp(-Sum(log(p[r]), (r, 1, N)) / N)):
    """Perplexity is the inverse of the geometric mean of the probabilities that the text's N symbols were given."""
    return (
        induct(
            P,
            t,
            start=empty,
            step=P[t] * p[t + 1],
            closed=lambda t: exp(Sum(log(p[r]), (r, 1, t))),
            reason="the text's probability, a product: e to the sum of the logarithms",
        ),
        equal(text ** (-root), eq(average, "the N-th root of its inverse")),
    )


@claim(
    source="jurafsky2025speech, §3.3; shannon1948communication, §7",
    code="reference.information.bits_per_character",
    computes="bits_per_character(-p.log().sum()[None], torch.tensor([C]))",
    given={ppl: exp(-Sum(log(p[r]), (r, 1, N)) / N)},
    mistakes={
        "nats": {"base": exp(1)},
        "tokens for characters": {"characters": N},
        "multiplied by ln 2": {"base": exp(1 / log(2))},
    },
)
def bits_per_character_is_log2_perplexity(base=2, characters=C):
    """A text of N tokens and C characters costs N/C times log₂ of its perplexity a character: log₂, if tokens are."""
    return equal(
        Sum(-log(p[r]) / log(2), (r, 1, N)) / C,
        eq(N / characters * log(ppl) / log(base), "perplexity is e to the mean over the N tokens, in nats"),
    )


average = exp(Sum(w[k] * log(v[k]), (k, 1, M)) / Sum(w[k], (k, 1, M)))


@claim(
    source="cover2006elements, Theorem 2.6.2 (Jensen's inequality)",
    code="reference.information.perplexity",
    mistakes={
        "both equally hard: then they agree": {"hard": 1},
        "their geometric mean": {"joined": lambda u, v: sqrt(u * v)},
        "the mean without weights is never below": {"length": 1},
    },
)
def averaging_perplexities_is_not_perplexity(hard=5, joined=lambda u, v: (u + v) / 2, length=w[k]):
    """The mean of texts' perplexities may be above or below that of all; weighted by length, it is never below."""
    two = joined(2**f, 2**h)
    both = 2 ** ((x * f + y * h) / (x + y))
    return (
        finite(two, eq(17, "one token of 5 bits, and three of 1 bit"), cases=[{x: 1, f: hard, y: 3, h: 1}]),
        finite(both, eq(4, "but that is eight bits in four tokens"), cases=[{x: 1, f: hard, y: 3, h: 1}]),
        finite(two, le(both, "15 tokens of 8 bits, and one of none"), cases=[{x: 15, f: 8, y: 1, h: 0}]),
        below(
            Sum(length * v[k], (k, 1, M)) / Sum(length, (k, 1, M)),
            ge(
                average,
                "text k has w tokens and perplexity v: of all tokens it is e to the mean of log v, and log x ≤ x − 1",
                by=average
                * Sum(w[k] * TangentGap.of(lambda x: -log(x), 1, v[k] / average), (k, 1, M))
                / Sum(w[k], (k, 1, M)),
            ),
        ),
    )
