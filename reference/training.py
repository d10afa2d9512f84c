"""What every training on the command line does: it reads a text, tells where it is, keeps its state, goes on from one.

A state is a NamedTuple of numbers and tensors with its `step`, all that the next step depends on; a recipe is a
NamedTuple of numbers with its `steps`.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from reference import corpus, expect
from reference.markov import encode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from jaxtyping import Int
    from torch import Tensor


EVERY = 30.0
"""Seconds from one save to the next."""


def save(path: str, state: Any, recipe: Any, text: str) -> None:
    """Write a state, with its recipe and what tells the text apart; a kill at any moment leaves the file whole."""
    partial = f"{path}.partial"
    known = {"recipe": recipe._asdict(), "text": hashlib.sha256(text.encode()).hexdigest()}
    with open(partial, "wb") as file:
        torch.save({**known, **state._asdict()}, file)
    os.replace(partial, path)


def load(path: str, recipe: Any, text: str, State: Any) -> Any:
    """The state that `save` wrote, read as numbers only: nothing in the file is executed.

    Raises ValueError for a file that is none, of another recipe, or of another text.
    """
    try:
        found = torch.load(path, weights_only=True)
        begun, of = type(recipe)(**found["recipe"]), found["text"]
        state = State(**{name: found[name] for name in State._fields})
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # whatever the file holds, it is not a state
        raise ValueError(f"{path}: expected a state that was saved in training, it is none") from None
    for name, ours, theirs in zip(recipe._fields, recipe, begun, strict=True):
        if ours != theirs:
            expect.fail(path, f"a state of the recipe with {name} = {ours}", theirs)
    if of != hashlib.sha256(text.encode()).hexdigest():
        raise ValueError(f"{path}: expected a state of this text, it was trained on another")
    return state


class Progress:
    """Prints twenty lines in all, and saves the state now and then."""

    def __init__(self, recipe: Any, text: str, path: str | None, start: int) -> None:
        self.recipe, self.text, self.path, self.start = recipe, text, path, start
        self.began = self.saved = time.monotonic()
        self.sum, self.count = 0.0, 0
        self.latest: Any = None

    def __call__(self, state: Any, nats: float) -> None:
        self.latest, self.sum, self.count = state, self.sum + nats, self.count + 1
        now = time.monotonic()
        if state.step % max(1, self.recipe.steps // 20) == 0:
            left = (now - self.began) / (state.step - self.start) * (self.recipe.steps - state.step)
            bits = self.sum / self.count / math.log(2)
            print(f"step {state.step:>7,}  {bits:.3f} bits a character in training  {left:4.0f} s left", flush=True)
            self.sum, self.count = 0.0, 0
        if self.path and (now - self.saved > EVERY or state.step == self.recipe.steps):
            save(self.path, state, self.recipe, self.text)
            self.saved = now


class Text(NamedTuple):
    """A text, the indices of its characters to learn from and of those held out, and the alphabet they point into."""

    whole: str
    here: Int[Tensor, "N"]
    there: Int[Tensor, "M"]
    alphabet: str


def read(options: argparse.Namespace, context: int) -> Text:
    """The text of --corpus, or the embedded one. Raises ValueError for one too short, --length, or a lone --resume."""
    if options.resume and not options.out:
        expect.fail("--resume", "--out FILE with the state to go on from", "none")
    seen, held_out = corpus.read(options.corpus) if options.corpus else corpus.embedded()
    corpus.long_enough(seen, held_out, context)
    expect.natural("length", options.length)
    ids, alphabet = encode(seen + held_out)
    return Text(seen + held_out, ids[: len(seen)], ids[len(seen) :], alphabet)


def first(options: argparse.Namespace, begin: Callable[[], Any], recipe: Any, text: Text) -> Any:
    """The state to start from: a new one, kept in --out if that is given, or the one there that is to be resumed.

    Raises ValueError for a file that is there and is not to be resumed, or as `load`; OSError for one that cannot be.
    """
    state, out = begin(), options.out
    if out and Path(out).exists():
        if not options.resume:
            expect.fail(out, "a file that is not there yet (--resume goes on from one that is)", "one")
        return load(out, recipe, text.whole, type(state))
    if out:
        save(out, state, recipe, text.whole)
    return state


def follow(
    options: argparse.Namespace,
    text: Text,
    recipe: Any,
    begin: Callable[[], Any],
    train: Callable[[Any, Progress], Any],
) -> Any:
    """The state after all steps of a recipe; Ctrl-C saves where it is, says so, and is passed on."""
    state = first(options, begin, recipe, text)
    sizes = f"{len(text.here):,} characters, {len(text.there):,} held out; alphabet of {len(text.alphabet)}"
    print(f"{sizes}; {len(state.x):,} parameters")
    progress = Progress(recipe, text.whole, options.out, state.step)
    try:
        return train(state, progress)
    except KeyboardInterrupt:
        if options.out and progress.latest:
            save(options.out, progress.latest, recipe, text.whole)
            print(f"stopped at step {progress.latest.step}: --resume goes on", file=sys.stderr)
        raise


def written(text: Text, ids: Int[Tensor, "N"]) -> None:
    """Print what a model has generated."""
    print("generated  ------------------------------------------------------------")
    print("".join(text.alphabet[i] for i in ids))


def command(options: argparse.Namespace, run: Callable[[], None]) -> int:
    """The exit code of a training: what cannot be is told in a line, and is 2; an interrupt is 130."""
    try:
        run()
    except OSError as error:
        print(f"--out {options.out}: cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
