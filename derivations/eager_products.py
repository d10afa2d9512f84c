r"""Embeddings and matrix products of eager PyTorch on a CPU: what each saves, allocates and frees.

Under `autocast` matrix products run in bfloat16: an activation is converted for each consumer, a weight once.
`threads` multiplies what kernels allocate for each thread.
"""

from __future__ import annotations

from math import prod

from derivations.eager import Elementwise, alias
from derivations.machine import BYTES, Tensor
from derivations.strides import contiguous


class Products(Elementwise):
    def __init__(self, autocast=False, threads=1):
        super().__init__()
        self.autocast, self.threads, self.cache = autocast, threads, {}

    def operand(self, x):
        """An operand of a product; autocast keeps the converted weights until it ends."""
        if not self.autocast or x is None:
            return x
        if not x.weight:
            return self.to(x, "bfloat16")
        if x.weight not in self.cache:
            self.cache[x.weight] = self.to(x, "bfloat16", "converted weight")
        return self.cache[x.weight]

    def multiplied(self, flops, biased=False, what="product"):
        """A product is counted, and its library may take a workspace."""
        self.count(what, flops)

    def summed_rows(self, rows, columns, dtype):
        """What a kernel takes for the sum of every column."""

    # embeddings

    def ids(self, *shape):
        return Tensor(None, shape, "int64")

    def arange(self, size):
        return self.new((size,), "int64", "positions")

    def embedding(self, ids, w):
        node = self.node("Embedding", [w], [ids], lambda given: [self.embedding_gradient(w.shape, w.dtype, ids.shape)])
        out = self.new((*ids.shape, w.shape[-1]), w.dtype, "embedding")
        self.reads = ids.entries * BYTES[ids.dtype] + out.entries * BYTES[out.dtype]  # not the whole table
        return node.of(out)

    def embedding_gradient(self, shape, dtype, ids):
        return self.new(shape, dtype, "gradient of an embedding")

    # products

    def linear(self, x, w, b=None):
        """x wᵀ + b; w is (out, in)."""
        b, w, given = self.operand(b), self.operand(w), self.operand(x)
        *lead, into = x.shape
        rows, dtype, shape = prod(lead), given.dtype, w.shape

        def transposed():
            node = self.node("T", [w], [], lambda given: [alias(given[0], shape)])
            return node.of(Tensor(w.storage, shape[::-1], dtype, view=True))

        if b is None:  # the views are made in this order, and walked in the opposite one
            turned = transposed()
            flat = self.reshape(given, rows, into)
        else:
            flat = self.reshape(given, rows, into)
            turned = transposed()
        del given

        def of_x():
            if not follows[0]:
                return None
            gradient = self.new((rows, into), dtype, "gradient of a linear input")
            self.multiplied(flops)
            return gradient

        def of_w():
            if not follows[1]:
                return None
            gradient = self.new(shape, dtype, "gradient of a matrix", view=True)
            self.multiplied(flops)
            return gradient

        def without_bias(given):
            of_matrix = of_w()
            return [of_x(), of_matrix]

        def with_bias(given):
            return [alias(given[0]) if follows[2] else None, of_x(), of_w()]

        def fit(gradients):
            if gradients[0] is not None:
                gradients[0] = self.new(shape[:1], dtype, "gradient of a bias")
                self.summed_rows(rows, shape[0], dtype)

        follows = bool(flat.edge), bool(turned.edge), b is not None and bool(b.edge)
        flops, saved = 2 * rows * into * shape[0], [flat] * follows[1] + [turned] * follows[0]
        if b is None:
            node = self.node("Mm", [flat, turned], saved[::-1], without_bias)
        else:
            node = self.node("Addmm", [b, flat, turned], saved, with_bias, fit)
        y = node.of(self.new((rows, shape[0]), dtype, "linear"))
        self.multiplied(flops, b is not None)
        return self.see(y, (*lead, shape[0]), contiguous((*lead, shape[0])), "View")

    def matmul(self, a, b):
        """Batches of matrices B H m k and B H k n."""
        return self.product(self.operand(a), self.operand(b))

    def product(self, a, b):
        """The first two axes are flattened to one; what cannot be viewed so is copied."""
        (B, H, m, k), n, dtype = a.shape, b.shape[-1], a.dtype
        left, right = self.reshape(a, B * H, m, k), self.reshape(b, B * H, k, n)

        flops = 2 * B * H * m * n * k

        def backward(given):
            of_right = self.new((B * H, k, n), dtype, "gradient of a factor")
            self.multiplied(flops, what="attention")
            of_left = self.new((B * H, m, k), dtype, "gradient of a factor")
            self.multiplied(flops, what="attention")
            return [of_left, of_right]

        node = self.node("Bmm", [left, right], [right, left], backward)
        out = node.of(self.new((B * H, m, n), dtype, "matmul"))
        self.multiplied(flops, what="attention")
        del right, left
        return self.see(out, (B, H, m, n), contiguous((B, H, m, n)), "UnsafeView")

    def grouped(self, x, w, experts):
        """Rows times the matrix of their expert; w is (E, out, in)."""
        x, w = self.operand(x), self.operand(w)
        (rows, into), shape, dtype = x.shape, w.shape, x.dtype
        flops = 2 * rows * into * shape[1]
        follows = bool(x.edge), bool(w.edge)

        def backward(given):
            found = [None, None]
            for i, (size, what) in enumerate((((rows, into), "gradient of rows"), (shape, "gradient of a matrix"))):
                if follows[i]:
                    found[i] = self.new(size, dtype, what)
                    self.count("product", flops)
            return found

        node = self.node("Grouped", [x, w], [x] * follows[1] + [w] * follows[0], backward)
        self.reads -= max(experts - rows, 0) * into * shape[1] * BYTES[dtype]  # of experts that nobody takes
        self.count("product", flops)
        return node.of(self.new((rows, shape[1]), dtype, "experts"))
