"""Laws of recomputed chains and blocks, and of where to cut a chain."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import strategies as st

from reference.checkpointing import segment_length, segmented_peak
from reference.checkpointing_block import RECOMPUTE
from verify.backprop_laws import several
from verify.compare import close
from verify.inputs import drawn, tensor
from verify.suite import Operation

CHAINS = [(2, 3, 4), (3, 2, 5), (1, 4, 3), (2, 1, 1)]
"""B, D, L."""
BLOCKS = [(2, 3, 4, 2, 5), (1, 4, 6, 3, 2), (3, 2, 4, 1, 3), (1, 1, 2, 2, 4)]
"""B, T, D, H, F."""
DROPOUT = [0.0, 0.5, 0.2]
WAYS = [*itertools.product(RECOMPUTE[::-1], DROPOUT[::-1])]


@st.composite
def chains(draw):
    """A short chain, cut anywhere, with dropout or without."""
    B, D, L = draw(st.sampled_from(CHAINS))
    return {"dy": draw(tensor(B, D)), "x": draw(tensor(B, D, scale=0.25)), "w": draw(tensor(L, D, D, scale=0.25)),
            "every": draw(st.integers(1, L + 1)), "dropout": draw(st.sampled_from(DROPOUT)),
            "seed": draw(st.integers(0, 2**31))}  # fmt: skip


@st.composite
def blocks(draw):
    """A small block and one of three ways to recompute it."""
    recompute, dropout = draw(st.sampled_from(WAYS))
    B, T, D, H, F = draw(st.sampled_from(BLOCKS))
    shapes = [*[(D, D)] * 4, (F, D), (D, F)]
    return {"dy": draw(tensor(B, T, D)), "x": draw(tensor(B, T, D)), "H": H,
            "weights": [draw(tensor(*shape, scale=0.25)) for shape in shapes],
            "recompute": recompute, "dropout": dropout, "seed": draw(st.integers(0, 2**31))}  # fmt: skip


@st.composite
def sized(draw):
    """Sizes of a short chain, with many equal ones and some of nothing; in bytes, of which 32 bits hold too few."""
    n, high = draw(st.sampled_from([1, 2, 3, 5, 6, 7])), draw(st.sampled_from([2, 9]))
    unit = draw(st.sampled_from([1, 1, 2**30]))
    return {name: draw(drawn(n, low=0, high=high)) * unit for name in ("kept", "inside")}


@st.composite
def cut(draw):
    """The same with places where segments begin."""
    sizes = draw(sized())
    starts = draw(drawn(len(sizes["kept"]), low=0, high=1)).bool()
    starts[0] = True
    return {"starts": starts, **sizes}


def same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs, scale=1)


def draws(seed, count):
    """The numbers that the generator gives after the seed, as whole numbers of 53 bits."""
    return torch.randint(2**53, (count,), generator=torch.Generator().manual_seed(seed))


def cutting_changes_nothing(chain_gradients, dy, x, w, every, dropout, seed):
    """Wherever the chain is cut, all results are the same."""
    whole = chain_gradients(dy, x, w, len(w), dropout, seed)
    for length in range(1, len(w)):
        same(chain_gradients(dy, x, w, length, dropout, seed), whole)


def recomputing_changes_nothing(block_gradients, dy, x, weights, H, recompute, dropout, seed):
    """Recomputed in part, or whole, or not at all, all results are the same."""
    none, *others = (block_gradients(dy, x, weights, H, how, dropout, seed) for how in RECOMPUTE)
    for other in others:
        same(other, none)


def generator_goes_on_as_without(chain_gradients, dy, x, w, every, dropout, seed):
    """The next number is the one after those of the masks, each drawn once."""
    after = chain_gradients(dy, x, w, every, dropout, seed)[-1]
    close(after, draws(seed, (len(w) * x.numel() if dropout else 0) + 1)[-1])


def generator_goes_on_after_a_block(block_gradients, dy, x, weights, H, recompute, dropout, seed):
    """It has given T² numbers for every head and D for every token, twice, and gives the next."""
    B, T, D = x.shape
    after = block_gradients(dy, x, weights, H, recompute, dropout, seed)[-1]
    close(after, draws(seed, (B * H * T * T + 2 * B * T * D if dropout else 0) + 1)[-1])


def seed_decides(f, dy, x, seed, **inputs):
    """Once more from the same seed, everything is the same."""
    same(f(dy=dy, x=x, seed=seed, **inputs), f(dy=dy, x=x, seed=seed, **inputs))


def silent_layers_by_hand(chain_gradients, dy, x, w, every, dropout, seed):
    """With weights of zero nothing moves, and each learns ½ Σ x ⊗ (mask dy), with the mask of the forward pass."""
    y, dx, dw, _ = chain_gradients(dy, x, torch.zeros_like(w), every, dropout, seed)
    close(y, x)
    close(dx, dy)
    L = len(w)
    masks = (draws(seed, L * x.numel()).reshape(L, *x.shape) >= math.ceil(dropout * 2**53)) / (1 - dropout)
    close(dw, x.mT @ (masks * dy) / 2, scale=1)


def silent_branches_pass_all(block_gradients, dy, x, weights, H, recompute, dropout, seed):
    """When both branches end in zeros, input and gradient pass unchanged."""
    q, k, v, out, up, down = weights
    silent = [q, k, v, torch.zeros_like(out), up, torch.zeros_like(down)]
    y, dx, *_ = block_gradients(dy, x, silent, H, recompute, dropout, seed)
    close(y, x)
    close(dx, dy)


def gradients_are_linear(f, dy, x, **inputs):
    """Twice the gradient at the end is twice the gradient everywhere."""
    y, *once, after = f(dy, x, **inputs)
    same(several(f(2 * dy, x, **inputs)), [y, *(2 * g for g in once), after])


def everything_learns(f, dy, x, **inputs):
    """The output moves with all arguments together as their gradients say: Gauss's rule over a short step."""
    names = [name for name in ("w", "weights") if name in inputs]
    short, inner = 2.0**-11, 12**-0.5

    def at(s):
        moved: dict = {n: [u + s for u in inputs[n]] if isinstance(inputs[n], list) else inputs[n] + s for n in names}
        return f(dy, x + s, **{**inputs, **moved})

    slopes = [sum(g.sum() for g in at(short * (0.5 + s))[1:-1]) for s in (-inner, inner)]
    rise = (dy * (at(short)[0] - at(0.0)[0])).sum()
    close(rise, short * (slopes[0] + slopes[1]) / 2, scale=float(dy.abs().sum()) + 1)


