"""The checker on ways back that keep no weights: right ones conform in narrow dtypes, wrong ones follow no reading."""

from functools import cache
from inspect import signature
from pathlib import Path

import pytest
import torch

from tests import candidates_backward as candidates
from verify.cases import cases, narrowed, with_cotangent
from verify.check import check, find
from verify.contract import UNIT, contracts
from verify.judge import Tally, misfit, pullback, readings
from verify.rounding import bounds, stored

HERE = str(Path(__file__).with_name("candidates_backward.py"))
ATTENTION, SHARED, QKV = "attention.attention", "attention.grouped_query_attention", ("q", "k", "v")
HEADS = "transformer.multi_head_attention"
BF16 = torch.bfloat16


@pytest.mark.parametrize(
    ("operation", "dtype"), [(ATTENTION, "bfloat16"), (ATTENTION, "float16"), (SHARED, "bfloat16")]
)
def test_a_way_back_that_reads_the_stored_output_conforms(operation, dtype):
    report = check(f"{HERE}:right", operation, dtype, grad=True)
    assert report.verdict == "conforms" and report.contract.startswith("FLASH") and not report.convention, report
    assert report.tally.vacuous < report.tally.entries / 4 and report.tally.worst <= 1


@cache
def asked(name):
    """Inputs, those that tell most first, and every reading."""
    operation, reference = find(name)
    sizes = {"T": [5], "S": [7], "K": [8]}
    tried = [with_cotangent(reference, x, BF16) for x in cases(operation, [*QKV, "causal"], reference, BF16, 10, sizes)]
    told = readings(reference, operation.conventions, BF16, slopes=QKV, way_back=operation.way_back)
    return tried[::-1], list(told)


@cache
def expected(name, reading, number):
    return reading.expected(asked(name)[0][number])


def follows(name, f):
    """The contracts of the readings that the gradients of f follow, one by one."""
    tried, told = asked(name)
    answers = []
    for inputs in tried:
        given = narrowed(inputs, BF16)
        xs = [given[x].requires_grad_() for x in QKV]
        answers.append(torch.autograd.grad(f(*xs, causal=given["causal"]), xs, given["cotangent"]))
    for reading in told:
        balls = (expected(name, reading, number) for number in range(len(tried)))
        pairs = (pair for answer, these in zip(answers, balls, strict=True) for pair in zip(answer, these, strict=True))
        if not any(misfit(*pair, reading.contract, Tally()) for pair in pairs):
            yield reading.contract.name


WRONG = [
    (ATTENTION, "no_D"),
    (ATTENTION, "D_of_the_unnormalized_output"),
    (ATTENTION, "D_of_the_row_before"),
    (ATTENTION, "D_of_half_the_head"),
    (ATTENTION, "D_subtracted_without_its_weight"),
    (ATTENTION, "dk_without_the_scale"),
    (ATTENTION, "dv_of_unnormalized_weights"),
    (ATTENTION, "no_causal_mask_on_the_way_back"),
    (SHARED, "last_of_the_heads_that_share"),
]


@pytest.mark.parametrize(("operation", "name"), WRONG)
def test_a_wrong_way_back_follows_no_reading_in_bfloat16(operation, name):
    assert not list(follows(operation, getattr(candidates, name)))


@pytest.mark.parametrize("operation", [ATTENTION, SHARED])
def test_the_right_one_follows_flash_on_the_same_inputs(operation):
    assert "FLASH" in follows(operation, candidates.right)


def test_a_wrong_way_back_is_refuted(monkeypatch):
    monkeypatch.setattr("verify.check.diagnose", lambda *_: [])  # which mistake it is takes long to tell
    report = check(f"{HERE}:D_of_half_the_head", ATTENTION, "bfloat16", grad=True, count=6, sizes={"T": [5], "S": [7]})
    assert report.verdict == "refuted" and report.why.startswith("result "), report


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("right_heads", "conforms"),
        ("heads_with_D_of_the_row_before", "refuted"),
        ("heads_of_unnormalized_weights", "refuted"),
    ],
)
def test_several_heads_with_the_other_way_back(name, verdict, monkeypatch):
    monkeypatch.setattr("verify.check.diagnose", lambda *_: [])
    report = check(f"{HERE}:{name}", HEADS, "bfloat16", grad=True, count=12)
    assert report.verdict == verdict, report


@pytest.mark.parametrize("name", [ATTENTION, SHARED, "attention.attend", "flash.flash_attention", HEADS])
def test_the_other_way_back_gives_the_same_gradients(name):
    operation, reference = find(name)
    slopes = tuple(operation.gradients)
    for inputs in cases(operation, list(signature(reference).parameters), reference, torch.float64, 12):
        inputs = with_cotangent(reference, inputs, torch.float64)
        ours, others = (pullback(f, slopes)(**inputs) for f in (reference, operation.way_back))
        for x, y in zip(ours, others, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9 * max(1, x.abs().max().item()))


def test_what_is_read_again_was_rounded_where_a_contract_says_so():
    """By what rounding does to this very number: nothing, where the dtype holds it."""
    x = torch.tensor([1.0, 1.001, 3.5, -1.001]).double()
    for io in (torch.bfloat16, torch.float16):
        plain, once, eager = (bounds(lambda x: stored(x * 1.5), {"x": x}, c)[0].error for c in contracts(io))
        assert (plain < 2.0**-19).all() and (once[[0, 2]] < 2.0**-19).all() and (eager > UNIT[io]).all()
        assert ((once - ((1.5 * x).to(io).double() - 1.5 * x).abs()).abs() < 2.0**-19).all()
