r"""Training the neural language model: minibatches, AdamW, warm-up and cosine, from one vector of all parameters.

A state is everything that the next step depends on, so that a run that was killed and resumed is, bit for bit, the run
that was not. The command line is python -m reference.mlp.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect
from reference.markov import bits_per_character, perplexity
from reference.mlp import Mlp, generate, init, loss, shapes, surprise, windows
from reference.optimizers import adamw_step, clip_by_global_norm
from reference.schedules import cosine
from reference.training import command, follow, read, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from torch import Tensor


class Recipe(NamedTuple):
    """What is trained and how: k, D, F, L of the model; steps of `batch` contexts; the rest is said in `advance`."""

    k: int = 8
    D: int = 32
    F: int = 512
    L: int = 1
    direct: bool = False
    steps: int = 20_000
    batch: int = 1024
    lr: float = 4e-3
    warmup: int = 200
    decay: float = 0.01
    clip: float = 1.0
    forget: float = 0.6
    seed: int = 0


class State(NamedTuple):
    """Steps taken, all parameters in one vector, AdamW's two moments, and the state of the generator of minibatches."""

    step: int
    x: Tensor
    m: Tensor
    v: Tensor
    generator: Tensor


def begin(recipe: Recipe, V: int, dtype: torch.dtype = torch.float32) -> State:
    """The state before the first step. Raises ValueError for a recipe that cannot be followed."""
    for name in ("steps", "batch", "warmup"):
        expect.natural(name, getattr(recipe, name), 1)
    for name in ("lr", "decay"):
        expect.number(name, getattr(recipe, name), 0)
    expect.number("forget", recipe.forget, 0, 1)
    expect.natural("seed", recipe.seed)
    expect.number("seed", recipe.seed, 0, 2**63 - 1)
    draw = torch.Generator().manual_seed(recipe.seed)
    model = init(V, recipe.k, recipe.D, recipe.F, recipe.L, recipe.direct, draw, dtype)
    x = torch.cat([part.flatten() for part in model if part is not None])
    return State(0, x, torch.zeros_like(x), torch.zeros_like(x), draw.get_state())


def unpacked(x: Float[Tensor, "P"], recipe: Recipe, V: int) -> Mlp:
    """The parameters as views of their one vector, in the order of `Mlp`."""
    parts = shapes(V, recipe.k, recipe.D, recipe.F, recipe.L, recipe.direct)
    pieces = x.split([math.prod(shape) for shape in parts.values()])
    return Mlp(**{name: p.view(shape) for (name, shape), p in zip(parts.items(), pieces, strict=True)})


def rate(t: int, recipe: Recipe) -> float:
    """The learning rate of step t = 1 … steps: it rises for `warmup` steps, if there are as many, and falls to zero."""
    warmup = min(recipe.warmup, recipe.steps - 1)
    return cosine(torch.tensor(t), peak=recipe.lr, total=recipe.steps, warmup=warmup).item()


def forgotten(tokens: Int[Tensor, "B k"], share: float, draw: torch.Generator) -> Int[Tensor, "B k"]:
    """Contexts of which a share has, before their last m symbols, those of the context before; m is 0 … k − 1.

    So the model learns to predict from shorter contexts as well, which is what smoothing does to n-grams.
    Source: after xie2017noising, §3, where single symbols are replaced.
    """
    B, k = tokens.shape
    m = torch.randint(k, (B, 1), generator=draw)
    lost = (torch.arange(k) < k - m) & (torch.rand(B, 1, generator=draw) < share)
    return torch.where(lost, tokens.roll(1, 0), tokens)


