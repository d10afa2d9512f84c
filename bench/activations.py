"""Activations with their slopes, and how far GELU's other forms are from it: predicted before, measured after.

python -m bench activations [--json] [--svg FILE]. Slopes are predicted by the claims and measured by autograd in
float64; the distances of the two forms have certified bounds, beside which stands the largest distance on a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from bench.experiment import report
from reference.activations import gelu, quick_gelu, relu, sigmoid, silu, softcap, softplus

CAP, GRID, FINE = 1.5, torch.arange(-32, 33).double() / 8 + 0.0625, torch.arange(-80_000, 80_001).double() / 10_000


def density(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5


def phi(x: torch.Tensor) -> torch.Tensor:
    return (1 + torch.erf(x / 2**0.5)) / 2


FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]] = {
    "relu": (relu, lambda x: (1 + x.sign()) / 2),
    "softplus": (softplus, sigmoid),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "silu": (silu, lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "gelu": (gelu, lambda x: phi(x) + x * density(x)),
    f"softcap {CAP:g}": (partial(softcap, cap=CAP), lambda x: 1 - (softcap(x, CAP) / CAP) ** 2),
}
"""Each function, and its slope as the claims have it."""
FORMS: dict[str, tuple[Any, float]] = {
    "tanh form": (partial(gelu, approximate="tanh"), 4.74e-4),
    "quick form": (quick_gelu, 0.0204),
}
"""The other forms of GELU, and the bounds of their distance that the claims certify."""


def rows() -> Iterator[dict[str, Any]]:
    """Slopes at each place (what, of, x, value, predicted, measured, ratio), then the distance of each form."""
    for name, (f, slope) in FUNCTIONS.items():
        x = GRID.clone().requires_grad_()
        y = f(x)
        (measured,) = torch.autograd.grad(y.sum(), x)
        for at, value, ours, theirs in zip(*(t.tolist() for t in (GRID, y, slope(GRID), measured)), strict=True):
            yield {"what": "slope", "of": name, "x": at, "value": value, "predicted": ours, "measured": theirs,
                   "ratio": theirs / ours if ours else None}  # fmt: skip
    for name, (form, bound) in FORMS.items():
        apart = (form(FINE) - gelu(FINE)).abs()
        worst = int(apart.argmax())
        at, value, found = float(FINE[worst].abs()), float(gelu(FINE)[worst]), float(apart[worst])
        yield {"what": "distance from gelu", "of": name, "x": at, "value": value, "predicted": bound,
               "measured": found, "ratio": found / bound}  # fmt: skip


def draw(rows: list[dict[str, Any]], path: str) -> None:
    """Eight panels: each function with its slope, and the distance of each form of GELU between its bounds."""
    from bench.figures import INK, frame, panels, save, series

    title = "Activations (black), and their slopes as proved (lines) and measured (dots)"
    figure, axes = panels(4, title, rows=2, size=(2.8, 2.3))
    ticks = dict.fromkeys(FUNCTIONS, (0, 1, 2, 3, 4)) | {"sigmoid": (0, 0.5, 1), f"softcap {CAP:g}": (-1, 0, 1)}
    for panel, name in zip(axes, FUNCTIONS, strict=False):
        ours = [r for r in rows if r["of"] == name]
        xs, predicted = [r["x"] for r in ours], [r["predicted"] for r in ours]
        panel.plot(xs, [r["value"] for r in ours], color=INK[7], lw=1.2)
        series(panel, xs, [r["measured"] for r in ours], predicted=predicted, color=1, markevery=4)
        frame(panel, "x", name, xticks=(-4, 0, 4), yticks=ticks[name])
    scales = ((1e4, "10⁻⁴", (-4, 0, 4), -1), (1e2, "10⁻²", (-2, 0, 2), 1))
    for panel, (name, (form, bound)), (unit, told, yticks, side) in zip(axes[6:], FORMS.items(), scales, strict=True):
        x = FINE[::200]
        panel.plot(x.tolist(), ((form(x) - gelu(x)) * unit).tolist(), color=INK[7], lw=1.2)
        for edge in (-bound, bound):
            panel.plot([-8, 8], [edge * unit] * 2, color=INK[0], lw=1.2)
        at = {"textcoords": "offset points", "ha": "center", "va": "center", "color": INK[0]}
        panel.annotate(f"certified: ±{bound * unit:g}", (0, side * bound * unit), (0, -9 * side), **at)
        frame(panel, "x", f"{name} − gelu, {told}", xticks=(-8, 0, 8), yticks=yticks)
    save(figure, path)


def heading(r: dict[str, Any]) -> str:
    return f"\n{r['what']}: {r['of']}\n{'x':>9}{'value':>12}{'predicted':>14}{'measured':>14}{'ratio':>12}"


def told(r: dict[str, Any]) -> str:
    """A row as a line of the table."""
    ratio = "" if r["ratio"] is None else f"{r['ratio']:.6f}"
    return f"{r['x']:>9.4f}{r['value']:>12.6f}{r['predicted']:>14.8g}{r['measured']:>14.8g}{ratio:>12}"


def wrong(r: dict[str, Any]) -> bool:
    """Does a distance pass its bound?"""
    return r["what"].startswith("distance") and r["measured"] > r["predicted"]


def main(options) -> int:
    return report("activations", options, rows(), draw, told=told, heading=heading, wrong=wrong)
