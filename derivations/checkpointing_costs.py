r"""What recomputation costs a decoder: a third of the operations at most, and what is kept instead of the rest.

The left sides are runs of the decoder on derivations.machine with its rule of recomputation, for all sizes and any
number of layers (derivations.costs); the machine stops the second run, as PyTorch does, when nothing is missing any
more. Article papers/checkpointing.md, code reference/decoder.py, measured in bench/checkpointing.py.
"""

from collections import Counter
from functools import cache

from sympy import Rational, Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive
from derivations.decoder import Run, loss
from derivations.eager_cpu import Cpu
from derivations.forms import eq, equal, ge
from derivations.memory import GPT2, KEPT
from derivations.programs import Program, _seen, alive, gpt2
from derivations.uniform import Doubtful

L, B, T, D, H, K, F, V = (Symbol(name, integer=True, positive=True) for name in "LBTDHKFV")
left = Symbol("d", nonnegative=True)
forward, share = Symbol("f", integer=True, positive=True), Symbol("r", real=True)
ell = Symbol("ell", integer=True, positive=True)


class Repeating(Cpu):
    """A CPU that recomputes, and sees that a block leaves the residual stream as it found it."""

    traffic = False

    def checkpoint(self, part, *inputs):
        before = [_seen(x) for x in inputs]
        out = super().checkpoint(part, *inputs)
        if len(before) == 1 and before != [_seen(out)]:
            raise Doubtful("a block does not leave the residual stream as it found it")
        return out


@cache
def worked(recompute: str, attention: str = "explicit") -> Program:
    """Operations of the matrix products of a step, by phase and kind: "again: attention" is of a second run."""

    def program(L, B, T, **sizes):
        machine, found = Repeating(), Counter[str]()
        machine.backward(loss(machine, gpt2(L, **sizes), Run(B, T, attention, recompute=recompute)))
        for _, what, amount, phase in machine.work:
            found[f"{phase}: {what}"] += amount
        return found

    return program


@cache
def held(recompute: str, attention: str = "explicit") -> Program:
    """What is alive when the backward pass begins."""

    def program(L, B, T, **sizes):
        machine = Repeating()
        out = loss(machine, gpt2(L, **sizes), Run(B, T, attention, recompute=recompute))
        found = alive(machine.events)
        del out
        return found

    return program


def work(recompute, phase, index, *kinds):
    """Operations of one phase of a step."""
    return Cost("flops", worked(recompute), GPT2, index, only=tuple(f"{phase}: {kind}" for kind in kinds))


BOTH = ("product", "attention")
FULL, FORWARD, BACKWARD = (
    work("full", phase, index, *BOTH)
    for phase, index in (("again", "again"), ("forward", "forward"), ("backward", "backward"))
)
CORE, SCORES = work("selective", "forward", "core", "attention"), work("selective", "again", "scores again", *BOTH)
INPUTS = Cost("kept", held("full"), GPT2, "full")
SELECTIVE = Cost("kept", held("selective"), GPT2, "selective")
EXPLICIT = Cost("kept", held("none"), GPT2, "explicit")
STREAM = Cost("kept", held("full"), GPT2, "full, without states", only=("sum",))


@claim(
    source="chen2016sublinear, §4; korthikanti2023reducing, §5",
    code="reference.decoder.Decoder",
    given={share: 2},
    mistakes={
        "backward is as much as forward: a half more": {"back": forward},
        "the third run costs as much as the backward pass": {"again": share * forward},
        "the head is run again": {"head": 0},
        "the second run goes on to its end": {"last": 0},
    },
)
def full_recompute_adds_a_third(
    back=share * forward, again=forward, head=2 * B * T * V * D, last=2 * L * B * T * F * D
):
    """With backward twice forward, all run again is a third more; decoders save the head, blocks their last product."""
    return (
        equal(
            (forward + again + back) / (forward + back), eq(Rational(4, 3), "forward 1, again 1, backward 2: 4 for 3")
        ),
        derive(BACKWARD(), eq(2 * FORWARD(), "every product has two in the backward pass; scores are explicit")),
        derive(
            FULL(),
            eq(
                FORWARD() - head - last,
                "the loss keeps what the head has made; what the last product of a block makes, no one has kept",
            ),
        ),
    )


