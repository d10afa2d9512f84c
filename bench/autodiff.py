"""What differentiation costs, against what is proved of it: python -m bench autodiff [--json] [--svg FILE].

Operations of a Jacobian in both modes and what a tape keeps are predicted to the number; of function and gradient
together the proved bound is predicted, and the ratio is at most one. Times are compared within this run: forward mode
with reverse mode, and a training step with that of micrograd, which holds every number in an object of its own.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.experiment import report, row
from bench.meter import counted_flops, kept_bytes
from reference.autodiff import gradient, jacobian
from reference.autodiff_linear import reshape, total
from reference.autodiff_rules import exp, log, matmul, mean, mul, relu, tanh
from reference.autodiff_tape import Tape, value_and_gradient

F64 = torch.float64
NUMBERS = 256
"""Inputs times outputs of the functions whose Jacobian is taken."""
WIDTH = 2048
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
ROWS, COLUMNS = 32, 64
WIDTHS = (16, 32, 48)
BATCH, RATE = 32, 1e-5


def layered(n: int, m: int) -> tuple[Callable[[Any], Any], Tensor]:
    """A function of n inputs with m outputs, through one layer, and a point."""
    generator = torch.Generator().manual_seed(0)
    x, w, v = (torch.randn(*s, generator=generator, dtype=F64) / 16 for s in ((n,), (WIDTH, n), (m, WIDTH)))
    return lambda x: reshape(matmul(v, tanh(matmul(w, reshape(x, (-1, 1))))), (-1,)), x


def least_time(f: Callable[[], Any], repeat: int) -> float:
    """Seconds of one call without garbage collection, the least of some: others on the machine only add."""
    f()
    times = []
    for _ in range(repeat):
        gc.collect()
        gc.disable()
        started = time.perf_counter()
        f()
        times.append(time.perf_counter() - started)
        gc.enable()
    return min(times)


def of_jacobians() -> Iterator[dict[str, Any]]:
    """n inputs, 256/n outputs: a run forward takes value and tangent along, a sweep back needs the value once."""
    shapes = [(n, NUMBERS // n) for n in (1, 4, 16, 64, 256)]
    for mode in ("forward", "reverse"):
        for n, m in shapes:
            f, x = layered(n, m)
            vector = 2 * (n * WIDTH + m * WIDTH)
            predicted = 2 * n * vector if mode == "forward" else (1 + m) * vector
            yield row("operations of a Jacobian", mode, n, counted_flops(partial(jacobian, f, x, mode)), predicted)
    for n, m in shapes:
        f, x = layered(n, m)
        forward, reverse = (least_time(partial(jacobian, f, x, mode), 5) for mode in ("forward", "reverse"))
        yield row("time, forward over reverse", "256/n outputs", n, forward / reverse, 2 * n / (1 + m))


class Elements(TorchDispatchMode):
    """Counts operations on single numbers: the entries of results of arithmetic, 2mnk of a product of matrices."""

    FREE = frozenset(
        "view reshape _unsafe_view expand transpose t alias detach neg ones_like ones zeros zeros_like clone "
        "lift_fresh unsqueeze squeeze permute _to_copy as_strided select slice".split()
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.count += 2 * out.numel() * args[0].shape[-1]
        elif name in ("sum", "mean", "amax"):
            self.count += args[0].numel()
        elif name not in self.FREE and isinstance(out, Tensor) and out.is_floating_point():
            self.count += out.numel()
        return out


def of_gradients() -> Iterator[dict[str, Any]]:
    """Operations of function and gradient over those of the function, and the proved bound."""
    x, y = (torch.linspace(1, 2, 1000, dtype=F64), torch.linspace(2, 3, 1000, dtype=F64))
    wide = torch.ones(64, 64, dtype=F64)

    def often(step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def f(x: Any, y: Any) -> Any:
            for _ in range(20):
                x = step(x, y)
            return total(x)

        return f

    programs: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...], int]] = {
        "sums": (often(lambda x, y: x + y), (x, y), 5),
        "products": (often(mul), (x, y), 5),
        "quotients": (often(lambda x, y: x / y), (x, y), 5),
        "tanh": (often(lambda x, y: tanh(x)), (x, y), 5),
        "log(1 + exp)": (often(lambda x, y: log(1 + exp(x))), (x, y), 5),
        "products of matrices": (often(lambda x, y: matmul(x, y) / 64), (wide, wide), 3),
    }
    for name, (f, xs, bound) in programs.items():
        with Elements() as function:
            f(*xs)
        with Elements() as both:
            gradient(f, *xs)
        yield row("operations, with the gradient", name, len(xs), both.count / function.count, bound)


def of_tape() -> Iterator[dict[str, Any]]:
    """Bytes that are allocated while the tape of L layers tanh(xW + b) lives, its input among them."""
    x, w, b = (torch.randn(*s, dtype=F64) / 8 for s in ((ROWS, COLUMNS), (COLUMNS, COLUMNS), (COLUMNS,)))

    def recorded(layers: int) -> Tape:
        tape = Tape()
        weights: Any = tape.write("input", w)
        bias, h = tape.write("input", b), tape.write("input", x.clone())
        for _ in range(layers):
            h = tanh(matmul(h, weights) + bias)
        return tape

    for layers in DEPTHS:
        size = (layers + 1) * ROWS * COLUMNS * x.element_size()
        yield row("bytes kept by a tape", "layers", layers, kept_bytes(partial(recorded, layers)), size)


def micrograd_step(width: int, inputs: list[list[float]], wanted: list[float]) -> tuple[Callable[[], float], Any]:
    """A step of descent of micrograd's own network, as a function that returns the loss; and the network."""
    from micrograd.nn import MLP

    random.seed(1)
    network = MLP(width, [width, width, 1])

    def step() -> float:
        losses = [(network(x) - y) ** 2 for x, y in zip(inputs, wanted, strict=True)]
        loss = sum(losses) * (1 / len(losses))
        network.zero_grad()
        loss.backward()
        for p in network.parameters():
            p.data -= RATE * p.grad
        return loss.data

    return step, network


