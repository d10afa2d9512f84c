r"""What a neural language model can learn, and what it learns nothing about.

Letters as in derivations/mlp.py; y are one-hot codes, p probabilities, b biases, N examples.
Article papers/mlp.md, code reference/mlp.py, laws verify/mlp.py.
"""

from sympy import Derivative, IndexedBase, Integer, KroneckerDelta, Rational, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le
from derivations.positive import TangentGap

V, D, F, N, k = (Symbol(name, integer=True, positive=True) for name in "VDFNk")
c, d, e, f, i, j, l, q, o, r, v, w = (Symbol(name, integer=True, positive=True) for name in "cdefijlqorvw")
t = Symbol("t", integer=True, nonnegative=True)
C, W, x, y, z, b, m = (IndexedBase(name, real=True) for name in "CWxyzbm")
move, shift, message = (IndexedBase(name, real=True) for name in "ghg")
p, rho, spare = IndexedBase("p", positive=True), *(IndexedBase(n, nonnegative=True) for n in ("rho", "sigma"))
mass, gone, slope, direction, bias = (Symbol(name, real=True) for name in ("s", "gone", "slope", "direction", "bias"))
eta, decay, beta, start, a = (Symbol(name, real=True) for name in ("eta", "lambda", "beta", "start", "a"))
s = Symbol("s", nonnegative=True)


def reads(f, code):
    """What unit f of the first layer reads: k embeddings, looked up by one-hot codes."""
    return Sum(Sum(W[f, j, d] * Sum(code(j, v) * C[v, d], (v, 1, V)), (d, 1, D)), (j, 1, k))


def sent(q, code, last=k):
    """What coordinate e of row q gets back: from every position where q stands, what the units there were sent."""
    return Sum(code(j, q) * Sum(message[f] * W[f, j, e], (f, 1, F)), (j, 1, last))


@claim(
    source="bengio2003neural, §2 (features that are not visited); loshchilov2019decoupled, Algorithm 2",
    code="reference.mlp.loss",
    given={gone: 1, slope: 0, direction: 0},
    for_all={q: V, e: D},
    mistakes={
        "the last position overwrites the others": {"back": y[k, q] * Sum(message[f] * W[f, k, e], (f, 1, F))},
        "the rows of all symbols get it": {"back": Sum(Sum(message[f] * W[f, j, e], (f, 1, F)), (j, 1, k))},
        "what is sent to the first layer, without its weights": {"back": Sum(y[j, q], (j, 1, k)) * message[e]},
        "decay is part of the gradient: without one there is none": {"left": lambda t: start},
        "decay without the learning rate": {"left": lambda t: (1 - decay) ** t * start},
    },
)
def unseen_symbols_get_no_gradient(back=sent(q, lambda j, v: y[j, v]), left=lambda t: (1 - eta * decay) ** t * start):
    """A row of the table gets what is sent back to every place of its symbol; one that is never read can only decay."""

    def absent(j, v):
        return y[j, v] * (1 - gone * KroneckerDelta(v, q))

    return (
        equal(
            Derivative(Sum(message[f] * reads(f, lambda j, v: y[j, v]), (f, 1, F)), C[q, e]),
            eq(back, "g_f: the slope of the loss by what unit f reads. Positions share the table: their parts add up"),
        ),
        equal(
            Derivative(Sum(message[f] * reads(f, absent), (f, 1, F)), C[q, e]),
            eq((1 - gone) * sent(q, lambda j, v: y[j, v]), "the codes of a context without symbol q are zero at q"),
            eq(0, "no position reads its row"),
        ),
        induct(
            m,
            t,
            start=0,
            step=beta * m[t] + (1 - beta) * slope,
            closed=lambda t: Integer(0),
            reason="moments of gradients that are all zero are zero, and so is AdamW's direction, 0/(√0 + ε)",
        ),
        induct(
            x,
            t,
            start=start,
            step=(1 - eta * decay) * x[t] - eta * direction,
            closed=left,
            reason="what is left of the row after t steps",
        ),
    )


def moved(i_moves, l_moves):
    """A weighted sum of embeddings, where the one at position i may move by g, the one at l by h."""
    at = x[j, d] + i_moves * KroneckerDelta(j, i) * move[d] + l_moves * KroneckerDelta(j, l) * shift[d]
    return bias + Sum(Sum(W[j, d] * at, (d, 1, D)), (j, 1, k))


def tanh(a):
    return (exp(a) - exp(-a)) / (exp(a) + exp(-a))


@claim(
    source="goodfellow2016deep, §6.1 (XOR); bengio2003neural, §2 (direct connections)",
    code="reference.mlp.logits",
    for_all={i: k, l: k},
    mistakes={
        "a hidden unit is as blind": {"unit": tanh},
        "nor would their squares see it": {"unit": lambda a: a**2},
        "two hyperbolic tangents add up": {"joint": 0},
    },
)
def without_hidden_layer_positions_do_not_interact(unit=lambda a: a, joint=Rational(-27, 85)):
    """By direct connections alone two new symbols change log-odds by a sum of two changes; one tanh sees the pair."""
    return (
        equal(
            unit(moved(1, 1)) - unit(moved(0, 1)) - (unit(moved(1, 0)) - unit(moved(0, 0))),
            eq(0, "W: of two outputs, the difference. What position i contributes does not depend on what stands at l"),
        ),
        finite(
            tanh(2 * a) - tanh(a) - (tanh(a) - tanh(0)),
            eq(joint, "tanh(2 log 2) = 15/17 is not twice tanh(log 2) = 3/5"),
            cases=[{a: log(2)}],
        ),
    )


