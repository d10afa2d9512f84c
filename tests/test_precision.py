"""Numbers of few bits: every code, every midpoint and what is beside it, against PyTorch and ml_dtypes."""

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from reference import precision, precision_formats
from reference.precision import FORMATS, decode, dequantize, dot, encode, kahan_sum, monitor, pairwise_sum, quantize
from verify.check import check

THEIRS = {
    "bf16": (torch.bfloat16, ml_dtypes.bfloat16),
    "fp16": (torch.float16, np.float16),
    "e5m2": (torch.float8_e5m2, ml_dtypes.float8_e5m2),
    "e4m3": (torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
    "e2m1": (None, ml_dtypes.float4_e2m1fn),
    "e8m0": (torch.float8_e8m0fnu, ml_dtypes.float8_e8m0fnu),
}
NARROW = [name for name, f in FORMATS.items() if f.bits <= 19]
LIMITS = {  # largest, least normal, least, as the standards and papers print them
    "fp32": ((2 - 2**-23) * 2.0**127, 2.0**-126, 2.0**-149),
    "tf32": ((2 - 2**-10) * 2.0**127, 2.0**-126, 2.0**-136),
    "bf16": ((2 - 2**-7) * 2.0**127, 2.0**-126, 2.0**-133),
    "fp16": (65504.0, 2.0**-14, 2.0**-24),
    "e5m2": (57344.0, 2.0**-14, 2.0**-16),
    "e4m3": (448.0, 2.0**-6, 2.0**-9),
    "e2m1": (6.0, 1.0, 0.5),
    "e8m0": (2.0**127, 2.0**-127, 2.0**-127),
}


def same(a, b):
    """Equal number by number, NaN to NaN, zeros with their signs."""
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(
        torch.where(a.isnan(), 1.0, a).view(torch.int64), torch.where(b.isnan(), 1.0, b).view(torch.int64)
    )


def of_numpy(codes, kind):
    """What codes mean to ml_dtypes."""
    raw = codes.numpy().astype(np.uint8 if np.dtype(kind).itemsize == 1 else np.uint16)
    with np.errstate(invalid="ignore"):  # NaN
        return torch.from_numpy(raw.view(kind).astype(np.float64))


def numbers(name):
    """Every finite number of a narrow format, in order."""
    values = decode(torch.arange(2 ** FORMATS[name].bits), name)
    return values[values.isfinite()].unique()


def around(name):
    """Every number of the format, every midpoint of neighbours, and what float32 has on either side of all of them."""
    values = numbers(name)
    f = FORMATS[name]
    after = torch.tensor([f.largest + f.largest / (f.top % 2**f.mantissa + 2**f.mantissa)]).double()
    ends = torch.cat([values, after, -after if f.signed else after])
    ends = ends.unique()
    points = torch.cat([ends, (ends[1:] + ends[:-1]) / 2])
    points = points[points.abs() <= torch.finfo(torch.float32).max].float()
    beside = [torch.nextafter(points, torch.full_like(points, sign * math.inf)) for sign in (-1, 1)]
    zeros = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, -1e30, 3e-45])
    return torch.cat([points, *beside, zeros])


def test_limits_are_those_in_print():
    for name, (largest, normal, least) in LIMITS.items():
        f = FORMATS[name]
        assert (f.largest, f.least_normal, f.least) == (largest, normal, least), name
    for name, dtype in {"fp32": torch.float32, **{n: t for n, (t, _) in THEIRS.items() if t}}.items():
        if name != "e8m0":  # finfo takes the distance from one to the next number for its epsilon, there one
            info, f = torch.finfo(dtype), FORMATS[name]
            assert (info.max, info.smallest_normal, info.eps) == (f.largest, f.least_normal, 2 * f.roundoff), name


@pytest.mark.parametrize("name", THEIRS)
def test_every_code_means_what_it_means_elsewhere(name):
    codes = torch.arange(2 ** FORMATS[name].bits)
    dtype, kind = THEIRS[name]
    assert same(decode(codes, name), of_numpy(codes, kind))
    if dtype is not None:
        raw = codes.to(torch.uint8 if FORMATS[name].bits == 8 else torch.uint16).view(dtype)
        assert same(decode(codes, name), raw.float().double())


@pytest.mark.parametrize("name", NARROW)
def test_every_number_is_its_own_code(name):
    codes = torch.arange(2 ** FORMATS[name].bits)
    values = decode(codes, name)
    held = codes[~values.isnan()]
    for rounding in precision_formats.ROUNDINGS:
        overflow = "saturate" if name == "e2m1" else "infinity"
        assert torch.equal(encode(values[~values.isnan()], name, rounding, overflow), held), rounding


