r"""Floating-point formats and rounding to them: what few bits can hold, where they lose a number, and rounding by lot.

A format has m bits of mantissa and the bias b; a code has the exponent field f and the mantissa field k. Sums are in
precision_sums.py, scales in precision_training.py and precision_blocks.py. Article papers/precision.md, code
reference/precision_formats.py, laws verify/precision.py.
"""

from sympy import IndexedBase, Rational, S, Sum, Symbol

from derivations.claim import claim
from derivations.expectation import E, Law, Var
from derivations.forms import below, eq, equal, expect, finite, ge, induct, le

m, b, f, k = (Symbol(name, integer=True, nonnegative=True) for name in "mbfk")
e, top, zeroth, fields, mantissas = (Symbol(name, integer=True) for name in ("e", "t", "f_0", "F", "K"))
n, i = (Symbol(name, integer=True, positive=True) for name in "ni")
largest, least, normal, roundoff = (Symbol(name, real=True) for name in ("largest", "least", "normal", "u"))
half = Rational(1, 2)


def number(f, k, first=1):
    """What a code means with the one before the point."""
    return (1 + k / 2**m) * 2 ** (f - b)


def formats(of_e4m3):
    """(e, m, b, first normal field, fields and mantissas that the largest number leaves out, and what that makes)."""
    rows = {
        "fp32": (8, 23, 127, 1, 1, 0, (2 - Rational(1, 2**23)) * 2**127, Rational(1, 2**126), Rational(1, 2**149)),
        "tf32": (8, 10, 127, 1, 1, 0, (2 - Rational(1, 2**10)) * 2**127, Rational(1, 2**126), Rational(1, 2**136)),
        "bf16": (8, 7, 127, 1, 1, 0, (2 - Rational(1, 2**7)) * 2**127, Rational(1, 2**126), Rational(1, 2**133)),
        "fp16": (5, 10, 15, 1, 1, 0, 65504, Rational(1, 2**14), Rational(1, 2**24)),
        "e5m2": (5, 2, 15, 1, 1, 0, 57344, Rational(1, 2**14), Rational(1, 2**16)),
        "e4m3": (4, 3, 7, 1, 0, 1, 448, Rational(1, 2**6), Rational(1, 2**9)),
        "e2m1": (2, 1, 1, 1, 0, 0, 6, 1, half),
        "e8m0": (8, 0, 127, 0, 1, 0, 2**127, Rational(1, 2**127), Rational(1, 2**127)),
    }
    letters = (e, m, b, zeroth, fields, mantissas, largest, normal, least)
    cases = {name: dict(zip(letters, map(S, values), strict=True)) for name, values in rows.items()}
    cases["e4m3"] |= of_e4m3
    return [case | {roundoff: Rational(1, 2 ** (case[m] + 1))} for case in cases.values()]


@claim(
    source="ieee2019float, §3.4; micikevicius2022fp8, Table 1; rouhani2023microscaling, Table 1",
    code="reference.precision.FORMATS",
    mistakes={
        "the bias is one too large": {"bias": 2 ** (e - 1)},
        "E4M3 with infinities: the highest field is lost, and 240 the largest": {
            "of_e4m3": {fields: S.One, mantissas: S.Zero}
        },
        "E4M3 without its NaN": {"of_e4m3": {mantissas: S.Zero}},
        "subnormal numbers have the exponent −b": {"deepest": -b},
        "the one before the point is forgotten": {"value": lambda f, k: k / 2**m * 2 ** (f - b)},
        "u is the distance from one to the next number": {"part": 1},
    },
)
def format_limits(bias=2 ** (e - 1) - 1, of_e4m3=None, deepest=1 - b, value=number, part=half):
    """A format's largest number, least normal and subnormal one, and u follow from its bits; the codes leave no gap."""
    cases = formats(of_e4m3 or {})
    subnormal = k / 2**m * 2**deepest
    return (
        finite(bias, eq(b, "the bias of all eight"), cases=cases),
        finite(
            value(2**e - 1 - fields, 2**m - 1 - mantissas),
            eq(largest, "the highest code is left out for NaN, the highest field for infinity and NaN, or none"),
            cases=cases,
        ),
        finite(value(zeroth, 0), eq(normal, "the first normal field is one; without a sign zero"), cases=cases),
        finite(2 ** (zeroth - b - m), eq(least, "and a step of that field is the least number"), cases=cases),
        finite(part * 2 ** (-m), eq(roundoff, "u: half a step, at one"), cases=cases),
        equal(
            value(f, 2**m - 1) + 2 ** (f - b - m),
            eq(value(f + 1, 0), "a step beyond the last mantissa is the first of the next field: one code is added"),
        ),
        equal(
            subnormal.xreplace({k: 2**m - 1}) + 2 ** (1 - b - m),
            eq(value(1, 0), "and of the subnormal numbers, the first normal one: down to zero all steps are equal"),
        ),
        below(
            2 ** (f - b - m) / 2,
            le(
                value(f, k) / 2 ** (m + 1),
                "half a step is at most u times the number: the relative error of rounding",
                by=2 ** (f - b) * k / 2**m / 2 ** (m + 1),
            ),
        ),
    )


s, d, tie = Symbol("s", real=True), Symbol("d", nonnegative=True), Symbol("o", real=True)
scale = Symbol("S", positive=True)


