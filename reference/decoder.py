r"""A decoder in the two forms that are trained most: GPT-2's and Llama's.

    x ← x + attention(norm(x)),   x ← x + feed_forward(norm(x)),   logits = norm(x) Wᵀ

GPT-2 adds learned positions, centres its norms and bends with GELU; Llama turns queries and keys, and gates.
Attention is `explicit` (the scores are a tensor, as in reference.attention) or `sdpa` (PyTorch's fused function).
`recompute="full"` keeps the input of each block only, or of each `every` blocks, and runs them again in the backward
pass; "selective" does so with attention alone, keeping queries, keys and values. With `chunks` the loss is the sum over
so many parts of the rows, whose logits are computed again in the backward pass: no more than a part of them is ever in
memory.

Derivation derivations/decoder.py: the same text over shapes in place of tensors, which predicts what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from reference import expect
from reference.rope import frequencies

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

FORMS, ATTENTIONS, RECOMPUTE = ("gpt2", "llama"), ("explicit", "sdpa"), ("none", "selective", "full")


@dataclass(frozen=True)
class Sizes:
    """L layers of width D; H query and G key-value heads of K; F hidden units, V symbols, S positions at most."""

    form: str
    L: int
    D: int
    H: int
    G: int
    K: int
    F: int
    V: int
    S: int
    tied: bool = True
    attention: str = "sdpa"
    dropout: float = 0.0
    recompute: str = "none"
    chunks: int = 1
    every: int = 1

    def __post_init__(self):
        for name, known in (("form", FORMS), ("attention", ATTENTIONS), ("recompute", RECOMPUTE)):
            if getattr(self, name) not in known:
                expect.fail(name, f"one of {', '.join(known)}", repr(getattr(self, name)))
        for name in (*"LDHGKFVS", "chunks", "every"):
            expect.natural(name, getattr(self, name), 1)
        expect.number("dropout", self.dropout, 0, 1, open_high=True)
        if self.H % self.G:
            expect.fail("H", f"a multiple of {self.G} key-value heads", self.H)
        if self.form == "gpt2" and (self.D != self.H * self.K or self.G != self.H):
            expect.fail("gpt2", "D = H K and G = H", f"D = {self.D}, H = {self.H}, G = {self.G}, K = {self.K}")
        if self.form == "llama" and (self.K % 2 or self.dropout):
            expect.fail("llama", "an even K and no dropout", f"K = {self.K}, dropout {self.dropout}")


def explicit(q, k, v, mask: Tensor, dropout: float) -> Float[Tensor, "B H T K"]:
    """Attention with every score a number in memory; `mask` is True where a query may not see a key."""
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    p = F.softmax(scores.masked_fill(mask, -torch.inf), -1)
    return F.dropout(p, dropout) @ v


def through(blocks, x, *given):
    """Some blocks, one after the other: a segment."""
    for block in blocks:
        x = block(x, *given)
    return x


def core(sizes: Sizes):
    """Attention, which selective recomputation runs twice."""
    return partial(checkpoint, attend, use_reentrant=False) if sizes.recompute == "selective" else attend


def attend(q, k, v, sizes: Sizes, mask: Tensor | None, dropout: float) -> Float[Tensor, "B T H*K"]:
    """Causal attention of q over (k, v), the heads side by side again."""
    if sizes.attention == "sdpa":
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout, enable_gqa=sizes.G < sizes.H)
    else:
        if sizes.G < sizes.H:
            k, v = (x.repeat_interleave(sizes.H // sizes.G, 1) for x in (k, v))
        T = q.shape[2]
        assert mask is not None
        out = explicit(q, k, v, mask[:T, :T], dropout)
    return out.transpose(1, 2).flatten(2)


class Gpt2Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with LayerNorm, biases and tanh-GELU."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes, D = sizes, sizes.D
        self.norm1, self.qkv, self.out = nn.LayerNorm(D), nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.norm2, self.up, self.down = nn.LayerNorm(D), nn.Linear(D, sizes.F), nn.Linear(sizes.F, D)

    def attention(self, x, mask):
        sizes, dropout = self.sizes, self.sizes.dropout * self.training
        q, k, v = (part.unflatten(-1, (sizes.H, sizes.K)).transpose(1, 2) for part in self.qkv(x).split(sizes.D, -1))
        return F.dropout(self.out(core(sizes)(q, k, v, sizes, mask, dropout)), dropout)

    def feed_forward(self, x):
        hidden = F.gelu(self.up(x), approximate="tanh")
        return F.dropout(self.down(hidden), self.sizes.dropout * self.training)

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        return x + self.feed_forward(self.norm2(x))


def turn(x: Float[Tensor, "B H T K"], cos: Float[Tensor, "T K"], sin: Float[Tensor, "T K"]) -> Float[Tensor, "B H T K"]:
    """Rotary positions, half layout: reference.rope.rotate(x, positions, layout="half") with its table given."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with RMSNorm, rotary positions and SwiGLU."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes, D, heads, shared = sizes, sizes.D, sizes.H * sizes.K, sizes.G * sizes.K
        self.norm1, self.norm2 = nn.RMSNorm(D, eps=1e-5), nn.RMSNorm(D, eps=1e-5)
        self.q, self.out = nn.Linear(D, heads, bias=False), nn.Linear(heads, D, bias=False)
        self.k, self.v = nn.Linear(D, shared, bias=False), nn.Linear(D, shared, bias=False)
        self.gate, self.up = nn.Linear(D, sizes.F, bias=False), nn.Linear(D, sizes.F, bias=False)
        self.down = nn.Linear(sizes.F, D, bias=False)

    def attention(self, x, cos, sin, mask):
        q, k, v = (part(x).unflatten(-1, (-1, self.sizes.K)).transpose(1, 2) for part in (self.q, self.k, self.v))
        cos, sin, attend = cos.to(q.dtype), sin.to(q.dtype), core(self.sizes)
        return self.out(attend(turn(q, cos, sin), turn(k, cos, sin), v, self.sizes, mask, 0.0))

    def feed_forward(self, x):
        gated = F.silu(self.gate(x)) * self.up(x)
        return self.down(gated)

    def forward(self, x, cos, sin, mask):
        x = x + self.attention(self.norm1(x), cos, sin, mask)
        return x + self.feed_forward(self.norm2(x))


