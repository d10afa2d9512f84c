"""Gradients by hand, as JAX has them: the definition of each layer, differentiated in reverse by jax.vjp."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp


def _pull(f, dy, *xs):
    """The gradients of ⟨dy, f⟩ by every x."""
    return jax.vjp(f, *map(jnp.asarray, xs))[1](jnp.asarray(dy))


@jax.jit
def linear_vjp(dy, x, w, b):
    """By x, w and b of x wᵀ + b, as sums of coordinate products."""
    return _pull(lambda x, w, b: (x[..., None, :] * w).sum(-1) + b, dy, x, w, b)


@jax.jit
def embedding_vjp(dy, ids, table):
    """By the table of a product with one-hot codes."""
    codes = jnp.asarray(ids)[..., None] == jnp.arange(table.shape[0])
    return _pull(lambda table: codes.astype(dy.dtype) @ table, dy, table)[0]


@jax.jit
def residual_vjp(dy, x, w, b):
    """By x, w and b of x + x wᵀ + b, as x (1 + w)ᵀ + b."""
    return _pull(lambda x, w, b: x @ (jnp.eye(w.shape[0]) + w).T + b, dy, x, w, b)


def _gelu(x, approximate):
    if approximate == "none":
        return x * jax.scipy.stats.norm.cdf(x)
    return x * jax.nn.sigmoid(2 * jnp.sqrt(2 / jnp.pi) * (x + 0.044715 * x**3))


@partial(jax.jit, static_argnames="approximate")
def gelu_vjp(dy, x, approximate="none"):
    """By x of xΦ(x), or of xσ(2u), which is the tanh form."""
    return _pull(partial(_gelu, approximate=approximate), dy, x)[0]


@jax.jit
def swiglu_vjp(dy, gate, up):
    """By gate and up of gate · up / (1 + e^(−gate))."""
    return _pull(lambda gate, up: gate * up / (1 + jnp.exp(-gate)), dy, gate, up)


def _softmax(z, visible):
    """exp(z) over its sum over the visible entries, zero elsewhere, and where there are none."""
    shifted = jnp.where(visible, z - jax.lax.stop_gradient(jnp.where(visible, z, -jnp.inf).max(-1, keepdims=True)), 0.0)
    weights = jnp.where(visible, jnp.exp(shifted), 0.0)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total == 0.0, 1.0, total)


@jax.jit
def softmax_vjp(dy, z):
    """By z of softmax over the entries that are not −∞."""
    visible = jnp.asarray(z) != -jnp.inf
    return _pull(lambda z: _softmax(z, visible), dy, jnp.where(visible, z, 0.0))[0]


@jax.jit
def cross_entropy_vjp(dy, z, target, ignore_index=-100, label_smoothing=0.0):
    """By z of the mean over counted rows of −Σ q log softmax(z), with q a row of probabilities."""
    counted = jnp.asarray(target) != ignore_index
    sharp = jax.nn.one_hot(jnp.where(counted, target, 0), z.shape[-1], dtype=dy.dtype)
    q = (1 - label_smoothing) * sharp + label_smoothing / z.shape[-1]

    def mean(z):
        costs = -(q * jax.nn.log_softmax(z)).sum(-1)
        return jnp.where(counted, costs, 0.0).sum() / counted.sum()

    return _pull(mean, dy, z)[0]


def _normalized(x, eps, axis, centred=True):
    """x without its mean, over the root of its mean square and ε."""
    x = x - x.mean(axis, keepdims=True) if centred else x
    return x / jnp.sqrt((x * x).mean(axis, keepdims=True) + eps)


@jax.jit
def layer_norm_vjp(dy, x, weight, bias, eps=1e-5):
    """By x, weight and bias of the rows normalized."""
    return _pull(lambda x, weight, bias: _normalized(x, eps, -1) * weight + bias, dy, x, weight, bias)


@jax.jit
def rms_norm_vjp(dy, x, weight, eps=1e-6):
    """By x and weight of the rows over their size."""
    return _pull(lambda x, weight: _normalized(x, eps, -1, centred=False) * weight, dy, x, weight)


@jax.jit
def batch_norm_vjp(dy, x, weight, bias, eps=1e-5):
    """By x, weight and bias of the columns normalized."""
    return _pull(lambda x, weight, bias: _normalized(x, eps, 0) * weight + bias, dy, x, weight, bias)


def _attention(q, k, v, visible, scale):
    return _softmax(q @ jnp.swapaxes(k, -1, -2) * scale, visible) @ v


@jax.jit
def _attention_vjp(dy, q, k, v, visible, scale):
    read = visible.any(-2)[..., None]
    k, v = jnp.where(read, k, 0.0), jnp.where(read, v, 0.0)
    return _pull(lambda q, k, v: _attention(q, k, v, visible, scale), dy, q, k, v)


def attention_vjp(dy, q, k, v, *, causal=False, mask=None, scale=None):
    """By queries, keys and values of softmax(q kᵀ · scale) v over what is visible."""
    (T, K), S = q.shape[-2:], k.shape[-2]
    visible = jnp.arange(S) <= jnp.arange(T)[:, None] + (S - T if causal else S)
    visible = jnp.broadcast_to(visible if mask is None else visible & mask, (*q.shape[:-1], S))
    return _attention_vjp(dy, q, k, v, visible, K**-0.5 if scale is None else scale)


def _attend(q, k, v, added, sinks, visible, scale, softcap):
    """Heads g r t, r of them to a key head g. A sink s takes the share 1 − σ(L − s) of a row whose log-sum-exp is L."""
    z = jnp.einsum("bgrtk,bgsk->bgrts", q, k) * scale
    if softcap is not None:  # tanh x = 2σ(2x) − 1
        z = softcap * (2 * jax.nn.sigmoid(2 * z / softcap) - 1)
    z = z + added
    mixed = jnp.einsum("bgrts,bgsk->bgrtk", _softmax(z, visible), v)
    if sinks is None:
        return mixed
    counted = visible | ~visible.any(-1, keepdims=True)  # a row without keys mixes to zero, whatever its share
    left = jax.nn.sigmoid(jax.nn.logsumexp(z, -1, where=counted) - sinks.reshape(k.shape[1], -1, 1))
    return mixed * left[..., None]


@jax.jit
def _attend_vjp(dy, q, k, v, bias, sinks, visible, scale, softcap):
    def grouped(x):
        return x.reshape(x.shape[0], k.shape[1], -1, *x.shape[2:])

    read = grouped(visible).any((2, 3))[..., None]

    def output(q, k, v, bias, sinks):
        k, v = jnp.where(read, k, 0.0), jnp.where(read, v, 0.0)
        added = 0.0 if bias is None else grouped(jnp.where(visible, bias, 0.0))
        return _attend(grouped(q), k, v, added, sinks, grouped(visible), scale, softcap).reshape(dy.shape)

    return jax.vjp(output, q, k, v, bias, sinks)[1](dy)


def attend_vjp(
    dy, q, k, v, *, causal=False, alignment="bottom_right", window=None, kept=0, mask=None, bias=None, softcap=None,
    sinks=None, scale=None,
):  # fmt: skip
    """By queries, keys, values, and by bias and sinks where given, of attention over what is visible."""
    (T, K), S = q.shape[-2:], k.shape[-2]
    ahead = jnp.arange(S) - jnp.arange(T)[:, None] - (S - T if alignment == "bottom_right" else 0)
    visible = jnp.ones((*q.shape[:-1], S), bool)
    if causal:
        visible &= ahead <= 0
    if window is not None:
        visible &= (jnp.abs(ahead) < window) | (jnp.arange(S) < kept)
    if mask is not None:
        visible &= jnp.asarray(mask)
    if bias is not None:
        visible &= jnp.asarray(bias) != -jnp.inf
    found = _attend_vjp(dy, q, k, v, bias, sinks, visible, K**-0.5 if scale is None else scale, softcap)
    return [gradient for gradient in found if gradient is not None]


@partial(jax.jit, static_argnames="H")
def _block_vjp(dy, x, weights, H, visible, tanh, eps):
    D = x.shape[-1]

    def block(x, g1, b1, q, qb, k, kb, v, vb, out, ob, g2, b2, up, ub, down, db):
        normal = _normalized(x, eps, -1) * g1 + b1
        queries, keys, values = (
            jnp.einsum("btd,hkd->bhtk", normal, w.reshape(H, -1, D)) + b.reshape(H, 1, -1)
            for w, b in ((q, qb), (k, kb), (v, vb))
        )
        mixed = _attention(queries, keys, values, visible, (D // H) ** -0.5)
        x = x + jnp.einsum("bhtk,dhk->btd", mixed, out.reshape(D, H, -1)) + ob
        wide = (_normalized(x, eps, -1) * g2 + b2) @ up.T + ub
        return x + jnp.where(tanh, _gelu(wide, "tanh"), _gelu(wide, "none")) @ down.T + db

    return _pull(block, dy, x, *weights)


def block_vjp(dy, x, weights, H, *, causal=True, approximate="tanh", eps=1e-5):
    """By x and all weights of GPT-2's block, written with an axis for the heads in every weight."""
    T = x.shape[-2]
    visible = jnp.arange(T) <= jnp.arange(T)[:, None] + (0 if causal else T)
    return _block_vjp(dy, x, weights, H, visible, approximate == "tanh", eps)
