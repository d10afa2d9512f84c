r"""What differentiation costs: operations forward and back, what a tape keeps, and how near a finite difference comes.

The reverse rules of reference/autodiff_rules.py are written once more, on expressions that count their operations: the
same program is proved to be the slope times what comes back, and gives the numbers of the cost formulas. An operation
is one of + − × ÷ or one elementary function of one number; a change of sign is not counted.
Article papers/autodiff.md, laws verify/autodiff.py, measured in bench/autodiff.py.
"""

from __future__ import annotations

from sympy import Derivative, IndexedBase, S, Sum, Symbol, cos, exp, log, sin, sqrt

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, induct, le

a, b = (Symbol(name, positive=True) for name in "ab")
g, p = (Symbol(name, real=True) for name in "gp")


class Counted:
    """An expression, and how many operations made it."""

    def __init__(self, expr, steps=0):
        self.expr, self.steps = S(expr), steps

    def by(self, other, combine):
        other = other if isinstance(other, Counted) else Counted(other)
        return Counted(combine(self.expr, other.expr), self.steps + other.steps + 1)

    def __add__(self, other):
        return self.by(other, lambda x, y: x + y)

    def __sub__(self, other):
        return self.by(other, lambda x, y: x - y)

    def __mul__(self, other):
        return self.by(other, lambda x, y: x * y)

    def __truediv__(self, other):
        return self.by(other, lambda x, y: x / y)

    def __neg__(self):
        return Counted(-self.expr, self.steps)

    def through(self, function):
        """An elementary function of it."""
        return Counted(function(self.expr), self.steps + 1)


def tanh(x):
    return (exp(x) - exp(-x)) / (exp(x) + exp(-x))


RULES = {
    "sum": (lambda a, b: a + b, lambda g, y, a, b: (g, g)),
    "difference": (lambda a, b: a - b, lambda g, y, a, b: (g, -g)),
    "product": (lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a)),
    "quotient": (lambda a, b: a / b, lambda g, y, a, b: (g / b, -(g * y / b))),
    "power": (
        lambda a: a.through(lambda x: x**p),
        lambda g, y, a: (g * (Counted(p) * a.through(lambda x: x ** (p - 1))),),
    ),
    "exp": (lambda a: a.through(exp), lambda g, y, a: (g * y,)),
    "log": (lambda a: a.through(log), lambda g, y, a: (g / a,)),
    "sin": (lambda a: a.through(sin), lambda g, y, a: (g * a.through(cos),)),
    "cos": (lambda a: a.through(cos), lambda g, y, a: (g * -a.through(sin),)),
    "tanh": (lambda a: a.through(tanh), lambda g, y, a: (g * (Counted(1) - y * y),)),
    "sqrt": (lambda a: a.through(sqrt), lambda g, y, a: (g / (Counted(2) * y),)),
}
"""Operation: what it computes, and what it sends back to each operand when g has come to its result y."""


def ran(name, rules=RULES):
    """(operands, result, what goes back) of a rule run once on symbols, the result being given to the way back."""
    forward, back = rules[name]
    operands = [Counted(s) for s in (a, b)[: forward.__code__.co_argcount]]
    y = forward(*operands)
    return operands, y, back(Counted(g), Counted(y.expr), *operands)


def cost(name, rules=RULES):
    """Operations forward, operations on the way back, and additions into what operands have received."""
    operands, y, sent = ran(name, rules)
    return y.steps, sum(one.steps for one in sent), len(operands)


