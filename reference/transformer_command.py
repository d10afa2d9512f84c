"""python -m reference.transformer: train GPT-2 on the characters of a text, judge it on held-out ones, and write."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import torch

from reference import corpus, expect
from reference.generate import drawn
from reference.markov import bits_per_character, encode, perplexity
from reference.training import first, to_the_end
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


def main(argv: list[str] | None = None) -> int:
    """Train GPT-2 on real text, character by character, and report: python -m reference.transformer --layers 2."""
    options = parse(argv)
    recipe = Recipe(**{name: getattr(options, name) for name in Recipe._fields if hasattr(options, name)})
    try:
        if options.resume and not options.out:
            expect.fail("--resume", "--out FILE with the state to go on from", "none")
        seen, held_out = corpus.read(options.corpus) if options.corpus else corpus.embedded()
        for name in "LHKT":
            expect.natural(name, getattr(recipe, name), 1)
        corpus.long_enough(seen, held_out, recipe.T)
        ids, alphabet = encode(seen + held_out)
        here, there = ids[: len(seen)], ids[len(seen) :]
        expect.natural("length", options.length)
        expect.number("temperature", options.temperature, 0)
        choose = drawn(options.temperature, options.top_k, options.top_p, recipe.seed)
        choose(torch.zeros(1, 2))  # so that a wrong share is told before the training
        model = build(recipe, len(alphabet))
        state = first(options.out, options.resume, lambda: begin(recipe, model), recipe, seen + held_out)
        print(
            f"{len(seen):,} characters, {len(held_out):,} held out; alphabet of {len(alphabet)}; "
            f"{len(state.x):,} parameters"
        )
        state = to_the_end(state, partial(train, here, recipe, model), recipe, seen + held_out, options.out)
    except OSError as error:
        print(f"--out {options.out}: cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    logs = -surprise(there, model, state.x).double()
    print(f"held out   perplexity {perplexity(logs):.3f}, {bits_per_character(logs):.3f} bits per character")
    text = generate(model, state.x, there[: recipe.T], options.length, choose)
    print("generated  ------------------------------------------------------------")
    print("".join(alphabet[i] for i in text))
    return 0
