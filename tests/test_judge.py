"""What an entry may be: both ends of its interval and nothing beyond, and no NaN; what cannot be judged is counted."""

import pytest
import torch

from verify.check import Report, settle
from verify.contract import contracts
from verify.judge import Tally, misfit
from verify.rounding import Ball


def test_an_entry_that_could_be_anything_is_counted_and_mostly_such_entries_decide_nothing():
    ball = Ball(torch.tensor([1.0, 1.0]).double(), torch.tensor([1e-9, 3.0]).double())
    tally = Tally()
    assert misfit(torch.ones(2), ball, contracts(torch.float32)[0], tally) is None
    assert (tally.entries, tally.vacuous) == (2, 1)
    for vacuous, verdict in ((1, "conforms"), (2, "undecided"), (3, "undecided")):
        settle(report := Report("o", "f", "float32", "conforms", tally=Tally(3, vacuous)))
        assert report.verdict == verdict and ("could be anything" in report.why) == (verdict == "undecided")


@pytest.mark.parametrize("io", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_interval_ends_where_it_says(io):
    """Both ends conform, and the next number beyond either does not."""
    contract, ball = contracts(io)[0], Ball(torch.tensor([1.5]).double(), torch.tensor([0.0625]).double())
    for end, beyond in ((1.4375, 0.0), (1.5625, 2.0)):
        y = torch.tensor([end], dtype=io)
        assert misfit(y, ball, contract, tally := Tally()) is None and tally.worst == 1
        step = torch.finfo(io).eps * (1 if beyond > end else -1)
        assert "allowed [1.4375, 1.5625]" in str(misfit(y + step, ball, contract, Tally()))


def test_what_is_infinite_may_be_so_where_rounding_could_make_it_anything():
    ball = Ball(torch.tensor([torch.inf]).double(), torch.tensor([torch.inf]).double())
    for io in (torch.float32, torch.bfloat16, torch.float16):
        *_, contract = contracts(io)
        assert misfit(torch.tensor([torch.inf], dtype=io), ball, contract, Tally()) is None
        assert "got nan" in str(misfit(torch.tensor([torch.nan], dtype=io), ball, contract, Tally()))


def test_nothing_finite_may_become_nan_even_where_it_could_be_any_number():
    ball = Ball(torch.tensor([1.0]).double(), torch.tensor([torch.inf]).double())
    for io in (torch.float32, torch.bfloat16, torch.float16):
        *_, contract = contracts(io)
        assert "got nan" in str(misfit(torch.tensor([torch.nan], dtype=io), ball, contract, Tally()))
        assert misfit(torch.ones(1, dtype=io), ball, contract, tally := Tally()) is None and tally.vacuous == 1


def test_whole_numbers_are_exact_but_where_rounding_decides():
    ball = Ball(torch.tensor([3, 5]), torch.tensor([0.0, 1.0]).double())
    contract = contracts(torch.float32)[0]
    assert misfit(torch.tensor([3, 4], dtype=torch.int32), ball, contract, tally := Tally()) is None
    assert (tally.entries, tally.vacuous) == (2, 1)
    assert "got 2, allowed 3" in str(misfit(torch.tensor([2, 5]), ball, contract, Tally()))
    assert "dtype torch.float32" in str(misfit(torch.tensor([3.0, 5.0]), ball, contract, Tally()))
