"""The arguments that predict, measure and fit share, and what they say: a model, how it is run, and on what."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from bench.configs import architecture
from derivations.architecture import Architecture
from derivations.budget import Plan
from derivations.decoder import Run
from derivations.training import OPTIMIZERS, WAYS

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "autocast": "float32"}
MOST = 2**40


@dataclass(frozen=True)
class Setting:
    """Everything a prediction depends on."""

    name: str
    a: Architecture
    run: Run
    plan: Plan
    device: str
    dtype: str

    @property
    def autocast(self):
        return self.dtype == "autocast"

    def at(self, B=None, T=None, **changes):
        """The same with another batch, length or way to run."""
        T = self.run.T if T is None else T
        run = replace(self.run, B=self.run.B if B is None else B, T=T, positions=T, **changes)
        return replace(self, run=run)


class Parser(argparse.ArgumentParser):
    """Errors are one line, and exit 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help says more)\n")


def natural(text: str) -> int:
    try:
        n = int(text)
    except ValueError:
        n = 0
    if not 0 < n <= MOST:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 to 2**40, received {text!r}")
    return n


def parser(command: str, says: str) -> Parser:
    p = Parser(prog=f"python -m bench {command}", description=says)
    p.add_argument("model", metavar="MODEL", help="a name such as gpt2 or llama3-8b, or a Hugging Face config.json")
    p.add_argument("--batch", type=natural, default=1, metavar="B", help="sequences in one forward pass")
    p.add_argument("--seq", type=natural, default=1024, metavar="T", help="tokens in each")
    p.add_argument("--layers", type=natural, metavar="L", help="so many layers instead of the model's")
    p.add_argument("--dtype", choices=DTYPES, default="fp32", help="of the weights; autocast: products in bf16")
    p.add_argument("--attention", choices=["explicit", "sdpa", "flash"], default="sdpa", help="flash is sdpa on cuda")
    p.add_argument("--dropout", type=float, default=0.0, metavar="P")
    p.add_argument("--recompute", choices=["none", "selective", "full"], default="none")
    p.add_argument("--every", type=natural, default=1, metavar="N", help="blocks in a segment that is recomputed")
    p.add_argument("--chunks", type=natural, default=1, metavar="N", help="parts of the loss, logits computed again")
    p.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    p.add_argument("--way", choices=WAYS, help="how PyTorch runs it (default: its own, loop on cpu, foreach on cuda)")
    p.add_argument("--accumulate", type=natural, default=1, metavar="N", help="batches to a step")
    p.add_argument("--lora", type=natural, default=0, metavar="R", help="train adapters of this rank, all else frozen")
    p.add_argument("--device", choices=["cpu", "cuda"], help="whose rule table (default: cuda for bf16, else cpu)")
    for letters, says in (("dp", "data"), ("tp", "tensor"), ("pp", "pipeline")):
        p.add_argument(f"--{letters}", type=natural, default=1, metavar="N", help=f"{says}-parallel processes")
    p.add_argument("--stage", type=int, default=0, help="of the pipeline, from 0")
    p.add_argument("--zero", type=int, choices=range(4), default=0, help="what dp processes share of the states")
    p.add_argument("--json", action="store_true", help="print JSON and nothing else")
    return p


def setting(options: argparse.Namespace) -> Setting:
    """What the arguments say. Raises ValueError, one line, for what cannot be."""
    a = architecture(options.model)
    if options.layers:
        a = replace(a, L=options.layers)
    if not 0 <= options.dropout < 1:
        raise ValueError(f"--dropout: expected a number from 0 to below 1, received {options.dropout}")
    if a.S and options.seq > a.S:
        raise ValueError(
            f"--seq: expected at most the {a.S} positions that {options.model} has, received {options.seq}"
        )
    if options.batch * options.seq * max(a.V, a.F, a.D) > 2**56:
        raise ValueError(
            f"--batch: expected fewer than 2**56 numbers in a tensor, received {options.batch} × {options.seq}"
        )
    if options.zero and options.dp == 1:
        raise ValueError(f"--zero {options.zero}: expected --dp above 1, the processes that share, received 1")
    options.device = options.device or ("cuda" if options.dtype == "bf16" or options.attention == "flash" else "cpu")
    if options.dtype == "bf16" and options.device == "cpu":
        raise ValueError("--dtype bf16: expected --device cuda: the table of the cpu knows fp32 and autocast")
    if options.attention == "flash" and options.device == "cpu":
        raise ValueError("--attention flash: expected --device cuda, received cpu, whose fused attention is sdpa")
    way = options.way or ("foreach" if options.device == "cuda" else "loop")
    attention = "sdpa" if options.attention == "flash" else options.attention
    run = Run(options.batch, options.seq, attention, options.dropout, options.recompute, options.chunks,
              DTYPES[options.dtype], options.seq, options.lora, every=options.every)  # fmt: skip
    plan = Plan(options.optimizer, way, options.accumulate, options.dp, options.tp, options.pp, options.stage,
                options.zero)  # fmt: skip
    return Setting(options.model, a, run, plan, options.device, options.dtype)
