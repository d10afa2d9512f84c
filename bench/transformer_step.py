"""A training step of our GPT-2 beside that of `transformers`: the same sizes, dropout and optimizer, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from reference.transformer_training import Recipe, advance, begin, build, windows

ROUNDS = 7
SIZES = (Recipe(), Recipe(L=4, H=4, K=64, T=256, batch=8))
"""The recipe of the long training, and a wider model with longer windows."""


def ours(recipe: Recipe, V: int, ids: torch.Tensor) -> Callable[[], Any]:
    """A step of AdamW, minibatch and clipping included."""
    recipe = recipe._replace(matrix_lr=0.0)
    model = build(recipe, V)
    state = begin(recipe, model)
    return lambda: advance(state, recipe, model, ids)


def theirs(recipe: Recipe, V: int, ids: torch.Tensor) -> Callable[[], Any] | None:
    """The same with GPT2LMHeadModel and torch.optim, as their examples train; None if it is not installed."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ModuleNotFoundError:
        return None
    D, p = recipe.H * recipe.K, recipe.dropout
    config = GPT2Config(vocab_size=V, n_positions=recipe.T, n_embd=D, n_layer=recipe.L, n_head=recipe.H,
                        n_inner=recipe.ratio * D, resid_pdrop=p, embd_pdrop=p, attn_pdrop=p)  # fmt: skip
    network = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.decay)

    def step():
        window = windows(ids, recipe.batch, recipe.T)[:, :-1]
        optimizer.zero_grad()
        network(input_ids=window, labels=window, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()

    return step


def seconds(step: Callable[[], Any]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def beside(V: int) -> Iterator[dict[str, Any]]:
    """The median time of a step, both in turn, after one that warms up."""
    ids = torch.randint(V, (10_000,), generator=torch.Generator().manual_seed(0))
    for recipe in SIZES:
        ways = [ours(recipe, V, ids), theirs(recipe, V, ids)]
        times: list[list[float]] = [[], []]
        for turn in range(ROUNDS + 1):
            for way, found in zip(ways, times, strict=True):
                if way is not None:
                    took = seconds(way)
                    found += [took] if turn else []
        mine = statistics.median(times[0])
        other = statistics.median(times[1]) if times[1] else None
        name = f"L = {recipe.L}, D = {recipe.H * recipe.K}, {recipe.batch} × {recipe.T}"
        yield {"what": "step", "of": name, "measured": mine, "theirs": other, "ratio": mine / other if other else None}
