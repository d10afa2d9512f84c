r"""Training GPT-2 on characters: windows of a text, gradients of microbatches, clipping, warm-up and cosine, and Muon.

    g = Σ n_k g_k / Σ n_k over the microbatches,   g ← g · min(1, clip/‖g‖)
    matrices of the blocks: momentum, orthogonalized;   all else: AdamW, which decays the two tables only

Everything random in step t is drawn from (seed, t): so a run that was killed and resumed is, bit for bit, the run that
was not. The command line is python -m reference.transformer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.func import functional_call

from reference import expect
from reference.decoder import Decoder, Sizes
from reference.initialization import gpt2_block
from reference.optimizers import adamw_step
from reference.optimizers_gradients import accumulate, clip_by_global_norm
from reference.optimizers_muon import muon_update
from reference.schedules import cosine

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from torch import Tensor

BLOCK = ("qkv", "out", "up", "down")
"""The matrices of a block, in the order of `initialization.gpt2_block`."""


class Recipe(NamedTuple):
    """L, H, K, T of the model, F = `ratio` · D; steps of `batch` windows in `parts` microbatches; see `advance`.

    `lr` is AdamW's largest learning rate, `matrix_lr` Muon's; with `matrix_lr` 0 matrices follow AdamW as well.
    """

    L: int = 5
    H: int = 6
    K: int = 32
    T: int = 128
    ratio: int = 4
    dropout: float = 0.1
    steps: int = 2400
    batch: int = 16
    parts: int = 1
    lr: float = 3e-3
    matrix_lr: float = 1e-2
    warmup: int = 100
    decay: float = 0.1
    clip: float = 1.0
    std: float = 0.05
    without: str = ""
    seed: int = 0


class State(NamedTuple):
    """Steps taken, all parameters in one vector, their first moments (of Muon, the velocities) and second moments."""

    step: int
    x: Tensor
    m: Tensor
    v: Tensor


class Model(NamedTuple):
    """The network, and the name and shape of every parameter in the order of the vector: matrices, tables, vectors."""

    network: Decoder
    shapes: dict[str, torch.Size]
    matrices: int
    tables: int

    def parts(self, x: Float[Tensor, "P"]) -> dict[str, Tensor]:
        """The parameters as views of their one vector."""
        pieces = x.split([shape.numel() for shape in self.shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}


ABSENT = {"": "none", "positions": "positions", "attention": "out", "feed-forward": "down"}
"""What may be left out: the parameters so named begin at zero, and stay there."""


def build(recipe: Recipe, V: int) -> Model:
    """The network of a recipe for V symbols, in training mode. Raises ValueError as `Sizes` does."""
    for name in (*"LHKT", "ratio"):
        expect.natural(name, getattr(recipe, name), 1)
    r, D = recipe, recipe.H * recipe.K
    network = Decoder(Sizes("gpt2", r.L, D, r.H, r.H, r.K, r.ratio * D, V, r.T, dropout=r.dropout))
    named = {name: p.shape for name, p in network.named_parameters()}
    kinds: tuple[dict[str, torch.Size], ...] = ({}, {}, {})
    for name, shape in named.items():
        kinds[2 if len(shape) == 1 else 0 if name.startswith("blocks") else 1][name] = shape
    sizes = [sum(shape.numel() for shape in kind.values()) for kind in kinds]
    return Model(network, kinds[0] | kinds[1] | kinds[2], sizes[0], sizes[0] + sizes[1])


def begin(recipe: Recipe, model: Model, dtype: torch.dtype = torch.float32) -> State:
    """The state before the first step: GPT-2's initialization with deviation `std`, norms the identity, biases zero.

    Raises ValueError unless sizes are natural, rates and deviation numbers from 0, and what is absent is known.
    """
    for name in ("steps", "batch", "parts"):
        expect.natural(name, getattr(recipe, name), 1)
    if recipe.parts > recipe.batch:
        expect.fail("parts", f"at most the {recipe.batch} windows of a step", recipe.parts)
    for name in ("warmup", "seed"):
        expect.natural(name, getattr(recipe, name))
    for name in ("lr", "matrix_lr", "decay", "std"):
        expect.number(name, getattr(recipe, name), 0)
    expect.above("clip", recipe.clip)
    if recipe.without not in ABSENT:
        expect.fail("without", f"one of {', '.join(filter(None, ABSENT))}", repr(recipe.without))
    draw = torch.Generator().manual_seed(recipe.seed)
    start: dict[str, Tensor] = {}
    for i in range(recipe.L):
        names = [f"blocks.{i}.{part}.weight" for part in BLOCK]
        drawn = [torch.randn(model.shapes[name], generator=draw) for name in names]
        start |= zip(names, gpt2_block(drawn, recipe.L, recipe.std), strict=True)
    for name, shape in model.shapes.items():
        if len(shape) == 1:
            start[name] = torch.ones(shape) if "norm" in name and name.endswith("weight") else torch.zeros(shape)
        elif name not in start:
            start[name] = torch.randn(shape, generator=draw) * recipe.std
    x = torch.cat([(start[name] * _kept(name, recipe)).flatten() for name in model.shapes]).to(dtype)
    return State(0, x, torch.zeros_like(x), torch.zeros_like(x))


def _kept(name: str, recipe: Recipe) -> float:
    """0 for the parameters of a part that is absent, else 1."""
    return float(ABSENT[recipe.without] not in name.split("."))


def windows(ids: Int[Tensor, "N"], B: int, T: int) -> Int[Tensor, "B T+1"]:
    """B windows of T + 1 symbols that begin anywhere in a text. Raises ValueError for a text that is too short."""
    n = expect.axes("ids", ids, "N")["N"]
    if n <= T:
        expect.fail("ids", f"more than {T} symbols", n)
    return ids[torch.randint(n - T, (B, 1)) + torch.arange(T + 1)].long()


def loss(model: Model, x: Float[Tensor, "P"], window: Int[Tensor, "B T+1"]) -> Float[Tensor, ""]:
    """The mean surprise, in nats, of the symbols that follow each of the first T of a window."""
    return functional_call(model.network, model.parts(x), (window[:, :-1], window[:, 1:]))


def gradient(model: Model, x: Float[Tensor, "P"], window: Int[Tensor, "B T+1"], parts: int):
    """The gradient of the mean surprise over a minibatch, from those of its microbatches, and that surprise."""
    x = x.detach().requires_grad_()
    found, values, counts = [], [], []
    for some in window.chunk(parts):
        value = loss(model, x, some)
        found.append(torch.autograd.grad(value, x)[0])
        values.append(value.item())
        counts.append(some.shape[0] * (some.shape[1] - 1))
    mean = sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)
    return (found[0] if len(found) == 1 else accumulate(torch.stack(found), torch.tensor(counts))), mean


def rates(t: int, recipe: Recipe) -> tuple[float, float]:
    """AdamW's and Muon's learning rates in step t = 1 … steps: both rise for `warmup` steps and fall to zero."""
    warmup = min(recipe.warmup, recipe.steps - 1)
    part = cosine(torch.tensor(t), peak=1.0, total=recipe.steps, warmup=warmup).item()
    return recipe.lr * part, recipe.matrix_lr * part


def moved(state: State, g: Float[Tensor, "P"], recipe: Recipe, model: Model) -> State:
    """The state after a step along this gradient; queries, keys and values are three matrices to Muon."""
    lr, matrix_lr = rates(state.step + 1, recipe)
    x, m, v = (part.clone() for part in state[1:])
    adam = [(slice(model.matrices, model.tables), recipe.decay), (slice(model.tables, None), 0.0)]
    if recipe.matrix_lr:
        views = [model.parts(part) for part in (x, g, m)]
        for name in list(model.shapes)[: len(BLOCK) * recipe.L]:
            for w, slope, velocity in zip(*(_alone(name, parts[name]) for parts in views), strict=True):
                direction, new = muon_update(slope, velocity)
                velocity.copy_(new)
                w.mul_(1 - matrix_lr * recipe.decay).sub_(direction, alpha=matrix_lr)
    else:
        adam.insert(0, (slice(0, model.matrices), recipe.decay))
    for span, decay in adam:
        step = adamw_step(x[span], g[span], m[span], v[span], t=state.step + 1, lr=lr, beta2=0.99, decay=decay)
        x[span], m[span], v[span] = step
    return State(state.step + 1, x, m, v)


def _alone(name: str, matrix: Tensor) -> tuple[Tensor, ...]:
    """The matrices that act on their own: of a stacked projection, those of queries, keys and values."""
    return matrix.chunk(3) if ".qkv." in name else (matrix,)


def advance(state: State, recipe: Recipe, model: Model, ids: Int[Tensor, "N"]) -> tuple[State, float]:
    """The state after one more step, and the mean surprise of its minibatch in nats, dropout and all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((recipe.seed << 32) + state.step)
        g, nats = gradient(model, state.x, windows(ids, recipe.batch, recipe.T), recipe.parts)
    if recipe.without:
        g = torch.cat([(part * _kept(name, recipe)).flatten() for name, part in model.parts(g).items()])
    (g,) = clip_by_global_norm([g], recipe.clip)
    return moved(state, g, recipe, model), nats


