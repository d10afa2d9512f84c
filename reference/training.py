"""What every training on the command line does: it tells where it is, keeps its state, and goes on from one.

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
from typing import TYPE_CHECKING, Any

import torch

from reference import expect

if TYPE_CHECKING:
    from collections.abc import Callable


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


def first(out: str | None, resume: bool, begin: Callable[[], Any], recipe: Any, text: str) -> Any:
    """The state to start from: a new one, kept in `out` if that is given, or the one that is there to be resumed.

    Raises ValueError for a file that is there and is not to be resumed, or as `load`; OSError for one that cannot be.
    """
    state = begin()
    if out and Path(out).exists():
        if not resume:
            expect.fail(out, "a file that is not there yet (--resume goes on from one that is)", "one")
        return load(out, recipe, text, type(state))
    if out:
        save(out, state, recipe, text)
    return state


def to_the_end(state: Any, train: Callable[[Any, Progress], Any], recipe: Any, text: str, out: str | None) -> Any:
    """The state after all steps; Ctrl-C saves where it is, says so, and is passed on."""
    progress = Progress(recipe, text, out, state.step)
    try:
        return train(state, progress)
    except KeyboardInterrupt:
        if out and progress.latest:
            save(out, progress.latest, recipe, text)
            print(f"stopped at step {progress.latest.step}: --resume goes on", file=sys.stderr)
        raise
