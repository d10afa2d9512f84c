r"""The safetensors format: a header of names, dtypes, shapes and places, then numbers. Read lazily, and never executed.

8 bytes n, little-endian | n bytes of JSON | the numbers of all tensors, without a gap
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 100_000_000
"""No header is longer, as the format says."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class Stored(NamedTuple):
    """A tensor in a file: its shape, and how to read it."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def fail(path: str | os.PathLike[str], expected: str, received: object) -> NoReturn:
    raise ValueError(f"{path}: expected {expected}, received {received}")


def safetensors(path: str | os.PathLike[str]) -> dict[str, Stored]:
    """The tensors of a file by name, none of them read yet.

    Raises ValueError for a file that is cut off or is no safetensors, and for entries that do not fit their place.
    """
    try:
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length < 8:
                fail(path, "a safetensors file", f"{length} bytes")
            n = int.from_bytes(file.read(8), "little")
            if n > min(LONGEST, length - 8):
                fail(path, f"a safetensors header within {length} bytes", f"a length of {n}")
            header = json.loads(file.read(n))
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError(f"{path}: expected a safetensors header of JSON, received something else") from None
    if not isinstance(header, dict):
        fail(path, "a header that is an object", type(header).__name__)
    header.pop("__metadata__", None)
    found, ends = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(path, *item)):
        shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        if begin != ends or end - begin != math.prod(shape) * dtype.itemsize:
            fail(path, f"{math.prod(shape) * dtype.itemsize} bytes from {ends} for {name}", f"{begin} to {end}")
        found[name] = Stored(shape, partial(_read, memory, 8 + n + begin, 8 + n + end, dtype, shape))
        ends = end
    if 8 + n + ends != length:
        fail(path, f"{8 + n + ends} bytes in all", f"{length}, so it is cut off or not whole")
    return found


def _begin(path, name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends, once its entry is found to be one."""
    whole = isinstance(entry, dict) and entry.keys() >= {"dtype", "shape", "data_offsets"}
    if not whole or not all(
        isinstance(entry[key], list) and all(type(n) is int and n >= 0 for n in entry[key])
        for key in ("shape", "data_offsets")
    ):
        fail(path, f"dtype, shape and data_offsets of {name}", entry)
    if len(entry["data_offsets"]) != 2:
        fail(path, f"two data_offsets of {name}", entry["data_offsets"])
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        fail(path, f"a dtype of {name} among {', '.join(DTYPES)}", entry["dtype"])
    return entry["data_offsets"][0], entry["data_offsets"][1]


def _read(memory: mmap.mmap, begin: int, end: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A copy of the numbers between two places, which need not be aligned."""
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(memory[begin:end]), dtype=dtype).reshape(shape)
