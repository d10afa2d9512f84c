r"""Rule table cpu-eager, torch 2.13: products, norms, attention, loss and recomputation; what each allocates.

Under `autocast` matrix products run in bfloat16: an activation is converted for each consumer, a weight once.
`threads` multiplies what kernels allocate for each thread.
"""

from __future__ import annotations

from math import prod

from derivations.eager import Elementwise, alias
from derivations.machine import BYTES, Enough, Storage, Tensor, contiguous

GENERATOR = 5056  # bytes of the state of the CPU's random generator, which a checkpoint keeps


class Cpu(Elementwise):
    table = "cpu-eager, torch 2.13"
    float_buffers = ""  # the dtype of tables of positions, where it is not that of the parameters
    states: tuple[int, ...] = (GENERATOR,)

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

    def counts_steps(self, way):
        """Does the count of steps live on this device?"""
        return True

    def foreach_count(self):
        """Scratch of the increment of all counts."""
        return (4,)

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
        return node.of(self.new((*ids.shape, w.shape[-1]), w.dtype, "embedding"))

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

    # norms

    def layer_norm(self, x, w, b):
        shape, dtype, width = x.shape, x.dtype, w.dtype
        out = self.new(shape, dtype, "layer norm")
        mean, rstd = (self.new((*shape[:-1], 1), self.statistics(dtype), "layer norm") for _ in range(2))

        def backward(given):
            found = [self.new(shape, dtype, "gradient of a norm")]
            found += [self.new(shape[-1:], width, "gradient of a norm") for _ in range(2)]
            self.norm_scratch(shape)
            return found

        return self.node("LayerNorm", [x, w, b], [b, x, w, mean, rstd], backward).of(out)

    def statistics(self, dtype):
        return dtype

    def norm_scratch(self, shape):
        self.scratch(2 * shape[-1] * 4 * self.threads)

    def rms_norm(self, x, w):
        """Composed of elementwise operations: x · (mean x² + ε)^(−1/2) · w."""
        shape, row, dtype = x.shape, (*x.shape[:-1], 1), x.dtype

        def power(shape):
            """Gradient of a power: g · p x^(p − 1)."""
            lower = self.new(shape, dtype, "gradient of a power")
            with self.number(dtype):
                times = self.new(shape, dtype, "gradient of a power")
            out = self.new(shape, dtype, "gradient of a power")
            del times, lower
            return [out]

        def of_mean(given):
            with self.number(dtype):
                return [self.new(shape, dtype, "gradient of a mean")]

        square = self.node("Pow", [x], [x], lambda given: power(shape)).of(self.like(x, "square"))
        mean = self.node("Mean", [square], [], of_mean).of(self.new(row, dtype, "mean"))
        for _ in range(2):  # the division by D, the addition of ε: both in place
            with self.number(dtype):
                pass
        root = self.new(row, dtype, "1/rms")
        self.node("Rsqrt", [mean], [root], lambda given: power(row)).of(root)
        del mean
        del square
        normed = self.mul(x, root)
        out = self.mul(normed, w)
        del normed
        return out

    # attention

    def attention(self, q, k, v, dropout=0.0):
        """PyTorch's fused causal attention; the result lies in memory as B T H K. It knows no dropout on a CPU."""
        if dropout:
            return self.composite_attention(q, k, v, dropout)
        B, H, T, K = q.shape
        size, kinds, wide = BYTES[q.dtype], [(x.shape, x.dtype) for x in (q, k, v)], v.shape[-1]
        rows, keys = blocks(T, k.shape[2])
        narrow = size < 4
        flops = 2 * B * H * T * k.shape[2] * (K + wide)
        self.count("attention", flops)
        out = self.new((B, H, T, wide), q.dtype, "attention", (T * H * wide, wide, H * wide, 1))
        lse = self.new((B, T, H), "float32", "attention")
        self.scratch(
            (rows * keys + 2 * rows + rows * K) * 4 * self.threads, *[rows * keys * size * self.threads] * narrow
        )

        def backward(given):
            self.count("attention", 2 * flops)
            self.count("scores again", flops // 2)
            found = [
                self.new(s, t, "gradient of attention", (s[2] * s[1] * s[3], s[3], s[1] * s[3], 1)) for s, t in kinds
            ]
            pair = 2 * rows * keys * self.threads
            self.scratch(pair * 4, *[pair * size] * narrow, rows * 4 * self.threads)
            return found

        return self.node("Attention", [q, k, v], [k, q, v, lse, out], backward).of(out)

    def absorbed(self, q, a):
        """One token over the latent cache: queries go to the latent space, what comes back goes on to the values."""
        B, H, c = q.shape[0], a.H, a.latent
        turned = self.new((B, H, 1, c.kv + c.rope), q.dtype, "absorbed")
        self.count("product", 2 * B * H * c.nope * c.kv)
        k = self.buffer((B, 1, self.past + 1, c.kv + c.rope), q.dtype)
        v = self.buffer((B, 1, self.past + 1, c.kv), q.dtype)
        self.moved += BYTES[q.dtype] * (c.kv * H * (c.nope + c.value) - v.entries)  # kv_up; v lies within k
        out = self.attention(turned, k, v)
        self.count("product", 2 * B * H * c.kv * c.value)
        values = self.new((B, 1, H * c.value), q.dtype, "absorbed")
        del out, turned
        return values

    def composite_attention(self, q, k, v, dropout):
        """What PyTorch falls back to: queries and keys by the root of the scale each, the mask added as numbers."""
        T, S, given = q.shape[2], k.shape[2], q.dtype
        q, k, v = (self.to(x, "float32") for x in (q, k, v))

        def scaled(x):
            def backward(given):
                with self.number(x_dtype):
                    return [self.like(given[0], "gradient of scaled")]

            x_dtype = x.dtype
            node = self.node("MulScalar", [x], [], backward)
            with self.number(x.dtype):
                return node.of(self.like(x, "scaled"))

        query = scaled(q)
        seen = self.new((T, S), "bool", "mask")
        below = self.new((T, S), "bool", "mask")
        del seen
        numbers = [Storage(self, BYTES[q.dtype], "number") for _ in range(2)]
        mask = self.new((T, S), q.dtype, "mask")
        del numbers, below
        scores = self.product(query, self.transpose(scaled(k), 2, 3))  # the mask is added in place
        weights = self.softmax(scores)
        self.scratch(scores.entries, scores.entries // S, BYTES[q.dtype])  # which rows see nothing
        del scores
        weights = self.dropout(weights, dropout)
        returned = self.to(weights, given)  # a second result, which nobody takes
        out = self.to(self.product(weights, v), given)
        del query, mask, returned
        return out

    # loss

    def cross_entropy(self, logits):
        """The mean over all rows; the logarithms of the probabilities are kept."""
        rows, V = prod(logits.shape[:-1]), logits.shape[-1]
        z = self.entering_loss(self.reshape(logits, rows, V))
        logs = self.log_softmax(z)
        shape, dtype = logs.shape, logs.dtype
        loss, weight = self.new((), dtype, "loss"), self.new((), dtype, "loss")
        saved = [logs, self.ids(rows), weight]
        return self.node("Nll", [logs], saved, lambda given: [self.new(shape, dtype, "gradient of the logits")]).of(
            loss
        )

    def entering_loss(self, z):
        """In float32 under autocast."""
        return self.to(z, "float32") if self.autocast else z

    def log_softmax(self, z):
        shape, dtype = z.shape, z.dtype
        logs = self.new(shape, dtype, "log-probabilities")
        node = self.node("LogSoftmax", [z], [logs], lambda given: [self.new(shape, dtype, "gradient of the logits")])
        return node.of(logs)

    # recomputation

    def checkpoint(self, part, *inputs):
        """Run a part so that its nodes keep nothing; the first that is asked in the backward pass runs it again."""
        states = [Storage(self, size, "state of the generator") for size in self.states]
        region = {"count": 0, "next": 0, "found": None, "part": part, "states": states}
        region["inputs"] = [
            Tensor(x.storage, x.shape, x.dtype, x.strides, weight="input" if x.edge else None) for x in inputs
        ]
        self.region = region
        out = part(*inputs)
        self.region = None
        return out

    def rerun(self, region):
        where, self.where = self.where, f"{self.where}, recomputed"
        states = [Storage(self, size, "state of the generator") for size in self.states]
        cache, self.cache = self.cache, {}
        region["found"], region["next"], self.again = {}, 0, region
        try:
            region["part"](*region["inputs"])
        except Enough as stop:
            stop.__traceback__ = None
        self.again, self.cache, self.where = None, cache, where
        del states


def blocks(T, S):
    """Queries and keys in one block of the CPU's fused attention."""
    return min(256 if T >= 768 else 64 if T >= 192 else 32, T), min(512, S)
