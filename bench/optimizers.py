"""Optimizers against what is proved of them, and on a language model: python -m bench optimizers [--json] [--svg FILE].

Predicted are the rates of descent and of momentum on a quadratic, the bound 1/2ηt on a convex function, the bias of
Adam's second moment and its noise, the noise of a minibatch, and the longest of Adam's steps; measured is what the
functions of reference/optimizers.py do. A ratio is measured over predicted: one, or for a bound at most one. The sweep
trains the model of bench/small_model.py with every optimizer at eleven learning rates; there nothing is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench import small_model
from bench.experiment import report, row
from reference.optimizers import adam, adam_init, adam_update, momentum_init, momentum_update

F64 = torch.float64
CONDITIONS = (10, 100, 1000)
MOMENT_STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
BETA1, BETA2 = 0.9, 0.999
RATES = tuple(10.0 ** (k / 2) for k in range(-8, 3))
STEPS = 300
TOP = 5.0
"""Nats beyond which a loss is not drawn; guessing among the symbols costs 4.6."""


def walk(curvatures: Tensor, lr: float, mu: float, steps: int) -> Tensor:
    """‖x_t‖ for t = 0 … steps on the quadratic Σ λx²/2, from x = 1."""
    x, v, sizes = torch.ones_like(curvatures), momentum_init(curvatures), []
    for _ in range(steps + 1):
        sizes.append(x.norm())
        direction, v = momentum_update(curvatures * x, v, mu=mu)
        x = x - lr * direction
    return torch.stack(sizes)


def descents(kappa: float) -> dict[str, tuple[float, float, float]]:
    """Step, momentum and proved rate on curvatures 1 … κ; with the step 1/κ the flattest coordinate keeps 1 − 1/κ."""
    root = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    return {
        "descent, η = 1/L": (1 / kappa, 0.0, 1 - 1 / kappa),
        "descent, η = 2/(m + L)": (2 / (1 + kappa), 0.0, (kappa - 1) / (kappa + 1)),
        "momentum, best η and μ": (4 / (1 + math.sqrt(kappa)) ** 2, root**2, root),
    }


def of_quadratics() -> Iterator[dict[str, Any]]:
    """The factor a step, from the sizes at steps t and 2t where they have fallen to about e^(−60) and e^(−120)."""
    for kappa in CONDITIONS:
        curvatures = torch.logspace(0, math.log10(kappa), 50, dtype=F64)
        for name, (lr, mu, rate) in descents(kappa).items():
            t = math.ceil(60 / -math.log(rate))
            sizes = walk(curvatures, lr, mu, 2 * t)
            factor = float(sizes[2 * t] / sizes[t]) ** (1 / t)
            seen = range(0, min(t // 4, 700) + 1, max(1, min(t, 2800) // 64))
            path = [[s, float(sizes[s])] for s in seen] if kappa == 100 else None
            yield row("factor a step, quadratic", name, kappa, factor, rate, path=path)


def of_convex() -> Iterator[dict[str, Any]]:
    """The bound ‖x₀‖²/2ηt, η = 1, on the worst that we know for t steps: x²/2 up to 1/(2t + 1), from there a line."""
    for t in (1, 10, 100, 1000):
        x, bend = 1.0, 1 / (2 * t + 1)
        for _ in range(t):
            x -= min(x, bend)
        yield row("f(x_t) − f*, convex", "descent", t, bend * x - bend**2 / 2, 1 / (2 * t))


def of_moments(coordinates: int = 20000) -> Iterator[dict[str, Any]]:
    """Adam's v and v̂ under normal gradients of mean 1/2 and variance 1: their means, and the variance of v̂."""
    draw = torch.Generator().manual_seed(0)
    state, seen = adam_init(torch.zeros(coordinates, dtype=F64)), []
    square, spread = 1.25, 3.0  # E g² = σ² + μ², and Var g² = 2σ⁴ + 4μ²σ²
    for t in range(1, MOMENT_STEPS[-1] + 1):
        g = 0.5 + torch.randn(coordinates, generator=draw, dtype=F64)
        _, state = adam_update(g, state, beta1=BETA1, beta2=BETA2)
        if t in MOMENT_STEPS:
            seen.append((t, BETA2**t, state.v))
    for t, fading, v in seen:
        yield row("mean of v over E g²", "as it is", t, float(v.mean()) / square, 1 - fading)
    for t, fading, v in seen:
        yield row("mean of v over E g²", "corrected", t, float(v.mean()) / (1 - fading) / square, 1.0)
    for t, fading, v in seen:
        share = (1 - BETA2) * (1 + fading) / ((1 + BETA2) * (1 - fading))
        yield row("variance of v̂ over that of g²", "corrected", t, float((v / (1 - fading)).var()) / spread, share)


