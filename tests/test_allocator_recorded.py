"""The allocator against recordings of PyTorch's on a GPU."""

from pathlib import Path

import pytest

from derivations.caching_allocator import Allocator, replay
from tests.allocators import counters

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