def advance(
    state: State, recipe: Recipe, V: int, contexts: Int[Tensor, "M k"], target: Int[Tensor, "M"]
) -> tuple[State, float]:
    """The state after one more step, and the loss of its minibatch in nats.

    `batch` contexts are drawn with replacement, `forget` of them forget; the gradient is clipped to the norm `clip`,
    and AdamW moves with the learning rate of the schedule, decay `decay`, and β = (0.9, 0.99).
    """
    draw = torch.Generator()
    draw.set_state(state.generator)
    rows = torch.randint(len(target), (recipe.batch,), generator=draw)
    tokens = forgotten(contexts[rows], recipe.forget, draw)
    x = state.x.detach().requires_grad_()
    value = loss(tokens, target[rows], *unpacked(x, recipe, V))
    (g,) = clip_by_global_norm(list(torch.autograd.grad(value, x)), recipe.clip)
    t = state.step + 1
    with torch.no_grad():
        moved = adamw_step(x, g, state.m, state.v, t=t, lr=rate(t, recipe), beta2=0.99, decay=recipe.decay)
    return State(t, *moved, draw.get_state()), value.item()


def train(
    ids: Int[Tensor, "N"],
    V: int,
    recipe: Recipe,
    state: State | None = None,
    watch: Callable[[State, float], None] = lambda state, nats: None,
) -> State:
    """The state after all steps of the recipe on a text, from the given state or from the start.

    `watch` is told every state and the loss of the step that led there. Raises ValueError as `begin` and `windows`.
    """
    state = state or begin(recipe, V)
    contexts, target = windows(ids.long(), recipe.k)
    while state.step < recipe.steps:
        state, nats = advance(state, recipe, V, contexts, target)
        watch(state, nats)
    return state


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options; every one of the recipe has its default there."""
    parser = argparse.ArgumentParser(prog="python -m reference.mlp", description=main.__doc__)
    r = Recipe()
    parser.add_argument("--context", dest="k", type=int, default=r.k, help=f"symbols of context (default {r.k})")
    parser.add_argument("--embedding", dest="D", type=int, default=r.D, help=f"coordinates a symbol (default {r.D})")
    parser.add_argument("--hidden", dest="F", type=int, default=r.F, help=f"units in a hidden layer (default {r.F})")
    parser.add_argument("--layers", dest="L", type=int, default=r.L, help=f"hidden layers (default {r.L})")
    parser.add_argument("--direct", action="store_true", help="connect the embeddings to the output as well")
    parser.add_argument("--steps", type=int, default=r.steps, help=f"of training (default {r.steps})")
    parser.add_argument("--batch", type=int, default=r.batch, help=f"contexts a step (default {r.batch})")
    parser.add_argument("--lr", type=float, default=r.lr, help=f"largest learning rate (default {r.lr:g})")
    parser.add_argument("--forget", type=float, default=r.forget, help=f"share of cut contexts (default {r.forget:g})")
    parser.add_argument("--seed", type=int, default=r.seed)
    parser.add_argument("--corpus", metavar="FILE", help="UTF-8 text (default: the prose of Python's own help)")
    parser.add_argument("--out", metavar="FILE", help="keep the state there while training")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out, if there is one")
    parser.add_argument("--length", type=int, default=300, help="characters to generate (default 300)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the characters generated (default 1)")
    return parser.parse_args(argv)


def run(options: argparse.Namespace, recipe: Recipe) -> None:
    """Train, judge and write."""
    for name, size in {"context": recipe.k, "embedding": recipe.D, "hidden": recipe.F, "layers": recipe.L}.items():
        expect.natural(name, size, 1)
    text = read(options, recipe.k)
    if not 0 < options.temperature < math.inf:
        expect.fail("temperature", "a number above 0", options.temperature)
    V = len(text.alphabet)
    state = follow(options, text, recipe, partial(begin, recipe, V), partial(train, text.here, V, recipe))
    model = unpacked(state.x, recipe, V)
    for name, part in (("train", text.here), ("held out", text.there)):
        logs = -surprise(part, *model).double()
        print(f"{name:<10} perplexity {perplexity(logs):.3f}, {bits_per_character(logs):.3f} bits per character")
    draw = torch.Generator().manual_seed(recipe.seed)
    written(text, generate(model, text.there[: recipe.k], options.length, draw, options.temperature))


def main(argv: list[str] | None = None) -> int:
    """Train on real text and report: python -m reference.mlp --context 8 --hidden 512."""
    options = parse(argv)
    recipe = Recipe(**{name: getattr(options, name) for name in Recipe._fields if hasattr(options, name)})
    return command(options, partial(run, options, recipe))
