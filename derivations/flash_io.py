r"""What flash attention moves between a large memory and a small one, in numbers, and what it multiplies.

One head of T queries and S keys of dimension K. A tile has B_r queries and B_c keys; the last ones may be shorter.
Article papers/flash.md, code reference/flash_io.py.
"""

from sympy import KroneckerDelta, Rational, S, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, ge, le

T, K, n, m, B_r, B_c = (Symbol(name, integer=True, positive=True) for name in ("T", "K", "n", "m", "B_r", "B_c"))
keys = Symbol("S", integer=True, positive=True)
lacking, short = (Symbol(name, integer=True, nonnegative=True) for name in ("r", "c"))
i, j, k, s, t, u = (Symbol(name, integer=True, positive=True) for name in "ijkstu")

FORWARD = T * (2 * K + 1) + 2 * n * keys * K
BACKWARD = 4 * keys * K + m * T * (4 * K + 2) + T * (K + 1)
CAUSAL = T * (2 * K + 1) + (n + 1) * T * K
NAIVE = 2 * T * K + 2 * keys * K + 4 * T * keys
"""Numbers moved, for n tiles of queries and m of keys. CAUSAL is forward, with T = S of n whole tiles, B_c = B_r."""
FORWARD_FLOPS, BACKWARD_FLOPS = 4 * T * keys * K, 10 * T * keys * K


def row(i):
    """Queries of tile i: the last one may lack some."""
    return B_r - lacking * KroneckerDelta(i, n)


def column(j):
    """Keys of tile j."""
    return B_c - short * KroneckerDelta(j, m)


WHOLE = {T: n * B_r - lacking, keys: m * B_c - short}


@claim(
    source="dao2022flashattention, §3.2 theorem 2; dao2023flashattention2, §3.1",
    code="reference.flash_io.tiled",
    mistakes={
        "the keys pass by once": {"forward": FORWARD.xreplace({n: S.One})},
        "the values are not loaded": {"forward": FORWARD - n * keys * K},
        "the log-sum-exp is not kept": {"forward": FORWARD - T},
        "the ragged tile is left out": {"forward": FORWARD - 2 * keys * K},
        "as if tiles were cut to measure, n = T/B": {"forward": T * (2 * K + 1) + 2 * T * keys * K / B_r},
        "dq is loaded before it is anything": {"backward": BACKWARD + T * K},
        "dq stays in the small memory": {"backward": BACKWARD - m * T * K},
        "D is made anew for every tile of keys": {"backward": BACKWARD + (m - 1) * T * (2 * K + 1)},
        "the causal mask saves exactly half": {"causal": CAUSAL - T * K},
        "the causal mask saves nothing": {"causal": FORWARD.xreplace({keys: T})},
    },
)
def io_is_counted_exactly(forward=FORWARD, backward=BACKWARD, causal=CAUSAL):
    """Forward, all keys pass each of n tiles of queries; backward, all queries pass each of m tiles of keys."""
    each = Sum(row(i) * (4 * K + 2), (i, 1, n))
    sums, fresh = Sum(row(i) * (2 * K + 1), (i, 1, n)), Sum(row(i) * K, (i, 1, n))
    half = Sum(B_r * (2 * K + 1) + Sum(2 * K * B_r, (j, 1, i)), (i, 1, n))
    return (
        equal(
            Sum(row(i) * (2 * K + 1) + Sum(2 * K * column(j), (j, 1, m)), (i, 1, n)),
            eq(forward.xreplace(WHOLE), "q in, o and lse out; k and v in once for each tile of queries, ragged or not"),
        ),
        equal(
            sums + Sum(4 * K * column(j) + each, (j, 1, m)) - fresh,
            eq(
                backward.xreplace(WHOLE),
                "do and o in, D out; k and v in, dk and dv out; each time q, do, lse, D, dq in, dq out; dq is new once",
            ),
        ),
        equal(half, eq(causal.xreplace({T: n * B_r}), "1 + 2 + … + n tiles of keys, of as many numbers as queries")),
    )


# Tiles that fill the memory: c, x, y ≥ 0 say that 1 ≤ B_c ≤ B_r and B_c ≤ K; what is spare is less than a query more.
c, x, y = (Symbol(name, integer=True, nonnegative=True) for name in "cxy")
spare, more = Symbol("tau", nonnegative=True), Symbol("z", nonnegative=True)
last = Symbol("e", nonnegative=True)
M, size = Symbol("M", positive=True), Symbol("S", integer=True, positive=True)


