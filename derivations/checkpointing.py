r"""Where to cut a chain that is recomputed: the square root, what does better, and why a table finds the best cuts.

A segment keeps its input; in the backward pass it is run again, and then holds what its layers keep. Layers that are
equal hold one each, and so do inputs, unless sizes are named. What it costs a decoder is in checkpointing_costs.py.
Article papers/checkpointing.md, code reference/checkpointing.py, laws verify/checkpointing.py.
"""

from math import isqrt

from flint import acb
from sympy import Abs, Expr, Function, IndexedBase, Interval, Product, S, Sum, Symbol

from derivations.claim import claim
from derivations.expectation import E, Law
from derivations.forms import Goal, Part, below, eq, equal, expect, ge, induct, le

k, m, n, i, j = (Symbol(name, integer=True, positive=True) for name in "kmnij")
r, s, h = (Symbol(name, integer=True, nonnegative=True) for name in "rsh")
layers, peak, even, a, b, f = (Symbol(name, real=True) for name in ("n", "P", "a_m", "a", "b", "f"))
room, more = (Symbol(name, nonnegative=True) for name in "ud")
p = Symbol("p", nonnegative=True)
short, v = IndexedBase("e", nonnegative=True), IndexedBase("v", real=True)


class Fewest(Function):
    """The least k + ⌈n/k⌉ over k = 1 … n, by trying them all."""

    nargs = 1

    def enumerate_law(self, point, evaluate):
        n = point.integer(self.args[0])
        return acb(min(k + self.rounded(n, k) for k in range(1, n + 1)))

    @staticmethod
    def rounded(n, k):
        return -(-n // k)

    def _latex(self, printer):
        return (
            rf"\min_{{k \ge 1}} \left(k + \left\lceil \frac{{{printer._print(self.args[0])}}}{{k}} \right\rceil\right)"
        )


class RootUp(Function):
    """⌈2√n⌉ = ⌈√(4n)⌉, in whole numbers."""

    nargs = 1

    def enumerate_law(self, point, evaluate):
        return acb(self.rounded(4 * point.integer(self.args[0])))

    @staticmethod
    def rounded(x):
        return isqrt(x - 1) + 1

    def _latex(self, printer):
        return rf"\left\lceil 2 \sqrt{{{printer._print(self.args[0])}}} \right\rceil"


class RootDown(RootUp):
    """⌊2√n⌋."""

    @staticmethod
    def rounded(x):
        return isqrt(x)

    def _latex(self, printer):
        return rf"\left\lfloor 2 \sqrt{{{printer._print(self.args[0])}}} \right\rfloor"


class RootOnce(RootUp):
    """⌈√n⌉."""

    @staticmethod
    def rounded(x):
        return isqrt(x // 4 - 1) + 1

    def _latex(self, printer):
        return rf"\left\lceil \sqrt{{{printer._print(self.args[0])}}} \right\rceil"


class FewestDown(Fewest):
    """The same with ⌊n/k⌋."""

    @staticmethod
    def rounded(n, k):
        return n // k


def least(n: Expr, first: Expr, second: Expr, rest, why: str, fewest, root) -> tuple[Part, Part]:
    """The least count for n ≤ first · second, first and second equal or one apart: their sum, and ⌈2√n⌉.

    `rest` is 4n − (first + second − 1)², positive: a whole number c with c² ≥ 4n is the sum at least.
    """
    total = first + second
    goals = (
        Goal(n, "≤", first * second, first * second - n),
        Goal(4 * n, "≥", (total - 1) ** 2, rest),
        Goal(rest, "≥", S.One, rest - 1),
        Goal(4 * n, "≤", total**2, (first - second) ** 2 + 4 * (first * second - n)),
    )
    parts = tuple(
        Part("below", start, (eq(total, why),), goals, ((start, "=", total),)) for start in (fewest(n), root(n))
    )
    return parts[0], parts[1]


@claim(
    source="chen2016sublinear, §4",
    code="reference.checkpointing.segment_length",
    given={layers: k * m - room},
    mistakes={
        "rounded down: the last layers are in no segment": {"fewest": FewestDown},
        "2√n rounded down": {"root": RootDown},
        "⌈√n⌉: inputs alone are counted": {"root": RootOnce},
        "always twice ⌈√n⌉": {"one": 0},
        "k + m is at least as large as km": {"bound": (k * m) ** 2},
    },
)
def square_root_is_optimal(fewest=Fewest, root=RootUp, one=1, bound=4 * layers):
    """Of n equal layers in k segments of ⌈n/k⌉, k + ⌈n/k⌉ are held: at least ⌈2√n⌉, and for some k no more."""
    square, oblong = r + s + 1, r + s + 2
    even = "if q² − q < n ≤ q²: q segments of q; n = q² − r with r = q − 1 − s"
    uneven = "if (q − 1)² < n ≤ q² − q: q segments of q − 1; n = q² − q − r with r = q − 2 − s"
    return (
        below(
            (k + m) ** 2,
            eq(4 * layers + 4 * room + (k - m) ** 2, "k segments of m layers have room for n = km − u, u ≥ 0"),
            ge(bound, "no k and m do with less than 2√n", by=4 * room + (k - m) ** 2),
        ),
        *least(square**2 - r, square, square, 4 * s + 3, even, fewest, root),
        *least(oblong * (oblong - 1) - r, oblong, oblong - one, 4 * s + 4, uneven, fewest, root),
    )


@claim(
    source="chen2016sublinear, §4",
    code="reference.checkpointing.segmented_peak",
    given={peak: m + 1 + h},
    mistakes={
        "a segment at work does not hold its own input": {"own": 1},
        "every segment could be as long as the first": {"room": lambda j: peak - 1},
        "what equal segments hold: P²/4 layers": {"most": peak**2 / 4},
    },
)
def unequal_segments_need_less(own=0, room=lambda j: peak - j, most=peak * (peak - 1) / 2):
    """A peak of P allows P(P − 1)/2 equal layers, in segments of P − 1, …, 1: √(2n) where equal segments need 2√n."""
    return (
        below(
            Sum(room(j) + own - short[j], (j, 1, m)),
            le(
                Sum(room(j), (j, 1, m)),
                "segment j holds j inputs, as later ones are given back: P − j layers, or e fewer",
                by=Sum(short[j], (j, 1, m)) - own * m,
            ),
        ),
        below(
            Sum(room(j), (j, 1, m)),
            le(most, "of m = P − 1 − h segments, as each has a layer", by=h * (h + 1) / 2),
        ),
        equal(
            Sum(k + 1 - j + own, (j, 1, k)),
            eq((k + 1) * k / 2, "P = k + 1: with no room left, P − 1 segments hold them all"),
        ),
    )


@claim(
    source="chen2016sublinear, §4",
    code="reference.checkpointing.segmented_peak",
    given={even: b * n / m**2},
    mistakes={
        "√n segments, whatever an input takes": {"segments": lambda a: m * a / b},
        "the sizes add": {"size": lambda a: a + b},
        "the larger size decides": {"size": lambda a: b**2},
    },
)
def segments_balance_inputs_and_insides(segments=lambda a: m, size=lambda a: a * b):
    """If an input takes a and a layer b, m segments take ma + nb/m, at least 2√(abn): equal where m² = nb/a."""

    def held(a):
        return segments(a) * a + n * b / segments(a)

    return (
        below(
            held(a) ** 2,
            ge(4 * n * size(a), "the gap is a square", by=(m * a - n * b / m) ** 2),
        ),
        equal(held(even) ** 2, eq(4 * n * size(even), "a = nb/m²: the inputs take as much as a segment's inside")),
    )


def larger(x, y):
    """The larger of two numbers."""
    return (x + y + Abs(x - y)) / 2


through, excess = IndexedBase("theta", positive=True), IndexedBase("Delta", real=True)
worse, any_sign = IndexedBase("e", nonnegative=True), IndexedBase("e", real=True)
start = Symbol("x", nonnegative=True)
t = Symbol("t", integer=True, nonnegative=True)


@claim(
    source="bellman1957dynamic, ch. III",
    code="reference.checkpointing.optimal_segments",
    mistakes={
        "the rest is forgotten: each segment is the best for itself": {"held": lambda x, y: x},
        "what segments hold adds up": {"found": lambda x, y: x + y},
        "the smaller of the two is the peak": {"held": lambda x, y: (x + y - Abs(x - y)) / 2},
        "f(i) is what some cut needs, not the least": {"worse": any_sign},
    },
)
def dynamic_program_is_optimal(found=larger, held=larger, worse=worse):
    """No cutting of a chain has a lower peak than f(i) = aᵢ + min max(inside, f(j)): the best ends in the best."""

    def left(t):
        return Product(through[j], (j, 1, t)) * (start + Sum(worse[i] / Product(through[j], (j, 1, i)), (i, 1, t)))

    return (
        below(
            a + found(b, f - more),
            le(a + held(b, f), "a rest that needs d more than f makes the whole need θd more, and θ is not negative"),
        ),
        induct(
            excess,
            t,
            start=start,
            step=through[t + 1] * excess[t] + worse[t + 1],
            closed=left,
            reason="segment by segment from the end: θ of the excess comes through, and e ≥ 0 is added by a cut that "
            "is not the least; begun behind the last one with θ = 0, where the excess is x = e",
        ),
        below(
            f + left(t),
            ge(f, "no cutting of any chain needs less than f: its excess is not negative", by=left(t)),
        ),
    )


first, second = (Law(IndexedBase(x, real=True), n, i, 1, p / (1 - p)) for x in "xy")


@claim(
    source="chen2016sublinear, §4; srivastava2014dropout, §4",
    code="reference.checkpointing.recomputed",
    domains={p: Interval.Ropen(0, 1)},
    mistakes={
        "the mean of a mask is one, so that any will do": {"same": Sum(v[i] ** 2, (i, 1, n))},
        "kept entries are not scaled": {"same": (1 - p) * Sum(v[i] ** 2, (i, 1, n))},
        "another mask errs, but not on average": {"other": Sum(v[i] ** 2, (i, 1, n)) / (1 - p)},
    },
)
def another_mask_is_another_gradient(same=Sum(v[i] ** 2, (i, 1, n)) / (1 - p), other=Sum(v[i] ** 2, (i, 1, n))):
    """The slope of ½Σ(xv)² under a mask x is Σx²v²; with another, y, in the second run its mean is 1 − p of that."""
    x, y = first.table, second.table
    return (
        expect(
            E(Sum(x[i] ** 2 * v[i] ** 2, (i, 1, n))),
            eq(same, "E[x²] = 1 + Var x: kept with probability 1 − p, and divided by it"),
            laws=(first,),
        ),
        expect(
            E(Sum(x[i] * y[i] * v[i] ** 2, (i, 1, n))),
            eq(other, "E[xy] = E[x] E[y] = 1: what comes back is not the slope of what was computed"),
            laws=(first, second),
        ),
    )
