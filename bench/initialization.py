"""The size of activations and gradients through depth, by initialization: predicted before, measured after.

python -m bench initialization [--json] [--svg FILE]. A plain stack has L layers of n units, whose weights have variance
gain²/n. Predicted is what the claims say of one layer, under a normal law of what enters the function φ:

    q ← gain² E φ(√q z)²   forward, from E x² = 1,        s ← gain² E φ'(√q z)² s   back, from slopes of size 1

with the exact integral over the standard normal z, as a sum over evenly spaced nodes. Nothing is fitted. Residual
stacks add what residual_scaling_is_one_over_root_two_l says. Last, how deep a plain stack still trains in STEPS steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from bench.experiment import report
from reference.activations import gelu, relu
from reference.initialization import draw, gain
from reference.loss import cross_entropy
from reference.normalization import rms_norm

N, L, ROWS, SEEDS = 512, 32, 16, 16
"""Units of a layer, layers, inputs, and networks: a measured mean square is a mean over all of them."""
DEPTHS, WIDTH, STEPS, EXAMPLES, RATES = (2, 4, 8, 16, 32, 64), 64, 60, 128, (1.0, 0.3, 0.1, 0.03)
"""Of the trainings: depths, units, steps of gradient descent, examples, and rates, of which the best one counts."""


class Stack(NamedTuple):
    """A plain stack by name: its function, the gain of its weights, and how they are called."""

    phi: str
    gain: float
    init: str


PHI: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"tanh": torch.tanh, "relu": relu, "gelu": gelu}
STACKS = (
    Stack("relu", gain("relu"), "He, √2"),
    Stack("relu", 1.0, "LeCun, 1"),
    Stack("tanh", 1.0, "LeCun, 1"),
    Stack("tanh", gain("tanh"), "5/3"),
    Stack("gelu", gain("relu"), "√2"),
    Stack("gelu", 1.5, "1.5"),
)
TRAINED = (
    Stack("relu", gain("relu"), "He"),
    Stack("relu", 1.0, "LeCun"),
    Stack("tanh", gain("tanh"), "5/3"),
    Stack("tanh", 1.0, "LeCun"),
    Stack("relu", 1 / math.sqrt(3), "PyTorch"),
)
RESIDUAL = (2, 8, 32, 128)


def over_the_normal_law(f: Callable[[torch.Tensor], torch.Tensor], variance: float) -> float:
    """E f(y) for y normal: the trapezoidal rule, whose error falls geometrically; no node is at relu's kink at zero."""
    z = (torch.arange(-1200, 1200, dtype=torch.float64) + 0.5) / 100
    weights = torch.exp(-(z**2) / 2)
    return float((f(math.sqrt(variance) * z) * weights).sum() / weights.sum())


