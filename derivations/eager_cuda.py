r"""Rule table cuda-eager, torch 2.11, one GPU of Hopper's generation: what differs from the CPU's.

Numbers stay on the host and kernels convert as they read, so that much scratch is gone; kernels have scratch of their
own instead. Requests are listed here; what the allocator makes of them is derivations.caching_allocator's business.
Sums over long columns follow the launch rule of ATen's reductions, which splits a column between blocks of threads.
"""

from __future__ import annotations

from contextlib import contextmanager
from math import prod

from derivations.eager_cpu import Cpu
from derivations.machine import BYTES, Storage

SORTED_FROM = 3073  # ids; fewer are added into the embedding's gradient without sorting
PROCESSORS, THREADS = 132, 2048  # of an H100 or H200: multiprocessors, threads that each can hold
WORKSPACE, LIGHT_WORKSPACE = 33554432, 1 << 20  # of cuBLAS and cuBLASLt, for each thread that calls them


class Cuda(Cpu):
    table = "cuda-eager, torch 2.11"
    states = ()

    def __init__(self, autocast=False, threads=1):
        super().__init__(autocast, threads)
        self.workspaces: dict = {}

    @contextmanager
    def number(self, dtype):
        yield

    def elsewhere(self, x, dtype):
        return None

    def statistics(self, dtype):
        return "float32"

    def norm_scratch(self, shape):
        pass

    def called(self, library, size):
        """A library takes its workspace when a thread first calls it, and keeps it."""
        key = library, self.engine
        if key not in self.workspaces:
            self.workspaces[key] = Storage(self, size, "workspace")

    def counts_steps(self, way):
        return way == "fused"

    def foreach_count(self):
        return ()

    def multiplied(self, flops, biased=False, what="product"):
        self.count(what, flops)
        self.called("cuBLAS", WORKSPACE)
        if biased:
            self.called("cuBLASLt", LIGHT_WORKSPACE)

    def scale(self, x):
        node = self.node("MulNumber", [x], [], lambda given: [self.like(given[0], "gradient of scaled")])
        return node.of(self.like(x, "scaled"))

    def dropout(self, x, p):
        """One kernel, with a mask of a byte an entry."""
        if not p:
            return x
        mask = self.new(x.shape, "bool", "dropout mask", x.strides)
        out = self.like(x, "dropped out")
        self.node("Dropout", [x], [mask], lambda given: [self.like(given[0], "gradient of dropout")]).of(out)
        del mask
        return out

    def softmax(self, x):
        """In float32 under autocast."""
        exact = self.to(x, "float32") if self.autocast else x

        def backward(given):
            gradient = self.like(given[0], "gradient of softmax")
            self.scratch(gradient.entries * BYTES[gradient.dtype])  # gradient times result
            return [gradient]

        out = self.like(exact, "softmax")
        self.node("softmax", [exact], [out], backward).of(out)
        del exact
        return out

    def summed_rows(self, rows, columns, dtype):
        """Scratch of the sum of every column of a contiguous matrix."""
        self.scratch(*column_sum(rows, columns))

    def embedding_gradient(self, shape, dtype, ids):
        """Many ids are sorted first, and every run of equal ones is summed in parts of ten."""
        n, D = prod(ids), shape[-1]
        if n < SORTED_FROM:
            return self.new(shape, dtype, "gradient of an embedding")

        def index(entries):
            return Storage(self, 8 * entries, "scratch")

        order = [index(n), index(n)]
        positions = index(n)
        self.scratch(sorting_bytes(n))
        del positions
        gradient = self.new(shape, dtype, "gradient of an embedding")
        most = min(n, shape[0])
        order += [index(n), index(1)]
        self.scratch(8 * n, scanning_bytes(n))
        order += [index(most), index(most)]
        self.scratch(scanning_bytes(n))
        order.append(index(1))
        parts = n // 10 + most
        order.append(index(parts))
        self.scratch(4 * parts * -(-D // 32) * 32)
        while order:
            order.pop()
        return gradient

    def attention(self, q, k, v, dropout=0.0):
        """In float32 the memory-efficient kernels, else FlashAttention 2.

        Both add up the queries' gradient in float32, over whole blocks of 128 queries.
        """
        B, H, T, K = q.shape
        G, S, flash = k.shape[1], k.shape[2], q.dtype != "float32"
        kinds, wide = [(x.shape, x.dtype) for x in (q, k, v)], v.shape[-1]
        flops = 2 * B * H * T * S * (K + wide)
        self.count("attention", flops)
        out = self.new((B, H, T, wide), q.dtype, "attention", (T * H * wide, wide, H * wide, 1))
        lse = self.new((B, H, T if flash else -(-T // 32) * 32), "float32", "attention")
        rows, width, narrow = -(-T // 128) * 128, -(-K // 32) * 32, BYTES[q.dtype]
        states = []
        if flash:
            states = [self.new((n,), "int64", "state of the generator") for n in (2, 1)]
            self.scratch(*[16] * bool(dropout))

        def backward(given):
            self.count("attention", 2 * flops)
            self.count("scores again", flops // 2)
            found = [
                self.new(s, t, "gradient of attention", (s[2] * s[1] * s[3], s[3], s[1] * s[3], 1)) for s, t in kinds
            ]
            if flash:
                expanded = [B * S * H * K * narrow] * 2 if G != H else []
                self.scratch(4 * B * H * rows, 4 * B * rows * H * width, *expanded)
            else:
                whole = self.take(4 * B * H * T * K, "scratch")
                sums = self.take(4 * B * H * T, "scratch")
                self.scratch(4 * B * H * T)
                self.give(whole, 4 * B * H * T * K)
                size = 4 * B * H * (rows * width + rows // 16)
                work = self.take(size, "scratch")
                self.give(sums, 4 * B * H * T)
                self.give(work, size)
            return found

        self.node("Attention", [q, k, v], [k, q, v, lse, out, *states], backward).of(out)
        del lse
        while states:
            states.pop(0)
        return out

    def rms_norm(self, x, w):
        shape, dtype, width = x.shape, x.dtype, w.dtype
        out = self.new(shape, dtype, "rms norm")
        root = self.new((*shape[:-1], 1), "float32", "rms norm")

        def backward(given):
            return [self.new(shape, dtype, "gradient of a norm"), self.new(shape[-1:], width, "gradient of a norm")]

        return self.node("RmsNorm", [x, w], [x, w, root], backward).of(out)

    def entering_loss(self, z):
        return z

    def log_softmax(self, z):
        """Autocast leaves the logits in bfloat16, and converts the logarithms for the loss."""
        logs = super().log_softmax(z)
        return self.to(logs, "float32") if self.autocast else logs


def sorting_bytes(n):
    """Scratch of a radix sort of n ids with their places, as seen: both once more, and counts for every 4096 ids."""
    return 16 * n + 1024 * -(-n // 4096) + 16895


def scanning_bytes(n):
    """Scratch of a scan or a selection over n ids, as seen for 4096 to 8192 and for 32768 of them."""
    return 1279 if n <= 8192 else 1791


def column_sum(rows, columns):
    """(partial sums, semaphores) in bytes when the columns of a matrix are split between blocks; () when not.

    Source: setReduceConfig of ATen's Reduce.cuh, for a reduction that does not run along the closest axis, in float32.
    """
    vector = 4 if columns % 4 == 0 else 2 if columns % 2 == 0 else 1
    most, across = 512 // vector, columns // vector
    x, y = (min(1 << (max(n, 1).bit_length() - 1), most) for n in (across, rows))
    width = min(x, 32)
    height = min(y, most // width)
    width = min(x, most // height)
    each = rows
    if each < min(height * 16, 256):
        return ()
    each = -(-rows // height)
    grid = -(-across // width)
    target = PROCESSORS * (THREADS // (width * height))
    if each < 256 or grid > target:
        return ()
    blocks = max(min(-(-target // grid), -(-each // 16)), -(-each // 256))
    return (4 * columns * blocks * width * vector, 4 * grid) if blocks > 1 else ()
