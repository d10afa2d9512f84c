"""Numbers of few bits by tables: a ladder of all magnitudes, climbed by adding steps, and a search among its rungs.

float32 alone, whose ladder would have two thousand million rungs, is what numpy converts to.
"""

from __future__ import annotations

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

# exponent bits, mantissa bits, codes above the largest magnitude, whether it has a sign, zero and subnormal numbers
_FORMATS = {
    "tf32": (8, 10, 1024, True),
    "bf16": (8, 7, 128, True),
    "fp16": (5, 10, 1024, True),
    "e5m2": (5, 2, 4, True),
    "e4m3": (4, 3, 1, True),
    "e2m1": (2, 1, 0, True),
    "e8m0": (8, 0, 1, False),
}


@cache
def _ladder(format: str) -> np.ndarray:
    """All magnitudes in order, and the one that would come after the largest."""
    exponent, mantissa, above, signed = _FORMATS[format]
    count = 2 ** (exponent + mantissa) - above
    rungs, height = [], 0.0 if signed else 2.0**-127
    step = 2.0 ** (2 - 2 ** (exponent - 1) - mantissa)  # of fields 0 and 1, then doubled with every field
    for code in range(count + 1):
        rungs.append(height)
        if code >= 2 ** (mantissa + 1) and code % 2**mantissa == 0:
            step *= 2.0
        height = height + step if signed else 2.0 * height
    return np.array(rungs)


@cache
def _meanings(format: str) -> np.ndarray:
    """What every code means, in their order."""
    _, _, above, signed = _FORMATS[format]
    special = np.full(above, np.nan)
    if above > 1:
        special[0] = np.inf
    half = np.concatenate([_ladder(format)[:-1], special])
    return np.concatenate([half, -half]) if signed else half


def decode(codes: jax.Array, format: str = "e4m3") -> jax.Array:
    """The number that each code means."""
    if format == "fp32":
        with np.errstate(invalid="ignore"):
            return jnp.asarray(np.asarray(codes).astype(np.uint32).view(np.float32).astype(np.float64))
    return jnp.asarray(_meanings(format))[codes]


def _float32(x: np.ndarray, rounding: str, overflow: str) -> np.ndarray:
    """Codes of numpy's float32, moved by one where the rounding is directed."""
    with np.errstate(over="ignore", invalid="ignore"):
        y = x.astype(np.float32)
        too_far = {
            "even": np.zeros(x.shape, bool),
            "zero": np.abs(y) > np.abs(x),
            "up": y < x,
            "down": y > x,
        }[rounding]
        to = {"even": 0.0, "zero": 0.0, "up": np.inf, "down": -np.inf}[rounding]
        y = np.where(too_far, np.nextafter(y, np.float32(to)), y).astype(np.float32)
    if overflow == "saturate":
        y = np.where(np.isinf(y), np.copysign(np.finfo(np.float32).max, y), y).astype(np.float32)
    return y.view(np.uint32).astype(np.int64)


def encode(x: jax.Array, format: str = "e4m3", rounding: str = "even", overflow: str = "infinity") -> jax.Array:
    """The code of the nearest rung, of two as near the even one; or of the one in the direction asked for."""
    values = np.asarray(x, dtype=np.float64)
    if format == "fp32":
        return jnp.asarray(_float32(values, rounding, overflow))
    _, mantissa, above, signed = _FORMATS[format]
    rungs, top = _ladder(format), len(_ladder(format)) - 2
    codes = []
    for value in values.ravel().tolist():
        size, negative = abs(value), math.copysign(1.0, value) < 0
        special = top + 1 if above else top
        if math.isnan(value) or (not signed and value < 0):
            code = special + (2 ** (mantissa - 1) if above > 1 else 0)
        elif math.isinf(value):
            code = top if overflow == "saturate" else special
        else:
            code = max(int(np.searchsorted(rungs, size, side="right")) - 1, 0)  # the last rung not above it
            if code <= top and size > rungs[code]:
                middle = (rungs[code] + rungs[code + 1]) / 2
                odd = code % 2 == 1 or mantissa == 0
                nearest = size > middle or (size == middle and odd)
                code += {"even": nearest, "zero": False, "up": not negative, "down": negative}[rounding]
            if code > top:
                back = {"even": False, "zero": True, "up": negative, "down": not negative}[rounding]
                code = top if back or overflow == "saturate" else special
        codes.append(code + (2 ** (sum(_FORMATS[format][:2])) if signed and negative else 0))
    return jnp.asarray(np.array(codes, dtype=np.int64).reshape(values.shape))


