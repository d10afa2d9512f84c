"""What attention costs, predicted by the proved formulas and measured: python -m bench attention [--svg FILE].

Score bytes, operations of its products and time against the length; entropy and slope of the weights against the
dimension of a head, with the root and without.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import chain
from typing import Any

import torch

from bench import attention_weights as weights
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
    exact = isinstance(r["predicted"], int)
    seen = "not run" if r["measured"] is None else f"{r['measured']:,.0f}" if exact else f"{r['measured']:.4f}"
    said = f"{r['predicted']:,}" if exact else f"{r['predicted']:.4f}"
    ratio = "" if r["ratio"] is None else f"{r['ratio']:.4f}"
    at = f"T = {r['T']}" if "T" in r else f"K = {r['K']}"
    return f"{at:>9}  {r['cost']:<22} {said:>16} {seen:>16} {ratio:>8}"


def draw_figure(found: list[dict[str, Any]], path: str) -> None:
    """Entropy and slope against the head's dimension, bytes and time against the length: lines said, dots seen."""
    from bench.figures import frame, names, panels, save, series

    figure, axes = panels(4, "Attention: what the root does, and what a length costs", size=(3.4, 3.0))

    def of(cost, at):
        mine = [r for r in found if r["cost"] == cost]
        return [r[at] for r in mine], [r["measured"] for r in mine], [r["predicted"] for r in mine]

    for ax, what, unit in zip(axes, weights.WHAT, ("nats, of 256 keys", "1 − Σp², the trace"), strict=False):
        ends = []
        for color, name in enumerate(weights.SCALES):
            xs, seen, said = of(f"{what}, {name}", "K")
            series(ax, xs, seen, predicted=said, color=color)
            ends.append((xs[-1], seen[-1], name, color))
        title = {"entropy": "entropy of the weights", "slope": "slope of softmax"}[what]
        frame(ax, "dimension of a head", unit, title=title, log="x", xticks=weights.DIMENSIONS, zero=True)
        names(ax, ends)
    xs, seen, said = of("score bytes", "T")
    mib = [[y / 2**20 for y in ys] for ys in (seen, said)]
    worst = max(abs(a / b - 1) for a, b in zip(seen, said, strict=True))
    series(axes[2], xs, mib[0], "exact" if worst == 0 else f"off by {worst:.1%}", predicted=mib[1], color=2)
    frame(axes[2], "length T", "MiB, 4 heads", title="scores in memory", log="xy", xticks=xs)
    xs, seen, said = of(weights.TIME, "T")
    series(axes[3], xs, seen, predicted=said, color=3)
    frame(axes[3], "length T", f"times that at T = {xs[0]}", title="time", log="xy", xticks=xs)
    save(figure, path)


def main(options) -> int:
    """Print the table and draw the figure; 2 where the device is not there."""
    if options.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: expected a CUDA device, found none: not run", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    sizes = ", ".join(f"{letter} = {size}" for letter, size in SHAPE.items())
    heading = (
        f"attention on {device}, torch {torch.__version__}: {sizes}\n"
        f"{'at':>9}  {'cost':<22} {'predicted':>16} {'measured':>16} {'ratio':>8}"
    )

    found = chain(
        rows(options.lengths, options.device, **SHAPE),
        weights.durations(options.lengths[-4:], options.device, **SHAPE),
        weights.sharpness(),
    )
    return report("attention", options, found, draw_figure, told=told, heading=heading, device=device, shape=SHAPE)
