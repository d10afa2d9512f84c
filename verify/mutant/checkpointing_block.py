"""Mistakes in recomputing a transformer block, in part or whole."""

from __future__ import annotations

from unittest.mock import patch

import torch

from reference import checkpointing, checkpointing_block
from reference.checkpointing import block_gradients
from verify.mistake import mistake
from verify.mutant.checkpointing import MASKS, NOWHERE, Again, Left, right

OPERATION = "checkpointing.block_gradients"


def with_other(name, value, *arguments):
    """The operation, with another function in the place of one of ours."""
    with patch.object(checkpointing, name, value):
        return block_gradients(*arguments)


def run_again(second):
    """recomputed, by a function that runs again under another state."""

    def recomputed(function, *inputs):
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        rest = inputs[len(tensors) :]
        return Again.apply(lambda *xs: function(*xs, *rest), second, *tensors)

    return recomputed


@mistake(OPERATION, id="ckpt-rng", seen=MASKS, fix="restore the generators' states")
def attention_is_dropped_anew(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """Selective recomputation draws other weights to drop."""
    if recompute != "selective":
        return block_gradients(dy, x, weights, H, recompute, dropout, seed)
    other = run_again(lambda states: torch.random.fork_rng(devices=[]))
    return with_other("recomputed", other, dy, x, weights, H, recompute, dropout, seed)


@mistake(OPERATION, id="ckpt-rng-left", seen=NOWHERE, fix="put the generators back afterwards")
def generator_is_left_behind(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """Where the second run of attention ended."""
    if recompute != "selective":
        return block_gradients(dy, x, weights, H, recompute, dropout, seed)
    return with_other("recomputed", run_again(Left), dy, x, weights, H, recompute, dropout, seed)


@mistake(OPERATION, id="ckpt-weights", seen=NOWHERE, fix="weights are inputs, or found by hooks")
def weights_of_a_recomputed_block_learn_nothing(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """The block holds its weights, and its input alone is differentiated."""
    y, dx, *slopes, after = block_gradients(dy, x, weights, H, recompute, dropout, seed)
    return y, dx, *(s if recompute != "full" else torch.zeros_like(s) for s in slopes), after


@mistake(OPERATION, id="ckpt-detached", seen=NOWHERE, fix="differentiate queries, keys and values")
def keys_and_values_are_constants(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """Only the first input of the recomputed part gets its gradient."""

    def recomputed(function, q, *others):
        return run_again(right)(
            function, q, *(x.detach() + 0 * x if isinstance(x, torch.Tensor) else x for x in others)
        )

    if recompute != "selective":
        return block_gradients(dy, x, weights, H, recompute, dropout, seed)
    return with_other("recomputed", recomputed, dy, x, weights, H, recompute, dropout, seed)


@mistake(OPERATION, id="ckpt-mask-again", seen=NOWHERE, fix="run again with the arguments of the first run")
def second_run_sees_the_future(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """The causal mask is no tensor of the recomputed part, and is not there when it is run again."""
    runs = [True]

    def mask(T, S, device=None):
        sees = torch.ones(T, S, dtype=torch.bool, device=device)
        return sees.tril() if recompute == "none" or (runs and runs.pop()) else sees

    with patch.object(checkpointing_block, "causal_mask", mask):
        return block_gradients(dy, x, weights, H, recompute, dropout, seed)


@mistake(OPERATION, id="ckpt-eval", seen=NOWHERE, fix="run again in the mode of the first run")
def dropout_is_off_in_the_second_run(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """The whole block is run again as for inference."""
    y, dx, *slopes, after = block_gradients(dy, x, weights, H, recompute, dropout, seed)
    if recompute == "full":
        _, dx, *slopes, _ = block_gradients(dy, x, weights, H, recompute, 0.0, seed)
    return y, dx, *slopes, after


@mistake(OPERATION, id="ckpt-branch", seen=NOWHERE, fix="the part that is run again is the branch, not the sum")
def stream_is_added_twice(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """The part that is recomputed has the residual connection within it, and one is added around it too."""
    y, dx, *slopes, after = block_gradients(dy, x, weights, H, recompute, dropout, seed)
    return (y + x, dx + dy, *slopes, after) if recompute == "full" else (y, dx, *slopes, after)


@mistake(OPERATION, id="ckpt-unseeded", seen=NOWHERE, fix="draw from the seeded generator")
def block_is_not_seeded(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """Masks come from another generator."""
    right, other = (block_gradients(dy, x, weights, H, recompute, dropout, s) for s in (seed, torch.seed() % 2**31))
    return *other[:-1], right[-1]


@mistake(OPERATION, id="ckpt-fresh-cotangent", seen=NOWHERE, fix="hand dy to the second run")
def output_is_summed(dy, x, weights, H, recompute="none", dropout=0.0, seed=0):
    """As if dy were ones, where the block is recomputed."""
    given = torch.ones_like(dy) if recompute == "full" else dy
    return block_gradients(given, x, weights, H, recompute, dropout, seed)
