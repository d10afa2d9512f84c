"""The checker on functions that it never saw: right ones conform in every dtype, wrong ones are refuted and named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from verify.cases import Usage, match
from verify.check import Report, assert_conforms, check, find, settled
from verify.contract import contracts
from verify.judge import Tally, misfit
from verify.rounding import Ball
from verify.worker import Unusable

ROOT = Path(__file__).parent.parent
HERE = str(Path(__file__).with_name("candidates.py"))

RIGHT = [
    ("attention.attention", "sdpa", ""),
    ("attention.attention", "eager", ""),
    ("attention.attention", "tiled", ""),
    ("attention.attention", "sdpa_as_torch_has_it", "aligned top-left"),
    ("softmax.softmax", "softmax", "gives NaN"),
    ("loss.cross_entropy", "cross_entropy", ""),
    ("loss.cross_entropy", "cross_entropy_sum", "the sum over rows"),
    ("rope.rotate", "half_layout", "layout='half'"),
    ("rope.rotate", "tables_in_its_dtype", ""),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("operation", "name", "convention"), RIGHT)
def test_right_functions_conform(operation, name, convention, dtype):
    report = check(f"{HERE}:{name}", operation, dtype)
    assert report.verdict == "conforms", report
    assert convention in report.convention and bool(convention) == bool(report.convention) and not report.why
    assert report.cases == 40 and report.tally.worst <= 1


WRONG = [
    ("attention.attention", "unscaled", "allowed [", "attn-unscaled"),
    ("attention.attention", "diagonal_hidden", "allowed [", "causal-strict"),
    ("attention.attention", "narrow_inside", "allowed [", ""),
    ("softmax.softmax", "no_maximum", "got nan", "softmax-no-max"),
    ("softmax.softmax", "first_row_only", "allowed [", ""),
    ("softmax.softmax", "leaves_out_what_is_masked", "got nan, allowed [0, 0]", ""),
    ("softmax.softmax", "remembered_by_shape", "allowed [", ""),
    ("softmax.softmax", "remembered_by_place", "allowed [", ""),
    ("softmax.softmax", "erases_its_input", "changes its input z", ""),
    ("softmax.softmax", "subclass", "expected a torch.Tensor, received Lying", ""),
    ("softmax.softmax", "random_noise", "", ""),
    ("softmax.softmax", "first_column", "shape (1,), expected (3,)", ""),
    ("softmax.softmax", "flickers", "two calls on the same inputs give different results", ""),
    ("softmax.softmax", "takes_memory_for_contiguous", "allowed [", ""),
    ("softmax.softmax", "in_float64", "dtype torch.float64, expected torch.float32", ""),
    ("softmax.softmax", "answers_once", "the cache is full", ""),
    ("softmax.softmax", "nothing", "received NoneType", ""),
    ("softmax.softmax", "fails", "no kernel for this shape", ""),
    ("softmax.softmax", "dies", "signal SIGABRT", ""),
]


@pytest.mark.parametrize(("operation", "name", "why", "mistake"), WRONG)
def test_wrong_functions_are_refuted(operation, name, why, mistake):
    report = check(f"{HERE}:{name}", operation)
    assert report.verdict == "refuted" and why in report.why, report
    assert report.counterexample
    assert any(mistake in sentence for sentence in report.diagnosis) if mistake else not report.diagnosis


def test_positions_in_bfloat16_are_seen_even_where_everything_may_be_bfloat16():
    report = check(f"{HERE}:positions_in_bfloat16", "rope.rotate", "bfloat16")
    assert report.verdict == "refuted" and any("rope-bf16-position" in s for s in report.diagnosis)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("operation", "name"),
    [("attention.attention", "tiled"), ("softmax.softmax", "softmax"), ("rope.rotate", "half_layout")],
)
def test_right_gradients_conform(operation, name, dtype):
    report = check(f"{HERE}:{name}", operation, dtype, grad=True)
    assert report.verdict == "conforms" and report.tally.worst <= 1, report


def test_a_wrong_gradient_is_refuted_where_the_value_is_right():
    assert check(f"{HERE}:cut_off_slope", "softmax.softmax").verdict == "conforms"
    report = check(f"{HERE}:cut_off_slope", "softmax.softmax", grad=True)
    assert report.verdict == "refuted" and "cotangent" in report.counterexample
    with pytest.raises(Usage, match="has no derivative"):
        check(f"{HERE}:diagonal_hidden", "markov.probabilities", grad=True)


def test_a_function_that_hangs_is_stopped():
    report = check(f"{HERE}:hangs", "softmax.softmax", limit=1.0)
    assert report.verdict == "refuted" and "no answer within 1 s" in report.why


def test_the_snippet_shows_the_fault_again():
    report = check(f"{HERE}:unscaled", "attention.attention")
    names: dict = {}
    exec(f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom candidates import unscaled\n", names)
    *lines, call = report.snippet.splitlines()
    exec("\n".join(lines), names)
    got, expected = eval(call, names), find("attention.attention")[1](*(names[x] for x in "qkv"))
    assert (got - expected).abs().max() > 1e-3


def test_arguments_are_matched_by_name_alias_map_or_place():
    _, attention = find("attention.attention")
    theirs = [["query", True, False], ["key", True, False], ["value", True, False], ["is_causal", True, True]]
    assert match(attention, theirs, {}) == ([], {"query": "q", "key": "k", "value": "v", "is_causal": "causal"})
    assert match(attention, None, {}) == (["q", "k", "v"], {})
    odd = [["a", True, False], ["b", True, False], ["c", True, False], ["keep", True, True]]
    assert match(attention, odd, {"mask": "keep"}) == (["q", "k", "v"], {"keep": "mask"})
    with pytest.raises(Usage, match="expected a function of q, k, v, received one of 1 arguments"):
        match(attention, [["a", True, False]], {})
    with pytest.raises(Usage, match="--map nonsense: expected one of q, k, v"):
        match(attention, theirs, {"nonsense": "x"})


def test_an_argument_that_nobody_gives_is_asked_for():
    with pytest.raises(Usage, match=r"also wants temperature: --with temperature=VALUE"):
        check(f"{HERE}:wants_more", "softmax.softmax")
    assert check(f"{HERE}:wants_more", "softmax.softmax", fixed={"temperature": 1.0}).verdict == "conforms"
    assert check(f"{HERE}:wants_more", "softmax.softmax", fixed={"temperature": 2.0}).verdict == "refuted"


def test_an_entry_that_could_be_anything_is_counted_and_mostly_such_entries_decide_nothing():
    ball = Ball(torch.tensor([1.0, 1.0]).double(), torch.tensor([1e-9, 3.0]).double())
    tally = Tally()
    assert misfit(torch.ones(2), ball, contracts(torch.float32)[0], tally) is None
    assert (tally.entries, tally.vacuous) == (2, 1)
    assert settled(Report("o", "f", "float32", "conforms", tally=Tally(2, 1))).verdict == "conforms"
    assert settled(Report("o", "f", "float32", "conforms", tally=Tally(3, 2))).verdict == "undecided"
    assert "could be anything" in settled(Report("o", "f", "float32", "conforms", tally=Tally(3, 3))).why


def test_nothing_finite_may_become_nan_unless_it_may_overflow():
    ball = Ball(torch.tensor([1.0]).double(), torch.tensor([torch.inf]).double())
    *_, narrow = contracts(torch.bfloat16)
    *_, overflowing = contracts(torch.float16)
    nan = torch.tensor([torch.nan])
    assert "got nan" in str(misfit(nan.bfloat16(), ball, narrow, Tally()))
    assert misfit(nan.half(), ball, overflowing, Tally()) is None
    assert misfit(torch.ones(1).bfloat16(), ball, narrow, tally := Tally()) is None and tally.vacuous == 1


def test_assert_conforms_is_silent_or_tells_all():
    assert_conforms(f"{HERE}:cross_entropy", "loss.cross_entropy")
    with pytest.raises(AssertionError, match=r"(?s)refuted.*attn-unscaled"):
        assert_conforms(f"{HERE}:unscaled", "attention.attention")


def test_what_cannot_be_loaded_is_said():
    with pytest.raises(Unusable, match=r"no file nowhere\.py"):
        check("nowhere.py:f", "softmax.softmax")
    with pytest.raises(Unusable, match="has no function g"):
        check(f"{HERE}:g", "softmax.softmax")
    with pytest.raises(Usage, match=r"unknown operation 'softmax\.hard'"):
        check(f"{HERE}:softmax", "softmax.hard")


def cli(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "verify", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_the_command_line(tmp_path):
    good = cli("check", "loss.cross_entropy", f"{HERE}:cross_entropy", "--json")
    assert good.returncode == 0 and json.loads(good.stdout)["verdict"] == "conforms"
    bad = cli("check", "attention.attention", f"{HERE}:unscaled")
    assert bad.returncode == 1 and "equals the known mistake attn-unscaled" in bad.stdout and "again:" in bad.stdout
    (tmp_path / "broken.py").write_text("def f(x:\n")
    for arguments in (("softmax.softmax", f"{tmp_path}/broken.py:f"), ("softmax.softmax", "nocolon"),
                      ("softmax.hard", f"{HERE}:softmax")):  # fmt: skip
        done = cli("check", *arguments)
        assert done.returncode == 2 and done.stdout == "" and "verify/" not in done.stderr


def test_operations_are_listed():
    done = cli("ops", "--json")
    listed = {o["operation"]: o for o in json.loads(done.stdout)["operations"]}
    entry = listed["attention.attention"]
    assert "q: Float[Tensor" in entry["signature"] and "the causal mask aligned top-left" in entry["conventions"]
    assert "FLASH bfloat16" in entry["contracts"] and any(m["id"] == "causal-strict" for m in entry["mutants"])
