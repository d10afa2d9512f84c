r"""Flash attention: a softmax in one pass, parts that merge, tiles that give the exact result, and the way back.

What it costs is in derivations/flash_io.py. Article papers/flash.md, code reference/flash.py, laws verify/flash.py.
"""

from sympy import Derivative, IndexedBase, S, Sum, Symbol, exp, log

from derivations.claim import claim
from derivations.forms import below, eq, equal, induct, le
from derivations.positive import TangentGap

n, d, b = (Symbol(name, integer=True, positive=True) for name in ("n", "d", "b"))
a, c = (Symbol(name, integer=True, nonnegative=True) for name in ("a", "c"))
h, i, j, k, r = (Symbol(name, integer=True, positive=True) for name in "hijkr")
t = Symbol("t", integer=True, nonnegative=True)
z, s, v, w, g, top = (IndexedBase(name, real=True) for name in "zsvwgm")
old, new, m = (Symbol(name, real=True) for name in ("m_old", "m_new", "m"))
gap = Symbol("g", nonnegative=True)


@claim(
    source="milakov2018online, §3 theorem 1",
    code="reference.flash.online_softmax",
    computes="part=1; online_softmax(z, block=2)[1]",
    mistakes={
        "the sum is not rescaled": {"shrink": S.One},
        "rescaled the wrong way round": {"shrink": exp(new - old)},
        "the maximum is not updated": {"shift": old},
        "the new part is added without its shift": {"shift": S.Zero},
        "the maximum is not added back": {"back": S.Zero},
        "the maximum is added back twice": {"back": 2 * m},
    },
)
def online_softmax_merge(shrink=exp(old - new), shift=new, back=m):
    """A sum shifted by an old maximum, times e^(old − new), and the part that came make the sum shifted by the new."""
    both = Sum(exp(z[j] - new), (j, 1, a + c))
    return (
        equal(
            shrink * Sum(exp(z[j] - old), (j, 1, a)) + Sum(exp(z[a + j] - shift), (j, 1, c)),
            eq(both, "e^(z − old) e^(old − new) = e^(z − new), whatever the two shifts are"),
            eq(exp(-new) * Sum(exp(z[j]), (j, 1, a + c)), "one factor, which a quotient does not see"),
        ),
        equal(
            back + log(Sum(exp(z[j] - m), (j, 1, n))),
            eq(log(Sum(exp(z[j]), (j, 1, n))), "log Σ e^z is what is kept: whatever the maximum was"),
        ),
        below(
            exp(m - (m + gap)),
            le(1, "a maximum only rises: what is rescaled shrinks", by=exp(-gap) * (TangentGap.of(exp, 0, gap) + gap)),
        ),
    )


x, y, u, shift1, shift2 = (Symbol(name, real=True) for name in ("x", "y", "u", "m", "r"))
first, second, third = (Symbol(f"l_{number}", real=True) for number in (1, 2, 3))
empty = Symbol("e", nonnegative=True)


def mean(weight1, o1, weight2, o2):
    return (weight1 * o1 + weight2 * o2) / (weight1 + weight2)


def total(weight1, weight2):
    return weight1 + weight2


@claim(
    source="ye2025flashinfer, §2.2",
    code="reference.flash.merge",
    computes="o = torch.tensor([[x], [y], [u]], dtype=torch.float64); "
    "l = torch.tensor([l_1, l_2, l_3], dtype=torch.float64); merge(*merge(o[0], l[0], o[1], l[1]), o[2], l[2])[0][0]",
    given={empty: 0},
    mistakes={
        "equal parts: the mean of the outputs": {"join": lambda weight1, o1, weight2, o2: (o1 + o2) / 2},
        "weighted by lse, not by its exponential": {"of": lambda lse: lse},
        "base two for a logarithm to base e": {"of": lambda lse: 2**lse},
        "each weight shifted by its own maximum": {"other": lambda m: first + second - m},
        "the weight of the whole is that of the larger part, nearly": {"add": lambda a, b: a * b / (a + b)},
        "the shift is not put back": {"back": lambda m: S.One},
    },
)
def merge_is_associative(join=mean, add=total, of=exp, other=lambda m: m, back=exp):
    """Parts (o, lse) may be merged in any grouping and order; a part of no keys, of weight zero, changes nothing."""

    def merged(one, two, m):
        """Output and e^lse of both, from weights shifted by m, whatever that is."""
        (o1, whole1), (o2, whole2) = one, two
        weight1, weight2 = whole1 * exp(-m), whole2 * exp(-other(m))
        return join(weight1, o1, weight2, o2), back(m) * add(weight1, weight2)

    one, two, three = ((o, of(lse)) for o, lse in ((x, first), (y, second), (u, third)))
    left = merged(merged(one, two, shift1), three, shift2)
    right = merged(one, merged(two, three, shift1), shift2)
    turned = merged(three, merged(two, one, shift1), shift2)
    weights = exp(first) + exp(second) + exp(third)
    return (
        equal(
            left[0],
            eq((x * exp(first) + y * exp(second) + u * exp(third)) / weights, "each output by the weight of its keys"),
            eq(right[0], "the same, grouped the other way"),
            eq(turned[0], "and in the other order"),
        ),
        equal(
            left[1],
            eq(weights, "weights, e^lse, add up"),
            eq(right[1], "in any grouping"),
            eq(turned[1], "and order"),
        ),
        equal(merged(one, (y, empty), shift1)[0], eq(x, "e^(−∞) = 0: what a part of no keys says is not heard")),
        equal(merged(one, (y, empty), shift1)[1], eq(exp(first), "and it weighs nothing")),
    )


