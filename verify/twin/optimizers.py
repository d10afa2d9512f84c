"""Trajectories "N P" of optimizers on given gradients, in closed form, not step by step; clipping by direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _decayed(series: jax.Array, rate: float | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Σ_{i≤t} rate^{t−i} series_i and Σ_{i≤t} rate^{t−i}, from the lower-triangular matrix of weights."""
    steps = jnp.arange(series.shape[0])
    lag = steps[:, None] - steps
    past = lag >= 0
    # Products, not powers: 0⁰ is 1, and both derivatives in the rate are exact at 0.
    weights = jnp.where(past, jnp.cumprod(jnp.where(lag > 0, rate, 1.0), axis=0), 0.0)
    # The future is replaced, not weighted by 0, so that a NaN in it stays there.
    history = jnp.where(past[..., None], series, 0.0)
    return (weights[..., None] * history).sum(1), weights.sum(1)[:, None]


def _quotient(mean: jax.Array, square: jax.Array, eps: float | jax.Array) -> jax.Array:
    """mean/(√square + ε), with both derivatives where the square vanishes."""
    # √ has no derivative at 0 and 0/0 no value: there the denominator is ε, or 1 when ε is 0.
    still = square == 0.0
    size = jnp.where(still, 0.0, jnp.sqrt(jnp.where(still, 1.0, square))) + eps
    return mean / jnp.where(size == 0.0, 1.0, size)


def _shrunk(x: jax.Array, moves: jax.Array, rate: float | jax.Array) -> jax.Array:
    """x_t = rate·x_{t−1} + move_t for every t, as rate^t·x + Σ_{i≤t} rate^{t−i} move_i."""
    factors = jnp.cumprod(jnp.full(moves.shape[0], rate, moves.dtype))
    return factors[:, None] * jnp.asarray(x) + _decayed(moves, rate)[0]


def sgd(x: jax.Array, gradients: jax.Array, *, lr: float, decay: float = 0.0) -> jax.Array:
    """x_t = x_{t−1} − lr·(g_t + λ x_{t−1}), as the start and all gradients, each shrunk by 1 − lr·λ per later step."""
    return _shrunk(x, -lr * jnp.asarray(gradients), 1.0 - lr * decay)


def momentum(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    mu: float,
    dampening: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
) -> jax.Array:
    """Momentum with dampening δ, Nesterov's look-ahead and decay λ, as a sum of responses to every past gradient.

    A step takes (x, v) to A(x, v) + b·g. So a gradient moves x, after n more steps, by the first entry of Aⁿb, and the
    start moves it by that of Aⁿ applied to the first step, which knows no dampening.
    """
    x, gradients = jnp.asarray(x), jnp.asarray(gradients)

    def matrices(share: float | jax.Array) -> tuple[jax.Array, jax.Array]:
        """A and b of one step whose velocity takes `share` of the decayed gradient g + λx."""
        # A and b speak of v and of g + λx; the direction is v, or g + λx + μv under Nesterov.
        of_velocity, of_gradient = (mu * mu, 1.0 + mu * share) if nesterov else (mu, share)
        step = [[1.0 - lr * of_gradient * decay, -lr * of_velocity], [share * decay, mu]]
        return jnp.array(step, gradients.dtype), jnp.array([-lr * of_gradient, share], gradients.dtype)

    (first_step, first_kick), (step, kick) = matrices(1.0), matrices(1.0 - dampening)
    steps = gradients.shape[0]
    powers = jax.lax.scan(lambda power, _: (step @ power, power), jnp.eye(2, dtype=x.dtype), None, steps)[1]
    lag = jnp.arange(steps)[:, None] - jnp.arange(steps)
    responses = jnp.where(jnp.arange(steps) > 0, (powers @ kick)[lag, 0], (powers @ first_kick)[lag, 0])
    # The future is replaced, not weighted by 0, so that a NaN in it stays there.
    history = jnp.where((lag >= 0)[..., None], gradients, 0.0)
    return (powers @ first_step)[:, 0, 0, None] * x + (responses[..., None] * history).sum(1)


def _directions(gradients: jax.Array, beta1: float, beta2: float, eps: float) -> jax.Array:
    """Adam's m̂_t/(√v̂_t + ε) for every t, m̂ and v̂ being normalised geometric averages of g and g²."""
    first, first_weight = _decayed(gradients, beta1)
    second, second_weight = _decayed(gradients * gradients, beta2)
    return _quotient(first / first_weight, second / second_weight, eps)


