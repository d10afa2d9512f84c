r"""Every parameter and buffer of the model by name, in the order of the modules of reference/decoder.py.

The order matters to the caching allocator only; names and shapes are those that derivations.decoder asks for.
"""

from __future__ import annotations

from math import prod

from derivations.architecture import Architecture, attention_weights, feed_forward_weights
from derivations.decoder import Run, is_gpt2

LLAMA = ("norm1", "norm2", "q", "out", "k", "v", "gate", "up", "down")


def block(a: Architecture, sparse: bool):
    """(name, shape) of the parameters of one block."""

    def norm(name):
        yield f"{name}.weight", (a.D,)
        if a.norm == "layer":
            yield f"{name}.bias", (a.D,)

    def layer(name, out, into):
        yield f"{name}.weight", (out, into)
        yield f"{name}.bias", (out,)

    if is_gpt2(a):
        width = a.H * a.K
        yield from norm("norm1")
        yield from layer("qkv", 3 * width, a.D)
        yield from layer("out", a.D, width)
        yield from norm("norm2")
        yield from layer("up", a.F, a.D)
        yield from layer("down", a.D, a.F)
        return
    found = [*attention_weights(a)]
    if a.before:
        found += [*norm("norm1"), *norm("norm2")]
    if a.after:
        found += [*norm("after1"), *norm("after2")]
    if not sparse:
        found += feed_forward_weights(a, a.F)
    found.sort(key=lambda item: LLAMA.index(n) if (n := item[0].split(".")[0]) in LLAMA else len(LLAMA))
    yield from found
    if sparse and a.experts:
        e = a.experts
        yield "router.weight", (e.E, a.D)
        if e.biased:
            yield "router.bias", (e.E,)
        yield from ((f"experts.{n.split('.')[0]}", (e.E, *shape)) for n, shape in feed_forward_weights(a, e.F))
        if e.shared:
            yield from ((f"shared.{n}", shape) for n, shape in feed_forward_weights(a, e.shared * e.F))


def weights(a: Architecture, run: Run):
    """(name, shape) of every parameter; beside adapters all of them are frozen."""
    if run.first:
        yield "tokens.weight", (a.V, a.D)
    dense = a.experts.dense if a.experts else a.L
    for i in range(a.L):
        yield from ((f"blocks.{i}.{name}", shape) for name, shape in block(a, i >= dense))
    if run.last:
        yield "norm.weight", (a.D,)
        if a.norm == "layer":
            yield "norm.bias", (a.D,)
        if not a.tied or not run.first:
            yield "head.weight", (a.V, a.D)
    if run.first and is_gpt2(a):
        yield "positions.weight", (a.S, a.D)


def adapters(a: Architecture, run: Run):
    """(name, shape) of the two matrices beside every matrix of a block, if there are any."""
    if not run.rank:
        return
    for name, shape in weights(a, run):
        if name.startswith("blocks.") and len(shape) == 2 and "router" not in name:
            layer = name.removesuffix(".weight")
            yield f"{layer}.down", (run.rank, shape[1])
            yield f"{layer}.up", (shape[0], run.rank)


def buffers(a: Architecture, run: Run):
    """(shape, dtype) of what the model keeps beside its parameters."""
    if not is_gpt2(a):
        yield from [((run.positions, a.latent.rope if a.latent else a.K), run.dtype)] * 2
    if run.attention == "explicit":
        size = a.S if is_gpt2(a) else run.positions
        yield (size, size), "bool"


def parameters(a: Architecture, run: Run):
    """How many numbers are trained, and how many are frozen."""
    own, beside = (sum((prod(shape) for _, shape in found(a, run)), start=0) for found in (weights, adapters))
    return (beside, own) if run.rank else (own, 0)
