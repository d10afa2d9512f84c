r"""A decoder as a function of its weights: token ids to logits, for every architecture of reference/architecture.py.

    logits(*load(folder), ids, mask) : "B T" → "B T V"

Batches are padded on either side: `mask` is True where a token is text. A `Cache` remembers keys and values, so that
a text can be read in parts. All is computed in the dtype of the weights, angles in float64.
Laws tests/test_checkpoint.py, real checkpoints reference/checkpoint.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect, rope
from reference.activations import gelu, quick_gelu, relu, silu, softcap
from reference.attention import attend
from reference.loss import next_token_loss
from reference.normalization import layer_norm, rms_norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from reference.architecture import Architecture, Layer, Rotation

    Weights = Mapping[str, Tensor]

IGNORED = -100


def gelu_tanh(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    """GELU in its tanh form."""
    return gelu(x, "tanh")


ACTIVATIONS = {"silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh, "relu": relu, "quick_gelu": quick_gelu}


class Cache:
    """Keys and values of every layer, and of every token so far its position and whether it is text."""

    def __init__(self):
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.text: Bool[Tensor, "B S"] | None = None
        self.positions: Int[Tensor, "B S"] | None = None

    def extended(self, i: int, k: Float[Tensor, "B G T K"], v: Float[Tensor, "B G T K"]):
        """All keys and values of layer i, once these have come."""
        if i < len(self.kept):
            old_k, old_v = self.kept[i]
            self.kept[i] = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        else:
            self.kept.append((k, v))
        return self.kept[i]

    def seen(self, text: Bool[Tensor, "B T"], positions: Int[Tensor, "B T"] | None):
        """(text, positions) of all tokens, once these have come; by default text is counted on from 0."""
        if self.text is None:
            self.text, self.positions = text, counted(text, 0) if positions is None else positions
        else:
            assert self.positions is not None
            expect.agree(B=(self.text.shape[0], text.shape[0]))
            new = counted(text, self.text.sum(1, keepdim=True)) if positions is None else positions
            self.text, self.positions = torch.cat([self.text, text], 1), torch.cat([self.positions, new], 1)
        return self.text, self.positions


def counted(text: Bool[Tensor, "B T"], start: Int[Tensor, "B 1"] | int) -> Int[Tensor, "B T"]:
    """The number of tokens of text before each: the positions of a padded batch are those of its texts alone."""
    return (start + text.long().cumsum(1) - 1).clamp(min=0)


def frequencies(rotation: Rotation, length: int) -> Float[Tensor, "R/2"]:
    """In radians a position, for a text that has this length now (it matters to dynamic scaling alone)."""
    r = rotation
    if r.kind == "linear":
        return rope.interpolated(r.R, r.scale, r.base)
    if r.kind == "dynamic":
        return rope.dynamic_ntk(r.R, r.scale, length, r.trained, r.base)
    if r.kind == "yarn":
        return rope.yarn(r.R, r.scale, r.trained, r.base, beta_fast=r.high, beta_slow=r.low, truncate=r.truncate)[0]
    if r.kind == "llama3":
        return rope.llama3(r.R, r.scale, r.trained, r.base, low=r.low, high=r.high)
    plain = rope.frequencies(r.R, r.base)
    return plain / torch.tensor(r.divisors, dtype=torch.float64) if r.kind == "divided" else plain


def linear(x: Float[Tensor, "*B D"], weights: Weights, name: str) -> Float[Tensor, "*B F"]:
    """x Wᵀ, and the bias where there is one."""
    y = x @ weights[f"{name}.weight"].mT
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def norm(x: Float[Tensor, "*B D"], weights: Weights, name: str, a: Architecture) -> Float[Tensor, "*B D"]:
    """The architecture's norm."""
    weight = weights[f"{name}.weight"]
    weight = 1 + weight if a.centred else weight
    return layer_norm(x, weight, weights[f"{name}.bias"], a.eps) if a.norm == "layer" else rms_norm(x, weight, a.eps)


def attention(
    x: Float[Tensor, "B T D"],
    weights: Weights,
    i: int,
    a: Architecture,
    text: Bool[Tensor, "B S"],
    positions: Int[Tensor, "B S"],
    cache: Cache | None,
) -> Float[Tensor, "B T D"]:
    """Attention of the last T of S tokens over all of them."""
    layer, T = a.layers[i], x.shape[1]
    q, k, v = (linear(x, weights, f"blocks.{i}.{name}") for name in "qkv")
    if a.qk_norm == "joint":
        q, k = norm(q, weights, f"blocks.{i}.q_norm", a), norm(k, weights, f"blocks.{i}.k_norm", a)
    q, k, v = (part.unflatten(-1, (-1, a.K)).transpose(1, 2) for part in (q, k, v))
    if a.qk_norm == "head":
        q, k = norm(q, weights, f"blocks.{i}.q_norm", a), norm(k, weights, f"blocks.{i}.k_norm", a)
    if layer.rotation is not None:
        theta = frequencies(layer.rotation, int(positions.max()) + 1)
        q, k = (
            rope.rotate(part, positions[:, -T:], layout="half", theta=theta, factor=layer.rotation.factor)
            for part in (q, k)
        )
    if cache is not None:
        k, v = cache.extended(i, k, v)
    sees = visible(layer, T, text, positions)[:, None]
    mixed = attend(q, k, v, mask=sees, softcap=a.score_cap, scale=layer.scale)
    return linear(mixed.transpose(1, 2).flatten(2), weights, f"blocks.{i}.out")


