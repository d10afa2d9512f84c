"""What a training step, or inference, will take: python -m bench predict MODEL [--batch B --seq T …] [--json].

Bytes are requested of the allocator; on cuda the allocated and reserved ones follow by replaying its rules. Nothing is
typed twice: all of it is read off one run of the model over shapes (derivations.budget).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.options import Setting, natural, parser, setting
from derivations.architecture import active_parameters, parameters
from derivations.budget import TABLES, flops, gathered, instants, saved, shard, stream
from derivations.caching_allocator import Allocator
from derivations.inference import cache_bytes, generate
from derivations.order import parameters as trained

LEFT_OUT = {
    "cpu": "the interpreter and libraries; scratch of oneDNN in bfloat16 products; more than one thread",
    "cuda": "the CUDA context (some 0.5 GiB), NCCL, workspaces of cuDNN, lazily loaded kernels",
}
UNMEASURED = "experts, latent attention, adapters, tp, pp and zero are not held against a run yet"


def on_card(events, last: str) -> dict[str, dict[str, int]]:
    """Peaks of requested, allocated and reserved bytes in each phase of the last step, from the first request on."""
    allocator, blocks, found, phase = Allocator(), {}, {}, ""

    def close():
        if phase:
            found[phase] = {"requested": allocator.peak_requested, "allocated": allocator.peak_allocated,
                            "reserved": allocator.peak_reserved}  # fmt: skip

    for key, size, what, _ in events:
        if key is None:
            close()
            phase = what.partition(": ")[2] if what.startswith(last) and not what.endswith("done") else ""
            allocator.reset_peaks()
        elif size > 0:
            blocks[key] = allocator.malloc(size)
        elif key in blocks:
            allocator.free(blocks.pop(key))
    return found


def peaks_on_card(s: Setting, steps: int = 3) -> dict[str, dict[str, int]]:
    """The same for a setting; phases of several batches to a step are one."""
    m = stream(s.a, s.run, s.plan, s.device, s.autocast, steps)
    found: dict[str, dict[str, int]] = {}
    for phase, peaks in on_card(m.events, f"step {steps - 1}").items():
        known = found.setdefault(phase.split(" ")[0], peaks)
        found[phase.split(" ")[0]] = {kind: max(known[kind], n) for kind, n in peaks.items()}
    return found


def counted(m, s: Setting, steps: int) -> dict[str, Any]:
    """FLOPs of a step: as models are compared, without what the causal mask hides, and as executed."""
    found = {name: amount // steps for name, amount in flops(m).items()}
    products = sum(n for name, n in found.items() if name in ("forward: product", "backward: product"))
    scores = sum(n for name, n in found.items() if name in ("forward: attention", "backward: attention"))
    again = sum(found.values()) - products - scores
    return {  # recomputation and the scores that a fused backward pass computes again are in no comparison of models
        "model": products + scores,
        "causal": products + scores * (s.run.T + 1) // (2 * s.run.T),
        "hardware": products + scores + again,
        "by phase": found,
        "bytes moved": m.moved // steps,
    }


def predict(s: Setting, steps: int = 2) -> dict[str, Any]:
    """The prediction as data; bytes unless said otherwise."""
    m = stream(s.a, s.run, s.plan, s.device, s.autocast, steps)
    extra = gathered(s.a, s.run, s.plan)
    last = f"step {steps - 1}"
    phases = [
        {"phase": i.phase.partition(": ")[2], "peak": i.bytes + sum(extra.values()), "instant": i.what or "start",
         "where": i.where, "parts": {**i.parts, **extra}}
        for i in instants(m, last)
    ]  # fmt: skip
    top = max(phases, key=lambda phase: phase["peak"])
    own, frozen = trained(*shard(s.a, s.run, s.plan))
    result = {
        "model": s.name, "parameters": parameters(s.a), "active parameters": active_parameters(s.a),
        "trained here": own, "frozen here": frozen,
        "batch": s.run.B, "seq": s.run.T, "dtype": s.dtype, "table": TABLES[s.device].table,
        "peak": top["peak"], "binding": f"{top['phase']}: {top['instant']} ({top['where']})",
        "parts": top["parts"], "phases": phases,
        "saved": dict(saved(m, f"{last}: backward" + (" 0" if s.plan.accumulate > 1 else "")).most_common()),
        "flops": counted(m, s, steps),
        "cache per token": cache_bytes(s.a, 1, 1, s.run.dtype),
        "left out": LEFT_OUT[s.device],
    }  # fmt: skip
    if s.device == "cuda" and not extra:
        cards = on_card(m.events, last).values()
        result |= {kind: max(peaks[kind] for peaks in cards) for kind in ("allocated", "reserved")}
    if s.a.experts or s.a.latent or s.run.rank or s.plan.tp * s.plan.pp * s.plan.dp > 1:
        result["unmeasured"] = UNMEASURED
    return result


def infer(s: Setting, mode: str, cache: int) -> dict[str, Any]:
    """Inference: a prompt of T tokens (prefill), or one token after `cache` others (decode)."""
    if s.plan.pp > 1 or s.run.rank or s.plan.zero:
        raise ValueError("--inference: expected one stage, all weights merged and whole: no --pp, --lora or --zero")
    a, run = shard(s.a, s.run, s.plan)
    m = generate(a, run, mode, cache, s.device, s.autocast)
    peak = max(instants(m, mode), key=lambda i: i.bytes)
    work = sum(amount for _, _, amount, _ in m.work)
    return {
        "model": s.name, "parameters": parameters(s.a), "active parameters": active_parameters(s.a), "mode": mode,
        "batch": s.run.B, "seq": s.run.T, "cache length": cache, "dtype": s.dtype, "table": TABLES[s.device].table,
        "peak": peak.bytes, "binding": f"{mode}: {peak.what} ({peak.where})", "parts": dict(peak.parts),
        "cache": cache_bytes(a, s.run.B, cache, s.run.dtype), "cache per token": cache_bytes(a, 1, 1, s.run.dtype),
        "flops": {"forward": work, "bytes moved": m.moved}, "left out": LEFT_OUT[s.device],
    }  # fmt: skip


def main(argv: list[str]) -> int:
    p = parser("predict", "What a step takes, in bytes and operations, before it is run.")
    p.add_argument("--inference", choices=["prefill", "decode"], help="instead of training")
    p.add_argument("--cache", type=natural, metavar="N", help="tokens in the cache (default: seq)")
    p.add_argument("--plot", metavar="FILE", help="SVG: bytes over the step")
    options = p.parse_args(argv)
    s = setting(options)
    cache = s.run.T if options.cache is None else options.cache
    result = infer(s, options.inference, cache) if options.inference else predict(s, 3 if s.device == "cuda" else 2)
    if options.json:
        print(json.dumps({"schema": 1, **result}, indent=1, ensure_ascii=False))
    else:
        from bench.tell import tell

        tell(result)
    if options.plot:
        from bench.plot import timeline

        m = stream(s.a, s.run, s.plan, s.device, s.autocast)
        try:
            timeline(m, f"{s.name}, {s.run.B} × {s.run.T}, {s.dtype}", options.plot)
        except OSError as error:
            raise ValueError(f"--plot {options.plot}: cannot be written: {error.strerror}") from None
        print(f"wrote {options.plot}", file=sys.stderr)
    return 0
