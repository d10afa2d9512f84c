r"""Recomputation: the nodes of a part keep nothing, and the first that is asked in the backward pass runs it again.

Of the part stay its inputs and the states of the random generators, as with torch.utils.checkpoint. The second run
stops as soon as it has found all that the nodes of the first one would have kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from derivations.eager_products import Products
from derivations.machine import Storage, Tensor


class Region:
    """A part that is run again: what that needs, how much its nodes would keep, and what of it has been found."""

    __slots__ = ("count", "found", "inputs", "next", "part", "states")

    def __init__(self, part: Callable[..., Tensor], inputs: Sequence[Tensor], states: list[Storage]):
        self.part, self.states, self.count, self.next = part, states, 0, 0
        self.inputs = [Tensor(x.storage, x.shape, x.dtype, x.strides, weight="input" if x.edge else None)
                       for x in inputs]  # fmt: skip
        self.found: dict[int, Storage] | None = None


class Enough(Exception):
    """All has been found: the rest of the part need not run."""


class Recomputing(Products):
    """In a region that runs for the first time nodes keep tickets: the region, and a number in it."""

    states: tuple[int, ...] = ()  # bytes of each state of a random generator

    def __init__(self, autocast=False, threads=1):
        super().__init__(autocast, threads)
        self.region: Region | None = None
        self.again: Region | None = None

    @property
    def phase(self):
        return "again" if self.again is not None else super().phase

    def checkpoint(self, part, *inputs):
        """Run a part so that its nodes keep nothing."""
        self.region = Region(part, inputs, self.generators())
        out = part(*inputs)
        self.region = None
        return out

    def generators(self):
        """The states of the random generators, to begin the second run as the first began."""
        return [Storage(self, size, "state of the generator") for size in self.states]

    def pack(self, saved):
        kept = super().pack(saved)
        if self.again is not None:
            self.find(self.again, kept)
        elif self.region is not None:
            region = self.region
            first, region.count = region.count, region.count + len(kept)
            return [(region, number) for number in range(first, region.count)]
        return kept

    def find(self, region: Region, kept: list[Storage]) -> None:
        """Note what the second run of a region keeps. Raises Enough with the last."""
        assert region.found is not None
        for storage in kept:
            region.found[region.next] = storage
            region.next += 1
            if region.next == region.count:
                raise Enough

    def unpack(self, held):
        if not isinstance(held, tuple):
            return held
        region, number = held
        if region.found is None:
            self.rerun(region)
        return region.found.pop(number)

    def rerun(self, region: Region) -> None:
        """Run the part again, with nothing converted yet."""
        where, self.where = self.where, f"{self.where}, recomputed"
        states = self.generators()
        cache, self.cache = self.cache, {}
        region.found, self.again = {}, region
        try:
            region.part(*region.inputs)
        except Enough as stop:
            stop.__traceback__ = None
        self.again, self.cache, self.where = None, cache, where
        del states
