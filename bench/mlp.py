r"""The neural language model beside n-grams on held-out text: python -m bench mlp [--json] [--svg FILE].

One long training and small ones that differ from each other in one number, a minute or less each; all bits are means
over the same held-out symbols. What is done is kept in the folder mlp.partial: a run that was interrupted goes on, in
the middle of a training too. `python -m bench.mlp --steps 30` does all of it with so few steps, for a look.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from bench.trained import Text, bits, look, measured
from bench.trained import trained as kept
from derivations import mlp as proved
from reference import mlp, mlp_training
from reference.markov import count, log_likelihood
from reference.mlp_training import Recipe, State, begin, train, unpacked

LONGEST = 16
"""Symbols of held-out text that are context only: the longest context of any model."""
LONG = Recipe()
SHORT = Recipe(D=16, F=256, steps=2500)
SWEEPS: dict[str, dict[str, tuple]] = {
    "context": {"k": (1, 2, 3, 4, 5, 8, 16)},
    "width": {"F": (16, 64, 256, 1024)},
    "depth": {"L": (1, 2, 3)},
    "embedding": {"D": (1, 4, 16, 64)},
    "forgetting": {"forget": (0.0, 0.3, 0.6, 0.9)},
    "direct": {"direct": (False, True)},
}
ORDERS = (1, 2, 3, 4, 5, 8)
PICTURED = 4
"""Coordinates of the embeddings that are drawn: of so few, two axes show most."""
OFTEN = 100
"""Occurrences that a symbol needs for a place in the picture of embeddings: rows of rare ones are little trained."""


def trained(text: Text, recipe: Recipe, name: str) -> State:
    """The state after all steps of a recipe."""
    return kept(text, recipe, name, partial(begin, recipe, text.V), partial(train, text.here, text.V, recipe))


def of_network(text: Text, recipe: Recipe, sweep: str) -> dict[str, Any]:
    """One training: its parameters as predicted and as allocated, and what it makes of both parts of the text."""
    changed = {n: v for n, v in recipe._asdict().items() if v != getattr(SHORT, n)}
    state = trained(text, recipe, sweep if sweep == "long" else f"{sweep} {changed or ''}".strip())
    model = unpacked(state.x, recipe, text.V)
    sizes = {proved.V: text.V, proved.D: recipe.D, proved.F: recipe.F, proved.L: recipe.L}
    predicted = int(proved.weights(recipe.k, int(recipe.direct)).subs(sizes))
    seen, new = (mlp.surprise(part, *model) for part in (text.here, text.there))
    return {
        "what": "network", "sweep": sweep, **recipe._asdict(), "predicted": predicted, "measured": len(state.x),
        "ratio": len(state.x) / predicted, "train": bits(seen), "held out": bits(new[LONGEST - recipe.k :]),
    }  # fmt: skip


def n_grams(text: Text) -> Iterator[dict[str, Any]]:
    """Every smoothing at every order; Jelinek and Mercer's weights by EM, Kneser and Ney's discounts from counts."""
    from reference import markov_jelinek_mercer as jm
    from reference import markov_kneser_ney as kn
    from reference.markov_smoothing import text_log_likelihood

    for order in ORDERS:
        counts = count(text.here, order, text.V)
        weights = jm.interpolation_weights(text.here, order, text.V)
        models = {"Jelinek–Mercer": jm.model(text.here, order, text.V, weights),
                  "Kneser–Ney": kn.model(text.here, order, text.V)}  # fmt: skip
        logs = {"add-0.01": [log_likelihood(counts, part, 0.01) for part in (text.here, text.there)]}
        logs |= {name: [text_log_likelihood(m, part) for part in (text.here, text.there)] for name, m in models.items()}
        for name, (seen, new) in logs.items():
            yield {
                "what": "n-gram", "smoothing": name, "order": order, "stored": len(counts.counts),
                "cells": text.V ** (order + 1), "train": bits(-seen), "held out": bits(-new[LONGEST - order :]),
            }  # fmt: skip


def embedding(text: Text, recipe: Recipe) -> dict[str, Any]:
    """The two principal axes of a table of embeddings, over the symbols that occur often, and their share of it."""
    table = unpacked(trained(text, recipe, f"embedding of {recipe.D}").x, recipe, text.V).embedding.double()
    often = (torch.bincount(text.here, minlength=text.V) >= OFTEN).nonzero().squeeze(1)
    centred = table[often] - table[often].mean(0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()  # a direction, not its opposite
    return {
        "what": "embedding",
        "D": recipe.D,
        "symbols": text.spoken(often),
        "places": [[round(x, 4) for x in place] for place in (centred @ axes.T).tolist()],
        "share": (sizes**2 / (sizes**2).sum())[:2].tolist(),
    }


def sample(text: Text, recipe: Recipe) -> dict[str, Any]:
    """What the long run writes after the first symbols of the held-out text, at two temperatures."""
    model, draw = unpacked(trained(text, recipe, "long").x, recipe, text.V), torch.Generator().manual_seed(1)
    prompt = text.there[:LONGEST]
    written = {T: mlp.generate(model, prompt, 300, draw, T) for T in (1.0, 0.5)}
    texts = {str(T): text.spoken(ids) for T, ids in written.items()}
    return {"what": "sample", "prompt": text.spoken(prompt), "texts": texts}


def rows(steps: int | None = None) -> Iterator[dict[str, Any]]:
    """Everything, as it is done; with `steps`, every training is cut to so many."""
    text = Text("mlp", mlp, mlp_training)
    short, long = (r if steps is None else r._replace(steps=steps) for r in (SHORT, LONG))
    yield from n_grams(text)
    for sweep, choices in SWEEPS.items():
        for name, values in choices.items():
            yield from (of_network(text, short._replace(**{name: value}), sweep) for value in values)
    yield of_network(text, long, "long")
    yield embedding(text, short._replace(D=PICTURED))
    yield sample(text, long)


def told(row: dict[str, Any]) -> str:
    """A row as a line of the table."""
    if row["what"] == "n-gram":
        return f"{row['smoothing']:<16}order {row['order']:<12}{row['stored']:>10,} stored{'':>9}{_bits(row)}"
    if row["what"] == "network":
        names = {"k": "context", "F": "width", "L": "depth", "D": "embedding", "forget": "forget"}
        sizes = ", ".join(f"{n} {row[n]}" for n in names) + ", direct" * row["direct"]
        count = f"{row['measured']:,} parameters, {row['ratio']:.4f} of the predicted"
        return f"{row['sweep']:<16}{sizes:<40}\n{'':<16}{count:<44}{_bits(row)}"
    if row["what"] == "embedding":
        return f"embeddings: the first two axes hold {row['share'][0]:.0%} and {row['share'][1]:.0%} of the variance"
    return "\n".join(f"at temperature {T}: {text!r}" for T, text in row["texts"].items())


def _bits(row: dict[str, Any]) -> str:
    return f"{row['train']:>8.3f} in training {row['held out']:>8.3f} held out"


def main(options: argparse.Namespace) -> int:
    """Measure, print and draw; 1 where a count of parameters is not the predicted one."""
    from bench.mlp_figures import draw

    found = rows(getattr(options, "steps", None))
    return measured("mlp", options, found, draw=draw, told=told, wrong=lambda row: row.get("ratio", 1) != 1)


if __name__ == "__main__":
    sys.exit(look("mlp", main, 30))
