"""Functions as people write them: what is right in its own way conforms and is told how; what hides behind it fails."""

from pathlib import Path

import pytest

from verify.cases import Usage
from verify.check import check
from verify.tell import lines

HERE = str(Path(__file__).with_name("candidates_styles.py"))


def test_a_sigmoid_by_tanh_conforms_by_that_name():
    report = check(f"{HERE}:silu_by_tanh", "activations.silu")
    assert report.verdict == "conforms" and "½ + ½ tanh(x/2)" in report.convention


def test_a_result_that_the_next_call_overwrites_is_refuted():
    report = check(f"{HERE}:silu_in_one_buffer", "activations.silu")
    assert report.verdict == "refuted" and "the call before returned an array into which this call writes" in report.why


def test_an_option_that_is_ignored_is_no_convention():
    report = check(f"{HERE}:gelu_deaf", "activations.gelu")
    assert report.verdict == "refuted"
    assert report.diagnosis == ["it ignores approximate and always does approximate='tanh', the form with tanh"]


def test_transposed_memory_may_be_refused_but_is_told():
    report = check(f"{HERE}:softmax_of_contiguous", "softmax.softmax")
    assert report.verdict == "conforms" and "transposed in memory: RuntimeError: view size" in report.refused[0]
    assert any("the function refuses it: matrices that lie transposed" in line for line in lines(report))


def test_a_function_of_matrices_is_tried_on_matrices():
    report = check(f"{HERE}:softmax_of_matrices", "softmax.softmax")
    assert report.verdict == "refuted" and any("--batch-axes 2" in line for line in lines(report))
    assert check(f"{HERE}:softmax_of_matrices", "softmax.softmax", leading=1).verdict == "conforms"
    with pytest.raises(Usage, match=r"--batch-axes: every axis of optimizers.adam has a name"):
        check(f"{HERE}:three_arguments", "optimizers.adam", leading=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_equal_logits_may_come_in_any_order(dtype):
    report = check(f"{HERE}:top_k_in_any_order", "sampling.top_k", dtype)
    assert report.verdict == "conforms" and "any may come first" in report.convention


def test_two_options_may_be_refused_together_but_not_one_alone():
    report = check(f"{HERE}:one_option_at_a_time", "attention.attention")
    assert report.verdict == "conforms" and report.refused == [
        "causal and mask together: ValueError: a mask or causal, not both"
    ]
    matrices = check(f"{HERE}:masks_of_two_axes", "attention.attention")
    assert matrices.verdict == "conforms" and {why.partition(":")[0] for why in matrices.refused} == {
        "mask with 1×n before T S",
        "mask with n×1 before T S",
        "mask with n×n before T S",
        "mask with 1×1 before T S",
    }, matrices
    alone = check(f"{HERE}:fails_with_a_mask", "attention.attention")
    assert alone.verdict == "refuted" and alone.why == "ValueError: no mask"
    library = check("torch.nn.functional:scaled_dot_product_attention", "attention.attention")
    assert library.verdict == "conforms", library


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_conventions_that_exclude_each_other_excuse_nothing(dtype):
    report = check(f"{HERE}:junk_where_nothing_is_seen", "attention.attention", dtype)
    assert report.verdict == "refuted" and "got 77" in report.why


def test_arguments_in_the_plural_are_known_and_a_number_is_never_guessed():
    assert check(f"{HERE}:adamw_plural", "optimizers.adamw_step").verdict == "conforms"
    with pytest.raises(Usage, match=r"which argument is t\? Say --map t=NAME, one of a, b, c, d, lr, n"):
        check(f"{HERE}:adamw_of_strangers", "optimizers.adamw_step")
