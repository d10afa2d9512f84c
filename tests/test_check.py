"""The checker on functions that it never saw: right ones conform in every dtype, wrong ones are refuted and named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from verify.cases import Usage, cases, match
from verify.check import assert_conforms, check, find
from verify.draws import DRAWS, improbable
from verify.rounding import Ball
from verify.worker import Unusable

ROOT = Path(__file__).parent.parent
HERE = str(Path(__file__).with_name("candidates.py"))
JAX = str(Path(__file__).with_name("candidates_jax.py"))

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
    assert report.cases >= 40 and report.tally.worst <= 1 and not report.suspicions


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_functions_of_jax_conform(dtype):
    report = check(f"{JAX}:attention", "attention.attention", dtype)
    assert report.verdict == "conforms" and "gets the mean of all values" in report.convention, report
    assert check(f"{JAX}:gelu", "activations.gelu", dtype).verdict == "conforms"
    assert check(f"{JAX}:softmax", "softmax.softmax", dtype, grad=True).verdict == "conforms"


def test_a_result_may_stay_in_float32_but_in_nothing_else():
    report = check(f"{HERE}:cross_entropy_wide", "loss.cross_entropy", "bfloat16")
    assert report.verdict == "conforms" and report.convention == "the result stays in float32"
    assert check(f"{HERE}:cross_entropy_wide", "loss.cross_entropy").convention == ""
    assert "dtype torch.float64" in check(f"{HERE}:in_float64", "softmax.softmax", "bfloat16").why


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
    ("softmax.softmax", "nothing", "received None", ""),
    ("softmax.softmax", "fails", "no kernel for this shape", ""),
    ("softmax.softmax", "dies", "signal SIGABRT", ""),
]


@pytest.mark.parametrize(("operation", "name", "why", "mistake"), WRONG)
def test_wrong_functions_are_refuted(operation, name, why, mistake):
    report = check(f"{HERE}:{name}", operation)
    assert report.verdict == "refuted" and why in report.why, report
    assert report.counterexample
    known = [sentence for sentence in report.diagnosis if "not deterministic" not in sentence]
    assert any(mistake in sentence for sentence in known) if mistake else not known


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


def test_a_backward_of_their_own_is_judged():
    right = check(f"{HERE}:softmax", "softmax.softmax", backward="softmax_backward")
    assert right.verdict == "conforms", right
    wrong = check(f"{HERE}:softmax", "softmax.softmax", backward="softmax_backward_diagonal")
    assert wrong.verdict == "refuted" and any("softmax-backward-diagonal" in s for s in wrong.diagnosis), wrong


def test_lists_of_tensors_go_in_and_come_out():
    assert check(f"{HERE}:clipped", "optimizers.clip_by_global_norm").verdict == "conforms"
    report = check(f"{HERE}:clipped_one_by_one", "optimizers.clip_by_global_norm")
    assert report.verdict == "refuted" and any("clip-per-parameter" in s for s in report.diagnosis), report
    assert "gradients = [gradients_0, gradients_1" in report.snippet


def test_results_written_into_arguments_are_found_there():
    state = ("p", "exp_avg", "exp_avg_sq")
    assert check(f"{HERE}:adamw_in_place", "optimizers.adamw_step", out=state).verdict == "conforms"
    report = check(f"{HERE}:adamw_in_place", "optimizers.adamw_step")
    assert report.verdict == "refuted" and "name these by --out" in report.why
    assert check(f"{HERE}:softmax_into", "softmax.softmax", out=("out",)).verdict == "conforms"
    report = check(f"{HERE}:softmax_into_half", "softmax.softmax", out=("out",))
    assert report.verdict == "refuted" and "got nan" in report.why, "what was never written is seen"


def test_what_goes_wrong_only_at_some_lengths_is_found_there():
    report = check(f"{HERE}:forgets_what_64_leaves_over", "softmax.softmax")
    assert report.verdict == "refuted" and report.cases > 30, "every small case conforms"
    assert check(f"{HERE}:forgets_what_64_leaves_over", "softmax.softmax", sizes={"V": [64, 128]}).verdict == "conforms"
    with pytest.raises(Usage, match=r"--sizes: softmax.softmax has no input of the sizes"):
        check(f"{HERE}:softmax", "softmax.softmax", sizes={"Q": [64]})


def test_other_seeds_give_other_inputs_and_the_same_seed_the_same():
    operation, reference = find("softmax.softmax")
    first, again, other = (cases(operation, ["z"], reference, torch.float32, 9, seed=seed) for seed in (0, 0, 1))
    assert str(first) == str(again) != str(other)


def test_draws_are_judged_by_their_frequencies():
    right = check(f"{HERE}:draws", "sampling.distribution")
    assert right.verdict == "conforms" and "error rate 1e-09" in right.contract, right
    for name in ("draws_too_hot", "draws_one_too_many"):
        wrong = check(f"{HERE}:{name}", "sampling.distribution")
        assert wrong.verdict == "refuted" and "of 16384 rows" in wrong.why, wrong


def test_the_chernoff_bound_is_kept_by_fair_draws_and_broken_by_others():
    p = torch.tensor([0.5, 0.3, 0.2, 0.0]).double()
    ball = Ball(p, torch.zeros(4).double())
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        counts = torch.bincount(torch.multinomial(p, DRAWS, True, generator=generator), minlength=4)
        assert improbable(counts.double() / DRAWS, ball, 200) is None
    assert "drawn in 56" in str(improbable(torch.tensor([0.56, 0.24, 0.2, 0.0]).double(), ball, 200))
    assert "its probability is 0.0000%" in str(improbable(p + torch.tensor([-1, 0, 0, 1]) / DRAWS, ball, 200))


def test_the_reference_is_not_to_be_had_in_the_process_of_a_candidate():
    assert "No module named 'reference'" in check(f"{HERE}:asks_the_reference", "softmax.softmax").why
    report = check("tests.candidates:asks_the_reference", "softmax.softmax")
    assert report.verdict == "refuted" and "not checked against itself" in report.why
    assert check("reference.softmax:softmax", "softmax.softmax").verdict == "conforms", "our own may be checked"


def test_overflow_in_the_narrow_dtype_is_refuted_and_named():
    report = check(f"{HERE}:squares_overflow", "normalization.rms_norm", "float16")
    assert report.verdict == "refuted" and any("float16: compute in float32" in s for s in report.diagnosis), report


def test_a_bias_raises_suspicion_and_no_more():
    report = check(f"{HERE}:a_little_too_small", "softmax.softmax")
    assert report.verdict == "conforms" and any("errors to one side" in s for s in report.suspicions), report


def test_a_device_that_is_not_there_is_one_line():
    done = cli("check", "softmax.softmax", f"{HERE}:softmax", "--device", "nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr and "verify/" not in done.stderr


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
    report = check(f"{HERE}:cut_off_slope", "softmax.softmax", grad=True)
    exec(f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom candidates import cut_off_slope\n", names)
    *lines, call = report.snippet.splitlines()
    exec("\n".join(lines), names)
    (got,) = eval(call, names)
    p = torch.softmax(names["z"], -1)
    expected = p * (names["cotangent"] - (p * names["cotangent"]).sum(-1, keepdim=True))
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
                      ("softmax.hard", f"{HERE}:softmax"),
                      ("softmax.softmax", f"{HERE}:softmax", "--sizes", "V=x")):  # fmt: skip
        done = cli("check", *arguments)
        assert done.returncode == 2 and done.stdout == "" and "verify/" not in done.stderr


def test_operations_are_listed():
    done = cli("ops", "--json")
    listed = {o["operation"]: o for o in json.loads(done.stdout)["operations"]}
    entry = listed["attention.attention"]
    assert "q: Float[Tensor" in entry["signature"] and "the causal mask aligned top-left" in entry["conventions"]
    assert "FLASH bfloat16" in entry["contracts"] and any(m["id"] == "causal-strict" for m in entry["mutants"])
