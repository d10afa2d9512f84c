r"""GPT-2 on the characters of a text, beside n-grams: python -m bench transformer [--json] [--svg FILE].

One training of about half an hour on two cores, small ones that differ from each other in one number, what the heads
of the trained model look at, and the time of a step beside `transformers`, where that is installed (under nox it is).
All bits are means over the same held-out symbols (of n-grams with longer contexts, over a few less). What is done is
kept in the folder transformer.partial: a run that was interrupted goes on, in the middle of a training too.
`python -m bench.transformer --steps 20` is a quick look.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from bench.trained import Text, bits, look, measured
from bench.trained import trained as kept
from reference import decoder, training, transformer_training
from reference.generate import drawn
from reference.markov_kneser_ney import model as kneser_ney
from reference.markov_smoothing import text_log_likelihood
from reference.transformer_training import Model, Recipe, State, begin, build, generate, surprise, train

LONGEST = 16
"""Symbols of held-out text that are context only; n-grams that need more are judged on a few symbols less."""
LONG = Recipe()
SHORT = Recipe(L=2, H=4, K=16, T=64, dropout=0.0, steps=600, warmup=50)
SWEEPS: dict[str, list[dict[str, Any]]] = {
    "heads": [{"H": h, "K": 64 // h} for h in (1, 2, 4, 8, 16)],
    "ratio": [{"ratio": f} for f in (1, 2, 4, 8)],
    "depth": [{"L": layers} for layers in (1, 2, 4)],
    "context": [{"T": 2**k, "batch": 2 ** (10 - k)} for k in (3, 4, 5, 6, 7)],
    "without": [{"without": part} for part in ("", "positions", "attention", "feed-forward")],
    "optimizer": [{"matrix_lr": rate} for rate in (0.0, 0.01)],
}
ORDERS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32)
PROMPT = 16
"""Symbols of held-out text that samples begin with."""
EACH = 200
"""Steps from one point of the long run's curve to the next."""


class Curve:
    """Bits on held-out text and in training, every so often; kept in a file beside the state."""

    def __init__(self, text: Text, recipe: Recipe, model: Model) -> None:
        self.text, self.recipe, self.model = text, recipe, model
        self.file = text.path(recipe).with_suffix(".json")
        self.points: dict[str, list[float]] = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.sum, self.count, self.since = 0.0, 0, time.monotonic()

    def __call__(self, state: State, nats: float) -> None:
        self.sum, self.count = self.sum + nats, self.count + 1
        if state.step % EACH and state.step != self.recipe.steps:
            return
        seconds = (time.monotonic() - self.since) / self.count  # a step, without what is measured here
        held_out = bits(surprise(self.text.there, self.model, state.x)[LONGEST - 1 :])
        self.points[str(state.step)] = [self.sum / self.count / math.log(2), held_out, seconds]
        self.file.write_text(json.dumps(self.points))
        self.sum, self.count, self.since = 0.0, 0, time.monotonic()


def trained(text: Text, recipe: Recipe, name: str, curve: bool = False) -> tuple[Model, State]:
    """The network and its state after all steps of a recipe."""
    model = build(recipe, text.V)
    watch = Curve(text, recipe, model) if curve else lambda state, nats: None
    ways = partial(begin, recipe, model), partial(train, text.here, recipe, model)
    return model, kept(text, recipe, name, *ways, watch)


def parameters(recipe: Recipe, V: int) -> int:
    """How many numbers the claim transformer.parameter_count says a model has."""
    from derivations import transformer as proved

    D = recipe.H * recipe.K
    sizes = {"L": recipe.L, "D": D, "F": recipe.ratio * D, "V": V, "S": recipe.T, "G": recipe.H, "K": recipe.K}
    count = proved.closed(proved.G, 1)
    return int(count.subs({symbol: sizes[str(symbol)] for symbol in count.free_symbols}))