def exponentials(to, shift, value=lambda i, j: 1, seen=lambda i, j: w[i, j]):
    """Σ over the keys of the tiles up to `to`, as far as they are seen, of e^(s − shift) times a value."""
    return Sum(exp(s[i, j] - shift) * seen(i, j) * value(i, j), (j, 1, b), (i, 1, to))


@claim(
    source="dao2023flashattention2, §3.1; dao2022flashattention, theorem 1",
    code="reference.flash.flash_attention",
    computes="part=2; w[:] = 1; flash_attention(column(torch.ones(1).double()), column(s.flatten()), "
    "column(v.flatten()), scale=1.0, block_k=s.shape[1])[0][0, 0, 0, 0]",
    mistakes={
        "the sum is not rescaled": {"of_sum": lambda t: S.One},
        "the output is not rescaled": {"of_output": lambda t: S.One},
        "both are rescaled the wrong way round": {"of_sum": lambda t: exp(top[t + 1] - top[t]),
                                                  "of_output": lambda t: exp(top[t + 1] - top[t])},
        "the shift is the maximum before": {"shift": lambda t: top[t]},
        "what is hidden in a tile, or beyond its ragged end, is seen": {"seen": lambda i, j: 1},
        "divided tile by tile: a sum of averages": {"divisor": lambda l: 1},
    },
)  # fmt: skip
def blocks_give_exact_attention(
    of_sum=lambda t: exp(top[t] - top[t + 1]),
    of_output=lambda t: exp(top[t] - top[t + 1]),
    shift=lambda t: top[t + 1],
    seen=lambda i, j: w[i, j],
    divisor=lambda last: last,
):
    """After t tiles of keys, sum and output are those of all their keys: after n, o/l is attention, under any mask."""
    sums, out = IndexedBase("l", real=True), IndexedBase("o", real=True)

    def tile(value=lambda i, j: 1):
        return Sum(exp(s[t + 1, j] - shift(t)) * seen(t + 1, j) * value(t + 1, j), (j, 1, b))

    def value(i, j):
        return v[i, j]

    last = exponentials(n, m)
    return (
        induct(
            sums, t, 0, sums[t] * of_sum(t) + tile(), lambda t: exponentials(t, top[t]),
            "what came before is rescaled, and the tile's exponentials come on top",
        ),
        induct(
            out, t, 0, out[t] * of_output(t) + tile(value), lambda t: exponentials(t, top[t], value),
            "the same of the values, weighted",
        ),
        equal(
            exponentials(n, m, value) / divisor(last),
            eq(exponentials(n, 0, value) / exponentials(n, 0), "the maximum is in both: softmax over all keys seen"),
        ),
    )  # fmt: skip


whole = Sum(exp(s[j]), (j, 1, n))


def p(j):
    """The weight of key j, made again of its score and the log-sum-exp."""
    return exp(s[j] - log(whole))


def arrives(j):
    """dP: what comes back to the weight of key j."""
    return Sum(g[h] * v[j, h], (h, 1, d))


def inside():
    """D = Σ dO · O, over the coordinates of a head."""
    return Sum(g[h] * Sum(p(j) * v[j, h], (j, 1, n)), (h, 1, d))


@claim(
    source="dao2022flashattention, appendix B.2; dao2023flashattention2, §3.1.1",
    code="reference.flash.flash_attention_vjp",
    computes="part=1; K = max(n, d); "
    "wide = lambda x: torch.cat([x, x.new_zeros(len(x), K)], -1)[None, None, :, :K]; "
    "flash_attention_vjp(wide(g[None, :d]), wide(s[None, :n]), wide(torch.eye(n).double()), wide(v[:n, :d]), scale=1.0)"
    "[0][0, 0, 0, k]",
    for_all={k: n, r: d},
    mistakes={
        "D is the sum of what comes back, unweighted": {"D": lambda: Sum(arrives(j), (j, 1, n))},
        "D is left out": {"D": lambda: S.Zero},
        "D is of the last coordinate alone": {"D": lambda: g[d] * Sum(p(j) * v[j, d], (j, 1, n))},
        "the sum of weights for the log-sum-exp": {"kept": whole},
        "the log-sum-exp without its logarithm's maximum": {"kept": log(whole) - s[1]},
        "values get dP": {"back": arrives(k)},
    },
)
def backward_needs_only_row_sums(D=inside, kept=log(whole), back=p(k) * g[r]):
    """Of a whole row the way back needs the log-sum-exp and D = ΣdO·O: p is e^(s − lse), ds = p(dP − D)."""
    again = exp(s[k] - kept)
    return (
        equal(
            D(),
            eq(Sum(p(j) * arrives(j), (j, 1, n)), "sums over coordinates and keys change places: Σ dO·O = Σ P dP"),
        ),
        equal(
            Derivative(Sum(Sum(exp(s[j]) * v[j, h], (j, 1, n)) / whole * g[h], (h, 1, d)), s[k]),
            eq(again * (arrives(k) - D()), "softmax's Jacobian p(δ − p), from the score, lse and D alone"),
        ),
        equal(
            Derivative(Sum(Sum(exp(s[j]) * v[j, h], (j, 1, n)) / whole * g[h], (h, 1, d)), v[k, r]),
            eq(back, "a value gets its weight times what arrived"),
        ),
    )
