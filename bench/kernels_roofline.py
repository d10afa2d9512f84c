"""The roofline of the kernels' measurements: python -m bench kernels --svg FILE.

What a kernel can reach is the lesser of two: bytes a second of a copy times its operations a byte, and operations a
second of a product. On the left what has operations to speak of, on the right every kernel's share of its roof.
"""

from __future__ import annotations

from typing import Any

MARKS = {"forward": "o", "backward": "s", "step": "o"}


def best(r: dict[str, Any]) -> float | None:
    """The fastest peer's time."""
    return r["seconds"][r["best"]] if r["best"] else None


def named(r: dict[str, Any]) -> str:
    """Kernel, sizes that tell its rows apart, and way."""
    sizes = " ".join(f"{k}={n}" for k, n in r["sizes"].items() if k in ("T", "K") and r["kernel"] == "attention")
    return " ".join(filter(None, (r["kernel"], sizes, r["way"])))


def draw(rows: list[dict[str, Any]], head: dict[str, Any], path: str) -> None:
    """An SVG; filled marks are ours, hollow ones the best peer's."""
    from bench.figures import INK, frame, panels, save

    (roof,) = [r for r in rows if r["kernel"] == "roof"]
    measured = [r for r in rows if r["kernel"] != "roof" and r["seconds"].get("ours")]
    figure, (left, right) = panels(
        2, f"Kernels on {head['device']}: ours filled, the best peer hollow; ○ forward, □ backward", size=(5.2, 4.6)
    )
    copy, product = roof["bandwidth"], roof["rate"]
    ridge, dense = product / copy, [r for r in measured if r["flops"]]
    widest = 2 * max(r["flops"] / r["bytes"] for r in dense)
    left.plot([ridge / 16, ridge, widest], [product / 16e12, product / 1e12, product / 1e12], lw=1.2, color="#3b3b3b")
    left.text(ridge / 5, product / 6e12, f"{copy / 1e9:,.0f} GB/s", color="#3b3b3b")
    left.text(widest, product / 1e12, f"{product / 1e12:,.0f} TFLOP/s", ha="right", va="bottom", color="#3b3b3b")
    widths = sorted({r["sizes"]["K"] for r in dense})
    for r in dense:
        color, mark, at = INK[widths.index(r["sizes"]["K"])], MARKS[r["way"]], r["flops"] / r["bytes"]
        for time, fill in ((r["seconds"]["ours"], color), (best(r), "none")):
            if time:
                left.plot(at, r["flops"] / time / 1e12, mark, ms=5, mfc=fill, mec=color, mew=0.8)
    for number, K in enumerate(widths):
        left.text(0.03, 0.9 - 0.06 * number, f"attention, K = {K}", color=INK[number], transform=left.transAxes)
    frame(left, "operations a byte", "TFLOP/s", title="the roof, measured in the same run", log="xy")
    for place, r in enumerate(reversed(measured)):
        mark = MARKS[r["way"]]
        right.plot(r["share"], place, mark, ms=4, color=INK[0])
        if time := best(r):
            right.plot(r["share"] * r["seconds"]["ours"] / time, place, mark, ms=4, mfc="none", mec=INK[0])
    right.set_yticks(range(len(measured)), [named(r) for r in reversed(measured)], fontsize=6)
    right.axvline(1, lw=0.8, color="#3b3b3b")
    right.set_xlim(0, 1.05)
    frame(right, "share of the roof", "", title="every kernel", zero=False, xticks=(0, 0.25, 0.5, 0.75, 1))
    save(figure, path)
