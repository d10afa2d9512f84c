"""The rules of the allocator at their boundaries."""

import re

import pytest

from derivations.caching_allocator import Allocator, OutOfMemory, driver, replay
from tests.allocators import KIB, MIB, counters


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
