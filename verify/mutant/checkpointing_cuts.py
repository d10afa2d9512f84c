"""Mistakes in where to cut a chain, and in what a cutting holds."""

from __future__ import annotations

import torch

from reference.checkpointing import optimal_segments, segment_length, segmented_peak
from verify.mistake import mistake
from verify.mutant.checkpointing import NOWHERE


def insides(starts, inside):
    """What all layers of each segment keep."""
    number = starts.cumsum(0) - 1
    return torch.zeros(int(starts.sum()), dtype=inside.dtype).index_add(0, number, inside)


@mistake("checkpointing.segmented_peak", id="ckpt-inputs-held", seen=NOWHERE, fix="count the inputs so far")
def later_inputs_are_still_held(starts, kept, inside):
    """All inputs and the largest segment: as in the first moment of the backward pass, whichever segment is at work."""
    return kept[starts].sum() + insides(starts, inside).amax()


@mistake("checkpointing.segmented_peak", id="ckpt-own-input", seen=NOWHERE, fix="a segment at work holds its input")
def own_input_is_forgotten(starts, kept, inside):
    """Inputs of the segments before only."""
    before = kept[starts].cumsum(0) - kept[starts]
    return (before + insides(starts, inside)).amax()


@mistake("checkpointing.segmented_peak", id="ckpt-one-layer", seen=NOWHERE, fix="all layers of a segment are held")
def one_layer_at_a_time(starts, kept, inside):
    """A segment's layers are given back one by one as it is run."""
    return (torch.where(starts, kept, 0).cumsum(0) + inside).amax()


@mistake("checkpointing.segmented_peak", id="ckpt-all-inside", seen=NOWHERE, fix="segments are run one after the other")
def all_segments_are_whole_at_once(starts, kept, inside):
    """As without recomputation, and the inputs besides."""
    return kept[starts].sum() + inside.sum()


@mistake("checkpointing.segmented_peak", id="ckpt-first-first", seen=NOWHERE, fix="the last segment is the first back")
def first_segment_goes_back_first(starts, kept, inside):
    """Inputs are given back from the front."""
    inputs = kept[starts]
    return (inputs.flip(0).cumsum(0).flip(0) + insides(starts, inside)).amax()


def fitted(kept, inside, most):
    """Segments that are as long as `most` allows inside."""
    starts, within = torch.zeros(len(kept), dtype=torch.bool), 0
    for i, size in enumerate(inside.tolist()):
        starts[i] = i == 0 or within + size > most
        within = size if starts[i] else within + size
    return starts


@mistake("checkpointing.optimal_segments", id="ckpt-greedy", seen=NOWHERE, fix="search: what is inside may vary")
def filled_up_to_one_size(kept, inside):
    """Segments of at most one size inside, the best such size: later segments could be smaller."""
    sizes = {int(inside[i:j].sum()) for i in range(len(inside)) for j in range(i + 1, len(inside) + 1)}
    cuts = [fitted(kept, inside, most) for most in sizes]
    return min(cuts, key=lambda starts: int(segmented_peak(starts, kept, inside)))


@mistake(
    "checkpointing.optimal_segments", id="ckpt-root", seen=NOWHERE, fix="equal segments are best of equal ones only"
)
def square_root_rule(kept, inside):
    """⌈√n⌉ segments of equal length."""
    return torch.arange(len(kept)) % segment_length(len(kept)) == 0


@mistake("checkpointing.optimal_segments", id="ckpt-each", seen=NOWHERE, fix="inputs take memory as well")
def every_layer_by_itself(kept, inside):
    """As if inputs were nothing."""
    return torch.ones(len(kept), dtype=torch.bool)


@mistake("checkpointing.optimal_segments", id="ckpt-flat", seen=NOWHERE, fix="f(j) is of the layers after the segment")
def inputs_are_nothing(kept, inside):
    """Only what is inside is balanced."""
    return optimal_segments(torch.zeros_like(kept), inside)


@mistake("checkpointing.optimal_segments", id="ckpt-ties", seen=NOWHERE, fix="the earliest of the fewest")
def latest_of_equals(kept, inside):
    """Of cuttings as good and as short the last is taken."""
    best = optimal_segments(kept, inside)
    aim, n = (int(segmented_peak(best, kept, inside)), int(best.sum())), len(kept)
    for number in range(2 ** (n - 1)):
        starts = torch.tensor([True, *(bool(number >> i & 1) for i in range(n - 1))])
        if (int(segmented_peak(starts, kept, inside)), int(starts.sum())) == aim:
            found = starts
    return found
