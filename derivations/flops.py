r"""What training takes in floating-point operations: 6N a token and attention's 12LHKT, and what N has to be.

The left sides add up every matrix product that the decoder runs on derivations.machine, for all sizes and any number
of layers (derivations.costs). A multiplication and its addition are two; elementwise operations are not counted, and
attention is, with all T² scores, as PaLM does. Article papers/flops.md, code reference/decoder.py.
"""

from sympy import Rational, Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive
from derivations.forms import eq
from derivations.programs import counted, gpt2, llama, work

L, B, T, D, H, G, K, F, V, S = (Symbol(name, integer=True, positive=True) for name in "LBTDHGKFVS")
R = Symbol("R", integer=True, positive=True)
t, peak = (Symbol(name, positive=True) for name in ("t", "peak"))

GPT2, LLAMA = "B T D H K F V", "B T D G H R F V"
FORWARD, BACKWARD = ("forward: product", "forward: attention"), ("backward: product", "backward: attention")
FUSED, EXPLICIT = work(gpt2), work(gpt2, attention="explicit")
MODEL = Cost("flops", FUSED, GPT2, only=FORWARD + BACKWARD)
GATED = Cost("flops", work(llama), LLAMA, "Llama", only=FORWARD + BACKWARD)
FIRST = Cost("flops", EXPLICIT, GPT2, "explicit, forward", only=FORWARD)
SECOND = Cost("flops", EXPLICIT, GPT2, "explicit, backward", only=BACKWARD)
ATTENTION = Cost("attention", FUSED, GPT2, "fused, forward", only=FORWARD[1:])
AGAIN = Cost("attention", FUSED, GPT2, "fused, backward", only=(*BACKWARD[1:], "backward: scores again"))
COUNT = Cost("parameters", counted(gpt2), "D H K F V S")
UNTIED = Cost("parameters", counted(lambda L, **sizes: gpt2(L, **sizes, tied=False)), "D H K F V S", "untied")
GATED_COUNT = Cost("parameters", counted(llama), "D G H R F V", "Llama")

MATRICES = L * (4 * D * H * K + 2 * D * F) + V * D
GATED_MATRICES = L * (2 * D * H * K + 2 * D * G * K + 3 * D * F) + V * D
SCORES = 12 * L * H * K * T


@claim(
    source="chowdhery2022palm, appendix B; kaplan2020scaling, §2.1",
    code="reference.decoder.Decoder",
    given={K: 2 * R},
    mistakes={
        "a multiplication and its addition counted as one": {"six": 3, "attention": SCORES / 2},
        "the forward pass alone": {"six": 2, "attention": SCORES / 3},
        "attention is left out": {"attention": 0},
        "the causal half of what is computed whole": {"attention": SCORES / 2},
        "Kaplan's N: without the head": {"more": -V * D},
        "the look-up of embeddings taken for a product": {"more": V * D},
        "the gate is no matrix": {"gate": 2},
        "heads and their width for the width, twice": {"attention": SCORES * H},
    },
)
def six_n_flops_per_token(six=6, attention=SCORES, more=0, gate=3):
    """Forward and backward pass take 6N + 12LHKT operations a token, N the entries of all matrices and the head."""
    gated = GATED_MATRICES + (gate - 3) * L * D * F
    why = "2 forward and 4 backward for every entry; q·k and p·v: 4 for each of T scores, three times"
    return (
        derive(
            MODEL() / (B * T),
            eq(MODEL.found / (B * T), f"for each block {MODEL.by_operation}"),
            eq(six * (MATRICES + more) + attention, why),
        ),
        derive(
            GATED() / (B * T),
            eq(GATED.found / (B * T), f"for each block {GATED.by_operation}"),
            eq(six * (gated + more) + attention, f"K = 2R; {why}"),
        ),
    )


@claim(
    source="chowdhery2022palm, appendix B",
    code="reference.decoder.Decoder",
    mistakes={
        "a step's tokens counted once for every layer": {"tokens": L * B * T / t},
        "12LHKT for a whole sequence": {"attention": SCORES / T},
        "all parameters for N": {"more": S * D},
        "biases and norms are matrices": {"vectors": 0},
        "positions are multiplied": {"positions": 0},
        "an untied table of tokens is multiplied": {"table": 0},
    },
)
def palm_mfu_formula(
    tokens=B * T / t, attention=SCORES, more=0, vectors=6 * D + 3 * H * K + F, positions=S * D, table=V * D
):
    """A step of t seconds uses (BT/t)(6N + 12LHKT)/peak of a device; N is without vectors, positions and look-ups."""
    return (
        derive(
            MODEL() / (t * peak),
            eq(tokens * (6 * (MATRICES + more) + attention) / peak, "what a step takes, of t seconds at the peak"),
        ),
        derive(COUNT() - MATRICES, eq(positions + L * vectors + 2 * D, "positions, biases and norms multiply nothing")),
        derive(UNTIED() - COUNT(), eq(table, "a table of tokens apart from the head is looked up")),
    )


@claim(
    source="kaplan2020scaling, §2.1; dao2022flashattention, §3.1",
    code="reference.decoder.explicit",
    mistakes={
        "as much as forward": {"twice": 1},
        "three times: forward and backward together": {"twice": 3},
        "fused attention makes its scores again": {"fused": 2},
        "and again for every gradient": {"fused": Rational(7, 2)},
    },
)
def backward_is_twice_forward_of_products(twice=2, fused=Rational(5, 2)):
    """Every product has two in the backward pass, one for each factor; fused attention has five for its two."""
    return (
        derive(SECOND(), eq(twice * FIRST(), "for y = xWᵀ: dx = dy W and dW = dyᵀ x")),
        derive(AGAIN(), eq(fused * ATTENTION(), "dv, dp, dq, dk, and the scores once more, which were not kept")),
    )


@claim(
    source="radford2019language, Table 2",
    code="reference.decoder.Gpt2Block",
    given={D: H * K, F: 4 * H * K},
    mistakes={
        "12LD² and the tables, nothing else": {"vectors": 0},
        "matrices have no biases": {"vectors": 4},
        "the head counted beside its tied table": {"tables": 2},
        "no positions": {"positions": 0},
        "four matrices of D × D in a block": {"matrices": 4},
    },
)
def parameters_of_gpt2(matrices=12, vectors=13, tables=1, positions=S * D):
    """GPT-2's form has 12LD² + 13LD + VD + SD + 2D parameters, for any number of heads (D = HK, F = 4D)."""
    return derive(
        COUNT(),
        eq(COUNT.found, f"for each block {COUNT.by_operation}"),
        eq(matrices * L * D**2 + vectors * L * D + tables * V * D + positions + 2 * D, "D = HK, F = 4D"),
    )


@claim(
    source="touvron2023llama, §2.2; shazeer2020glu, §2; ainslie2023gqa, §2.2",
    code="reference.decoder.LlamaBlock",
    given={K: 2 * R},
    mistakes={
        "two matrices in the feed-forward layer": {"gate": 2},
        "keys and values for every query head": {"shared": H},
        "norms with biases": {"norms": 4},
        "a tied head": {"tables": 1},
    },
)
def parameters_of_llama(gate=3, shared=G, norms=2, tables=2):
    """Llama's form has L(2DK(H + G) + 3DF + 2D) + 2VD + D parameters."""
    block = 2 * D * K * (H + shared) + gate * D * F + norms * D
    return derive(
        GATED_COUNT(),
        eq(GATED_COUNT.found, f"for each block {GATED_COUNT.by_operation}"),
        eq(L * block + tables * V * D + D, "queries and output, keys and values; gate, up and down; two norms"),
    )
