"""Published caches of keys and values, steps of decoding, and the roofline they run under.

B sequences of T tokens, L layers, G key-value heads of K, P parameters, e bytes a number; bandwidths in bytes a second.
"""

from __future__ import annotations

from typing import Any

from derivations.architecture import Architecture, Latent
from derivations.inference import cache_entries


def layer(G: Any = 1, K: Any = 1, latent: Latent | None = None) -> Architecture:
    """What a cache sees of one layer."""
    return Architecture(L=1, D=1, H=1, G=G, K=K, F=1, V=1, latent=latent)


def cache_bytes(B, T, L, G, K, e):
    """Keys and values of B sequences of T tokens."""
    return e * L * sum(cache_entries(layer(G=G, K=K), B, T))


def cache_bytes_at(B, T, token):
    """Keys and values at so many bytes a token."""
    return B * T * token


def latent_cache(L, latent, rope):
    """Numbers a token of multi-head latent attention (DeepSeek-V2, §2.1.4)."""
    return L * sum(cache_entries(layer(latent=Latent(latent, 0, rope, 0)), 1, 1))


def latent_cache_in_heads(latent, rope, K):
    """The same in units of K · L."""
    return (latent + rope) / K


def decode_seconds(B, cache, weights, bandwidth):
    """A step that reads the weights and B caches."""
    return (B * cache + weights) / bandwidth


def decode_throughput(B, cache, weights, bandwidth):
    """Tokens a second of such steps."""
    return B / decode_seconds(B, cache, weights, bandwidth)


def ridge(peak, bandwidth):
    """Operations a byte above which arithmetic is the limit."""
    return peak / bandwidth


def seconds_to_read(size, bandwidth):
    """Time to read so many bytes."""
    return size / bandwidth


def prefill_seconds(P, T, n, peak, utilization):
    """Time for 2PT operations at a share of the peak."""
    return 2 * P * T / (n * peak * utilization)