def of_batches(draws: int = 20000) -> Iterator[dict[str, Any]]:
    """The variance of a minibatch's mean over that of one example, drawn with replacement from a hundred."""
    draw = torch.Generator().manual_seed(1)
    examples = torch.randn(100, generator=draw, dtype=F64)
    for B in (1, 4, 16, 64, 256):
        means = examples[torch.randint(100, (draws, B), generator=draw)].mean(1)
        share = float(means.var() / examples.var(correction=0))
        yield row("variance of a batch over that of one", "minibatch", B, share, 1 / B)


def of_bound() -> Iterator[dict[str, Any]]:
    """Adam's last step over the rate, under gradients that grow by β₂/β₁ a step, against the proved bound."""
    for T in (2, 10, 100, 1000, 5000):
        growing = (BETA1 / BETA2) ** torch.arange(T - 1, -1, -1, dtype=F64)
        path = adam(torch.zeros(1, dtype=F64), growing[:, None], lr=1.0, beta1=BETA1, beta2=BETA2, eps=0.0)
        ratio = BETA1**2 / BETA2
        lags = (1 - ratio**T) / (1 - ratio)
        bound = (1 - BETA1) / (1 - BETA1**T) * math.sqrt((1 - BETA2**T) / (1 - BETA2) * lags)
        yield row("longest step over the rate", "adam", T, float((path[-2] - path[-1])[0]), bound)


def of_model() -> Iterator[dict[str, Any]]:
    """Held-out loss of the small model in nats after 300 steps, by optimizer and rate."""
    for name in small_model.NAMES:
        for rate in RATES:
            losses = small_model.train(name, torch.full((STEPS,), rate))
            yield row("held-out nats, small model", name, rate, losses[-1])


PARTS: tuple[Callable[[], Iterator[dict[str, Any]]], ...] = (
    of_quadratics,
    of_convex,
    of_moments,
    of_batches,
    of_bound,
    of_model,
)


def rows() -> Iterator[dict[str, Any]]:
    """Everything, as it is measured."""
    torch.set_num_threads(1)  # the tensors are small
    for part in PARTS:
        yield from part()


def draw(found: list[dict[str, Any]], path: str) -> None:
    """Three panels of predictions, then one for every optimizer, the others in grey. Raises OSError."""
    from bench.figures import INK, frame, names, panels, save, series

    def of(what: str, name: str = "") -> list[dict[str, Any]]:
        return [r for r in found if r["what"] == what and name in ("", r["of"])]

    figure, axes = panels(3, "Optimizers: lines predicted, dots measured", rows=3, size=(4.3, 3.0))
    ends = []
    for color, r in enumerate(r for r in of("factor a step, quadratic") if r["path"]):
        steps, sizes = zip(*r["path"], strict=True)
        line = [sizes[-1] * r["predicted"] ** (s - steps[-1]) for s in steps]
        series(axes[0], steps, sizes, predicted=line, color=color)
        ends.append((steps[-1], sizes[-1], r["of"].replace("momentum, best η and μ", "momentum"), color))
    frame(axes[0], "step", "distance to the minimum, and the proved slopes", title="a quadratic, κ = 100", log="y")
    names(axes[0], ends)
    for color, name in enumerate(("as it is", "corrected")):
        seen = of("mean of v over E g²", name)
        series(axes[1], [r["at"] for r in seen], [r["measured"] for r in seen], color=color,
               predicted=[r["predicted"] for r in seen])  # fmt: skip
        axes[1].annotate(name, (1, (0.06, 0.92)[color]), color=INK[color])
    frame(axes[1], "step", "mean of v over E g²", title="Adam's second moment, β₂ = 0.999", log="x",
          xticks=(1, 10, 100, 1000), zero=True)  # fmt: skip
    seen = of("variance of v̂ over that of g²")
    series(axes[2], [r["at"] for r in seen], [r["measured"] for r in seen], color=1,
           predicted=[r["predicted"] for r in seen])  # fmt: skip
    frame(axes[2], "step", "variance of v̂ over that of one g²", title="noise that is left", log="xy",
          xticks=(1, 10, 100, 1000), yticks=(1e-3, 1e-2, 0.1, 1))  # fmt: skip
    sweep = "held-out nats, small model"
    for color, (axis, name) in enumerate(zip(axes[3:], small_model.NAMES, strict=True)):
        for other in small_model.NAMES:
            if other != name:
                axis.plot(*curve(of(sweep, other)), lw=0.6, color="#c8c8c8")
        series(axis, *curve(of(sweep, name)), color=color)
        axis.set_ylim(2.2, TOP)
        frame(axis, "learning rate", "held-out nats", title=name, log="x", xticks=(1e-4, 1e-3, 1e-2, 0.1, 1, 10))
    save(figure, path)


def curve(seen: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Rates and losses as far as they stay in view, and one point at the top where they leave it."""
    worse = [r["measured"] > TOP for r in seen]
    best = min(range(len(seen)), key=lambda k: seen[k]["measured"])
    end = next((k for k in range(best, len(seen)) if worse[k]), len(seen) - 1)
    return [r["at"] for r in seen[: end + 1]], [min(r["measured"], TOP) for r in seen[: end + 1]]


def main(options) -> int:
    return report("optimizers", options, rows(), draw)
