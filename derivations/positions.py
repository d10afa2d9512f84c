r"""Positions: sinusoids added to embeddings, linear biases added to scores, and what attention sees without either.

Article papers/positions.md, code reference/positions.py, laws verify/positions.py.
"""

from sympy import IndexedBase, KroneckerDelta, Rational, Sum, Symbol, cos, exp, log, pi, sin

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le
from derivations.normal import Before
from derivations.positive import TangentGap

n, D, H, T = (Symbol(name, integer=True, positive=True) for name in "nDHT")  # n: pairs, heads or keys
h, j, k, l = (Symbol(name, integer=True, positive=True) for name in "hjkl")
t, s, u, i = (Symbol(name, integer=True, nonnegative=True) for name in "tsui")
theta, w, m, q, v = (IndexedBase(name, real=True) for name in ("theta", "w", "m", "q", "v"))
a, b, x, wave = (Symbol(name, real=True) for name in ("a", "b", "x", "lambda"))
base, r = Symbol("base", positive=True), Symbol("r", nonnegative=True)


@claim(
    source="vaswani2017attention, §3.5",
    code="reference.positions.sinusoidal",
    computes="theta = frequencies(2 * n); sinusoidal(t + s + 1, 2 * n)[t + s, 2 * k]",
    for_all={k: n},
    mistakes={
        "it turns the other way": {"shift": lambda s: -s * theta[k]},
        "the same angle for every pair": {"shift": lambda s: s * theta[1]},
        "the cosine has a frequency of its own": {"rate": Rational(1, 2)},
    },
)
def sinusoid_shift_is_a_rotation(shift=lambda s: s * theta[k], rate=1):
    """Going s positions on turns every pair (sin, cos) by the same angle sθ, wherever it starts: a linear map."""
    now = sin(t * theta[k]), cos(rate * t * theta[k])
    return (
        equal(
            sin((t + s) * theta[k]),
            eq(cos(shift(s)) * now[0] + sin(shift(s)) * now[1], "angle addition: the coefficients do not contain t"),
        ),
        equal(
            cos(rate * (t + s) * theta[k]),
            eq(cos(shift(s)) * now[1] - sin(shift(s)) * now[0], "angle addition, for the cosine"),
        ),
        equal(
            (cos(shift(s)) * a + sin(shift(s)) * b) ** 2 + (cos(rate * shift(s)) * b - sin(shift(s)) * a) ** 2,
            eq(a**2 + b**2, "sin² + cos² = 1: the map keeps lengths, it is a rotation"),
        ),
    )


def product(t, s, rate=1, weight=1):
    """The inner product of the encodings of two positions."""
    sines, cosines = sin(t * theta[k]) * sin(s * theta[k]), cos(rate * t * theta[k]) * cos(rate * s * theta[k])
    return Sum(sines + weight * cosines, (k, 1, n))


@claim(
    source="vaswani2017attention, §3.5",
    code="reference.positions.sinusoidal",
    computes="theta = frequencies(2 * n); PE = sinusoidal(t + s + 1, 2 * n); PE[t] @ PE[s]",
    mistakes={
        "sines only": {"weight": 0},
        "the cosine has a frequency of its own": {"rate": Rational(1, 2)},
        "sines and cosines weighted differently by a projection": {"weight": 2},
    },
)
def sinusoid_product_depends_on_offset(rate=1, weight=1):
    """The inner product of two encodings depends on how far apart they are, not on where, nor on which is first."""
    return (
        equal(
            product(t, s, rate, weight),
            eq(Sum(cos((t - s) * theta[k]), (k, 1, n)), "cos α cos β + sin α sin β = cos(α − β)"),
        ),
        equal(product(t + u, s + u, rate, weight), eq(product(t, s), "(t + u) − (s + u) = t − s")),
        equal(
            product(t, t - u, rate, weight), eq(product(t, t + u), "the cosine is even: before and after look alike")
        ),
        equal(product(t, t, rate, weight), eq(n, "n = D/2 pairs of length one: all encodings have the same length")),
    )


def wavelength(i, turn=2 * pi, rate=2):
    """Positions until pair i, counted from zero, has made a whole turn."""
    return turn * base ** (rate * i / D)


@claim(
    source="vaswani2017attention, §3.5",
    code="reference.positions.sinusoidal",
    given={wave: wavelength(i)},
    mistakes={
        "the inverse of the frequency, without 2π": {"turn": 1},
        "the exponent is i/D": {"rate": 1},
        "the exponent is 4i/D: the column's index is doubled": {"rate": 4},
        "the progression ends at base·2π": {"last": 2 * pi * base},
    },
)
def wavelengths_are_geometric(turn=2 * pi, rate=2, last=2 * pi * base * base ** (-2 / D)):
    """The wavelengths grow by the factor base^(2/D) from 2π, and stay below base·2π by one such factor."""
    angle = base ** (-2 * i / D)
    return (
        equal(
            sin(x * angle + wave * angle),
            eq(sin(x * angle), "λθ = 2π, a whole turn"),
        ),
        equal(
            cos(x * angle + wave * angle / 2),
            eq(-cos(x * angle), "half a wavelength is half a turn: λ is not a multiple of the period"),
        ),
        induct(
            w,
            i,
            start=2 * pi,
            step=base ** (2 / D) * w[i],
            closed=lambda i: wavelength(i, turn, rate),
            reason="θ falls by the factor base^(−2/D) from pair to pair, so that λ = 2π/θ grows by its inverse",
        ),
        equal(wavelength(D / 2 - 1, turn, rate), eq(last, "of D/2 pairs, counted from zero, the last is D/2 − 1")),
        below(
            exp(r) ** ((D - 2) / D),
            le(
                exp(r),
                "with base = e^r ≥ 1 the last one is below base·2π",
                by=exp(r * (D - 2) / D) * (TangentGap.of(exp, 0, 2 * r / D) + 2 * r / D),
            ),
        ),
    )