@pytest.mark.parametrize("name", THEIRS)
def test_midpoints_and_their_neighbours_round_as_elsewhere(name):
    x = around(name)
    dtype, kind = THEIRS[name]
    overflow = "saturate" if name == "e2m1" else "infinity"
    if name == "e2m1":
        x = x[~x.isnan()]
    ours = precision.rounded(x, name, overflow=overflow).double()
    with np.errstate(all="ignore"):
        theirs = torch.from_numpy(x.numpy().astype(kind).astype(np.float64))
    positive = x >= 2.0**-126 if name == "e8m0" else torch.ones_like(x, dtype=torch.bool)  # see below
    assert same(ours[positive], theirs[positive])
    if dtype is not None:
        saturated = precision.rounded(x, name, overflow="saturate").double() if name == "e4m3" else ours
        assert same(saturated[positive], x[positive].to(dtype).float().double()), "PyTorch saturates e4m3 alone"


def test_what_is_no_scale_and_the_least_scales():
    """ml_dtypes has NaN for zero, PyTorch forgets the sign of −1; both round numbers just above the least one away."""
    x = torch.tensor([0.0, -0.0, -1.0, 2.0**-130, 2.0**-127, 2.0**-127 * (1 + 2**-22), 2.0**-127 * 1.5, 2.0**-126])
    assert encode(x, "e8m0").tolist() == [0, 0, 255, 0, 0, 0, 1, 1]
    with np.errstate(all="ignore"):
        theirs = x.numpy().astype(ml_dtypes.float8_e8m0fnu).view(np.uint8).tolist()
    assert theirs == [255, 255, 255, 0, 0, 1, 1, 1]
    assert x.to(torch.float8_e8m0fnu).view(torch.uint8).tolist() == [0, 0, 127, 0, 0, 1, 1, 1]


def test_tf32_keeps_ten_bits_of_the_mantissa():
    draw = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=draw)
    ties = (bits & ~0x1FFF) | 0x1000
    for raw in (bits, ties, ties + 1, ties - 1):
        x = raw.to(torch.int32).view(torch.float32)
        x = x[x.isfinite()]
        whole = x.view(torch.int32).long()
        up = (whole + 0xFFF + (whole >> 13 & 1)) & ~0x1FFF
        assert same(precision.rounded(x, "tf32").double(), up.to(torch.int32).view(torch.float32).double())


def test_fp32_is_what_float32_is():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, generator=draw, dtype=torch.float64) * 2.0 ** torch.randint(
        -160, 130, (100_000,), generator=draw
    )
    halves = (x.float().double() + torch.nextafter(x.float(), torch.tensor(math.inf)).double()) / 2
    for y in (x, halves, -halves):
        assert same(precision.rounded(y, "fp32"), y.float().double())
        codes = encode(y, "fp32")
        assert torch.equal(codes, y.float().view(torch.int32).long() % 2**32) and same(
            decode(codes, "fp32"), y.float().double()
        )


@pytest.mark.parametrize("name", [n for n in NARROW if n != "e8m0"])
def test_directed_roundings_enclose_and_the_nearest_is_one_of_them(name):
    x = around(name)
    x = x[x.isfinite()].double()
    up, down, zero, near = (precision.rounded(x, name, r, "saturate") for r in ("up", "down", "zero", "even"))
    inside = x.abs() <= FORMATS[name].largest
    assert ((down <= x) & (x <= up))[inside].all() and (zero.abs() <= x.abs()).all()
    assert ((near == up) | (near == down)).all() and torch.equal(zero, torch.where(x < 0, up, down))
    assert ((near - x).abs() <= torch.maximum(up - x, x - down) / 1)[inside].all()
    assert ((near - x).abs() * 2 <= up - down)[inside].all(), "not the nearest"
    if name != "e2m1":
        for rounding, low, high in (("zero", -1, 1), ("up", -1, math.inf), ("down", -math.inf, 1)):
            ends = precision.rounded(torch.tensor([-1e39, 1e39], dtype=torch.float64), name, rounding)
            largest = FORMATS[name].largest
            wanted = [end * largest if abs(end) == 1 else end for end in (low, high)]
            special = [math.nan if math.isinf(end) and name == "e4m3" else end for end in wanted]
            assert same(ends, torch.tensor(special).double()), (rounding, ends)


def test_dtypes_are_kept():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.tensor([0.3, -5.0], dtype=dtype)
        assert precision.rounded(x).dtype == dtype and precision.rounded(x).tolist() == [0.3125, -5.0]
        assert precision.stochastic_round(x, torch.zeros(2), "e4m3").dtype == dtype


