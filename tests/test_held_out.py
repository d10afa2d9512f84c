"""Mistakes found by somebody who knew only the statements: refuted now; the right functions beside them conform."""

from pathlib import Path

import pytest
import torch

from verify.check import check, find
from verify.precision import SATURATION

HERE = str(Path(__file__).with_name("candidates_held_out.py"))
FLASH, MERGE, PAIRS, BACK = "flash.flash_attention", "flash.merge", "precision.pairwise_sum", "precision.dequantize"
HELD_OUT = [
    (FLASH, "attend", "conforms"),
    (FLASH, "zero_scale_is_the_default", "refuted"),
    (FLASH, "heads_from_the_fifth_on_repeat", "refuted"),
    (MERGE, "merge", "conforms"),
    (MERGE, "merge_that_skips_what_is_ten_below", "refuted"),
    (PAIRS, "pairs", "conforms"),
    (PAIRS, "pairs_of_the_first_128", "refuted"),
    (BACK, "dequantize", "conforms"),
    (BACK, "dequantize_by_guessed_blocks", "refuted"),
    (BACK, "dequantize_by_scales_in_bfloat16", "refuted"),
    (BACK, "dequantize_without_nan", "refuted"),
]


@pytest.mark.parametrize(("operation", "name", "verdict"), HELD_OUT)
def test_held_out(operation, name, verdict, monkeypatch):
    monkeypatch.setattr("verify.check.diagnose", lambda *_: [])
    report = check(f"{HERE}:{name}", operation)
    assert report.verdict == verdict, report


def test_what_takes_too_long_to_name_is_given_up(monkeypatch):
    monkeypatch.setattr("verify.diagnose.LONGEST", 0.0)
    report = check(f"{HERE}:pairs_of_the_first_128", PAIRS)
    assert report.verdict == "refuted" and "given up" in report.diagnosis[0], report


@pytest.mark.parametrize("name", ["encode", "rounded"])
@pytest.mark.parametrize("convention", SATURATION)
def test_a_convention_on_overflow_leaves_a_format_of_numbers_alone_as_it_is(name, convention):
    """e2m1 has nothing but numbers to saturate at; there was an exception here."""
    _, reference = find(f"precision.{name}")
    x = torch.tensor([9.0, -torch.inf, 1.0]).double()
    given = {"format": "e2m1", "overflow": "saturate"}
    assert torch.equal(SATURATION[convention](reference, x, **given), reference(x, **given))
