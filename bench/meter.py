"""What a computation takes: bytes from PyTorch's own allocator, operations from its counter and from XLA's analysis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def kept_bytes(f: Callable[[], Any], device: str = "cpu") -> int:
    """Bytes that are still allocated when f has returned, while its result lives; needs a device free of other work.

    On a CPU every allocation and release is read off the profiler, exact to the byte; CUDA rounds each tensor up to
    512 bytes.
    """
    if device != "cpu":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        result = f()
        torch.cuda.synchronize()
        kept = torch.cuda.memory_allocated() - before
        del result
        return kept
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on stderr otherwise
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        result = f()
    changes = [event.cpu_memory_usage for event in profile.events() if event.name == "[memory]"]
    inside = [e.self_cpu_memory_usage for e in profile.events() if e.name != "[memory]"]
    del result
    return sum(changes) + sum(inside)


def counted_flops(f: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products in f, by PyTorch's counter (elementwise work is not counted)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        f()
    return counter.get_total_flops()


def xla_flops(f: Callable[..., Any], *shapes: tuple[int, ...]) -> float:
    """Floating-point operations of f on float32 arrays of these shapes, as XLA estimates the compiled program.

    XLA counts elementwise work too, and the body of a loop once, however often it runs.
    """
    import jax

    arrays = [jax.ShapeDtypeStruct(shape, jax.numpy.float32) for shape in shapes]
    analysis: Any = jax.jit(f).lower(*arrays).compile().cost_analysis()
    return (analysis[0] if isinstance(analysis, list) else analysis)["flops"]
