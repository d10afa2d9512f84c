"""python -m reference.transformer: train GPT-2 on the characters of a text, judge it on held-out ones, and write."""

from __future__ import annotations

import argparse
from functools import partial

import torch

from reference import expect
from reference.generate import drawn
from reference.markov import bits_per_character, perplexity
from reference.training import command, follow, read, written
from reference.transformer_training import Recipe, begin, build, generate, surprise, train


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options; every one of the recipe has its default there."""
    parser = argparse.ArgumentParser(prog="python -m reference.transformer", description=main.__doc__)
    r = Recipe()
    for flag, name, says in (
        ("layers", "L", "blocks"),
        ("heads", "H", "heads of a block"),
        ("head-dim", "K", "coordinates of a head"),
        ("context", "T", "symbols of a window"),
        ("ratio", "ratio", "feed-forward units for each coordinate"),
        ("steps", "steps", "of training"),
        ("batch", "batch", "windows a step"),
        ("parts", "parts", "microbatches, whose gradients are accumulated"),
        ("warmup", "warmup", "steps in which the rates rise"),
        ("seed", "seed", "of everything random"),
    ):
        default = getattr(r, name)
        parser.add_argument(f"--{flag}", dest=name, type=int, default=default, help=f"{says} (default {default})")
    for flag, name, says in (
        ("lr", "lr", "largest learning rate of AdamW"),
        ("matrix-lr", "matrix_lr", "largest learning rate of Muon; 0: AdamW for the matrices too"),
        ("dropout", "dropout", "share of numbers that are dropped in training"),
        ("decay", "decay", "weight decay"),
        ("clip", "clip", "longest gradient"),
    ):
        default = getattr(r, name)
        parser.add_argument(f"--{flag}", dest=name, type=float, default=default, help=f"{says} (default {default:g})")
    parser.add_argument("--corpus", metavar="FILE", help="UTF-8 text (default: the prose of Python's own help)")
    parser.add_argument("--out", metavar="FILE", help="keep the state there while training")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out, if there is one")
    parser.add_argument("--length", type=int, default=300, help="characters to generate (default 300)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of these (default 1); 0: the most probable")
    parser.add_argument("--top-k", type=int, help="draw from so many symbols at most")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the fewest of so much mass (default 1)")
    return parser.parse_args(argv)


def run(options: argparse.Namespace, recipe: Recipe) -> None:
    """Train, judge and write."""
    for name in "LHKT":
        expect.natural(name, getattr(recipe, name), 1)
    text = read(options, recipe.T)
    expect.number("temperature", options.temperature, 0)
    choose = drawn(options.temperature, options.top_k, options.top_p, recipe.seed)
    choose(torch.zeros(1, 2))  # so that a wrong share is told before the training
    model = build(recipe, len(text.alphabet))
    state = follow(options, text, recipe, partial(begin, recipe, model), partial(train, text.here, recipe, model))
    logs = -surprise(text.there, model, state.x).double()
    print(f"held out   perplexity {perplexity(logs):.3f}, {bits_per_character(logs):.3f} bits per character")
    written(text, generate(model, state.x, text.there[: recipe.T], options.length, choose))


def main(argv: list[str] | None = None) -> int:
    """Train GPT-2 on real text, character by character, and report: python -m reference.transformer --layers 2."""
    options = parse(argv)
    recipe = Recipe(**{name: getattr(options, name) for name in Recipe._fields if hasattr(options, name)})
    return command(options, partial(run, options, recipe))
