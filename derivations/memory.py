r"""What training takes in bytes: 16 for a parameter, what every block saves, and where the peak is.

The left sides are runs of the decoder on derivations.machine, for all sizes and any number of layers
(derivations.costs); `kept` is what is alive when the backward pass begins. On a CPU in float32 with fused attention,
unless an index says otherwise. Article papers/memory.md, code reference/decoder.py.
"""

from sympy import Rational, Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive, in_depth, one_more
from derivations.forms import Goal, Part, eq, equal, finite, ge, le
from derivations.peaks import Largest, ends, inner_goals, last_goals, peak
from derivations.programs import at_loss, cached, counted, gpt2, kept, live, llama, mla, state

L, B, T, D, H, G, K, F, V, S = (Symbol(name, integer=True, positive=True) for name in "LBTDHGKFVS")
P, C, R = (Symbol(name, integer=True, positive=True) for name in "PCR")
v = Symbol("v", integer=True, nonnegative=True)
half, single = (Symbol(name, integer=True, positive=True) for name in ("half", "single"))

GPT2, LLAMA = "B T D H K F V", "B T D G H R F V"
GPU = {"table": "cuda", "dtype": "bfloat16"}
KEPT = Cost("kept", kept(gpt2), GPT2)
EXPLICIT = Cost("kept", kept(gpt2, attention="explicit"), GPT2, "explicit")
PAPER = Cost("kept", kept(gpt2, attention="explicit", dropout=0.1, **GPU), GPT2, "explicit, dropout, bf16")
FLASH = Cost("kept", kept(gpt2, dropout=0.1, **GPU), GPT2, "flash, dropout, bf16")
UNDROPPED = Cost("kept", kept(gpt2, attention="explicit", **GPU), GPT2, "explicit, bf16")
GATED = Cost("kept", kept(llama), LLAMA, "Llama")
GATED_GPU = Cost("kept", kept(llama, **GPU), LLAMA, "Llama, flash, bf16")
COPIES = Cost("copies", kept(gpt2, autocast=True), GPT2, only=("converted weight",))
STATE = Cost("state", state(gpt2), "D H K F V S")
COUNT = Cost("parameters", counted(gpt2), "D H K F V S")
AT_LOSS = at_loss(gpt2)
LOSS = Cost("alive", AT_LOSS, GPT2, "loss backward")
TABLES = Cost("logits", AT_LOSS, GPT2, "loss backward", only=("log-probabilities", "gradient of the logits"))


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


def korthikanti(linear=34, quadratic=5):
    """sbh(34 + 5as/h), for B sequences of T tokens, width D and H heads."""
    return B * T * D * (linear + quadratic * H * T / D)


STATISTICS = 16 * B * T


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


LARGE = (Goal(V, "≥", 16 * H * K, v),)


@claim(
    source="pytorch2026documentation, Autograd mechanics",
    code="reference.decoder.Decoder",
    scope="instances",
    why="for sizes from two on, and one sequence; that instants repeat from block to block is read off three depths",
    given={V: 16 * H * K + v},
    mistakes={
        "end of forward: the logits and their logarithms": {"tables": 8},
        "the loss, however few the tokens": {"last": 0},
        "both gradients of a tied table are added in place": {"tied": 8},
        "untied tables are added as well": {"untied": 12},
        "the optimizer takes one root at a time": {"roots": 8},
        "gradients are freed block by block": {"layers": 1},
    },
)
def peak_is_one_of_four_instants(tables=12, last=1, tied=12, untied=8, roots=12, layers=L):
    """If F = 4D, V ≥ 16D, the peak is in the loss, in the gradient of a tied or untied table, or in the optimizer."""

    def part(is_tied, optimizer, more, goals, why):
        first, end = ends(is_tied, optimizer, L)
        end = last * (end.xreplace({L: layers}) + more * H * K * V)
        cost = Cost("peak", peak(is_tied, optimizer), "B T H K V", f"{'tied' if is_tied else 'untied'}, {optimizer}")
        step = eq(Largest(first + (tables - 12) * B * T * V, end), why)
        return Part("below", cost(), (step,), LARGE + goals, ((cost(), "=", step.expr),))

    return (
        part(True, "sgd", tied - 12, inner_goals() + last_goals(True, "sgd"), "the loss, or three tables of V × D"),
        part(False, "sgd", untied - 8, last_goals(False, "sgd"), "the loss, or two tables and what they are made from"),
        part(True, "adamw", roots - 12, last_goals(True, "adamw"), "the loss, or roots of the second moments"),
    )


