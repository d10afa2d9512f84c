"""Flash attention beside PyTorch's, its largest allocation, what it moves as counted, and refusals."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.closed import evaluated
from derivations.flash_io import BACKWARD, BACKWARD_FLOPS, CAUSAL, FORWARD, FORWARD_FLOPS, NAIVE
from reference.flash import flash_attention, flash_attention_backward, flash_attention_vjp, merge, online_softmax
from reference.flash_io import Memory, keys_that_fit, naive, queries_that_fit, tiled, tiled_backward

F = torch.float64


def draw(*shape, seed=0, dtype=F):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made under it has."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.most = max([self.most, *(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))])
        return out


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_pytorchs(causal):
    q, k, v, dy = (draw(2, 3, 50, 8, seed=s).requires_grad_() for s in range(4))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    out, lse = flash_attention(q, k, v, causal=causal, block_q=16, block_k=12)
    torch.testing.assert_close(out, theirs)
    scores = q @ k.mT / 8**0.5
    hidden = torch.ones(50, 50, dtype=torch.bool).triu(1) & causal
    torch.testing.assert_close(lse, scores.masked_fill(hidden, -torch.inf).logsumexp(-1))
    back = flash_attention_vjp(dy, q, k, v, causal=causal, block_q=16, block_k=12)
    for ours, expected in zip(back, torch.autograd.grad(theirs, (q, k, v), dy), strict=True):
        torch.testing.assert_close(ours, expected)


def test_the_way_back_needs_what_was_kept_and_nothing_else():
    q, k, v, dy = (draw(1, 2, 9, 4, seed=s) for s in range(4))
    kept = flash_attention(q, k, v, causal=True, block_q=4, block_k=2)
    ours = flash_attention_backward(dy, q, k, v, *kept, causal=True, block_q=3, block_k=5)
    for a, b in zip(ours, flash_attention_vjp(dy, q, k, v, causal=True), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("causal", [False, True])
def test_no_tensor_is_as_large_as_the_matrix(causal):
    """Of 600 × 700 scores nothing is made but tiles of 32 × 16; inputs and results are the largest tensors."""
    q, k, v, dy = (draw(1, 1, n, 4, seed=s) for s, n in enumerate((600, 700, 700, 600)))
    with Largest() as seen:
        flash_attention_vjp(dy, q, k, v, causal=causal, block_q=32, block_k=16)
    assert seen.most == 700 * 4


def test_a_hidden_value_makes_no_matrix_either():
    q, k, v = (draw(1, 1, 300, 4, seed=s) for s in range(3))
    v[..., -1, :] = torch.nan
    with Largest() as seen:
        out, _ = flash_attention(q, k, v, causal=True, block_q=16, block_k=16)
    assert out[..., :-1, :].isfinite().all() and seen.most == 300 * 4


SIZES = [(50, 70, 8, 900, 5), (64, 64, 8, 700, 3), (61, 61, 4, 10_000, 7), (13, 40, 5, 300, 1)]


@pytest.mark.parametrize(("T", "S", "K", "M", "beside"), SIZES)
def test_what_moves_is_what_is_proved(T, S, K, M, beside):
    q, k, v, do = (draw(n, K, seed=s) for s, n in enumerate((T, S, S, T)))
    rows, columns = queries_that_fit(M, K, beside), keys_that_fit(M, K, beside)
    sizes = {"T": T, "S": S, "K": K, "n": -(-T // rows), "m": -(-S // columns)}
    memory = Memory(M)
    o, lse = tiled(q, k, v, memory, block_q=rows, block_k=beside)
    assert memory.moved == evaluated(FORWARD, **sizes) and memory.held == 0 and memory.most <= M
    full = rows <= T and beside <= S
    assert not full or memory.most + 2 * K + 3 + beside > M, "one query more would have fitted"
    heads = [x[None, None] for x in (q, k, v)]
    for ours, theirs in zip((o, lse), flash_attention(*heads), strict=True):
        torch.testing.assert_close(ours, theirs[0, 0])
    memory = Memory(M)
    gradients = tiled_backward(do, q, k, v, o, lse, memory, block_q=beside, block_k=columns)
    assert memory.moved == evaluated(BACKWARD, **sizes) and memory.held == 0 and memory.most <= M
    for ours, theirs in zip(gradients, flash_attention_vjp(do[None, None], *heads), strict=True):
        torch.testing.assert_close(ours, theirs[0, 0])
    memory = Memory()
    torch.testing.assert_close(naive(q, k, v, memory), o)
    assert memory.moved == evaluated(NAIVE, **sizes)


def test_causal_tiles_move_half_and_the_diagonal():
    T, K, M = 60, 8, 900
    side = max(B for B in range(1, T) if T % B == 0 and B * (2 * K + 3 + B) + 2 * B * K <= M)
    q, k, v = (draw(T, K, seed=s) for s in range(3))
    memory = Memory(M)
    o, lse = tiled(q, k, v, memory, block_q=side, block_k=side, causal=True)
    assert memory.moved == evaluated(CAUSAL, T=T, K=K, n=T // side) and side > 1
    do, kept = draw(T, K, seed=3), Memory()
    ours = tiled_backward(do, q, k, v, o, lse, kept, block_q=side, block_k=7, causal=True)
    theirs = flash_attention_vjp(do[None, None], *(x[None, None] for x in (q, k, v)), causal=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b[0, 0])


@pytest.mark.parametrize("tiles", [(16, 16), (7, 9), (100, 100)])
def test_operations_are_those_of_the_proof(tiles):
    from bench.meter import counted_flops

    q, k, v, dy = (torch.zeros(1, 1, n, 8) for n in (33, 41, 41, 33))
    options = dict(zip(("block_q", "block_k"), tiles, strict=True))
    kept = flash_attention(q, k, v)
    sizes = {"T": 33, "S": 41, "K": 8}
    assert counted_flops(lambda: flash_attention(q, k, v, **options)) == evaluated(FORWARD_FLOPS, **sizes)
    back = counted_flops(lambda: flash_attention_backward(dy, q, k, v, *kept, **options))
    assert back == evaluated(BACKWARD_FLOPS, **sizes)


def test_a_sum_of_nothing_has_no_slope():
    z = torch.full((2, 3), -torch.inf, dtype=F).requires_grad_()
    weights, total = online_softmax(z, 2)
    (slope,) = torch.autograd.grad(weights.sum() + torch.where(total.isfinite(), total, 0).sum(), z)
    assert not slope.any()
    lse = torch.full((2,), -torch.inf, dtype=F).requires_grad_()
    out, _ = merge(draw(2, 3), lse, draw(2, 3, seed=1), lse)
    (slope,) = torch.autograd.grad(out.sum(), lse)
    assert not slope.any() and not out.any()


Q = torch.ones(1, 2, 3, 4, dtype=F)
ROW = torch.ones(3, 4, dtype=F)
REFUSED = {
    "no block": (lambda: online_softmax(ROW, 0), "block: expected an integer ≥ 1, received 0"),
    "integer logits": (lambda: online_softmax(ROW.long(), 2), "z: expected a floating-point tensor"),
    "outputs of two shapes": (lambda: merge(ROW, ROW[:, 0], ROW[:2], ROW[:, 0]), "o2: expected the shape of o1"),
    "one number for all": (lambda: merge(ROW, ROW[:, 0], ROW, ROW[0, 0]), "lse2: expected a number for each output"),
    "whole numbers to merge": (lambda: merge(ROW, ROW[:, 0].long(), ROW, ROW[:, 0]), "lse1: expected a floating-point"),
    "tile of no query": (lambda: flash_attention(Q, Q, Q, block_q=0), "block_q: expected an integer ≥ 1"),
    "tile of no key": (lambda: flash_attention(Q, Q, Q, block_k=-1), "block_k: expected an integer ≥ 1"),
    "keys and values": (lambda: flash_attention(Q, Q, torch.ones(1, 2, 5, 4)), "axis S: expected one size, 3"),
    "heads": (lambda: flash_attention(Q, Q[:, :1], Q[:, :1]), "axis H: expected one size, 2, received 1"),
    "width of values": (lambda: flash_attention(Q, Q, Q[..., :2]), "axis K: expected one size, 4, received 2"),
    "three axes": (lambda: flash_attention(Q[0], Q[0], Q[0]), "q: expected axes B H T K"),
    "infinite scale": (lambda: flash_attention(Q, Q, Q, scale=torch.inf), "scale: expected a number"),
    "gradient of another shape": (lambda: flash_attention_vjp(Q[:, :, :2], Q, Q, Q), r"do: expected shape \(1, 2, 3"),
    "kept of another shape": (
        lambda: flash_attention_backward(Q, Q, Q, Q, Q, Q[..., :2]), r"lse: expected shape \(1, 2, 3\)",
    ),
    "nothing fits": (lambda: queries_that_fit(10, 8, 1), "M: expected at least 36 numbers, received 10"),
    "no key fits": (lambda: keys_that_fit(10, 8, 1), "M: expected at least 60 numbers, received 10"),
    "too large a tile": (
        lambda: tiled(ROW, ROW, ROW, Memory(20), block_q=3, block_k=3), "M: expected a memory that holds",
    ),
    "causal with a cache": (
        lambda: tiled(ROW[:2], ROW, ROW, Memory(), block_q=1, block_k=1, causal=True), "axis S: expected one size, 2",
    ),
    "dimension of values": (lambda: naive(ROW, ROW, ROW[:, :3], Memory()), "axis K: expected one size, 4, received 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
