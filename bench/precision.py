"""Numbers of few bits at work: python -m bench precision [--json] [--svg FILE].

Sums of n uniform numbers in fp32 and dot products with a narrow accumulator, beside the bounds that are proved; a small
language model trained on real text in fp16, with the scale of its loss and without, and with weights in bf16 that have
no master copy, beside fp32; and the magnitudes of its gradients. Predicted shares are those that `monitor` finds in the
gradient of fp32, measured ones those that a backward pass in fp16 has lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from bench.experiment import heading, report, row
from reference import corpus
from reference.markov import encode
from reference.mlp import loss, windows
from reference.mlp_training import Recipe, begin, unpacked
from reference.precision import (
    FORMATS,
    dequantize,
    dot,
    kahan_sum,
    monitor,
    pairwise_sum,
    quantize,
    rounded,
    scale_init,
    scale_update,
    stochastic_round,
)

SIZES = [2**k for k in range(2, 17, 2)]
TERMS = [2**k for k in range(2, 11)]
DRAWS = 16
RECIPE = Recipe(k=8, D=16, F=128, batch=256)
STEPS, LR, INTERVAL, START, EVERY = 600, 0.25, 50, 2.0**20, 25
"""Steps of training, the learning rate of plain descent, the scaler's interval and first scale, steps between dots."""
SCALES = (1.0, 2.0**10, 2.0**16)


def one_by_one(x: torch.Tensor) -> torch.Tensor:
    """A running sum over the last axis, in the dtype of x."""
    total = x[:, 0].clone()
    for term in x.unbind(-1)[1:]:
        total += term
    return total


def sums() -> Iterator[dict[str, Any]]:
    """The worst error of a sum of n numbers in fp32, as a multiple of u Σ|x|, and the bound of it."""
    u = FORMATS["fp32"].roundoff
    for n in SIZES:
        x = torch.rand(DRAWS, n, generator=torch.Generator().manual_seed(n))
        exact = torch.tensor([math.fsum(r) for r in x.double().tolist()], dtype=torch.float64)
        depth = math.ceil(math.log2(n))
        for name, f, k in (
            ("one by one", one_by_one, n - 1),
            ("in pairs", pairwise_sum, depth),
            ("Kahan", kahan_sum, 3),
        ):
            bound = 3.0 if name == "Kahan" else ((1 + u) ** k - 1) / u
            error = ((f(x).double() - exact).abs() / exact).max().item() / u
            yield row("sum, in units of u", name, n, error, bound)


def dots() -> Iterator[dict[str, Any]]:
    """The worst error of a dot product of n numbers of fp16, as a share of Σ|xy|, and the bound of it."""
    for accumulator in ("bf16", "fp16", "fp32"):
        u = FORMATS[accumulator].roundoff
        for n in TERMS:
            draw = torch.Generator().manual_seed(n)
            x, y = (rounded(torch.randn(DRAWS, n, generator=draw, dtype=torch.float64), "fp16") for _ in "xy")
            exact = torch.tensor([math.fsum(r) for r in (x * y).tolist()], dtype=torch.float64)
            error = (dot(x, y, "fp16", accumulator) - exact).abs() / (x * y).abs().sum(-1)
            yield row("dot product", f"fp16 into {accumulator}", n, error.max().item(), (1 + u) ** n - 1)


class Text:
    """The corpus as contexts of a few symbols and what follows, and held-out ones."""

    def __init__(self) -> None:
        seen, held_out = corpus.embedded()
        ids, alphabet = encode(seen + held_out)
        self.V = len(alphabet)
        self.contexts, self.target = windows(ids[: len(seen)].long(), RECIPE.k)
        self.held_out = windows(ids[len(seen) :].long(), RECIPE.k)


def slope(x: torch.Tensor, text: Text, step: int, dtype: torch.dtype, factor: float) -> torch.Tensor:
    """The gradient of `factor` times the loss of a minibatch, all in the dtype."""
    places = torch.randint(len(text.target), (RECIPE.batch,), generator=torch.Generator().manual_seed(step))
    narrow = x.to(dtype).requires_grad_()
    value = loss(text.contexts[places], text.target[places], *unpacked(narrow, RECIPE, text.V))
    return torch.autograd.grad(value * factor, narrow)[0]


def trained(
    text: Text,
    dtype: torch.dtype,
    start: float = 1.0,
    moving: bool = False,
    kept: Callable[..., Any] = lambda x, draw: x,
) -> Iterator[tuple[int, float, torch.Tensor]]:
    """(step, scale before it, parameters) of plain descent; a step that overflows is skipped.

    `kept` is what is kept of the parameters from step to step: a master copy in fp32, or something narrower.
    """
    x, scale, draw = begin(RECIPE, text.V).x, scale_init(start), torch.Generator().manual_seed(0)
    for step in range(STEPS):
        g = slope(x, text, step, dtype, scale.factor)
        overflow = not bool(g.isfinite().all())
        before = scale.factor
        if not overflow:
            x = kept(x - LR * g.float() / before, draw)
        if moving:
            scale = scale_update(scale, overflow, interval=INTERVAL)
        yield step + 1, before, x


def held_out_bits(x: torch.Tensor, text: Text) -> float:
    contexts, target = (part[:8192] for part in text.held_out)
    return loss(contexts, target, *unpacked(x.double(), RECIPE, text.V)).item() / math.log(2)