@claim(
    source="korthikanti2023reducing, §4.1",
    code="reference.decoder.Decoder",
    mistakes={
        "the softmax works in place": {"tables": 4},
        "the two are alike": {"tables": 0},
        "the logits are still alive": {"tables": 12},
    },
)
def end_of_forward_is_not_the_peak(tables=8):
    """In the backward pass of the loss 8BTV bytes more are alive than when the forward pass ended."""
    return derive(
        LOSS() - KEPT(),
        eq(
            tables * B * T * V, "the gradients before and after the softmax, beside the logarithms; the logits are gone"
        ),
    )


WIDE = Cost("kept", kept(lambda L, H, K, V: gpt2(L, H * K, H, K, 4 * H * K, V)), "B T H K V")
LIVE = Cost("live", live(lambda L, H, K: gpt2(L, H * K, H, K, 4 * H * K)), "B T H K", "inference", first=1)


@claim(
    source="pytorch2026documentation, Autograd mechanics (saved tensors)",
    code="reference.decoder.Decoder",
    given={D: H * K},
    mistakes={
        "inference keeps every layer's activations": {"depth": L},
        "GELU works in place": {"largest": 28},
        "training keeps the residual stream only": {"width": 4},
    },
)
def training_to_inference_ratio_grows_with_depth(depth=1, largest=44, width=16):
    """Inference holds 44BTD bytes at any depth (F = 4D); training keeps (16D + H + 4)/11D > 16/11 of that a layer."""
    added = (WIDE(L=L + 1) - WIDE()) / LIVE()
    share = (width * D + H + 4) * Rational(44, 11) / (largest * D)
    return (
        derive(
            LIVE(),
            eq(
                largest * depth * B * T * D,
                "x, x after attention, its norm and both sides of GELU: 4 + 4 + 4 + 16 + 16",
            ),
        ),
        derive(added, eq(share, "64D + 4H + 16 bytes a token saved, of 44D")),
        derive(added, ge(Rational(16, 11), "H + 4 > 0", by=(H + 4) / (11 * D))),
    )


GROUPED = Cost("cache", cached(lambda L, H, G, R: llama(L, 2, G, H, R)), "B T H G R")
LATENT = Cost("cache", cached(mla), "B T C R", "latent")


@claim(
    source="ainslie2023gqa, §2.2; deepseek2024v2, §2.1.3",
    code="reference.attention.grouped_query_attention",
    given={K: 2 * R},
    mistakes={
        "query heads counted": {"heads": H},
        "keys without values": {"both": 1},
        "bytes of float32": {"e": 4},
        "a latent cache holds keys and values apart": {"latent": 2 * C + R},
        "the turned part for every head": {"latent": C + H * R},
        "latent attention counted as grouped": {"latent": 2 * H * R},
    },
)
def kv_cache_bytes(heads=G, both=2, e=2, latent=C + R):
    """In bfloat16 a cache takes 2·2·L·G·K·T bytes a sequence; a latent one of C + R numbers a token 2L(C + R)T."""
    return (
        derive(
            GROUPED(), eq(both * e * L * B * heads * K * T, "keys and values, K = 2R wide, of every key-value head")
        ),
        derive(LATENT(), eq(e * L * B * latent * T, "one latent vector for both, and one turned key for all heads")),
    )


@claim(
    source="radford2019language, Table 2",
    code="reference.decoder.Decoder",
    given={D: H * K, F: 4 * H * K},
    mistakes={
        "the logits are counted once": {"tables": 4},
        "a longer sequence helps the logits": {"tables": 12 * T},
        "logits of every layer": {"tables": 12 * L},
        "the branches only, not the sums between them": {"width": 12},
    },
)
def logits_dominate_small_models(tables=12, width=16):
    """Three tables of logits outweigh what L blocks save exactly when 3V > L(16D + H + 4): GPT-2 124M, not 355M."""
    margin = 3 * V - L * (width * D + H + 4)
    small, medium = {V: 50257, L: 12, H: 12, K: 64}, {V: 50257, L: 24, H: 16, K: 64}
    over = margin.xreplace({D: H * K})
    return (
        derive(
            TABLES(), eq(tables * B * T * V, "the logarithms of the probabilities, and the gradients of both sides")
        ),
        derive(
            TABLES() - L * (KEPT(L=L + 1) - KEPT()),
            eq(4 * B * T * margin, "D = HK, F = 4D: neither the batch nor the length matters"),
        ),
        finite(over, ge(1, "GPT-2 124M"), cases=[small]),
        finite(over, le(-1, "GPT-2 355M"), cases=[medium]),
    )
