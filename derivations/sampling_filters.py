r"""What the filters beside top-k, top-p and min-p leave, and what a penalty does to the odds.

Article papers/sampling.md, code reference/sampling.py, laws verify/sampling_thresholds.py and _penalties.py.
"""

from sympy import IndexedBase, Rational, S, Sum, Symbol, exp, log, sign

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge

n, i, j, r = (Symbol(name, integer=True, positive=True) for name in "nijr")
z, c = IndexedBase("z", real=True), IndexedBase("c", real=True)
g = IndexedBase("g", nonnegative=True)
a, x, theta = (Symbol(name, real=True) for name in ("a", "x", "theta"))


@claim(
    source="hewitt2022truncation (η-sampling)",
    code="reference.sampling.eta_cutoff",
    computes="torch.special.entr(softmax(-g)).sum()",
    mistakes={
        "the surprise of the mean logit": {"least": lambda odds: log(odds) + Sum(g[r], (r, 1, n)) / n},
        "the entropy of equal probabilities": {"least": lambda odds: log(n)},
        "the largest probability for its surprise": {"least": lambda odds: odds},
    },
)
def entropy_is_at_least_the_least_surprise(least=log):
    """The entropy is no less than −log max p: so η < e^(−H) ≤ max p, and the most probable symbol always stays."""
    odds = Sum(exp(-g[j]), (j, 1, n))
    return below(
        -Sum(exp(-g[i]) / odds * log(exp(-g[i]) / odds), (i, 1, n)),
        eq(
            log(odds) + Sum(exp(-g[i]) / odds * g[i], (i, 1, n)),
            "−log p is the gap g to the largest, plus log Σ e^(−g)",
        ),
        ge(
            least(odds),
            "no gap is negative; the most probable symbol has p = 1/Σ e^(−g)",
            by=Sum(exp(-g[i]) / odds * g[i], (i, 1, n)),
        ),
    )


def share(index, logit=lambda index: z[index]):
    return exp(logit(index)) / Sum(exp(logit(j)), (j, 1, n))


@claim(
    source="openai2023penalties",
    code="reference.sampling.frequency_penalty",
    computes="c = c.abs().round(); softmax(frequency_penalty(z, unroll(c), a))[i]",
    for_all={i: n},
    mistakes={
        "the probability loses the penalty": {"weight": lambda k: share(k) - a * c[k]},
        "the logit is multiplied": {"penalized": lambda k: z[k] * (1 - a * c[k])},
        "the normalizer keeps its weight": {"rest": S.One},
    },
)
def penalties_divide_the_odds(
    penalized=lambda k: z[k] - a * c[k], weight=lambda k: share(k) * exp(-a * c[k]), rest=None
):
    """To subtract a·count from a logit is to divide its odds by e^(a·count): a shift of all logits changes nothing."""
    rest = Sum(weight(r), (r, 1, n)) if rest is None else rest
    return (
        equal(
            share(i, penalized),
            eq(
                weight(i) / rest, "e^(z − ac) = e^z e^(−ac); divide both by the sum of e^z: only probabilities are left"
            ),
        ),
        equal(
            share(i, lambda k: penalized(k) + x),
            eq(share(i, penalized), "a common factor e^x above and below"),
        ),
    )


def repeated(logit, below_zero=lambda y: y * theta):
    """A logit after the repetition penalty θ."""
    return logit / theta * (1 + sign(logit)) / 2 + below_zero(logit) * (1 - sign(logit)) / 2


@claim(
    source="keskar2019ctrl, §4.1",
    code="reference.sampling.repetition_penalty",
    scope="instances",
    why="a counterexample settles it: two rows of logits with one softmax, and different ones after the penalty",
    mistakes={
        "it is divided on both sides of zero": {"below_zero": lambda y: y / theta},
        "the other symbol is penalized too": {"other": repeated},
        "the presence penalty as a factor": {"fixed": lambda y: y * (1 - a)},
    },
)
def repetition_penalty_depends_on_the_shift(below_zero=lambda y: y * theta, other=lambda y: y, fixed=lambda y: y - a):
    """Logits x + 1 and x have odds e; with θ = 2 on the first they have √e at x = 0, and 1 at x = −2: zero matters."""
    odds = repeated(x + 1, below_zero) - other(x)
    return (
        finite(odds, eq(Rational(1, 2), "1 becomes 1/2, and 0 stays"), cases=[{x: 0, theta: 2}]),
        finite(odds, eq(0, "but −1 becomes −2, as the other one is"), cases=[{x: -2, theta: 2}]),
        equal(
            exp(fixed(x + 1)) / exp(x),
            eq(exp(1 - a), "what is subtracted costs the same anywhere: of the odds e, e^(1 − a) is left"),
        ),
    )
