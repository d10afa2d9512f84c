"""Laws of sums and dot products: exact where they can be, within their bounds elsewhere, in their order."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from hypothesis import strategies as st

from reference.precision import rounded
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

U = 2.0**-53
FORMATS = ["e4m3", "e5m2", "bf16", "fp16"]


@st.composite
def rows(draw):
    """Rows of a few numbers, of one, and of a number of terms that no power of two divides; on a grid, whose sums are
    exact, or with all digits; of both signs, or none of which any cancels."""
    shape, scale = draw(st.sampled_from([(1,), (2, 3), (3, 2, 5), (7,), (600,)])), draw(st.sampled_from([1.0, 1 / 3]))
    return {"x": draw(tensor(*shape, scale=scale, low=draw(st.sampled_from([-16, 1]))))}


@st.composite
def products(draw):
    """Two rows on the grid of quarters or eighths, small and large beside a format's largest number."""
    shape, scale = (
        draw(st.sampled_from([(1,), (5,), (2, 9), (3, 4), (40,)])),
        draw(st.sampled_from([1.0, 2.0**-6, 40.0, 2000.0])),
    )
    x, y = draw(tensor(*shape, scale=scale)), draw(tensor(*shape, scale=0.5))
    accumulator = draw(st.sampled_from(["fp32", "fp16", "bf16", "e5m2", "e4m3"]))
    return {"x": x, "y": y, "format": draw(st.sampled_from(FORMATS)), "accumulator": accumulator}


def exact(terms):
    """Their sum in rational numbers."""
    return float(sum(map(Fraction, terms.tolist()), Fraction(0)))


def whole_numbers_add_up(total, x):
    """Numbers on a coarse grid have a sum that float64 holds."""
    close(total(x), x.sum(-1), scale=1)
    close(total(x[..., :1]), x[..., 0])


def order_does_not_matter(total, x):
    """The terms in reverse have the same sum."""
    close(total(x.flip(-1)), total(x), scale=1)


def rows_do_not_mix(total, x):
    """A row beside it changes nothing."""
    close(total(torch.stack([x, x + 1]))[0], total(x), scale=1)


def what_one_addition_loses_comes_back(kahan, x):
    """One and 64 numbers that are too small to move it: the sum has moved by all 64."""
    terms = torch.cat([torch.ones(1), torch.full((64,), U)]).double()
    assert abs(float(kahan(terms)) - exact(terms)) <= 3 * U, f"{float(kahan(terms)).hex()}"
    assert float(kahan(terms.flip(0))) == exact(terms)


def few_additions_on_the_way(pairwise, x):
    """1024 times one third, ten additions each: nearer than one by one, which is off by fifty times that."""
    terms = torch.full((1024,), 1 / 3, dtype=torch.float64)
    assert abs(float(pairwise(terms)) - exact(terms)) <= 1 * U * 1024 / 3, "not in pairs"
    terms = torch.cat([torch.full((1000,), U / 2), torch.ones(1)]).double()
    assert abs(float(pairwise(terms)) - exact(terms)) <= 10 * U, "small terms are lost"
    ones = torch.cat([torch.ones(1), torch.full((1023,), U)]).double()
    assert float(pairwise(ones)) > 1 + 500 * U, "small terms meet the large one first, and are lost"


def within_gamma_of_the_logarithm(pairwise, x):
    """1 + 1/2 + 1/3 + … to n terms, whatever n: `pairwise_sum_is_log_n`."""
    for n in (1, 2, 3, 5, 7, 13, 33, 69):
        terms, depth = 1 / torch.arange(1, n + 1).double(), math.ceil(math.log2(n))
        allowed = depth * U / (1 - depth * U) * exact(terms)
        assert abs(float(pairwise(terms)) - exact(terms)) <= allowed, f"{n} terms"


