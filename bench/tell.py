"""A prediction for people: what is held, when most of it is, and what the computer has to do."""

from __future__ import annotations

from typing import Any

WIDTH = 34


def size(n: int) -> str:
    """Bytes in binary units, beside which the exact number is printed where it matters."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= one:
            return f"{n / one:,.2f} {unit}"
    return f"{n:,} B"


def power(n: float) -> str:
    for unit, one in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if n >= one:
            return f"{n / one:,.2f} {unit}"
    return f"{n:,.0f} "


def bars(parts: dict[str, int]) -> None:
    """A line for each part with its share as a bar."""
    total = sum(parts.values()) or 1
    for name, n in sorted(parts.items(), key=lambda item: -item[1]):
        if n:
            bar = "█" * round(WIDTH * n / total) or "▏"
            print(f"  {name:<22} {n:>20,}  {size(n):>11}  {n / total:>6.1%}  {bar}")


def tell(r: dict[str, Any]) -> None:
    count, active = r["parameters"], r["active parameters"]
    print(f"{r['model']}: {count:,} parameters" + f" ({active:,} active)" * (active != count)
          + f" · batch {r['batch']} × {r['seq']} · {r['dtype']} · {r['table']}")  # fmt: skip
    if r.get("frozen here") or r.get("trained here", count) != count:
        print(f"here: {r['trained here']:,} trained, {r['frozen here']:,} frozen")
    print(f"\npeak {exactly(r['peak'])} at {r['binding']}")
    bars(r["parts"])
    if "reserved" in r:
        print(f"\nallocated {exactly(r['allocated'])}, reserved {exactly(r['reserved'])}")
    if "phases" in r:
        print("\nhighest in each phase")
        for phase in r["phases"]:
            at = f"{phase['instant']} ({phase['where']})"
            print(f"  {phase['phase']:<22} {phase['peak']:>20,}  {size(phase['peak']):>11}  {at}")
        print("\nkept for the backward pass, by what made it")
        bars(r["saved"])
    operations(r["flops"])
    if "cache" in r:
        print(f"cache: {exactly(r['cache'])}")
    print(f"cache of keys and values: {r['cache per token']:,} bytes a token")
    print(f"left out: {r['left out']}")
    if "unmeasured" in r:
        print(f"note: {r['unmeasured']}")


def exactly(n: int) -> str:
    return f"{n:,} bytes ({size(n)})"


def operations(f: dict[str, Any]) -> None:
    """FLOPs and bytes moved."""
    work = f.get("hardware", f.get("forward", 0))
    if "model" in f:
        model, causal = f["model"], f["causal"]
        print(f"\nFLOPs a step: model {model:,} ({power(model)}FLOP) · causal {causal:,} · hardware {work:,}")
        print("  model counts every score; causal what the mask leaves; hardware adds what is computed again")
    else:
        print(f"\nFLOPs: {work:,} ({power(work)}FLOP)")
    moved = f["bytes moved"]
    print(f"bytes moved, at least: {exactly(moved)}; {work / max(moved, 1):.1f} FLOP a byte")
