r"""The decoder of reference/decoder.py once more, over the shapes of derivations.machine: what is alive when.

Every local variable here lives as long as its namesake there, since what is alive is what is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from derivations.architecture import Architecture


@dataclass(frozen=True)
class Run:
    """How a model is run: B sequences of T tokens, and what PyTorch is told."""

    B: Any
    T: Any
    attention: str = "sdpa"
    dropout: float = 0.0
    recompute: str = "none"
    dtype: str = "float32"
    positions: Any = 0


def explicit(m, q, k, v, dropout):
    scores = m.scale(m.matmul(q, m.transpose(k, 2, 3)))
    p = m.softmax(m.masked_fill(scores))
    return m.matmul(m.dropout(p, dropout), v)


def attend(m, q, k, v, run):
    if run.attention == "sdpa":
        out = m.attention(q, k, v, run.dropout)
    else:
        if k.shape[1] != q.shape[1]:
            n = q.shape[1] // k.shape[1]
            k, v = (m.repeat(x, n) for x in (k, v))
        out = explicit(m, q, k, v, run.dropout)
    B, H, T, K = out.shape
    return m.reshape(m.transpose(out, 1, 2), B, T, H * K)


def linear(m, x, name, out, run, biased):
    bias = m.weight(f"{name}.bias", (out,), run.dtype) if biased else None
    return m.linear(x, m.weight(f"{name}.weight", (out, x.shape[-1]), run.dtype), bias)


def norm(m, x, name, a, run):
    shape = (x.shape[-1],)
    if a.norm == "layer":
        return m.layer_norm(x, m.weight(f"{name}.weight", shape, run.dtype), m.weight(f"{name}.bias", shape, run.dtype))
    return m.rms_norm(x, m.weight(f"{name}.weight", shape, run.dtype))


def gpt2_block(m, a, run, name, x):
    layer = partial(linear, m, run=run, biased=True)

    def attention(x):
        q, k, v = (m.heads(part, a.K) for part in m.split(layer(x, f"{name}.qkv", 3 * a.D), a.D))
        return m.dropout(layer(attend(m, q, k, v, run), f"{name}.out", a.D), run.dropout)

    def feed_forward(x):
        hidden = m.unary(layer(x, f"{name}.up", a.F), "gelu")
        return m.dropout(layer(hidden, f"{name}.down", a.D), run.dropout)

    x = m.add(x, attention(norm(m, x, f"{name}.norm1", a, run)))
    return m.add(x, feed_forward(norm(m, x, f"{name}.norm2", a, run)))


def turn(m, x, cos, sin):
    a, b = m.split(x, x.shape[-1] // 2)
    return m.add(m.mul(x, cos), m.mul(m.cat(m.negate(b), a), sin))


def llama_block(m, a, run, cos, sin, name, x):
    layer = partial(linear, m, run=run, biased=False)

    def attention(x, cos, sin):
        q, k, v = (m.heads(layer(x, f"{name}.{part}", n * a.K), a.K) for part, n in (("q", a.H), ("k", a.G), ("v", a.G)))
        cos, sin = m.to(cos, q.dtype), m.to(sin, q.dtype)
        return layer(attend(m, turn(m, q, cos, sin), turn(m, k, cos, sin), v, run), f"{name}.out", a.D)

    def feed_forward(x):
        gated = m.mul(m.unary(layer(x, f"{name}.gate", a.F), "silu"), layer(x, f"{name}.up", a.F))
        return layer(gated, f"{name}.down", a.D)

    x = m.add(x, attention(norm(m, x, f"{name}.norm1", a, run), cos, sin))
    return m.add(x, feed_forward(norm(m, x, f"{name}.norm2", a, run)))


def loss(m, a: Architecture, run: Run):
    """The loss of one batch, with its graph."""
    w = m.weight("tokens.weight", (a.V, a.D), run.dtype)
    m.where = "embedding"
    x = m.embedding(m.ids(run.B, run.T), w)
    if a.S != 0:
        positions = m.weight("positions.weight", (a.S, a.D), run.dtype)
        x = m.add(x, m.embedding(m.arange(run.T), positions))
        x, block = m.dropout(x, run.dropout), partial(gpt2_block, m, a, run)
    else:
        cos, sin = (m.buffer((run.T, a.K), run.dtype) for _ in range(2))
        block = partial(llama_block, m, a, run, cos, sin)
    for i in range(a.L):
        m.where = f"block {i}"
        one = partial(block, f"blocks.{i}")
        x = m.checkpoint(one, x) if run.recompute == "full" else one(x)
    m.where = "head"
    head = w if a.tied else m.weight("head.weight", (a.V, a.D), run.dtype)
    logits = m.linear(norm(m, x, "norm", a, run), head)
    return m.cross_entropy(logits)


def weights(a: Architecture, run: Run):
    """(name, shape) of every parameter, in the order of the modules of reference/decoder.py."""
    gpt2 = a.norm == "layer"

    def layer(name, out, into):
        yield f"{name}.weight", (out, into)
        if gpt2:
            yield f"{name}.bias", (out,)

    def norm(name):
        yield f"{name}.weight", (a.D,)
        if gpt2:
            yield f"{name}.bias", (a.D,)

    yield "tokens.weight", (a.V, a.D)
    for i in range(a.L):
        b = f"blocks.{i}"
        if gpt2:
            yield from norm(f"{b}.norm1")
            yield from layer(f"{b}.qkv", 3 * a.D, a.D)
            yield from layer(f"{b}.out", a.D, a.D)
            yield from norm(f"{b}.norm2")
            yield from layer(f"{b}.up", a.F, a.D)
            yield from layer(f"{b}.down", a.D, a.F)
        else:
            yield from norm(f"{b}.norm1")
            yield from norm(f"{b}.norm2")
            heads, shared = a.H * a.K, a.G * a.K
            for name, out, into in (("q", heads, a.D), ("out", a.D, heads), ("k", shared, a.D), ("v", shared, a.D),
                                    ("gate", a.F, a.D), ("up", a.F, a.D), ("down", a.D, a.F)):  # fmt: skip
                yield from layer(f"{b}.{name}", out, into)
    yield from norm("norm")
    if not a.tied:
        yield "head.weight", (a.V, a.D)
    if gpt2:
        yield "positions.weight", (a.S, a.D)


def buffers(a: Architecture, run: Run):
    """(shape, dtype) of what the model keeps beside its parameters, for run.positions positions."""
    if a.norm != "layer":
        yield from [((run.positions, a.K), run.dtype)] * 2
    if run.attention == "explicit":
        yield (run.positions, run.positions), "bool"