def rounded(x: jax.Array, format: str = "e4m3", rounding: str = "even", overflow: str = "infinity") -> jax.Array:
    """What the code of x means."""
    return decode(encode(x, format, rounding, overflow), format)


def stochastic_round(x: jax.Array, u: jax.Array, format: str = "bf16", overflow: str = "infinity") -> jax.Array:
    """The rung above |x| if u is less than the part of the way to it that x has gone, else the rung below."""
    rungs, top = _ladder(format), len(_ladder(format)) - 2
    values, found = np.asarray(x, dtype=np.float64), []
    beyond = math.nan if _FORMATS[format][2] < 2 else math.inf
    for value, lot in zip(values.ravel().tolist(), np.asarray(u).ravel().tolist(), strict=True):
        size = abs(value)
        code = top + 1 if math.isinf(size) else int(np.searchsorted(rungs, size, side="right")) - 1
        if math.isfinite(size) and code <= top:
            code += lot * (rungs[code + 1] - rungs[code]) < size - rungs[code]
        near = rungs[top] if overflow == "saturate" else beyond
        result = math.nan if math.isnan(value) else near if code > top else float(rungs[code])
        found.append(math.copysign(result, value))
    return jnp.asarray(np.array(found).reshape(values.shape))


def kahan_sum(x: jax.Array) -> jax.Array:
    """Every addition's exact error, by Knuth's six operations, added up by itself and to the sum at the end."""

    def add(carry, term):
        total, lost = carry
        after = total + term
        back = after - total
        return (after, lost + ((total - (after - back)) + (term - back))), None

    terms = jnp.moveaxis(x, -1, 0)
    (total, lost), _ = jax.lax.scan(add, (terms[0], jnp.zeros_like(terms[0])), terms[1:])
    return total + lost


