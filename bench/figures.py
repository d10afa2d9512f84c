"""The look of the figures: lines are predicted, dots are measured, a name beside each, and a frame as long as the data.

figure, (left, right) = panels(2, "Title of the whole")
series(left, xs, measured, "name", predicted=curve)
frame(left, "order", "bits a character")
names(right, [(xs[-1], measured[-1], "name", color)])     where last points lie close together
save(figure, path)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

FOLDER = Path(__file__).parent.parent / "papers/figures"
INK = ("#4e79a7", "#e15759", "#59a14f", "#b07aa1", "#f28e2b", "#76b7b2", "#9c755f", "#3b3b3b")
STYLE: Any = {
    "svg.hashsalt": "bench",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.linewidth": 0.6,
}
matplotlib.rcParams.update(STYLE)


def panels(columns: int = 1, title: str = "", rows: int = 1, size: tuple[float, float] = (4.6, 3.2)) -> tuple[Any, Any]:
    """(figure, axes in reading order): small multiples, each `size` inches."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure, axes


def series(
    axes, xs: Sequence[float], measured=None, name: str = "", *, predicted=None, color: Any = 0, **style
) -> None:
    """One quantity: measured dots, joined thinly unless a line is predicted; its name stands at the last point."""
    color = INK[color % len(INK)] if isinstance(color, int) else color
    if predicted is not None:
        axes.plot(xs, predicted, lw=1.2, color=color)
    if measured is not None:
        axes.plot(xs, measured, lw=0.6 if predicted is None else 0, marker="o", ms=3, color=color, **style)
    ends = [(x, y) for x, y in zip(xs, predicted if measured is None else measured, strict=True) if math.isfinite(y)]
    if name and ends:
        axes.annotate(
            name, ends[-1], (5, 0), textcoords="offset points", va="center", color=color, annotation_clip=False
        )


def names(axes, ends: Sequence[tuple[float, float, str, Any]], apart: float = 11.0) -> None:
    """Names beside the last points (x, y, name, color), moved up where they would touch; call it after `frame`."""
    axes.figure.canvas.draw()  # scales and limits are settled now
    heights = {end: float(axes.transData.transform(end[:2])[1]) for end in ends if math.isfinite(end[1])}
    free = -math.inf
    for end, height in sorted(heights.items(), key=lambda item: item[1]):
        shift = max(height, free) - height
        free = height + shift + apart * axes.figure.dpi / 72
        x, y, name, color = end
        color = INK[color % len(INK)] if isinstance(color, int) else color
        axes.annotate(
            name, (x, y), (5, shift * 72 / axes.figure.dpi), textcoords="offset points", va="center", color=color,
            annotation_clip=False,
        )  # fmt: skip


def frame(
    axes, x: str, y: str, *, title: str = "", log: str = "", xticks=None, yticks=None, zero: bool = False
) -> None:
    """Name the axes and cut their lines to the range of the data; `log` says which axes double ("x", "y", "xy")."""
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    if zero:
        axes.set_ylim(bottom=0)
    for axis, spine, ticks in ((axes.xaxis, "bottom", xticks), (axes.yaxis, "left", yticks)):
        low, high = sorted(axis.get_data_interval())
        axis_low = 0 if zero and spine == "left" else low
        if ticks is not None:
            axis.set_major_locator(FixedLocator(list(ticks)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis_low, high = min(axis_low, *ticks), max(high, *ticks)
        axes.spines[spine].set_bounds(axis_low, high)
        axis.set_tick_params(length=3, width=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_title(f"{title}\n{y}" if title else y, loc="left")  # a name over the axis is read without turning the head


def save(figure, path: str) -> None:
    """Write an SVG that is the same whenever the data are. Raises OSError where it cannot be written."""
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