@claim(
    source="dao2022flashattention, §3.2 theorem 2",
    code="reference.flash_io.queries_that_fit",
    mistakes={
        "the dimension once: TSK/M": {"bound": lambda M, K: 28 * T * keys * K / M},
        "linear in the length": {"bound": lambda M, K: 28 * T * K**2 / M},
        "twice the memory, a quarter of what moves": {"bound": lambda M, K: 28 * T * keys * K / M**2},
        "a quarter of the memory for queries": {"least": 8},
        "however many keys a tile has": {"columns": 9 * (1 + c + y)},
        "the ragged tile costs nothing": {"ragged": 0},
    },
)
def io_is_quadratic_over_sram(bound=lambda M, K: 28 * T * keys * K**2 / M, least=4, columns=1 + c, ragged=1):
    """Where tiles fill a memory of M, 4TSK²/M ≤ moved ≤ 28TSK²/M + T(2K + 1) + 2SK; for M ≤ TK and T = S: Θ(T²K²/M)."""
    rows, wide = 1 + c + x, 1 + c + y
    a_query = 2 * wide + 3 + columns
    memory = rows * a_query + 2 * columns * wide + a_query * spare / (1 + spare)
    moved = FORWARD.xreplace({K: wide, n: (T + rows - last) / rows})
    by = c * (9 * c + 12) + x * (11 * c + 8) + y * (10 * c + 8) + 12 * x * y + a_query / (1 + spare)
    rest = rows * (3 + columns) + 2 * columns * wide + a_query * spare / (1 + spare)
    passing = T * (2 * wide + 1) + ragged * 2 * keys * wide
    return (
        below(
            moved,
            le(
                passing + 2 * T * keys * wide / rows,
                "⌈T/B⌉ ≤ T/B + 1: the last tile has e queries, T = (n − 1)B + e",
                by=2 * keys * wide * last / rows,
            ),
        ),
        below(
            2 * T * keys * wide / rows,
            le(
                bound(memory, wide),
                "M ≤ 14KB: 2K + 3 + B_c numbers a query, 2K a key, B_c ≤ B, B_c ≤ K, and no room for one query more",
                by=2 * T * keys * wide * by / (rows * memory),
            ),
        ),
        below(
            moved.xreplace({last: rows - lacking}),
            ge(
                2 * T * keys * wide / rows,
                "⌈T/B⌉ ≥ T/B",
                by=T * (2 * wide + 1) + 2 * keys * wide * lacking / rows,
            ),
        ),
        below(
            2 * T * keys * wide / rows,
            ge(
                least * T * keys * wide**2 / memory,
                "M ≥ 2KB: a query and its output",
                by=2 * T * keys * wide * rest / (rows * memory),
            ),
        ),
        below(
            M + more,
            le((M + more) ** 2 / M, "TK ≤ (TK)²/M, where TK = M + z is M at least", by=(M + more) * more / M),
        ),
    )


@claim(
    source="dao2022flashattention, §2.2 algorithm 0 and §3.2",
    code="reference.flash_io.naive",
    mistakes={
        "scores are written, and never read": {"naive": NAIVE - T * keys},
        "weights stay where they are made": {"naive": NAIVE - 2 * T * keys},
        "scores and weights are left out": {"naive": NAIVE - 4 * T * keys},
        "tiles of any size": {"rows": lambda x: S.One},
        "tiles of a quarter of K": {"rows": lambda x: (K + x) / (4 + x)},
    },
)
def tiles_move_less_than_the_matrix(naive=NAIVE, rows=lambda x: K + x):
    """In three steps attention moves four matrices of T × S besides its arguments; tiles of K queries move less."""
    pairs, query, key = Sum(1, (s, 1, keys), (t, 1, T)), Sum(1, (k, 1, K), (t, 1, T)), Sum(1, (k, 1, K), (s, 1, keys))
    B, others = rows(x), Symbol("S_1", integer=True, nonnegative=True)
    small = {keys: 1 + others}
    moved = FORWARD.xreplace({n: (T + B - last) / B})
    left = T * others + T * keys + 2 * T * keys * x / (K + x) + 2 * keys * K * last / (K + x)
    return (
        equal(
            (query + key + pairs) + 2 * pairs + (pairs + key + query),
            eq(naive, "q and k in, S out; S in, P out; P and v in, o out"),
        ),
        below(
            moved.xreplace(small),
            le(NAIVE.xreplace(small), "2TSK/B ≤ 2TS when a tile has B ≥ K queries", by=left.xreplace(small)),
        ),
    )


@claim(
    source="dao2022flashattention, §3.1; dao2023flashattention2, §4.1",
    code="reference.flash.flash_attention_backward",
    mistakes={
        "nothing is computed again": {"products": 4},
        "scores and weighted values are computed again": {"products": 6},
        "one product for each of dq, dk and dv": {"products": 3},
        "the way back is the way forth": {"times": S.One},
        "a multiplication and its addition counted as one": {"each": 1},
    },
)
def recomputation_costs_one_more_product(products=5, times=Rational(5, 2), each=2):
    """Backward takes five products to the two of forward, 2.5 times the operations; without recomputing it is twice."""

    def cost(number):
        return Sum(Sum(Sum(each * number, (k, 1, K)) * row(i) * column(j), (j, 1, m)), (i, 1, n))

    return (
        equal(
            cost(2), eq(FORWARD_FLOPS.xreplace(WHOLE), "q·k and p·v: whatever the tiles, every query meets every key")
        ),
        equal(
            cost(products),
            eq(BACKWARD_FLOPS.xreplace(WHOLE), "q·k again; dv = pᵀ do, dp = do vᵀ, dq = ds k, dk = dsᵀ q"),
        ),
        equal(cost(products), eq(times * cost(2), "five to two")),
        equal(
            cost(products) - cost(1),
            eq(2 * cost(2), "less the recomputed scores: two products backward for one forward, as everywhere"),
        ),
    )
