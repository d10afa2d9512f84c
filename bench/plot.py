"""One figure: the predicted line, the measured points on it, both axes doubling."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "path", "font.size": 10})


def draw(rows, title: str, path: str) -> None:
    """An SVG of predicted (line) and measured (dots) against the sequence length T, labelled at the line's end."""
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    for number, cost in enumerate(dict.fromkeys(row["cost"] for row in rows)):
        points = [row for row in rows if row["cost"] == cost]
        lengths = [row["T"] for row in points]
        (line,) = axes.plot(lengths, [row["predicted"] for row in points], lw=1, color=f"C{number}")
        measured = [(row["T"], row["measured"]) for row in points if row["measured"] is not None]
        if measured:
            axes.plot(*zip(*measured, strict=True), "o", ms=5, color=line.get_color())
        worst = max((abs(row["ratio"] - 1) for row in points if row["ratio"] is not None), default=None)
        off = "not run" if worst is None else f"off by at most {worst:.1%}" if worst else "exact"
        axes.annotate(f"  {cost}: {off}", (lengths[-1], points[-1]["predicted"]), va="center", color=line.get_color())
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(lengths, [str(T) for T in lengths])
    axes.set_xlabel("sequence length T")
    axes.set_title(f"{title}: lines predicted, dots measured", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(right=0.72)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
