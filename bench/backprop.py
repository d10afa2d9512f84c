"""The gradient's length through depth, predicted and measured: python -m bench backprop [--json] [--svg FILE].

Weights are drawn anew for every layer, independent of the gradient: it is multiplied, on average and squared, by their
variance gain times the mean squared slope. Slopes are those at normal inputs whose variance the same rule predicts
layer by layer; nothing is fitted. The bound is claim backprop.gradient_norm_is_bounded_by_the_product_of_norms with the
largest singular values of the weights drawn. Backward passes are the pairs by hand of reference/backprop_*.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.backprop_costs import costs
from bench.experiment import report
from bench.figures import frame, panels, save, series
from reference.activations import relu, sigmoid
from reference.backprop_layers import linear, linear_backward, residual, residual_backward
from reference.backprop_norms import layer_norm, layer_norm_backward

WIDTH, DEPTH, ROWS, DRAWS, EVERY = 512, 48, 8, 16, 4
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(101)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
NO_BIAS = torch.zeros(WIDTH, dtype=torch.float64)


class Bend(NamedTuple):
    """A function, its slope, and the largest slope."""

    f: Callable[..., Any]
    slope: Callable[..., Any]
    steepest: float


BENDS = {
    "sigmoid": Bend(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), 0.25),
    "tanh": Bend(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2, 1.0),
    "relu": Bend(relu, lambda x: (x > 0).double(), 1.0),
}


def normal_mean(f, variance: float) -> float:
    """The mean of f(x)² for a normal x of this variance and mean zero."""
    if f is relu:
        return variance / 2  # claim activations.relu_halves_second_moment; the quadrature would see the kink
    return float((f(torch.from_numpy(POINTS) * math.sqrt(variance)).double().numpy() ** 2 * WEIGHTS).sum())


def matrix(gain: float, draw) -> torch.Tensor:
    """A square weight with entries of variance gain/width."""
    return torch.randn(WIDTH, WIDTH, generator=draw, dtype=torch.float64) * math.sqrt(gain / WIDTH)


def largest(w: torch.Tensor) -> float:
    """Its largest singular value."""
    return float(torch.linalg.eigvalsh(w @ w.T)[-1].sqrt())


def plain(name: str, gain: float, draw):
    """(forward, backward, bound of the length) of W φ(x)."""
    bend, w = BENDS[name], matrix(gain, draw)

    def forward(x):
        y, cache = linear(bend.f(x), w, NO_BIAS)
        return y, (x, cache)

    def backward(dy, cache):
        return linear_backward(dy, cache[1])[0] * bend.slope(cache[0])

    return forward, backward, lambda: largest(w) * bend.steepest


def plain_rates(name: str, gain: float) -> Iterator[float]:
    """The factor of the squared length, layer by layer from the input."""
    bend, variance = BENDS[name], 1.0
    for _ in range(DEPTH):
        mean_slope = 0.5 if name == "relu" else normal_mean(bend.slope, variance)
        yield gain * mean_slope
        variance = gain * normal_mean(bend.f, variance)


def branch(gain: float, draw):
    """(forward, backward) of W₂ relu(W₁ x), whose variance gain is `gain` in both directions."""
    first, second = matrix(2.0, draw), matrix(gain, draw)

    def forward(x):
        wide, of_first = linear(x, first, NO_BIAS)
        y, of_second = linear(relu(wide), second, NO_BIAS)
        return y, (wide, of_first, of_second)

    def backward(dy, cache):
        wide, of_first, of_second = cache
        dwide = linear_backward(dy, of_second)[0] * (wide > 0)
        return (linear_backward(dwide, of_first)[0],)

    return forward, backward


def standard(x):
    return layer_norm(x, NO_BIAS + 1, NO_BIAS, 0.0)


def skipping(gain: float, draw):
    """x + f(x)."""
    f, f_backward = branch(gain, draw)
    return partial(residual, branch=f), lambda dy, cache: residual_backward(dy, f_backward, cache)[0], None


def pre_norm(gain: float, draw):
    """x + f(norm(x))."""
    f, f_backward = branch(gain, draw)

    def inner(x):
        normal, of_norm = standard(x)
        y, of_f = f(normal)
        return y, (of_norm, of_f)

    def inner_backward(dy, cache):
        return layer_norm_backward(f_backward(dy, cache[1])[0], cache[0])

    return partial(residual, branch=inner), lambda dy, cache: residual_backward(dy, inner_backward, cache)[0], None


def post_norm(gain: float, draw, passed: bool = True):
    """norm(x + f(x)); unless `passed`, backward along the identity path only."""
    f, f_backward = branch(gain, draw)

    def forward(x):
        y, of_f = residual(x, f)
        y, of_norm = standard(y)
        return y, (of_f, of_norm)

    def backward(dy, cache):
        dy = layer_norm_backward(dy, cache[1])[0]
        return residual_backward(dy, f_backward, cache[0])[0] if passed else dy

    return forward, backward, None


def constant_rates(rate: float) -> Iterator[float]:
    yield from [rate] * DEPTH


def pre_norm_rates(gain: float) -> Iterator[float]:
    """1 + g/q: the norm divides by the stream's variance q, to which every branch has added g."""
    for layer in range(DEPTH):
        yield 1 + gain / (1 + gain * layer)


