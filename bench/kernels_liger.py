"""Liger's Triton kernels beside ours, where `pip install --no-deps liger-kernel` has been run: none of our pins.

Liger makes the gradient of cross-entropy on the way forth, into the memory of the logits, so that its way back is a
factor. Its rotation turns queries and keys together, in place, and is no peer of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def liger(kernel: str) -> dict[str, Callable[..., Any]]:
    """{"liger": its function with our arguments}; nothing where it is not installed."""
    if find_spec("liger_kernel") is None:
        return {}
    from liger_kernel.transformers import functional

    return {"liger": {
        "rms_norm": lambda x, w: functional.liger_rms_norm(x, w, 1e-6),
        "layer_norm": lambda x, w, b: functional.liger_layer_norm(x, w, b, 1e-5),
        "swiglu": functional.liger_swiglu,
        "cross_entropy": functional.liger_cross_entropy,
    }[kernel]}  # fmt: skip
