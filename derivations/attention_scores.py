r"""What the comparison of queries and keys can do: saturation, rank, symmetry, order, and how it is differentiated.

Article papers/attention.md, code reference/attention.py, laws verify/attention.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, S, Sum, Symbol, exp, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, le
from derivations.normal import Before
from derivations.positive import TangentGap

n, d, D, T = (Symbol(name, integer=True, positive=True) for name in ("n", "d", "D", "T"))
h, i, j, k, l, r, t = (Symbol(name, integer=True, positive=True) for name in "hijklrt")
q, s, v, u, c, x, w, g = (IndexedBase(name, real=True) for name in "qsvucxwg")
keys, other = IndexedBase("k", real=True), IndexedBase("o", real=True)
lag, less = IndexedBase("a", nonnegative=True), IndexedBase("b", nonnegative=True)
a, b, gap, at = (Symbol(name, real=True) for name in ("a", "b", "s", "v"))
lead, beta, spread = Symbol("delta", real=True), Symbol("beta", nonnegative=True), Symbol("rho", nonnegative=True)
before, after = (Symbol(name, integer=True, nonnegative=True) for name in ("c", "r"))


@claim(
    source="vaswani2017attention, §3.2.1",
    code="reference.attention.scores",
    mistakes={
        "the scale is 1/√d: no saturation": {"growth": S.One},
        "the slope is p, and not p(1 − p)": {"slope": lambda p: p},
        "it falls as if the gap were twice as large": {"bound": exp(-2 * gap * sqrt(d))},
    },
)
def unscaled_scores_saturate(growth=sqrt(d), slope=lambda p: p * (1 - p), bound=exp(-gap * sqrt(d))):
    """Between two keys whose scores differ by s√d softmax has a slope of at most e^(−s√d): it is lost."""
    p, rest = exp(a) / (exp(a) + exp(b)), exp(-gap * growth)
    ahead = p.xreplace({a: b + gap * growth})
    return (
        equal(Derivative(p, a), eq(slope(p), "the slope of softmax by its own score")),
        below(
            ahead * (1 - ahead),
            eq(rest / (1 + rest) ** 2, "divide by e^a twice: the other key has e^(−s√d) for one"),
            le(bound, "the divisor is at least one", by=rest**2 * (2 + rest) / (1 + rest) ** 2),
        ),
    )


# key number zero has the largest score; m others come after it, each behind by delta + a_j
weights = Sum(exp(-beta * (lead + lag[j])), (j, 1, n))


@claim(
    source="graves2014neural, §3.3.1",
    code="reference.attention.attention",
    computes="part = 0; delta, beta, rho = 0.7, 1.3, 2.0; keys = -torch.cat([torch.zeros(1).double(), delta + a]); "
    "b = b.clamp(max=rho); attention(column(keys[:1] * 0 + 1), column(keys), "
    "column(v + torch.cat([torch.zeros(1).double(), rho - b])), scale=beta)[0, 0, 0, 0] - v",
    mistakes={
        "it is exact at once, whatever the sharpness": {"bound": lambda n: S.Zero},
        "how far the values lie apart does not count": {"bound": lambda n: n * exp(-beta * lead)},
        "the sharpness counts twice": {"bound": lambda n: n * spread * exp(-2 * beta * lead)},
    },
)
def sharp_attention_is_lookup(bound=lambda n: n * spread * exp(-beta * lead)):
    """With one key ahead of n others by δ, sharper scores give its value: the error is at most n ρ e^(−βδ)."""
    out = (at + Sum(exp(-beta * (lead + lag[j])) * (at + spread - less[j]), (j, 1, n))) / (1 + weights)
    short = Sum(exp(-beta * (lead + lag[j])) * less[j], (j, 1, n))
    rise = TangentGap.of(exp, 0, beta * lag[j]) + beta * lag[j]
    return (
        equal(
            out - at,
            eq(
                (spread * weights - short) / (1 + weights),
                "values are v, and v + ρ − b_j with b_j ≥ 0; the scores are 0 and −δ − a_j",
            ),
        ),
        below(
            out - at,
            le(spread * weights, "the divisor is at least one", by=(spread * weights**2 + short) / (1 + weights)),
            le(
                bound(n),
                "each of the n others is behind by δ at least (and by −v from below as well)",
                by=spread * Sum(exp(-beta * (lead + lag[j])) * rise, (j, 1, n)),
            ),
        ),
    )


def exchanged(term):
    """The sum of term(place) over all places, after the tokens at places k and l have changed places."""
    move = term(l) - term(k)
    return Sum(term(j) + KroneckerDelta(j, k) * move - KroneckerDelta(j, l) * move, (j, 1, n))


@claim(
    source="vaswani2017attention, §3.5; lee2019set, property 1",
    code="reference.attention.attention",
    computes="o = list(range(n)); o[k], o[l] = l, k; row = s[r][o]; "
    "attention(row[None, None, None], torch.eye(n).double()[None, None], column(v[o]), scale=1.0)[0, 0, 0, 0]",
    for_all={k: n, l: n, r: n},
    mistakes={
        "invariant: every place keeps its output": {"row": k},
        "the values stay where they were": {"value": lambda j: v[1]},
        "under a causal mask": {"sees": lambda j: Before(j, k)},
    },
)
def attention_is_permutation_equivariant(row=r, value=lambda j: v[j], sees=lambda j: 1):
    """When tokens change places their outputs go with them, unchanged: equivariant, and only the mean is invariant."""

    def weight(r, j):
        return exp(s[r, j])

    def output(r):
        return Sum(weight(r, j) * v[j], (j, 1, n)) / Sum(weight(r, j), (j, 1, n))

    return (
        equal(
            exchanged(lambda j: weight(r, j) * sees(j) * value(j)) / exchanged(lambda j: weight(r, j) * sees(j)),
            eq(output(row), "the token that was at r compares with the same keys, in another order: output r, moved"),
        ),
        equal(
            exchanged(lambda t: u[t]) / n,
            eq(Sum(u[j], (j, 1, n)) / n, "outputs that only change places have the same mean"),
        ),
    )


def dot(t, j, d):
    """The score of query t and key j."""
    return Sum(q[t, i] * keys[j, i], (i, 1, d))


def minor(entry, size):
    """The determinant of the first rows and columns, written out."""
    if size == 1:
        return entry(1, 1)
    if size == 2:
        return entry(1, 1) * entry(2, 2) - entry(1, 2) * entry(2, 1)
    rows = ((1, 2, 3), (2, 3, 1), (3, 1, 2))
    even = sum(entry(1, m) * entry(2, n) * entry(3, o) for m, n, o in rows)
    return even - sum(entry(1, m) * entry(2, o) * entry(3, n) for m, n, o in rows)


@claim(
    source="bhojanapalli2020lowrank, §3",
    code="reference.attention.scores",
    mistakes={
        "the weights have the same rank: softmax keeps it": {"entry": lambda x: exp(x)},
        "one dimension more": {"size": 3},
        "a number added to every score keeps it": {"entry": lambda x: x + 1},
    },
)
def query_key_rank_is_at_most_head_dimension(entry=lambda x: x, size=2):
    """Scores, mixed over the keys, are d numbers mixed by the queries: their rank is at most d, whatever the length."""
    return (
        equal(
            Sum(c[j] * dot(t, j, d), (j, 1, n)),
            eq(
                Sum(q[t, i] * Sum(c[j] * keys[j, i], (j, 1, n)), (i, 1, d)),
                "every column lies in the span of the d columns of queries; where d sums vanish, so do all n scores",
            ),
        ),
        equal(minor(lambda t, j: entry(dot(t, j, 1)), 2), eq(0, "d = 1: all determinants of two rows vanish")),
        equal(minor(lambda t, j: entry(dot(t, j, size)), 3), eq(0, "d = 2: all determinants of three rows vanish")),
    )


@claim(
    source="vaswani2017attention, §3.2.2",
    code="reference.attention.scores",
    mistakes={
        "two projections": {"second": other},
        "the score of a token with itself is one": {"own": lambda form: form - 1},
    },
)
def shared_projection_makes_scores_symmetric(second=w, own=lambda form: form):
    """If queries and keys share a projection, t asks of j what j asks of t, and both like themselves best."""

    def projected(t, w, i, l):
        return Sum(x[t, l] * w[l, i], (l, 1, D))

    def form(t, j, second):
        return Sum(projected(t, w, i, l) * projected(j, second, i, h), (i, 1, d))

    return (
        equal(form(t, j, second), eq(form(j, t, w), "the factors change places")),
        below(
            own(form(t, t, w)),
            ge(0, "a sum of squares", by=Sum(projected(t, w, i, l) ** 2, (i, 1, d))),
        ),
        below(
            2 * form(t, j, w),
            le(
                form(t, t, w) + form(j, j, w),
                "no key is liked by both more than each likes itself",
                by=Sum((projected(t, w, i, l) - projected(j, w, i, l)) ** 2, (i, 1, d)),
            ),
        ),
    )


total = Sum(exp(s[j]), (j, 1, n))


@claim(
    source="dao2022flashattention, appendix B.2",
    code="reference.backprop_attention.attention_backward",
    computes="one = torch.eye(n).double(); "
    "y, cache = attention(s[None, None, None, :n], one[None, None], column(u[:n]), scale=1.0); "
    "attention_backward(torch.ones(1, 1, 1, 1).double(), cache)[0][0, 0, 0, k]",
    for_all={k: n, h: d},
    mistakes={
        "the mean is not subtracted": {"mean": S.Zero},
        "as of an elementwise function: p(1 − p)": {"mean": exp(s[k]) / total * u[k]},
        "the scale is left out": {"scale": lambda b: 1},
        "queries get what keys should": {"back": lambda j: q[h]},
    },
)
def attention_gradient(mean=Sum(exp(s[j]) * u[j], (j, 1, n)) / total, scale=lambda b: b, back=lambda j: keys[j, h]):
    """With u_j = dO·v_j: scores get p_k (u_k − Σ p_j u_j), values p_k dO, queries and keys the other factor of both."""
    compared = Sum(g[j] * b * Sum(q[i] * keys[j, i], (i, 1, d)), (j, 1, n))
    return (
        equal(
            Derivative(Sum(exp(s[j]) * u[j], (j, 1, n)) / total, s[k]),
            eq(exp(s[k]) / total * (u[k] - mean), "the quotient rule: δ_jk in both sums; Σ p_j u_j is dO·O"),
        ),
        equal(
            Derivative(Sum(exp(s[j]) * v[j], (j, 1, n)) / total, v[k]),
            eq(exp(s[k]) / total, "the output is linear in the values"),
        ),
        equal(
            Derivative(compared, q[h]),
            eq(scale(b) * Sum(g[j] * back(j), (j, 1, n)), "g_j comes back by score j: its other factor is the key"),
        ),
        equal(
            Derivative(compared, keys[k, h]),
            eq(scale(b) * g[k] * q[h], "only score k has key k, and its other factor is the query"),
        ),
    )


@claim(
    source="dao2023flashattention2, README of the code, change of version 2.1",
    code="reference.attention.attention",
    computes="T, S = i + r, c + i + r; "
    "attention(column(v[:T] * 0 + 1), column(s[:S]), column(v[:S]), causal=True, scale=1.0)[0, 0, i - 1, 0]",
    mistakes={
        "aligned top-left: the query is taken for number i of all": {"sees": lambda j: Before(j, i)},
        "off by one: it does not see itself": {"sees": lambda j: Before(j, before + i - 1)},
        "one key too many": {"sees": lambda j: Before(j, before + i + 1)},
    },
)
def bottom_right_alignment_is_the_decode_case(sees=lambda j: Before(j, before + i)):
    """With c keys in the cache, query i of T sees c + i keys: what it saw when it was the last, alone."""
    keys = before + i + after
    masked = Sum(exp(s[j]) * sees(j) * v[j], (j, 1, keys)) / Sum(exp(s[j]) * sees(j), (j, 1, keys))
    alone = Sum(exp(s[j]) * v[j], (j, 1, before + i)) / Sum(exp(s[j]), (j, 1, before + i))
    return equal(masked, eq(alone, "r of T = i + r queries come later, their keys are hidden; S − T = c"))
