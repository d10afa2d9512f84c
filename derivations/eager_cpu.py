r"""Rule table cpu-eager, torch 2.13: norms, attention and loss; what each saves, allocates and frees."""

from __future__ import annotations

from math import prod

from derivations.machine import BYTES, Storage
from derivations.recomputation import Recomputing

GENERATOR = 5056  # bytes of the state of the CPU's random generator


class Cpu(Recomputing):
    table = "cpu-eager, torch 2.13"
    states: tuple[int, ...] = (GENERATOR,)

    def counts_steps(self, way):
        """Does the count of steps live on this device?"""
        return True

    def foreach_count(self):
        """Scratch of the increment of all counts."""
        return (4,)

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


def blocks(T, S):
    """Queries and keys in one block of the CPU's fused attention."""
    return min(256 if T >= 768 else 64 if T >= 192 else 32, T), min(512, S)
