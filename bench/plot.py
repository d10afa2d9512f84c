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


PARTS = ("parameters", "buffers", "batch", "optimizer", "workspaces", "gradients", "activations", "temporaries")
INK = {"parameters": "#3b3b3b", "optimizer": "#7a7a7a", "gradients": "#b07aa1", "activations": "#4e79a7",
       "temporaries": "#f28e2b", "workspaces": "#c9c9c9", "buffers": "#c9c9c9", "batch": "#c9c9c9"}  # fmt: skip


def timeline(m, title: str, path: str, measured=()) -> None:
    """An SVG of the last step, event by event: parts stacked as predicted, with what each holds at the peak.

    `measured` holds (phase, bytes), drawn as circles. What is too small to be seen makes no step along the axis.
    """
    rows, phases = levels(m)
    total = [sum(row) / 2**30 for row in rows]
    peak = max(range(len(rows)), key=total.__getitem__)
    figure = Figure(figsize=(9, 4.2))
    axes = figure.subplots()
    base = [0.0] * len(rows)
    labels = []
    for name, column in zip(PARTS, zip(*rows, strict=True), strict=True):
        top = [b + n / 2**30 for b, n in zip(base, column, strict=True)]
        if max(column) > max(total) * 2**30 / 500:
            axes.fill_between(range(len(rows)), base, top, color=INK[name], lw=0, step="post")
            labels.append((name, column[peak]))
        base = top
    for line, (name, size) in enumerate(reversed(labels)):
        axes.text(1.02, 0.9 - 0.075 * line, f"{name} {size / 2**30:,.2f}", color=INK[name], transform=axes.transAxes)
    axes.text(1.02, 0.98, f"GiB at the peak, {total[peak]:,.2f}", transform=axes.transAxes)
    axes.plot(peak, total[peak], "v", ms=4, color="black", clip_on=False)
    ends = [start for start, _ in phases[1:]] + [len(rows)]
    for (start, name), end in zip(phases, ends, strict=True):
        axes.axvline(start, color="black", lw=0.4)
        narrow = end - start < len(rows) / 20
        at, side = (start, "left") if narrow else ((start + end) / 2, "center")
        axes.text(at, -0.06, name, transform=axes.get_xaxis_transform(), ha=side)
        for phase, size in measured:
            if phase == name:
                highest = max(range(start, end), key=total.__getitem__)
                axes.plot(highest, size / 2**30, "o", ms=7, color="black", mfc="none", clip_on=False)
    axes.set_xlim(0, len(rows))
    axes.set_ylim(0, max(total) * 1.05)
    axes.set_xticks([])
    axes.set_ylabel("GiB")
    axes.set_title(
        title + (": predicted, circles measured peaks" if measured else ": predicted"), loc="left", fontsize=11
    )
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.subplots_adjust(right=0.72)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def levels(m):
    """(bytes of every part after each event of the last step, where its phases begin); small events are joined."""
    from derivations.budget import categories

    parts, live, phase = categories(m), dict.fromkeys(PARTS, 0), ""
    last = max(what for key, _, what, _ in m.events if key is None and "forward" in what)[:6]
    states: list[tuple[str, tuple[int, ...]]] = []
    for key, size, what, _ in m.events:
        if key is None:
            if phase and what.endswith("done"):
                break
            phase = what.partition(": ")[2] if what.startswith(last) else ""
        else:
            live[parts[key]] += size
            if phase:
                states.append((phase, tuple(live.values())))
    step = max(sum(state) for _, state in states) / 500
    rows: list[tuple[int, ...]] = []
    phases: list[tuple[int, str]] = []
    for phase, state in states:
        begins = not phases or phases[-1][1] != phase
        if begins:
            phases.append((len(rows), phase))
        if begins or abs(sum(state) - sum(rows[-1])) > step:
            rows.append(state)
    return rows, phases
