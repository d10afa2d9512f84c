r"""Adam's moments: recurrences and closed forms, the bias at the start, and the noise that no correction removes.

Article papers/optimizers.md, code reference/optimizers.py, laws verify/optimizers.py.
"""

from sympy import IndexedBase, Sum, Symbol

from derivations.claim import claim
from derivations.expectation import E, Law, Var
from derivations.forms import below, eq, expect, ge, induct
from derivations.optimizers import UNIT, average, first

t = Symbol("t", integer=True, nonnegative=True)
r, T = (Symbol(name, integer=True, positive=True) for name in "rT")
g, m, v, squared = (IndexedBase(name, real=True) for name in ("g", "m", "v", "y"))
beta, beta1, beta2 = (Symbol(name, real=True) for name in ("beta", "beta_1", "beta_2"))
mean, var, drift, spread = (Symbol(name, real=True) for name in ("mean", "var", "drift", "spread"))

gradients = Law(g, T, r, mean + drift * r, var + spread * r)
second = var + mean**2


@claim(
    source="kingma2015adam, §3 eq. (1)–(4)",
    code="reference.optimizers.adam_update",
    computes="beta = 0.7; drive(adam_init, adam_update, g[:t, None], beta1=beta)[1].m",
    given={first: 0, drift: 0},
    mistakes={
        "the gradient enters with weight one": {"weight": 1},
        "the exponent is one too small": {"bias": 1 - beta ** (T - 1)},
        "the moment is taken for unbiased": {"bias": 1},
        "one minus twice": {"bias": beta**T},
    },
)
def adam_first_moment_bias(weight=1 - beta, bias=1 - beta**T):
    """After T steps from zero Adam's first moment has expectation (1 − β^T) E[g], when E[g] does not change."""
    return (
        induct(
            m,
            t,
            start=first,
            step=beta * m[t] + weight * g[t + 1],
            closed=lambda t: average(lambda r: g[r], t, beta, first),
            reason="unroll: the gradient of step r has since been multiplied t − r times by β",
        ),
        expect(
            E(average(lambda r: g[r], T, beta, first)),
            eq((1 - beta) * mean * Sum(beta ** (T - r), (r, 1, T)), "linearity; m starts at zero; E[g] is constant"),
            eq(bias * mean, "geometric sum"),
            laws=(gradients,),
        ),
    )


@claim(
    source="kingma2015adam, §3 eq. (4)",
    code="reference.optimizers.adam_update",
    computes="beta = 0.7; drive(adam_init, adam_update, g[:t, None], beta2=beta)[1].v",
    given={first: 0, drift: 0, spread: 0},
    mistakes={
        "the square of the moment for the moment of the square": {"square": mean**2},
        "the exponent is one too large": {"bias": 1 - beta ** (T + 1)},
        "the moment is taken for unbiased": {"bias": 1},
    },
)
def adam_second_moment_bias(square=second, bias=1 - beta**T):
    """After T steps from zero Adam's second moment has expectation (1 − β^T) E[g²], when E[g²] does not change."""
    return (
        induct(
            v,
            t,
            start=first,
            step=beta * v[t] + (1 - beta) * g[t + 1] ** 2,
            closed=lambda t: average(lambda r: g[r] ** 2, t, beta, first),
            reason="unroll, as for the first moment",
        ),
        expect(
            E(average(lambda r: g[r] ** 2, T, beta, first)),
            eq((1 - beta) * second * Sum(beta ** (T - r), (r, 1, T)), "linearity; E[g²] = Var g + (E g)² is constant"),
            eq(bias * square, "geometric sum"),
            laws=(gradients,),
        ),
    )


@claim(
    source="kingma2015adam, Algorithm 1",
    code="reference.optimizers.adam_update",
    given={first: 0, drift: 0, spread: 0},
    domains={beta1: UNIT, beta2: UNIT},
    mistakes={
        "no correction": {"correct": lambda beta: 1},
        "one minus twice": {"correct": lambda beta: beta**T},
        "the step counter starts at zero": {"correct": lambda beta: 1 - beta ** (T - 1)},
        "both corrected by β₁": {"correct": lambda beta: 1 - beta1**T},
    },
)
def adam_bias_correction(correct=lambda beta: 1 - beta**T):
    """Divided by 1 − β^T, both of Adam's moments are unbiased at every step T ≥ 1."""
    return tuple(
        expect(
            E(average(lambda r, k=k: g[r] ** k, T, beta, first) / correct(beta)),
            eq((1 - beta) * moment * Sum(beta ** (T - r), (r, 1, T)) / (1 - beta**T), "linearity; m, v start at zero"),
            eq(moment, "the geometric sum is (1 − β^T)/(1 − β)"),
            laws=(gradients,),
        )
        for beta, k, moment in ((beta1, 1, mean), (beta2, 2, second))
    )


p = Symbol("beta", positive=True)
noise, corr = Symbol("s", real=True), Symbol("c", real=True)
squares = Law(squared, T, r, mean, noise, corr)


@claim(
    source="liu2020radam, §3",
    code="reference.optimizers.adam_update",
    given={corr: 0},
    domains={p: UNIT},
    mistakes={
        "the noise of the settled average": {"left": (1 - p) / (1 + p)},
        "every step counts alike": {"left": 1 / T},
        "no correction, and less noise": {"correct": 1},
        "weights averaged, not their squares": {"left": 1},
    },
)
def early_second_moment_is_noisy(left=(1 - p) * (1 + p**T) / ((1 + p) * (1 - p**T)), correct=1 - p**T):
    """After T steps v̂ has the share (1 − β)(1 + β^T)/(1 + β)(1 − β^T) of one square's variance: all of it at T = 1."""
    share = (1 - p) / (1 - p**T)  # that of the newest square; each step back it is multiplied by β
    return (
        expect(
            Var((1 - p) / correct * Sum(p ** (T - r) * squared[r], (r, 1, T))),
            eq(
                noise * share**2 * Sum(p ** (2 * (T - r)), (r, 1, T)),
                "y are the squares of independent gradients: the squares of their weights add",
            ),
            eq(noise * left, "a geometric sum, (1 − β^(2T))/(1 − β²)"),
            laws=(squares,),
        ),
        below(
            share**2 * Sum(p ** (2 * (T - r)), (r, 1, T)),
            ge(
                1 / T,
                "no less than the plain mean of the T squares so far has, as the weights sum to one",
                by=Sum((T * (1 - p) * p ** (T - r) - (1 - p**T)) ** 2, (r, 1, T)) / (T * (1 - p**T)) ** 2,
            ),
        ),
    )