def pairwise_sum(x: jax.Array) -> jax.Array:
    """The sum of the first half and of the second, each by the same rule."""
    n = x.shape[-1]
    return x[..., 0] if n == 1 else pairwise_sum(x[..., : n // 2]) + pairwise_sum(x[..., n // 2 :])


def dot(x: jax.Array, y: jax.Array, format: str = "e4m3", accumulator: str = "fp32") -> jax.Array:
    """Row by row and term by term; what is kept is a code of the accumulator's format."""
    left, right = (np.asarray(rounded(z, format)) for z in (x, y))
    codes = encode(left[..., 0] * right[..., 0], accumulator)
    for n in range(1, left.shape[-1]):
        term = rounded(left[..., n] * right[..., n], accumulator)
        codes = encode(decode(codes, accumulator) + term, accumulator)
    return decode(codes, accumulator)


def _blocks(shape: tuple[int, int], block: tuple[int, int] | None) -> tuple[int, int]:
    return shape if block is None else block


def quantize(
    x: jax.Array, format: str = "e4m3", block: tuple[int, int] | None = (128, 128), powers: bool = False
) -> tuple[jax.Array, jax.Array]:
    """One block after the other, its scale found among the powers of two by doubling and halving."""
    values = np.asarray(x)
    R, C = values.shape
    rows, columns = _blocks((R, C), block)
    largest = float(_ladder(format)[-2])
    codes = np.zeros((R, C), dtype=np.int64)
    scales = np.ones((-(-R // rows), -(-C // columns)))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            place = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
            scale = float(np.max(np.abs(values[place]))) / largest
            if powers and scale > 0:
                power = 1.0
                while power < scale:
                    power *= 2
                while power / 2 >= scale:
                    power /= 2
                scale = power
            scales[i, j] = 1.0 if scale == 0 else scale
            codes[place] = encode(values[place] / scales[i, j], format, overflow="saturate")
    return jnp.asarray(codes), jnp.asarray(scales)


def dequantize(codes: jax.Array, scales: jax.Array, block: tuple[int, int] | None, format: str = "e4m3") -> jax.Array:
    """Meanings times a Kronecker product of the scales and a block of ones."""
    spread = jnp.kron(scales, jnp.ones(_blocks((codes.shape[0], codes.shape[1]), block)))
    return decode(codes, format) * spread[: codes.shape[0], : codes.shape[1]]


def loss_scales(
    overflows: jax.Array,
    *,
    start: float = 65536.0,
    growth: float = 2.0,
    backoff: float = 0.5,
    interval: int = 2000,
) -> jax.Array:
    """At every step: has it overflowed, or is a whole number of intervals over since the last overflow?"""
    flags, scale, path = np.asarray(overflows).tolist(), start, []
    for t, overflow in enumerate(flags, 1):
        before = next((t - s for s in range(t, 0, -1) if flags[s - 1]), t)
        if overflow:
            scale = scale * backoff
        elif before % interval == 0 and scale * growth < 2.0**128:
            scale = scale * growth
        path.append(scale)
    return jnp.asarray(np.array(path))


def scaled_sgd(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    max_norm: float = math.inf,
    format: str = "fp16",
    start: float = 65536.0,
    growth: float = 2.0,
    backoff: float = 0.5,
    interval: int = 2000,
) -> tuple[jax.Array, jax.Array]:
    """One step after the other, with gradients that were never scaled: the scale only says which to take."""
    largest = float(np.finfo(np.float32).max) if format == "fp32" else float(_ladder(format)[-2])

    def follow(carry, g):
        x, scale, steady = carry
        fits = jnp.all(scale * jnp.abs(jax.lax.stop_gradient(g)) <= largest)
        grows = fits & (steady + 1 == interval) & (scale * growth < 2.0**128)
        after = jnp.where(fits, jnp.where(grows, scale * growth, scale), scale * backoff)
        g = jnp.where(fits, g, 0.0)
        square = (g**2).sum()
        norm = jnp.sqrt(jnp.where(square > 0, square, 1.0))
        x = x - lr * g * (jnp.where(norm > max_norm, max_norm / norm, 1.0) if max_norm < math.inf else 1.0)
        return (x, after, jnp.where(fits & (steady + 1 < interval), steady + 1, 0)), (x, after)

    start_at = (x, jnp.asarray(start, x.dtype), jnp.asarray(0))
    return jax.lax.scan(follow, start_at, gradients)[1]


def monitor(gradients: jax.Array, format: str = "fp16") -> tuple[jax.Array, jax.Array, jax.Array]:
    """By three edges: half the least number, half a step below the least normal, half a step above the largest."""
    sizes = np.abs(np.asarray(gradients, dtype=np.float64))
    sizes = sizes[sizes != 0]
    if format == "fp32":
        least, normal, top, after, odd = 2.0**-149, 2.0**-126, (2 - 2.0**-23) * 2.0**127, 2.0**128, True
    else:
        rungs, mantissa = _ladder(format), _FORMATS[format][1]
        least, normal, top, after = rungs[1], rungs[2**mantissa], rungs[-2], rungs[-1]
        odd = (len(rungs) - 2) % 2 == 1
    edge = (top + after) / 2
    beyond = ~(sizes < edge if odd else sizes <= edge)
    lost = sizes <= least / 2
    subnormal = ~lost & (sizes < normal - least / 2)
    shares = np.array([lost.sum(), subnormal.sum(), beyond.sum()]) / max(1, len(sizes))
    powers = 2.0 ** np.arange(-1074, 1024)
    places = np.searchsorted(powers, sizes[np.isfinite(sizes)], side="right") - 1075
    exponents, counts = np.unique(places, return_counts=True)
    return jnp.asarray(shares), jnp.asarray(exponents), jnp.asarray(counts)