def of_network(text: Text, recipe: Recipe, sweep: str) -> dict[str, Any]:
    """One training: its parameters as predicted and as allocated, and what it makes of the held-out text."""
    changed = {n: v for n, v in recipe._asdict().items() if v != getattr(SHORT, n)}
    long = sweep == "long"
    model, state = trained(text, recipe, "long" if long else f"{sweep} {changed or ''}".strip(), long)
    predicted = parameters(recipe, text.V)
    held_out = bits(surprise(text.there, model, state.x)[LONGEST - 1 :])
    seen = bits(surprise(text.here[: len(text.there)], model, state.x)[LONGEST - 1 :])
    of = {"F" if name == "ratio" else name: value for name, value in recipe._asdict().items()}
    of["F"] *= recipe.H * recipe.K
    found = {"what": "network", "sweep": sweep, **of, "predicted": predicted, "measured": len(state.x),
             "ratio": len(state.x) / predicted, "train": seen, "held out": held_out}  # fmt: skip
    if long:
        points = Curve(text, recipe, model).points
        found["curve"] = [[int(step), *rest] for step, rest in points.items()]
        found["held out, longer contexts"] = bits(surprise(text.there, model, state.x, recipe.T // 8)[LONGEST - 1 :])
    return found


def n_grams(text: Text) -> Iterator[dict[str, Any]]:
    """Kneser and Ney's model of every order."""
    for order in ORDERS:
        nats = -text_log_likelihood(kneser_ney(text.here, order, text.V), text.there)
        yield {"what": "n-gram", "order": order, "held out": bits(nats[max(LONGEST - order, 0) :])}


@torch.no_grad()
def weights(text: Text, recipe: Recipe, model: Model, state: State) -> list[torch.Tensor]:
    """For every layer the attention "B H T T" over windows of the held-out text."""
    found: list[torch.Tensor] = []

    def keep(layer, given, out):
        q, k, _ = (part.unflatten(-1, (recipe.H, recipe.K)).transpose(1, 2) for part in out.chunk(3, -1))
        hidden = torch.ones(out.shape[1], out.shape[1], dtype=torch.bool).triu(1)
        found.append(((q @ k.mT) * recipe.K**-0.5).masked_fill(hidden, -math.inf).softmax(-1))

    hooks = [layer.register_forward_hook(keep) for name, layer in model.network.named_modules() if "qkv" in name]
    windows = text.there[: len(text.there) // recipe.T * recipe.T].view(-1, recipe.T)[:64]
    model.network.eval()
    torch.func.functional_call(model.network, model.parts(state.x), (windows,))
    model.network.train()
    for hook in hooks:
        hook.remove()
    return found


def heads(text: Text, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Of every head of the long run: how far back it looks, the entropy of where, and how unlike the others it is.

    Unlike: the Jensen–Shannon divergence to the mean of its layer's heads, in bits: 0 if all look at the same.
    """
    model, state = trained(text, recipe, "long")
    for layer, p in enumerate(weights(text, recipe, model, state), 1):
        T = p.shape[-1]
        back = (torch.arange(T)[:, None] - torch.arange(T)).clamp(min=0).to(p)
        distance, entropy = (p * back).sum(-1), -torch.special.xlogy(p, p).sum(-1) / math.log(2)
        mean = p.mean(1, keepdim=True)
        unlike = (torch.special.xlogy(p, p) - torch.special.xlogy(p, mean)).sum(-1) / math.log(2)
        for h in range(recipe.H):
            of = {name: x[:, h, T // 2 :].mean().item() for name, x in
                  (("distance", distance), ("entropy", entropy), ("unlike", unlike))}  # fmt: skip
            yield {"what": "head", "layer": layer, "head": h + 1, **of}


def samples(text: Text, recipe: Recipe) -> dict[str, Any]:
    """What the long run writes after the first symbols of the held-out text."""
    model, state = trained(text, recipe, "long")
    ways = {"temperature 1": (1.0, None, 1.0), "temperature 0.5": (0.5, None, 1.0), "top-p 0.9": (1.0, None, 0.9)}
    texts = {name: text.spoken(generate(model, state.x, text.there[:PROMPT], 300, drawn(*way, seed=1)))
             for name, way in ways.items()}  # fmt: skip
    return {"what": "sample", "prompt": text.spoken(text.there[:PROMPT]), "texts": texts}


def rows(steps: int | None = None) -> Iterator[dict[str, Any]]:
    """Everything, as it is done; with `steps`, every training is cut to so many."""
    text = Text("transformer", decoder, training, transformer_training)
    short, long = (r if steps is None else r._replace(steps=steps) for r in (SHORT, LONG))
    yield from n_grams(text)
    for sweep, choices in SWEEPS.items():
        for change in choices:
            yield of_network(text, short._replace(**change), sweep)
    yield of_network(text, long, "long")
    yield from heads(text, long)
    yield samples(text, long)
    from bench.transformer_step import beside

    yield from beside(text.V)


def told(row: dict[str, Any]) -> str:
    """A row as a line of the table."""
    if row["what"] == "n-gram":
        return f"Kneser–Ney      order {row['order']:<54}{row['held out']:>8.3f} held out"
    if row["what"] == "network":
        sizes = ", ".join(f"{n} {row[n]}" for n in "LHKFT")
        also = f" without {row['without']}" * bool(row["without"]) + ", AdamW" * (not row["matrix_lr"])
        count = f"{row['measured']:,} parameters, {row['ratio']:.4f} of the predicted"
        bits = f"{row['train']:>8.3f} in training {row['held out']:>8.3f} held out"
        return f"{row['sweep']:<16}{sizes}{also}\n{'':<16}{count:<44}{bits}"
    if row["what"] == "head":
        where = f"{row['distance']:6.1f} symbols back, entropy {row['entropy']:.2f} bits, {row['unlike']:.2f} unlike"
        return f"layer {row['layer']}, head {row['head']}: {where}"
    if row["what"] == "step":
        theirs = "not run: transformers is not installed" if row["theirs"] is None else f"{row['theirs']:.3f} s"
        ratio = "" if row["ratio"] is None else f", ours over theirs {row['ratio']:.3f}"
        return f"a step of {row['of']}: {row['measured']:.3f} s, transformers' GPT-2 {theirs}{ratio}"
    return "\n".join(f"{way}: {text!r}" for way, text in row["texts"].items())


def main(options: argparse.Namespace) -> int:
    """Measure, print and draw; 1 where a count of parameters is not the predicted one."""
    from bench.transformer_figures import draw

    def wrong(row: dict[str, Any]) -> bool:
        return row["what"] == "network" and row["ratio"] != 1

    return measured("transformer", options, rows(getattr(options, "steps", None)), draw=draw, told=told, wrong=wrong)


if __name__ == "__main__":
    sys.exit(look("transformer", main, 20))
