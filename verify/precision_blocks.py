"""Laws of blocks that share a scale."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.precision import FORMATS, decode
from verify.compare import close
from verify.inputs import drawn, tensor
from verify.suite import Operation

BLOCKS = [None, (1, 2), (2, 3), (1, 128), (4, 1)]
RANGES = ["e4m3", "e5m2", "e2m1", "fp16"]


@st.composite
def matrices(draw):
    """A matrix that no block divides, of few digits or all, its rows of several sizes, zero or tiny, some with NaN."""
    R, C = draw(st.sampled_from([(2, 3), (3, 5), (4, 7)]))
    low, scale = draw(st.sampled_from([-12, -60])), draw(st.sampled_from([1.0, 1 / 3]))
    x = draw(tensor(R, C, scale=scale)) * 2.0 ** draw(drawn(R, 1, low=low, high=12)).double()
    x = torch.where(draw(drawn(R, 1, low=0, high=3)) == 0, 0, x)
    name = draw(st.sampled_from(RANGES))
    if name != "e2m1":
        x = torch.where(draw(drawn(R, C, low=0, high=60)) == 60, math.nan, x)
    return {"x": x, "format": name, "block": draw(st.sampled_from(BLOCKS)), "powers": draw(st.booleans())}


@st.composite
def stored(draw):
    """Codes of numbers, and of what is none, with a scale for each block."""
    (R, C), name = draw(st.sampled_from([(2, 3), (9, 5)])), draw(st.sampled_from(RANGES))
    block, f = draw(st.sampled_from([b for b in BLOCKS if b != (1, 128)])), FORMATS[name]
    rows, columns = block or (R, C)
    sign = draw(drawn(R, C, low=0, high=1)) * 2 ** (f.bits - 1)
    codes = draw(drawn(R, C, low=0, high=f.top + (f.special != "none"))) + sign
    scales = draw(tensor(-(-R // rows), -(-C // columns), low=1, scale=draw(st.sampled_from([0.25, 1 / 3]))))
    return {"codes": codes, "scales": scales, "block": block, "format": name}


def back(codes, scales, format, block):
    """x from its parts: the scale of an entry is that of its block."""
    rows, columns = block or codes.shape
    r, c = (torch.arange(n) for n in codes.shape)
    return decode(codes, format) * scales[r // rows][:, c // columns]


def one_block_by_hand(quantize, x, **options):
    """896 and 1, 0.01 and −3 in one block: the scale is 2, the codes those of 448, 0.5, 0.005 and −1.5."""
    matrix = torch.tensor([[896.0, 1.0], [0.01, -3.0]]).double()
    codes, scales = quantize(matrix)
    close(scales, torch.tensor([[2.0]]).double())
    assert codes.tolist() == [[126, 0x30], [3, 0xBC]], f"{codes.tolist()}"
    assert decode(codes).tolist() == [[448.0, 0.5], [0.005859375, -1.5]]


def largest_entry_becomes_the_largest_number(quantize, x, format, block, powers):
    """In every block that is not zero, and has no NaN; with powers of two at least half of that."""
    codes, scales = quantize(x, format, block, powers)
    rows, columns = block or x.shape
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            place = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
            if x[place].any() and not x[place].isnan().any():
                top = float(decode(codes[place], format).abs().max())
                allowed = FORMATS[format].largest / 2 if powers else FORMATS[format].largest
                assert allowed <= top <= FORMATS[format].largest, f"block {i}, {j}: {top}"


def entries_come_back(quantize, x, format, block, powers):
    """Within u of each, or half the least number times its scale: `block_scaling_bounds_the_error`."""
    codes, scales = quantize(x, format, block, powers)
    f, found = FORMATS[format], back(codes, scales, format, block)
    floor = back(torch.full_like(codes, f.top), scales, format, block) / f.largest * f.least / 2
    allowed = torch.maximum(f.roundoff * x.abs(), floor) * (1 + 2.0**-40)
    assert ((found - x).abs() <= allowed)[~(x.isnan() | found.isnan())].all(), f"{found.tolist()} for {x.tolist()}"


def zeros_have_the_scale_one(quantize, x, format, block, powers):
    """A block of zeros is no division of zero by zero; NaN stays in its block."""
    codes, scales = quantize(torch.zeros_like(x), format, block, powers)
    assert not codes.any() and (scales == 1).all(), f"codes {codes.tolist()}, scales {scales.tolist()}"
    if format != "e2m1":
        broken = torch.ones(2, 4).double()
        broken[0, 0] = math.nan
        codes, scales = quantize(broken, format, (1, 2), powers)
        found = back(codes, scales, format, (1, 2))
        assert found.isnan().tolist() == [[True, True, False, False], [False] * 4], f"{found.tolist()}"


def powers_of_two_fit(quantize, x, format, block, powers):
    """With `powers` every scale is one, the least that fits."""
    _, scales = quantize(x, format, block, powers)
    _, plain = quantize(x, format, block)
    known = scales[~scales.isnan()]
    if powers:
        assert (torch.frexp(known).mantissa == 0.5).all(), f"{known.tolist()}"
        fits = ((scales >= plain) & (scales < 2 * plain)) | scales.isnan() | (plain == 1)
        assert fits.all(), f"{scales.tolist()} for {plain.tolist()}"


def deepseeks_when_left_out(quantize, x, format, block, powers):
    """Of e4m3, in blocks of 128 × 128, and no power of two, unless they are named."""
    if not x.isnan().any():
        codes, scales = quantize(x)
        assert torch.equal(codes, quantize(x, "e4m3", None, False)[0]) and scales.shape == (1, 1)
    assert quantize(torch.ones(129, 257).double())[1].shape == (2, 3), "blocks"


def two_blocks_by_hand(dequantize, codes, scales, **options):
    """Codes of 1, 2 and −0.5 in rows of two, with scales 3, 5, 7 and 11."""
    codes = torch.tensor([[0x38, 0x40, 0xB0], [0x38, 0x38, 0x40]])
    scales = torch.tensor([[3.0, 5.0], [7.0, 11.0]]).double()
    expected = torch.tensor([[3.0, 6.0, -2.5], [7.0, 7.0, 22.0]]).double()
    close(dequantize(codes, scales, (1, 2), "e4m3"), expected)
    close(dequantize(codes, scales[:1], (2, 2), "e4m3"), torch.tensor([[3.0, 6.0, -2.5], [3.0, 3.0, 10.0]]).double())


def scales_are_factors(dequantize, codes, scales, block, format):
    """Twice the scales, twice the numbers."""
    once = dequantize(codes, scales, block, format)
    close(dequantize(codes, 2 * scales, block, format), 2 * once)
    close(dequantize(codes, torch.ones_like(scales), block, format), decode(codes, format))


def e4m3_when_left_out(dequantize, codes, scales, **options):
    """And one scale for the whole matrix without blocks."""
    codes, one = codes % 120, torch.tensor([[3.0]]).double()
    close(dequantize(codes, one, None), 3 * decode(codes))


def scale_as_a_factor(f, x, format="e4m3", block=(128, 128), powers=False):
    """The scale is the factor that takes x to its codes, not the one that takes them back."""
    codes, scales = f(x, format, block, powers)
    return codes, 1 / scales


def tiny_scale_for_zeros(f, x, format="e4m3", block=(128, 128), powers=False):
    """A block of zeros gets a scale of 10⁻¹² over the largest number."""
    codes, scales = f(x, format, block, powers)
    rows, columns = block or x.shape
    padded = torch.nn.functional.pad(x.abs(), (0, -x.shape[1] % columns, 0, -x.shape[0] % rows))
    amax = padded.unflatten(0, (-1, rows)).unflatten(2, (-1, columns)).amax((1, 3))
    return codes, torch.where(amax == 0, 1e-12 / FORMATS[format].largest, scales)


OPERATIONS = [
    Operation(
        "precision.quantize",
        inputs=matrices(),
        laws=[
            one_block_by_hand,
            largest_entry_becomes_the_largest_number,
            entries_come_back,
            zeros_have_the_scale_one,
            powers_of_two_fit,
            deepseeks_when_left_out,
        ],
        conventions={"the scale is largest/max|x|": scale_as_a_factor, "10⁻¹² for zeros": tiny_scale_for_zeros},
    ),
    Operation(
        "precision.dequantize",
        inputs=stored(),
        laws=[two_blocks_by_hand, scales_are_factors, e4m3_when_left_out],
        gradients=("scales",),
        free=(),
    ),
]