@claim(
    source="ieee2019float, §4.3.1; micikevicius2018mixed, §3.2",
    code="reference.precision.encode",
    given={tie: 0},
    mistakes={
        "whatever is below the least number": {"edge": s},
        "whatever is not normal (flushed)": {"edge": s * 2**m, "half_of": 2**m},
        "a scale divides the loss": {"scaled": lambda x: x / scale},
    },
)
def underflow_threshold(edge=s / 2, half_of=half, scaled=lambda x: scale * x):
    """To the nearest, ties to even, all magnitudes up to half the least number become zero; a scale S divides that."""
    cases = [
        {b: 15, m: 10, roundoff: Rational(1, 2**25)},
        {b: 127, m: 7, roundoff: Rational(1, 2**134)},
        {b: 15, m: 2, roundoff: Rational(1, 2**17)},
        {b: 7, m: 3, roundoff: Rational(1, 2**10)},
        {b: 127, m: 23, roundoff: Rational(1, 2**150)},
    ]
    return (
        below(
            edge - d,
            le(s - (edge - d), "d below the edge a number is no farther from zero than from s", by=2 * d),
        ),
        below(
            edge + d,
            ge(s - (edge + d), "d above it, no farther from s than from zero", by=2 * d),
        ),
        equal(
            s - (edge + tie),
            eq(s / 2, "and at the edge (o = 0) it is as far from s as from zero, which has the even code: 0, s has 1"),
        ),
        finite(
            half_of * 2 ** (1 - b - m),
            eq(roundoff, "fp16 2⁻²⁵, bf16 2⁻¹³⁴, e5m2 2⁻¹⁷, e4m3 2⁻¹⁰, fp32 2⁻¹⁵⁰"),
            cases=cases,
        ),
        below(
            scaled(s / (2 * scale) - d),
            le(s / 2, "and what is d below s/2S becomes zero even when it comes S times as large", by=scale * d),
        ),
    )


low, q = Symbol("l", real=True), Symbol("q", real=True, nonzero=True)
x, g = Symbol("x", real=True), Symbol("g", nonnegative=True)
error = IndexedBase("r", real=True)
bias_, corr = Symbol("mu", real=True), Symbol("c", real=True)


@claim(
    source="gupta2015limited, §3.1",
    code="reference.precision.stochastic_round",
    given={bias_: 0, corr: 0},
    mistakes={
        "up or down, one as likely as the other": {"up": half},
        "the farther neighbour is the more likely": {"up": 1 - (x - low) / q},
        "the nearer one is taken": {"up": 0},
        "the errors add up as those of one sign": {"summed": n**2 * (q**2 / 4 - g)},
        "the variance of a uniform error": {"most": Rational(1, 12)},
    },
)
def stochastic_rounding_is_unbiased(up=(x - low) / q, summed=n * (q**2 / 4 - g), most=Rational(1, 4)):
    """Rounded up with the probability (x − l)/q, x keeps its mean; n errors have the variance nq²/4 at most."""
    errors = Law(error, n, i, bias_, q**2 / 4 - g, corr)
    mean = (1 - up) * low + up * (low + q)
    return (
        equal(mean, eq(x, "l and l + q are the neighbours of x: l + q(x − l)/q")),
        equal(
            (1 - up) * (low - x) ** 2 + up * (low + q - x) ** 2,
            eq((x - low) * (low + q - x), "the variance: zero at either neighbour"),
        ),
        below(
            (x - low) * (low + q - x),
            le(most * q**2, "and largest in the middle", by=(x - low - q / 2) ** 2),
        ),
        expect(
            E(Sum(error[i], (i, 1, n))),
            eq(0, "the errors r of n numbers have mean zero, so that their sum has: no drift"),
            laws=(errors,),
        ),
        expect(
            Var(Sum(error[i], (i, 1, n))),
            eq(summed, "drawn apart, their variances add, each g below q²/4"),
            laws=(errors,),
        ),
        below(n * (q**2 / 4 - g), le(n * q**2 / 4, "√n q/2, where errors of one sign may come to nq/2", by=n * g)),
    )


t = Symbol("t", integer=True, nonnegative=True)
weight, step, started = Symbol("w", real=True), Symbol("q", real=True), Symbol("start", real=True)
spare, W = Symbol("d", positive=True), IndexedBase("W", real=True)
ratio = Symbol("r", real=True)


@claim(
    source="micikevicius2018mixed, §3.1; gupta2015limited, §3.1",
    code="reference.precision.rounded",
    given={started: weight},
    mistakes={
        "an update is lost when it is less than a whole step": {"update": step - spare},
        "lost once, but what is lost adds up": {"kept": lambda w: w + step / 2 - spare},
        "the copy of full precision drifts by half a step": {"drift": lambda t: t * step / 2},
        "half a step is the last bit": {"half_step": 2 ** (-m)},
    },
)
def small_updates_are_lost(
    update=step / 2 - spare, kept=lambda w: w, drift=lambda t: t * (step / 2 - spare), half_step=2 ** (-m) / 2
):
    """A weight does not move by updates below half of its step, however many; a copy in full precision moves by all."""
    cases = [{m: S(10), ratio: S(2**11)}, {m: S(7), ratio: S(2**8)}]
    return (
        below(update, le(step - update, "w + update is nearer to w than to the next number, w + q", by=2 * spare)),
        induct(W, t, start=started, step=kept(W[t]), closed=lambda t: weight, reason="so it is rounded to w again"),
        induct(
            W,
            t,
            start=started,
            step=W[t] + step / 2 - spare,
            closed=lambda t: weight + drift(t),
            reason="the master copy is rounded only for use, and stochastic rounding has this mean",
        ),
        finite(1 / half_step, eq(ratio, "w = 1: updates below 1/2048 of it in fp16, 1/256 in bf16"), cases=cases),
    )
