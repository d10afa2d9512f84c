"""One training step of reference.decoder.Decoder, and every byte that it takes.

On a CPU the truth is the stream of PyTorch's allocator, every request and release, as its profiler records it, with one
thread; on CUDA the statistics of the caching allocator and its history. The first steps only fill the optimizer's state
and the cache: the last one is measured.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

from bench.options import Setting

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on stderr otherwise


def training(s: Setting) -> tuple[Callable[[], Any], Callable[[Callable[[str], Any]], None], Any]:
    """(build, step, holder): build the model, then run a step that calls mark(phase) before each phase."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from reference.decoder import Decoder, Sizes

    a, run, plan = s.a, s.run, s.plan
    held: dict[str, Any] = {}
    sizes = Sizes("gpt2" if a.S else "llama", a.L, a.D, a.H, a.G, a.K, a.F, a.V, a.S or run.positions,
                  a.tied, run.attention, run.dropout, run.recompute, run.chunks, run.every)  # fmt: skip
    backend = SDPBackend.FLASH_ATTENTION if s.dtype != "fp32" else SDPBackend.EFFICIENT_ATTENTION

    def build():
        torch.manual_seed(0)
        held["model"] = Decoder(sizes).to(getattr(torch, run.dtype)).to(s.device)
        held["ids"], held["target"] = (torch.randint(a.V, (run.B, run.T), device=s.device) for _ in range(2))
        way = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}[plan.way]
        kind = {"sgd": "SGD", "momentum": "SGD", "adam": "Adam", "adamw": "AdamW"}[plan.optimizer]
        extra = {"momentum": 0.9} if plan.optimizer == "momentum" else {}
        held["optimizer"] = getattr(torch.optim, kind)(held["model"].parameters(), lr=1e-3, **way, **extra)

    def forward():
        with torch.autocast(s.device, torch.bfloat16, enabled=s.autocast):
            return held["model"](held["ids"], held["target"])

    def step(mark):
        for _ in range(plan.accumulate):
            mark("forward")
            if s.device == "cuda":
                with sdpa_kernel(backend):
                    loss = forward()
                    mark("backward")
                    loss.backward()
            else:
                loss = forward()
                mark("backward")
                loss.backward()
            del loss
        mark("optimizer")
        held["optimizer"].step()
        mark("done")
        held["optimizer"].zero_grad(set_to_none=True)

    return build, step, held


def on_cpu(s: Setting) -> tuple[int, list[tuple[str, list[int]]]]:
    """Bytes held before the last step, and the changes of each of its phases."""
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    build, step, held = training(s)
    try:
        build()
        ids, target = held["ids"], held["target"]
        held["ids"], held["target"] = ids[:1, :2], target[:1, :2]  # the optimizer's state takes no more than that
        step(lambda phase: None)
        held["ids"], held["target"] = ids, target
        gc.collect()
        gc.disable()  # a cycle that it finds would be released at a time of its choosing
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p:
            scopes: list[Any] = []

            def mark(phase):
                while scopes:
                    scopes.pop().__exit__(None, None, None)
                if phase != "done":
                    scopes.append(record_function(f"phase: {phase}").__enter__())

            step(mark)
    finally:
        gc.enable()
        torch.set_num_threads(threads)
    events = p.profiler.kineto_results.events()
    marks = sorted((e.start_ns(), e.end_ns(), e.name()[7:]) for e in events if e.name().startswith("phase: "))
    changes = sorted(((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"), key=lambda c: c[0])
    found = []
    for start, end, phase in marks:
        found.append((phase, [size for at, size in changes if start <= at <= end]))
    return sum(_storages(held)), found


def _storages(held):
    """Bytes of every storage that lives between steps, once each."""
    seen = {}
    for value in (*held["model"].parameters(), *held["model"].buffers(), held["ids"], held["target"],
                  *(x for state in held["optimizer"].state.values() for x in state.values())):  # fmt: skip
        if hasattr(value, "untyped_storage"):
            storage = value.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return seen.values()


def on_cuda(s: Setting, steps: int = 3) -> tuple[dict[str, dict[str, int]], list[int]]:
    """Statistics of each phase of the last step, and the requests and releases of that step in order."""
    import torch

    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    build, step, _held = training(s)
    build()
    found: dict[str, dict[str, int]] = {}
    phase = ""
    history: list[Any] = []

    def mark(name):
        nonlocal phase
        torch.cuda.synchronize()
        if name == "done":
            history[:] = torch.cuda.memory._snapshot()["device_traces"]
        now = torch.cuda.memory_stats()
        if phase:
            found[phase] = {kind: now[f"{kind}_bytes.all.peak"] for kind in ("requested", "allocated", "reserved")}
        phase = name
        torch.cuda.reset_peak_memory_stats()

    for _ in range(steps - 1):
        step(mark)
    torch.cuda.memory._record_memory_history(context=None)
    step(mark)
    torch.cuda.memory._record_memory_history(enabled=None)
    sign = {"alloc": 1, "free_requested": -1}
    return found, [sign[e["action"]] * e["size"] for row in history for e in row if e["action"] in sign]
