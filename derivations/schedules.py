r"""Learning-rate schedules: how the rate rises, and the curves it falls along. Why it falls is in schedules_noise.py.

Steps are counted from one: t is the number of the update. Article papers/schedules.md, code reference/schedules.py,
laws verify/schedules.py.
"""

from sympy import Derivative, IndexedBase, Rational, Sum, Symbol, cos, pi, sin, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le

t = Symbol("t", integer=True, nonnegative=True)
r, T, W = (Symbol(name, integer=True, positive=True) for name in "rTW")
x, V = IndexedBase("x", real=True), IndexedBase("V", real=True)
width = Symbol("D", positive=True)
start, place = Symbol("start", real=True), Symbol("x", real=True)
peak, span = Symbol("eta", real=True), Symbol("d", nonnegative=True)
first, last = (Symbol(name, integer=True, positive=True) for name in ("f", "l"))


@claim(
    source="goyal2017accurate, §2.2 (gradual warmup)",
    code="reference.schedules.constant",
    given={start: 0, first: 1, last: W},
    mistakes={
        "the first step has rate zero: everything is a step late": {"at": lambda t: peak * (t - 1) / W},
        "the peak is reached a step after the warm-up": {"at": lambda t: peak * t / (W + 1)},
        "the sum of a triangle, without its last half step": {"whole": peak * W / 2},
        "the rate rises with t²": {"at": lambda t: peak * t**2 / W**2},
    },
)
def warmup_is_linear(at=lambda t: peak * t / W, whole=peak * (W + 1) / 2):
    """During warm-up the rate rises by η/W a step, from η/W at the first to η at step W: (W + 1)/2 steps' worth."""
    return (
        induct(x, t, start=start, step=x[t] + peak / W, closed=at, reason="equal steps, from zero before the first"),
        equal(at(first), eq(peak / W, "the first step, f = 1, is not lost")),
        equal(at(last), eq(peak, "the last step of the warm-up, l = W, has all of it")),
        equal(Sum(at(r), (r, 1, W)), eq(whole, "Σt = W(W + 1)/2: the warm-up costs (W − 1)/2 steps")),
    )


low, theta = Symbol("m", real=True), Symbol("theta", real=True, nonzero=True)
begin, end, middle = (Symbol(name, real=True) for name in ("b", "e", "h"))


def cosine(part):
    """The rate after a share of the way from m + d down to m."""
    return low + span * (1 + cos(pi * part)) / 2


@claim(
    source="loshchilov2017sgdr, eq. (5)",
    code="reference.schedules.cosine",
    given={begin: 0, end: 1, middle: Rational(1, 2)},
    mistakes={
        "a whole period: it ends where it began": {"rate": lambda part: cosine(2 * part)},
        "a quarter period, which is steep at its end": {"rate": lambda part: low + span * cos(pi * part / 2)},
        "without the half": {"rate": lambda part: low + span * (1 + cos(pi * part))},
        "the lowest rate is added on top": {"highest": span},
    },
)
def cosine_meets_its_ends(rate=cosine, highest=low + span):
    """The cosine starts at m + d and ends at m, level at both ends, with half of d gone half-way, and never outside."""
    return (
        equal(rate(begin), eq(highest, "b = 0: cos 0 = 1")),
        equal(rate(end), eq(low, "e = 1: cos π = −1")),
        equal(rate(middle), eq(low + span / 2, "h = 1/2: cos π/2 = 0")),
        equal(Derivative(rate(place), place), eq(-pi * span / 2 * sin(pi * place), "zero at both ends, where sin is")),
        below(
            rate(place),
            ge(low, "(1 + cos)/2 is the square of the cosine of half the angle", by=span * cos(pi * place / 2) ** 2),
        ),
        below(
            rate(place),
            le(low + span, "and what is gone is the square of its sine", by=span * sin(pi * place / 2) ** 2),
        ),
    )


any_span, phi = Symbol("d", real=True), Symbol("phi", real=True)


def so_far(t, theta):
    """The sum of the rates at the angles 0, θ, …, tθ."""
    turned = 1 + cos(t * theta) + sin(t * theta) * cos(theta / 2) / sin(theta / 2)
    return (t + 1) * (low + any_span / 2) + any_span / 4 * turned


