"""What a training step did take: python -m bench measure MODEL [--batch B --seq T …] [--compare] [--json].

The model is reference.decoder.Decoder. On a CPU the truth is the stream of its allocator, every request and release,
as the profiler of PyTorch records it, with one thread; on CUDA the statistics of the caching allocator and its history.
The first steps only fill the optimizer's state and the cache: the last one is measured.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from typing import Any

from bench.options import Setting, parser, setting
from derivations.budget import TABLES, stream

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on stderr otherwise

PHASES = ("forward", "backward", "optimizer")


def refuse(s: Setting) -> None:
    """ValueError for what the reference model does not do."""
    a, plan = s.a, s.plan
    gpt2 = a.S != 0 and a.norm == "layer" and a.bias and not a.gated
    llama = (
        a.S == 0
        and a.norm == "rms"
        and a.gated
        and a.before
        and not (a.bias or a.qkv_bias or a.qk_norm or a.after or a.sinks)
    )
    if not (gpt2 or llama) or a.experts or a.latent or a.window:
        raise ValueError(f"measure: expected a model built like GPT-2 or Llama, received {s.name}: predict knows more")
    if plan.dp * plan.tp * plan.pp > 1 or s.run.rank:
        raise ValueError("measure: expected one process and all weights trained: nothing else is run here yet")
    if s.device == "cuda" and s.dtype == "fp32" and s.run.dropout and s.run.attention == "sdpa":
        raise ValueError("measure: expected --attention explicit, or no dropout, for fp32 on cuda")


def training(s: Setting) -> tuple[Callable[[], Any], Callable[[Callable[[str], Any]], None], Any]:
    """(build, step, holder): build the model, then run a step that calls mark(phase) before each phase."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from reference.decoder import Decoder, Sizes

    a, run, plan = s.a, s.run, s.plan
    held: dict[str, Any] = {}
    sizes = Sizes("gpt2" if a.S else "llama", a.L, a.D, a.H, a.G, a.K, a.F, a.V, a.S or run.positions,
                  a.tied, run.attention, run.dropout, run.recompute, run.chunks)  # fmt: skip
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


def canonical(changes: list[int], scratch: bool = True) -> list[int]:
    """A stream with the releases between two requests in order of size: their order changes no peak.

    Without scratch, a request is left out together with a release of as much before the next request.
    """
    out: list[int] = []
    run: list[int] = []
    for size in (*changes, 0):
        if size < 0:
            run.append(size)
            continue
        while not scratch and out and -out[-1] in run:
            run.remove(-out.pop())
        out += [*sorted(run), size]
        run = []
    return out[:-1]


def peak(changes, base=0):
    total = most = base
    for size in changes:
        total += size
        most = max(most, total)
    return most


def predicted_stream(s: Setting, steps: int = 2):
    """Bytes held before the last step, and the changes of each of its phases, as predicted: (size, what, where)."""
    m = stream(s.a, s.run, s.plan, s.device, s.autocast, steps)
    base, inside = 0, False
    phases: list[tuple[str, list]] = []
    for _key, size, what, where in m.events:
        if _key is None:
            inside = what.startswith(f"step {steps - 1}") and not what.endswith("done")
            if inside:
                phases.append((what.partition(": ")[2].split(" ")[0], []))
            elif what.startswith(f"step {steps - 1}"):
                break
        elif inside:
            phases[-1][1].append((size, what, where))
        else:
            base += size
    return base, phases


def compare_cpu(s: Setting) -> dict[str, Any]:
    """Predicted and measured peaks of every phase, and where the streams part."""
    base, real = on_cpu(s)
    own, ours = predicted_stream(s)
    rows = [{"part": "held between steps", "predicted": own, "measured": base}]
    narrow = s.dtype != "fp32"
    parted, count = "", 0
    level = {"predicted": own, "measured": base}
    for (phase, mine), (_, theirs) in zip(ours, real, strict=True):
        sizes = [size for size, _, _ in mine]
        left, right = (canonical(x, not narrow) for x in (sizes, theirs))
        rows.append({"part": f"peak of {phase}", "predicted": peak(left, level["predicted"]),
                     "measured": peak(right, level["measured"])})  # fmt: skip
        level["predicted"] += sum(sizes)
        level["measured"] += sum(theirs)
        if not parted and left != right:
            i = next(
                (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y), min(len(left), len(right))
            )
            what = next(
                (f"{what or 'release'} in {where}" for size, what, where in mine if i < len(left) and size == left[i]),
                "",
            )
            parted = (f"{phase}, event {i}: predicted {left[i] if i < len(left) else 'nothing'} ({what}), "
                      f"measured {right[i] if i < len(right) else 'nothing'}")  # fmt: skip
        count += len(theirs)
    return {
        "rows": [ratio(row) for row in rows],
        "events": count,
        "streams part at": parted,
        "scratch set aside": narrow,
    }


