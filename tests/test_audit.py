"""The audit on a small project of its own: a weak test misses what a stronger one notices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WEAK = "assert p.shape == x.shape"
STRONG = (
    WEAK + " and torch.allclose(p, x.exp() / x.exp().sum(-1, keepdim=True)) and (p.sum(-1) - 1).abs().max() < 1e-12"
)


@pytest.fixture
def project(tmp_path):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "layers.py").write_text("import torch\n\ndef soft(logits):\n    return torch.softmax(logits, -1)\n")
    for name, check in (("weak", WEAK), ("strong", STRONG), ("broken", "assert False")):
        lines = [
            "import torch",
            "from theirs.layers import soft",
            "x = torch.tensor([[0.0, 1.0], [2.0, -1.0]]).double()",
        ]
        (tmp_path / f"{name}.py").write_text("\n".join([*lines, "p = soft(x)", check, ""]))
    return tmp_path


def audit(project, *command, impl="theirs.layers:soft"):
    arguments = ["-m", "verify", "audit", "softmax.softmax", "--impl", impl, "--json", "--", *command]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, env=environment)
    return done, json.loads(done.stdout)["mutants"] if done.stdout else []


def test_a_stronger_test_notices_more(project):
    done, weak = audit(project, sys.executable, "weak.py")
    assert done.returncode == 1 and not any(m["noticed"] for m in weak if m["id"] == "softmax-base-two")
    done, strong = audit(project, sys.executable, "strong.py")
    noticed = [sum(m["noticed"] for m in found) for found in (weak, strong)]
    assert noticed[0] < noticed[1] and len(weak) == len(strong)


@pytest.mark.parametrize(
    ("command", "impl", "why"),
    [
        ([sys.executable, "broken.py"], "theirs.layers:soft", "the tests fail as they are (exit 1)"),
        ([], "theirs.layers:soft", "expected the command of your tests"),
        ([sys.executable, "weak.py"], "theirs.layers", "expected MODULE:FUNCTION"),
        ([sys.executable, "weak.py"], "theirs.layers:hard", "has no function hard"),
        (["no-such-command"], "theirs.layers:soft", "no-such-command"),
    ],
)
def test_wrong_usage_is_a_line(project, command, impl, why):
    done, _ = audit(project, *command, impl=impl)
    assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1
