"""The quantized types of GGUF, from blocks of random bytes, beside the package and beside each type's definition."""

import gguf
import numpy as np
import pytest
import torch

from reference.checkpoint import load
from tests_interop.gguf_files import llama

HALVES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,), "IQ4_XS": (0,),
          "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}  # fmt: skip
"""Where a block has its scales of 16 bits, which random bytes could make infinite."""
D, V = 256, 8


def blocks(kind, count, seed):
    """Blocks whose other bytes may be anything."""
    draw = np.random.default_rng(seed)
    data = draw.integers(0, 256, (count, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for place in HALVES[kind.name]:
        data[:, place : place + 2] = draw.normal(size=(count, 1)).astype(np.float16).view(np.uint8)
    return data


def half(block, place):
    return float(block[place : place + 2].view(np.float16)[0])


def six(s, g):
    """The g-th of eight scales and of eight least values, six bits each, in twelve bytes."""
    if g < 4:
        return s[g] & 63, s[g + 4] & 63
    return (s[g + 4] & 15) | (s[g - 4] >> 6) << 4, (s[g + 4] >> 4) | (s[g] >> 6) << 4


def of_32(block, k, rest, fifth=None):
    """Q4_K and Q5_K: eight groups of 32, whose halves of bytes alternate, d·scale·q − dmin·least."""
    g, l = divmod(k, 32)
    scale, least = six([int(b) for b in block[4:16]], g)
    q = int(block[rest + g // 2 * 32 + l]) >> g % 2 * 4 & 15
    if fifth is not None:
        q |= (int(block[fifth + l]) >> g & 1) << 4
    return half(block, 0) * scale * q - half(block, 2) * least


def q2_k(block, k):
    n, scale = int(block[16 + k // 128 * 32 + k % 32]) >> k % 128 // 32 * 2 & 3, int(block[k // 16])
    return half(block, 80) * (scale & 15) * n - half(block, 82) * (scale >> 4)


def q3_k(block, k):
    j, g = k % 128 // 32, k // 16
    n = int(block[32 + k // 128 * 32 + k % 32]) >> j * 2 & 3
    n -= 0 if int(block[k % 32]) >> k // 32 & 1 else 4
    scale = int(block[96 + g % 8]) >> g // 8 * 4 & 15 | (int(block[104 + g % 4]) >> g // 4 * 2 & 3) << 4
    return half(block, 108) * (scale - 32) * n


def q6_k(block, k):
    """Two halves of 128: four bits and then two of each, in four rows of 32; scales with a sign, of 16 each."""
    part, rest = divmod(k, 128)
    row, l = divmod(rest, 32)
    low = int(block[part * 64 + row % 2 * 32 + l]) >> row // 2 * 4 & 15
    high = int(block[128 + part * 32 + l]) >> row * 2 & 3
    return half(block, 208) * int(block[192 + k // 16].view(np.int8)) * ((low | high << 4) - 32)


def q8_0(block, k):
    return half(block, 0) * int(block[2 + k].view(np.int8))


def q5_1(block, k):
    fifth = int(block[4 + k // 8]) >> k % 8 & 1
    return half(block, 0) * (int(block[8 + k % 16]) >> k // 16 * 4 & 15 | fifth << 4) + half(block, 2)


DIRECT = {"Q2_K": q2_k, "Q3_K": q3_k, "Q4_K": lambda block, k: of_32(block, k, 16),
          "Q5_K": lambda block, k: of_32(block, k, 48, 16), "Q6_K": q6_k, "Q8_0": q8_0, "Q5_1": q5_1}  # fmt: skip
"""The k-th number of a block, by its definition: exact in float64, and rounded to float32 once."""


@pytest.mark.parametrize("name", HALVES)
def test_numbers_of_any_block(name, tmp_path):
    kind = gguf.GGMLQuantizationType[name]
    size, width = gguf.GGML_QUANT_SIZES[kind]
    written = {}

    def data(tensor, shape):
        found = blocks(kind, shape[0] * shape[1] // size, len(written)).reshape(shape[0], -1)
        return written.setdefault(tensor, found)

    found = load(llama(tmp_path / "a.gguf", V, D, 512, data=data, kind=kind)).weights
    same = {"tokens": "token_embd", "blocks.0.v": "blk.0.attn_v", "blocks.0.down": "blk.0.ffn_down"}
    for ours, theirs in same.items():
        numbers = torch.from_numpy(gguf.dequantize(written[theirs], kind))
        assert found[f"{ours}.weight"].equal(numbers) and numbers.isfinite().all()
    if name in DIRECT:
        rows = written["token_embd"].reshape(-1, width)
        direct = [DIRECT[name](block, k) for block in rows for k in range(size)]
        assert found["tokens.weight"].flatten().equal(torch.tensor(direct, dtype=torch.float64).float())
