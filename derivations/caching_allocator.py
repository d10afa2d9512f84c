"""How many bytes PyTorch reserves on a CUDA device for a stream of requests: its caching allocator, restated.

A request is served from a block, blocks are cut from segments, and a segment is what `cudaMalloc` returned; so, in
bytes, requested ≤ allocated (whole blocks in use) ≤ reserved (whole segments). What else the process holds on the
device (the CUDA context, NCCL, loaded kernels) is in none of the three. One stream and default settings:
`expandable_segments`, `max_split_size_mb` and `roundup_power2_divisions` are left out, for their rules were not held
against a recording.

Source: PyTorch, c10/cuda/CUDACachingAllocator.cpp and c10/core/AllocatorConfig.h. Recordings it must reproduce, address
by address: tests/test_allocator_recorded.py.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from math import inf

kMinBlockSize = 512  # blocks are multiples of this, and the least a block of the small pool may leave over
kSmallSize = 1 << 20  # up to here a block belongs to the small pool; a large block is cut if it leaves more than this
kSmallBuffer = 2 << 20  # a segment of the small pool
kMinLargeAlloc = 10 << 20  # from here on a request has a segment to itself, as long as it is new
kLargeBuffer = 20 << 20  # a segment which large blocks below kMinLargeAlloc share
kRoundLarge = 2 << 20  # segments above that are multiples of this
DRIVER_RANGE = 32 << 20  # not in c10: the address ranges of the driver are multiples of this


class OutOfMemory(Exception):
    """A segment that does not fit on the card, even after the cache was released."""


@dataclass(slots=True, eq=False)
class Block:
    """A piece of a segment, `requested` bytes of it in use (none: it is free), between its neighbours there."""

    address: int
    size: int
    small: bool
    requested: int = 0
    before: "Block | None" = field(default=None, repr=False)
    after: "Block | None" = field(default=None, repr=False)


def round_size(size):
    """The bytes of a block that serves a request of `size` bytes."""
    return -(-size // kMinBlockSize) * kMinBlockSize


def segment_size(size):
    """The bytes asked of `cudaMalloc` when no free block can serve `size` bytes, a multiple of kMinBlockSize."""
    if size <= kSmallSize:
        return kSmallBuffer
    if size < kMinLargeAlloc:
        return kLargeBuffer
    return -(-size // kRoundLarge) * kRoundLarge


def driver():
    """A `place` for Allocator which puts segments where the CUDA driver was seen to put them; no document says so.

    In the lowest hole that holds the segment, else in a new range of whole DRIVER_RANGEs right below all others.
    Addresses of segments given back are not used again.
    """
    holes: list[tuple[int, int]] = []  # address and bytes
    bottom = 1 << 47

    def place(size):
        nonlocal bottom
        hole = min((hole for hole in holes if hole[1] >= size), default=None)
        if hole:
            holes.remove(hole)
        else:
            room = -(-size // DRIVER_RANGE) * DRIVER_RANGE
            bottom -= room
            hole = (bottom, room)
        address, room = hole
        if room > size:
            holes.append((address + size, room - size))
        return address

    return place


class Allocator:
    """Bytes requested, allocated and reserved, now and at most, and the number of `cudaMalloc`s so far.

    `limit` is what the card has for segments, in bytes. `place(size)` is the address of a new segment. It matters: of
    free blocks of one size the lowest is taken, and which one is taken decides what can be cut and joined later.
    """

    def __init__(self, limit=inf, place=None):
        self.limit, self.place = limit, place or driver()
        self.requested = self.allocated = self.reserved = self.segments = 0
        self.reset_peaks()
        # the free blocks of the large pool and those of the small one, each as (size, address, block), sorted
        self.cached: tuple[list, list] = ([], [])
        self.live = {}  # blocks in use, by the keys of `replay`

    def reset_peaks(self):
        """Let the peaks start from what is held now, as `torch.cuda.reset_peak_memory_stats` does."""
        self.peak_requested, self.peak_allocated, self.peak_reserved = self.requested, self.allocated, self.reserved

    def malloc(self, size):
        """The block that serves a request of `size` bytes; OutOfMemory if there is none."""
        if size < 1:
            raise ValueError(f"expected a request of at least one byte (PyTorch answers others itself), got {size}")
        rounded = round_size(size)
        small = rounded <= kSmallSize
        cached = self.cached[small]
        best = bisect_left(cached, (rounded,))
        block = cached.pop(best)[2] if best < len(cached) else self._segment(rounded, small)
        rest = block.size - rounded
        if rest >= kMinBlockSize if small else rest > kSmallSize:
            tail = Block(block.address + rounded, rest, small, before=block, after=block.after)
            if tail.after:
                tail.after.before = tail
            block.size, block.after = rounded, tail
            insort(cached, (rest, tail.address, tail))
        block.requested = size
        self.requested += size
        self.allocated += block.size
        self.peak_requested = max(self.peak_requested, self.requested)
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def free(self, block):
        """Take a block back: it joins its free neighbours, and the whole is kept for later requests."""
        if not block.requested:
            raise ValueError(f"expected a block in use, got the free one at {block.address}")
        self.requested -= block.requested
        self.allocated -= block.size
        block.requested = 0
        cached = self.cached[block.small]
        before, after = block.before, block.after
        if before and not before.requested:
            del cached[bisect_left(cached, (before.size, before.address))]
            block.address, block.size, block.before = before.address, before.size + block.size, before.before
            if block.before:
                block.before.after = block
        if after and not after.requested:
            del cached[bisect_left(cached, (after.size, after.address))]
            block.size, block.after = block.size + after.size, after.after
            if block.after:
                block.after.before = block
        insort(cached, (block.size, block.address, block))

    def empty_cache(self):
        """Return to the card every segment that is one free block; what is cut stays reserved."""
        for cached in self.cached:
            cut = [entry for entry in cached if entry[2].before or entry[2].after]
            self.reserved -= sum(size for size, *_ in cached) - sum(size for size, *_ in cut)
            cached[:] = cut

    def _segment(self, rounded, small):
        """A new segment as one block; the cache is released first where the card would be too small."""
        size = segment_size(rounded)
        if self.reserved + size > self.limit:
            self.empty_cache()
        if self.reserved + size > self.limit:
            raise OutOfMemory(
                f"a segment of {size} bytes for a block of {rounded} does not fit in the {self.limit - self.reserved} "
                f"that are free of {self.limit}: {self.allocated} are allocated, {self.reserved} reserved"
            )
        self.segments += 1
        self.reserved += size
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return Block(self.place(size), size, small)


def replay(changes, allocator=None):
    """The allocator (a new one unless given) after (key, bytes) in turn: bytes > 0 request, −bytes release that key."""
    allocator = allocator or Allocator()
    live = allocator.live
    for key, size in changes:
        if size > 0:
            if key in live:
                raise ValueError(f"expected a new key for a request of {size} bytes, got {key!r}, which is in use")
            live[key] = allocator.malloc(size)
        else:
            if key not in live or live[key].requested != -size:
                held = f"{live[key].requested} bytes" if key in live else "nothing"
                raise ValueError(f"expected the release of what {key!r} holds, {held}, got {-size} bytes")
            allocator.free(live.pop(key))
    return allocator
