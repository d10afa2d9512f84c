r"""A training run on the machine of derivations.machine: what is built, forward and backward passes, steps.

    parameters and buffers → batch → [forward → backward → optimizer → gradients freed] again and again

Optimizers are PyTorch's, in the three ways it has of running them: a loop over parameters, `foreach`, `fused`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from derivations.architecture import Architecture
from derivations.decoder import Run, loss
from derivations.machine import BYTES, Storage
from derivations.order import adapters, buffers, weights

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")
WAYS = ("loop", "foreach", "fused")


@dataclass
class State:
    """What lives between steps: storages by the name of the parameter."""

    parameters: dict = field(default_factory=dict)
    frozen: dict = field(default_factory=dict)
    buffers: list = field(default_factory=list)
    batch: list = field(default_factory=list)
    optimizer: dict = field(default_factory=dict)
    logits: Any = None


def build(m, a: Architecture, run: Run) -> State:
    """Parameters in the order of the modules, then buffers."""
    m.where, state = "model", State()
    for name, shape in weights(a, run):
        place = state.frozen if run.rank else state.parameters
        place[name] = Storage(m, prod(shape) * BYTES[run.dtype], "parameter")
    for name, shape in adapters(a, run):
        state.parameters[name] = Storage(m, prod(shape) * BYTES[run.dtype], "parameter")
    for shape, dtype in buffers(a, run):
        state.buffers.append(Storage(m, prod(shape) * BYTES[dtype], "buffer"))
    return state


def batch(m, run: Run) -> list:
    """Token ids and targets."""
    m.where = "batch"
    return [Storage(m, 8 * run.B * run.T, "batch") for _ in range(2)]


def train(m, a: Architecture, run: Run, optimizer="adamw", way="loop", steps=2, accumulate=1, flight=1) -> State:
    """So many steps; from the second one on all steps are alike. Events of phases are told apart by marks.

    A step adds up the gradients of `accumulate` batches; `flight` of them are in flight at once, in a pipeline.
    """
    state = build(m, a, run)
    state.batch = batch(m, run)
    for step in range(steps):
        waiting = []
        for micro in range(accumulate):
            m.mark(f"step {step}: forward" + f" {micro}" * (accumulate > 1))
            waiting.append(loss(m, a, run))
            m.cache.clear()  # autocast ends
            while len(waiting) == min(flight, accumulate) or (waiting and micro == accumulate - 1):
                m.mark(f"step {step}: backward" + f" {micro}" * (accumulate > 1))
                m.backward(waiting[0])
                waiting.pop(0)
        m.mark(f"step {step}: optimizer")
        m.where = "optimizer"
        OF[optimizer](m, state, way, run)
        m.mark(f"step {step}: done")
        m.where = "gradients freed"
        for name in state.parameters:
            m.gradients.pop(name, None)
    return state


def _sgd(m, state, way, run):
    """x − η g, in place."""


def _momentum(m, state, way, run):
    """v ← μ v + g, in place; the first v is a copy of g."""
    for name, parameter in state.parameters.items():
        if name not in state.optimizer:
            state.optimizer[name] = [Storage(m, parameter.bytes, "optimizer state")]
        elif way != "fused":
            _number(m, run.dtype)


def _adam(m, state, way, run, numbers=2):
    """Two moments for each parameter and a count of steps; in a loop, root and divided root are tensors."""
    sizes = [p.bytes for p in state.parameters.values()]
    if not state.optimizer:
        for name, size in zip(state.parameters, sizes, strict=True):
            count = [Storage(m, 4, "optimizer state")] if m.counts_steps(way) else []
            state.optimizer[name] = count + [Storage(m, size, "optimizer state") for _ in range(2)]
    if way == "fused":
        for _ in sizes:
            _number(m, "float32")
    elif way == "foreach":
        m.scratch(*m.foreach_count())
        for _ in range((numbers - 1) * len(sizes)):
            _number(m, run.dtype)
        roots = [Storage(m, size, "root of the second moment") for size in sizes]
        for _ in range(2 * len(sizes)):
            _number(m, run.dtype)
        while roots:
            roots.pop()
    else:
        before = None
        for size in sizes:
            for _ in range(numbers):
                _number(m, run.dtype)
            root = Storage(m, size, "root of the second moment")
            with m.number(run.dtype):
                divided = Storage(m, size, "root of the second moment")
            del root
            _number(m, run.dtype)
            before = divided
            del divided
        del before


def _adamw(m, state, way, run):
    """Adam, and one more product in place, which decays the parameters."""
    _adam(m, state, way, run, numbers=3)


def _number(m, dtype):
    with m.number(dtype):
        pass


OF = {"sgd": _sgd, "momentum": _momentum, "adam": _adam, "adamw": _adamw}
