r"""Cross-entropy after softmax: the gradient every language model is trained with.

Article papers/loss.md, code reference/loss.py, laws verify/loss.py.
"""

from sympy import Derivative, IndexedBase, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import eq, equal

n = Symbol("n", integer=True, positive=True)
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
z, y = IndexedBase("z", real=True), IndexedBase("y", real=True)
s = Symbol("s", real=True)

total = Sum(exp(z[j]), (j, 1, n))


@claim(
    source="bishop2006pattern, §4.3.4 eq. (4.109)",
    code="reference.loss.cross_entropy_gradient",
    computes="sum(y[i] * cross_entropy_gradient(z[None], torch.tensor([i]))[0, k] for i in range(len(y)))",
    given={s: 1},
    sums={Sum(y[i], (i, 1, n)): s},
    for_all={k: n},
    mistakes={
        "the sign": {"slope": y[k] - exp(z[k]) / total},
        "softmax applied twice": {"p": lambda i: exp(exp(z[i]) / total) / Sum(exp(exp(z[j]) / total), (j, 1, n))},
        "the normalizer is taken for a constant": {"slope": -y[k]},
        "base-two logarithm": {"unit": log(2)},
    },
)
def cross_entropy_gradient_is_p_minus_y(p=lambda i: exp(z[i]) / total, slope=exp(z[k]) / total - y[k], unit=1):
    """The gradient of −Σ yᵢ log softmax(z)ᵢ by the logits is p − y, for every target y that sums to one."""
    return equal(
        Derivative(-Sum(y[i] * log(p(i)) / unit, (i, 1, n)), z[k]),
        eq(
            Derivative(-Sum(y[i] * z[i], (i, 1, n)) + Sum(y[i], (i, 1, n)) * log(total), z[k]),
            "log p_i = z_i − log Σ exp z",
        ),
        eq(-y[k] + Sum(y[i], (i, 1, n)) * exp(z[k]) / total, "the derivative of log Σ exp is softmax"),
        eq(slope, "the targets sum to one"),
    )
