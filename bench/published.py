"""Published numbers, recomputed from papers/tables: python -m bench published [AREA] [--json].

How a number agrees is decided by exact arithmetic on what is printed: it equals ours, or ours rounds to it, or is cut
to it, or would round to it for some value of the inputs that are rounded in print themselves. What is left is a
discrepancy, and a line of papers/errata.md, which python -m bench published --write writes.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from fractions import Fraction
from functools import cache
from itertools import groupby, product
from json import dumps
from math import floor, prod
from pathlib import Path
from textwrap import fill
from typing import Any

from bench import (
    published_flops,
    published_inference,
    published_memory,
    published_parameters,
    published_quantization,
    published_utilization,
)
from bench.options import Parser
from derivations.architecture import Architecture, Experts, Latent, weights

FORMULAS = (
    published_parameters,
    published_flops,
    published_utilization,
    published_memory,
    published_inference,
    published_quantization,
)
"""Where the formulas stand that papers/tables name; a file imports from those before it only."""
PAPERS = Path(__file__).parent.parent / "papers"
CLASSES = ("exact", "rounds", "truncates", "within input rounding", "discrepancy")
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
UNITS: dict[str, int | Fraction] = {
    **dict.fromkeys("parameters elements floats tokens tokens/s bytes bits FLOP FLOP/byte s ratio devices".split(), 1),
    **{"percent": Fraction(1, 100), "ms": Fraction(1, 1000), "hours": 3600, "days": 86400, "years": 365 * 86400},
    **{"KiB": 2**10, "GiB": 2**30, "GB": 10**9, "TB": 10**12},
    **{"GFLOP": 10**9, "PFLOP": 10**15, "TFLOP/s": 10**12, "PFLOP/s": 10**15, "PF-days": 86400 * 10**15},
}
ARCHITECTURE = {field.name for field in fields(Architecture)}
HEAD = """# Candidate errata

Of {all} published numbers in [tables](tables) that the formulas of this project give, these {left} are not what we
compute: not when ours is rounded, nor when it is cut, nor for any value of the inputs that are rounded in print
themselves. Each is a candidate only. Most were read in copies and quotations of the source, a formula or a shape may
not be the one that was meant, and some have been corrected since; where we see an explanation, it is given.