@claim(
    source="loshchilov2017sgdr, eq. (5)",
    code="reference.schedules.cosine",
    given={phi: pi / T},
    mistakes={
        "only one of the two ends is counted": {"number": T},
        "the mean of the highest rate and zero": {"mean": (low + any_span) / 2},
        "the antiderivative without the inner slope": {"inner": 1},
    },
)
def cosine_mean_is_half(number=T + 1, mean=low + any_span / 2, inner=pi):
    """The mean of the cosine is m + d/2, over all times, and over the steps 0 … T when both ends are counted."""

    def rate(angle):
        return low + any_span * (1 + cos(angle)) / 2

    integral = mean * place + any_span * sin(pi * place) / (2 * inner)
    return (
        equal(
            Derivative(integral, place), eq(rate(pi * place), "an antiderivative, which grows by m + d/2 from 0 to 1")
        ),
        induct(
            V,
            t,
            start=low + any_span,
            step=V[t] + rate(theta * (t + 1)),
            closed=lambda t: so_far(t, theta),
            reason="summed at the angles 0, θ, …, tθ: a geometric sum of e^(iθ) and of e^(−iθ)",
        ),
        equal(so_far(T, phi) / number, eq(mean, "Tφ = π: cos π = −1, sin π = 0")),
    )


at, rise, gone = (Symbol(name, positive=True) for name in ("t", "W", "s"))


@claim(
    source="vaswani2017attention, §5.3 eq. (3)",
    code="reference.schedules.inverse_square_root",
    given={at: rise},
    mistakes={
        "the warm-up rises by 1/W a step": {"up": lambda t, W: t / W},
        "it falls like 1/t": {"down": lambda t: 1 / t},
        "the width itself, not its root": {"scale": 1 / width},
    },
)
def inverse_square_root_is_continuous(
    up=lambda t, W: t / W ** Rational(3, 2), down=lambda t: 1 / sqrt(t), scale=1 / sqrt(width)
):
    """t/W^(3/2) and 1/√t meet at t = W, in a peak of 1/√W, and the smaller is the first before it, the second after."""
    return (
        equal(scale * up(at, rise), eq(1 / sqrt(width * rise), "at t = W, with Vaswani's factor 1/√D, D the width")),
        equal(scale * down(at), eq(1 / sqrt(width * rise), "so is the other: no jump")),
        below(up(rise, rise + gone) ** 2, le(down(rise) ** 2, "squared, s steps before W' = W + s: W²/W'³ ≤ 1/W")),
        below(down(rise + gone) ** 2, le(up(rise + gone, rise) ** 2, "and s steps after W: 1/(W + s) ≤ (W + s)²/W³")),
        equal(
            rise * Derivative(down(rise), rise),
            eq(-down(rise) / 2, "a step number that grows by 1 % lowers the rate by half a percent"),
        ),
    )


D, N = Symbol("D", positive=True), Symbol("N", real=True)
left, here, there = Symbol("q", nonnegative=True), Symbol("s", real=True), Symbol("t", real=True)


@claim(
    source="hu2024minicpm, §4.2",
    code="reference.schedules.wsd",
    given={here: N - D, there: N},
    mistakes={
        "the decay starts a step late, and jumps": {"fall": lambda t: low + span * (N + 1 - t) / D},
        "it falls to zero, and the lowest rate is forgotten": {"fall": lambda t: (low + span) * (N - t) / D},
        "it falls as if it had all N steps": {"fall": lambda t: low + span * (N - t) / N},
        "worth a third of d": {"worth": low + span / 3},
    },
)
def wsd_is_continuous(fall=lambda t: low + span * (N - t) / D, worth=low + span / 2):
    """A linear decay over the last D of N steps starts at the stable rate m + d, ends at m, and is worth (m + d/2)D."""
    area = low * place - span * (N - place) ** 2 / (2 * D)
    whole = area.xreplace({place: N}) - area.xreplace({place: N - D})
    return (
        equal(fall(here), eq(low + span, "at s = N − D: no jump")),
        equal(fall(there), eq(low, "at the last step, t = N")),
        below(fall(N - left * D), ge(low, "before that, with the share q of the decay left, above m", by=left * span)),
        equal(Derivative(area, place), eq(fall(place), "an antiderivative of the rate")),
        equal(whole, eq(worth * D, "which grows by that much over the D steps")),
    )
