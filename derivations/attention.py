r"""Scaled dot-product attention: the scale, the average, and what the causal mask hides.

Article papers/attention.md, code reference/attention.py, laws verify/attention.py.
"""

from sympy import IndexedBase, Sum, Symbol, exp, sqrt

from derivations.claim import claim
from derivations.expectation import Law, Var
from derivations.forms import below, eq, equal, expect, ge, le
from derivations.normal import Before

d, n = (Symbol(name, integer=True, positive=True) for name in "dn")
i, j, t = (Symbol(name, integer=True, positive=True) for name in "ijt")
q, k, s, v = (IndexedBase(name, real=True) for name in "qksv")
w = IndexedBase("w", nonnegative=True)
top, alpha = Symbol("M", real=True), Symbol("alpha", real=True)
mean_q, mean_k, var_q, var_k = (Symbol(name, real=True) for name in ("mean_q", "mean_k", "var_q", "var_k"))
cov_q, cov_k = Symbol("cov_q", real=True), Symbol("cov_k", real=True)

queries = Law(q, d, i, mean_q, var_q, cov_q)
keys = Law(k, d, i, mean_k, var_k, cov_k)


@claim(
    source="vaswani2017attention, §3.2.1 footnote 4",
    code="reference.attention.scores",
    given={mean_q: 0, mean_k: 0, var_q: 1, var_k: 1, cov_k: 0},
    mistakes={
        "unscaled": {"scale": 1},
        "scaled by d": {"scale": 1 / d},
        "multiplied by the root": {"scale": sqrt(d)},
        "the root of the model width, two heads": {"scale": 1 / sqrt(2 * d)},
    },
)
def scores_have_unit_variance(scale=1 / sqrt(d)):
    """A scaled score of independent, standardized queries and keys has variance one, in every dimension."""
    return expect(
        Var(scale * Sum(q[i] * k[i], (i, 1, d))),
        eq(
            scale**2 * Sum(var_q + mean_q**2, (i, 1, d)) * var_k,
            "independent factors; the keys have mean zero and are uncorrelated, so only i = j remains",
        ),
        eq(1, "unit variances, centred queries: the sum is d, and the scale is 1/√d"),
        laws=(queries, keys),
    )


def attend(weight):
    return Sum(exp(s[j]) * weight * v[j], (j, 1, n)) / Sum(exp(s[j]) * weight, (j, 1, n))


@claim(
    source="vaswani2017attention, §3.2 (the output is a weighted sum of the values)",
    code="reference.attention.attention",
    computes="attention(column(s[:1] * 0 + 1), column(s), column(M - w), scale=1.0)",
    mistakes={
        "the softmax is not normalized": {"normalizer": 1},
        "a small number is added to the normalizer": {"normalizer": Sum(exp(s[j]), (j, 1, n)) + 1},
        "masked after the softmax: weights sum to less than one": {"normalizer": exp(s[1]) + Sum(exp(s[j]), (j, 1, n))},
    },
)
def attention_is_a_convex_combination(normalizer=Sum(exp(s[j]), (j, 1, n))):
    """Attention weights are nonnegative and sum to one: no output exceeds the largest value (nor, by −v, the least)."""
    output = Sum(exp(s[j]) * (top - w[j]), (j, 1, n)) / normalizer
    return (
        below(
            output,
            eq(
                top - Sum(exp(s[j]) * w[j], (j, 1, n)) / Sum(exp(s[j]), (j, 1, n)),
                "every value is v_j = M − w_j with M the largest and w_j ≥ 0; the weights sum to one",
            ),
            le(top, "weights and w_j are nonnegative", by=Sum(exp(s[j]) * w[j], (j, 1, n)) / Sum(exp(s[j]), (j, 1, n))),
        ),
        equal(
            Sum(exp(s[j]) * (alpha + v[j]), (j, 1, n)) / normalizer,
            eq(
                alpha + Sum(exp(s[j]) * v[j], (j, 1, n)) / Sum(exp(s[j]), (j, 1, n)),
                "a constant added to every value comes out unchanged",
            ),
        ),
        below(
            exp(s[i]) / normalizer,
            ge(0, "an exponential over a sum of exponentials", by=exp(s[i]) / Sum(exp(s[j]), (j, 1, n))),
        ),
    )


