"""Laws of the loss scale and its steps, and of what a format does to gradients."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.precision import FORMATS
from verify.compare import close
from verify.inputs import booleans, drawn, tensor
from verify.suite import Operation


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


OPERATIONS = [
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
