r"""What models add to attention, on the way back: a cap on the scores, and a sink, which is a score without a value.

Article papers/attention.md, code reference/attention.py, laws verify/attention.py.
"""

from sympy import Derivative, IndexedBase, S, Sum, Symbol, exp

from derivations.claim import claim
from derivations.forms import eq, equal

n = Symbol("n", integer=True, positive=True)
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
z, u, x, g = (IndexedBase(name, real=True) for name in "zuxg")
sink, c = Symbol("s", real=True), Symbol("C", nonzero=True)

keys = Sum(exp(z[j]), (j, 1, n))
total = exp(sink) + keys
out = Sum(exp(z[j]) * u[j], (j, 1, n)) / total


def capped(x):
    """c·tanh(x/c)."""
    return c * (exp(x / c) - exp(-x / c)) / (exp(x / c) + exp(-x / c))


@claim(
    source="openai2025gptoss, §2.2; gemma2024gemma2, §2; dao2022flashattention, appendix B.2",
    code="reference.backprop_attention.attention_backward",
    computes="one = torch.eye(n).double()[None, None]; "
    "y, cache = attend(z[None, None, None, :n], one, column(u[:n]), sinks=torch.tensor([s]).double(), scale=1.0); "
    "attention_backward(torch.ones(1, 1, 1, 1).double(), cache)[-1][0]",
    for_all={k: n},
    mistakes={
        "the sink learns nothing": {"share": S.Zero},
        "the sign is that of a key": {"share": -exp(sink) / total},
        "weights are made again without the sink": {"whole": keys},
        "D is of the keys' own weights": {"D": out * total / keys},
        "D is left out": {"D": S.Zero},
        "the cap is taken for straight": {"bend": lambda x: S.One},
        "the slope is of the score before the cap": {"bend": lambda x: 1 - (x / c) ** 2},
        "the capped score is not divided": {"bend": lambda x: 1 - capped(x) ** 2},
    },
)
def gradients_of_cap_and_sink(share=exp(sink) / total, whole=total, D=out, bend=lambda x: 1 - (capped(x) / c) ** 2):
    """With D = dO·O a sink gets −p₀D and a capped score z gets p (dO·v − D), of which the cap lets pass 1 − (z/c)²."""
    return (
        equal(
            Derivative(out, sink),
            eq(-share * D, "e^s is in the divisor alone: the value of the sink is zero, and u₀ − D is −D"),
        ),
        equal(
            Derivative(out, z[k]),
            eq(exp(z[k]) / whole * (u[k] - D), "the quotient rule, as without a sink; the divisor has e^s"),
        ),
        equal(
            Sum(exp(z[i]) / total * (u[i] - D), (i, 1, n)),
            eq(share * D, "so a row and its sink sum to zero: softmax does not see a shift of all of them"),
        ),
        equal(
            Derivative(Sum(g[j] * capped(x[j]), (j, 1, n)), x[k]),
            eq(g[k] * bend(x[k]), "what comes to a capped score passes by the slope of tanh"),
        ),
    )
