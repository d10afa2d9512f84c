r"""Rotary positions: each pair of coordinates turns by position × frequency.

We write a query as pairs (a_k, b_k), a key as pairs (c_k, e_k); θ_k is the frequency of pair k, m and n positions.
Article papers/rope.md, code reference/rope.py, laws verify/rope.py.
"""

from sympy import I, IndexedBase, KroneckerDelta, Rational, Sum, Symbol, cos, exp, sin

from derivations.claim import claim
from derivations.forms import eq, equal, finite, ne

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


j = Symbol("j", integer=True, positive=True)
f, g, u, v, cosine, sine = (Symbol(name, real=True) for name in ("f", "g", "u", "v", "c", "s"))


def at(k, table):
    """Coordinate k of the vector that a permutation makes of the pairs' first (or second) coordinates."""
    return Sum(KroneckerDelta(j, k) * table[j], (j, 1, K))


@claim(
    source="su2021roformer, §3.4.2; black2022neox, §2.1.1 (whose code has the other layout)",
    code="reference.rope.rotate",
    computes="theta = frequencies(2 * P); q, k_ = torch.cat([a, b])[None], torch.cat([c, e])[None]; "
    "rotate(q, torch.tensor([m]), layout='half')[0] @ rotate(k_, torch.tensor([n]), layout='half')[0]",
    mistakes={
        "the keys' weights keep the other layout: first and second exchanged": {"keys": (e, c)},
        "the pairs are put in reverse order, the frequencies are not": {"place": lambda k: K + 1 - k},
        "the second half first: it turns the other way": {"turned": lambda x, y, angle: turn(x, y, -angle)},
    },
)
def rope_layouts_differ_by_a_permutation(keys=(c, e), place=lambda k: k, turned=turn):
    """Coordinates (2k − 1, 2k) moved to (k, P + k), in queries and keys, give the half layout the same scores."""
    q1, q2 = turned(at(place(k), a), at(place(k), b), m * theta[k])
    k1, k2 = turn(at(k, keys[0]), at(k, keys[1]), n * theta[k])
    return equal(
        Sum(q1 * k1, (k, 1, K)) + Sum(q2 * k2, (k, 1, K)),
        eq(
            score(m, n),
            "δ picks what was moved to k; the products of all first coordinates, then of all second, in another order",
        ),
    )


def mixed(f, g, u, v, x, y):
    """A projection of the pair (x, y)."""
    return f * x + g * y, u * x + v * y


@claim(
    source="deepseek2024v2, §2.1.3",
    code="reference.rope.rotate",
    mistakes={
        "they commute": {"gap": 0},
        "they commute if no coordinate is mixed into the other": {"gap": (g + u) * sin(m * theta[1])},
        "they commute if both are scaled alike": {"gap": (f - v) * sin(m * theta[1])},
    },
)
def rope_does_not_commute_with_projection(gap=-(g + u) * a[1] * sin(m * theta[1]) + (f - v) * b[1] * sin(m * theta[1])):
    """Projecting a turned pair is not turning a projected one: only f = v, g = −u, itself a rotation, commutes."""
    x, y = a[1], b[1]
    (px, py), (tx, ty) = mixed(f, g, u, v, x, y), turn(x, y, m * theta[1])
    before, after = turn(px, py, m * theta[1]), mixed(f, g, u, v, tx, ty)
    return (
        equal(
            before[0] - after[0],
            eq(gap, "turned after the projection, less turned before it: what is left does not vanish with the angle"),
        ),
        finite(
            mixed(f, g, u, v, x, y)[0] * cosine - mixed(f, g, u, v, x, y)[1] * sine,
            ne(mixed(f, g, u, v, x * cosine - y * sine, x * sine + y * cosine)[0], "(0, 1), its second half doubled"),
            cases=[{f: 1, g: 0, u: 0, v: 2, x: 0, y: 1, cosine: 0, sine: 1}],
        ),
    )
