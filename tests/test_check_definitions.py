"""Every definition, run as it is written in bfloat16, conforms to itself: no false alarm at home."""

from importlib import import_module
from inspect import signature

import pytest
import torch

from verify.ask import Answer
from verify.boundaries import computed
from verify.cases import cases, narrowed, with_cotangent
from verify.check import check, find
from verify.judge import follow, readings

IO, COUNT = torch.bfloat16, 6
OPERATIONS = [o for topic in computed() for o in import_module(f"verify.{topic}").OPERATIONS]
ASKED = [(o.name, grad) for o in OPERATIONS for grad in (False, True) if not grad or o.gradients]


@pytest.mark.parametrize(("name", "grad"), ASKED)
def test_a_definition_conforms_to_itself(name, grad):
    operation, reference = find(name)
    slopes = tuple(operation.gradients) if grad else ()
    tried = cases(operation, list(signature(reference).parameters), reference, IO, COUNT)
    tried = [x for x in tried if all(isinstance(x.get(name), torch.Tensor) for name in slopes)]
    tried = [with_cotangent(reference, inputs, IO) for inputs in tried] if grad else tried
    told = list(readings(reference, {}, IO, operation.exact, unit=operation.unit, slopes=slopes))
    answers = [Answer(inputs, results=told[0].values(narrowed(inputs, IO))) for inputs in tried]
    found = [follow(reading, answers) for reading in told]
    assert any(seen.answer is None for seen in found), [seen.why for seen in found]


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("return found", "conforms"),
        ("return found[0], torch.tensor(found[1], dtype=torch.float64)", "conforms"),
        ("return found[0], found[1] * 1.001", "refuted"),
        ("return found[0].tolist(), found[1]", "refuted"),
        ("return found[0], str(found[1])", "refuted"),
    ],
)
def test_a_result_that_is_a_plain_number_may_be_one(body, verdict, tmp_path):
    """YaRN gives frequencies and a factor, in float64 whatever is asked for."""
    (tmp_path / "theirs.py").write_text(f"""
import math
import torch

def yarn(K, scale, trained):
    pairs = torch.arange(0, K, 2, dtype=torch.float64) / K
    theta = 10000.0 ** -pairs
    turns = [math.log(trained / (2 * math.pi * b)) / math.log(10000.0) * K / 2 for b in (32.0, 1.0)]
    low, high = max(math.floor(turns[0]), 0), min(math.ceil(turns[1]), K - 1)
    ramp = ((torch.arange(K // 2, dtype=torch.float64) - low) / max(high - low, 0.001)).clamp(0, 1)
    found = theta * (1 - ramp) + theta / scale * ramp, 0.1 * math.log(scale) + 1
    {body}
""")
    report = check(f"{tmp_path}/theirs.py:yarn", "rope.yarn", count=10)
    assert report.verdict == verdict and not report.convention, report


@pytest.mark.parametrize(("c", "verdict"), [("(s - t) + y", "refuted"), ("(t - s) - y", "conforms"), ("0", "refuted")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_compensated_must_be(c, verdict, dtype, tmp_path):
    """Kahan's sum is held to its own theorem: step by step all that rounding could do would cover a plain sum too."""
    (tmp_path / "theirs.py").write_text(f"""
import torch

def total(x: torch.Tensor):
    s, c = x[..., 0], 0
    for term in x[..., 1:].unbind(-1):
        y = term - c
        t = s + y
        s, c = t, {c}
    return s
""")
    report = check(f"{tmp_path}/theirs.py:total", "precision.kahan_sum", dtype)
    assert report.verdict == verdict, report
