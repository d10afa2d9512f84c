"""The figures of `python -m bench mlp`: bits on held-out text as small multiples, and the embeddings of characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.figures import INK, frame, names, panels, save, series

KINDS = (str.islower, str.isupper, str.isdigit, lambda s: not s.isalnum())
SHOWN = {" ": "space", "\n": "newline"}


def of(rows: list[dict[str, Any]], sweep: str, axis: str) -> tuple[list[Any], list[float], list[float]]:
    """The values along one sweep, and the bits in training and on held-out text."""
    chosen = [r for r in rows if r["what"] == "network" and r["sweep"] == sweep]
    return [r[axis] for r in chosen], [r["train"] for r in chosen], [r["held out"] for r in chosen]


def beside_n_grams(axes, rows: list[dict[str, Any]]) -> None:
    """Bits on held-out text by symbols of context: n-grams of every smoothing, and networks."""
    grams = [r for r in rows if r["what"] == "n-gram" and r["order"] > 1 and r["held out"] < 3.3]
    ends = []
    for color, smoothing in enumerate(dict.fromkeys(r["smoothing"] for r in grams), 1):
        ours = [r for r in grams if r["smoothing"] == smoothing]
        series(axes, [r["order"] for r in ours], [r["held out"] for r in ours], color=color)
        ends.append((ours[-1]["order"], ours[-1]["held out"], smoothing, color))
    contexts, _, held_out = of(rows, "context", "k")
    series(axes, contexts[1:], held_out[1:], color=0)
    long = next(r for r in rows if r.get("sweep") == "long")
    series(axes, [long["k"]], [long["held out"]], color=0)
    frame(axes, "symbols of context", "held out", title="beside n-grams", log="x", xticks=(2, 3, 4, 5, 8, 16))
    names(axes, [*ends, (long["k"], long["held out"], "MLP, larger and longer", 0)])
    names(axes, [(contexts[-1], held_out[-1], "MLP", 0)])


def numbers_held(axes, rows: list[dict[str, Any]]) -> None:
    """How many numbers a table, the n-grams that occur, and a network hold, by symbols of context."""
    grams = {r["order"]: r for r in rows if r["what"] == "n-gram"}
    orders, seen = list(grams), [r["stored"] for r in grams.values()]
    cells = [float(r["cells"]) for r in grams.values()]
    series(axes, orders, None, predicted=cells, color=1)
    series(axes, orders, seen, color=3)
    swept = [r for r in rows if r.get("sweep") == "context"]
    ks, counted = [r["k"] for r in swept], [r["measured"] for r in swept]
    series(axes, ks, counted, predicted=[r["predicted"] for r in swept], color=0)
    frame(axes, "symbols of context", "numbers held", title="size", log="xy", xticks=(1, 2, 3, 4, 5, 8, 16))
    names(axes, [(orders[-1], cells[-1], "cells of a table", 1)])
    names(axes, [(ks[-1], counted[-1], "parameters", 0), (orders[-1], 4 * seen[-1], "n-grams that occur", 3)])


def multiples(rows: list[dict[str, Any]], path: str) -> None:
    """Six panels: contexts beside n-grams, four sweeps on one scale, and how many numbers each model holds."""
    figure, axes = panels(3, "A neural language model and n-grams: bits a character", rows=2, size=(3.9, 3.0))
    beside_n_grams(axes[0], rows)
    sweeps = (
        ("width", "F", "units in the hidden layer", "x"),
        ("depth", "L", "hidden layers", ""),
        ("embedding", "D", "coordinates of an embedding", "x"),
        ("forgetting", "forget", "share of contexts cut short in training", ""),
    )
    lines = [of(rows, sweep, axis) for sweep, axis, _, _ in sweeps]
    every = [bits for _, seen, new in lines for bits in (*seen, *new)]
    ticks = [round(0.4 * i, 1) for i in range(int(min(every) / 0.4), int(max(every) / 0.4) + 2)]
    for ax, (values, seen, new), (sweep, _, label, log) in zip(axes[1:5], lines, sweeps, strict=True):
        ax.set_ylim(ticks[0], ticks[-1])
        series(ax, values, new, "held out", color=0)
        series(ax, values, seen, "training text", color=7)
        frame(ax, label, "", title=sweep, log=log, xticks=values, yticks=ticks)
    numbers_held(axes[5], rows)
    save(figure, path)


def characters(row: dict[str, Any], path: str) -> None:
    """Every character at its place on the two principal axes of the table."""
    share = " and ".join(f"{x:.0%}" for x in row["share"])
    title = f"Characters by their embeddings of {row['D']} coordinates: two principal axes, {share} of the variance"
    figure, (ax,) = panels(1, title, 1, (7, 6))
    places = dict(zip(row["symbols"], row["places"], strict=True))
    for color, belongs in enumerate(KINDS):
        chosen = [s for s in places if belongs(s)]
        for s in chosen:
            ax.annotate(SHOWN.get(s, s), places[s], ha="center", va="center", color=INK[color], fontsize=9)
    xs, ys = zip(*places.values(), strict=True)
    ax.plot(xs, ys, lw=0, marker="")  # the data set the limits
    ax.set_axis_off()
    save(figure, path)


def draw(rows: list[dict[str, Any]], path: str) -> tuple[str, str]:
    """Write both figures; the second stands beside the first. Raises OSError where they cannot be written."""
    beside = Path(path)
    second = str(beside.with_name(f"{beside.stem}_embedding{beside.suffix}"))
    multiples(rows, path)
    characters(next(r for r in rows if r["what"] == "embedding"), second)
    return path, second