def our_step(network: Any, x: Tensor, wanted: Tensor) -> Callable[[], float]:
    """The same step on tensors, from the same weights."""
    weights: list[Tensor] = []
    for layer in network.layers:
        neurons = [[w.data for w in neuron.w] for neuron in layer.neurons]
        weights += [torch.tensor(neurons, dtype=F64).T, torch.tensor([n.b.data for n in layer.neurons], dtype=F64)]

    def loss(w1, b1, w2, b2, w3, b3):
        out = relu(relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3
        return mean((reshape(out, (-1,)) - wanted) ** 2)

    def step() -> float:
        nonlocal weights
        value, found = value_and_gradient(loss, *weights)
        weights = [w - RATE * g for w, g in zip(weights, found, strict=True)]
        return float(value)

    return step


def of_micrograd() -> Iterator[dict[str, Any]]:
    """A training step in micrograd over the same step here; both start alike, and the losses have to agree."""
    for width in WIDTHS:
        generator = torch.Generator().manual_seed(width)
        x = torch.randn(BATCH, width, generator=generator, dtype=F64)
        wanted = torch.randn(BATCH, generator=generator, dtype=F64)
        theirs, network = micrograd_step(width, x.tolist(), wanted.tolist())
        ours = our_step(network, x, wanted)
        losses = [(theirs(), ours()) for _ in range(2)]
        if any(abs(a - b) > 1e-9 * abs(a) for a, b in losses):
            raise ValueError(f"losses: expected those of micrograd, received {losses}")
        ratio = least_time(theirs, 3) / least_time(ours, 20)
        yield row("time of a step, micrograd over ours", f"batch {BATCH}", width, ratio)


PARTS = (of_jacobians, of_gradients, of_tape, of_micrograd)


def rows() -> Iterator[dict[str, Any]]:
    """Everything, as it is measured."""
    torch.set_num_threads(1)  # the tensors are small
    for part in PARTS:
        yield from part()


def draw(found: list[dict[str, Any]], path: str) -> None:
    """Four panels: lines predicted, dots measured. Raises OSError where the file cannot be written."""
    from bench.figures import frame, panels, save, series

    def of(what: str, name: str = "") -> list[dict[str, Any]]:
        return [r for r in found if r["what"] == what and name in ("", r["of"])]

    def plot(axes: Any, seen: list[dict[str, Any]], name: str = "", color: int = 0) -> None:
        predicted = None if seen[0]["predicted"] is None else [r["predicted"] for r in seen]
        series(axes, [r["at"] for r in seen], [r["measured"] for r in seen], name, predicted=predicted, color=color)

    figure, axes = panels(2, "Differentiation: lines predicted, dots measured", rows=2)
    inputs = [1, 4, 16, 64, 256]
    for color, mode in enumerate(("forward", "reverse")):
        plot(axes[0], of("operations of a Jacobian", mode), mode, color)
    frame(axes[0], "inputs n", "operations, 256/n outputs", title="a Jacobian", log="xy", xticks=inputs)
    plot(axes[1], of("time, forward over reverse"))
    frame(axes[1], "inputs n", "time, forward over reverse", title="a Jacobian", log="xy", xticks=inputs)
    plot(axes[2], [{**r, **{k: r[k] / 1e6 for k in ("measured", "predicted")}} for r in of("bytes kept by a tape")])
    frame(axes[2], "layers", "megabytes, 32 rows of 64 numbers", title="what a tape keeps", zero=True)
    plot(axes[3], of("time of a step, micrograd over ours"))
    frame(axes[3], "width", "times the time of ours", title="a training step in micrograd", xticks=WIDTHS, zero=True)
    save(figure, path)


def main(options) -> int:
    return report("autodiff", options, rows(), draw)
