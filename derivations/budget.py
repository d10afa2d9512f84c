r"""What a training step takes: its stream of requests by phase, its peak by part, and the rank's share of both.

    peak = max over instants of Σ parts alive,   each part a polynomial in the sizes

A plan says how many processes share the work. Tensor parallelism divides heads, hidden units and vocabulary, a pipeline
the layers, ZeRO what is kept of parameters, gradients and optimizer state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from derivations.architecture import Architecture
from derivations.decoder import Run
from derivations.eager_cpu import Cpu
from derivations.eager_cuda import Cuda
from derivations.machine import BYTES
from derivations.order import block
from derivations.training import train

TABLES = {"cpu": Cpu, "cuda": Cuda}
STATES = {"parameter": "parameters", "buffer": "buffers", "batch": "batch", "cache": "cache", "workspace": "workspaces",
          "optimizer state": "optimizer"}  # fmt: skip
ROOTS = "root of the second moment"  # as many as the optimizer's state has entries of parameters


@dataclass(frozen=True)
class Plan:
    """Optimizer and the processes: dp·tp·pp of them, of which this is the first stage (`stage` 0) or another."""

    optimizer: str = "adamw"
    way: str = "loop"
    accumulate: int = 1
    dp: int = 1
    tp: int = 1
    pp: int = 1
    stage: int = 0
    zero: int = 0


@dataclass(frozen=True)
class Instant:
    """A moment of the step: its phase, what was just taken and where, and the bytes of every part then alive."""

    phase: str
    what: str
    where: str
    parts: dict[str, Any]

    @property
    def bytes(self):
        return sum(self.parts.values())


def shard(a: Architecture, run: Run, plan: Plan) -> tuple[Architecture, Run]:
    """The part of a model that one process holds. Raises ValueError where sizes do not divide."""
    for name, size, by in (("heads H", a.H, plan.tp), ("vocabulary V", a.V, plan.tp), ("hidden units F", a.F, plan.tp),
                           ("layers L", a.L, plan.pp)):  # fmt: skip
        if size % by and not (name.startswith("vocab") and by > 1):
            raise ValueError(f"{name}: expected a multiple of {by}, received {int(size)}")
    if a.G % plan.tp and plan.tp % a.G:
        raise ValueError(f"key-value heads G: expected a multiple or a divisor of {plan.tp}, received {int(a.G)}")
    if plan.pp > 1 and plan.stage not in range(plan.pp):
        raise ValueError(f"stage: expected 0 to {plan.pp - 1}, received {plan.stage}")
    t, experts = plan.tp, a.experts
    if experts and t > 1:
        experts = replace(experts, F=experts.F // t)
    mine = replace(a, H=a.H // t, G=max(a.G // t, 1), F=a.F // t, V=-(-a.V // t), experts=experts, L=a.L // plan.pp)
    return mine, replace(run, first=plan.stage == 0, last=plan.stage == plan.pp - 1)


def stream(a: Architecture, run: Run, plan: Plan, table="cpu", autocast=False, steps=2, threads=1):
    """The machine after so many steps on one process, with the events scaled to its share."""
    mine, part = shard(a, run, plan)
    m = TABLES[table](autocast, threads)
    m.state = train(m, mine, part, plan.optimizer, plan.way, steps, plan.accumulate, plan.pp - plan.stage)
    if plan.zero:
        share = {"optimizer": plan.zero >= 1, "gradients": plan.zero >= 2, "parameters": plan.zero >= 3}
        parts = categories(m)

        def scaled(key, size):
            if key is None or not share.get(parts[key]):
                return size
            return -(-size // plan.dp) if size > 0 else size // plan.dp

        m.events = [(key, scaled(key, size), what, where) for key, size, what, where in m.events]
    return m


def categories(m) -> dict[int, str]:
    """The part of each storage: what it holds between steps, or what an operation took it for, forward or backward."""
    found, phase = {}, ""
    for key, size, what, _ in m.events:
        if key is None:
            phase = what
        elif size > 0:
            kept = STATES.get(what) or ("optimizer" if what == ROOTS else "")
            found[key] = kept or ("activations" if "forward" in phase else "temporaries")
    found.update((key, "gradients") for key in m.kept)
    return found


def instants(m, wanted="step 1") -> Iterator[Instant]:
    """The peak of each phase of the last step, whose names begin with `wanted`."""
    parts = categories(m)
    live, total, phase, best = Counter[str](), 0, "", None
    for key, size, what, where in m.events:
        if key is None:
            if best is not None:
                yield best
            phase, best = what, None
            if phase.startswith(wanted) and not phase.endswith("done"):
                best = Instant(phase, "", "start", dict(live))
            continue
        live[parts[key]] += size
        total = total + size
        if size > 0 and best is not None and total > best.bytes:
            best = Instant(phase, what, where, dict(live))


def saved(m, phase="step 1: backward") -> Counter[str]:
    """Bytes alive when the backward pass begins, by the operation that took them in the forward pass."""
    alive, what_of, begun = {}, {}, False
    for key, size, what, _ in m.events:
        if key is None:
            if what == phase:
                break
            begun = begun or what == phase.replace("backward", "forward")
        elif size > 0:
            if begun:
                alive[key], what_of[key] = size, what
        else:
            alive.pop(key, None)
    found = Counter[str]()
    for key, size in alive.items():
        found[what_of[key]] += size
    return found


def gathered(a: Architecture, run: Run, plan: Plan) -> dict[str, Any]:
    """What ZeRO needs for a moment: at stage 3 two blocks whole, from stage 2 on the largest gradient whole."""
    mine, _ = shard(a, run, plan)
    sizes = [prod(shape) * BYTES[run.dtype] for sparse in {False, bool(a.experts)} for _, shape in block(mine, sparse)]
    extra = {}
    if plan.zero >= 3:
        extra["gathered parameters"] = (
            2
            * max(sum(prod(shape) for _, shape in block(mine, sparse)) for sparse in {False, bool(a.experts)})
            * BYTES[run.dtype]
        )
    if plan.zero >= 2:
        extra["gradient bucket"] = max(sizes)
    return extra


def flops(m) -> dict[str, Any]:
    """Operations of all products run, by phase ("forward", "backward", "again": recomputed) and kind."""
    found = Counter[str]()
    for _, what, amount, phase in m.work:
        found[f"{phase}: {what}"] += amount
    return dict(found)
