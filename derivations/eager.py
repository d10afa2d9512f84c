r"""Views and elementwise operations of eager PyTorch: what each saves, allocates and frees, on a CPU.

An operation takes and gives tensors of derivations.machine, and does to memory what its namesake does. Read off the
streams of torch 2.13; derivations.eager_cpu goes on with products, norms, attention and loss.
"""

from __future__ import annotations

from contextlib import contextmanager
from math import prod

from derivations.machine import BYTES, Machine, Storage, Tensor
from derivations.strides import contiguous, permuted_like, viewed


def alias(x, shape=None):
    """The same memory as another tensor."""
    return Tensor(x.storage, shape or x.shape, x.dtype, None if shape else x.strides, view=x.view)


class Elementwise(Machine):
    """What most operations are; `dtype` of a result is that of the first operand."""

    @contextmanager
    def number(self, dtype):
        """A Python number that meets a tensor: a double, and its copy in the tensor's dtype."""
        double = Storage(self, 8, "number")
        copy = Storage(self, BYTES[dtype], "number")
        yield
        del copy
        del double

    def like(self, x, what):
        return self.new(x.shape, x.dtype, what, permuted_like([x], x.shape))

    # views

    def see(self, x, shape, strides, name):
        """The same memory as `shape`; its gradient is seen, or copied, as x was."""
        source, out = x.shape, Tensor(x.storage, shape, x.dtype, strides, view=True)
        return self.node(name, [x], [], lambda given: [self._seen(given[0], source)]).of(out)

    def _seen(self, gradient, shape):
        seen = viewed(gradient.shape, gradient.strides, shape)
        if seen is None:
            return self.new(shape, gradient.dtype, "copy of a gradient", view=True)
        return Tensor(gradient.storage, shape, gradient.dtype, seen, view=True)

    def reshape(self, x, *shape):
        """A view where the memory allows it, else a copy."""
        seen = viewed(x.shape, x.strides, shape)
        if seen is not None:
            return self.see(x, shape, seen, "View")
        node = self.node("Clone", [x], [], lambda given: [given[0]])
        copy = node.of(self.new(x.shape, x.dtype, "copy"))
        return self.see(copy, shape, contiguous(shape), "UnsafeView")

    def transpose(self, x, a, b):
        def swapped(t):
            shape, strides = list(t.shape), list(t.strides)
            for values in (shape, strides):
                values[a], values[b] = values[b], values[a]
            return Tensor(t.storage, shape, t.dtype, strides, view=True)

        return self.node("Transpose", [x], [], lambda given: [swapped(given[0])]).of(swapped(x))

    def heads(self, x, n, width):
        """B T (H K) → B H T K."""
        return self.transpose(self.reshape(x, *x.shape[:-1], n, width), 1, 2)

    def split(self, x, *widths):
        """Parts of the last axis; the gradient is put together from theirs."""
        shape, dtype = x.shape, x.dtype
        parts = [Tensor(x.storage, (*shape[:-1], width), dtype, x.strides, view=True) for width in widths]
        node = self.node("Split", [x], [], lambda given: [self.new(shape, dtype, "joined gradients")], None, len(parts))
        return node.of(*parts)

    def split_rows(self, x, size):
        """Parts of so many rows, the last one of what is left."""
        (rows, D), dtype = x.shape, x.dtype
        parts = [
            Tensor(x.storage, (min(size, rows - start), D), dtype, x.strides, view=True)
            for start in range(0, rows, size)
        ]

        def backward(given):
            return [self.new((rows, D), dtype, "joined gradients")]

        return list(self.node("Split", [x], [], backward, None, len(parts)).of(*parts))

    def expand(self, x, n):
        """One head seen as n; the gradient is the sum over them."""
        shape, dtype = x.shape, x.dtype
        out = Tensor(x.storage, (shape[0], n, *shape[2:]), dtype, (x.strides[0], 0, *x.strides[2:]), view=True)
        return self.node("Expand", [x], [], lambda given: [self.new(shape, dtype, "reduced gradient")]).of(out)

    # elementwise

    def to(self, x, dtype, what="converted"):
        if x.dtype == dtype:
            return x
        source, out = x.dtype, self.new(x.shape, dtype, what, permuted_like([x], x.shape))
        return self.node("ToCopy", [x], [], lambda given: [self.converted_back(given[0], source)]).of(out)

    def converted_back(self, gradient, dtype):
        return self.new(gradient.shape, dtype, "converted gradient", permuted_like([gradient], gradient.shape))

    def elsewhere(self, x, dtype):
        """A kernel of the CPU converts an operand of another dtype beforehand."""
        return None if x.dtype == dtype else Storage(self, x.entries * BYTES[dtype], "converted")

    def add(self, a, b):
        dtype = max(a.dtype, b.dtype, key=BYTES.__getitem__)
        kinds, shape = [(x.shape, x.dtype) for x in (a, b)], max(a.shape, b.shape, key=len)

        def fit(gradients):
            for i, (small, own) in enumerate(kinds):
                if len(small) != len(shape) or small != shape:
                    gradients[i] = self.new(small, own, "reduced gradient")
                elif own != dtype:
                    gradients[i] = self.converted_back(gradients[i], own)

        node = self.node("Add", [a, b], [], lambda given: [alias(given[0]), alias(given[0])], fit)
        operands = [self.elsewhere(x, dtype) for x in (a, b)]
        out = node.of(self.new(shape, dtype, "sum", permuted_like([a, b], shape)))
        del operands
        return out

    def mul(self, a, b):
        """The gradient of an operand that is broadcast is a whole product, then summed."""
        shape = max(a.shape, b.shape, key=lambda s: (len(s), prod(s)))
        kinds, dtype = [(x.shape, bool(x.edge)) for x in (a, b)], a.dtype

        def backward(given):
            strides = permuted_like(given, shape)
            return [self.new(shape, dtype, "gradient of a product", strides) if wanted else None for _, wanted in kinds]

        def fit(gradients):
            for i, (small, wanted) in enumerate(kinds):
                if wanted and (len(small) != len(shape) or small != shape):
                    gradients[i] = self.new(small, dtype, "reduced gradient")

        node = self.node("Mul", [a, b], [x for x, other in ((b, a), (a, b)) if other.edge], backward, fit)
        return node.of(self.new(shape, dtype, "product", permuted_like([a, b], shape)))

    def scale(self, x):
        """Times a Python number, which the node keeps, and which does not pass through a checkpoint's hooks."""
        dtype = x.dtype

        def backward(given):
            copy = Storage(self, BYTES[dtype], "number")
            gradient = self.like(given[0], "gradient of scaled")
            del copy
            return [gradient]

        double = Storage(self, 8, "number")
        node = self.node("MulNumber", [x], [], backward)
        node.saved = [double]
        copy = Storage(self, BYTES[dtype], "number")
        out = node.of(self.like(x, "scaled"))
        del copy
        return out

    def unary(self, x, name):
        """An activation whose gradient needs its input."""
        node = self.node(name, [x], [x], lambda given: [self.like(given[0], f"gradient of {name}")])
        return node.of(self.like(x, name))

    def softmax(self, x):
        out = self.like(x, "softmax")
        return self.node("softmax", [x], [out], lambda given: [self.like(given[0], "gradient of softmax")]).of(out)

    def negate(self, x):
        node = self.node("Neg", [x], [], lambda given: [self.like(given[0], "gradient of negated")])
        return node.of(self.like(x, "negated"))

    def cat(self, a, b):
        widths, shape = (a.shape, b.shape), (*a.shape[:-1], a.shape[-1] + b.shape[-1])

        def backward(given):
            g = given[0]
            return [Tensor(g.storage, part, g.dtype, g.strides, view=True) for part in widths]

        node = self.node("Cat", [a, b], [], backward)
        return node.of(self.new(shape, a.dtype, "joined"))

    def masked_fill(self, x):
        """The mask is a buffer of the model."""
        mask = Tensor(None, x.shape[-2:], "bool")
        node = self.node("MaskedFill", [x], [mask], lambda given: [self.like(given[0], "gradient of masked scores")])
        return node.of(self.like(x, "masked scores"))

    def dropout(self, x, p):
        """A product with a mask of x's dtype, which is divided by 1 − p in place."""
        if not p:
            return x
        mask = self.like(x, "dropout mask")
        with self.number(x.dtype):
            pass
        node = self.node("Mul", [x], [mask], lambda given: [self.like(given[0], "gradient of dropout")])
        return node.of(self.like(x, "dropped out"))

    def repeat(self, x, n):
        """Each head n times, in memory."""
        B, G, T, K = x.shape
        dtype = x.dtype
        node = self.node("Repeat", [x], [], lambda given: [self.new((B, G, T, K), dtype, "gradient of heads")])
        return node.of(self.new((B, G * n, T, K), dtype, "repeated heads"))

    # inference

    def last(self, x):
        """The last position."""
        B, _, D = x.shape
        return Tensor(x.storage, (B, 1, D), x.dtype, x.strides, view=True)

    def cached(self, x):
        """Keys or values of the tokens before this one and of this one, in the cache."""
        B, G, _, K = x.shape
        return self.buffer((B, G, self.past + 1, K), x.dtype)

    # experts and stages

    def chosen(self, x, n):
        """The n largest of every row, with their places."""
        rows = (*x.shape[:-1], n)
        places = self.new(rows, "int64", "choice of experts")
        shape, dtype = x.shape, x.dtype
        node = self.node("TopK", [x], [places], lambda given: [self.new(shape, dtype, "gradient of a choice")])
        return node.of(self.new(rows, dtype, "choice of experts"))

    def gather(self, x, n):
        """Every row n times, in the order of the experts."""
        (rows, D), dtype = x.shape, x.dtype
        places = self.new((rows * n,), "int64", "order of rows")
        node = self.node("Gather", [x], [places], lambda given: [self.new((rows, D), dtype, "gradient of rows")])
        return node.of(self.new((rows * n, D), dtype, "grouped rows"))

    def combine(self, x, rows):
        """Rows added up where they came from."""
        shape, dtype = x.shape, x.dtype
        node = self.node("Combine", [x], [], lambda given: [self.new(shape, dtype, "gradient of rows")])
        return node.of(self.new((rows, shape[-1]), dtype, "combined rows"))

    def received(self, shape, dtype):
        """What the stage before hands on; its gradient goes back there."""
        out = self.new(shape, dtype, "received")
        out.weight = "received"
        return out