@claim(
    source="griewank2008evaluating, §3.2; baydin2018automatic, §3.2",
    code="reference.autodiff_rules.tanh",
    mistakes={
        "the slope of tanh in terms of its input": {
            "rules": RULES | {"tanh": (RULES["tanh"][0], lambda g, y, a: (g * (Counted(1) - a * a),))}
        },
        "the sign of the quotient's second slope": {
            "rules": RULES | {"quotient": (RULES["quotient"][0], lambda g, y, a, b: (g / b, g * y / b))}
        },
        "what comes back is not multiplied by the slope": {
            "rules": RULES | {"exp": (RULES["exp"][0], lambda g, y, a: (g,))}
        },
        "the power is not lowered": {
            "rules": RULES
            | {"power": (RULES["power"][0], lambda g, y, a: (g * (Counted(p) * a.through(lambda x: x**p)),))}
        },
        "the slope of sqrt without the half": {"rules": RULES | {"sqrt": (RULES["sqrt"][0], lambda g, y, a: (g / y,))}},
    },
)
def reverse_rules_send_back_slopes(rules=RULES):
    """Every operation sends back, to each operand, what came to its result times its slope by that operand."""
    parts = []
    for name in rules:
        operands, y, sent = ran(name, rules)
        for operand, one in zip(operands, sent, strict=True):
            goal = g * Derivative(y.expr, operand.expr)
            parts.append(equal(goal, eq(one.expr, name)))
    return tuple(parts)


A, M, Q, F = (Symbol(name, integer=True, nonnegative=True) for name in "AMQF")
n, m, D, L, B, e = (Symbol(name, integer=True, positive=True) for name in "nmDLBe")
i, j, k, l = (Symbol(name, integer=True, positive=True) for name in "ijkl")
t, q, saved = (Symbol(name, integer=True, nonnegative=True) for name in "tqr")
FUNCTIONS = ("power", "exp", "log", "sin", "cos", "tanh", "sqrt")
COUNTS = {name: sum(cost(name)) for name in RULES}
SHARED = RULES | {"quotient": (RULES["quotient"][0], lambda g, y, a, b: (g / b, -(Counted(g.expr / b.expr) * y)))}


def whole(counts):
    """Forward, back and adding up, of A sums and differences, M products, Q quotients and F functions of one number."""
    dearest = max(counts[name] for name in FUNCTIONS)
    return A * max(counts["sum"], counts["difference"]) + M * counts["product"] + Q * counts["quotient"] + F * dearest


@claim(
    source="baur1983complexity; griewank2008evaluating, §3.3",
    code="reference.autodiff_tape.gradient",
    given={saved: A + M + Q + F + q},
    mistakes={
        "three times, as for a product of matrices": {"times": 3},
        "a sweep for every input": {"sweeps": q + 1},
        "each matrix has its own sweep, with its own product AB": {"products": 4},
    },
)
def gradient_costs_a_small_multiple_of_the_function(times=5, sweeps=1, products=3):
    """Function and gradient together take at most 5 times the operations of the function, for any number of inputs."""
    steps = A + M + Q + F
    shared = {name: sum(cost(name, SHARED)) for name in SHARED}
    pair = (Sum(2, (j, 1, n), (k, 1, D), (i, 1, m)), Sum(2, (i, 1, m), (j, 1, n), (k, 1, D)))
    return (
        below(
            whole(COUNTS), le(6 * steps, "every rule: forward, back and added to what came before", by=3 * A + M + F)
        ),
        below(
            sweeps * (whole(COUNTS) - saved),
            le(
                times * steps,
                "what comes first to each of q + 1 inputs and of all results but the last is not added to anything",
                by=3 * A + M + F + q,
            ),
        ),
        below(
            whole(shared) - saved,
            le(4 * steps, "Baur and Strassen: ȳ/b is computed once for both operands of a/b", by=2 * A + q),
        ),
        equal(
            Sum(2, (k, 1, D), (j, 1, n), (i, 1, m)) + pair[0] + pair[1],
            eq(products * 2 * m * n * D, "a product of matrices, y = AB, then ȳBᵀ and Aᵀȳ: three times"),
        ),
    )


def one_sweep(n, m):
    """Multiplications and additions that take a vector through Jacobians D × n, L times D × D, and m × D."""
    middle = Sum(2, (j, 1, D), (i, 1, D), (k, 1, L))
    return Sum(2, (j, 1, n), (i, 1, D)) + middle + Sum(2, (j, 1, D), (i, 1, m))


