"""What tests of the allocator read off it."""

KIB, MIB = 1 << 10, 1 << 20


def counters(a):
    return a.allocated, a.peak_allocated, a.requested, a.peak_requested, a.reserved, a.peak_reserved
