r"""What a decoder is made of: its sizes as data, and the list of its weights, from which parameters are counted.

Sizes are integers, or symbols when a formula is wanted: the same lists give both. Letters as in papers/notation.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any


@dataclass(frozen=True)
class Experts:
    """E experts of F hidden units, of which each token takes `active`, beside `shared` ones that all take.

    The first `dense` layers have an ordinary feed-forward layer instead; `biased` routers add a number per expert.
    """

    E: Any
    active: Any
    F: Any
    shared: Any = 0
    dense: int = 0
    biased: bool = False


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: ranks of queries (None: full) and of keys with values; head widths of each part."""

    kv: Any
    nope: Any
    rope: Any
    value: Any
    q: Any = None


@dataclass(frozen=True)
class Architecture:
    """L layers of width D; H query and G key-value heads of K; F hidden units; V symbols; S learned positions.

    norm          "layer" (weight and bias), "rms" (weight) or "none"  (no parameters)
    gated         three matrices in the feed-forward layer, not two
    bias          on every matrix of a block; qkv_bias: on queries, keys and values only
    qk_norm       RMSNorm of the K coordinates of each query and key; joint: of those of all heads at once
    before, after where a block has norms: before attention and feed-forward, after them, or both
    sinks         a number per query head that joins the softmax as one more score
    window, full  every `full`-th layer (0: none) attends to everything, the others to the last `window` keys
    """

    L: Any
    D: Any
    H: Any
    G: Any
    K: Any
    F: Any
    V: Any
    S: Any = 0
    norm: str = "rms"
    gated: bool = True
    bias: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    joint: bool = False
    before: bool = True
    after: bool = False
    sinks: bool = False
    tied: bool = False
    window: Any = None
    full: int = 1
    experts: Experts | None = None
    latent: Latent | None = None
    name: str = ""


Weights = Iterator[tuple[str, tuple[Any, ...]]]


def _norm(a: Architecture, name: str, width: Any) -> Weights:
    if a.norm != "none":
        yield f"{name}.weight", (width,)
    if a.norm == "layer":
        yield f"{name}.bias", (width,)


def _matrix(name: str, out: Any, into: Any, bias: bool = False) -> Weights:
    yield f"{name}.weight", (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def attention_weights(a: Architecture) -> Weights:
    """The weights of one attention layer, (out, in) each."""
    biased = a.bias or a.qkv_bias
    if a.latent:
        c = a.latent
        if c.q is None:
            yield from _matrix("q", a.H * (c.nope + c.rope), a.D)
        else:
            yield from _matrix("q_down", c.q, a.D)
            yield from _norm(a, "q_norm", c.q)
            yield from _matrix("q_up", a.H * (c.nope + c.rope), c.q)
        yield from _matrix("kv_down", c.kv + c.rope, a.D)
        yield from _norm(a, "kv_norm", c.kv)
        yield from _matrix("kv_up", a.H * (c.nope + c.value), c.kv)
        yield from _matrix("out", a.D, a.H * c.value)
        return
    for name, heads in (("q", a.H), ("k", a.G), ("v", a.G)):
        yield from _matrix(name, heads * a.K, a.D, biased)
    if a.qk_norm:
        yield "q_norm.weight", (a.H * a.K if a.joint else a.K,)
        yield "k_norm.weight", (a.G * a.K if a.joint else a.K,)
    if a.sinks:
        yield "sinks", (a.H,)
    yield from _matrix("out", a.D, a.H * a.K, a.bias)


def feed_forward_weights(a: Architecture, F: Any, bias: bool | None = None) -> Weights:
    """The weights of a feed-forward layer of F hidden units."""
    bias = a.bias if bias is None else bias
    if a.gated:
        yield from _matrix("gate", F, a.D, bias)
    yield from _matrix("up", F, a.D, bias)
    yield from _matrix("down", a.D, F, bias)


def block_weights(a: Architecture, sparse: bool = False) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """(name, shape, how many of them) for one block; `sparse` blocks have experts."""
    once = list(attention_weights(a))
    if a.before:
        once = [*_norm(a, "norm1", a.D), *once, *_norm(a, "norm2", a.D)]
    if a.after:
        once += [*_norm(a, "after1", a.D), *_norm(a, "after2", a.D)]
    yield from ((name, shape, 1) for name, shape in once)
    if not sparse or a.experts is None:
        yield from ((name, shape, 1) for name, shape in feed_forward_weights(a, a.F))
        return
    e = a.experts
    yield "router.weight", (e.E, a.D), 1
    if e.biased:
        yield "router.bias", (e.E,), 1
    yield from ((f"experts.{name}", shape, e.E) for name, shape in feed_forward_weights(a, e.F))
    if e.shared != 0:
        yield from ((f"shared.{name}", shape, e.shared) for name, shape in feed_forward_weights(a, e.F))


def weights(a: Architecture) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """(name, shape, how many of them) for every weight of the model; the head is none of its own when tied."""
    yield "tokens.weight", (a.V, a.D), 1
    if a.S != 0:
        yield "positions.weight", (a.S, a.D), 1
    dense = a.L if a.experts is None else a.experts.dense
    for sparse, layers in ((False, dense), (True, a.L - dense)):
        if layers != 0:
            yield from ((f"blocks.{name}", shape, n * layers) for name, shape, n in block_weights(a, sparse))
    yield from ((name, shape, 1) for name, shape in _norm(a, "norm", a.D))
    if not a.tied:
        yield "head.weight", (a.V, a.D), 1


def parameters(a: Architecture) -> Any:
    """How many numbers the weights hold: P."""
    return sum((prod(shape) * count for _, shape, count in weights(a)), start=0)


def active_parameters(a: Architecture) -> Any:
    """How many of them one token meets: of E experts only the active ones."""
    total = parameters(a)
    if a.experts is None:
        return total
    one = sum(prod(shape) for _, shape in feed_forward_weights(a, a.experts.F))
    return total - (a.L - a.experts.dense) * (a.experts.E - a.experts.active) * one
