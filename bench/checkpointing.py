"""Recomputation, predicted and measured: bytes and time of a decoder, and the peak of a chain that is cut in many ways.

python -m bench checkpointing [--json] [--svg FILE]. Bytes are those of the allocator's stream on this CPU, with one
thread, and predicted by derivations/budget.py; so are operations, whose ratio stands beside that of times. A chain is
one of equal layers, tanh, each of which keeps one tensor.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import pairwise
from time import process_time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench.experiment import report, row
from bench.measure import peak, predicted_stream
from bench.options import Setting
from bench.predict import counted
from bench.step import on_cpu, training
from derivations.budget import Plan, stream
from derivations.decoder import Run
from derivations.programs import gpt2
from reference.checkpointing import optimal_segments, recomputed, segment_length

DEEP = {"L": 32, "D": 64, "H": 2, "K": 32, "F": 256, "V": 256, "S": 128}
"""Deep and narrow, with few symbols: what blocks keep is most of it."""
WIDE = {"L": 4, "D": 256, "H": 4, "K": 64, "F": 1024, "V": 512, "S": 256}
"""Wide enough for products to take most of the time."""
WAYS = (("none", 1), ("selective", 1), ("full", 1))
SEGMENTS = (1, 2, 4, 8, 16, 32)
SPANS = (64, 256)
LENGTHS = (6, 15, 36, 66, 105)
ENTRIES, TIMES = 1 << 16, 7


def a_setting(sizes: dict[str, int], B: int, T: int, attention: str, recompute: str, every: int = 1) -> Setting:
    """A decoder of GPT-2's form, trained by plain descent in float32."""
    run = Run(B, T, attention, recompute=recompute, positions=sizes["S"], every=every)
    return Setting("gpt2-like", gpt2(**sizes), run, Plan(optimizer="sgd"), "cpu", "fp32")


def memory(s: Setting, name: str) -> Iterator[dict[str, Any]]:
    """What is kept when the backward pass begins, and the most that a step takes beyond what is there between steps."""
    mine = [(phase, [size for size, _, _ in changes]) for phase, changes in predicted_stream(s)[1]]
    theirs = on_cpu(s)[1]
    for what, read in (("kept", lambda phases: sum(phases[0][1])),
                       ("peak", lambda phases: peak([x for _, changes in phases for x in changes]))):  # fmt: skip
        yield row(what, name, s.run.every, read(theirs), read(mine), attention=s.run.attention)


def seconds(settings: list[Setting]) -> list[float]:
    """The median time that a thread works on a forward and backward pass of each, taken in turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps = []
    for s in settings:
        build, step, _ = training(s)
        build()
        step(lambda phase: None)
        steps.append(step)
    found: list[list[float]] = [[] for _ in settings]
    for _ in range(TIMES):
        for step, times in zip(steps, found, strict=True):
            at: dict[str, float] = {}

            def reached(phase: str, at: dict[str, float] = at) -> None:
                at[phase] = process_time()

            step(reached)
            times.append(at["optimizer"] - at["forward"])
    torch.set_num_threads(threads)
    return [statistics.median(times) for times in found]


def operations(s: Setting) -> int:
    """What a step executes."""
    return counted(stream(s.a, s.run, s.plan, steps=1), s, 1)["hardware"]


def times() -> Iterator[dict[str, Any]]:
    """Times and operations of a step, relative to the one that recomputes nothing."""
    for T in SPANS:
        settings = [a_setting(WIDE, 2, T, "explicit", *way) for way in WAYS]
        work, took = [operations(s) for s in settings], seconds(settings)
        for s, flops, t in zip(settings, work, took, strict=True):
            yield row("time", s.run.recompute, T, t / took[0], flops / work[0], seconds=t, flops=flops)


def held(n: int, starts: list[int]) -> int:
    """The peak of the backward pass of n layers of tanh, in bytes, with segments that begin at `starts`, if any."""

    def through(count):
        def segment(x):
            for _ in range(count):
                x = torch.tanh(x)
            return x

        return segment

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p:
        y = x = torch.zeros(ENTRIES, requires_grad=True)
        for begin, end in pairwise([*starts, n] if starts else [0, n]):
            y = recomputed(through(end - begin), y) if starts else through(end - begin)(y)
        with record_function("backward pass"):
            y.backward(torch.ones_like(y))
    events = p.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    start = next(e.start_ns() for e in events if e.name() == "backward pass")
    before = sum(size for at, size in changes if at < start)
    del x
    return peak([size for at, size in changes if at >= start], before)


def expected(n: int, starts: list[int]) -> int:
    """What `segmented_peak` says of bytes, and besides: the output, its gradient, and one or two on their way.

    An input comes with a state of the generator; the gradient of the output is also that which the last segment is
    given. Where all is kept the input is kept too, by whoever has made it.
    """
    tensor, state = 4 * ENTRIES, torch.get_rng_state().numel()
    if not starts:
        return (1 + n + 3) * tensor
    lengths = [end - begin for begin, end in pairwise([*starts, n])]
    return max(j * (tensor + state) + (length + (3 if j == len(starts) else 4)) * tensor
               for j, length in enumerate(lengths, 1))  # fmt: skip


def chains() -> Iterator[dict[str, Any]]:
    """What a chain holds at its peak: all kept, in equal segments, in the best ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    held(1, [])  # the profiler warms up
    for n in LENGTHS:
        ones = torch.ones(n, dtype=torch.int64)
        equal, best = [*range(0, n, segment_length(n))], optimal_segments(ones, ones).nonzero().flatten().tolist()
        for name, starts in (("all kept", []), ("equal segments", equal), ("best segments", best)):
            yield row("chain", name, n, held(n, starts), expected(n, starts), segments=len(starts))
    torch.set_num_threads(threads)


