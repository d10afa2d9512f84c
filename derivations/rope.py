r"""Rotary positions: each pair of coordinates turns by position × frequency.

We write a query as pairs (a_k, b_k), a key as pairs (c_k, e_k); θ_k is the frequency of pair k, m and n positions.
Article papers/rope.md, code reference/rope.py, laws verify/rope.py.
"""

from sympy import I, IndexedBase, Rational, Sum, Symbol, cos, exp, sin

from derivations.claim import claim
from derivations.forms import eq, equal

K = Symbol("P", integer=True, positive=True)  # number of pairs: half the head dimension
k = Symbol("k", integer=True, positive=True)
m, n, s = (Symbol(name, integer=True) for name in "mns")
a, b, c, e, theta = (IndexedBase(name, real=True) for name in ("a", "b", "c", "e", "theta"))


def turn(x, y, angle):
    """The pair (x, y) rotated counter-clockwise."""
    return x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle)


def score(m, n, key_angle=lambda n: n * theta[k]):
    """The inner product of a rotated query at m and a rotated key at n."""
    (qa, qb), (kc, ke) = turn(a[k], b[k], m * theta[k]), turn(c[k], e[k], key_angle(n))
    return Sum(qa * kc + qb * ke, (k, 1, K))


@claim(
    source="su2021roformer, §3.2.2 eq. (16)",
    code="reference.rope.rotate",
    computes="theta = frequencies(2 * P); "
    "rotate(pairs(a, b), torch.tensor([m]))[0] @ rotate(pairs(c, e), torch.tensor([n]))[0]",
    mistakes={
        "keys turn the other way": {"key_angle": lambda n: -n * theta[k]},
        "keys use another base": {"key_angle": lambda n: n * theta[k] / 2},
        "keys are not rotated (or decoding restarts their positions at zero)": {"key_angle": lambda n: 0},
    },
)
def rope_score_depends_on_offset(key_angle=lambda n: n * theta[k]):
    """The score of a rotated query at m and key at n is a function of m − n alone: shifting both changes nothing."""
    dot, cross = a[k] * c[k] + b[k] * e[k], a[k] * e[k] - b[k] * c[k]
    return (
        equal(
            score(m, n, key_angle),
            eq(
                Sum(dot * cos((m - n) * theta[k]) + cross * sin((m - n) * theta[k]), (k, 1, K)),
                "angle subtraction: cos(mθ)cos(nθ) + sin(mθ)sin(nθ) = cos((m − n)θ)",
            ),
        ),
        equal(
            score(m + s, n + s, key_angle),
            eq(score(m, n, lambda n: n * theta[k]), "(m + s) − (n + s) = m − n"),
        ),
    )


@claim(
    source="su2021roformer, §3.4.2",
    code="reference.rope.rotate",
    computes="(rotate(pairs(a, b), torch.tensor([m])) ** 2).sum()",
    mistakes={"a sign is lost: no rotation": {"sign": 1}, "the sine at half the angle": {"rate": Rational(1, 2)}},
)
def rope_keeps_norms(sign=-1, rate=1):
    """Rotation leaves the length of every query and key unchanged, at every position."""
    x = a[k] * cos(m * theta[k]) + sign * b[k] * sin(rate * m * theta[k])
    y = a[k] * sin(rate * m * theta[k]) + b[k] * cos(m * theta[k])
    return equal(
        Sum(x**2 + y**2, (k, 1, K)),
        eq(
            Sum((a[k] ** 2 + b[k] ** 2) * (cos(m * theta[k]) ** 2 + sin(m * theta[k]) ** 2), (k, 1, K)),
            "the mixed terms cancel",
        ),
        eq(Sum(a[k] ** 2 + b[k] ** 2, (k, 1, K)), "sin² + cos² = 1"),
    )


@claim(
    source="su2021roformer, §3.2.1 eq. (12)",
    code="reference.rope.rotate",
    computes="theta = frequencies(2 * P); "
    "torch.view_as_complex(rotate(pairs(a, b), torch.tensor([m])).reshape(-1, 2))[k]",
    for_all={k: K},
    mistakes={
        "the complex angle has the other sign": {"angle": -m * theta[k]},
        "the frequency is used without the position": {"angle": theta[k]},
    },
)
def rope_complex_and_real_agree(angle=m * theta[k]):
    """Turning the pair (a, b) is multiplying the complex number a + ib by exp(imθ)."""
    x, y = turn(a[k], b[k], m * theta[k])
    return equal(
        (a[k] + I * b[k]) * exp(I * angle),
        eq((a[k] + I * b[k]) * (cos(m * theta[k]) + I * sin(m * theta[k])), "Euler's formula"),
        eq(x + I * y, "real and imaginary part, a, b and θ being real"),
    )
