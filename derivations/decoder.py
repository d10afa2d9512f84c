r"""The decoder of reference/decoder.py once more, over the shapes of derivations.machine: what is alive when.

Every local variable here lives as long as its namesake there, since what is alive is what is predicted. What goes
beyond that model (experts, latent attention, low-rank adapters, stages of a pipeline) is written in the same way, and
has not been held against a run yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from derivations.architecture import Architecture


@dataclass(frozen=True)
class Run:
    """How a model is run: B sequences of T tokens, and what PyTorch is told.

    recompute  "full": blocks keep their inputs; "selective": attention keeps queries, keys and values
    every      so many blocks are a segment, if all are recomputed: the first keeps its input
    chunks     of the loss, whose logits are computed again for one part of the rows after the other
    dtype      of the parameters; autocast is the machine's business
    positions  how many the model's tables and masks hold
    rank       of adapters beside every matrix of a block, whose own weights are frozen; 0: none
    first, last  is the embedding here, and the head? for stages of a pipeline
    """

    B: Any
    T: Any
    attention: str = "sdpa"
    dropout: float = 0.0
    recompute: str = "none"
    chunks: int = 1
    dtype: str = "float32"
    positions: Any = 0
    rank: Any = 0
    first: bool = True
    last: bool = True
    every: int = 1


def is_gpt2(a: Architecture) -> bool:
    """GPT-2's block has one matrix for queries, keys and values together."""
    return a.S != 0


def explicit(m, q, k, v, dropout):
    scores = m.scale(m.matmul(q, m.transpose(k, 2, 3)))
    p = m.softmax(m.masked_fill(scores))
    return m.matmul(m.dropout(p, dropout), v)


def attend(m, run, q, k, v):
    if m.past is not None:
        k, v = m.cached(k), m.cached(v)
    if run.attention == "sdpa":
        out = m.attention(q, k, v, run.dropout)
    else:
        if k.shape[1] != q.shape[1]:
            n = q.shape[1] // k.shape[1]
            k, v = (m.repeat(x, n) for x in (k, v))
        out = explicit(m, q, k, v, run.dropout)
    B, H, T, K = out.shape
    return m.reshape(m.transpose(out, 1, 2), B, T, H * K)


def attend_twice(m, run, q, k, v):
    return m.checkpoint(partial(attend, m, run), q, k, v)


def core(run):
    """Attention itself, which selective recomputation runs twice."""
    return attend_twice if run.recompute == "selective" else attend


def parameter(m, name, shape, run, adapter=False):
    """Beside adapters, everything else is frozen."""
    return m.buffer(shape, run.dtype) if run.rank and not adapter else m.weight(name, shape, run.dtype)


def linear(m, x, name, out, run, biased):
    bias = parameter(m, f"{name}.bias", (out,), run) if biased else None
    y = m.linear(x, parameter(m, f"{name}.weight", (out, x.shape[-1]), run), bias)
    if not run.rank:
        return y
    down = m.linear(x, parameter(m, f"{name}.down", (run.rank, x.shape[-1]), run, True))
    return m.add(y, m.scale(m.linear(down, parameter(m, f"{name}.up", (out, run.rank), run, True))))


def norm(m, x, name, a, run):
    shape = (x.shape[-1],)
    if a.norm == "layer":
        return m.layer_norm(x, parameter(m, f"{name}.weight", shape, run), parameter(m, f"{name}.bias", shape, run))
    return m.rms_norm(x, parameter(m, f"{name}.weight", shape, run))


def gpt2_block(m, a, run, name, x):
    layer = partial(linear, m, run=run, biased=True)

    def attention(x):
        width = a.H * a.K
        q, k, v = (m.heads(part, a.H, a.K) for part in m.split(layer(x, f"{name}.qkv", 3 * width), *[width] * 3))
        return m.dropout(layer(core(run)(m, run, q, k, v), f"{name}.out", a.D), run.dropout)

    def feed_forward(x):
        hidden = m.unary(layer(x, f"{name}.up", a.F), "gelu")
        return m.dropout(layer(hidden, f"{name}.down", a.D), run.dropout)

    x = m.add(x, attention(norm(m, x, f"{name}.norm1", a, run)))
    return m.add(x, feed_forward(norm(m, x, f"{name}.norm2", a, run)))


