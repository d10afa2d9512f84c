"""Talk to the process of verify/candidate.py: send inputs, wait no longer than a limit, say how it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

START = 120.0
"""Seconds that a process may take to import what the candidate needs."""


class Ended(Exception):
    """The candidate raised, hung, crashed or gave something that is no tensor; `trace` is its own traceback."""

    def __init__(self, what: str, trace: str = "", raised: bool = False) -> None:
        super().__init__(what)
        self.trace, self.raised = trace, raised


class Unusable(Ended):
    """The candidate cannot be loaded at all."""


class Worker:
    """One candidate in its own process, which is started again after it has hung or crashed.

    The process starts at once, and this module is light, so that the caller can import what it needs meanwhile.
    """

    def __init__(
        self, target: str, framework: str = "auto", limit: float = 20.0, device: str = "cpu", backward: str = ""
    ) -> None:
        self.target, self.framework, self.limit = target, framework, limit
        self.device, self.backward = device, backward
        self.process: subprocess.Popen[bytes] | None = None
        self.greeted = False
        self.start()

    def start(self) -> None:
        script = str(Path(__file__).with_name("candidate.py"))
        command = [sys.executable, script, self.target, self.framework, self.device, self.backward]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.greeted = False

    def parameters(self) -> list[list[Any]] | None:
        """What the function takes, see signature.parameters. Raises Unusable if it cannot be loaded."""
        if not self.greeted:
            hello, _ = self._receive(START)
            if "unusable" in hello:
                self.stop()
                raise Unusable(hello["unusable"], hello["traceback"])
            self.framework, self.known, self.greeted = hello["framework"], hello["parameters"], True
            self.defaults: dict[str, Any] = hello["defaults"]
        return self.known

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def call(
        self, positional: list[str], named: Mapping[str, str], inputs: Mapping[str, Any], **options: Any
    ) -> tuple[list[torch.Tensor], list[str]]:
        """(results, names of the inputs that were changed). Raises Ended.

        Options: `fixed` arguments of theirs; `strided`, matrices lie transposed in memory; `poisoned`, fresh
        memory is full of NaN; `slopes`, the results are the gradients of ⟨inputs["cotangent"], f⟩ by those arguments;
        `buffers`, the results are those arguments of theirs after the call, of these `shapes` (dtype, size) when fresh;
        `numbers`, the places of results that may be plain numbers.
        """
        import torch

        if self.process is None:
            self.start()
        self.parameters()
        tensors = {name: x.contiguous() for name, x in inputs.items() if isinstance(x, torch.Tensor)}
        blobs = {name: bits(x).numpy().tobytes() for name, x in tensors.items()}
        header = {
            "positional": positional,
            "named": named,
            "tensors": {n: [_name(x), list(x.shape), options["strided"], len(blobs[n])] for n, x in tensors.items()},
            "values": {name: x for name, x in inputs.items() if name not in tensors},
            **options,
        }
        body = json.dumps(header).encode() + b"\n" + b"".join(blobs.values())
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(struct.pack("<Q", len(body)) + body)
            self.process.stdin.flush()
        except BrokenPipeError:
            self._over()
        reply, blob = self._receive(self.limit)
        if "error" in reply:
            raise Ended(reply["error"], reply["traceback"], reply["raised"])
        results, at = [], 0
        for dtype, shape in reply["outputs"]:
            kind = getattr(torch, dtype, None)
            if not isinstance(kind, torch.dtype):
                raise Ended(f"a result of dtype {dtype}, which is no number's")
            empty = torch.empty(shape, dtype=kind)
            size = empty.numel() * empty.element_size()
            data = bytearray(blob[at : at + size])
            results.append(torch.frombuffer(data, dtype=kind).reshape(shape) if size else empty)
            at += size
        return results, reply["changed"]

    def _receive(self, limit: float) -> tuple[dict[str, Any], bytes]:
        assert self.process is not None and self.process.stdout is not None
        stream, deadline = self.process.stdout.fileno(), time.monotonic() + limit
        parts: list[bytes] = []
        wanted = have = 0
        while not wanted or have < wanted:
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.stop()
                raise Ended(f"no answer within {limit:g} s (--limit allows more)")
            piece = os.read(stream, 1 << 20)
            if not piece:
                self._over()
            parts.append(piece)
            have += len(piece)
            if not wanted and have >= 8:
                wanted = 8 + struct.unpack("<Q", b"".join(parts)[:8])[0]
        body = b"".join(parts)[8:]
        line, _, blob = body.partition(b"\n")
        return json.loads(line), blob

    def _over(self) -> None:
        assert self.process is not None
        code = self.process.wait()
        self.stop()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        raise Ended(f"the process ended by itself: {how}")


def _name(x: torch.Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def bits(x: torch.Tensor) -> torch.Tensor:
    """What a tensor is in memory, byte by byte, in the order of its entries."""
    import torch

    return x.contiguous().flatten().view(torch.uint8) if x.numel() else torch.empty(0, dtype=torch.uint8)