def adam(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> jax.Array:
    """x_t = x_{t−1} − lr·m̂_t/(√v̂_t + ε), as a cumulative sum of directions."""
    return jnp.asarray(x) - lr * jnp.cumsum(_directions(jnp.asarray(gradients), beta1, beta2, eps), axis=0)


def adamw(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
) -> jax.Array:
    """x_t = (1 − lr·λ) x_{t−1} − lr·m̂_t/(√v̂_t + ε), from products of the factor 1 − lr·λ."""
    return _shrunk(x, -lr * _directions(jnp.asarray(gradients), beta1, beta2, eps), 1.0 - lr * decay)


def rmsprop(x: jax.Array, gradients: jax.Array, *, lr: float, alpha: float = 0.99, eps: float = 1e-8) -> jax.Array:
    """x_t = x_{t−1} − lr·g_t/(√s_t + ε), from the explicit weights s_t = (1 − α) Σ_{i≤t} α^{t−i} g_i²."""
    gradients = jnp.asarray(gradients)
    square = (1.0 - alpha) * _decayed(gradients * gradients, alpha)[0]
    return jnp.asarray(x) - lr * jnp.cumsum(_quotient(gradients, square, eps), axis=0)


def adamw_step(
    x: jax.Array,
    g: jax.Array,
    m: jax.Array,
    v: jax.Array,
    *,
    t: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x, m, v) after the t-th step, the bias corrections 1 − β^t moved into the step size and ε."""
    x, g, m, v = (jnp.asarray(value) for value in (x, g, m, v))
    m = jnp.stack([m, g], axis=-1) @ jnp.array([beta1, 1.0 - beta1], x.dtype)
    v = jnp.stack([v, g * g], axis=-1) @ jnp.array([beta2, 1.0 - beta2], x.dtype)
    first, second = (-jnp.expm1(t * jnp.log(jnp.asarray(beta, x.dtype))) for beta in (beta1, beta2))
    root = jnp.sqrt(second)
    # m̂/(√v̂ + ε) = (√second/first)·m/(√v + ε√second)
    return (1.0 - lr * decay) * x - lr * root / first * _quotient(m, v, eps * root), m, v


def clip_by_global_norm(gradients: list[jax.Array], max_norm: float) -> list[jax.Array]:
    """The tensors unchanged where their common norm is within max_norm, else max_norm times their unit direction."""
    gradients = [jnp.asarray(gradient) for gradient in gradients]
    if not gradients:
        return []
    peak = jnp.stack([jnp.max(jnp.abs(gradient), initial=0.0) for gradient in gradients]).max()
    # The direction does not depend on the unit it is measured in, which may therefore go undifferentiated.
    peak = jax.lax.stop_gradient(jnp.where((peak > 0.0) & (peak < jnp.inf), peak, 1.0))
    units = [gradient / peak for gradient in gradients]
    square = sum((unit * unit).sum() for unit in units)
    length = jnp.sqrt(jnp.where(square == 0.0, 1.0, square))  # zeros have no direction and stay
    within = (square == 0.0) | (length <= max_norm / peak)
    return [jnp.where(within, g, max_norm * (unit / length)) for g, unit in zip(gradients, units, strict=True)]


def lion(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    decay: float = 0.0,
) -> jax.Array:
    """x_t = (1 − lr·λ) x_{t−1} − lr·sign(c_t), c_t the weighted sum of all gradients so far, the last with 1 − β₁."""
    gradients = jnp.asarray(gradients)
    before = jnp.concatenate([jnp.zeros_like(gradients[:1]), gradients[:-1]])
    mixed = (1.0 - beta1) * gradients + beta1 * (1.0 - beta2) * _decayed(before, beta2)[0]
    return _shrunk(x, -lr * jnp.sign(mixed), 1.0 - lr * decay)


def newton_schulz(g: jax.Array, *, steps: int = 5, eps: float = 1e-7) -> jax.Array:
    """The quintic applied to the singular values of a decomposition, over the norm plus eps."""
    u, s, v = jnp.linalg.svd(jnp.asarray(g), full_matrices=False)
    size = jnp.sqrt((s * s).sum()) + eps
    s = s / jnp.where(size == 0.0, 1.0, size)
    for _ in range(steps):
        s = s * (3.4445 + s * s * (-4.7750 + s * s * 2.0315))
    return (u * s) @ v


def muon(
    x: jax.Array,
    gradients: jax.Array,
    *,
    lr: float,
    mu: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    eps: float = 1e-7,
    decay: float = 0.0,
) -> jax.Array:
    """All velocities as weighted sums, all directions at once, then the decayed sum of the steps."""
    x, gradients = jnp.asarray(x), jnp.asarray(gradients)
    (F, D), N = x.shape, len(gradients)
    velocity = _decayed(gradients.reshape(N, F * D), mu)[0].reshape(N, F, D)
    ahead = gradients + mu * velocity if nesterov else velocity
    directions = jnp.stack([newton_schulz(g, steps=steps, eps=eps) for g in ahead])
    moves = -lr * (F / min(F, D)) ** 0.5 * directions
    return _shrunk(x.reshape(F * D), moves.reshape(N, F * D), 1.0 - lr * decay).reshape(N, F, D)


def accumulate(gradients: jax.Array, counts: jax.Array) -> jax.Array:
    """The running mean over tokens, which each microbatch moves by its share of the tokens so far."""

    def step(state: tuple[jax.Array, jax.Array], batch: tuple[jax.Array, jax.Array]):
        (mean, seen), (gradient, count) = state, batch
        seen = seen + count
        share = jnp.where(count == 0, 0.0, count / jnp.where(seen == 0, 1, seen))
        return (mean + share * (jnp.where(count == 0, 0.0, gradient) - mean), seen), None

    gradients, counts = jnp.asarray(gradients), jnp.asarray(counts)
    return jax.lax.scan(step, (jnp.zeros_like(gradients[0]), counts[0] * 0), (gradients, counts))[0][0]