@claim(
    source="press2022alibi, §3",
    code="reference.positions.alibi_bias",
    computes="m = alibi_slopes(len(m)); torch.softmax(q[:T] + alibi_bias(len(m), 1, T)[h, 0], 0)[k]",
    for_all={h: H, k: T},
    mistakes={
        "far keys are favoured": {"bias": lambda t, s: m[h] * t - m[h] * s},
        "the bias of a decoded token is zero": {"bias": lambda t, s: 0},
        "the square of the distance": {"bias": lambda t, s: -m[h] * (t - s) ** 2},
        "relative to the length": {"bias": lambda t, s: m[h] * s / t - m[h]},
    },
)
def alibi_depends_on_offset(bias=lambda t, s: m[h] * s - m[h] * t):
    """Under ALiBi shifting all positions changes no weight; slope times key position alone gives the same weights."""

    def weight(k):
        return exp(q[k] + bias(T + u, k + u)) / Sum(exp(q[j] + bias(T + u, j + u)), (j, 1, T))

    return (
        equal(
            weight(k),
            eq(
                exp(q[k] + m[h] * k) / Sum(exp(q[j] + m[h] * j), (j, 1, T)),
                "ms + mu − mT − mu = ms − mT, and −mT, the same for every key of the row, cancels",
            ),
        ),
        equal(
            weight(k) / weight(l),
            eq(exp(q[k] - q[l]) * exp(m[h] * (k - l)), "the odds of two keys gain a factor e^m for every step between"),
        ),
    )


def slope(h, H):
    """ALiBi's slope of head h of H, for H a power of two."""
    return 2 ** (-8 * h / H)


@claim(
    source="press2022alibi, §3 and get_slopes in its code",
    code="reference.positions.alibi_slopes",
    mistakes={
        "the first head has slope one: counted from zero": {"first": 0},
        "one half to the h, however many heads": {"of": lambda h, n: slope(h, 8)},
        "the other heads take the even places, which are taken": {"place": lambda j: 2 * j},
        "the other heads go on in the same progression": {"place": lambda j: 2 * (n + j)},
    },
)
def alibi_slopes_are_geometric(first=1, of=slope, place=lambda j: 2 * j - 1):
    """The slopes of n = 2^k heads fall geometrically to 1/256; the odd ones of 2n heads are their geometric means."""
    return (
        induct(
            m,
            i,
            start=2 ** (-8 / n),
            step=2 ** (-8 / n) * m[i],
            closed=lambda i: of(i + first, n),
            reason="m_i is the slope of head i + 1: each is 2^(−8/n) times the one before it, the first times one",
        ),
        below(
            of(n - i, n),
            ge(
                Rational(1, 256),
                "with i heads to go, equality at i = 0: the last slope is 2^(−8) for every n",
                by=(TangentGap.of(lambda x: 2**x, 0, 8 * i / n) + 8 * log(2) * i / n) / 256,
            ),
        ),
        equal(
            of(place(j), 2 * n) ** 2,
            eq(
                of(j - 1, n) * of(j, n),
                "slope 2j − 1 of 2n heads lies between slopes j − 1 and j of n: other H take H − n of these",
            ),
        ),
    )


def exchanged(term):
    """The sum of term(key, place) over all places, after keys k and l have changed places."""
    at_k, at_l = term(l, k) - term(k, k), term(k, l) - term(l, l)
    return Sum(term(j, j) + KroneckerDelta(j, k) * at_k + KroneckerDelta(j, l) * at_l, (j, 1, n))


@claim(
    source="vaswani2017attention, §3.5; haviv2022nopos, §1",
    code="reference.attention.attention",
    computes="o = list(range(n)); o[k], o[l] = l, k; "
    "attention(column(q * 0 + 1), column(q[o]), column(v[o]), scale=1.0)[0, 0, 0, 0]",
    for_all={k: n, l: n},
    mistakes={
        "the keys change places, their values do not": {"value": lambda key, place: v[place]},
        "a term for the place is added to the scores": {"score": lambda key, place: q[key] + place},
        "the mask hides nothing, and so tells nothing": {"sees": lambda j: 1},
    },
)
def attention_without_positions_is_blind(
    score=lambda key, place: q[key], value=lambda key, place: v[key], sees=lambda j: Before(j, k)
):
    """Keys that change places with their values change nothing for any query; a causal mask tells query k its place."""

    def weight(key, place):
        return exp(score(key, place))

    return (
        equal(
            exchanged(lambda key, place: weight(key, place) * value(key, place)) / exchanged(weight),
            eq(
                Sum(exp(q[j]) * v[j], (j, 1, n)) / Sum(exp(q[j]), (j, 1, n)),
                "both sums have the same terms in another order; exchanges make every order",
            ),
        ),
        equal(
            Sum(exp(a) * sees(j) * v[j], (j, 1, n)) / Sum(exp(a) * sees(j), (j, 1, n)),
            eq(Sum(v[j], (j, 1, k)) / k, "equal scores: query k takes the mean of the k values that it may see"),
        ),
        equal(
            Sum(KroneckerDelta(j, 1), (j, 1, k)) / k,
            eq(1 / k, "a first token whose value differs from all others tells every query its position"),
        ),
    )
