"""The figure of `python -m bench transformer`: the long training, sweeps as small multiples, and what heads look at."""

from __future__ import annotations

from typing import Any

from bench.figures import INK, frame, names, panels, save, series

Rows = list[dict[str, Any]]
ABLATED = {"": "all of it", "feed-forward": "no feed-forward", "attention": "no attention", "positions": "no positions"}


def beside_n_grams(axes, rows: Rows) -> None:
    """Bits on held-out text while the long run trains, and what n-grams reach."""
    curve = next(r for r in rows if r.get("sweep") == "long")["curve"]
    steps = [point[0] for point in curve]
    series(axes, steps, [point[1] for point in curve], color=7)
    series(axes, steps, [point[2] for point in curve], color=0)
    grams = {r["order"]: r["held out"] for r in rows if r["what"] == "n-gram"}
    best = min(grams, key=lambda order: grams[order])
    ends = [(steps[-1], curve[-1][1], "training, with dropout", 7), (steps[-1], curve[-1][2], "held out", 0)]
    for order, color in ((3, 3), (best, 1)):
        axes.plot([0, steps[-1]], [grams[order]] * 2, lw=0.8, color=INK[color])
        ends.append((steps[-1], grams[order], f"Kneser–Ney, order {order}", color))
    frame(axes, "steps", "bits a character", title="the long training")
    names(axes, ends)


def sweep(axes, rows: Rows, name: str, axis: str, label: str, ticks: list[float]) -> None:
    """Bits on held-out text after a short training, along one size."""
    chosen = [r for r in rows if r.get("sweep") == name]
    xs = [r[axis] for r in chosen]
    axes.set_ylim(ticks[0], ticks[-1])
    series(axes, xs, [r["held out"] for r in chosen], color=0)
    frame(axes, label, "", title=name, log="x", xticks=xs, yticks=ticks)


def ablations(axes, rows: Rows, ticks: list[float]) -> None:
    """Bits on held-out text of short trainings without a part, and with AdamW alone; each is named."""
    chosen = {ABLATED[r["without"]]: r["held out"] for r in rows if r.get("sweep") == "without"}
    adam = next(r["held out"] for r in rows if r.get("sweep") == "optimizer" and not r["matrix_lr"])
    found = chosen | {"AdamW for the matrices": adam}
    axes.set_ylim(ticks[0], ticks[-1])
    series(axes, [0] * len(found), list(found.values()), color=0, ls="")
    frame(axes, "", "", title="without a part", yticks=ticks)
    axes.set_xlim(-0.1, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    names(axes, [(0, bits, name, 0) for name, bits in found.items()])


def looks(axes, rows: Rows) -> None:
    """How far back every head looks, and how spread out: a dot each, its layer in its color."""
    heads = [r for r in rows if r["what"] == "head"]
    ends = []
    for layer in dict.fromkeys(r["layer"] for r in heads):
        of = [r for r in heads if r["layer"] == layer]
        series(axes, [r["distance"] for r in of], [r["entropy"] for r in of], color=layer - 1, ls="")
        middle = sum(r["entropy"] for r in of) / len(of)
        ends.append((max(r["distance"] for r in heads), middle, f"layer {layer}", layer - 1))
    frame(axes, "mean distance, in symbols", "entropy of the weights, in bits", title="heads of the long run")
    names(axes, ends)


def draw(rows: Rows, path: str) -> tuple[str, ...]:
    """Write the figure. Raises OSError where it cannot be written."""
    figure, axes = panels(3, "GPT-2 on characters: bits a character of held-out text", rows=2, size=(3.9, 3.0))
    short = [r["held out"] for r in rows if r["what"] == "network" and r["sweep"] != "long"]
    ticks = [round(0.5 * i, 1) for i in range(int(min(short) / 0.5), int(max(short) / 0.5) + 2)]
    beside_n_grams(axes[0], rows)
    sweep(axes[1], rows, "context", "T", "symbols of a window", ticks)
    sweep(axes[2], rows, "heads", "H", "heads of a block, D = 64", ticks)
    sweep(axes[3], rows, "depth", "L", "blocks", ticks)
    ablations(axes[4], rows, ticks)
    looks(axes[5], rows)
    save(figure, path)
    return (path,)
