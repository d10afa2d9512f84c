"""Predictors of training memory side by side with the truth: python -m bench memory [--json].

The truth is the peak of the second training step on this CPU, read off the stream of PyTorch's allocator by
bench.measure; all is predicted and measured in one run. A prediction is none where a tool does not treat the dtype:
most know 16-bit training only, which is held against autocast. That takes minutes on a CPU without bfloat16 units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from bench import fake
from bench import memory_formulas as others
from bench.experiment import report
from bench.measure import on_cpu, peak
from bench.options import Setting, parser, setting
from bench.predict import LEFT_OUT, predict

CASES = (
    "gpt2 --seq 1024",
    "gpt2 --seq 256 --dtype autocast",
    "smollm2-135m --seq 512",
    "smollm2-135m --seq 256 --dtype autocast",
    "smollm2-135m --layers 2 --seq 1024 --dtype autocast",
)
"""The last one is small in parameters and large in activations, which formulas of the states do not see."""


def ours(s: Setting) -> int:
    """The peak as derived."""
    return predict(s)["peak"]


def tracked(s: Setting) -> int:
    """The peak that PyTorch's MemTracker sees in the second step on fake tensors."""
    with FakeTensorMode():
        step, held = fake.training(s)
        step()
        tracker = MemTracker()
        tracker.track_external(*held.values())
        with tracker:
            step()
        return sum(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())


STATES = "activations, logits, temporary tensors"
MEGATRON = "NVIDIA/Megatron-LM, megatron/training/theoretical_memory_usage.py"
PREDICTORS = (
    ("ours", ours, "derivations/budget.py", LEFT_OUT["cpu"]),
    ("MemTracker on fake tensors", tracked, "torch.distributed._tools.mem_tracker",
     "scratch of kernels, states of the generator, numbers as tensors; it has to run the model"),
    ("16 bytes a parameter", others.sixteen, "rajbhandari2020zero, §3.1", STATES),
    ("accelerate estimate-memory", others.accelerate, "huggingface/accelerate, src/accelerate/commands/estimate.py",
     f"{STATES}; the largest of its parts instead of their sum"),
    ("DeepSpeed, ZeRO-2", others.zero2, "deepspeedai/DeepSpeed, deepspeed/runtime/zero/stage_1_and_2.py",
     f"{STATES}; buckets; assumes weights in 16 bits, gradients in 16 and 32"),
    ("DeepSpeed, ZeRO-3", others.zero3, "deepspeedai/DeepSpeed, deepspeed/runtime/zero/stage3.py",
     f"{STATES}; assumes weights in 16 bits, gradients in 16 and 32"),
    ("Megatron", others.megatron, MEGATRON,
     "T × T tables, hidden units other than 4D, gates, shared heads; biases, positions; temporary tensors: 5 %"),
    ("Megatron, sequence parallel, selective", others.megatron_parallel, MEGATRON,
     "gates, shared heads; biases, positions; gradients of the logits"),
    ("Korthikanti and 16 bytes a parameter", others.korthikanti, "korthikanti2023reducing, §4.1 eq. (1)",
     "embedding, logits; gates, shared heads; assumes explicit scores, dropout, activations in 16 bits"),
    ("Korthikanti, selective, and 16 bytes a parameter", others.korthikanti_selective,
     "korthikanti2023reducing, Table 2",
     "embedding, logits; gates, shared heads; assumes dropout, activations in 16 bits"),
)  # fmt: skip
"""(name, function of a setting, source, what it leaves out)."""


def rows(cases: Iterable[Setting]) -> Iterator[dict[str, Any]]:
    """A row for every case and predictor: bytes predicted and measured, difference in percent, seconds of both."""
    for s in cases:
        start = perf_counter()
        base, phases = on_cpu(s)
        truth, took = peak([size for _, changes in phases for size in changes], base), perf_counter() - start
        for name, f, source, left_out in PREDICTORS:
            start = perf_counter()
            predicted = f(s)
            seconds = perf_counter() - start
            yield {
                "model": s.name, "layers": s.a.L, "batch": s.run.B, "seq": s.run.T, "dtype": s.dtype,
                "predictor": name, "source": source, "predicted": predicted, "measured": truth,
                "difference in percent": None if predicted is None else round(100 * (predicted / truth - 1), 4),
                "seconds": round(seconds, 2), "seconds measured": round(took, 2), "leaves out": left_out,
            }  # fmt: skip


def heading(row: dict[str, Any]) -> str:
    return (
        f"\n{row['model']}, {row['layers']} layers, {row['batch']} × {row['seq']}, {row['dtype']}: measured"
        f" {row['measured']:,} bytes in {row['seconds measured']:.0f} s, torch {torch.__version__}, CPU\n"
        f"{'predictor':<50}{'bytes':>14}{'difference':>14}{'seconds':>9}  leaves out"
    )


def told(row: dict[str, Any]) -> str:
    """A predictor's bytes."""
    if row["predicted"] is None:
        return f"{row['predictor']:<50}{'none':>14}{'':>23}  this dtype"
    off = "exact" if row["predicted"] == row["measured"] else f"{row['difference in percent']:+.4f} %"
    return f"{row['predictor']:<50}{row['predicted']:>14,}{off:>14}{row['seconds']:>9.1f}  {row['leaves out']}"


def wrong(row: dict[str, Any]) -> bool:
    """Is our prediction off? In autocast it leaves out scratch of oneDNN."""
    ours = row["predictor"] == PREDICTORS[0][0] and row["dtype"] == "fp32"
    return ours and row["predicted"] != row["measured"]


def main(options) -> int:
    cases = (setting(parser("memory", "").parse_args(case.split())) for case in CASES)
    return report("memory", options, rows(cases), told=told, heading=heading, wrong=wrong)