def visible(layer: Layer, T: int, text: Bool[Tensor, "B S"], positions: Int[Tensor, "B S"]) -> Bool[Tensor, "B T S"]:
    """Which keys the last T tokens see: text, not after them, and less than a window before them."""
    S = text.shape[1]
    sees = torch.ones(T, S, dtype=torch.bool, device=text.device).tril(S - T) & text[:, None]
    if layer.window is not None:
        sees = sees & (positions[:, -T:, None] - positions[:, None] < layer.window)
    return sees


def feed_forward(x: Float[Tensor, "B T D"], weights: Weights, i: int, a: Architecture) -> Float[Tensor, "B T D"]:
    """down(act(gate(x)) · up(x)), or down(act(up(x)))."""
    bend = ACTIVATIONS[a.activation]
    up = linear(x, weights, f"blocks.{i}.up")
    hidden = bend(linear(x, weights, f"blocks.{i}.gate")) * up if a.gated else bend(up)
    return linear(hidden, weights, f"blocks.{i}.down")


def block(x, weights, i, a, text, positions, cache) -> Float[Tensor, "B T D"]:
    """One layer: what its two branches add to x."""

    def before(x, branch):
        return norm(x, weights, f"blocks.{i}.before{branch}", a) if a.before else x

    def after(y, branch):
        return norm(y, weights, f"blocks.{i}.after{branch}", a) if a.after else y

    attended = after(attention(before(x, 1), weights, i, a, text, positions, cache), 1)
    if a.parallel:
        return x + attended + after(feed_forward(before(x, 2), weights, i, a), 2)
    x = x + attended
    return x + after(feed_forward(before(x, 2), weights, i, a), 2)


def logits(
    weights: Weights,
    architecture: Architecture,
    ids: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"] | None = None,
    cache: Cache | None = None,
    positions: Int[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T V"]:
    r"""The scores of the next token after each of ids, from the weights that `shapes(architecture)` names.

    `mask` is True where ids are text, False where they pad; rows of padding come out, and mean nothing. With a cache
    the ids go on where it ends, and it is extended. Positions count the text of each row from 0, unless given.
    Raises ValueError for ids that are not integers "B T" below V, for a mask or positions of another shape, and for
    a text longer than the learned positions.
    """
    a = architecture
    expect.indices("ids", ids, a.V)
    expect.axes("ids", ids, "B T")
    if not ids.numel():
        expect.fail("ids", "one token or more", f"shape {tuple(ids.shape)}")
    text = torch.ones_like(ids, dtype=torch.bool) if mask is None else _mask(mask, ids)
    if positions is not None:
        expect.indices("positions", positions, a.S or 2**53)
        if positions.shape != ids.shape:
            expect.fail("positions", f"the shape of ids, {tuple(ids.shape)}", tuple(positions.shape))
    text, positions = (Cache() if cache is None else cache).seen(text, positions)
    x = weights["tokens.weight"][ids]
    x = x * torch.tensor(a.embedding, dtype=x.dtype, device=x.device)
    if a.S:
        if int(positions.max()) >= a.S:
            expect.fail("ids", f"at most the {a.S} positions of the model", int(positions.max()) + 1)
        x = x + weights["positions.weight"][positions[:, -ids.shape[1] :]]
    for i in range(len(a.layers)):
        x = block(x, weights, i, a, text, positions, cache)
    z = norm(x, weights, "norm", a) @ weights["tokens.weight" if a.tied else "head.weight"].mT
    return z if a.logit_cap is None else softcap(z, a.logit_cap)


def loss(
    weights: Weights, architecture: Architecture, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, ""]:
    r"""The mean surprise, in nats, of every token of text after the first one of its row.

    Raises ValueError as `logits` does, and for T < 2.
    """
    z = logits(weights, architecture, ids, mask)
    if mask is not None:
        text = _mask(mask, ids)
        told = torch.cat([torch.zeros_like(text[:, :1]), text[:, :-1]], 1)  # a token that pads foretells nothing
        ids = torch.where(text & told, ids, IGNORED)
    return next_token_loss(z, ids, IGNORED)


def _mask(mask, ids) -> Bool[Tensor, "B T"]:
    """A mask of booleans, or of zeros and ones."""
    if mask.shape != ids.shape:
        expect.fail("mask", f"the shape of ids, {tuple(ids.shape)}", tuple(mask.shape))
    if mask.dtype != torch.bool:
        expect.indices("mask", mask, 2)
    return mask.bool()
