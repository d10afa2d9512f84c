"""The command lines as a user meets them: exit codes, one-line errors, interruption, and runs that go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verify.__main__ import QUICK

ROOT = Path(__file__).parent.parent
PLAIN = os.environ | {"JAX_PLATFORMS": "cpu", "NO_COLOR": "1"}


def run(*arguments, **options):
    """Run python -m … from the root of the project."""
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=PLAIN | options.get("env", {}))


USAGE = {
    "unknown topic": (("derivations", "nonsense"), "nonsense"),
    "unknown topic of verify": (
        ("verify", "run", "nonsense"),
        "expected one of activations, attention, autodiff, backprop",
    ),
    "unknown option": (("verify", "run", "--fast"), "--fast"),
    "no command": (("verify",), "COMMAND"),
    "missing folder": (("verify", "run", "rope", "--out", "no/such/folder"), "expected an existing folder"),
    "unknown profile": (("verify", "run", "rope"), "dev, ci, deep, not 'wild'"),
    "unknown cost": (("bench", "nonsense"), "invalid choice: 'nonsense'"),
    "lengths": (("bench", "attention", "--lengths", "1,x"), "expected positive integers"),
    "no such device": (("bench", "attention", "--device", "cuda"), "expected a CUDA device, found none: not run"),
    "unwritable figure": (("bench", "attention", "--lengths", "8", "--svg", "no/such/f.svg"), "cannot be written"),
    "order": (("reference.markov", "--order", "-1"), "order: expected an integer ≥ 0, received -1"),
    "alpha": (("reference.markov", "--alpha", "-1"), "alpha: expected a number from 0"),
    "order that is no number": (("reference.markov", "--order", "two"), "invalid int value"),
    "length": (("reference.markov", "--length", "-5"), "length: expected an integer ≥ 0"),
    "smoothing": (("reference.markov", "--smoothing", "katz"), "invalid choice: 'katz'"),
    "discount": (("reference.markov", "--smoothing", "kneser-ney", "--discount", "2"), "expected numbers from 0 to 1"),
    "alpha of another": (("reference.markov", "--smoothing", "kneser-ney", "--alpha", "1"), "expected --smoothing add"),
    "discount of another": (("reference.markov", "--discount", "1"), "expected --smoothing kneser-ney with it"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage_is_told_in_a_line_with_exit_2(name):
    arguments, message = USAGE[name]
    if name == "no such device":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.fail("this machine has a CUDA device: run the bench on it instead")
    done = run(*arguments, env={"DEMONSTRANDUM_PROFILE": "wild"} if name == "unknown profile" else {})
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert message in done.stderr and "Traceback" not in done.stderr + done.stdout


@pytest.fixture
def corpora(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("ab")
    (tmp_path / "latin.txt").write_bytes("naïve café".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "good.txt").write_text("the cat sat on the mat. " * 40)
    return tmp_path


@pytest.mark.parametrize(("name", "message"), [
    ("missing.txt", "cannot be read: No such file or directory"),
    ("empty.txt", "expected text, the file is empty"),
    ("short.txt", "expected more than 3 characters"),
    ("latin.txt", "expected UTF-8 text, byte 2 is not"),
    ("folder", "cannot be read: Is a directory"),
])  # fmt: skip
def test_bad_corpus_is_one_line_and_exit_2(corpora, name, message):
    done = run("reference.markov", "--corpus", corpora / name)
    assert done.returncode == 2 and message in done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_corpus_of_ones_own(corpora):
    done = run("reference.markov", "--corpus", corpora / "good.txt", "--order", "2", "--length", "40")
    assert done.returncode == 0, done.stderr
    assert "perplexity" in done.stdout and "bits per character" in done.stdout
    assert len(done.stdout.rstrip("\n").rpartition("\n")[2]) == 40


@pytest.mark.parametrize("smoothing", ["add", "jelinek-mercer", "kneser-ney"])
def test_a_smoothing_is_chosen(corpora, smoothing):
    done = run("reference.markov", "--corpus", corpora / "good.txt", "--smoothing", smoothing, "--length", "30")
    assert done.returncode == 0, done.stderr
    assert f"order 3, {smoothing}" in done.stdout and "held out   perplexity" in done.stdout
    assert len(done.stdout.rstrip("\n").rpartition("\n")[2]) == 30


def without_times(path):
    ledger = json.loads(Path(path).read_text(encoding="utf-8"))
    for row in ledger["rows"]:
        assert row.pop("seconds") >= 0
    return ledger


def test_a_run_writes_ledger_and_report_and_repeats_itself(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        done = run("verify", "run", "rope", "--quick", "--out", tmp_path / name)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = (without_times(tmp_path / name / "ledger.json") for name in ("one", "two"))
    assert one == two
    assert one["schema"] == 1 and one["topics"] == ["rope"] and one["summary"]["failed"] == 0
    left_out = {row["id"] for row in one["rows"] if row["status"] == "not run here"}
    assert left_out - {"device.cuda"} == {"papers.rope"}, "a quick run reads no articles"
    assert not (tmp_path / "one" / "ledger.partial.jsonl").exists()
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org/1998/Math/MathML", "")
    for row in one["rows"]:
        assert f'id="{row["id"]}"' in page
    assert "8 of 8 claims proved" in done.stdout and "\x1b[" not in done.stdout


def test_the_schema_is_the_documented_one(tmp_path):
    done = run("verify", "run", "loss", "--quick", "--json", "--out", tmp_path)
    ledger = json.loads(done.stdout)
    page = (ROOT / "papers/ledger.md").read_text(encoding="utf-8")
    fields = {*ledger, *ledger["summary"], *(key for row in ledger["rows"] for key in row)}
    fields |= {key for row in ledger["rows"] if row["kind"] == "claim" for key in row["proof"]}
    assert [field for field in sorted(fields) if f"`{field}`" not in page] == []
    classes = {e["class"] for row in ledger["rows"] for e in row["evidence"]}
    trust = (ROOT / "TRUST.md").read_text(encoding="utf-8")
    assert all(f"**{name}" in trust for name in classes)


def test_an_interrupted_run_keeps_its_rows_and_goes_on(tmp_path):
    arguments = [sys.executable, "-m", "verify", "run", "softmax", "--quick", "--out", str(tmp_path)]
    pipe = subprocess.PIPE
    running = subprocess.Popen(arguments, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=PLAIN)
    partial = tmp_path / "ledger.partial.jsonl"
    for _ in range(600):
        if partial.exists() and partial.read_text().count("\n") >= 4:
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 130 and "run again to go on" in stderr and "Traceback" not in stderr
    kept = [json.loads(line) for line in partial.read_text(encoding="utf-8").splitlines()[1:]]
    assert kept and not (tmp_path / "ledger.json").exists()
    partial.write_text(partial.read_text(encoding="utf-8") + '{"id": "half a li', encoding="utf-8")

    done = run("verify", "run", "softmax", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["id"]: row for row in json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))["rows"]}
    assert all(rows[row["id"]] == row for row in kept), "a row was made twice"


def test_rows_of_another_tree_are_not_taken_over(tmp_path):
    stale = {"tree": "another", "topics": ["loss"], "examples": QUICK}
    lie = {"id": "loss.cross_entropy_gradient_is_p_minus_y", "status": "passed", "seconds": 0.0, "lie": True}
    partial = tmp_path / "ledger.partial.jsonl"
    partial.write_text(json.dumps(stale) + "\n" + json.dumps(lie) + "\n", encoding="utf-8")
    assert run("verify", "run", "loss", "--quick", "--out", tmp_path).returncode == 0
    assert '"lie"' not in (tmp_path / "ledger.json").read_text(encoding="utf-8")


def test_ops_lists_every_operation_with_its_laws():
    done = run("verify", "ops")
    assert done.returncode == 0
    assert "attention.attention" in done.stdout and "masked_is_never_read" in done.stdout


def test_bench_predicts_to_the_integer():
    done = run("bench", "attention", "--lengths", "64,96", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and len(document["rows"]) > 6
    for row in document["rows"][:6]:
        if row["cost"] != "FLOPs of q·k, by XLA":
            assert row["measured"] == row["predicted"]
        else:
            assert abs(row["ratio"] - 1) < 0.05  # XLA counts elementwise work by its own rules


def test_bench_draws_a_figure(tmp_path):
    done = run("bench", "attention", "--lengths", "16,32", "--svg", tmp_path / "a.svg")
    assert done.returncode == 0 and "exact" in (tmp_path / "a.svg").read_text(encoding="utf-8")
