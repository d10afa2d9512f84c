r"""Where the peak of a training step is: one of four instants, and in small models the tables of logits.

Article papers/memory.md, code reference/decoder.py.
"""

from sympy import Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive
from derivations.forms import Goal, Part, eq, finite, ge, le
from derivations.memory import GPT2, KEPT
from derivations.peaks import Largest, ends, inner_goals, last_goals, peak
from derivations.programs import at_loss, gpt2

L, B, T, D, H, K, F, V = (Symbol(name, integer=True, positive=True) for name in "LBTDHKFV")
v = Symbol("v", integer=True, nonnegative=True)

AT_LOSS = at_loss(gpt2)
LOSS = Cost("alive", AT_LOSS, GPT2, "loss backward")
TABLES = Cost("logits", AT_LOSS, GPT2, "loss backward", only=("log-probabilities", "gradient of the logits"))
LARGE = (Goal(V, "≥", 16 * H * K, v),)


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
