"""An experiment: python -m bench TOPIC [--json] [--svg FILE] tells its rows as they come, keeps them, and draws them.

A row is a dict of what was measured and what was predicted; a ratio is measured over predicted.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import torch

Row = dict[str, Any]


def row(what: str, of: str, at: float, measured: float, predicted: float | None = None, **more: Any) -> Row:
    """One measurement `of` something, `at` a condition, a step, an order or a rate."""
    ratio = measured / predicted if predicted and math.isfinite(measured) else None
    return {"what": what, "of": of, "at": at, "predicted": predicted, "measured": measured, "ratio": ratio, **more}


def heading(r: Row) -> str:
    """What stands above rows of one kind."""
    return f"{r['what']:<26}{'at':>10}{'predicted':>14}{'measured':>14}{'ratio':>10}"


def told(r: Row) -> str:
    """A row as a line."""
    predicted = "" if r["predicted"] is None else f"{r['predicted']:.6g}"
    ratio = "" if r["ratio"] is None else f"{r['ratio']:.4f}"
    return f"  {r['of']:<24}{r['at']:>10.4g}{predicted:>14}{r['measured']:>14.6g}{ratio:>10}"


def document(topic: str, found: list[Row], **head: Any) -> str:
    """The rows as JSON, which knows no infinity, and what they were measured with."""
    first = {"schema": 1, "topic": topic, "date": str(date.today()), "device": "CPU", "torch": torch.__version__}
    safe = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()} for r in found]
    return json.dumps({**first, "python": sys.version.split()[0], **head, "rows": safe}, indent=1, ensure_ascii=False)


def report(
    topic: str,
    options: Any,
    rows: Iterable[Row],
    draw: Callable[[list[Row], str], tuple[str, ...] | None] | None = None,
    *,
    told: Callable[[Row], str] = told,
    heading: Callable[[Row], str] | str = heading,
    wrong: Callable[[Row], bool] = lambda r: False,
    **head: Any,
) -> int:
    """Tell every row under its heading, on standard error where JSON is wanted; then write JSON and figures.

    `draw` gets the rows and a path, and says where else it drew. 2 where it cannot, else 1 if a row is wrong, else 0.
    """
    out = sys.stderr if options.json else sys.stdout
    found: list[Row] = []
    above = ""
    for r in rows:
        found.append(r)
        top, line = heading if isinstance(heading, str) else heading(r), told(r)
        if top != above:
            print(top, file=out)
            above = top
        if line:
            print(line, file=out, flush=True)
    if options.json:
        print(document(topic, found, **head))
    if draw and (path := options.svg or ("" if options.json else f"{topic}.svg")):
        try:
            print(f"wrote {' and '.join(draw(found, path) or (path,))}", file=out)
        except ModuleNotFoundError as error:
            print(f"no figure: {error.name} is not installed", file=out)
        except OSError as error:
            print(f"--svg {path}: cannot be written: {error.strerror}", file=sys.stderr)
            return 2
    return int(any(map(wrong, found)))