STACKS: dict[str, dict[str, tuple[Callable[..., Any], Callable[[], Iterator[float]]]]] = {
    "plain, variance gain 1": {
        name: (partial(plain, name, 1.0), partial(plain_rates, name, 1.0)) for name in ("sigmoid", "relu", "tanh")
    },
    "plain, larger weights": {
        f"{name}, gain {gain:g}": (partial(plain, name, gain), partial(plain_rates, name, gain))
        for name, gain in (("tanh", 9.0), ("relu", 2.0), ("sigmoid", 16.0))
    },
    "residual": {
        "g = 1": (partial(skipping, 1.0), partial(constant_rates, 2.0)),
        "g = 1/4": (partial(skipping, 0.25), partial(constant_rates, 1.25)),
        f"g = 1/{DEPTH}": (partial(skipping, 1 / DEPTH), partial(constant_rates, 1 + 1 / DEPTH)),
    },
    "residual and normed, g = 1": {
        "pre-norm": (partial(pre_norm, 1.0), partial(pre_norm_rates, 1.0)),
        "post-norm": (partial(post_norm, 1.0), partial(constant_rates, 1.0)),
        "post-norm, identity path": (partial(post_norm, 1.0, passed=False), partial(constant_rates, 0.5)),
    },
}


def lengths(build, draws: int = DRAWS) -> tuple[list[float], list[float]]:
    """(mean squared length, bound of the length) of the gradient after 0, 1, … layers, that at the top one.

    The bound is that of the first draw, and empty where layers have none.
    """
    square, bound = torch.zeros(DEPTH + 1, dtype=torch.float64), [1.0]
    for seed in range(draws):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(ROWS, WIDTH, generator=draw, dtype=torch.float64)
        layers, caches = [build(draw=draw) for _ in range(DEPTH)], []
        for forward, _, _ in layers:
            x, cache = forward(x)
            caches.append(cache)
        g = torch.nn.functional.normalize(torch.randn(ROWS, WIDTH, generator=draw, dtype=torch.float64))
        square[0] += 1 / draws
        for t, ((_, backward, most), cache) in enumerate(zip(reversed(layers), reversed(caches), strict=True), 1):
            g = backward(g, cache)
            square[t] += g.square().sum(-1).mean() / draws
            if most and not seed:
                bound.append(bound[-1] * most())
    return square.tolist(), bound[1:]


def depths(panel: str, name: str) -> Iterator[dict[str, Any]]:
    """The gradient's length against depth, of one stack."""
    build, rates = STACKS[panel][name]
    square, bound = lengths(build)
    predicted = np.cumprod([1.0, *reversed(list(rates()))])
    for t in range(0, DEPTH + 1, EVERY):
        said, seen = math.sqrt(predicted[t]), math.sqrt(square[t])
        found = {"panel": panel, "stack": name, "depth": t, "predicted": said, "measured": seen, "ratio": seen / said}
        yield found | ({"bound": bound[t - 1]} if bound and t else {})


def rows() -> Iterator[dict[str, Any]]:
    """Every stack, then what the pairs cost."""
    for panel, stacks in STACKS.items():
        for name in stacks:
            yield from depths(panel, name)
    yield from costs()


def draw_figure(found: list[dict[str, Any]], path: str) -> None:
    """Lines predicted, dots measured; dashed, a product of norms where it is below one."""
    title = f"The gradient's length below t layers of width {WIDTH}, as a multiple of its length at the top"
    figure, axes = panels(2, title, rows=2)
    for ax, (panel, stacks) in zip(axes, STACKS.items(), strict=True):
        for color, name in enumerate(stacks):
            mine = [r for r in found if r.get("stack") == name and r["panel"] == panel]
            xs, predicted = [r["depth"] for r in mine], [r["predicted"] for r in mine]
            series(ax, xs, [r["measured"] for r in mine], name, predicted=predicted, color=color)
            if mine[-1].get("bound", math.inf) < 1:
                series(ax, xs, None, f"{name}, at most", predicted=[r.get("bound", 1.0) for r in mine], color=color)
                ax.lines[-1].set(linestyle="--", linewidth=0.8)
        frame(ax, "layers from the top", "length of the gradient", title=panel, log="y", xticks=range(0, DEPTH + 1, 12))
    save(figure, path)


def told(row: dict[str, Any]) -> str:
    """A row as a line of the table; of a stack, the last one."""
    if "pair" in row:
        bytes_ = f"cache {row['cache']:>10,} bytes, autograd {row['autograd']:>10,}: {row['bytes']:.2f}"
        return f"{row['pair']:<28}{bytes_}   seconds, by hand over autograd: {row['seconds']:.2f}"
    if row["depth"] < DEPTH:
        return ""
    limit = f"   product of norms {row['bound']:.3g}" if "bound" in row else ""
    seen = f"predicted {row['predicted']:>9.3g}   measured {row['measured']:>9.3g}   ratio {row['ratio']:.3f}"
    return f"{row['panel']:<28}{row['stack']:<26}below {DEPTH} layers: {seen}{limit}"


def main(options) -> int:
    return report("backprop", options, rows(), draw_figure, told=told, heading="",
                  width=WIDTH, depth=DEPTH, inputs=ROWS, networks=DRAWS)  # fmt: skip