def train(
    ids: Int[Tensor, "N"],
    recipe: Recipe,
    model: Model,
    state: State,
    watch: Callable[[State, float], None] = lambda state, nats: None,
) -> State:
    """The state after all steps of the recipe on a text; `watch` is told every state, and the loss that led there."""
    while state.step < recipe.steps:
        state, nats = advance(state, recipe, model, ids)
        watch(state, nats)
    return state


@torch.no_grad()
def surprise(ids: Int[Tensor, "N"], model: Model, x: Float[Tensor, "P"], step: int | None = None, rows: int = 64):
    """−log of the probability of every symbol of a text after its first, "N-1", in nats and without dropout.

    Each is predicted from at least T − step symbols before it, if there are as many; `step` is T/2 unless given. It is
    what `markov.surprise` is for counts. Raises ValueError for fewer than two symbols, or a step not in 1 … T.
    """
    n, T = expect.axes("ids", ids, "N")["N"], model.network.sizes.S
    step = max(T // 2, 1) if step is None else step
    expect.natural("step", step, 1)
    if step > T or n < 2:
        expect.fail("surprise", f"two symbols or more and a step of at most {T}", f"{n} symbols, step {step}")
    model.network.eval()
    parts = model.parts(x)

    def nats(window):
        z = functional_call(model.network, parts, (window[:, :-1].long(),))
        return torch.nn.functional.cross_entropy(z.mT, window[:, 1:].long(), reduction="none")

    found = [nats(ids[None, : T + 1])[0]]
    starts = range(step, n - 1 - T + step, step)
    whole = [s for s in starts if s + T < n]
    if whole:
        windowed = ids[torch.tensor(whole)[:, None] + torch.arange(T + 1)]
        found += [nats(some)[:, -step:].flatten() for some in windowed.split(rows)]
    if left := n - 1 - sum(len(part) for part in found):
        found.append(nats(ids[None, -T - 1 :])[0, -left:])
    model.network.train()
    return torch.cat(found)


@torch.no_grad()
def generate(
    model: Model, x: Float[Tensor, "P"], prompt: Int[Tensor, "N"], length: int, choose: Callable[[Tensor], Tensor]
) -> Int[Tensor, "M"]:
    """`length` symbols behind a prompt, each chosen from the logits "1 V" after the last T; see `generate.drawn`."""
    expect.natural("length", length)
    model.network.eval()
    text, parts, T = prompt.long(), model.parts(x), model.network.sizes.S
    for _ in range(length):
        z = functional_call(model.network, parts, (text[None, -T:],))[:, -1]
        text = torch.cat([text, choose(z)])
    model.network.train()
    return text[len(prompt) :]
