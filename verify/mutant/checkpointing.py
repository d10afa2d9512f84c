"""Mistakes in recomputing chains; those of blocks and of where to cut are in checkpointing_block.py and _cuts.py."""

from __future__ import annotations

from functools import reduce

import torch

from reference.activations import gelu
from reference.checkpointing import as_before, chain_gradients, generators
from reference.checkpointing_block import DRAWN, drop
from verify.mistake import mistake

NOWHERE = "no public report found"
MASKS = "allenai/OLMo-core PR#828; openai/guided-diffusion #167; pytorch/pytorch #190758"


class Again(torch.autograd.Function):
    """A function run again for its gradients, under what `second` makes of the generator's first state."""

    @staticmethod
    def forward(ctx, function, second, *inputs):
        ctx.function, ctx.second, ctx.states = function, second, generators([])
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx, *dy):
        fresh = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with ctx.second(ctx.states), torch.enable_grad():
            y = ctx.function(*fresh)
        return None, None, *torch.autograd.grad(y, fresh, dy, allow_unused=True)


def right(states):
    """The second run as it should be."""
    return as_before(states, [])


def layered(x, weights, dropout):
    """x ← x + dropout(gelu(x W)) for every weight."""
    return reduce(lambda x, weight: x + drop(gelu(x @ weight), dropout), weights, x)


def differentiated(f, dy, x, w, seed):
    """What the operation returns, of a function of x and w."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        xs = [x.detach().requires_grad_(), w.detach().requires_grad_()]
        y = f(*xs) + 0 * xs[0]
        slopes = torch.autograd.grad(y, xs, dy, materialize_grads=True)
        return y.detach(), *slopes, torch.randint(DRAWN, ())


def again(dy, x, w, every, dropout, seed, second=right, run=layered):
    """The operation, its segments run again in a way of their own."""

    def whole(x, w):
        for segment in w.split(every):
            x = Again.apply(lambda x, segment: run(x, segment, dropout), second, x, segment)
        return x

    return differentiated(whole, dy, x, w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-rng", seen=MASKS, fix="restore the generators' states")
def second_run_draws_another_mask(dy, x, w, every=1, dropout=0.0, seed=0):
    """The generator goes on, and the gradient is that of another function."""
    return again(dy, x, w, every, dropout, seed, lambda states: torch.random.fork_rng(devices=[]))


class Left:
    """The generator's first state, and no way back."""

    def __init__(self, states):
        self.states = states

    def __enter__(self):
        torch.set_rng_state(self.states[0])

    def __exit__(self, *_):
        pass


class Spent(Left):
    """The second run is as it should be, and then its draws are taken from the generator once more."""

    def __enter__(self):
        self.now = torch.get_rng_state()
        super().__enter__()

    def __exit__(self, *_):
        torch.set_rng_state(self.now)
        torch.rand(3)


@mistake("checkpointing.chain_gradients", id="ckpt-rng-left", seen=NOWHERE, fix="put the generators back afterwards")
def generator_is_left_where_the_second_run_ended(dy, x, w, every=1, dropout=0.0, seed=0):
    """The masks of the next step are those of this one."""
    return again(dy, x, w, every, dropout, seed, Left)


@mistake("checkpointing.chain_gradients", id="ckpt-partition-rng", seen="pytorch/pytorch #190717",
         fix="draw each mask once, or from the state of the first run")  # fmt: skip
def generator_is_advanced_twice(dy, x, w, every=1, dropout=0.0, seed=0):
    """Drawing takes place in the backward pass too, so that the run is another one than without recomputation."""
    return again(dy, x, w, every, dropout, seed, Spent)