def by_hand(dot, x, y, **formats):
    """In e4m3 0.3 is 0.3125; a bfloat16 accumulator at 256 does not see a one, and at 2048 half precision does not."""
    half = torch.tensor([0.3, 2.0]).double()
    close(dot(half, torch.ones(2).double(), "e4m3", "fp32"), 2.3125)
    for large, accumulator in ((256.0, "bf16"), (448.0 * 16, "fp16")):
        row, ones = torch.tensor([large, 1.0, 1.0, 1.0]).double(), torch.ones(4).double()
        close(dot(row, ones, "fp16", accumulator), large)
        close(dot(row.flip(0), ones, "fp16", accumulator), 260.0 if accumulator == "bf16" else large + 4.0)


def products_are_rounded_too(dot, x, y, **formats):
    """1.125² is 1.265625: e4m3 has 1.25, before anything is added."""
    one = torch.tensor([1.125, 0.0]).double()
    close(dot(one, one, "e4m3", "e4m3"), 1.25)
    close(dot(torch.tensor([1.125, 1.125]).double(), torch.tensor([1.125, -1.0]).double(), "e4m3", "e4m3"), 0.125)


def overflow_is_seen(dot, x, y, **formats):
    """What leaves the accumulator is infinite, or NaN in e4m3, also when the exact sum would come back."""
    big, signs = torch.tensor([200.0, 400.0, 400.0, 400.0]).double(), torch.tensor([1.0, 200.0, -200.0, 1.0]).double()
    assert not dot(big, signs, "fp16", "fp16").isfinite(), "80000 in half precision"
    assert dot(big, signs, "fp16", "fp32") == 600.0
    assert dot(big[:2], torch.ones(2).double(), "e4m3", "e4m3").isnan(), "600 in e4m3"


def terms_are_added_one_by_one(dot, x, y, format, accumulator):
    """A dot product of all terms but the last, and that one."""
    if x.shape[-1] > 1:
        before = dot(x[..., :-1], y[..., :-1], format, accumulator)
        last = rounded(rounded(x[..., -1], format) * rounded(y[..., -1], format), accumulator)
        expected = rounded(before + last, accumulator)
        ours = dot(x, y, format, accumulator)
        assert ((ours == expected) | (ours.isnan() & expected.isnan())).all(), f"{ours.tolist()}, {expected.tolist()}"


def fp32_of_e4m3_when_left_out(dot, x, y, **formats):
    """The operands are e4m3 and the accumulator fp32 unless they are named."""
    ours, named = dot(x, y), dot(x, y, "e4m3", "fp32")
    assert ((ours == named) | (ours.isnan() & named.isnan())).all()


def infinite_terms_add_up(kahan, x):
    """An infinite term makes the sum infinite, as without compensation."""
    total = x.sum(-1)
    return torch.where(x.isfinite().all(-1), kahan(torch.where(x.isfinite(), x, 0)), total)


def compensated(u, x):
    """3u Σ|x| for any number of terms (precision.kahan_removes_the_n), and nu² Σ|x| for what this leaves out.

    Of 64,000 sums of 2 to 4000 terms, of one sign or two, of one size or many, none was off by 1.7u in 16 bits.
    """
    size = torch.where(x.isfinite(), x.abs(), 0).sum(-1)
    return (3 * u + x.shape[-1] * u**2) * size


OPERATIONS = [
    Operation(
        "precision.kahan_sum",
        inputs=rows(),
        laws=[whole_numbers_add_up, order_does_not_matter, rows_do_not_mix, what_one_addition_loses_comes_back],
        gradients=("x",),
        conventions={"an infinite term makes it infinite": infinite_terms_add_up},
        unit=1,
        within=compensated,
    ),
    Operation(
        "precision.pairwise_sum",
        inputs=rows(),
        laws=[whole_numbers_add_up, order_does_not_matter, rows_do_not_mix, few_additions_on_the_way,
              within_gamma_of_the_logarithm],
        gradients=("x",),
        unit=1,
    ),
    Operation(
        "precision.dot",
        inputs=products(),
        laws=[by_hand, products_are_rounded_too, overflow_is_seen, terms_are_added_one_by_one,
              fp32_of_e4m3_when_left_out],
        exact=True,
    ),
]  # fmt: skip