class Decoder(nn.Module):
    """Token ids "B T" to logits "B T V", or with targets "B T" to their mean cross-entropy.

    Parameters and tables have the dtype that is PyTorch's default when the model is built. Angles of rotary positions
    are computed in float64. Raises ValueError for ids that are not "B T", for T > S, and for targets of another shape.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None

    def __init__(self, sizes: Sizes, base: float = 10000.0):
        super().__init__()
        self.sizes, gpt2 = sizes, sizes.form == "gpt2"
        self.tokens = nn.Embedding(sizes.V, sizes.D)
        self.blocks = nn.ModuleList((Gpt2Block if gpt2 else LlamaBlock)(sizes) for _ in range(sizes.L))
        self.norm = nn.LayerNorm(sizes.D) if gpt2 else nn.RMSNorm(sizes.D, eps=1e-5)
        self.head = nn.Linear(sizes.D, sizes.V, bias=False)
        if sizes.tied:
            self.head.weight = self.tokens.weight
        if gpt2:
            self.positions = nn.Embedding(sizes.S, sizes.D)
        else:
            angle = torch.outer(torch.arange(sizes.S), frequencies(sizes.K, base)).repeat(1, 2)
            self.register_buffer("cos", angle.cos().to(torch.get_default_dtype()), persistent=False)
            self.register_buffer("sin", angle.sin().to(torch.get_default_dtype()), persistent=False)
        explicit = sizes.attention == "explicit"
        hidden = torch.ones(sizes.S, sizes.S, dtype=torch.bool).triu(1) if explicit else None
        self.register_buffer("mask", hidden, persistent=False)

    def forward(self, ids: Int[Tensor, "B T"], target: Int[Tensor, "B T"] | None = None):
        T = expect.axes("ids", ids, "B T")["T"]
        if T > self.sizes.S:
            expect.fail("axis T", f"at most the {self.sizes.S} positions of the model", T)
        if target is not None and target.shape != ids.shape:
            expect.fail("target", f"the shape of ids, {tuple(ids.shape)}", tuple(target.shape))
        x = self.tokens(ids)
        given: tuple[Tensor | None, ...] = (self.mask,)
        if self.sizes.form == "gpt2":
            x = x + self.positions(torch.arange(T, device=ids.device))
            x = F.dropout(x, self.sizes.dropout * self.training)
        else:
            given = self.cos[:T], self.sin[:T], self.mask
        full, every = self.sizes.recompute == "full", self.sizes.every
        for start in range(0, len(self.blocks), every):
            segment = partial(through, self.blocks[start : start + every])
            x = checkpoint(segment, x, *given, use_reentrant=False) if full else segment(x, *given)
        if target is not None and self.sizes.chunks > 1:
            return self.chunked_loss(self.norm(x).flatten(0, 1), target.flatten())
        logits = self.head(self.norm(x))
        return logits if target is None else F.cross_entropy(logits.flatten(0, 1), target.flatten())

    def chunked_loss(self, x: Float[Tensor, "N D"], target: Int[Tensor, "N"]) -> Float[Tensor, ""]:
        """The mean cross-entropy, from sums over parts of the rows."""
        total = torch.zeros((), device=x.device)
        for rows, wanted in zip(x.chunk(self.sizes.chunks), target.chunk(self.sizes.chunks), strict=True):
            total = total + checkpoint(self.summed_loss, rows, wanted, use_reentrant=False)
        return total / len(target)

    def summed_loss(self, x, target):
        return F.cross_entropy(self.head(x), target, reduction="sum")
