"""Schedules against what is proved of them, and on a language model: python -m bench schedules [--json] [--svg FILE].

Predicted are the sums of the rates, and what noise leaves on the quadratic x²/2: the floor of a constant rate, 1/t, and
for the other schedules w ← (1 − η)² w + η² step by step. Measured are 20,000 runs with the rates of
reference/schedules.py. The small model of bench/small_model.py is trained by Adam; there nothing is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench import small_model
from bench.experiment import report, row
from reference.schedules import constant, cosine, inverse_square_root, wsd

F64 = torch.float64
TOTAL, WARMUP, DECAY, PEAK = 400, 20, 80, 0.4
MODEL_STEPS, MODEL_WARMUP = 600, 60
PEAKS = (0.001, 0.003, 0.01, 0.03, 0.1)
Schedule = Callable[[Tensor, float], Tensor]


def schedules(total: int, warmup: int, decay: int) -> dict[str, Schedule]:
    """The schedules side by side, from (steps, peak) to rates; the lowest rate is zero."""
    return {
        "constant": lambda t, peak: constant(t, peak=peak, warmup=warmup),
        "1/√t": lambda t, peak: inverse_square_root(t, peak=peak, warmup=warmup),
        "cosine": lambda t, peak: cosine(t, peak=peak, total=total, warmup=warmup),
        "warm-up, stable, decay": lambda t, peak: wsd(t, peak=peak, total=total, decay=decay, warmup=warmup),
    }


def of_sums() -> Iterator[dict[str, Any]]:
    """The sum of all rates over the peak: how many steps at the peak they are worth."""
    t, lowest = torch.arange(1, TOTAL + 1), 0.1
    rise, fall = (WARMUP + 1) / 2, (1 + lowest) / 2
    both_ends = (TOTAL - WARMUP + 1) * fall - 1  # step W is part of the rise
    yield row(
        "sum of rates", "constant", TOTAL, float(constant(t, peak=1.0, warmup=WARMUP).sum()), rise + TOTAL - WARMUP
    )
    rates = cosine(t, peak=1.0, total=TOTAL, warmup=WARMUP, low=lowest)
    yield row("sum of rates", "cosine", TOTAL, float(rates.sum()), rise + both_ends)
    rates = wsd(t, peak=1.0, total=TOTAL, decay=DECAY, warmup=WARMUP, low=lowest)
    stages = rise + TOTAL - WARMUP - DECAY + DECAY * fall - (1 - lowest) / 2  # the last end counts, the first does not
    yield row("sum of rates", "warm-up, stable, decay", TOTAL, float(rates.sum()), stages)


def noisy(rates: Tensor, runs: int = 20000) -> Tensor:
    """The mean square of x after each step x ← x − η(x + ξ), ξ normal with variance 1, from x = 3."""
    draw = torch.Generator().manual_seed(0)
    x, squares = torch.full((runs,), 3.0, dtype=F64), []
    for rate in rates.tolist():
        x = x - rate * (x + torch.randn(runs, generator=draw, dtype=F64))
        squares.append((x**2).mean())
    return torch.stack(squares)


def expected(rates: Tensor) -> Tensor:
    """The same by the recurrence of the mean square."""
    w, squares = 9.0, []
    for rate in rates.tolist():
        w = (1 - rate) ** 2 * w + rate**2
        squares.append(w)
    return torch.tensor(squares, dtype=F64)


def of_floors() -> Iterator[dict[str, Any]]:
    """What is left after long at a constant rate η, and after t steps at the rate 1/t."""
    for rate in (0.5, 0.1, 0.02):
        left = noisy(torch.full((int(15 / rate),), rate))[-1]
        yield row("mean square, constant rate", "descent", rate, float(left), rate / (2 - rate))
    squares = noisy(1 / torch.arange(1, 401))
    for t in (1, 10, 100, 400):
        yield row("mean square, rate 1/t", "descent", t, float(squares[t - 1]), 1 / t)


def of_curves() -> Iterator[dict[str, Any]]:
    """The mean square along the schedules."""
    t = torch.arange(1, TOTAL + 1)
    for name, schedule in schedules(TOTAL, WARMUP, DECAY).items():
        rates = schedule(t, PEAK)
        seen, wanted = noisy(rates), expected(rates)
        for step in sorted({1, 3, 6, *range(10, TOTAL, 15), TOTAL}):
            yield row(
                "mean square", name, step, float(seen[step - 1]), float(wanted[step - 1]), rate=float(rates[step - 1])
            )


def of_model() -> Iterator[dict[str, Any]]:
    """Held-out loss of the small model in nats after 600 steps of Adam, by schedule and peak."""
    t, decay = torch.arange(1, MODEL_STEPS + 1), MODEL_STEPS // 5
    for name, schedule in schedules(MODEL_STEPS, MODEL_WARMUP, decay).items():
        for peak in PEAKS:
            yield row("held-out nats, small model", name, peak, small_model.train("adam", schedule(t, peak))[-1])
    for peak in PEAKS:
        last = small_model.train("adam", constant(t, peak=peak))[-1]
        yield row("held-out nats, small model", "constant, no warm-up", peak, last)


def rows() -> Iterator[dict[str, Any]]:
    """Everything, as it is measured."""
    torch.set_num_threads(1)
    for part in (of_sums, of_floors, of_curves, of_model):
        yield from part()


def draw(found: list[dict[str, Any]], path: str) -> None:
    """The rates, what noise they leave, and what the small model makes of them. Raises OSError."""
    from bench.figures import frame, names, panels, save, series

    figure, (shape, noise, model) = panels(3, "Schedules: lines predicted, dots measured", size=(4.3, 3.4))
    t, marks, last, best = torch.arange(1, TOTAL + 1), [], [], []
    for color, (name, schedule) in enumerate(schedules(TOTAL, WARMUP, DECAY).items()):
        rates = schedule(t, PEAK).tolist()
        series(shape, t.tolist(), None, predicted=rates, color=color)
        marks.append((TOTAL, rates[-1], name, color))
        seen = [r for r in found if r["what"] == "mean square" and r["of"] == name]
        series(noise, [r["at"] for r in seen], [r["measured"] for r in seen], color=color,
               predicted=[r["predicted"] for r in seen])  # fmt: skip
        last.append((seen[-1]["at"], seen[-1]["measured"], name, color))
    for color, name in enumerate(dict.fromkeys(r["of"] for r in found if r["what"].startswith("held-out"))):
        seen = [r for r in found if r["what"].startswith("held-out") and r["of"] == name]
        series(model, [r["at"] for r in seen], [r["measured"] for r in seen], color=color)
        best.append((seen[-1]["at"], seen[-1]["measured"], name, color))
    frame(shape, "step", "rate", title="the rates", zero=True)
    names(shape, marks)
    frame(noise, "step", "mean square of x", title="a noisy quadratic", log="y")
    names(noise, last)
    frame(model, "peak", "held-out nats a character", title="the small model, Adam", log="x")
    names(model, best)
    save(figure, path)


def main(options) -> int:
    return report("schedules", options, rows(), draw)
