r"""What training keeps in bytes: 16 for a parameter, and what every block saves for the backward pass.

The left sides are runs of the decoder on derivations.machine, for all sizes and any number of layers
(derivations.costs); `kept` is what is alive when the backward pass begins. On a CPU in float32 with fused attention,
unless an index says otherwise. Article papers/memory.md, code reference/decoder.py.
"""

from sympy import Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive, in_depth
from derivations.forms import eq, equal
from derivations.programs import counted, gpt2, kept, llama, state

L, B, T, D, H, G, K, F, V, S = (Symbol(name, integer=True, positive=True) for name in "LBTDHGKFVS")
P, R = (Symbol(name, integer=True, positive=True) for name in "PR")
half, single = (Symbol(name, integer=True, positive=True) for name in ("half", "single"))

GPT2, LLAMA = "B T D H K F V", "B T D G H R F V"
KEPT = Cost("kept", kept(gpt2), GPT2)
GATED = Cost("kept", kept(llama), LLAMA, "Llama")
COPIES = Cost("copies", kept(gpt2, autocast=True), GPT2, only=("converted weight",))
STATE = Cost("state", state(gpt2), "D H K F V S")
COUNT = Cost("parameters", counted(gpt2), "D H K F V S")


@claim(
    source="rajbhandari2020zero, §3.1",
    code="reference.optimizers.adam_init",
    given={half: 2, single: 4},
    mistakes={
        "the master copy is forgotten": {"master": 0},
        "Adam keeps one moment": {"moments": 1},
        "gradients are kept in float32 as well: Megatron's 18": {"extra": single},
        "autocast stores parameters in bfloat16": {"stored": 14},
        "steps are not counted": {"count": 0},
        "the copy of the head is not kept": {"head": 0},
    },
)
def training_state_is_sixteen_bytes_per_parameter(
    master=single, moments=2, extra=0, stored=16, count=4, head=2 * V * D
):
    """Mixed-precision Adam keeps 16 bytes a parameter; so does autocast, with 2 more for a matrix until it is used."""
    return (
        equal(
            half * P + half * P + master * P + moments * single * P + extra * P,
            eq(16 * P, "parameters and gradients in half; a master copy and two moments in single precision"),
        ),
        derive(
            STATE(),
            eq(STATE.found, f"autocast, after a step: {STATE.by_operation} a block"),
            eq(
                stored * COUNT() + count * (12 * L + 4), "all in single precision, and a count of steps for each tensor"
            ),
        ),
        derive(
            COPIES(), eq(L * (8 * D * H * K + 4 * D * F) + head, "bfloat16 copies of matrices, until the backward pass")
        ),
    )


@claim(
    source="korthikanti2023reducing, §4.1",
    code="reference.decoder.Gpt2Block",
    given={D: H * K},
    mistakes={
        "the input of GELU is not kept": {"hidden": 4},
        "the sums between branches are not kept": {"width": 24},
        "the statistics of the norms are forgotten": {"norms": 0},
        "fused attention keeps no row sums": {"rows": 0},
        "fused attention keeps the scores": {"rows": 4 * T},
        "every layer has logits": {"logits": 4 * L * B * T * V},
        "two bytes a number": {"width": 16, "hidden": 4},
    },
)
def saved_activations_of_a_block(width=32, hidden=8, norms=16, rows=4, logits=4 * B * T * V):
    """A block of GPT-2's form saves BT(32D + 8F + 16) + 4BHT bytes; embedding, last norm and loss save the rest."""
    block = B * T * (width * D + hidden * F + norms) + rows * B * H * T
    return in_depth(KEPT, L * block + 8 * B * T * D + logits + 8 * B * T + 8 * T + 8, "D = HK")


@claim(
    source="shazeer2020glu, §2; ainslie2023gqa, §2.2",
    code="reference.decoder.LlamaBlock",
    given={K: 2 * R},
    mistakes={
        "as many key-value heads as query heads": {"shared": H},
        "the product with the gate is not kept": {"hidden": 12},
        "a norm that is one operation": {"width": 16},
        "two statistics for a norm, as if it were centred": {"norms": 16},
    },
)
def saved_activations_of_a_gated_block(shared=G, hidden=16, width=24, norms=8):
    """A block of Llama's form, its norms composed of products, saves BT(24D + 16F + 8GK + 8) + BHT(8K + 4) bytes."""
    block = B * T * (width * D + hidden * F + 8 * shared * K + norms) + B * H * T * (8 * K + 4)
    return in_depth(GATED, L * block + 12 * B * T * D + 4 * B * T * V + 4 * B * T + 8, "K = 2R: two halves are turned")
