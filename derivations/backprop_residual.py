r"""What depth does to the gradient when layers add: it passes as it is, and what a branch may take away is bounded.

g is the gradient above a layer x + f(x), and g + b below it, with b what the branch f returns. Layers are counted from
the top, and G_t is the squared length below t of them.
Article papers/backprop.md, code reference/backprop.py, laws verify/backprop.py.
"""

from sympy import Derivative, IndexedBase, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct

n = Symbol("n", integer=True, positive=True)
i, k, l, r = (Symbol(name, integer=True, positive=True) for name in "iklr")
t = Symbol("t", integer=True, nonnegative=True)
g, y, b, J, G = (IndexedBase(name, real=True) for name in ("g", "y", "b", "J", "G"))
d, top = IndexedBase("d", nonnegative=True), Symbol("top", real=True)
share, c, q = Symbol("a", positive=True), Symbol("c", real=True), Symbol("q", real=True)
spare = Symbol("delta", nonnegative=True)


@claim(
    source="he2016identity, §2 eq. (4) and (5)",
    code="reference.backprop_layers.residual_backward",
    computes="residual_backward(g[None], linear_backward, Linear(y[None], J))[0][0, k]",
    given={c: 1 / (1 + share), q: share / (1 + share)},
    for_all={k: n},
    mistakes={
        "the branch's gradient replaces the other": {"identity": 0},
        "the branch lets nothing through": {"branch": 0},
        "as if branches could not take anything away": {"least": 1},
        "the share is paid once, not at every layer": {"left": lambda t: q**2},
    },
)
def residual_keeps_an_identity_path(
    identity=g[k],
    branch=Sum(J[i, k] * g[i], (i, 1, n)),
    least=q**2,
    left=lambda t: q ** (2 * t),
):
    """Through x + f(x) a gradient passes as it is, plus f's; if that is at most c < 1 as long, (1 − c)^t stays."""

    def more(t):
        return q ** (2 * t) * (top + Sum(d[r] / q ** (2 * r), (r, 1, t)))

    return (
        equal(
            Derivative(Sum(g[i] * (y[i] + Sum(J[i, l] * y[l], (l, 1, n))), (i, 1, n)), y[k]),
            eq(identity + branch, "to first order f is its Jacobian J"),
        ),
        induct(
            g,
            t,
            start=top,
            step=g[t] + b[t + 1],
            closed=lambda t: top + Sum(b[r], (r, 1, t)),
            reason="an entry, through t layers: what arrived at the top is there as it was, and b_r from every branch",
        ),
        below(
            Sum((g[i] + b[i]) ** 2, (i, 1, n)),
            ge(
                (1 - c) * Sum(g[i] ** 2, (i, 1, n)) - (1 / c - 1) * Sum(b[i] ** 2, (i, 1, n)),
                "2⟨g, b⟩ ≥ −c‖g‖² − ‖b‖²/c",
                by=Sum((c * g[i] + b[i]) ** 2, (i, 1, n)) / c,
            ),
        ),
        below(
            (1 - c) * top - (1 / c - 1) * (c**2 * top - spare),
            eq(q**2 * top + share * spare, "‖g‖² = top, ‖b‖² = c² top − δ, q = 1 − c"),
            ge(least * top, "a shorter b takes less away: δ ≥ 0", by=share * spare),
        ),
        induct(
            G,
            t,
            start=top,
            step=q**2 * G[t] + d[t + 1],
            closed=more,
            reason="so every layer leaves (1 − c)² of the square, and d more",
        ),
        below(
            more(t),
            ge(left(t) * top, "nothing else is lost", by=q ** (2 * t) * Sum(d[r] / q ** (2 * r), (r, 1, t))),
        ),
    )