def turn(m, x, cos, sin):
    a, b = m.split(x, *[x.shape[-1] // 2] * 2)
    return m.add(m.mul(x, cos), m.mul(m.cat(m.negate(b), a), sin))


def llama_block(m, a, run, cos, sin, sparse, name, x):
    layer = partial(linear, m, run=run, biased=a.bias)

    def attention(x, cos, sin):
        part = partial(linear, m, run=run, biased=a.bias or a.qkv_bias)
        q, k, v = (m.heads(part(x, f"{name}.{to}", n * a.K), n, a.K) for to, n in (("q", a.H), ("k", a.G), ("v", a.G)))
        if a.qk_norm:
            q, k = norm(m, q, f"{name}.q_norm", a, run), norm(m, k, f"{name}.k_norm", a, run)
        cos, sin = m.to(cos, q.dtype), m.to(sin, q.dtype)
        return layer(core(run)(m, run, turn(m, q, cos, sin), turn(m, k, cos, sin), v), f"{name}.out", a.D)

    def latent(x, cos, sin):
        c = a.latent
        if c.q is None:
            q = layer(x, f"{name}.q", a.H * (c.nope + c.rope))
        else:
            q = norm(m, layer(x, f"{name}.q_down", c.q), f"{name}.q_norm", a, run)
            q = layer(q, f"{name}.q_up", a.H * (c.nope + c.rope))
        plain, turned = m.split(m.heads(q, a.H, c.nope + c.rope), c.nope, c.rope)
        kept, shared = m.split(layer(x, f"{name}.kv_down", c.kv + c.rope), c.kv, c.rope)
        if m.past is not None:
            return layer(m.absorbed(q, a), f"{name}.out", a.D)
        kv = layer(norm(m, kept, f"{name}.kv_norm", a, run), f"{name}.kv_up", a.H * (c.nope + c.value))
        k, v = m.split(m.heads(kv, a.H, c.nope + c.value), c.nope, c.value)
        cos, sin = m.to(cos, q.dtype), m.to(sin, q.dtype)
        q = m.cat(plain, turn(m, turned, cos, sin))
        k = m.cat(k, m.expand(turn(m, m.heads(shared, 1, c.rope), cos, sin), a.H))
        return layer(core(run)(m, run, q, k, v), f"{name}.out", a.D)

    def feed_forward(x, width=a.F, name=name):
        if not a.gated:
            return layer(m.unary(layer(x, f"{name}.up", width), "gelu"), f"{name}.down", a.D)
        gated = m.mul(m.unary(layer(x, f"{name}.gate", width), "silu"), layer(x, f"{name}.up", width))
        return layer(gated, f"{name}.down", a.D)

    def mixture(x):
        """Every token takes `active` experts, which are assumed to be equally busy; rows are grouped by expert."""
        e, (B, T, D) = a.experts, x.shape
        choice = m.softmax(m.linear(x, parameter(m, f"{name}.router.weight", (e.E, D), run)))
        share = m.chosen(choice, e.active)
        taken = m.gather(m.reshape(x, B * T, D), e.active)
        product = partial(m.grouped, experts=e.E)
        gate, up, down = (
            parameter(m, f"{name}.experts.{to}", shape, run)
            for to, shape in (("gate", (e.E, e.F, D)), ("up", (e.E, e.F, D)), ("down", (e.E, D, e.F)))
        )
        hidden = m.mul(m.unary(product(taken, gate), "silu"), product(taken, up))
        out = m.reshape(m.combine(m.mul(product(hidden, down), m.reshape(share, B * T * e.active, 1)), B * T), B, T, D)
        return m.add(out, feed_forward(x, e.shared * e.F, f"{name}.shared")) if e.shared else out

    def before(x, number):
        return norm(m, x, f"{name}.norm{number}", a, run) if a.before else x

    def after(x, number):
        return norm(m, x, f"{name}.after{number}", a, run) if a.after else x

    mix = mixture if sparse else feed_forward
    x = m.add(x, after((latent if a.latent else attention)(before(x, 1), cos, sin), 1))
    return m.add(x, after(mix(before(x, 2)), 2))


def blocks(m, a: Architecture, run: Run, x):
    """The residual stream through all layers, in segments where they are recomputed."""
    rows = a.latent.rope if a.latent else a.K
    cos, sin = (m.buffer((run.T, rows), run.dtype) for _ in range(2))
    dense = a.experts.dense if a.experts else a.L
    parts = []
    for i in range(a.L):
        if is_gpt2(a):
            parts.append((f"block {i}", partial(gpt2_block, m, a, run, f"blocks.{i}")))
        else:
            parts.append((f"block {i}", partial(llama_block, m, a, run, cos, sin, i >= dense, f"blocks.{i}")))
    for start in range(0, a.L, run.every):
        segment = partial(through, m, parts[start : start + run.every])
        x = m.checkpoint(segment, x) if run.recompute == "full" else segment(x)
    return x


def through(m, parts, x):
    for where, block in parts:
        m.where = where if m.phase != "again" else f"{where}, recomputed"
        x = block(x)
    return x


def embedded(m, a, run):
    m.where = "embedding"
    x = m.embedding(m.ids(run.B, run.T), parameter(m, "tokens.weight", (a.V, a.D), run))
    if is_gpt2(a):
        x = m.add(x, m.embedding(m.arange(run.T), parameter(m, "positions.weight", (a.S, a.D), run)))
        x = m.dropout(x, run.dropout)
    return x


def loss(m, a: Architecture, run: Run):
    """The loss of one batch with its graph; of a stage that is not the last, what it hands on."""
    x = embedded(m, a, run) if run.first else m.received((run.B, run.T, a.D), run.dtype)
    x = blocks(m, a, run, x)
    if not run.last:
        return x
    m.where = "head"
    head = parameter(m, "tokens.weight" if a.tied else "head.weight", (a.V, a.D), run)
    if run.chunks > 1:
        return chunked_loss(m, m.reshape(norm(m, x, "norm", a, run), run.B * run.T, a.D), head, run.chunks)
    logits = m.linear(norm(m, x, "norm", a, run), head)
    return m.cross_entropy(logits)


def chunked_loss(m, x, head, chunks):
    total = m.new((), "float32", "loss")
    for rows in m.split_rows(x, -(-x.shape[0] // chunks)):
        total = m.add(total, m.checkpoint(partial(summed_loss, m, head), rows))
    return m.scale(total)


def summed_loss(m, head, x):
    return m.cross_entropy(m.linear(x, head))


def step(m, a: Architecture, run: Run):
    """Forward and backward pass; the gradients are left in m.gradients."""
    out = loss(m, a, run)
    m.cache.clear()  # autocast ends
    m.backward(out)
    return out