def training(text: Text) -> Iterator[dict[str, Any]]:
    """Held-out bits a character at the end of each training, beside fp32, and the scale on its way."""
    kinds: dict[str, dict[str, Any]] = {
        "fp32": {"dtype": torch.float32},
        "fp16, scaled": {"dtype": torch.float16, "start": START, "moving": True},
        "fp16, unscaled": {"dtype": torch.float16},
        "bf16": {"dtype": torch.bfloat16},
        "bf16 weights": {"dtype": torch.bfloat16, "kept": lambda x, draw: rounded(x, "bf16")},
        "bf16 weights by lot": {
            "dtype": torch.bfloat16,
            "kept": lambda x, draw: stochastic_round(x, torch.rand(x.shape, generator=draw, dtype=torch.float64)),
        },
    }
    wide = None
    for name, options in kinds.items():
        path: list[tuple[int, float]] = []
        before = x = begin(RECIPE, text.V).x
        for step, factor, after in trained(text, **options):
            if step == 1 or step % EVERY == 0 or path[-1][1] != factor:
                path.append((step, factor))
            x = after
        if "moving" in options:
            for step, factor in path:
                yield row("scale of the loss", name, step, factor)
        bits = held_out_bits(x, text)
        wide = wide or bits
        yield row("held-out bits", name, STEPS, bits, wide)
        moved = (x != (rounded(before, "bf16") if "kept" in options else before)).double().mean().item()
        yield row("share of weights that moved", name, STEPS, moved)


def gradients(text: Text) -> Iterator[dict[str, Any]]:
    """Magnitudes of the gradient in fp32, at the start and at the end, and what fp16 loses of it at some scales."""
    x = begin(RECIPE, text.V).x
    points = {1: x}
    for step, _, x in trained(text, torch.float32):
        if step == STEPS:
            points[step] = x
    for step, at in points.items():
        g = slope(at, text, STEPS, torch.float32, 1.0)
        _, exponents, counts = monitor(g.double(), "fp16")
        for e, count in zip(exponents.tolist(), counts.tolist(), strict=True):
            yield row("gradients of size 2^e", f"step {step}", e, count / int(counts.sum()))
        there = g != 0
        for factor in SCALES:
            lost = monitor(g.double() * factor, "fp16")[0][0].item()
            narrow = slope(at, text, STEPS, torch.float16, factor)
            yield row("share lost by fp16", f"step {step}", factor, (narrow[there] == 0).double().mean().item(), lost)
        whole = torch.nn.functional.pad(g.double(), (0, -len(g) % 128)).view(-1, 128)
        for name in ("e4m3", "e5m2"):
            for block, of in ((None, "one scale"), ((1, 128), "blocks of 128")):
                back = dequantize(*quantize(whole, name, block), block, name)
                share = (back[whole != 0] == 0).double().mean().item()
                error = float((back - whole).norm() / whole.norm())
                yield row("share lost by FP8", f"{name}, {of}", step, share)
                yield row("relative error of FP8", f"{name}, {of}", step, error)


def rows() -> Iterator[dict[str, Any]]:
    """Every measurement, as it is made."""
    yield from sums()
    yield from dots()
    text = Text()
    yield from training(text)
    yield from gradients(text)


def wrong(r: dict[str, Any]) -> bool:
    """An error beyond its bound: a claim, or its code, is wrong."""
    return r["what"] in ("sum, in units of u", "dot product") and r["measured"] > r["predicted"]


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Sums, dot products, the scale, the magnitudes."""
    from bench.figures import INK, frame, names, panels, save, series

    figure, (left, right, below, last) = panels(2, "What few bits lose, and how a scale saves it", rows=2)
    for axes, what, title, unit in (
        (left, "sum, in units of u", "Sums in fp32: error and bound", "in units of u Σ|x|, n terms"),
        (right, "dot product", "Dot products: error and bound", "relative to Σ|xy|, n terms"),
    ):
        ends = []
        kinds = dict.fromkeys(r["of"] for r in found if r["what"] == what)
        for color, name in enumerate(kinds):
            of = [r for r in found if r["what"] == what and r["of"] == name]
            xs, bound = [r["at"] for r in of], [r["predicted"] for r in of]
            series(axes, xs, [r["measured"] or math.nan for r in of], predicted=bound, color=color)
            ends.append((xs[-1], bound[-1], name, color))
        frame(axes, "n", unit, title=title, log="xy")
        names(axes, ends)
    scale = [r for r in found if r["what"] == "scale of the loss"]
    steps = [r["at"] for r in scale]
    below.step(steps, [r["measured"] for r in scale], where="post", lw=1.0, color=INK[0])
    frame(below, "step", f"a factor, doubled after {INTERVAL} steps, halved by an overflow",
          title="The scale of the loss in fp16", log="y", xticks=(0, STEPS // 2, STEPS))  # fmt: skip
    below.set_yscale("log", base=2)
    for color, name in enumerate(dict.fromkeys(r["of"] for r in found if r["what"] == "gradients of size 2^e")):
        of = [r for r in found if r["what"] == "gradients of size 2^e" and r["of"] == name]
        xs, shares = [r["at"] for r in of], [r["measured"] for r in of]
        series(last, xs, shares, color=color)
        last.text(0.72, 0.85 - 0.08 * color, name, transform=last.transAxes, color=INK[color])
    f = FORMATS["fp16"]
    edges = {"zero": f.least / 2, "subnormal": f.least_normal, "overflow": f.largest}
    for name, edge in edges.items():
        last.axvline(math.log2(edge), lw=0.6, color="#3b3b3b")
        last.annotate(name, (math.log2(edge), 1.0), (-3, -2), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="right", va="top", rotation=90)  # fmt: skip
    frame(last, "exponent e", "share of the gradients with 2^e ≤ |g| < 2^(e+1)", title="Gradients, and fp16", zero=True)
    save(figure, path)


def main(options) -> int:
    return report("precision", options, rows(), drawn, heading=heading, wrong=wrong, draws=DRAWS, steps=STEPS,
                  learning_rate=LR, interval=INTERVAL, recipe=RECIPE._asdict())  # fmt: skip