@claim(
    source="vaswani2017attention, §3.2.3",
    code="reference.attention.attention",
    computes="attention(column(s * 0 + 1), column(s), column(v), causal=True, scale=1.0)[0, 0, t, 0]",
    for_all={t: n},
    mistakes={
        "the mask is off by one: it sees the next position": {"sees": lambda j: Before(j, t + 1)},
        "strict mask: it does not see itself": {"sees": lambda j: Before(j, t - 1)},
        "masked after the softmax": {"hidden": exp(s[n])},
        "no mask": {"sees": lambda j: 1},
    },
)
def causal_prefix_ignores_the_future(sees=lambda j: Before(j, t), hidden=0):
    """Masked attention at position t of n is a function of the scores and values up to t alone."""
    masked = Sum(exp(s[j]) * sees(j) * v[j], (j, 1, n)) / (Sum(exp(s[j]) * sees(j), (j, 1, n)) + hidden)
    return equal(
        masked,
        eq(
            Sum(exp(s[j]) * v[j], (j, 1, t)) / Sum(exp(s[j]), (j, 1, t)),
            "exp(−∞) = 0 removes every j > t from both sums",
        ),
    )


# The costs: B sequences, H heads, T queries, S keys, head dimension K, e bytes a number.
B, H, T, S, K, e = (Symbol(name, integer=True, positive=True) for name in "BHTSKe")
b, h, k_ = (Symbol(name, integer=True, positive=True) for name in ("b", "h", "k"))
FLOPS = 4 * B * H * T * S * K
SCORE_BYTES = e * B * H * T * S


@claim(
    source="hoffmann2022chinchilla, appendix F",
    code="reference.attention.attention",
    given={T: S},
    mistakes={
        "a multiplication and its addition counted as one": {"each": 1},
        "the scores only, not the average of the values": {"products": 1},
        "the causal half claimed for code that computes the whole matrix": {"last": t},
        "heads counted into the width a second time": {"cost": FLOPS * H},
    },
)
def attention_flops(each=2, products=2, last=S, cost=FLOPS):
    """Attention's two matrix products cost 4BHTSK operations; of these a causal kernel needs the share (S + 1)/2S."""
    visits = Sum(each * products, (k_, 1, K), (j, 1, last), (t, 1, T), (h, 1, H), (b, 1, B))
    seen = Sum(each * products, (k_, 1, K), (j, 1, t), (t, 1, T), (h, 1, H), (b, 1, B))
    return (
        equal(visits, eq(cost, "one multiplication and one addition for every b, h, t, s, k, in q·k and again in p·v")),
        equal(seen, eq(cost * (S + 1) / (2 * S), "with T = S query t sees t keys: 1 + 2 + … + T = T(T + 1)/2")),
    )


@claim(
    source="dao2022flashattention, §2.2",
    code="reference.attention.scores",
    given={S: T},
    mistakes={
        "linear in the length, like q, k and v": {"entries": T},
        "halved by the causal mask: an explicit mask frees nothing": {"entries": T * (T + 1) / 2},
        "one matrix for all heads": {"heads": 1},
    },
)
def attention_memory_is_quadratic(entries=T**2, heads=H):
    """The scores of self-attention take e bytes for every pair of positions: twice the length, four times the bytes."""
    return (
        equal(
            Sum(e, (j, 1, S), (t, 1, T), (h, 1, H), (b, 1, B)),
            eq(SCORE_BYTES, "one number for every b, h, t, s"),
            eq(e * B * heads * entries, "S = T"),
        ),
        equal(
            SCORE_BYTES.xreplace({T: 2 * T, S: 2 * S}),
            eq(4 * e * B * heads * entries, "twice the queries with twice the keys"),
        ),
    )
