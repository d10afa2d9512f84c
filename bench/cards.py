"""Graphics cards by name: how many bytes they hold, and the nominal speeds of their sheets; the data is cards.toml."""

from __future__ import annotations

import re
import reprlib
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Card:
    """`bytes` of memory as a driver reports them; nominal `peak` in dense 16-bit FLOP/s, `bandwidth` in bytes/s.

    `memory` says which report that is, `source` whose numbers the speeds are, `note` what else to know.
    """

    name: str
    device: str
    bytes: int
    memory: str
    peak: float
    bandwidth: float
    source: str
    note: str = ""


@cache
def cards() -> dict[str, Card]:
    """All of them."""
    table = tomllib.loads(Path(__file__).with_name("cards.toml").read_text(encoding="utf-8"))
    return {name: Card(name, **row) for name, row in table.items()}


def _bare(name: str) -> str:
    """A name without case, dashes, spaces, maker and unit: "NVIDIA H100 80GB" and "h100-80g" are h10080."""
    word = re.sub(r"[^a-z0-9]|nvidia|geforce|rtx|tesla|amd|instinct", "", name.lower())
    return re.sub(r"(?<=\d)g(i?b)?$", "", word)


def card(name: str) -> Card:
    """The card of that name, with its memory where several sizes are known; ValueError, in a line, if there is none."""
    known = {_bare(full): c for full, c in cards().items()}
    if _bare(name) in known:
        return known[_bare(name)]
    sizes = [c for full, c in cards().items() if _bare(full.partition("-")[0]) == _bare(name)]
    if len(sizes) == 1:
        return sizes[0]
    near = [c.name for c in sizes] or get_close_matches(name.lower(), cards(), 3, 0.5) or list(cards())
    raise ValueError(f"card: expected a name such as {', '.join(near)}, received {reprlib.repr(name)}")
