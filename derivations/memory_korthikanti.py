r"""What a block saves beside the formula sbh(34 + 5as/h): when it holds, and what of it is left when it does not.

The formula is of explicit attention with dropout in 16 bits on a GPU. Article papers/memory.md, code
reference/decoder.py.
"""

from sympy import Rational, Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive, one_more
from derivations.forms import eq, finite, ge, le
from derivations.memory import GPT2, KEPT, LLAMA
from derivations.programs import gpt2, kept, llama

L, B, T, D, H, G, K, F, R = (Symbol(name, integer=True, positive=True) for name in "LBTDHGKFR")

GPU = {"table": "cuda", "dtype": "bfloat16"}
EXPLICIT = Cost("kept", kept(gpt2, attention="explicit"), GPT2, "explicit")
PAPER = Cost("kept", kept(gpt2, attention="explicit", dropout=0.1, **GPU), GPT2, "explicit, dropout, bf16")
FLASH = Cost("kept", kept(gpt2, dropout=0.1, **GPU), GPT2, "flash, dropout, bf16")
UNDROPPED = Cost("kept", kept(gpt2, attention="explicit", **GPU), GPT2, "explicit, bf16")
GATED_GPU = Cost("kept", kept(llama, **GPU), LLAMA, "Llama, flash, bf16")
STATISTICS = 16 * B * T


def korthikanti(linear=34, quadratic=5):
    """sbh(34 + 5as/h), for B sequences of T tokens, width D and H heads."""
    return B * T * D * (linear + quadratic * H * T / D)


@claim(
    source="korthikanti2023reducing, §4.1 eq. (1)",
    code="reference.decoder.Gpt2Block",
    given={D: H * K, F: 4 * H * K},
    mistakes={
        "masks of two bytes": {"linear": 36, "quadratic": 6},
        "the softmax is not kept beside what dropout makes of it": {"quadratic": 3},
        "the scores are kept as well": {"quadratic": 7},
        "the input of GELU is not kept": {"linear": 26},
        "the quadratic term without the heads": {"quadratic": Rational(5) / H},
        "the statistics of the norms are nothing": {"rest": 0},
    },
)
def korthikanti_34_plus_5(linear=34, quadratic=5, rest=STATISTICS):
    """Explicit attention, dropout, GELU, F = 4D, bfloat16: a block saves sbh(34 + 5as/h), and 16sb for its norms."""
    why = "D = HK, F = 4D; a norm's mean and 1/σ are float32, and the paper leaves them out"
    return one_more(PAPER, korthikanti(linear, quadratic) + rest, why)


@claim(
    source="korthikanti2023reducing, §4.1 eq. (1); dao2022flashattention, §3.1",
    code="reference.decoder.attend",
    given={D: H * K, F: 4 * H * K},
    mistakes={
        "flash attention keeps the scores": {"scores": 0},
        "flash attention saves the mask of the scores only": {"scores": 1},
        "without dropout only masks are saved": {"undropped": 1},
        "without dropout the linear term stays": {"masks": 0},
    },
)
def korthikanti_fails_without_scores_or_dropout(scores=5, undropped=3, masks=2):
    """Flash attention saves the whole 5as²b of the formula, and a block without dropout 2sbh + 3as²b of it."""
    flash, plain = korthikanti(34, 5 - scores), korthikanti(34 - masks, 5 - undropped)
    return (
        one_more(FLASH, flash + STATISTICS + 4 * B * H * T + 24, "a row sum a query, and the state of the generator"),
        one_more(UNDROPPED, plain + STATISTICS, "no masks, and one softmax instead of two tables"),
    )


@claim(
    source="korthikanti2023reducing, §4.1 eq. (1); shazeer2020glu, §2; ainslie2023gqa, §2.2",
    code="reference.decoder.LlamaBlock",
    given={D: 2 * H * R, K: 2 * R},
    mistakes={
        "the gate costs nothing": {"hidden": 4},
        "as many key-value heads as query heads": {"shared": H},
        "the formula's 34": {"width": 34, "hidden": 0, "shared": 0},
    },
)
def korthikanti_fails_for_gated_blocks(width=12, hidden=8, shared=G):
    """A Llama block in bfloat16 with flash attention saves BT(12D + 8F + 4GK + 8) + 4BHT + 24 bytes instead."""
    block = B * T * (width * D + hidden * F + 4 * shared * K + 8) + 4 * B * H * T + 24
    llama3 = {B: 1, T: 8192, H: 32, G: 8, R: 64, K: 128, D: 4096, F: 14336}
    return (
        one_more(GATED_GPU, block, "D = HK; norms are one operation here, with one statistic each"),
        finite(block, le(korthikanti() / 8, "Llama 3 8B, 8192 tokens: an eighth of the formula"), cases=[llama3]),
        finite(block, ge(korthikanti(41, 0), "and more than its linear term"), cases=[llama3]),
    )


def bend(cost, **sizes):
    """The second difference in T: of a parabola twice its coefficient times T², of a line nothing."""
    return cost(T=3 * T, **sizes) - 2 * cost(T=2 * T, **sizes) + cost(**sizes)


@claim(
    source="korthikanti2023reducing, §4.1; dao2022flashattention, §3.1",
    code="reference.decoder.explicit",
    mistakes={
        "fused attention bends as well": {"fused": 4},
        "one table for all heads": {"heads": 1},
        "the causal half": {"softmax": 2},
        "dropout changes nothing": {"dropped": 2},
    },
)
def attention_term_is_quadratic(softmax=4, dropped=5, fused=0, heads=H):
    """Of what is kept only c·LBHT² is quadratic: c = 4 with explicit scores, 5 in bfloat16 with dropout, 0 if fused."""
    return tuple(
        derive(bend(cost), eq(2 * c * L * B * heads * T**2, why))
        for cost, c, why in (
            (EXPLICIT, softmax, "the softmax in float32"),
            (PAPER, dropped, "the softmax, its mask and their product: 2 + 1 + 2"),
            (KEPT, fused, "a row sum for each query: all else is linear"),
        )
    )
