"""What it costs: predicted before, measured after, and what others printed.

python -m bench predict MODEL [--batch B --seq T …]     what a training step or inference will take
python -m bench measure MODEL [… --compare]             the same arguments, run and measured
python -m bench fit MODEL --gpu h100-80 […]             the largest batch or sequence that fits
python -m bench published [AREA]                        printed numbers, recomputed
python -m bench TOPIC [--lengths T,T,…] [--json]        predicted · measured · ratio of one topic
Exit 0 when every measurement could be made, 1 when a prediction is off, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path

from bench.options import Parser

COMMANDS = ("predict", "measure", "fit", "published")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on stderr otherwise


def topics():
    """The stems in this wing that measure something."""
    return sorted(
        p.stem
        for p in Path(__file__).parent.glob("*.py")
        if re.search("\ndef (rows|table)\\(", p.read_text(encoding="utf-8")) and p.stem not in COMMANDS
    )


def lengths(text):
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"expected positive integers such as 128,256, received {text!r}")
    return values


def parse(argv):
    parser = Parser(prog="python -m bench", description="What it costs: predict, measure, fit, published, or a topic.")
    parser.add_argument("topic", metavar="TOPIC", choices=[*COMMANDS, *topics()], help=f"of {', '.join(topics())}")
    parser.add_argument("--lengths", type=lengths, default="128,256,512,1024,2048", help="sequence lengths")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--svg", metavar="FILE", default="", help="where the figure goes (default: TOPIC.svg)")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        try:
            return import_module(f"bench.{argv[0]}").main(argv[1:])
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    options = parse(argv)
    own = getattr(import_module(f"bench.{options.topic}"), "main", None)
    if own:
        return own(options)
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: expected a CUDA device, found none: not run", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    head = {"schema": 1, "topic": options.topic, "device": device, "torch": torch.__version__}
    module, found = import_module(f"bench.{options.topic}"), []
    if not options.json:
        print(f"{options.topic} on {device}, torch {torch.__version__}: "
              + ", ".join(f"{letter} = {size}" for letter, size in module.SHAPE.items()))  # fmt: skip
        print(f"{'T':>6}  {'cost':<22} {'predicted':>16} {'measured':>16} {'ratio':>8}")
    for row in module.rows(options.lengths, options.device, **module.SHAPE):
        found.append(row)
        if not options.json:
            seen = "not run" if row["measured"] is None else f"{row['measured']:,.0f}"
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.4f}"
            print(f"{row['T']:>6}  {row['cost']:<22} {row['predicted']:>16,} {seen:>16} {ratio:>8}", flush=True)
    if options.json:
        print(json.dumps({**head, "shape": module.SHAPE, "rows": found}, indent=1, ensure_ascii=False))
        return 0
    path = options.svg or f"{options.topic}.svg"
    try:
        from bench.plot import draw
    except ModuleNotFoundError as error:
        print(f"no figure: {error.name} is not installed")
        return 0
    try:
        draw(found, f"Attention's cost on {device}", path)
    except OSError as error:
        print(f"--svg {path}: cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
