"""Time beside peers in the same run: pytest-benchmark prints each as a multiple of the fastest."""

import pytest
import torch

from reference.attention import attention


def fused(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def explicit(q, k, v):
    return attention(q, k, v, causal=True)


@pytest.mark.parametrize("f", [explicit, fused], ids=["reference", "PyTorch's fused"])
@pytest.mark.parametrize("T", [128, 512])
def test_causal_attention(benchmark, T, f):
    benchmark.group = f"causal attention, T = {T}"
    q, k, v = (torch.randn(1, 4, T, 64, generator=torch.Generator().manual_seed(s)) for s in range(3))
    torch.testing.assert_close(benchmark(f, q, k, v), fused(q, k, v), atol=1e-5, rtol=1e-5)