def compare_cuda(s: Setting) -> dict[str, Any]:
    from bench.predict import peaks_on_card

    real, theirs = on_cuda(s)
    ours = peaks_on_card(s)
    rows = []
    for phase in PHASES:
        for kind in ("requested", "allocated", "reserved"):
            rows.append({"part": f"{kind}, {phase}", "predicted": ours[phase][kind], "measured": real[phase][kind]})
    mine = [size for _, phase in predicted_stream(s, 3)[1] for size, _, _ in phase]
    left, right = (canonical([x for x in stream_ if x]) for stream_ in (mine, theirs))
    n = min(len(left), len(right))
    i = next((i for i in range(n) if left[i] != right[i]), -1)
    parted = "" if i < 0 else f"event {i}: predicted {left[i]}, measured {right[i]}"
    return {"rows": [ratio(row) for row in rows], "events": len(theirs), "streams part at": parted}


def ratio(row):
    return {**row, "ratio": row["predicted"] / row["measured"] if row["measured"] else None}


def main(argv: list[str]) -> int:
    p = parser("measure", "The same step, run and measured.")
    p.add_argument("--compare", action="store_true", help="beside the prediction, and where the streams part")
    p.add_argument("--plot", metavar="FILE", help="SVG: bytes over the step as predicted, and the measured peaks")
    options = p.parse_args(argv)
    s = setting(options)
    refuse(s)
    import torch

    if s.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: expected a CUDA device, found none: not run")
    version = TABLES[s.device].table.rpartition(" ")[2]
    if options.compare and not torch.__version__.startswith(f"{version}."):
        raise ValueError(f"--compare: expected torch {version}, whose rules the {s.device} table holds, received "
                         f"{torch.__version__}: not run")  # fmt: skip
    found = (compare_cuda if s.device == "cuda" else compare_cpu)(s)
    device = torch.cuda.get_device_name() if s.device == "cuda" else "CPU"
    result = {"model": s.name, "batch": s.run.B, "seq": s.run.T, "dtype": s.dtype, "device": device,
              "torch": torch.__version__, **found}  # fmt: skip
    if options.json:
        print(json.dumps({"schema": 1, **result}, indent=1, ensure_ascii=False))
    else:
        print(f"{s.name}: batch {s.run.B} × {s.run.T} · {s.dtype} · {device} · torch {torch.__version__}")
        for row in found["rows"]:
            mine = f"{row['predicted']:>18,}" if options.compare else ""
            beside = f"  {row['ratio']:.6f}" if options.compare and row["ratio"] else ""
            print(f"  {row['part']:<24}{mine} {row['measured']:>18,}{beside}")
        if options.compare:
            same = found["streams part at"] or "nowhere: the same requests in the same order"
            print(f"  {found['events']:,} events; the streams part at {same}")
        if found.get("scratch set aside"):
            print("  scratch that an operation takes and gives back at once is set aside on both sides")
    if options.plot:
        from bench.plot import timeline

        words = "peak of " if s.device == "cpu" else "requested, "
        peaks = [(row["part"].removeprefix(words), row["measured"]) for row in found["rows"] if words in row["part"]]
        m = stream(s.a, s.run, s.plan, s.device, s.autocast)
        timeline(m, f"{s.name}, {s.run.B} × {s.run.T}, {s.dtype}", options.plot, peaks)
    off = any(row["predicted"] != row["measured"] for row in found["rows"]) if s.device == "cpu" else False
    return 1 if options.compare and off else 0