Q, I = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64)
BAD = {
    "format": (lambda: encode(Q, "fp12"), "format: expected one of fp32, tf32, .*, received 'fp12'"),
    "integers": (lambda: encode(I), "x: expected a floating-point tensor, received torch.int64"),
    "rounding": (lambda: encode(Q, rounding="nearest"), "rounding: expected one of even, zero, up, down, received"),
    "overflow": (lambda: encode(Q, overflow="wrap"), "overflow: expected one of infinity, saturate, received 'wrap'"),
    "no infinity": (lambda: encode(Q, "e2m1"), "overflow: expected saturate, since e2m1 has numbers alone"),
    "no NaN": (lambda: encode(Q / 0, "e2m1", overflow="saturate"), "x: expected numbers, since e2m1 has no NaN"),
    "codes": (lambda: decode(I + 256), "codes: expected entries from 0 to 255, received entries from 256 to 256"),
    "floating codes": (lambda: decode(Q), "codes: expected an integer tensor"),
    "uniform shape": (lambda: precision.stochastic_round(Q, Q[0]), r"u: expected the shape of x, \(2, 3\)"),
    "uniform range": (lambda: precision.stochastic_round(Q, Q + 1), "u: expected numbers from 0 below 1, received"),
    "no terms": (lambda: kahan_sum(Q[:, :0]), "x: expected at least one entry"),
    "no axis": (lambda: pairwise_sum(Q[0, 0]), "x: expected at least one axis"),
    "operands": (lambda: dot(Q, Q[0]), r"y: expected the shape of x, \(2, 3\), received"),
    "accumulator": (lambda: dot(Q, Q, accumulator="e8m0"), "accumulator: expected a format with a sign"),
    "operand format": (lambda: dot(Q, Q, "e2m1"), "format: expected a format with a sign, and with infinity or NaN"),
    "one axis": (lambda: quantize(Q[0]), "x: expected axes R C, received"),
    "block": (lambda: quantize(Q, block=128), "block: expected rows and columns, received 128"),
    "empty block": (lambda: quantize(Q, block=(0, 1)), "block: expected an integer ≥ 1, received 0"),
    "scales as entries": (lambda: quantize(Q, "e8m0"), "format: expected a format with a sign, received e8m0"),
    "scales": (lambda: dequantize(I, Q, (1, 3)), r"scales: expected one a block, shape \(2, 1\), received"),
    "start": (lambda: precision.scale_init(0.0), "start: expected a number above 0"),
    "growth": (lambda: precision.loss_scales(Q[0] > 0, growth=1.0), "growth: expected a number above 1"),
    "backoff": (lambda: precision.loss_scales(Q[0] > 0, backoff=1.0), "backoff: expected a number from 0 below 1"),
    "interval": (lambda: precision.loss_scales(Q[0] > 0, interval=0), "interval: expected an integer ≥ 1"),
    "overflows": (lambda: precision.loss_scales(Q[0]), "overflows: expected a boolean tensor"),
    "parameters": (lambda: precision.scaled_sgd(Q[0], Q.T, lr=1.0), "axis P: expected one size, 3, received 2"),
    "rate": (lambda: precision.scaled_sgd(Q[0], Q, lr=-1.0), "lr: expected a number from 0"),
    "norm": (lambda: precision.scaled_sgd(Q[0], Q, lr=1.0, max_norm=0.0), "max_norm: expected a number above 0"),
    "gradients": (lambda: monitor(Q), "gradients: expected axes N"),
    "format of gradients": (lambda: monitor(Q[0], "e8m0"), "format: expected a format with a sign"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and "expected" in str(caught.value) and "received" in str(caught.value)


def test_nan_is_never_turned_into_a_number():
    x = torch.tensor([1.0, math.nan]).double()
    for name in FORMATS:
        if name != "e2m1":
            assert precision.rounded(x, name, overflow="saturate").isnan().tolist() == [False, True]
            assert precision.stochastic_round(x, torch.zeros(2), name).isnan()[1]
    assert kahan_sum(x).isnan() and pairwise_sum(x).isnan() and dot(x, x).isnan()
    codes, scales = quantize(x[None])
    assert dequantize(codes, scales, None).isnan().all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_conversion_is_held_to_every_bit(dtype):
    """PyTorch's conforms by its convention; one that rounds ties away does not, and is told so."""
    here = Path(__file__).with_name("candidates_precision.py")
    report = check(f"{here}:cast", "precision.rounded", dtype)
    assert report.verdict == "conforms" and report.convention == "beyond the largest number it is the largest"
    report = check(f"{here}:ties_away", "precision.rounded", dtype)
    assert report.verdict == "refuted" and report.contract.startswith("EXACT")
    assert "the known mistake round-half-away" in report.diagnosis[0], report.diagnosis