def block(cost):
    """What one block more costs."""
    return cost(L=L + 1) - cost()


@claim(
    source="korthikanti2023reducing, §5 and appendix A",
    code="reference.decoder.core",
    given={F: 4 * H * K},
    mistakes={
        "attention is a third of a block, whatever T is": {"part": Rational(1, 3)},
        "F = D: T/(3D + T)": {"part": T / (3 * D + T)},
        "the projections are run again too": {"again": 8 * L * B * T * D * H * K + 4 * L * B * H * K * T**2},
        "the values are weighted once more": {"again": 4 * L * B * H * K * T**2},
        "the softmax is kept": {"freed": 0},
        "one table for all heads": {"freed": 4 * L * B * T**2},
        "the states of the generator take nothing": {"states": 0},
    },
)
def selective_recompute_cost(
    part=T / (6 * D + T), again=2 * L * B * H * K * T**2, freed=4 * L * B * H * T**2, states=5056 * L
):
    """Attention's two products are T/(6D + T) of a block if F = 4HK; one is run again, and its tables are not kept."""
    step = block(FORWARD) + block(BACKWARD)
    return (
        derive(block(CORE) / block(FORWARD), eq(part, "4BHKT² of that and 8BTDHK + 4BTDF, where F = 4HK")),
        derive(SCORES(), eq(again, "qkᵀ; softmax has then been found, and the product with v keeps nothing more")),
        derive(block(SCORES) / step, eq(part / 6, "one of two products, of a step that is three times forward")),
        derive(
            EXPLICIT() - SELECTIVE(),
            eq(
                freed - states, "queries, keys and values are kept either way; on a CPU a state of the generator is new"
            ),
        ),
    )


@claim(
    source="chen2016sublinear, §4",
    code="reference.decoder.Decoder",
    mistakes={
        "a block keeps nothing": {"stream": 0},
        "input and output of a block are both kept": {"stream": 8 * B * T * D},
        "states of the generator are nothing": {"states": 0},
        "a state for the whole model": {"states": Rational(5056) / L},
        "the logits are gone as well": {"logits": 0},
    },
)
def full_recompute_keeps_inputs(stream=4 * B * T * D, states=5056, logits=4 * B * T * V):
    """Recomputed, a block keeps its input, 4BTD bytes, and 5056 of the generator's state, and 8 of a number."""
    outside = 8 * B * T * D + logits + 8 * B * T + 8 * T + 8
    return derive(
        INPUTS(),
        eq(INPUTS.found, f"once, and for each block {INPUTS.by_operation}"),
        eq(L * (stream + states + 8) + outside, "whatever attention is, and F and H: what is inside is not kept"),
    )


@claim(
    source="chen2016sublinear, §4; korthikanti2023reducing, §4.1",
    code="reference.checkpointing.chain",
    given={D: H * K, F: 4 * H * K},
    mistakes={
        "√L segments: a block keeps as much as its input": {"inside": block(STREAM)},
        "up to 64 blocks": {"segments": 32 - left},
        "segments of two would do as well": {"other": ell - 1},
    },
)
def single_blocks_are_the_best_segments(segments=16 - left, inside=block(KEPT), other=0):
    """Of up to 32 of GPT-2's blocks, F = 4D, equal segments hold least if each is one block, which keeps 16 inputs."""
    return derive(
        segments * block(STREAM) + ell * inside,
        ge(
            segments * ell * block(STREAM) + (1 + other) * inside,
            "m segments of ℓ blocks, if ℓ ≥ 2 and so m ≤ 16; a block keeps BT(64D + 16) + 4BHT, its input takes 4BTD",
            by=(ell - 1) * (4 * left * B * T * D + 16 * B * T + 4 * B * H * T),
        ),
    )