def rows() -> Iterator[dict[str, Any]]:
    for attention in ("explicit", "sdpa"):
        for way, every in WAYS:
            yield from memory(a_setting(DEEP, 2, 128, attention, way, every), way)
    for every in SEGMENTS[1:]:
        yield from memory(a_setting(DEEP, 2, 128, "sdpa", "full", every), "full")
    yield from chains()
    yield from times()


def heading(r: dict[str, Any]) -> str:
    """What stands above rows of one kind."""
    kinds = {
        "chain": ("bytes of a chain", "layers"),
        "time": ("of nothing recomputed", "tokens"),
    }
    what, at = kinds.get(r["what"], ("bytes of a decoder", "every"))
    return f"{what:<32}{at:>10}{'predicted':>14}{'measured':>14}{'ratio':>10}"


def told(r: dict[str, Any]) -> str:
    """A row as a line."""
    if r["what"] != "time":
        name = ", ".join(filter(None, (r["what"], r["of"], r.get("attention"))))
        off = "exact" if r["measured"] == r["predicted"] else f"{r['ratio']:.6f}"
        return f"  {name:<30}{r['at']:>10}{r['predicted']:>14,}{r['measured']:>14,}{off:>10}"
    return f"  {r['of']:<30}{r['at']:>10}{r['predicted']:>14.4g}{r['measured']:>14.4g}{r['ratio']:>10.4f}"


def wrong(r: dict[str, Any]) -> bool:
    """Bytes are exact."""
    return r["what"] != "time" and r["measured"] != r["predicted"]


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Three panels: bytes against the length of a segment, tensors against the depth of a chain, time against work."""
    from bench.figures import frame, names, panels, save, series

    figure, (left, middle, right) = panels(3, "Recomputation: lines predicted, dots measured", size=(3.9, 3.2))
    full = [r for r in found if r["of"] == "full" and r.get("attention") == "sdpa"]
    ends = []
    for color, what in enumerate(("kept", "peak")):
        mine = sorted((r for r in full if r["what"] == what), key=lambda r: r["at"])
        xs = [r["at"] for r in mine]
        ys, predicted = ([r[which] / 2**20 for r in mine] for which in ("measured", "predicted"))
        series(left, xs, ys, predicted=predicted, color=color)
        ends.append((xs[-1], ys[-1], what, color))
    (plain,) = [r for r in found if r["what"] == "peak" and r["of"] == "none" and r["attention"] == "sdpa"]
    left.axhline(plain["measured"] / 2**20, lw=0.8, color="#7a7a7a", ls=":")
    left.text(1, plain["measured"] / 2**20, "peak, nothing recomputed", va="bottom", color="#7a7a7a")
    frame(left, "blocks in a segment, of 32", "MiB", title="a decoder", log="x", zero=True, xticks=SEGMENTS)
    names(left, ends)
    ends = []
    for color, name in enumerate(("all kept", "equal segments", "best segments")):
        mine = [r for r in found if r["what"] == "chain" and r["of"] == name]
        xs, ys, predicted = (
            [r[which] / (1 if which == "at" else 4 * ENTRIES) for r in mine]
            for which in ("at", "measured", "predicted")
        )
        series(middle, xs, ys, predicted=predicted, color=color)
        ends.append((xs[-1], ys[-1], name, color))
    frame(middle, "layers", "tensors at the peak", title="a chain", log="xy", xticks=LENGTHS)
    names(middle, ends)
    ends = []
    for color, name in enumerate(("selective", "full")):
        mine = [r for r in found if r["what"] == "time" and r["of"] == name]
        xs, ys, predicted = ([r[which] for r in mine] for which in ("at", "measured", "predicted"))
        series(right, xs, ys, predicted=predicted, color=color)
        ends.append((xs[-1], predicted[-1], name, color))
    frame(right, "tokens T", "time, and operations, of nothing recomputed", title="its price", xticks=SPANS)
    names(right, ends)
    save(figure, path)


def main(options) -> int:
    sizes = {"deep": DEEP, "wide": WIDE, "entries": ENTRIES, "threads": 1}
    return report("checkpointing", options, rows(), drawn, told=told, heading=heading, wrong=wrong, sizes=sizes)
