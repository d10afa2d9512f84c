r"""Rotary frequencies for longer texts: each is multiplied by a factor between one and 1/s.

θ_k is the frequency of pair k, s the stretch, L a length trained on. K coordinates are turned, P = K/2 pairs.
Article papers/rope.md, code reference/rope_scaling.py, laws verify/rope_scaling.py.
"""

from sympy import Abs, S, Sum, Symbol, cos, exp, log, pi, sin

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, le
from derivations.rope import K, a, b, c, e, k, m, n, theta, turn

stretch, base = Symbol("s", positive=True), Symbol("base", positive=True)
L, r = (Symbol(name, integer=True, positive=True) for name in "Lr")
over, later = Symbol("g", nonnegative=True), Symbol("delta", nonnegative=True)
x, i, t = (Symbol(name, real=True) for name in "xit")
low, wide, rho = Symbol("low", real=True), Symbol("wide", positive=True), Symbol("rho", nonzero=True, real=True)
ell = Symbol("ell", real=True)  # the logarithm of the base


def score(query, key):
    """The inner product of the pairs, each turned by its angle."""
    (qa, qb), (kc, ke) = turn(a[k], b[k], query), turn(c[k], e[k], key)
    return Sum(qa * kc + qb * ke, (k, 1, K))


@claim(
    source="chen2023interpolation, §2.3 eq. (4)",
    code="reference.rope.interpolated",
    computes="s = 4.0; theta = frequencies(2 * P); t = interpolated(2 * P, s); "
    "rotate(pairs(a, b), torch.tensor([m]), theta=t)[0] @ rotate(pairs(c, e), torch.tensor([n]), theta=t)[0]",
    mistakes={
        "only the keys are interpolated": {"query": lambda m: m * theta[k]},
        "positions and frequencies both divided": {"query": lambda m: m / stretch * theta[k] / stretch},
        "positions multiplied by the stretch": {"offset": (m - n) * stretch},
    },
)
def interpolation_rescales_positions(query=lambda m: m * (theta[k] / stretch), offset=(m - n) / stretch):
    """Dividing every frequency by s gives the score of positions s times nearer: a longer text looks no longer."""
    dot, cross = a[k] * c[k] + b[k] * e[k], a[k] * e[k] - b[k] * c[k]
    return equal(
        score(query(m), n * (theta[k] / stretch)),
        eq(
            Sum(dot * cos(offset * theta[k]) + cross * sin(offset * theta[k]), (k, 1, K)),
            "the score of RoPE at the offset (m − n)/s, which need not be whole",
        ),
    )


def logarithm(place, changed):
    """log θ at a place between the first pair, 0, and the last, 1: there θ is base^(−(K − 2)/K)."""
    return -place * rho * log(changed)


@claim(
    source="peng2023yarn, definition 1 and §3.3",
    code="reference.rope.ntk",
    computes="s, base, t, rho = 4.0, 50.0, 0.6, 10 / 12; ntk(12, s, base)[3].log()",
    mistakes={
        "the base is multiplied by s": {"power": S.One},
        "the power is (K − 2)/K": {"power": rho},
        "the stretch does not grow with the text": {"now": lambda u: stretch**2 - (stretch - 1)},
        "the stretch applies to short texts too": {"now": lambda u: stretch * u},
    },
)
def ntk_base_change(power=1 / rho, now=lambda u: stretch * u - (stretch - 1)):
    """With base·s^(K/(K − 2)) the first pair turns as before, the last s times slower, others geometrically."""
    return (
        equal(
            logarithm(t, base * stretch**power),
            eq(logarithm(t, base) - t * log(stretch), "ρ = (K − 2)/K: at place t the frequency is divided by s^t"),
        ),
        equal(
            logarithm(1, base * stretch**power),
            eq(
                logarithm(1, base) - log(stretch),
                "the last pair: by s, as under interpolation; the first: by one",
            ),
        ),
        equal(
            now(1 + x),
            eq(1 + stretch * x, "dynamic: for 1 + x times the length trained on; it starts at one, where x is zero"),
        ),
    )


def cut(x):
    """x, but zero below zero and one above one."""
    return (1 + Abs(x) - Abs(x - 1)) / 2


def stretched(kept, s):
    """What a frequency is multiplied by when so much of it is kept."""
    return kept + (1 - kept) / s


@claim(
    source="peng2023yarn, definition 2; meta2024llama31, apply_scaling",
    code="reference.rope.llama3",
    computes="low, wide, g = 0.1, 0.3, 7.0; theta = frequencies(2 * P, 50.0); "
    "llama3(2 * P, 1 + g, L, 50.0, low=low, high=low + wide)[k]",
    for_all={k: K},
    given={i: K * log(L / (2 * pi * r)) / ell},
    mistakes={
        "frequency and wavelength exchanged: the slow pairs stay": {"kept": lambda x: cut(1 - x)},
        "the share is not cut at zero and one": {"kept": lambda x: x},
        "a pair in between is interpolated twice": {"factor": lambda kept, s: (kept + (1 - kept) / s) / s},
        "the stretch multiplies": {"factor": lambda kept, s: kept + (1 - kept) * s},
        "turns of the stretched text decide": {"seen": lambda: L * (1 + over)},
    },
)
def yarn_and_llama3_scaling_interpolate(kept=cut, factor=stretched, seen=lambda: L):
    """Each frequency's factor rises from 1/s to one with the turns that its pair makes in the texts trained on."""
    s = 1 + over
    return (
        equal(
            theta[k] * factor(kept((seen() * theta[k] / (2 * pi) - low) / wide), s),
            eq(
                theta[k] / s + theta[k] * (1 - 1 / s) * cut((L * theta[k] / (2 * pi) - low) / wide),
                "L θ/2π turns: γ is zero up to `low` of them, one from `low + wide` on, and linear between",
            ),
        ),
        finite(factor(kept(x), s), eq(1 / s, "`low` turns, x = 0: the whole stretch"), cases=[{x: 0}]),
        finite(factor(kept(x), s), eq(1, "`low + wide` turns, x = 1: none"), cases=[{x: 1}]),
        below(factor(kept(x), s), ge(1 / s, "and so it is 1/s for fewer turns")),
        below(factor(kept(x), s), le(1, "and one for more")),
        below(
            factor(kept(x), s),
            le(factor(kept(x + later), s), "more turns, a larger factor: |x + δ| + |x − 1| ≥ |x| + |x + δ − 1|"),
        ),
        equal(
            exp(-ell * i / K) * L / (2 * pi),
            eq(
                r, "the number of the pair that makes r turns: YaRN's code lets γ fall linearly in it, and not in turns"
            ),
        ),
    )
