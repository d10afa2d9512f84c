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
    mixed = r["active parameters"] != r["parameters"]
    active = f" ({r['active parameters']:,} active)" if mixed else ""
    print(f"{r['model']}: {r['parameters']:,} parameters{active} · batch {r['batch']} × {r['seq']} · {r['dtype']} · {r['table']}")
    if "trained here" in r and (r["frozen here"] or r["trained here"] != r["parameters"]):
        print(f"here: {r['trained here']:,} trained, {r['frozen here']:,} frozen")
    print(f"\npeak {r['peak']:,} bytes ({size(r['peak'])}) at {r['binding']}")
    bars(r["parts"])
    if "reserved" in r:
        print(f"\nallocated {r['allocated']:,} ({size(r['allocated'])}), reserved {r['reserved']:,} ({size(r['reserved'])})")
    if "phases" in r:
        print("\nhighest in each phase")
        for phase in r["phases"]:
            print(f"  {phase['phase']:<22} {phase['peak']:>20,}  {size(phase['peak']):>11}  {phase['instant']} ({phase['where']})")
        print("\nkept for the backward pass, by what made it")
        bars(r["saved"])
    f = r["flops"]
    print()
    if "model" in f:
        print(f"FLOPs a batch: model {f['model']:,} ({power(f['model'])}FLOP) · causal {f['causal']:,} · hardware {f['hardware']:,}")
        print("  model counts every score; causal what the mask leaves; hardware adds what is computed again")
        moved = f["bytes moved"]
        print(f"bytes moved, at least: {moved:,} ({size(moved)}); {f['hardware'] / max(moved, 1):.1f} FLOP a byte")
    else:
        print(f"FLOPs: {f['forward']:,} ({power(f['forward'])}FLOP); bytes moved, at least: {f['bytes moved']:,} "
              f"({size(f['bytes moved'])}); {f['forward'] / max(f['bytes moved'], 1):.1f} FLOP a byte")  # fmt: skip
        print(f"cache: {r['cache']:,} bytes ({size(r['cache'])})")
    print(f"cache of keys and values: {r['cache per token']:,} bytes a token")
    print(f"left out: {r['left out']}")
    if "unmeasured" in r:
        print(f"note: {r['unmeasured']}")
