"""What attention costs, predicted by the proved formulas and measured: score bytes, and operations of its products."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch

from bench.closed import evaluated
from bench.experiment import report
from bench.meter import counted_flops, kept_bytes, xla_flops
from derivations.attention import FLOPS, SCORE_BYTES
from reference.attention import attention, scores

LENGTHS = (128, 256, 512, 1024, 2048)
SHAPE = {"B": 1, "H": 4, "K": 64}


def rows(lengths=LENGTHS, device="cpu", B=1, H=4, K=64, dtype=torch.float32):
    """For each length and cost a dict: T, cost, predicted, measured, ratio; measured None where it was not run."""
    for T in lengths:
        q, k, v = (torch.zeros(B, H, T, K, dtype=dtype, device=device) for _ in range(3))
        sizes = {"B": B, "H": H, "T": T, "S": T, "K": K, "e": q.element_size()}
        flops = evaluated(FLOPS, **sizes)
        yield found(T, "score bytes", evaluated(SCORE_BYTES, **sizes), kept_bytes(partial(scores, q, k), device))
        yield found(T, "FLOPs", flops, counted_flops(partial(attention, q, k, v)))
        yield found(T, "FLOPs of q·k, by XLA", flops // 2, _of_the_twin(q.shape))


def found(T, cost, predicted, measured):
    """One row; measured None where it could not be."""
    ratio = None if measured is None else measured / predicted
    return {"T": T, "cost": cost, "predicted": predicted, "measured": measured, "ratio": ratio}


def _of_the_twin(shape) -> float | None:
    """XLA's count for the twin's scores; None where jax is not installed."""
    try:
        from verify.twin.attention import scores as twin
    except ModuleNotFoundError:
        return None
    return xla_flops(twin, shape, shape)


def told(r: dict[str, Any]) -> str:
    """A row as a line of the table."""
    seen = "not run" if r["measured"] is None else f"{r['measured']:,.0f}"
    ratio = "" if r["ratio"] is None else f"{r['ratio']:.4f}"
    return f"{r['T']:>6}  {r['cost']:<22} {r['predicted']:>16,} {seen:>16} {ratio:>8}"


def main(options) -> int:
    """Print the table and draw the figure; 2 where the device is not there."""
    if options.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: expected a CUDA device, found none: not run", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    sizes = ", ".join(f"{letter} = {size}" for letter, size in SHAPE.items())
    heading = (
        f"attention on {device}, torch {torch.__version__}: {sizes}\n"
        f"{'T':>6}  {'cost':<22} {'predicted':>16} {'measured':>16} {'ratio':>8}"
    )

    def draw(found: list[dict[str, Any]], path: str) -> None:
        from bench.plot import draw

        draw(found, f"Attention's cost on {device}", path)

    found = rows(options.lengths, options.device, **SHAPE)
    return report("attention", options, found, draw, told=told, heading=heading, device=device, shape=SHAPE)
