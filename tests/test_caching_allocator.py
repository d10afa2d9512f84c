"""The allocator against recordings of PyTorch's on a GPU, against its rules at their boundaries, and in itself."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derivations.caching_allocator import Allocator, OutOfMemory, driver, replay

KIB, MIB = 1 << 10, 1 << 20
RECORDED = sorted(Path(__file__).parent.glob("data/allocator_*.txt"))


def events(path):
    """(action, fields) of a recording; its head says what they mean."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            action, *fields = line.split()
            yield action, [int(field) if field.isdigit() else field for field in fields]


def marks(path, allocator):
    """(what was measured, what the allocator says) at each mark, while the recording is replayed on it.

    Addresses are only the keys here: the allocator may well have placed the block elsewhere.
    """
    held = {}
    for action, fields in events(path):
        if action == "+":
            address, held[address] = fields[0], fields[1]
            replay([(address, held[address])], allocator)
        elif action == "-":
            replay([(fields[0], -held.pop(fields[0]))], allocator)
        elif action == "reset":
            allocator.reset_peaks()
        elif action == "mark":
            yield fields, [fields[0], *counters(allocator)]


def counters(a):
    return a.allocated, a.peak_allocated, a.requested, a.peak_requested, a.reserved, a.peak_reserved


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_address_and_segment_is_reproduced(path):
    segments = (fields for action, fields in events(path) if action == "segment")
    opened = []

    def place(size):
        address, recorded = next(segments)
        opened.append((recorded, size))
        return address

    allocator, live = Allocator(place=place), {}
    for number, (action, fields) in enumerate(events(path)):
        if action == "segment":
            assert len(opened) == allocator.segments, "each cudaMalloc comes right before the block it is for"
        elif action == "+":
            address, size = fields
            live[address] = allocator.malloc(size)
            assert live[address].address == address, f"event {number}, a request of {size} bytes"
        elif action == "-":
            allocator.free(live.pop(fields[0]))
    assert all(recorded == size for recorded, size in opened)
    assert next(segments, None) is None, "a recorded cudaMalloc was not needed"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_bytes_and_peaks_are_those_measured_though_addresses_are_not_known(path):
    compared = list(marks(path, Allocator()))
    assert len(compared) == 10
    for measured, said in compared:
        assert measured == said


def test_there_are_recordings():
    assert len(RECORDED) == 3


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


@pytest.mark.parametrize(
    "asked, block, segment",
    [
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB - 511, 10 * MIB, 10 * MIB),
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),
        (11 * MIB - 512, 11 * MIB - 512, 12 * MIB),
        # one mebibyte would be left, and that is not more than one: the tail counts as allocated
        (11 * MIB, 12 * MIB, 12 * MIB),
        (13 * MIB + 1, 14 * MIB, 14 * MIB),
        (32 * MIB, 32 * MIB, 32 * MIB),
    ],
)
def test_a_request_alone(asked, block, segment):
    allocator = Allocator()
    assert allocator.malloc(asked).size == block
    assert counters(allocator) == (block, block, asked, asked, segment, segment)
    assert allocator.segments == 1


def test_a_small_block_is_cut_even_if_512_bytes_are_left():
    allocator = Allocator()
    sizes = [allocator.malloc(size).size for size in (MIB, MIB - 512, 512)]
    assert sizes == [MIB, MIB - 512, 512] and allocator.segments == 1
    allocator.malloc(1)
    assert allocator.segments == 2, "the first segment is full"


def test_a_large_block_is_cut_only_if_more_than_one_mebibyte_is_left():
    allocator = Allocator()
    allocator.free(allocator.malloc(5 * MIB))
    whole = allocator.malloc(19 * MIB)
    assert (whole.size, allocator.reserved) == (20 * MIB, 20 * MIB)
    allocator.free(whole)
    assert allocator.malloc(19 * MIB - 1).size == 20 * MIB, "requests are rounded first"
    allocator = Allocator()
    allocator.free(allocator.malloc(5 * MIB))
    assert allocator.malloc(19 * MIB - 512).size == 19 * MIB - 512


@pytest.mark.parametrize("sizes, taken", [((6, 4), 1), ((4, 6), 0), ((4, 4), 0)])
def test_the_smaller_block_is_taken_or_of_two_equal_ones_the_lower(sizes, taken):
    allocator = Allocator()
    left, _, right, _ = (allocator.malloc(size * MIB) for size in (sizes[0], 2, sizes[1], 2))
    addresses = [left.address, right.address]
    allocator.free(right)
    allocator.free(left)
    assert allocator.malloc(3 * MIB).address == addresses[taken]


