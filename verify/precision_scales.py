"""Laws of blocks that share a scale, of the loss scale and its steps, and of what a format does to gradients."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.precision import FORMATS, decode
from verify.compare import close
from verify.inputs import booleans, drawn, tensor
from verify.suite import Operation

BLOCKS = [None, (1, 2), (2, 3), (1, 128), (3, 1)]
RANGES = ["e4m3", "e5m2", "e2m1", "fp16"]


@st.composite
def matrices(draw):
    """A matrix that no block divides, its rows of different sizes, with blocks of zeros, and at times a NaN."""
    R, C = draw(st.sampled_from([(2, 3), (3, 5), (4, 7)]))
    x = draw(tensor(R, C)) * 2.0 ** draw(drawn(R, 1, low=-12, high=12)).double()
    x = torch.where(draw(drawn(R, 1, low=0, high=3)) == 0, 0, x)
    name = draw(st.sampled_from(RANGES))
    if name != "e2m1":
        x = torch.where(draw(drawn(R, C, low=0, high=60)) == 60, math.nan, x)
    return {"x": x, "format": name, "block": draw(st.sampled_from(BLOCKS)), "powers": draw(st.booleans())}


@st.composite
def stored(draw):
    """Codes of numbers, with a scale for each block."""
    (R, C), name = draw(st.sampled_from([(2, 3), (3, 5)])), draw(st.sampled_from(RANGES))
    block, f = draw(st.sampled_from([b for b in BLOCKS if b != (1, 128)])), FORMATS[name]
    rows, columns = block or (R, C)
    codes = draw(drawn(R, C, low=0, high=f.top)) + draw(drawn(R, C, low=0, high=1)) * 2 ** (f.bits - 1)
    scales = draw(tensor(-(-R // rows), -(-C // columns), low=1, scale=0.25))
    return {"codes": codes, "scales": scales, "block": block, "format": name}


@st.composite
def histories(draw):
    """Which of some steps overflowed: none, all, a few; an interval that is often over, and growth other than two."""
    few, N = draw(st.sampled_from([0, 1, 3])), draw(st.sampled_from([1, 7, 24]))
    return {
        "overflows": draw(drawn(N, low=0, high=9)) < few if few < 3 else draw(booleans(N)),
        "start": draw(st.sampled_from([65536.0, 1.0, 2.0**126])),
        "growth": draw(st.sampled_from([2.0, 4.0, 1.5])),
        "backoff": draw(st.sampled_from([0.5, 0.25])),
        "interval": draw(st.sampled_from([1, 2, 3, 5])),
    }


@st.composite
def paths(draw):
    """Gradients that fit a format when scaled, or overflow it at first, or always; at times a NaN."""
    N, P = draw(st.sampled_from([(1, 2), (4, 3), (6, 2)]))
    gradients = draw(tensor(N, P)) * 2.0 ** draw(drawn(N, 1, low=-3, high=9)).double()
    gradients = torch.where(draw(drawn(N, P, low=0, high=40)) == 40, math.nan, gradients)
    return {
        "x": draw(tensor(P)),
        "gradients": gradients,
        "lr": draw(st.sampled_from([0.5, 0.125])),
        "max_norm": draw(st.sampled_from([math.inf, 1.0, 8.0])),
        "format": draw(st.sampled_from(["fp16", "e5m2", "e4m3", "fp32"])),
        "start": draw(st.sampled_from([65536.0, 1024.0, 1.0])),
        "growth": 2.0,
        "backoff": 0.5,
        "interval": draw(st.sampled_from([1, 2, 4])),
    }


@st.composite
def gradients(draw):
    """Magnitudes about the three edges of a format, on them and beside them, with zeros, infinities and NaN."""
    name = draw(st.sampled_from(["fp16", "e4m3", "e5m2", "bf16", "fp32"]))
    f = FORMATS[name]
    step = f.largest / (f.top % 2**f.mantissa + 2**f.mantissa)
    edges = [f.least / 2, f.least_normal - f.least / 2, f.largest + step / 2, f.least, f.least_normal, f.largest, 1.0]
    near = [e * part for e in edges for part in (1, 1 + 2.0**-30, 1 - 2.0**-30)]
    kinds = torch.tensor([*near, 0.0, 0.0, math.inf, math.nan], dtype=torch.float64)
    N = draw(st.sampled_from([1, 6, 40]))
    signs = 1 - 2 * draw(drawn(N, low=0, high=1)).double()
    return {"gradients": kinds[draw(drawn(N, low=0, high=len(kinds) - 1))] * signs, "format": name}


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


def grows_after_the_interval(scales, overflows, **options):
    """Three good steps double it, and again three; the fourth alone does nothing."""
    path = scales(torch.zeros(7, dtype=torch.bool), start=8.0, interval=3)
    close(path, torch.tensor([8, 8, 16, 16, 16, 32, 32]).double())


def shrinks_at_once(scales, overflows, **options):
    """An overflow halves it, every overflow; then a whole interval must pass."""
    flags = torch.tensor([0, 0, 1, 1, 0, 0, 0, 0]).bool()
    close(scales(flags, start=8.0, interval=3), torch.tensor([8, 8, 4, 2, 2, 2, 4, 4]).double())
    flags = torch.tensor([0, 0, 1, 0, 0, 0]).bool()
    close(
        scales(flags, start=1.0, interval=3, growth=4.0, backoff=0.25),
        torch.tensor([1, 1, 0.25, 0.25, 0.25, 1]).double(),
    )


def never_beyond_fp32(scales, overflows, **options):
    """A scale that fp32 cannot hold is not taken; the count goes on."""
    path = scales(torch.tensor([0, 0, 0, 1, 0]).bool(), start=2.0**126, interval=1)
    close(path, torch.tensor([127, 127, 127, 126, 127]).double().exp2())


def two_thousand_when_left_out(scales, overflows, **options):
    """From 65536, doubled after 2000 steps, halved at an overflow."""
    path = scales(torch.arange(2002) == 2001)
    assert path[[0, 1998, 1999, 2000, 2001]].tolist() == [65536.0, 65536.0, 131072.0, 131072.0, 65536.0], "defaults"


def plain_descent_without_overflow(sgd, x, gradients, **options):
    """While nothing overflows the scale changes nothing."""
    small = torch.where(gradients.isfinite(), gradients, 0).clamp(-4, 4)
    path, _ = sgd(x, small, lr=0.5, start=4.0, interval=100)
    close(path, x - 0.5 * small.cumsum(0), scale=1)


def overflow_skips_the_step(sgd, x, gradients, **options):
    """At the scale 65536 half precision holds gradients below one: 2 is skipped; 3/2 is not, at 32768."""
    g = torch.tensor([[2.0], [1.5], [0.75]]).double()
    path, scales = sgd(torch.zeros(1).double(), g, lr=1.0)
    close(path, torch.tensor([[0.0], [-1.5], [-2.25]]).double())
    close(scales, torch.tensor([32768.0, 32768.0, 32768.0]).double())
    lost = torch.tensor([[1.0, math.nan], [1.0, 1.0]]).double()
    path, scales = sgd(torch.zeros(2).double(), lost, lr=1.0, start=8.0)
    close(path, torch.tensor([[0.0, 0.0], [-1.0, -1.0]]).double())
    close(scales, torch.tensor([4.0, 4.0]).double())


def clipped_after_unscaling(sgd, x, gradients, **options):
    """A gradient 3, 4 has norm 5, whatever the scale: at most 1, it is 3/5, 4/5; 0.3, 0.4 is left alone."""
    g = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    for start in (1.0, 1024.0):
        path, _ = sgd(torch.zeros(2).double(), g, lr=1.0, max_norm=1.0, start=start)
        close(path, torch.tensor([[-6.0, -8.0], [-9.0, -12.0]]).double() / 10)


def the_largest_number_is_no_overflow(sgd, x, gradients, **options):
    """448 fits e4m3 and 449 does not; both fit fp16."""
    g = torch.tensor([[448.0], [449.0], [449.0]]).double()
    path, _ = sgd(torch.zeros(1).double(), g, lr=1.0, format="e4m3", start=1.0)
    close(path, torch.tensor([[-448.0], [-448.0], [-897.0]]).double())
    path, _ = sgd(torch.zeros(1).double(), g, lr=1.0, start=1.0)
    close(path, -g.cumsum(0))


def scale_takes_its_path(sgd, x, gradients, **options):
    """It grows after an interval without overflow, and by default starts at 65536."""
    quiet = torch.full((4, 1), 2.0**-30).double()
    _, scales = sgd(torch.zeros(1).double(), quiet, lr=1.0, start=2.0, interval=2)
    close(scales, torch.tensor([2.0, 4.0, 4.0, 8.0]).double())
    close(sgd(torch.zeros(1).double(), quiet, lr=1.0)[1], 65536.0)


def four_kinds_by_hand(monitor, gradients, format):
    """2⁻²⁵ is lost in half precision, 2⁻²⁴ subnormal, 65519 the largest, 65520 too large; zero is no gradient."""
    g = torch.tensor([0.0, 2.0**-25, -(2.0**-24), 2.0**-14, -65519.0, 65520.0, math.inf, math.nan, 1.0]).double()
    shares, exponents, counts = monitor(g)
    close(shares, torch.tensor([1, 1, 3]).double() / 8)
    assert exponents.tolist() == [-25, -24, -14, 0, 15] and counts.tolist() == [1, 1, 1, 1, 2], f"{exponents}, {counts}"
    shares, _, _ = monitor(torch.tensor([464.0, 465.0, 2.0**-10, 2.0**-9, 1.0]).double(), "e4m3")
    close(shares, torch.tensor([1, 1, 1]).double() / 5)


def histogram_counts_all(monitor, gradients, format):
    """Every finite gradient that is not zero is counted once, between its power of two and the next."""
    _, exponents, counts = monitor(gradients, format)
    size = gradients.abs()[gradients.isfinite() & (gradients != 0)]
    assert int(counts.sum()) == len(size), f"{counts.tolist()} for {len(size)}"
    for e, n in zip(exponents.tolist(), counts.tolist(), strict=True):
        assert n == int(((size >= 2.0**e) & (size < 2.0 ** (e + 1))).sum()), f"2^{e}: {n}"


def zeros_do_not_count(monitor, gradients, format):
    """More zeros change nothing, and zeros alone have no share."""
    more = torch.cat([gradients, torch.zeros(5).double(), -torch.zeros(5).double()])
    for ours, without in zip(monitor(more, format), monitor(gradients, format), strict=True):
        close(ours, without.double())
    shares, exponents, _ = monitor(torch.zeros(3).double(), format)
    assert not shares.any() and not exponents.numel(), f"{shares.tolist()}"


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
    Operation(
        "precision.loss_scales",
        inputs=histories(),
        laws=[grows_after_the_interval, shrinks_at_once, never_beyond_fp32, two_thousand_when_left_out],
    ),
    Operation(
        "precision.scaled_sgd",
        inputs=paths(),
        laws=[
            plain_descent_without_overflow,
            overflow_skips_the_step,
            clipped_after_unscaling,
            the_largest_number_is_no_overflow,
            scale_takes_its_path,
        ],
        gradients=("x", "gradients"),
        free=(),
        unit=1,
    ),
    Operation(
        "precision.monitor",
        inputs=gradients(),
        laws=[four_kinds_by_hand, histogram_counts_all, zeros_do_not_count],
        exact=True,
    ),
]
