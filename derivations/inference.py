r"""Inference: a prompt, or one more token, without a graph; keys and values of earlier tokens lie in a cache.

    bytes of the cache = 2 · e · L · B · G · S · K,   of a latent one e · L · B · S · (rank + K_rope)

Layers that see a window keep no more than the window. The logits are those of the last position only.
"""

from __future__ import annotations

from typing import Any

from derivations.architecture import Architecture
from derivations.decoder import Run, blocks, embedded, norm, parameter
from derivations.eager_cpu import Cpu
from derivations.eager_cuda import Cuda
from derivations.machine import BYTES, Storage
from derivations.training import build


def cache_entries(a: Architecture, B: Any, S: Any):
    """How many numbers each layer keeps for S tokens of B sequences."""
    for i in range(a.L):
        if a.latent:
            yield B * S * (a.latent.kv + a.latent.rope)
        else:
            seen = S if a.window is None or (a.full and (i + 1) % a.full == 0) else min(S, a.window)
            yield 2 * B * seen * a.G * a.K


def cache_bytes(a: Architecture, B: Any, S: Any, dtype: str = "float32") -> Any:
    """The whole cache in bytes."""
    return BYTES[dtype] * sum(cache_entries(a, B, S))


def generate(a: Architecture, run: Run, mode: str, cache: int, table="cpu", autocast=False):
    """The machine after a prefill of run.T tokens, or after one token that sees `cache` others (decode)."""
    m = (Cpu if table == "cpu" else Cuda)(autocast)
    m.graph = False
    m.state = build(m, a, run)
    m.where = "cache"
    m.state.batch = [Storage(m, BYTES[run.dtype] * n, "cache") for n in cache_entries(a, run.B, cache)]
    m.mark(mode)
    step = run if mode == "prefill" else Run(run.B, 1, run.attention, dtype=run.dtype, positions=run.positions)
    m.past = None if mode == "prefill" else cache
    x = blocks(m, a, step, embedded(m, a, step))
    m.where = "head"
    x = norm(m, m.last(x), "norm", a, step)
    head = parameter(m, "tokens.weight" if a.tied else "head.weight", (a.V, a.D), step)
    m.state.logits = m.linear(x, head)
    m.mark("done")
    return m
