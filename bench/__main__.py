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
    parser.add_argument("--compile", action="store_true", help="kernels: compile them for sm_80, sm_90 and sm_100")
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
    return import_module(f"bench.{options.topic}").main(options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
