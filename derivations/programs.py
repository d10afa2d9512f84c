r"""Programs that run the decoder of derivations.decoder and tell what it takes, part by part.

Their arguments are sizes: integers, or letters that stand for all integers (derivations.uniform). Blocks are watched:
each must leave the residual stream as it found it, in shape, strides and dtype, so that one more does what the last one
did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from derivations.architecture import Architecture, Latent, parameters
from derivations.budget import categories
from derivations.decoder import Run, blocks, embedded, loss
from derivations.eager_cpu import Cpu
from derivations.eager_cuda import Cuda
from derivations.inference import cache_bytes
from derivations.polynomial import terms
from derivations.training import train
from derivations.uniform import Doubtful, largest

Program = Callable[..., Mapping[str, Any]]


def gpt2(L, D, H, K, F=2, V=2, S=2, tied=True):
    """GPT-2's form; sizes that do not matter may be left out."""
    return Architecture(L, D, H, H, K, F, V, S, norm="layer", gated=False, bias=True, tied=tied)


def llama(L, D, G, H, R, F=2, V=2):
    """Llama's form; a head is R pairs wide."""
    return Architecture(L, D, H, G, 2 * R, F, V)


def mla(L, C, R):
    """What a cache sees of latent attention: C latent numbers and R turned ones a token."""
    return Architecture(L, 2, 2, 2, 2, 2, 2, latent=Latent(C, 2, R, 2))


class Watching(Cpu):
    """A machine on which blocks may be checkpointed without being run again: it looks at what goes in and comes out."""

    traffic = False

    def checkpoint(self, part, *inputs):
        before = [_seen(x) for x in inputs]
        out = part(*inputs)
        if before != [_seen(out)]:
            raise Doubtful("a block does not leave the residual stream as it found it")
        return out


class WatchingCuda(Watching, Cuda):
    """The same on CUDA."""


WATCHING = {"cpu": Watching, "cuda": WatchingCuda}


def _seen(x):
    """All that an operation can see of a tensor."""
    axes = [tuple(sorted(terms(n).items())) for n in (*x.shape, *x.strides, x.storage.bytes)]
    return axes, x.dtype, x.view, x.edge is not None


class Quiet(Cpu):
    """A CPU whose kernels take no scratch."""

    traffic = False

    def scratch(self, *sizes):
        pass


def alive(events: Iterable) -> Counter[str]:
    """Bytes taken and not given back, by the operation that took them; workspaces of libraries left out."""
    held: dict[int, tuple[str, Any]] = {}
    for key, size, what, _ in events:
        if key in held:
            del held[key]
        elif key is not None and what != "workspace":
            held[key] = what, size
    found = Counter[str]()
    for what, size in held.values():
        found[what] += size
    return found


@cache
def kept(form, table="cpu", autocast=False, **run) -> Program:
    """What is alive when the backward pass begins."""

    def program(L, B, T, **sizes):
        m = WATCHING[table](autocast)
        out = loss(m, form(L, **sizes), Run(B, T, **run, recompute="full"))
        m.cache.clear()
        found = alive(m.events)
        del out
        return found

    return program


@cache
def at_loss(form) -> Program:
    """What is alive when the softmax of the loss has made its gradient."""

    class Reached(Exception):
        pass

    class Stopping(Watching):
        def new(self, shape, dtype, what, strides=None, view=False):
            tensor = super().new(shape, dtype, what, strides, view)
            if what == "gradient of the logits" and self.where.startswith("LogSoftmax"):
                self.reached = alive(self.events)
                raise Reached
            return tensor

    def program(L, B, T, **sizes):
        m = Stopping()
        try:
            m.backward(loss(m, form(L, **sizes), Run(B, T, recompute="full")))
        except Reached:
            return m.reached
        raise Doubtful("the softmax of the loss has no backward pass")

    return program


@cache
def live(form) -> Program:
    """The largest live set of the blocks in inference, without scratch."""

    class Watched(Quiet, Watching):
        pass

    def program(L, B, T, **sizes):
        m, total, totals = Watched(), 0, []
        m.graph = False
        a, run = form(L, **sizes), Run(B, T, recompute="full")
        x = blocks(m, a, run, embedded(m, a, run))
        for _, size, _, _ in m.events:
            total = total + size
            totals.append(total)
        del x
        return {"live": largest(totals)}

    return program


@cache
def state(form) -> Program:
    """Parameters, gradients and optimizer state after a step of AdamW under autocast."""

    def program(L, **sizes):
        m = Watching(autocast=True)
        a = form(L, **sizes)
        m.state = train(m, a, Run(2, 2, recompute="full"), "adamw", "fused", steps=1)
        end = next(number for number, event in enumerate(m.events) if event[2] == "step 0: done")
        part = categories(m)
        found = alive((key, size, part.get(key), where) for key, size, _, where in m.events[:end])
        return {part: found[part] for part in ("parameters", "gradients", "optimizer")}

    return program


@cache
def counted(form) -> Program:
    """How many parameters there are."""

    def program(L, **sizes):
        return {"parameters": parameters(form(L, **sizes))}

    return program


@cache
def cached(form, dtype="bfloat16") -> Program:
    """The cache of keys and values for T tokens of B sequences."""

    def program(L, B, T, **sizes):
        return {"cache": cache_bytes(form(L, **sizes), B, T, dtype)}

    return program


@cache
def work(form, **run) -> Program:
    """Operations of the matrix products of a forward and a backward pass, by kind, as "backward: attention"."""

    def program(L, B, T, **sizes):
        m, found = Watching(), Counter[str]()
        m.backward(loss(m, form(L, **sizes), Run(B, T, **run, recompute="full")))
        for _, what, amount, phase in m.work:
            found[f"{phase}: {what}"] += amount
        return found

    return program
