"""What a training step did take: python -m bench measure MODEL [--batch B --seq T …] [--compare] [--json].

Beside the prediction, and with the first event at which the two streams part.
"""

from __future__ import annotations

import json
from typing import Any

from bench.options import Setting, parser, setting
from bench.predict import peaks_on_card
from bench.step import on_cpu, on_cuda
from derivations.budget import TABLES, stream

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
    narrow, aside = s.dtype != "fp32", False
    parted, count = "", 0
    level = {"predicted": own, "measured": base}
    for (phase, mine), (_, theirs) in zip(ours, real, strict=True):
        sizes = [size for size, _, _ in mine]
        left, right = (canonical(x) for x in (sizes, theirs))
        if narrow and left != right:  # products in bfloat16 may take scratch that the table does not know
            left, right = (canonical(x, scratch=False) for x in (sizes, theirs))
            aside = True
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
        "scratch set aside": aside,
    }


def compare_cuda(s: Setting) -> dict[str, Any]:
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
