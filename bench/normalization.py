"""What a gradient is after L residual layers, with the norm after the sum or before the branch: predicted and measured.

python -m bench normalization [--json] [--svg FILE]. A branch is √g·W relu(Vx) with fresh weights, V of variance 2/n and
W of variance 1/n: a branch of gain g, forward and backward. From a loss at the top with slopes of size one, the root
mean square of the gradient d layers below is predicted by the claims:

    post-norm   identity path (1 + g)^(−d/2),   whole 1        pre-norm   identity path 1,   whole √((1 + Lg)/(1 + lg))

at layer l = L − d. On the identity path the outputs of the branches are held fixed; the norms are differentiated whole,
statistics and all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from bench.experiment import report
from reference.activations import relu
from reference.initialization import draw, gain
from reference.normalization import layer_norm

N, L, ROWS, SEEDS, GAINS = 512, 48, 16, 6, (1.0, 0.25)
"""Entries of the stream, layers, inputs, networks, and gains of a branch."""


def network(post: bool, g: float, path: bool, seed: int) -> list[float]:
    """Mean squares of the gradient by the stream in front of each layer, and behind the last one."""
    generator = torch.Generator().manual_seed(seed)
    x = layer_norm(torch.randn(ROWS, N, generator=generator)).requires_grad_()
    streams = [x]
    for _ in range(L):
        V = draw((N, N), gain=gain("relu"), generator=generator)
        W = draw((N, N), gain=math.sqrt(g), generator=generator)
        branch = relu((x if post else layer_norm(x)) @ V.mT) @ W.mT
        x = x + (branch.detach() if path else branch)
        x = layer_norm(x) if post else x
        streams.append(x)
    slopes = torch.autograd.grad(x, streams, torch.randn(ROWS, N, generator=generator))
    return [float(s.square().mean()) for s in slopes]


def predicted(post: bool, g: float, path: bool) -> list[float]:
    """Root mean squares in front of layers 0 … L − 1, and at the top, where it is one."""
    if post:
        return [(1 + g) ** (-(L - layer) / 2) if path else 1.0 for layer in range(L + 1)]
    return [1.0 if path else math.sqrt((1 + L * g) / (1 + layer * g)) for layer in range(L + 1)]


def through_depth(post: bool, g: float, path: bool) -> dict[str, Any]:
    """Predicted and measured root mean squares, relative to the top, from the bottom up."""
    seen = torch.tensor([network(post, g, path, seed) for seed in range(SEEDS)], dtype=torch.float64)
    root = (seen / seen[:, -1:]).mean(0).sqrt().tolist()
    expected = predicted(post, g, path)
    return {"what": "depth", "norm": "post" if post else "pre", "gain": g, "path": "identity" if path else "whole",
            "predicted": expected, "measured": root, "ratio": root[0] / expected[0]}  # fmt: skip


def rows() -> Iterator[dict[str, Any]]:
    """Every measurement, as it is made."""
    yield from (through_depth(post, g, path) for post in (True, False) for g in GAINS for path in (True, False))


def told(row: dict[str, Any]) -> str:
    """A row as a line of the table: what is left at the bottom."""
    kind = f"{row['norm']}-norm, gain {row['gain']:g}, {row['path']}"
    return f"{kind:<32}{row['predicted'][0]:>12.4g}{row['measured'][0]:>12.4g}{row['ratio']:>9.3f}"


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Two panels: post-norm and pre-norm."""
    from bench.figures import frame, names, panels, save, series

    figure, sides = panels(2, "The gradient on its way back: predicted and measured")
    for axes, norm in zip(sides, ("post", "pre"), strict=True):
        ends = []
        for color, row in enumerate(row for row in found if row["norm"] == norm):
            seen, expected = (row[which][::-1] for which in ("measured", "predicted"))
            series(axes, range(L + 1), seen, predicted=expected, color=color)
            ends.append((L, seen[-1], f"{row['path']}, g = {row['gain']:g}", color))
        scale: dict[str, Any] = {"log": "y"} if norm == "post" else {"zero": True}
        ticks = (0, L // 4, L // 2, 3 * L // 4, L)
        frame(
            axes,
            "layers below the loss",
            "root mean square of the gradient",
            title=f"{norm}-norm",
            xticks=ticks,
            **scale,
        )
        names(axes, ends)
    save(figure, path)


def main(options) -> int:
    what = f"gradient {L} layers below the loss, of size one there: predicted, measured, ratio; {SEEDS} networks"
    return report("normalization", options, rows(), drawn, told=told, heading=what,
                  entries=N, layers=L, networks=SEEDS)  # fmt: skip
