r"""Information: what a distribution is worth, what it costs to believe another one, and the codes that come near to it.

    H(p) = −Σ p log p,   H(p, q) = −Σ p log q,   D(p‖q) = Σ p log(p/q)

A symbol of probability zero has no part in a sum, whatever its logarithm: 0 log 0 = 0, and it has no gradient. That
rows sum to one is not checked. Logarithms are natural unless a `base` is given: base 2 counts bits.
Article papers/information.md, derivations derivations/information.py and information_….py beside it, laws
verify/information.py. Perplexity of a text symbol by symbol is in reference/markov.py.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def _rows(name: str, p: Tensor, axes: tuple[int, ...] = (-1,)) -> None:
    """Some mass in every row, or table."""
    expect.floating(name, p)
    if p.ndim < len(axes):
        expect.fail(name, f"{len(axes)} axes or more", f"shape {tuple(p.shape)}")
    if bool((p.sum(axes) == 0).any()):
        expect.fail(name, "a distribution in every row", "zeros only")


def _alike(p: Tensor, q: Tensor) -> None:
    _rows("p", p)
    _rows("q", q)
    if q.shape != p.shape:
        expect.fail("q", f"the shape of p, {tuple(p.shape)}", f"shape {tuple(q.shape)}")


def _unit(base: float) -> float:
    """Nats in one unit of information."""
    expect.above("base", base, 1)
    return math.log(base)


def _weighted_log(p: Float[Tensor, "*B V"], q: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    """p log q, and zero where p is zero; NaN in either stays."""
    absent = (p == 0) & ~q.isnan()
    return torch.where(absent, 0, p * torch.log(torch.where(absent, 1, q)))


def surprisal(p: Float[Tensor, "*B"], base: float = math.e) -> Float[Tensor, "*B"]:
    r"""−log p: what the symbol that came is worth, +∞ if it was impossible.

    Raises ValueError for an integer or empty tensor, or unless base > 1. Source: shannon1948communication, §6.
    """
    expect.floating("p", p)
    return -torch.log(p) / _unit(base)


def entropy(p: Float[Tensor, "*B V"], base: float = math.e) -> Float[Tensor, "*B"]:
    r"""−Σ_i p_i log p_i of every row: the mean surprisal of its own draws.

    Raises ValueError for an integer or empty tensor, a row of zeros, or unless base > 1.
    Source: shannon1948communication, §6.
    """
    _rows("p", p)
    return -_weighted_log(p, p).sum(-1) / _unit(base)


def cross_entropy(p: Float[Tensor, "*B V"], q: Float[Tensor, "*B V"], base: float = math.e) -> Float[Tensor, "*B"]:
    r"""−Σ_i p_i log q_i of every row: the mean surprisal of p's draws under the model q, +∞ if q excludes one.

    Raises ValueError unless p and q are floating, not empty and of one shape, no row of zeros, and base > 1.
    Source: goodfellow2016deep, §3.13 eq. (3.51).
    """
    _alike(p, q)
    return -_weighted_log(p, q).sum(-1) / _unit(base)


def kl_divergence(p: Float[Tensor, "*B V"], q: Float[Tensor, "*B V"], base: float = math.e) -> Float[Tensor, "*B"]:
    r"""D(p‖q) = Σ_i p_i log(p_i/q_i) of every row: what the model q costs beyond p's entropy. Not symmetric.

    Raises ValueError as `cross_entropy`. Source: cover2006elements, §2.3.
    """
    _alike(p, q)
    return (_weighted_log(p, p) - _weighted_log(p, q)).sum(-1) / _unit(base)


def js_divergence(p: Float[Tensor, "*B V"], q: Float[Tensor, "*B V"], base: float = math.e) -> Float[Tensor, "*B"]:
    r"""(D(p‖m) + D(q‖m))/2 with m = (p + q)/2, the Jensen–Shannon divergence: symmetric, and at most log 2.

    Raises ValueError as `cross_entropy`. Source: lin1991divergence (Jensen–Shannon divergence).
    """
    _alike(p, q)
    m = (p + q) / 2
    return (kl_divergence(p, m, base) + kl_divergence(q, m, base)) / 2


def mutual_information(joint: Float[Tensor, "*B M V"], base: float = math.e) -> Float[Tensor, "*B"]:
    r"""Σ_ij J_ij log(J_ij / (J_i· J_·j)), J_i· = Σ_j J_ij: the two entropies less that of the pair.

    Raises ValueError for an integer or empty tensor, fewer than two axes, a table of zeros, or unless base > 1.
    Source: cover2006elements, §2.3.
    """
    _rows("joint", joint, (-2, -1))
    first, second = (joint.sum(axis, keepdim=True).expand_as(joint) for axis in (-1, -2))
    logs = _weighted_log(joint, joint) - _weighted_log(joint, first) - _weighted_log(joint, second)
    return logs.sum((-2, -1)) / _unit(base)


def _counted(nats: Tensor, name: str, counts: Tensor) -> None:
    expect.rows("nats", nats)
    expect.integers(name, counts)
    if counts.shape != nats.shape:
        expect.fail(name, f"integers of shape {tuple(nats.shape)}", f"shape {tuple(counts.shape)}")
    if int(counts.min()) < 1:
        expect.fail(name, "positive integers", int(counts.min()))


def perplexity(nats: Float[Tensor, "*B M"], symbols: Int[Tensor, "*B M"]) -> Float[Tensor, "*B"]:
    r"""exp(Σ nats / Σ symbols) of M texts together, from the surprisal of each whole text and its number of symbols.

    Raises ValueError unless nats is floating and not empty, and symbols positive integers of its shape.
    Source: jurafsky2025speech, §3.3.
    """
    _counted(nats, "symbols", symbols)
    return torch.exp(nats.sum(-1) / symbols.sum(-1))


def bits_per_character(nats: Float[Tensor, "*B M"], characters: Int[Tensor, "*B M"]) -> Float[Tensor, "*B"]:
    r"""Σ nats / (ln 2 · Σ characters) of M texts together, whatever tokens they were cut into; per byte, given bytes.

    Raises ValueError as `perplexity`. Source: shannon1948communication, §7.
    """
    _counted(nats, "characters", characters)
    return nats.sum(-1) / characters.sum(-1) / math.log(2)


def _occurring(counts: Tensor) -> None:
    """Only symbols that occur have a codeword."""
    expect.integers("counts", counts)
    if not counts.ndim or not counts.numel():
        expect.fail("counts", "at least one, on an axis", f"shape {tuple(counts.shape)}")
    if int(counts.min()) < 1:
        expect.fail("counts", "positive integers: only symbols that occur have a codeword", int(counts.min()))


def shannon_lengths(counts: Int[Tensor, "*B V"]) -> Int[Tensor, "*B V"]:
    r"""⌈−log₂(c_i / Σ c)⌉, the lengths of Shannon's code: the least l with 2^l c_i ≥ Σ c, in whole numbers.

    Raises ValueError unless counts are positive integers, at least one, whose sum is below 2^31.
    Source: shannon1948communication, §9.
    """
    _occurring(counts)
    total = counts.long().sum(-1, keepdim=True)
    if int(total.max()) >= 2**31:
        expect.fail("counts", "a sum below 2^31", int(total.max()))
    enough = counts.long()[..., None] << torch.arange(31, device=counts.device)
    return (enough < total[..., None]).sum(-1)


def huffman(counts: Int[Tensor, "V"]) -> Int[Tensor, "V"]:
    r"""Codeword lengths by Huffman's procedure: the two lightest are merged until one is left; V = 1 has length 0.

    Of equal weights a symbol goes before a merged node and a lower index before a higher: of all optimal codes this
    one has the least sum of lengths (schwartz1964optimum), and of equal counts the lower index the longer word.
    Raises ValueError unless counts are positive integers on one axis, at least one. Source: huffman1952method.
    """
    V = expect.axes("counts", counts, "V")["V"]
    _occurring(counts)
    heap = [(weight, leaf) for leaf, weight in enumerate(counts.tolist())]
    heapq.heapify(heap)
    above, depth = [0] * (2 * V - 1), [0] * (2 * V - 1)
    for node in range(V, 2 * V - 1):
        (a, one), (b, other) = heapq.heappop(heap), heapq.heappop(heap)
        above[one] = above[other] = node
        heapq.heappush(heap, (a + b, node))
    for node in range(2 * V - 3, -1, -1):
        depth[node] = depth[above[node]] + 1
    return torch.tensor(depth[:V])


def _natural_lengths(lengths: Tensor) -> None:
    expect.indices("lengths", lengths, 63)
    if not lengths.ndim or not lengths.numel():
        expect.fail("lengths", "at least one, on an axis", f"shape {tuple(lengths.shape)}")


def kraft_sum(lengths: Int[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    r"""Σ_i 2^(−l_i) in float64: at most one if and only if a binary prefix code has these lengths.

    Raises ValueError unless lengths are integers from 0 to 62, at least one. Source: cover2006elements, Theorem 5.2.1.
    """
    _natural_lengths(lengths)
    return (1 / (1 << lengths.long()).double()).sum(-1)


def mean_length(counts: Int[Tensor, "*B V"], lengths: Int[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    r"""Σ c_i l_i / Σ c_i in float64: bits a symbol.

    Raises ValueError unless both are integers of one shape, counts positive, lengths from 0 to 62.
    Source: cover2006elements, §5.1 eq. (5.1).
    """
    _occurring(counts)
    _natural_lengths(lengths)
    if lengths.shape != counts.shape:
        expect.fail("lengths", f"the shape of counts, {tuple(counts.shape)}", f"shape {tuple(lengths.shape)}")
    return (counts.long() * lengths).sum(-1).double() / counts.sum(-1)


def codewords(lengths: Int[Tensor, "V"]) -> Int[Tensor, "V"]:
    r"""The canonical prefix code of these lengths: symbol i gets the lowest l_i binary digits of entry i.

    Shorter words come first, of equal ones the lower index; each is the sum of 2^(−l) over those before it, in binary.
    Raises ValueError unless lengths are integers from 0 to 62 on one axis whose Kraft sum is at most one.
    Source: deutsch1996deflate, §3.2.2.
    """
    expect.axes("lengths", lengths, "V")
    _natural_lengths(lengths)
    words, start, before = [0] * len(lengths), 0, 0
    for l, i in sorted((l, i) for i, l in enumerate(lengths.tolist())):
        start <<= l - before
        if start >= 2**l:
            expect.fail("lengths", "a Kraft sum of at most one", lengths.tolist())
        words[i], start, before = start, start + 1, l
    return torch.tensor(words)
