"""A training step on fake tensors: every operation of the real one is dispatched, and none of them takes memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

from torch.nn import Module

from bench.options import Setting
from bench.step import training as real


def training(s: Setting) -> tuple[Callable[[], None], dict[str, Any]]:
    """(step, what it holds) of a setting for the CPU; both this and the step want to be called under FakeTensorMode."""
    build, step, held = real(s)
    with patch.object(Module, "to", lambda model, *_: model):  # fake weights cannot be moved, nor need these be
        build()
    return partial(step, lambda phase: None), held
