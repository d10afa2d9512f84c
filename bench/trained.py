"""Trainings of an experiment: each is kept in a folder while it runs, so that an interrupted run goes on inside it."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from bench.experiment import Row, report
from reference import corpus
from reference.markov import encode
from reference.training import load, save


class Text:
    """The corpus as indices, and the folder in which trainings by the code of these modules wait to go on."""

    def __init__(self, topic: str, *modules: ModuleType) -> None:
        seen, held_out = corpus.embedded()
        self.whole = seen + held_out
        ids, self.alphabet = encode(self.whole)
        self.V, self.here, self.there = len(self.alphabet), ids[: len(seen)].long(), ids[len(seen) :].long()
        code = b"".join(Path(module.__file__ or "").read_bytes() for module in modules)
        self.folder = Path(f"{topic}.partial", hashlib.sha256(code + self.whole.encode()).hexdigest()[:12])
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, recipe: Any) -> Path:
        """Where the state of a training of this recipe is kept."""
        return self.folder / (hashlib.sha256(json.dumps(recipe._asdict()).encode()).hexdigest()[:12] + ".pt")

    def spoken(self, ids: torch.Tensor) -> str:
        """The characters of these indices."""
        return "".join(self.alphabet[i] for i in ids)


def bits(nats: torch.Tensor) -> float:
    """The mean of surprises, in bits."""
    return nats.double().mean().item() / math.log(2)


class Watch:
    """A line on stderr every ten seconds, and the state on disk every half minute."""

    def __init__(self, text: Text, recipe: Any, name: str, start: int) -> None:
        self.text, self.recipe, self.name, self.start = text, recipe, name, start
        self.began = self.told = self.saved = time.monotonic()

    def __call__(self, state: Any, nats: float) -> None:
        now = time.monotonic()
        if now - self.told > 10:
            left = (now - self.began) / (state.step - self.start) * (self.recipe.steps - state.step)
            where = f"step {state.step} of {self.recipe.steps}, {nats / math.log(2):.2f} bits in training"
            print(f"  {self.name}: {where}, {left:.0f} s left", file=sys.stderr, flush=True)
            self.told = now
        if now - self.saved > 30:
            save(str(self.text.path(self.recipe)), state, self.recipe, self.text.whole)
            self.saved = now


def trained(
    text: Text,
    recipe: Any,
    name: str,
    begin: Callable[[], Any],
    train: Callable[..., Any],
    also: Callable[[Any, float], None] = lambda state, nats: None,
) -> Any:
    """The state after all steps, from the folder if it is there, and from where it was left if not.

    `train` gets a state and what watches it; `also` watches too.
    """
    path, state = text.path(recipe), begin()
    if path.exists():
        state = load(str(path), recipe, text.whole, type(state))
    if state.step < recipe.steps:
        tell = Watch(text, recipe, name, state.step)

        def watch(state, nats):
            also(state, nats)
            tell(state, nats)

        state = train(state, watch)
        save(str(path), state, recipe, text.whole)
    return state


def measured(topic: str, options: argparse.Namespace, rows: Iterable[Row], **how: Any) -> int:
    """Report rows that wait in a folder when they are interrupted; `how` as for `report`."""
    try:
        return report(topic, options, rows, heading="", threads=torch.get_num_threads(), **how)
    except KeyboardInterrupt:
        print("interrupted; run again to go on", file=sys.stderr)
        return 130


def look(topic: str, main: Callable[[argparse.Namespace], int], steps: int) -> int:
    """python -m bench.TOPIC: all of it, with so few steps of every training that it takes a minute."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{topic}", description="All of it with fewer steps.")
    parser.add_argument("--steps", type=int, default=steps, help=f"of every training (default {steps})")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--svg", metavar="FILE", default="", help=f"where the figure goes (default: {topic}.svg)")
    return main(parser.parse_args())
