"""Where the kernels run, and what they take: one check for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton

from reference import expect

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
OLDEST = (8, 0)
"""The compute capability from which a GPU multiplies bfloat16."""


def supported(**tensors: Tensor) -> None:
    """Floating tensors of one dtype on one device, which must be an NVIDIA GPU, or a CPU where TRITON_INTERPRET=1."""
    (first, x), *_ = tensors.items()
    for name, tensor in tensors.items():
        expect.floating(name, tensor)
        if tensor.dtype not in DTYPES:
            expect.fail(name, "float32, bfloat16 or float16", tensor.dtype)
        if tensor.dtype != x.dtype:
            expect.fail(name, f"the dtype of {first}, {x.dtype}", tensor.dtype)
        if tensor.device != x.device:
            expect.fail(name, f"a tensor on the device of {first}, {x.device}", tensor.device)
    placed(first, x)


def placed(name: str, x: Tensor) -> None:
    """A tensor on a device where Triton runs its kernels."""
    if triton.knobs.runtime.interpret:
        if x.device.type != "cpu":
            expect.fail(name, "a tensor on the CPU, since TRITON_INTERPRET=1", x.device)
    elif x.device.type != "cuda" or torch.version.hip:
        expect.fail(name, "a tensor on an NVIDIA GPU (or TRITON_INTERPRET=1 and one on the CPU)", x.device)
    elif (found := torch.cuda.get_device_capability(x.device)) < OLDEST:
        expect.fail(name, "a GPU of compute capability 8.0 or later", ".".join(map(str, found)))


def multiprocessors(x: Tensor) -> int:
    """How many programs run side by side; on a CPU the interpreter runs one."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1


def shared_memory(x: Tensor) -> int:
    """Bytes that one program may have."""
    properties: Any = torch.cuda.get_device_properties(x.device) if x.is_cuda else None  # stubs lack this field
    return properties.shared_memory_per_block_optin if properties else 1 << 20