def direct(w, of=log):
    """The logit of w after c by direct connections with weights log p, where the embedding of c is its one-hot code."""
    return Sum(of(p[d, w]) * KroneckerDelta(c, d), (d, 1, V))


@claim(
    source="bengio2003neural, §2 (direct connections)",
    code="reference.mlp.logits",
    computes="v = len(p); m = init(v, 1, v, 1)._replace(embedding=torch.eye(v).double(), direct=p.log().T[:, None]); "
    "torch.softmax(logits(torch.tensor([[c]]), *m), -1)[0, w]",
    given={mass: 1},
    sums={Sum(p[c, w], (w, 1, V)): mass},
    for_all={c: V, w: V},
    mistakes={
        "probabilities for their logarithms": {"of": lambda p: p},
        "decimal logarithms": {"of": lambda p: log(p) / log(10)},
        "rows and columns change places": {"found": p[w, c]},
    },
)
def bigram_table_is_a_special_case(of=log, found=p[c, w]):
    """One-hot embeddings and direct weights log p give, without a hidden layer, any table p of next symbols."""
    return equal(
        exp(direct(w, of)) / Sum(exp(direct(o, of)), (o, 1, V)),
        eq(p[c, w] / Sum(p[c, o], (o, 1, V)), "the one-hot code picks row c; e^(log p) = p"),
        eq(found, "the row sums to one"),
    )


def share(r, v):
    """The probability of v in row r, whose logits are z without the biases b."""
    return exp(z[r, v] + b[v]) / Sum(exp(z[r, o] + b[o]), (o, 1, V))


@claim(
    source="bishop2006pattern, §4.3.4 eq. (4.109)",
    code="reference.mlp.loss",
    for_all={v: V},
    mistakes={
        "the sign": {"sign": -1},
        "the biases are left out of the prediction": {"p": lambda r, v: exp(z[r, v]) / Sum(exp(z[r, o]), (o, 1, V))},
        "the sum over rows for their mean": {"rows": 1},
        "the loss in bits": {"unit": log(2)},
    },
)
def mean_prediction_is_the_frequency(sign=1, p=share, rows=N, unit=1):
    """A symbol's mean probability is its frequency plus the loss's slope by its bias: equal where training rests."""
    loss = Sum(log(Sum(exp(z[r, o] + b[o]), (o, 1, V))) - Sum(y[r, o] * (z[r, o] + b[o]), (o, 1, V)), (r, 1, N)) / N
    return equal(
        Sum(y[r, v], (r, 1, N)) / rows + sign * Derivative(loss / unit, b[v]),
        eq(Sum(p(r, v), (r, 1, N)) / N, "the slope of each row is p − y, for the bias as for its logit"),
    )


def split(name):
    """A number of either sign as the difference of two nonnegative ones, and their sum: its size, when one is zero."""
    positive, negative = (IndexedBase(name + sign, nonnegative=True) for sign in ("^+", "^-"))
    return lambda f: (positive[f] - negative[f], positive[f] + negative[f], positive[f], negative[f])


@claim(
    source="bengio2003neural, §1.1 (a smooth function of the features)",
    code="reference.mlp.logits",
    mistakes={
        "tanh is taken to be half as steep": {"bound": s / 2},
        "a unit that does not saturate: the exponential": {"unit": exp},
        "signs are left in the bound": {"size": lambda u: u[0]},
        "one of the two sizes is left out": {"size": lambda u: 1},
    },
)
def close_embeddings_give_close_predictions(bound=s, unit=tanh, size=lambda u: u[1]):
    """tanh never rises by more than its argument: embeddings moved by g move a logit by at most Σ|u||w||g|."""
    both = exp(-s) * (TangentGap.of(exp, 0, 2 * s) + 2 * s)  # e^s − e^(−s)
    least, extra = exp(s) + exp(-s) + 2, (exp(a + s / 2) - exp(-a - s / 2)) ** 2
    half = TangentGap.of(lambda x: x * exp(x) - 2 * exp(x), 0, s) / (exp(s) + 1)  # s − 2 tanh(s/2)
    rise, u, w, g = 2 * both / (least + extra), split("u")(f), split("w")(d), split("g")(d)
    return (
        equal(
            unit(a + s) - unit(a),
            eq(rise, "sinh(x − y)/(cosh x cosh y); four times the divisor is a square above its least, at x = −y"),
        ),
        below(rise, ge(0, "it rises", by=rise)),
        below(
            rise,
            le(
                bound, "2 tanh(s/2) at most, and this at most s", by=2 * both * extra / (least * (least + extra)) + half
            ),
        ),
        below(
            Sum(u[0] * rho[f], (f, 1, F)),
            le(
                Sum(size(u) * (rho[f] + spare[f]), (f, 1, F)),
                "a unit whose argument moves by s = ρ + σ rises by ρ; a fall is a rise of −u",
                by=Sum(2 * u[3] * rho[f] + u[1] * spare[f], (f, 1, F)),
            ),
        ),
        below(
            Sum(w[0] * g[0], (d, 1, D)),
            le(
                Sum(size(w) * g[1], (d, 1, D)),
                "s itself: what the embedding's move does to the argument",
                by=2 * Sum(w[2] * g[3] + w[3] * g[2], (d, 1, D)),
            ),
        ),
    )
