r"""What a pass of the transformer takes in operations: product by product, and against the decoder on the machine.

B sequences of T tokens. A product of an m × k with a k × n matrix has mnk multiplications, each with its addition. The
sums of reference/transformer.py are counted here; derivations/flops.py counts those of reference/decoder.py by running
it over sizes. They agree. Article papers/transformer.md, laws verify/transformer.py.
"""

from sympy import Rational, Sum, Symbol

from derivations.claim import claim
from derivations.costs import derive
from derivations.flops import AGAIN, ATTENTION, FIRST, SECOND
from derivations.forms import eq, equal

L, B, T, D, H, G, K, F, V = (Symbol(name, integer=True, positive=True) for name in "LBTDHGKFV")
AXES = [Symbol(name, integer=True, positive=True) for name in "abcdhijk"]


def visits(*sizes, each=2):
    """A multiplication and an addition for every place of a sum over these axes."""
    return Sum(each, *((index, 1, size) for index, size in zip(AXES, reversed(sizes), strict=False)))


def rows(shared=G):
    """Outputs and inputs of the matrices of a block: queries, keys, values, output, up, down."""
    return (H * K, D), (shared * K, D), (shared * K, D), (D, H * K), (F, D), (D, F)


def layers(shared=G, each=2):
    """(products with weights, products of attention) of a forward pass through all blocks."""
    weights = sum(visits(L, B, T, out, into, each=each) for out, into in rows(shared))
    return weights, visits(L, B, H, T, T, K, each=each) + visits(L, B, H, T, K, T, each=each)


def matrices(shared=G):
    """Entries of all matrices of the blocks."""
    return L * (2 * D * H * K + 2 * D * shared * K + 2 * D * F)


@claim(
    source="kaplan2020scaling, §2.1 Table 1; hoffmann2022chinchilla, appendix F",
    code="reference.transformer.logits",
    mistakes={
        "a multiplication and its addition counted as one": {"each": 1},
        "the head is forgotten: Kaplan's count": {"head": 0},
        "the look-up taken for a product": {"head": 4 * B * T * V * D},
        "attention is forgotten": {"attention": 0},
        "the causal half of what is computed whole": {"attention": 2 * B * L * H * K * T**2},
        "every query head has keys and values of its own": {"shared": H},
    },
)
def forward_flops(each=2, head=2 * B * T * V * D, attention=4 * B * L * H * K * T**2, shared=G):
    """A forward pass takes 2BT(L(2DHK + 2DGK + 2DF) + VD) + 4BLHKT² operations: 2 an entry and token."""
    weights, between = layers(each=each)
    return (
        equal(
            weights + between + visits(B, T, V, D, each=each),
            eq(2 * B * T * matrices(shared) + head + attention, "every token meets every entry of every matrix once"),
        ),
        derive(
            FIRST(),
            eq(FIRST.found, f"the decoder that is trained, for each block {FIRST.by_operation}"),
            eq(2 * B * T * matrices(H) + head + attention, "G = H"),
        ),
    )


m, n, k = (Symbol(name, integer=True, positive=True) for name in "mnk")


@claim(
    source="kaplan2020scaling, §2.1; dao2023flashattention2, §4.1",
    code="reference.transformer.logits",
    mistakes={
        "as much as forward: one gradient for every product": {"by_weight": 0},
        "three times: with the forward pass": {"twice": 3},
        "the first layer needs no gradient by its input": {"first": 2 * B * T * D * (H + 2 * G) * K},
        "fused attention is no exception": {"fused": 2},
        "fused attention makes its scores again for every gradient": {"fused": Rational(7, 2)},
        "the look-up's gradient is a product": {"first": -2 * B * T * V * D},
    },
)
def backward_is_twice_forward(by_weight=visits(n, k, m), twice=2, first=0, fused=Rational(5, 2)):
    """Each product has two in the backward pass, one a factor: twice as much; 2.5 times where scores are made again."""
    weights, between = layers()
    by_input = sum(visits(L, B, T, into, out) for out, into in rows()) + visits(B, T, D, V)
    by_weights = sum(visits(L, out, into, B, T) for out, into in rows()) + visits(V, D, B, T)
    of_scores, of_averages = 2 * visits(L, B, H, T, K, T), visits(L, B, H, T, T, K) + visits(L, B, H, T, K, T)
    return (
        equal(
            visits(m, k, n) + by_weight,
            eq(2 * visits(m, n, k), "Y = XWᵀ is m × n, a sum over k; dX = dY W a sum over n, dW = dYᵀX one over m"),
        ),
        equal(
            by_input + by_weights + of_scores + of_averages - first,
            eq(
                twice * (weights + between + visits(B, T, V, D)),
                "dq and dk, dp and dv; the first layer is no exception: below it is the table of symbols, which learns",
            ),
        ),
        equal(
            of_scores + of_averages + visits(L, B, H, T, T, K),
            eq(fused * between, "and the scores once more, which were not kept: five for two"),
        ),
        derive(SECOND(), eq(twice * FIRST(), "so it is in the decoder that is trained")),
        derive(AGAIN(), eq(fused * ATTENTION(), "and in its fused attention")),
    )