@claim(
    source="griewank2008evaluating, §3.1 and §3.2; baydin2018automatic, §3.2",
    code="reference.autodiff.jacobian",
    mistakes={
        "reverse mode also runs once for every input": {"back": n},
        "forward mode runs once for every output": {"runs": m},
        "one number back costs as much as forward for all inputs": {"gain": 1},
    },
)
def forward_costs_inputs_reverse_costs_outputs(runs=n, back=m, gain=n):
    """A Jacobian of m outputs by n inputs takes n runs forward or m sweeps back; a run costs what a sweep does."""
    vector = 2 * (n * D + L * D**2 + m * D)
    return (
        equal(Sum(one_sweep(n, m), (l, 1, runs)), eq(n * vector, "a column for each input, pushed through all layers")),
        equal(Sum(one_sweep(m, n), (l, 1, back)), eq(m * vector, "a row for each output, through the transposes")),
        equal(
            Sum(one_sweep(n, 1), (l, 1, runs)) / one_sweep(1, n),
            eq(gain, "one output, a loss: its gradient is one row"),
        ),
    )


kept = IndexedBase("M", real=True)


@claim(
    source="griewank2008evaluating, §4.2; baydin2018automatic, §3.2",
    code="reference.autodiff_tape.Tape",
    mistakes={
        "what tanh is given is kept too": {"new": 2 * B * D * e},
        "the weights are kept once more": {"new": B * D * e + D**2 * e},
        "the last layer alone is kept": {"new": 0},
        "the input is not kept": {"first": 0},
    },
)
def stored_activations_grow_with_depth(new=B * D * e, first=B * D * e):
    """After t layers tanh(xW + b) of B rows of D a tape keeps (t + 1)BDe bytes; forward mode carries 2BDe on."""
    return (
        induct(
            kept,
            t,
            start=first,
            step=kept[t] + new,
            closed=lambda t: (t + 1) * B * D * e,
            reason="the product reads its input, which is there; tanh reads its result, the next input; + b none",
        ),
        below(
            2 * B * D * e,
            le((t + 2) * B * D * e, "value and tangent; a tape of t + 1 layers never keeps less", by=t * B * D * e),
        ),
    )


u, x, s = (Symbol(name, positive=True) for name in "uxs")
h, third = Symbol("h", real=True, nonzero=True), Symbol("M", real=True)
value, slope, bend, right, left = (Symbol(name, real=True) for name in ("f_0", "f_1", "f_2", "r", "l"))


@claim(
    source="press2007numerical, §5.7",
    code="reference.autodiff.check_gradient",
    given={third: 3 * u / x**3},
    mistakes={
        "the error of a one-sided difference": {"back": 0},
        "at the best step both errors are equal": {"least": 2 * u / x},
        "the error grows like h": {"order": 1},
    },
)
def central_difference_has_a_best_step(back=1, least=3 * u / (2 * x), order=2):
    """A central difference errs by Mh²/6, M the third derivative, and u/h, u the error of f: best at h = (3u/M)^⅓."""

    def taylor(step, error):
        """f at a step, up to the third derivative, and an error that vanishes faster."""
        return value + slope * step + bend * step**2 + (third / 6 + error) * step**3

    return (
        equal(
            (taylor(h, right) - taylor(-back * h, left)) / ((1 + back) * h),
            eq(
                slope + third * h**order / 6 + (right + left) * h**2 / 2,
                "Taylor, r and l vanish with h: even powers of h cancel",
            ),
        ),
        below(
            u / (s * x) + third * (s * x) ** 2 / 6,
            ge(
                least,
                "at s times the step x for which M = 3u/x³; equality at s = 1",
                by=u / x * (s - 1) ** 2 * (s + 2) / (2 * s),
            ),
        ),
    )