def test_the_pools_do_not_serve_each_other():
    allocator = Allocator()
    allocator.free(allocator.malloc(512))
    allocator.malloc(MIB + 1)
    assert allocator.reserved == 22 * MIB, "2 MiB of the small pool are free, and not for a large block"
    allocator.malloc(MIB)
    assert allocator.reserved == 22 * MIB
    allocator.malloc(MIB)
    allocator.malloc(1)
    assert allocator.reserved == 24 * MIB, "nor the other way round"


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 1), (1, 0, 2), (0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_free_neighbours_join_on_both_sides(order):
    allocator = Allocator()
    blocks = [allocator.malloc(size) for size in (6 * MIB, 5 * MIB, 4 * MIB)]
    for number in order:
        allocator.free(blocks[number])
    ((size, address, block),) = allocator.cached[0]
    assert (size, address, block.before, block.after) == (20 * MIB, min(b.address for b in blocks), None, None)
    assert allocator.malloc(18 * MIB).address == address and allocator.segments == 1


def test_blocks_apart_do_not_join():
    allocator = Allocator()
    blocks = [allocator.malloc(5 * MIB) for _ in range(4)]
    allocator.free(blocks[0])
    allocator.free(blocks[2])
    allocator.malloc(6 * MIB)
    assert allocator.reserved == 40 * MIB, "10 MiB are free, but never 6 in one piece"


def test_the_cache_is_released_where_the_card_is_full():
    allocator = Allocator(limit=22 * MIB)
    allocator.free(allocator.malloc(5 * MIB))
    allocator.malloc(4 * KIB)
    assert allocator.reserved == 22 * MIB, "that is all there is, and not too much"
    allocator.malloc(19 * MIB)
    assert allocator.segments == 2, "the cache serves it"


def test_a_segment_in_use_is_not_released():
    allocator = Allocator(limit=24 * MIB)
    small = allocator.malloc(4 * KIB)
    allocator.free(allocator.malloc(5 * MIB))
    allocator.malloc(21 * MIB)
    assert (allocator.reserved, allocator.peak_reserved, allocator.segments) == (24 * MIB, 24 * MIB, 3)
    allocator.free(small)
    allocator.malloc(20 * KIB)
    assert allocator.segments == 3, "the segment of 2 MiB was in use, and was kept"


def test_out_of_memory_says_what_was_asked_and_what_is_free():
    allocator = Allocator(limit=30 * MIB)
    head = allocator.malloc(6 * MIB)
    allocator.malloc(5 * MIB)
    allocator.free(head)
    with pytest.raises(OutOfMemory) as error:
        allocator.malloc(15 * MIB + 1)
    numbers = [int(number) for number in re.findall(r"\d+", str(error.value))]
    assert numbers == [16 * MIB, 15 * MIB + 512, 10 * MIB, 30 * MIB, 5 * MIB, 20 * MIB]
    assert (allocator.allocated, allocator.reserved, allocator.segments) == (5 * MIB, 20 * MIB, 1)
    assert [allocator.malloc(size * MIB).size for size in (9, 6)] == [9 * MIB, 6 * MIB], "the cut segment still serves"


def test_segments_lie_in_the_lowest_hole_or_in_a_new_range_below():
    place = driver()
    first = place(48 * MIB)
    assert first % (32 * MIB) == 0
    below = [(place(size * MIB) - first) // MIB for size in (20, 12, 2, 36, 28, 2, 14)]
    assert below == [-32, -12, 48, -96, -60, 50, -128], "the holes left are of 12 MiB"


def test_peaks_start_from_what_is_held_when_they_are_reset():
    allocator = replay([("a", 5 * MIB), ("b", 30 * MIB), ("b", -30 * MIB)])
    assert counters(allocator) == (5 * MIB, 35 * MIB, 5 * MIB, 35 * MIB, 50 * MIB, 50 * MIB)
    allocator.empty_cache()
    allocator.free(allocator.malloc(MIB))
    assert counters(allocator) == (5 * MIB, 35 * MIB, 5 * MIB, 35 * MIB, 22 * MIB, 50 * MIB)
    allocator.reset_peaks()
    assert counters(allocator) == (5 * MIB, 5 * MIB, 5 * MIB, 5 * MIB, 22 * MIB, 22 * MIB)


def test_a_replay_goes_on_where_the_last_one_ended():
    changes = [("a", 700), ("b", 3 * MIB), ("a", -700), ("c", 900), ("b", -3 * MIB), ("a", 512)]
    parts = replay(changes[3:], replay(changes[:3]))
    assert counters(parts) == counters(replay(changes))
    assert {key: block.requested for key, block in parts.live.items()} == {"a": 512, "c": 900}


@pytest.mark.parametrize(
    "changes, message",
    [
        ([("a", 512), ("a", 512)], "expected a new key for a request of 512 bytes, got 'a'"),
        ([("a", -512)], "what 'a' holds, nothing, got 512 bytes"),
        ([("a", 512), ("a", -511)], "what 'a' holds, 512 bytes, got 511 bytes"),
        ([("a", 512), ("a", 0)], "what 'a' holds, 512 bytes, got 0 bytes"),
    ],
)
def test_a_stream_that_no_program_has_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replay(changes)


def test_requests_and_releases_of_nothing_are_refused():
    allocator = Allocator()
    with pytest.raises(ValueError, match="at least one byte"):
        allocator.malloc(0)
    block = allocator.malloc(1)
    allocator.free(block)
    with pytest.raises(ValueError, match="expected a block in use"):
        allocator.free(block)