This page is written by `python -m bench published --write`; `python -m bench published` prints the numbers that agree.
"""


@cache
def tables() -> dict[str, list[dict[str, Any]]]:
    """The entries of every area, decimals read exactly."""
    exact: Any = Fraction
    paths = sorted((PAPERS / "tables").glob("*.toml"))
    return {p.stem: tomllib.loads(p.read_text(encoding="utf-8"), parse_float=exact)["value"] for p in paths}


def number(printed: str) -> Fraction:
    """The number in a printed string, without its unit."""
    return Fraction(re.sub(r"[,_%]|[A-Z]$", "", printed))


def size(unit: str) -> Fraction:
    """A unit such as "million parameters" in units of one."""
    scale, _, rest = unit.rpartition(" ")
    return Fraction(SCALES[scale] if scale else 1) * Fraction(UNITS[rest])


def formula(entry: dict[str, Any]) -> Callable[..., Any]:
    """The function that an entry names."""
    return next(vars(module)[entry["formula"]] for module in FORMULAS if entry["formula"] in vars(module))


def arguments(entry: dict[str, Any], **moved: Fraction) -> dict[str, Any]:
    """The inputs of an entry, some of them moved, as its formula takes them: integers would divide to floats."""
    inputs = {**entry["inputs"], **moved}
    if "a" not in inspect.signature(formula(entry)).parameters:
        return {name: Fraction(x) for name, x in inputs.items()}
    parts = {"experts": Experts, "latent": Latent}
    shape = {n: parts[n](**x) if n in parts else x for n, x in inputs.items() if n in ARCHITECTURE}
    return {"a": Architecture(**shape), **{n: Fraction(x) for n, x in inputs.items() if n not in ARCHITECTURE}}


def evaluate(entry: dict[str, Any], **moved: Fraction) -> Fraction:
    """The number as its formula gives it, in the unit of the print."""
    return Fraction(formula(entry)(**arguments(entry, **moved))) / size(entry["unit"])


def interval(entry: dict[str, Any]) -> tuple[Fraction, Fraction]:
    """The least and the largest result for inputs within half a quantum: formulas are monotone in each of them."""
    ends = [
        [(name, entry["inputs"][name] + Fraction(quantum) * side / 2) for side in (-1, 1)]
        for name, quantum in entry.get("rounded", {}).items()
    ]
    results = [evaluate(entry, **dict(corner)) for corner in product(*ends)]
    return min(results), max(results)


def nearest(x: Fraction, quantum: Fraction) -> set[Fraction]:
    """What x may be printed as: of two equally near, the even one or the one away from zero."""
    steps = x / quantum
    away = floor(abs(steps) + Fraction(1, 2)) * (1 if steps > 0 else -1)
    return {round(steps) * quantum, away * quantum}


def agreement(recomputed: Fraction, value: Fraction, quantum: Fraction, low: Fraction, high: Fraction) -> str:
    """Which of CLASSES it is; quantum 0 says that every digit is printed."""
    if recomputed == value:
        return "exact"
    closest = min(max(low, value), high)
    if quantum and value in nearest(recomputed, quantum):
        return "rounds"
    if quantum and value == int(recomputed / quantum) * quantum:
        return "truncates"
    within = value in nearest(closest, quantum) if quantum else closest == value
    return "within input rounding" if within else "discrepancy"


def plain(x: Any) -> Any:
    """Fractions as JSON numbers."""
    if isinstance(x, dict):
        return {name: plain(y) for name, y in x.items()}
    return x if not isinstance(x, Fraction) else x.numerator if x.denominator == 1 else float(x)


def rows(area: str | None = None) -> Iterator[dict[str, Any]]:
    """Every entry with what we compute, how it agrees, and the difference relative to the print."""
    for stem, entries in tables().items():
        for entry in entries if area in (None, stem) else ():
            value, ours = Fraction(entry["value"]), evaluate(entry)
            found = agreement(ours, value, Fraction(entry["quantum"]), *interval(entry))
            own = {"recomputed": ours, "agreement": found, "difference": (ours - value) / value}
            yield {"id": entry["id"], "area": stem, **plain({**entry, **own})}


def shown(x: Any) -> str:
    """A number, its thousands apart, with ten digits or, from 10^15, with six."""
    return f"{x:.6g}" if abs(x) >= 10**15 else f"{x:,}" if isinstance(x, int) else f"{x:,.10g}"


def arithmetic(row: dict[str, Any]) -> str:
    """The formula with the numbers put in, or the weights by part for a formula of an architecture."""
    given = arguments(row)
    if "a" in given:
        parts = Counter[str]()
        for name, shape, count in weights(given["a"]):
            parts[name.partition(".")[0]] += prod(shape) * count
        some = given["a"].experts
        few = f", {some.active} of {some.E} experts active" if some else ""
        return f"{row['formula']}: of " + " + ".join(f"{n:,} ({name})" for name, n in parts.items()) + few
    import sympy

    text = sympy.sstr(formula(row)(**{name: sympy.Symbol(name) for name in given}))
    text = text.replace("**", "^").replace("*", " · ").replace("/", " / ")
    return f"{row['formula']}: " + re.sub(r"[A-Za-z_]\w*", lambda name: shown(plain(given[name[0]])), text)


def told(row: dict[str, Any]) -> str:
    """The arithmetic, the result and the print, a line each."""
    times, percent = row["difference"] + 1, 100 * abs(row["difference"])
    apart = f"{times:.3g} times that" if times > 2 else f"{percent:.2g}% {'more' if times > 1 else 'less'}"
    ours = f"ours {shown(row['recomputed'])} {row['unit']}, printed {row['printed']}: ours is {apart}"
    return f"    {arithmetic(row)}\n    {ours}\n"


def errata() -> str:
    """The page of discrepancies."""
    found = list(rows())
    left = [row for row in found if row["agreement"] == "discrepancy"]
    page = [HEAD.format(all=len(found), left=len(left))]
    for area, group in groupby(left, key=lambda row: row["area"]):
        page.append(f"## [{area}](tables/{area}.toml)\n")
        for row in group:
            page.append(f"**{row['quantity']}: {row['printed']}** ({row['source']}; `{row['id']}`)\n")
            meant = f"As we read it, in {row['locator']}, this is `{row['formula']}`: {inspect.getdoc(formula(row))}"
            page += [f"{fill(meant, 120)}\n", told(row)]
            page += [f"{fill(row['note'], 120)}\n"] if "note" in row else []
    return "\n".join(page)


def report(json: bool = False, area: str | None = None) -> int:
    """Print a table of areas and the discrepancies, or JSON and nothing else."""
    found = list(rows(area))
    if json:
        print(dumps({"schema": 1, "topic": "published", "rows": found}, indent=1, ensure_ascii=False))
        return 0
    count = Counter((row["area"], row["agreement"]) for row in found)
    print(f"{'area':<14}{'numbers':>9}" + "".join(f"{name:>{len(name) + 3}}" for name in CLASSES))
    for stem in [*dict.fromkeys(row["area"] for row in found)]:
        counts = [count[stem, name] for name in CLASSES]
        print(
            f"{stem:<14}{sum(counts):>9}" + "".join(f"{n:>{len(k) + 3}}" for k, n in zip(CLASSES, counts, strict=True))
        )
    for row in found:
        if row["agreement"] == "discrepancy":
            print(f"\n{row['quantity']}: {row['printed']} ({row['source']}; {row['id']})\n{told(row)}", end="")
            print(fill(row.get("note", "No explanation seen."), 116, initial_indent="    ", subsequent_indent="    "))
    return 0


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m bench published", description="Published numbers, recomputed.")
    parser.add_argument("area", nargs="?", metavar="AREA", choices=[*tables()], help=f"of {', '.join(tables())}")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--write", action="store_true", help="write papers/errata.md anew")
    options = parser.parse_args(argv)
    if options.write:
        (PAPERS / "errata.md").write_text(errata(), encoding="utf-8")
        return 0
    return report(options.json, options.area)