def one_segment_holds_all(segmented_peak, starts, kept, inside):
    """Uncut, the first input and everything inside."""
    alone = torch.zeros_like(starts)
    alone[0] = True
    close(segmented_peak(alone, kept, inside), kept[0] + inside.sum())


def single_layers_by_hand(segmented_peak, starts, kept, inside):
    """Inputs 1, 2, 3 and insides 9, 1, 2 in segments of one: 10, 4, 8, of which 10 is the most."""
    sizes = torch.tensor([1, 2, 3]), torch.tensor([9, 1, 2])
    close(segmented_peak(torch.ones(3, dtype=torch.bool), *sizes), 10)
    close(segmented_peak(torch.tensor([True, False, True]), *sizes), 11)


def inputs_add_up(segmented_peak, starts, kept, inside):
    """With nothing inside, what is held are the inputs of all segments."""
    close(segmented_peak(starts, kept, torch.zeros_like(inside)), kept[starts].sum())


def no_cutting_is_better(optimal_segments, kept, inside):
    """Of all cuttings none has a lower peak, and of those as low none has fewer segments."""
    ours = optimal_segments(kept, inside)
    mine = int(segmented_peak(ours, kept, inside)), int(ours.sum())
    for others in itertools.product([False, True], repeat=len(kept) - 1):
        starts = torch.tensor([True, *others])
        assert mine <= (int(segmented_peak(starts, kept, inside)), int(starts.sum())), f"{starts.tolist()} is better"


def equal_layers_by_hand(optimal_segments, kept, inside):
    """Ten layers of one, with inputs of one: segments of 4, 3, 2 and 1."""
    one = torch.ones(10, dtype=torch.int64)
    assert optimal_segments(one, one).nonzero().flatten().tolist() == [0, 4, 7, 9]


def equal_segments_are_no_better(optimal_segments, kept, inside):
    """The square-root rule, in segments of one length, never holds less."""
    every = segment_length(len(kept))
    equal = torch.arange(len(kept)) % every == 0
    assert segmented_peak(optimal_segments(kept, inside), kept, inside) <= segmented_peak(equal, kept, inside)


OPERATIONS = [
    Operation(
        "checkpointing.chain_gradients",
        chains(),
        [cutting_changes_nothing, generator_goes_on_as_without, seed_decides, silent_layers_by_hand,
         gradients_are_linear, everything_learns],
        free=("dy", "x", "w"),
        unit=1,
    ),
    Operation(
        "checkpointing.block_gradients",
        blocks(),
        [recomputing_changes_nothing, generator_goes_on_after_a_block, seed_decides, silent_branches_pass_all,
         gradients_are_linear, everything_learns],
        free=("dy", "x"),
        unit=1,
    ),
    Operation(
        "checkpointing.segmented_peak",
        cut(),
        [one_segment_holds_all, single_layers_by_hand, inputs_add_up],
    ),
    Operation(
        "checkpointing.optimal_segments",
        sized(),
        [no_cutting_is_better, equal_layers_by_hand, equal_segments_are_no_better],
    ),
]  # fmt: skip
