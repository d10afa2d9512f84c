"""Reading a config.json: fields in any of their spellings, each checked, with one clear line for what is wrong.

It needs nothing but the standard library, so that costs can be predicted without PyTorch.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

LIMIT = 2**40
"""No size of a model is larger: what is, is a slip."""

SPELLINGS = {
    "hidden_size": ("n_embd",),
    "num_hidden_layers": ("n_layer",),
    "num_attention_heads": ("n_head",),
    "intermediate_size": ("n_inner",),
    "max_position_embeddings": ("n_positions",),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "num_experts_per_tok": ("experts_per_token",),
}


def fail(what: str, expected: str, received: Any) -> NoReturn:
    """One line: what was expected and what came."""
    plain = json.dumps(received) if received is None or isinstance(received, bool) else reprlib.repr(received)
    raise ValueError(f"{what}: expected {expected}, received {plain}")


def size(config: Mapping[str, Any], name: str, default: int | None = None, least: int = 1) -> int:
    """The integer of that name, in any of its spellings; the default where it is missing or null."""
    given = {key: config[key] for key in (name, *SPELLINGS.get(name, ())) if config.get(key) is not None}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LIMIT:
            fail(key, f"an integer from {least} to 2**40", value)
    if len(set(given.values())) > 1:
        fail(name, "one value", given)
    if not given and default is None:
        raise ValueError(f"{name}: expected an integer from {least} to 2**40, received nothing")
    return next(iter(given.values()), default or 0)


def flag(config: Mapping[str, Any], name: str) -> bool:
    """Whether the field of that name is true; null and nothing are false, as they are for transformers."""
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        fail(name, "true or false", value)
    return bool(value)


def number(config: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """The number of that name, above 0; the default where it is missing or null."""
    value = config.get(name)
    value = default if value is None else value
    if value is None:
        raise ValueError(f"{name}: expected a number above 0, received nothing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        fail(name, "a number above 0", value)
    return float(value)


def table(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object of that name; an empty one where it is missing or null."""
    value = config.get(name)
    if value is not None and not isinstance(value, dict):
        fail(name, "an object", value)
    return dict(value or {})


def parsed(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object that a JSON file holds."""
    try:
        value = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, received something else ({error})") from None
    if not isinstance(value, dict):
        fail(str(path), "an object", value)
    return value
