r"""Softmax: its Jacobian, and why subtracting a constant from the logits changes nothing but the exponents' size.

Article papers/softmax.md, code reference/softmax.py, laws verify/softmax.py.
"""

from sympy import Derivative, IndexedBase, KroneckerDelta, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, le
from derivations.positive import TangentGap

n = Symbol("n", integer=True, positive=True)
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
z = IndexedBase("z", real=True)
m = Symbol("m", real=True)
g = IndexedBase("g", nonnegative=True)

total = Sum(exp(z[j]), (j, 1, n))


def softmax(index):
    return exp(z[index]) / total


@claim(
    source="bridle1990softmax, §2",
    code="reference.softmax.softmax_jacobian",
    computes="softmax_jacobian(z)[i, k]",
    for_all={i: n, k: n},
    mistakes={
        "the cross term has the wrong sign": {"cross": softmax(k)},
        "only the diagonal: softmax taken for an elementwise function": {"cross": KroneckerDelta(i, k) * softmax(k)},
        "no cross term": {"cross": 0},
    },
)
def softmax_jacobian(cross=-softmax(k)):
    """The derivative of the i-th softmax probability by the k-th logit is pᵢ(δᵢₖ − pₖ)."""
    return equal(
        Derivative(softmax(i), z[k]),
        eq(
            KroneckerDelta(i, k) * exp(z[i]) / total - exp(z[i]) * exp(z[k]) / total**2,
            "quotient rule; of the sum, only the k-th term depends on z_k",
        ),
        eq(softmax(i) * (KroneckerDelta(i, k) + cross), "factor out p_i"),
    )


@claim(
    source="blanchard2021logsumexp, §1 eq. (1.2)",
    code="reference.softmax.log_sum_exp",
    computes="log_sum_exp(z)",
    mistakes={"the shift is not added back": {"back": 0}, "the shift is subtracted twice": {"back": -m}},
)
def log_sum_exp_is_stable_under_shift(back=m):
    """Any shift m leaves log Σ exp unchanged when added back; with z ≤ m and m attained no exponential exceeds one."""
    gaps = Sum(exp(-g[j]), (j, 1, n))
    return (
        equal(
            log(total),
            eq(log(exp(m) * Sum(exp(z[j] - m), (j, 1, n))), "factor exp(m) out of every term"),
            eq(back + log(Sum(exp(z[j] - m), (j, 1, n))), "the logarithm of a product"),
        ),
        below(
            1 + gaps,
            le(
                1 + n,
                "m − z_j = g_j ≥ 0, and e^(−g) ≤ 1: nothing overflows; the 1 is the term that attains m",
                by=Sum(exp(-g[j]) * (TangentGap.of(exp, 0, g[j]) + g[j]), (j, 1, n)),
            ),
        ),
        below(1 + gaps, ge(1, "the attained maximum contributes exp(0) = 1: the logarithm never sees 0", by=gaps)),
    )
