"""A language model that trains in a second, for trying optimizers and schedules: three characters predict the next.

    x = C[three characters]     h = tanh(W₁x + b₁)     logits = W₂h + b₂

on the embedded corpus, every tenth topic held out. Batches and starts are drawn by seed, so that runs differ in the
optimizer and in the rates, and in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from reference import corpus, optimizers, optimizers_muon

CONTEXT, WIDTH, HIDDEN, BATCH = 3, 16, 64, 128
MATRICES = (1, 3)
Pair = tuple[Callable[..., Any], Callable[..., Any]]
PAIRS: dict[str, Pair] = {
    "sgd": (lambda x: None, lambda g, state: (g, state)),
    "momentum": (optimizers.momentum_init, partial(optimizers.momentum_update, mu=0.9)),
    "rmsprop": (optimizers.rmsprop_init, partial(optimizers.rmsprop_update, alpha=0.99)),
    "adam": (optimizers.adam_init, partial(optimizers.adam_update, beta2=0.99)),
    "lion": (optimizers.lion_init, optimizers.lion_update),
}
MUON = (optimizers_muon.muon_init, optimizers_muon.muon_update)
NAMES = (*PAIRS, "muon")


@cache
def texts() -> tuple[Tensor, Tensor, int]:
    """Train and held out as ids, and how many symbols there are."""
    train, held_out = corpus.embedded()
    ids = {symbol: i for i, symbol in enumerate(sorted(set(train + held_out)))}
    one, two = (torch.tensor([ids[symbol] for symbol in text]) for text in (train, held_out))
    return one, two, len(ids)


def start(seed: int) -> list[Tensor]:
    """C, W₁, b₁, W₂, b₂: normal with variance 1/fan-in, biases zero."""
    draw, V = torch.Generator().manual_seed(seed), texts()[2]
    sizes = [(V, WIDTH), (HIDDEN, CONTEXT * WIDTH), (HIDDEN,), (V, HIDDEN), (V,)]
    scales = [1.0, (CONTEXT * WIDTH) ** -0.5, 0.0, HIDDEN**-0.5, 0.0]
    return [torch.randn(size, generator=draw) * scale for size, scale in zip(sizes, scales, strict=True)]


def loss(parameters: list[Tensor], ids: Tensor, places: Tensor) -> Tensor:
    """Mean surprise in nats at some places of a text."""
    table, w1, b1, w2, b2 = parameters
    context = ids[places[:, None] + torch.arange(-CONTEXT, 0)]
    hidden = torch.tanh(table[context].flatten(1) @ w1.T + b1)
    return torch.nn.functional.cross_entropy(hidden @ w2.T + b2, ids[places])


def pairs(name: str, parameters: list[Tensor]) -> list[Pair]:
    """The optimizer of every parameter: Muon for the two matrices of the network, Adam for the rest beside it."""
    if name == "muon":
        return [MUON if i in MATRICES else PAIRS["adam"] for i in range(len(parameters))]
    return [PAIRS[name]] * len(parameters)


def train(name: str, rates: Tensor, seed: int = 0) -> list[float]:
    """Loss of every batch, in nats; the last number is the loss held out. Infinite from where it is no number any more.

    Beside Muon, the parameters that are no matrices take a tenth of its rate.
    """
    ids, held_out, _ = texts()
    draw = torch.Generator().manual_seed(seed + 1)
    parameters = [p.requires_grad_() for p in start(seed)]
    chosen = pairs(name, parameters)
    states = [init(p.detach()) for (init, _), p in zip(chosen, parameters, strict=True)]
    losses = []
    for rate in rates.tolist():
        places = torch.randint(CONTEXT, len(ids), (BATCH,), generator=draw)
        batch = loss(parameters, ids, places)
        gradients = torch.autograd.grad(batch, parameters)
        losses.append(batch.item())
        if not math.isfinite(losses[-1]):
            break
        with torch.no_grad():
            for i, ((_, update), p, g) in enumerate(zip(chosen, parameters, gradients, strict=True)):
                direction, states[i] = update(g, states[i])
                p -= (rate / 10 if name == "muon" and i not in MATRICES else rate) * direction
    with torch.no_grad():
        places = torch.arange(CONTEXT, len(held_out), 7)
        last = float(loss(parameters, held_out, places))
    losses += [math.inf] * (len(rates) - len(losses))
    return [*losses, last if math.isfinite(last) else math.inf]
