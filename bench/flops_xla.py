"""The decoder once more, in JAX, to be counted only: its loss and gradients with layers unrolled or in a loop.

XLA counts elementwise operations and reductions too, and the body of a loop once. `products` counts the matrix products
of the same program, before XLA sees it, every round of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from derivations.architecture import Architecture, block_weights, weights


def linear(w, x, name):
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def norm(w, x, name):
    """LayerNorm where there is a bias, else RMSNorm."""
    centred = f"{name}.bias" in w
    x = x - x.mean(-1, keepdims=True) if centred else x
    x = x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]
    return x + w[f"{name}.bias"] if centred else x


def turn(x):
    T, K = x.shape[1], x.shape[-1]
    places, pairs = jnp.arange(T, dtype=x.dtype), jnp.arange(0, K, 2, dtype=x.dtype)  # of x's dtype also with x64 on
    angle = jnp.outer(places, 10000.0 ** (-pairs / K))[:, None]
    cos, sin, (a, b) = jnp.cos(angle), jnp.sin(angle), jnp.split(x, 2, -1)
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), -1)


def block(a: Architecture, x, w):
    B, T, _ = x.shape
    y = norm(w, x, "norm1")
    q, k, v = (linear(w, y, name).reshape(B, T, -1, a.K) for name in "qkv")
    if a.S == 0:
        q, k = turn(q), turn(k)
    k, v = (jnp.repeat(shared, a.H // a.G, 2) for shared in (k, v))
    scores = jnp.einsum("bthk,bshk->bhts", q, k) * a.K**-0.5
    p = jax.nn.softmax(jnp.where(jnp.tri(T, dtype=bool), scores, -jnp.inf), -1)
    x = x + linear(w, jnp.einsum("bhts,bshk->bthk", p, v).reshape(B, T, -1), "out")
    y = norm(w, x, "norm2")
    hidden = jax.nn.silu(linear(w, y, "gate")) * linear(w, y, "up") if a.gated else jax.nn.gelu(linear(w, y, "up"))
    return x + linear(w, hidden, "down")


def loss(a: Architecture, loop: bool, w, layers, ids, target):
    x = w["tokens.weight"][ids]
    if a.S != 0:
        x = x + w["positions.weight"][: ids.shape[1]]
    if loop:
        x = lax.scan(lambda x, layer: (block(a, x, layer), None), x, layers)[0]
    else:
        for layer in layers:
            x = block(a, x, layer)
    logits = norm(w, x, "norm") @ w.get("head.weight", w["tokens.weight"]).T
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], -1).mean()


def program(a: Architecture, B: int, T: int, loop: bool) -> tuple[Callable[..., Any], list[Any]]:
    """Loss and gradients of all weights, and what they take: shapes, no numbers."""

    def numbers(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    w = {name: numbers(*shape) for name, shape, _ in weights(a) if not name.startswith("blocks.")}
    own, stack = {name: shape for name, shape, _ in block_weights(a)}, (a.L,) if loop else ()
    layer = {name: numbers(*stack, *shape) for name, shape in own.items()}
    ids = jax.ShapeDtypeStruct((B, T), jnp.int32)
    return jax.value_and_grad(partial(loss, a, loop), (0, 1)), [w, layer if loop else [layer] * a.L, ids, ids]


def compiled(f: Callable[..., Any], shapes: list[Any]) -> int:
    """FLOPs of f as XLA estimates the compiled program."""
    analysis: Any = jax.jit(f).lower(*shapes).compile().cost_analysis()
    return int((analysis[0] if isinstance(analysis, list) else analysis)["flops"])


def products(f: Callable[..., Any], shapes: list[Any]) -> int:
    """FLOPs of the matrix products of f as JAX writes it down."""
    return _products(jax.make_jaxpr(f)(*shapes).jaxpr)


def _products(jaxpr) -> int:
    total = 0
    for step in jaxpr.eqns:
        if step.primitive.name == "dot_general":
            (summed, _), _ = step.params["dimension_numbers"]
            total += 2 * prod(step.outvars[0].aval.shape) * prod(step.invars[0].aval.shape[i] for i in summed)
        rounds = step.params.get("length", 1) if step.primitive.name == "scan" else 1
        for part in jax.tree.leaves(tuple(step.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(part, "jaxpr", part)
            total += rounds * _products(inner) if hasattr(inner, "eqns") else 0
    return total
