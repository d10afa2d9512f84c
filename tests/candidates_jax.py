"""Functions of jax to be checked, loaded by file into a process of their own: this one holds no torch."""

import jax
import jax.numpy as jnp


def attention(query, key, value, mask=None):
    """The library's, whose masked scores are finite."""
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    kept = None if mask is None else jnp.reshape(mask, (*(1,) * (4 - mask.ndim), *mask.shape))
    return jnp.swapaxes(jax.nn.dot_product_attention(q, k, v, mask=kept), 1, 2)


def gelu(x, approximate="none"):
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def softmax(logits):
    return jnp.nan_to_num(jax.nn.softmax(logits, -1))
