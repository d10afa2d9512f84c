"""Derivatives without dual numbers or tapes: complex steps, one-hot matrices, loops over every entry, closed forms."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

TINY = 1e-150  # a step in the imaginary direction: its square vanishes beside any number

COMPLEX: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "one": np.ones_like,
    "square": lambda z: z * z,
    "reciprocal": lambda z: np.conj(z) / (z.real**2 + z.imag**2),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "wave": lambda z: np.sin(z**2) - z,
}


def derivative(x: np.ndarray | jax.Array, function: str = "tanh") -> np.ndarray:
    """f'(x) as the imaginary part of f(x + ih)/h for a tiny h, where nothing is subtracted; relu's slope is x > 0."""
    x = np.asarray(x)
    if function == "relu":
        return (x > 0).astype(x.dtype)
    return COMPLEX[function](x + 1j * TINY).imag / TINY


RATES: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "log": lambda z: 1 / z,
    "sin": np.cos,
    "cos": lambda z: -np.sin(z),
    "tanh": lambda z: np.cosh(z) ** -2,
    "relu": np.zeros_like,
    "sqrt": lambda z: 1 / (2 * np.sqrt(z)),
    "one": np.zeros_like,
    "square": lambda z: 2 * z,
    "reciprocal": lambda z: -1 / z**2,
    "sigmoid": lambda z: 1 / (2 * np.cosh(z / 2)) ** 2,
    "wave": lambda z: 2 * z * np.cos(z**2) - 1,
}


def second_derivative(
    x: np.ndarray | jax.Array, function: str = "tanh", outer: str = "forward", inner: str = "forward"
) -> np.ndarray:
    """f''(x) as the imaginary part of f'(x + ih)/h, with f' from a table."""
    x = np.asarray(x)
    return RATES[function](x + 1j * TINY).imag / TINY


SLOPES = {
    "add": lambda a, b: (1.0, 1.0),
    "sub": lambda a, b: (1.0, -1.0),
    "mul": lambda a, b: (b, a),
    "div": lambda a, b: (1 / b, -a / b**2),
    "maximum": lambda a, b: ((1 + np.sign(a - b)) / 2, (1 + np.sign(b - a)) / 2),
}


def _read(place: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Where an operand of these sizes is read for the result's entry at `place`."""
    own = place[len(place) - len(sizes) :]
    return tuple(i if n > 1 else 0 for i, n in zip(own, sizes, strict=True))


def arithmetic_pullback(
    a: np.ndarray | jax.Array, b: np.ndarray | jax.Array, g: np.ndarray | jax.Array, operation: str = "mul"
) -> tuple[np.ndarray, np.ndarray]:
    """Entry by entry of the result, g times the slopes is added where the two operands were read."""
    a, b, g = (np.asarray(x) for x in (a, b, g))
    first, second = np.zeros_like(a), np.zeros_like(b)
    for place in np.ndindex(g.shape):
        here, there = _read(place, a.shape), _read(place, b.shape)
        by_a, by_b = SLOPES[operation](a[here], b[there])
        first[here] += g[place] * by_a
        second[there] += g[place] * by_b
    return first, second


def matmul_pullback(
    a: np.ndarray | jax.Array, b: np.ndarray | jax.Array, g: np.ndarray | jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """For every entry y_ij = Σ_k a_ik b_kj, g_ij times what it was made of is added to the row of a and column of b."""
    a, b, g = (np.asarray(x) for x in (a, b, g))
    first, second = np.zeros_like(a), np.zeros_like(b)
    for place in np.ndindex(g.shape[:-2]):
        here, there = _read(place, a.shape[:-2]), _read(place, b.shape[:-2])
        for i, j in np.ndindex(g.shape[-2:]):
            row, column = (*here, i), (*there, slice(None), j)
            first[row] += g[(*place, i, j)] * b[column]
            second[column] += g[(*place, i, j)] * a[row]
    return first, second


def tied_gradient(table: jax.Array, ids: jax.Array, g: jax.Array) -> jax.Array:
    """Hᵀ g E + gᵀ H E, with the one-hot rows H of the symbols: reading is a product with H."""
    chosen = (ids[:, None] == jnp.arange(table.shape[0])).astype(table.dtype)
    return chosen.T @ g @ table + g.T @ chosen @ table


def largest_gradient(z: np.ndarray | jax.Array, g: np.ndarray | jax.Array) -> np.ndarray:
    """g over the number of entries that no entry of the row exceeds, at those entries."""
    z = np.asarray(z)
    unbeaten = ~(z[:, None, :] > z[:, :, None]).any(-1)
    return np.where(unbeaten, np.asarray(g)[:, None] / unbeaten.sum(-1, keepdims=True), 0.0)


def mlp_gradients(x, w1, b1, w2, b2, target) -> list[np.ndarray]:
    """The backward pass by hand, an example at a time: p − y at the logits, then through W₂, 1/cosh² and W₁."""
    x, w1, b1, w2, b2 = (np.asarray(each) for each in (x, w1, b1, w2, b2))
    sums = [np.zeros_like(w) for w in (w1, b1, w2, b2)]
    for row, wanted in zip(x, np.asarray(target).tolist(), strict=True):
        given = row @ w1 + b1
        hidden = np.tanh(given)
        z = hidden @ w2 + b2
        odds = np.exp(z[None, :] - z[:, None]).sum(1)
        at_logits = 1 / odds - (np.arange(len(z)) == wanted)
        at_hidden = w2 @ at_logits / np.cosh(given) ** 2
        found = (np.outer(row, at_hidden), at_hidden, np.outer(hidden, at_logits), at_logits)
        sums = [total + each / len(x) for total, each in zip(sums, found, strict=True)]
    return sums


def log_sum_exp_hessian_vector(z: jax.Array, v: jax.Array) -> jax.Array:
    """p_i Σ_k p_k (v_i − v_k), p the softmax: the Hessian's entries are p_i (δ_ik − p_k)."""
    p = jax.nn.softmax(z, -1)
    return p * (p[:, None, :] * (v[:, :, None] - v[:, None, :])).sum(-1)


def layer_jacobian(x: jax.Array, w: jax.Array, mode: str = "reverse") -> jax.Array:
    """w_ij / cosh²(Σ_j w_ij x_j): the slope of tanh is 1/cosh²."""
    return w / jnp.cosh(w @ x)[:, None] ** 2


def nested_slope(x: jax.Array, outer: str = "forward", inner: str = "forward") -> jax.Array:
    """4x: ∂(x y²)/∂y is 2xy, which is 2x at y = 1; times x it is 2x²."""
    return 4 * jnp.asarray(x)
