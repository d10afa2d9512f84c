"""What fits on a card: python -m bench fit MODEL --gpu h100-80 [--seek batch|seq|gpus] [--batch B --seq T …] [--json].

The largest batch, the longest sequence, or the fewest cards (as data-parallel processes that share states by ZeRO 3),
with the instant that binds and what to change next, in the order of the bytes it saves.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from bench.cards import card, cards
from bench.options import MOST, Setting, parser, setting
from bench.predict import predict
from bench.tell import size

CONTEXT = 512 << 20
"""Bytes that a CUDA context, and kernels loaded when first used, take of a card: a measured order of size, no more."""


def need(s: Setting) -> int:
    """Bytes the card must have for it: reserved where the allocator is replayed, else requested."""
    found = predict(s, 3 if s.device == "cuda" else 2)
    return found.get("reserved", found["peak"])


def largest(fits, most: int) -> int:
    """The largest n ≤ most with fits(n), by doubling and halving; 0 if not even one fits. fits must not come back."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def changes(s: Setting):
    """(what to change, the setting so changed), as far as the setting leaves something to change."""
    run, plan = s.run, s.plan
    if run.attention == "explicit":
        yield "--attention sdpa: scores are never kept", replace(s, run=replace(run, attention="sdpa"))
    if run.recompute != "full":
        yield "--recompute full: blocks keep their inputs only", replace(s, run=replace(run, recompute="full"))
    if run.recompute == "none" and run.attention == "explicit":
        yield "--recompute selective: attention is computed again", replace(s, run=replace(run, recompute="selective"))
    if run.chunks == 1:
        yield "--chunks 8: logits for an eighth of the rows at once", replace(s, run=replace(run, chunks=8))
    if s.dtype != "bf16" and s.device == "cuda":
        yield (
            "--dtype bf16: weights, gradients and moments too",
            replace(s, dtype="bf16", run=replace(run, dtype="bfloat16")),
        )
    if s.dtype == "fp32":
        yield "--dtype autocast: products in bf16", replace(s, dtype="autocast")
    if plan.way == "foreach" and plan.optimizer in ("adam", "adamw"):
        yield "--way fused: no second copy of the moments' roots", replace(s, plan=replace(plan, way="fused"))
    if run.B > 1:
        halved = replace(run, B=run.B // 2)
        yield (
            "half the batch, --accumulate twice as often",
            replace(s, run=halved, plan=replace(plan, accumulate=2 * plan.accumulate)),
        )
    if not run.rank:
        yield "--lora 16: adapters instead of all weights", replace(s, run=replace(run, rank=16))
    if plan.dp == 1 and not run.rank:
        yield "--dp 8 --zero 3: states shared by eight cards", replace(s, plan=replace(plan, dp=8, zero=3))


def savings(s: Setting) -> list[dict[str, Any]]:
    """What each change would save, the most first; changes that save nothing are left out."""
    now, found = need(s), []
    for what, changed in changes(s):
        saves = now - need(changed)
        if saves > 0:
            found.append({"change": what, "saves": saves, "needs": now - saves})
    return sorted(found, key=lambda row: -row["saves"])


def fit(s: Setting, gpu: str, seek: str) -> dict[str, Any]:
    """The answer as data. Raises ValueError for an unknown card."""
    c = card(gpu)
    room = c.bytes - (CONTEXT if s.device == "cuda" else 0)
    if seek == "batch":
        n = largest(lambda B: need(s.at(B=B)) <= room, MOST)
        best = s.at(B=max(n, 1))
    elif seek == "seq":
        most = s.a.S or MOST
        n = largest(lambda T: need(s.at(T=T)) <= room, most)
        best = s.at(T=max(n, 1))
    else:

        def shared(N):
            return replace(s, plan=replace(s.plan, dp=N, zero=3 if N > 1 else 0))

        n = 1
        while n <= 1 << 16 and need(shared(n)) > room:
            n *= 2
        if n > 1:
            low = n // 2
            n = low + 1 + largest(lambda k: need(shared(low + k)) > room, n - low - 1)
        n = n if n <= 1 << 16 else 0
        best = shared(max(n, 1))
    found = predict(best, 3 if s.device == "cuda" else 2)
    return {
        "model": s.name, "card": c.name, "card bytes": c.bytes, "context set aside": c.bytes - room, "seek": seek,
        "answer": n, "needs": found.get("reserved", found["peak"]), "binding": found["binding"],
        "parts": found["parts"], "next": savings(best if n else s),
    }  # fmt: skip


def main(argv: list[str]) -> int:
    p = parser("fit", "The largest batch, the longest sequence or the fewest cards.")
    p.add_argument("--gpu", required=True, metavar="CARD", help=f"one of {', '.join(cards())}")
    p.add_argument("--seek", choices=["batch", "seq", "gpus"], default="batch")
    options = p.parse_args(argv)
    options.device = options.device or "cuda"
    s = setting(options)
    r = fit(s, options.gpu, options.seek)
    if options.json:
        print(json.dumps({"schema": 1, **r}, indent=1, ensure_ascii=False))
        return 0 if r["answer"] else 1
    name = {"batch": f"the largest batch of sequences of {s.run.T}", "seq": f"the longest sequence at batch {s.run.B}",
            "gpus": f"the fewest cards for {s.run.B} × {s.run.T} each, sharing by ZeRO 3"}[options.seek]  # fmt: skip
    aside = size(r["context set aside"])
    print(f"{s.name} on {r['card']} ({size(r['card bytes'])}, {aside} of it set aside for the context)")
    if r["answer"]:
        print(f"{name}: {r['answer']:,}, which needs {r['needs']:,} bytes ({size(r['needs'])})")
    else:
        print(f"nothing fits: one alone needs {r['needs']:,} bytes ({size(r['needs'])})", file=sys.stderr)
    print(f"what binds: {r['binding']}")
    for row in r["next"]:
        print(f"  {row['change']:<56} saves {size(row['saves']):>11}, needs {size(row['needs']):>11}")
    return 0 if r["answer"] else 1
