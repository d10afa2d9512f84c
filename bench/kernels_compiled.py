"""The Triton kernels compiled ahead of time, without a GPU: python -m bench kernels --compile [--json].

Every kernel is called by its own host code on tensors of a usual width; its launches are caught, and compiled for each
architecture instead of run. Registers of a thread and bytes spilled are what ptxas says, shared memory is what Triton
will ask for.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from datetime import date
from typing import Any
from unittest.mock import patch

import torch

ARCHITECTURES = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
"""sm_80, sm_90 and sm_100: the bytes of shared memory that one program may have there."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SPOKEN = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.S
)


def calls(dtype: torch.dtype) -> Iterator[str]:
    """Call every function of reference/kernels, forward and backward; tell the sizes before each."""
    from reference.kernels import activations, attention, loss, normalization, optimizers, rope

    def some(*shape):
        return torch.zeros(shape, dtype=dtype).requires_grad_()

    def both(y, *leaves):
        torch.autograd.grad(y, leaves, torch.zeros_like(y), allow_unused=True)

    for K in (64, 128):
        yield f"attention K={K}"
        q, k, v = some(1, 4, 256, K), some(1, 2, 256, K), some(1, 2, 256, K)
        both(attention.attention(q, k, v, causal=True), q, k, v)
    x, w, b = some(64, 4096), some(4096), some(4096)
    yield "rms_norm D=4096"
    both(normalization.rms_norm(x, w), x, w)
    yield "layer_norm D=4096"
    both(normalization.layer_norm(x, w, b), x, w, b)
    yield "swiglu F=4096"
    gate, up = some(16, 4096), some(16, 4096)
    both(activations.swiglu(gate, up), gate, up)
    for layout in ("half", "interleaved"):
        yield f"rotate K=128 {layout}"
        x = some(1, 32, 256, 128)
        both(rope.rotate(x, torch.arange(256), layout=layout), x)
    yield "cross_entropy V=32768"
    z = some(4, 32768)
    both(loss.cross_entropy(z, torch.zeros(4, dtype=torch.int64)), z)
    yield "adamw_step"
    optimizers.adamw_step(*(some(1 << 16) for _ in range(4)), t=1, lr=1e-3)


class Absent:
    """A GPU of some architecture, as far as compiling asks for one."""

    def __init__(self, architecture: int):
        self.architecture = architecture

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self):
        return self.architecture

    def get_current_stream(self, device):
        return 0


def compiled(architecture: int, dtype: str) -> Iterator[dict[str, Any]]:
    """A row for every kernel that the functions launch, once for each variant."""
    import triton
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    from reference.kernels import device

    caught: list[dict[str, Any]] = []
    run, now = JITFunction.run, ""

    def compile_only(kernel, *args, grid, warmup, **options):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            made = run(kernel, *args, grid=grid, warmup=True, **options)
        if found := SPOKEN.search(said.getvalue()):  # it speaks when a variant is compiled, not when it comes again
            stack, stores, loads, registers = map(int, found.groups())
            caught.append({"call": now, "kernel": kernel.__name__, "dtype": dtype, "target": f"sm_{architecture}",
                           "registers": registers, "shared": made.metadata.shared, "warps": made.metadata.num_warps,
                           "spill stores": stores, "spill loads": loads, "stack": stack})  # fmt: skip

    room, compilation, nvidia = ARCHITECTURES[architecture], triton.knobs.compilation, triton.knobs.nvidia
    with (
        patch.object(JITFunction, "run", compile_only),
        patch.object(device, "placed", lambda name, x: None),
        patch.object(device, "shared_memory", lambda x: room),
        patch.object(driver, "_active", Absent(architecture)),
        compilation.scope(),
        nvidia.scope(),
    ):
        compilation.always_compile = nvidia.dump_ptxas_log = True
        for sizes in calls(DTYPES[dtype]):
            now = sizes
            yield from caught
            caught.clear()
        yield from caught


def told(r: dict[str, Any]) -> str:
    """A row of the table."""
    spilled = r["spill stores"] + r["spill loads"]
    return (f"{r['call']:<27}{r['kernel']:<18}{r['dtype']:<10}{r['target']:<8}{r['registers']:>5}{r['shared']:>9,}"
            f"{r['warps']:>6}{spilled or '–':>8}")  # fmt: skip


def main(options) -> int:
    """All kernels, dtypes and architectures; 2 where Triton is not there, or would interpret."""
    try:
        import triton
    except ModuleNotFoundError:
        print("bench kernels --compile: expected Triton, found none: not run", file=sys.stderr)
        return 2
    if triton.knobs.runtime.interpret:
        print("bench kernels --compile: expected no TRITON_INTERPRET, which replaces the compiler", file=sys.stderr)
        return 2
    out, rows = sys.stderr if options.json else sys.stdout, []
    print(
        f"{'call':<27}{'kernel':<18}{'dtype':<10}{'target':<8}{'reg.':>5}{'shared':>9}{'warps':>6}{'spilled':>8}",
        file=out,
    )
    for architecture in ARCHITECTURES:
        for dtype in DTYPES:
            for r in compiled(architecture, dtype):
                rows.append(r)
                print(told(r), file=out, flush=True)
    if options.json:
        head = {
            "schema": 1,
            "topic": "kernels, compiled",
            "date": date.today().isoformat(),
            "triton": triton.__version__,
        }
        print(json.dumps({**head, "rows": rows}, indent=1, ensure_ascii=False))
    return 0
