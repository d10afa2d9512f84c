"""What the root in the scores does to the weights, and how the time of attention grows: parts of bench attention."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch

from bench.closed import evaluated
from derivations.attention import FLOPS
from reference.attention import attention, scores
from reference.softmax import softmax

DIMENSIONS = (4, 16, 64, 256, 1024)
KEYS, QUERIES, DRAWS = 256, 64, 16
TIMED, REPEATS = (256, 512, 1024, 2048), 5
WHAT, TIME = ("entropy", "slope"), "time, in multiples"
SCALES = {"q·k/√K": None, "q·k": 1.0}


def entropy_and_slope(z: torch.Tensor) -> tuple[float, float]:
    """Of the weights of rows of scores: mean entropy in nats, and mean trace of softmax's Jacobian, 1 − Σ p²."""
    p = softmax(z)
    entropy = -(p * torch.where(p > 0, p, 1).log()).sum(-1)
    return entropy.mean().item(), (1 - p.square().sum(-1)).mean().item()


def sharpness(dimensions=DIMENSIONS) -> Iterator[dict[str, Any]]:
    """For each scale and dimension: entropy and slope of weights over 256 keys, for standardized queries and keys.

    Predicted from the variance alone: the same numbers for independent normal scores of variance K, or one.
    """
    for name, scale in SCALES.items():
        for K in dimensions:
            draw = torch.Generator().manual_seed(K)
            q, k = (torch.randn(DRAWS, 1, n, K, generator=draw, dtype=torch.float64) for n in (QUERIES, KEYS))
            free = torch.randn(DRAWS, 1, QUERIES, KEYS, generator=draw, dtype=torch.float64)
            said = entropy_and_slope(free * (math.sqrt(K) if scale else 1.0))
            seen = entropy_and_slope(scores(q, k, scale))
            for what, predicted, measured in zip(WHAT, said, seen, strict=True):
                found = {"K": K, "cost": f"{what}, {name}", "predicted": predicted, "measured": measured}
                yield found | {"ratio": measured / predicted}


def durations(lengths=TIMED, device="cpu", B=1, H=4, K=64) -> Iterator[dict[str, Any]]:
    """The least of five times at each length, as a multiple of that at the first; predicted by the operations."""
    first = None
    for T in lengths:
        q, k, v = (torch.randn(B, H, T, K, device=device) for _ in range(3))
        least = min(_seconds(q, k, v, device) for _ in range(REPEATS))
        flops = evaluated(FLOPS, B=B, H=H, T=T, S=T, K=K)
        first = first or (least, flops)
        said, seen = flops / first[1], least / first[0]
        yield {"T": T, "cost": TIME, "predicted": said, "measured": seen, "ratio": seen / said}


def _seconds(q, k, v, device):
    start = time.perf_counter()
    attention(q, k, v)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start