@mistake("checkpointing.chain_gradients", id="ckpt-eval", seen=NOWHERE, fix="run again in the mode of the first run")
def second_run_does_not_drop(dy, x, w, every=1, dropout=0.0, seed=0):
    """It is taken for inference."""
    first = [True] * -(-len(w) // every)

    def run(x, weights, dropout):
        return layered(x, weights, dropout if first and first.pop() else 0.0)

    return again(dy, x, w, every, dropout, seed, run=run)


@mistake("checkpointing.chain_gradients", id="ckpt-tail", seen=NOWHERE, fix="⌈L/k⌉ segments: the last may be shorter")
def last_layers_are_left_out(dy, x, w, every=1, dropout=0.0, seed=0):
    """⌊L/k⌋ segments of k layers."""

    def whole(x, w):
        return layered(x, w[: len(w) // every * every], dropout)

    return differentiated(whole, dy, x, w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-overlap", seen=NOWHERE, fix="a segment ends before the next begins")
def boundary_layers_run_in_both_segments(dy, x, w, every=1, dropout=0.0, seed=0):
    """The last bound is included."""

    def whole(x, w):
        for start in range(0, len(w), every):
            x = layered(x, w[start : start + every + 1], dropout)
        return x

    return differentiated(whole, dy, x, w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-weights", seen=NOWHERE, fix="weights are inputs, or found by hooks")
def weights_learn_nothing(dy, x, w, every=1, dropout=0.0, seed=0):
    """The function holds its weights, and only its inputs are differentiated."""

    def whole(x, w):
        for segment in w.split(every):
            x = Again.apply(lambda x, segment=segment.detach(): layered(x, segment, dropout), right, x)
        return x

    return differentiated(whole, dy, x, w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-detached", seen=NOWHERE, fix="pass on the gradient of the input")
def gradient_ends_at_the_last_boundary(dy, x, w, every=1, dropout=0.0, seed=0):
    """Inputs of segments are detached, and what comes to them is forgotten."""

    def whole(x, w):
        for segment in w.split(every):
            x = layered(x.detach(), segment, dropout)
        return x

    return differentiated(whole, dy, x, w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-inplace", seen=NOWHERE, fix="leave the kept input as it was")
def input_is_overwritten(dy, x, w, every=1, dropout=0.0, seed=0):
    """The sum is written into the stream: the second run starts from where the first one ended."""

    def whole(x, w):
        for segment in w.split(every):
            kept = x.detach().clone()
            x, ended = Again.apply(lambda x, s: layered(x, s, dropout), right, x, segment), kept
            ended.copy_(x.detach())
            x.grad_fn.saved_tensors[0].data.copy_(ended)
        return x

    return differentiated(whole, dy, x.clone(), w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-same-mask", seen=NOWHERE, fix="segments draw one after the other")
def every_segment_draws_the_same(dy, x, w, every=1, dropout=0.0, seed=0):
    """The state is restored for the first runs too."""

    def whole(x, w):
        states = generators([])
        for segment in w.split(every):
            torch.set_rng_state(states[0])
            x = layered(x, segment, dropout)
        return x

    return differentiated(whole, dy, x, w, seed)


@mistake("checkpointing.chain_gradients", id="ckpt-unseeded", seen=NOWHERE, fix="draw from the seeded generator")
def seed_is_not_used(dy, x, w, every=1, dropout=0.0, seed=0):
    """The first run draws from another generator."""
    other = int(torch.seed() % 2**31)
    return *chain_gradients(dy, x, w, every, dropout, other)[:-1], chain_gradients(dy, x, w, every, dropout, seed)[-1]


@mistake("checkpointing.chain_gradients", id="ckpt-unscaled", seen=NOWHERE, fix="divide what is kept by 1 − p")
def kept_entries_are_not_scaled(dy, x, w, every=1, dropout=0.0, seed=0):
    """The mask is one or zero."""

    def run(x, weights, dropout):
        return reduce(lambda x, u: x + (1 - dropout) * drop(gelu(x @ u), dropout), weights, x)

    return again(dy, x, w, every, dropout, seed, run=run)


@mistake("checkpointing.chain_gradients", id="ckpt-fresh-cotangent", seen=NOWHERE, fix="hand dy to the second run")
def second_run_is_summed(dy, x, w, every=1, dropout=0.0, seed=0):
    """The output is summed, as if dy were ones."""
    return chain_gradients(torch.ones_like(dy), x, w, every, dropout, seed)
