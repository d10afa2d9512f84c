"""The allocator under random orders: what must hold after every event."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from derivations.caching_allocator import Allocator, OutOfMemory
from tests.allocators import KIB, MIB, counters


def pieces(allocator, live, opened):
    """The blocks of each open segment from left to right; `opened` maps a segment's address to its bytes."""
    blocks = sorted([*live, *(entry[2] for pool in allocator.cached for entry in pool)], key=lambda b: b.address)
    starts = sorted(opened)
    assert all(any(s <= b.address < s + opened[s] for s in starts) for b in blocks), "a block outside the segments"
    tiled = {s: [b for b in blocks if s <= b.address < s + opened[s]] for s in starts}
    return {start: row for start, row in tiled.items() if row}


def sound(allocator, live, opened):
    """What must hold after every event."""
    rows = pieces(allocator, live, opened)
    for start, row in rows.items():
        ends = [start, *(b.address + b.size for b in row)]
        assert ends[:-1] == [b.address for b in row] and ends[-1] == start + opened[start], "blocks tile the segment"
        assert [b.before for b in row] == [None, *row[:-1]] and [b.after for b in row] == [*row[1:], None]
        assert len({b.small for b in row}) == 1, "a segment belongs to one pool"
        assert all(a.requested or b.requested for a, b in pairwise(row)), "free neighbours are joined"
    assert all(0 < b.requested <= b.size and b.size % 512 == 0 for b in live)
    for small, pool in enumerate(allocator.cached):
        assert pool == sorted(pool)
        assert all((size, at) == (b.size, b.address) and b.small == small and not b.requested for size, at, b in pool)
    assert allocator.requested == sum(b.requested for b in live)
    assert allocator.allocated == sum(b.size for b in live)
    assert allocator.reserved == sum(opened[start] for start in rows) >= allocator.allocated
    now, peak = counters(allocator)[::2], counters(allocator)[1::2]
    assert all(a <= b for a, b in zip(now, peak, strict=True))


EDGES = [1, 511, 512, 513, MIB - 512, MIB, MIB + 1, 2 * MIB, 9 * MIB, 10 * MIB - 512, 10 * MIB, 11 * MIB, 19 * MIB]
SIZES = st.one_of(st.sampled_from(EDGES), st.integers(1, 4 * KIB), st.integers(1, 64 * MIB))
ORDERS = st.lists(st.tuples(st.booleans(), SIZES, st.integers(0, 99)), max_size=60)


def perform(orders, allocator, live):
    """Request the size, or release the block with the number, in turn; yields after each."""
    for request, size, number in orders:
        if request or not live:
            live.append(allocator.malloc(size))
        else:
            allocator.free(live.pop(number % len(live)))
        yield


def watched():
    """An allocator, and the bytes of every segment it opened, by address."""
    opened, allocator = {}, Allocator()
    usual = allocator.place

    def place(size):
        address = usual(size)
        assert all(address + size <= start or start + opened[start] <= address for start in opened), "segments overlap"
        opened[address] = size
        return address

    allocator.place = place
    return allocator, opened


@given(ORDERS)
def test_blocks_tile_segments_and_the_counters_are_their_sums(orders):
    (allocator, opened), live = watched(), []
    for _ in perform(orders, allocator, live):
        sound(allocator, live, opened)
    assert allocator.segments == len(opened)
    while live:
        allocator.free(live.pop(len(live) // 2))
        sound(allocator, live, opened)
    assert sorted(at for pool in allocator.cached for _, at, _ in pool) == sorted(opened), "one free block per segment"
    assert allocator.allocated == allocator.requested == 0
    allocator.empty_cache()
    assert allocator.reserved == 0 and allocator.cached == ([], [])


@given(ORDERS, SIZES)
def test_the_smallest_free_block_that_fits_is_taken_and_of_those_the_lowest(orders, size):
    (allocator, _), live = watched(), []
    for _ in perform(orders, allocator, live):
        pass
    rounded, before = -(-size // 512) * 512, allocator.segments
    pool = allocator.cached[rounded <= MIB]
    fitting = min(((b.size, b.address) for _, _, b in pool if b.size >= rounded), default=None)
    block = allocator.malloc(size)
    assert allocator.segments == before + (fitting is None)
    assert fitting is None or block.address == fitting[1]


@given(ORDERS)
def test_the_same_requests_give_the_same_addresses_and_bytes(orders):
    outcomes = []
    for _ in range(2):
        (allocator, _), live = watched(), []
        outcomes.append([([b.address for b in live], counters(allocator)) for _ in perform(orders, allocator, live)])
    assert outcomes[0] == outcomes[1]


@given(ORDERS, st.integers(0, 40))
def test_an_emptied_cache_keeps_what_is_cut_and_nothing_else(orders, pages):
    (allocator, opened), live = watched(), []
    allocator.limit = 2 * MIB * pages
    try:
        for _ in perform(orders, allocator, live):
            assert allocator.reserved <= allocator.limit
    except OutOfMemory:
        sound(allocator, live, opened)
        assert all(b.before or b.after for pool in allocator.cached for _, _, b in pool), "released before giving up"
    in_use = {start for start in opened if any(start <= b.address < start + opened[start] for b in live)}
    allocator.empty_cache()
    sound(allocator, live, opened)
    assert allocator.reserved == sum(opened[start] for start in in_use)
