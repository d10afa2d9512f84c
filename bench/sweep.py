"""Predicted against measured on a GPU, over many configurations: python -m bench.sweep > FILE, kept in bench/results.

Each configuration runs in a process of its own, since what the caching allocator reserves depends on all that was
before. Exit 1 when a peak is off by more than 1 % (allocated) or 2 % (reserved).
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date

CONFIGURATIONS = (
    "gpt2 --batch 8 --seq 1024 --dtype bf16",
    "gpt2 --batch 8 --seq 1024 --dtype autocast --dropout 0.1",
    "gpt2 --batch 4 --seq 1024 --dtype fp32 --attention explicit --optimizer momentum",
    "gpt2 --batch 4 --seq 1000 --dtype fp32 --way fused",
    "gpt2 --layers 3 --batch 5 --seq 333 --dtype autocast --way loop",
    "gpt2-medium --batch 8 --seq 1024 --dtype autocast --attention explicit --recompute selective",
    "gpt2-large --batch 4 --seq 1024 --dtype bf16 --attention explicit --dropout 0.1",
    "gpt2-xl --batch 8 --seq 1024 --dtype autocast --recompute full",
    "smollm2-135m --batch 16 --seq 2048 --dtype autocast",
    "llama3.2-1b --batch 2 --seq 4096 --dtype bf16",
    "llama3.2-1b --batch 1 --seq 2048 --dtype autocast --attention explicit --accumulate 2",
    "llama3.2-3b --batch 1 --seq 4096 --dtype bf16 --recompute selective --optimizer adam",
    "llama3-8b --batch 1 --seq 8192 --dtype bf16 --recompute full --way fused",
    "llama3-8b --batch 2 --seq 4096 --dtype bf16 --way fused",
    "llama2-7b --batch 1 --seq 4096 --dtype bf16 --recompute full --optimizer sgd",
)


def run(arguments: str) -> dict:
    """The comparison of one configuration; its error instead if there was one."""
    words = ["-m", "bench", "measure", *arguments.split(), "--device", "cuda", "--compare", "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if not done.stdout:
        return {"configuration": arguments, "error": done.stderr.strip().splitlines()[-1]}
    return {"configuration": arguments, **json.loads(done.stdout)}


def worst(row: dict, kind: str) -> float:
    """The largest deviation of the step's peak of that kind, as a share."""
    peaks = [r for r in row["rows"] if r["part"].startswith(kind)]
    mine, theirs = (max(r[side] for r in peaks) for side in ("predicted", "measured"))
    return mine / theirs - 1


def main() -> int:
    found, off = [], False
    for arguments in CONFIGURATIONS:
        row = run(arguments)
        found.append(row)
        if "error" in row:
            print(f"{arguments}: {row['error']}", file=sys.stderr)
            off = True
            continue
        shares = {kind: worst(row, kind) for kind in ("requested", "allocated", "reserved")}
        off = off or abs(shares["allocated"]) > 0.01 or abs(shares["reserved"]) > 0.02
        print(arguments, *(f"{kind} {share:+.4%}" for kind, share in shares.items()),
              row["streams part at"] or "same stream", file=sys.stderr, flush=True)  # fmt: skip
    print(json.dumps({"schema": 1, "date": str(date.today()), "rows": found}, indent=1, ensure_ascii=False))
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
