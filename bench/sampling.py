"""What the dials do to distributions of a trained model: predicted before, measured after.

python -m bench sampling [--json] [--svg FILE]. The model counts which character follows two others in the embedded
corpus; its distributions after contexts of held-out text are heated, cooled and truncated.

    dH/dT = Var_p(z)/T³     and     1 − max p ≤ n e^(−δ/T)

are claims: the first is held against differences of the entropy, the second against the mass that is left at the cold
end, for three contexts. How many symbols each filter keeps is measured only: a mean over contexts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from bench.experiment import report
from reference import corpus, sampling
from reference.markov import conditional, count, encode

TEMPERATURES = tuple(2.0 ** (k / 4) for k in range(-12, 13))
COLD = tuple(2.0 ** (k / 4) for k in range(-16, 1))
SHOWN = ("th", "e ", "ge")
CONTEXTS, STEP = 400, 2.0**-10
FILTERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "top-k 10": partial(sampling.top_k, k=10),
    "top-p 0.9": partial(sampling.top_p, p=0.9),
    "typical 0.9": partial(sampling.typical, p=0.9),
    "min-p 0.05": partial(sampling.min_p, p=0.05),
    "η 0.01": partial(sampling.eta_cutoff, epsilon=0.01),
    "ε 0.01": partial(sampling.epsilon_cutoff, epsilon=0.01),
}


NAMES: dict[str, dict[str, tuple[int, tuple[int, int]]]] = {
    "“th”": {"slope": (6, (-22, 4)), "mass": (4, (7, -3))},
    "“e ”": {"slope": (1, (7, 2)), "mass": (2, (0, -9))},
    "“ge”": {"slope": (0, (2, -9)), "mass": (3, (4, -8))},
    "top-k 10": {"symbols": (-1, (5, 0))},
    "top-p 0.9": {"symbols": (-1, (5, -4))},
    "min-p 0.05": {"symbols": (-1, (5, 5))},
    "ε 0.01": {"symbols": (-1, (5, 0))},
}
"""Which of them are drawn, and in each panel at which point the name stands, and how far from it."""


def logits(contexts: list[str] | int) -> torch.Tensor:
    """Log-probabilities of the next character after two given ones, or after so many pairs of held-out text."""
    train, held_out = corpus.embedded()
    ids, alphabet = encode(train + held_out)
    places = {symbol: i for i, symbol in enumerate(alphabet)}
    if isinstance(contexts, int):
        apart = (len(held_out) - 2) // contexts
        contexts = [held_out[k * apart : k * apart + 2] for k in range(contexts)]
    asked = torch.tensor([[places[symbol] for symbol in context] for context in contexts])
    return conditional(count(ids[: len(train)], 2, len(alphabet)), asked, alpha=0.01).log()


def entropy(z: torch.Tensor, T: float) -> torch.Tensor:
    return torch.special.entr(sampling.distribution(z, T)).sum(-1)


def slopes(context: str, z: torch.Tensor) -> Iterator[dict[str, Any]]:
    """The entropy's slope: the variance of the logits over T³, and a central difference."""
    for T in TEMPERATURES:
        p = sampling.distribution(z, T)
        predicted = float((p * (z - p @ z) ** 2).sum() / T**3)
        measured = float(entropy(z, T * (1 + STEP)) - entropy(z, T * (1 - STEP))) / (2 * STEP * T)
        yield found("slope of the entropy, nats", context, T, predicted, measured)


def cold_end(context: str, z: torch.Tensor) -> Iterator[dict[str, Any]]:
    """The mass beside the most probable symbol, and its bound."""
    largest = z.topk(2).values
    gap = float(largest[0] - largest[1])
    for T in COLD:
        rest = 1 - float(sampling.distribution(z, T).max())
        bound = min(1.0, (len(z) - 1) * math.exp(-gap / T))
        yield found("mass beside the largest, at most", context, T, bound, rest)


def found(what: str, of: str, T: float, predicted: float | None, measured: float) -> dict[str, Any]:
    ratio = measured / predicted if predicted else None
    return {"what": what, "of": of, "T": T, "predicted": predicted, "measured": measured, "ratio": ratio}


def rows() -> Iterator[dict[str, Any]]:
    """For each context or filter, and each temperature, a dict: what, of, T, predicted, measured, ratio."""
    for measure in (slopes, cold_end):
        for context, z in zip(SHOWN, logits(list(SHOWN)), strict=True):
            yield from measure(f"“{context}”", z)
    z = logits(CONTEXTS)
    for name, keep in FILTERS.items():
        for T in TEMPERATURES:
            kept = float((keep(sampling.temperature(z, T)) > -torch.inf).double().sum(-1).mean())
            yield found("symbols kept, mean", name, T, 10.0 if name == "top-k 10" else None, kept)


def draw(rows: list[dict[str, Any]], path: str) -> None:
    """Three panels over the temperature: the entropy's slope, the cold end, and what the filters keep."""
    from bench.figures import INK, frame, panels, save, series

    figure, (left, middle, right) = panels(3, "Temperature and truncation on a character model, T from cold to hot")
    for axes, what in ((left, "slope"), (middle, "mass"), (right, "symbols")):
        ours = [r for r in rows if r["what"].startswith(what) and r["of"] in NAMES]
        for color, of in enumerate(dict.fromkeys(r["of"] for r in ours)):
            here = [r for r in ours if r["of"] == of]
            Ts, measured, predicted = ([r[key] for r in here] for key in ("T", "measured", "predicted"))
            series(axes, Ts, measured, predicted=None if None in predicted else predicted, color=color)
            place, offset = NAMES[of][what]
            at = {"textcoords": "offset points", "va": "center", "color": INK[color], "annotation_clip": False}
            axes.annotate(of, (Ts[place], measured[place]), offset, **at)
    ticks = (0.125, 0.25, 0.5, 1, 2, 4, 8)
    frame(left, "T", "nats a unit of T", title="slope of the entropy", log="x", xticks=ticks)
    frame(middle, "T", "lines are bounds", title="mass beside the largest", log="xy", xticks=(0.0625, *ticks[:4]))
    frame(right, "T", "mean over contexts", title="symbols kept", log="xy", xticks=ticks, yticks=(3, 10, 30, 100))
    save(figure, path)


def heading(r: dict[str, Any]) -> str:
    return f"\n{r['what']}: {r['of']}\n{'T':>9}{'predicted':>14}{'measured':>14}{'ratio':>12}"


def told(r: dict[str, Any]) -> str:
    """A row as a line of the table."""
    predicted = "" if r["predicted"] is None else f"{r['predicted']:.6g}"
    ratio = "" if r["ratio"] is None else f"{r['ratio']:.6f}"
    return f"{r['T']:>9.4f}{predicted:>14}{r['measured']:>14.6g}{ratio:>12}"


def main(options) -> int:
    return report("sampling", options, rows(), draw, told=told, heading=heading)