def slope(phi: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return torch.func.vmap(torch.func.grad(phi))


def predicted(stack: Stack, layers: int) -> tuple[list[float], list[float]]:
    """Mean squares before φ in layers 1 … L, and of the slopes of a loss there, from slopes of size one behind φ."""
    phi, sizes, factors = PHI[stack.phi], [stack.gain**2], []
    for _ in range(layers):
        sizes.append(stack.gain**2 * over_the_normal_law(lambda y: phi(y) ** 2, sizes[-1]))
        factors.append(over_the_normal_law(lambda y: slope(phi)(y) ** 2, sizes[-2]))
    slopes = [factors[-1]]
    for factor in reversed(factors[:-1]):
        slopes.append(stack.gain**2 * factor * slopes[-1])
    return sizes[:-1], slopes[::-1]


def measured(stack: Stack, layers: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of one network, drawn: means over its units and a few inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, N, generator=generator)
    x = x / x.square().mean().sqrt()
    units = []
    for _ in range(layers):
        weight = draw((N, N), gain=stack.gain, generator=generator)
        units.append((x @ weight.mT).requires_grad_())
        x = PHI[stack.phi](units[-1])
    sizes = torch.stack([h.detach().square().mean() for h in units])
    slopes = torch.autograd.grad(x, units, torch.randn(ROWS, N, generator=generator))
    return sizes, torch.stack([s.square().mean() for s in slopes])


def through_depth(stack: Stack) -> dict[str, Any]:
    """Sizes and slopes of one kind of stack, layer by layer, predicted and averaged over networks."""
    sizes, slopes = predicted(stack, L)
    seen = [measured(stack, L, seed) for seed in range(SEEDS)]
    found: dict[str, Any] = {"what": "plain", **stack._asdict()}
    for side, expected, at, networks in zip(
        ("sizes", "slopes"), (sizes, slopes), (-1, 0), zip(*seen, strict=True), strict=True
    ):
        values = torch.stack(networks).double()
        mean, median = values.mean(0).tolist(), values.quantile(0.5, 0).tolist()
        ratios = {"ratio": mean[at] / expected[at], "median ratio": median[at] / expected[at]}
        found |= {side: {"predicted": expected, "mean": mean, "median": median, **ratios}}
    return found


def residual(scaled: bool, norm: bool, layers: int) -> dict[str, Any]:
    """The stream's mean square after 2L branches W relu(Vx), He's V and LeCun's W: each would add the size it reads."""
    scale = 1 / math.sqrt(2 * layers) if scaled else 1.0
    grown = 1 + 2 * layers * scale**2 if norm else (1 + scale**2) ** (2 * layers)
    seen = []
    for seed in range(SEEDS // 6):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(ROWS, N // 2, generator=generator)
        x = x / x.square().mean().sqrt()
        for _ in range(2 * layers):
            V = draw((N // 2, N // 2), gain=gain("relu"), generator=generator)
            W = draw((N // 2, N // 2), gain=scale, generator=generator)
            x = x + relu((rms_norm(x) if norm else x) @ V.mT) @ W.mT
        seen.append(float(x.square().mean()))
    mean = sum(seen) / len(seen)
    return {"what": "residual", "scaled": scaled, "norm": norm, "L": layers, "predicted": grown, "measured": mean,
            "ratio": mean / grown}  # fmt: skip


def training(stack: Stack, layers: int) -> dict[str, Any]:
    """The loss after STEPS steps of descent, the best of the rates: two arms of a spiral are to be told apart."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(EXAMPLES, generator=generator).sqrt() * 3
    side = torch.arange(EXAMPLES) % 2
    angle = 2 * turn + math.pi * side
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], -1) / 1.5
    shapes = [(WIDTH, 2), *[(WIDTH, WIDTH)] * (layers - 1), (2, WIDTH)]
    best = math.inf
    for rate in RATES:
        numbers = torch.Generator().manual_seed(1)
        weights = [draw(shape, gain=stack.gain, generator=numbers).requires_grad_() for shape in shapes]
        loss = torch.tensor(math.inf)
        for _ in range(STEPS + 1):
            x = points
            for weight in weights[:-1]:
                x = PHI[stack.phi](x @ weight.mT)
            loss = cross_entropy(x @ weights[-1].mT, side)
            if not loss.isfinite():
                break
            for weight, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.data -= rate * g
        best = min(best, loss.nan_to_num(math.inf).item())
    sizes, slopes = predicted(stack, layers)
    return {"what": "training", **stack._asdict(), "L": layers, "loss": best, "size": sizes[-1], "slope": slopes[0]}


def rows() -> Iterator[dict[str, Any]]:
    """Every measurement, as it is made."""
    yield from map(through_depth, STACKS)
    yield from (residual(scaled, norm, layers) for norm, scaled in ((True, True), (True, False), (False, True))
                for layers in RESIDUAL)  # fmt: skip
    yield from (training(stack, layers) for stack in TRAINED for layers in DEPTHS)


def told(row: dict[str, Any]) -> str:
    """A row as a line of the table."""
    if row["what"] == "plain":
        ends = [
            f"{side['predicted'][at]:>10.3g}{side['mean'][at]:>10.3g}{side['ratio']:>10.3f}{side['median ratio']:>8.3f}"
            for side, at in ((row["sizes"], -1), (row["slopes"], 0))
        ]
        return f"{row['phi']:<6}{row['init']:<10}" + "   ".join(ends)
    if row["what"] == "residual":
        kind = f"{'normalized' if row['norm'] else 'plain'} branches, {'1/√2L' if row['scaled'] else 'unscaled'}"
        return f"{kind:<32}L = {row['L']:<5}{row['predicted']:>10.4g}{row['measured']:>10.4g}{row['ratio']:>8.3f}"
    start = f"slope at layer 1 {row['slope']:.1e}"
    return f"{row['phi']:<6}{row['init']:<10}L = {row['L']:<4} loss {row['loss']:.3f} of {math.log(2):.3f}, {start}"


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Four panels: forward, backward, residual streams, training."""
    from bench.figures import frame, names, panels, save, series

    figure, (forward, back, streams, trained) = panels(
        2, "Initialization: predicted and measured through depth", rows=2
    )
    depth, ends = range(1, L + 1), []
    plain = [row for row in found if row["what"] == "plain"]
    for axes, key, title, y in (
        (forward, "sizes", "Forward", "mean square before the function"),
        (back, "slopes", "Backward", "mean square of the gradient"),
    ):
        for color, row in enumerate(plain):
            seen, expected = (row[key][which][:: 1 if key == "sizes" else -1] for which in ("median", "predicted"))
            series(axes, depth, seen, predicted=expected, color=color)
            ends.append((axes, L, seen[-1], f"{row['phi']}, {row['init']}", color))
        frame(axes, "layers passed", y, title=title, log="y", xticks=(1, 8, 16, 24, 32))
    for color, (norm, scaled, name) in enumerate(
        ((True, True, "norm, 1/√2L"), (True, False, "norm, unscaled"), (False, True, "no norm, 1/√2L"))
    ):
        some = [r for r in found if r["what"] == "residual" and (r["norm"], r["scaled"]) == (norm, scaled)]
        seen, expected = ([r[which] for r in some] for which in ("measured", "predicted"))
        series(streams, RESIDUAL, seen, predicted=expected, color=color)
        ends.append((streams, RESIDUAL[-1], seen[-1], name, color))
    frame(streams, "layers", "mean square of the stream", title="Residual", log="xy", xticks=RESIDUAL)
    for color, stack in enumerate(TRAINED):
        some = [r for r in found if r["what"] == "training" and (r["phi"], r["init"]) == (stack.phi, stack.init)]
        series(trained, DEPTHS, [r["loss"] for r in some], color=color)
        ends.append((trained, DEPTHS[-1], some[-1]["loss"], f"{stack.phi}, {stack.init}", color))
    frame(trained, "layers", f"nats after {STEPS} steps", title="Training", log="x", xticks=DEPTHS, zero=True)
    for axes in (forward, back, streams, trained):
        names(axes, [end[1:] for end in ends if end[0] is axes])
    save(figure, path)


def main(options) -> int:
    what = f"predicted, mean of {SEEDS} networks of {N} units, ratio, ratio of the median network"
    heading = f"mean square in layer {L}, and of the slope in layer 1: {what}"
    return report("initialization", options, rows(), drawn, told=told, heading=heading,
                  units=N, layers=L, networks=SEEDS)  # fmt: skip
