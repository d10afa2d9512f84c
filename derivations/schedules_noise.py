r"""Why the rate must fall: the noise that a constant one leaves, and how one that falls like 1/t averages it away.

The loss is λx²/2, and every gradient has noise ξ. Article papers/schedules.md, code reference/optimizers.py.
"""

from sympy import IndexedBase, Interval, Sum, Symbol, sqrt

from derivations.claim import claim
from derivations.expectation import E, Law, Var
from derivations.forms import eq, expect, induct

t = Symbol("t", integer=True, nonnegative=True)
r, T = (Symbol(name, integer=True, positive=True) for name in "rT")
w, y, noise = (IndexedBase(name, real=True) for name in ("w", "y", "xi"))
eta, lam = (Symbol(name, positive=True) for name in ("eta", "lamda"))
start, var, corr, place = (Symbol(name, real=True) for name in ("start", "var", "c", "x"))
keep, slope = Symbol("k", real=True), Symbol("lamda", real=True)


@claim(
    source="bottou2018optimization, §4.2 Theorem 4.6 (on a quadratic: an equality)",
    code="reference.optimizers.sgd",
    given={slope: (1 - keep) / eta},
    domains={keep: Interval.open(-1, 1)},
    mistakes={
        "it converges, as without noise": {"floor": 0},
        "the floor is proportional to η²": {"floor": eta**2 * var},
        "steps of any length average the noise alike": {"floor": var / slope**2},
        "a step keeps 1 − ηλ of the square": {"power": 1},
    },
)
def constant_rate_stalls_at_the_noise(floor=eta * var / (slope * (2 - eta * slope)), power=2):
    """With noisy gradients λx + ξ and k = 1 − ηλ the mean square of x tends to ησ²/λ(2 − ηλ), and not to zero."""
    law = Law(noise, T, r, 0, var)
    return (
        expect(
            E((place - eta * (slope * place + noise[1])) ** 2),
            eq(keep**power * place**2 + eta**2 * var, "the noise has mean 0 and variance σ², and knows nothing of x"),
            laws=(law,),
        ),
        induct(
            w,
            t,
            start=start,
            step=keep**2 * w[t] + eta**2 * var,
            closed=lambda t: floor + keep ** (2 * t) * (start - floor),
            reason="the mean square w = E x²: the distance to the floor falls by k² a step, and the floor stays",
        ),
    )


@claim(
    source="bottou2018optimization, §4.2 Theorem 4.7; robbins1951stochastic, §2",
    code="reference.optimizers.sgd",
    given={corr: 0},
    mistakes={
        "the rate 1/√t": {"divisor": lambda t: sqrt(t)},
        "a floor as with a constant rate": {"left": var / lam**2},
        "the deviation falls like 1/t": {"left": var / (lam * T) ** 2},
        "the start is remembered": {"first": start - noise[1] / lam},
    },
)
def one_over_t_averages_the_noise(divisor=lambda t: t, left=var / (lam**2 * T), first=-noise[1] / lam):
    """With η = 1/λt the point after t steps is minus the mean of the noise over λ: its mean square is σ²/λ²t."""
    rate = 1 / (lam * divisor(t + 2))
    return (
        induct(
            y,
            t,
            start=first,
            step=y[t] - rate * (lam * y[t] + noise[t + 2]),
            closed=lambda t: -Sum(noise[r], (r, 1, t + 1)) / (lam * (t + 1)),
            reason="the point after step t + 1; the first step, of 1/λ, ends at −ξ/λ wherever it began",
        ),
        expect(
            Var(-Sum(noise[r], (r, 1, T)) / (lam * T)),
            eq(left, "T variances over T²: the noise is drawn anew at every step; there is no floor"),
            laws=(Law(noise, T, r, 0, var, corr),),
        ),
    )
