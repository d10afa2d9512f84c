"""The neural language model as a user meets it: bad input, training that goes on after a kill, and its command line."""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from reference import mlp, mlp_training
from reference.mlp import Mlp, generate, init, logits, loss, surprise, windows
from reference.mlp_training import Recipe, State, advance, begin, forgotten, main, rate, train, unpacked
from reference.training import load, save

ROOT = Path(__file__).parent.parent
TEXT = "the cat sat on the mat, and the rat ate the cat's hat. " * 12
IDS = torch.arange(40) % 7
SMALL = Recipe(k=3, D=4, F=8, steps=12, batch=16, warmup=4)
MODEL = init(7, 3, 4, 8, 2, True, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("L", "direct"), [(1, False), (1, True), (2, False), (4, True)])
def test_the_paper_counts_the_parameters(L, direct):
    V, k, D, F = 7, 3, 4, 5
    counted = sum(part.numel() for part in init(V, k, D, F, L, direct) if part is not None)
    assert counted == V * (1 + D + F) + F * (1 + k * D) + (L - 1) * F * (F + 1) + direct * k * D * V


def test_before_training_every_symbol_is_as_likely():
    for direct in (False, True):
        torch.testing.assert_close(surprise(IDS, *init(7, 3, 4, 8, 3, direct)), torch.full((37,), math.log(7)).double())


def test_surprise_does_not_depend_on_how_many_are_judged_at_once(monkeypatch):
    model = MODEL._replace(w2=torch.randn(7, 8, generator=torch.Generator().manual_seed(1)).double())
    whole = surprise(IDS, *model)
    monkeypatch.setattr(mlp, "ROWS", 5)
    torch.testing.assert_close(surprise(IDS, *model), whole)
    torch.testing.assert_close(loss(*windows(IDS, 3), *model), whole.mean())


def test_a_cold_model_writes_its_largest_logits():
    model = MODEL._replace(w2=torch.randn(7, 8, generator=torch.Generator().manual_seed(1)).double())
    text = IDS[:5].tolist()
    for symbol in generate(model, IDS[:5], 6, torch.Generator(), temperature=1e-9).tolist():
        assert symbol == int(logits(torch.tensor([text[-3:]]), *model).argmax())
        text.append(symbol)


BAD = {
    "contexts of another length": (lambda: logits(IDS[None, :4], *MODEL), "axis k: expected one size, 4, received 3"),
    "one context without a batch": (lambda: logits(IDS[:3], *MODEL), "tokens: expected axes B k, received shape"),
    "no table": (lambda: logits(IDS[None, :3], *MODEL._replace(embedding=None)), "embedding: expected a tensor"),
    "none of the contexts": (lambda: logits(IDS[None, :3][:0], *MODEL), "tokens: expected at least one context"),
    "symbol outside": (lambda: logits(IDS[None, :3] + 7, *MODEL), "tokens: expected entries from 0 to 6"),
    "symbols that are numbers": (lambda: logits(torch.zeros(1, 3), *MODEL), "tokens: expected an integer tensor"),
    "weights side by side": (
        lambda: logits(IDS[None, :3], *MODEL._replace(w1=MODEL.w1.flatten(1))), "w1: expected axes F k D"),
    "another vocabulary": (lambda: logits(IDS[None, :3], *MODEL._replace(b2=torch.zeros(6).double())), "axis V"),
    "two dtypes": (lambda: logits(IDS[None, :3], *MODEL._replace(b1=torch.zeros(8))), "b1: expected the dtype of"),
    "layers without biases": (lambda: logits(IDS[None, :3], *MODEL._replace(deep_b=None)), "deep_b: expected weights"),
    "integers for a table": (
        lambda: logits(IDS[None, :3], *MODEL._replace(embedding=torch.zeros(7, 4).long())), "floating-point"),
    "text too short": (lambda: windows(torch.arange(3), 3), "ids: expected more than 3 symbols for contexts of 3"),
    "no context": (lambda: windows(IDS, 0), "k: expected an integer ≥ 1, received 0"),
    "negative symbols": (lambda: windows(IDS - 1, 2), "ids: expected entries from 0"),
    "no unit": (lambda: init(7, 3, 4, 0), "F: expected an integer ≥ 1, received 0"),
    "no layer": (lambda: init(7, 3, 4, 8, 0), "L: expected an integer ≥ 1, received 0"),
    "short prompt": (lambda: generate(MODEL, IDS[:2], 1, torch.Generator()), "prompt: expected at least 3 symbols"),
    "negative length": (lambda: generate(MODEL, IDS, -1, torch.Generator()), "length: expected an integer ≥ 0"),
    "temperature zero": (lambda: generate(MODEL, IDS, 1, torch.Generator(), 0.0), "temperature: expected a number"),
    "no step": (lambda: begin(SMALL._replace(steps=0), 7), "steps: expected an integer ≥ 1, received 0"),
    "forgets too much": (lambda: begin(SMALL._replace(forget=1.5), 7), "forget: expected a number from 0 to 1"),
    "negative rate": (lambda: begin(SMALL._replace(lr=-0.1), 7), "lr: expected a number from 0"),
    "nothing may move": (lambda: train(IDS, 7, SMALL._replace(clip=0.0)), "max_norm: expected a number above 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_a_line(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match="expected") as told:
        call()
    assert message in str(told.value) and "\n" not in str(told.value)


def test_symbols_may_be_bytes():
    """As an index, bytes are a mask to PyTorch: of V contexts of D symbols it would pick numbers at random."""
    tokens = torch.arange(12).view(3, 4).remainder(3)
    model = init(3, 4, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logits(tokens.byte(), *model), logits(tokens, *model))


def test_nan_reaches_the_logits():
    model = MODEL._replace(embedding=torch.full_like(MODEL.embedding, math.nan))
    assert logits(IDS[None, :3], *model).isnan().all()


def test_a_step_is_pytorchs():
    """Clipping and AdamW of torch.optim, on the same minibatch, with the rate of the schedule."""
    recipe = SMALL._replace(decay=0.1, forget=0.0, clip=0.05)
    state = begin(recipe, 7, torch.float64)
    contexts, target = windows(IDS, 3)
    model = Mlp(*(None if p is None else torch.nn.Parameter(p.clone()) for p in unpacked(state.x, recipe, 7)))
    parts = [p for p in model if p is not None]
    theirs = torch.optim.AdamW(parts, betas=(0.9, 0.99), weight_decay=0.1)
    for t in range(1, 6):
        draw = torch.Generator()
        draw.set_state(state.generator)
        rows = torch.randint(len(target), (recipe.batch,), generator=draw)
        theirs.param_groups[0]["lr"] = rate(t, recipe)
        theirs.zero_grad()
        loss(contexts[rows], target[rows], *model).backward()
        assert torch.nn.utils.clip_grad_norm_(parts, 0.05) > 0.05
        theirs.step()
        state, _ = advance(state, recipe, 7, contexts, target)
        torch.testing.assert_close(state.x, torch.cat([p.flatten() for p in parts]), atol=1e-6, rtol=0)


def test_the_rate_rises_and_falls():
    rates = [rate(t, Recipe(steps=100, warmup=10, lr=0.5)) for t in range(1, 101)]
    assert rates[0] == 0.05 and rates[9] == max(rates) == 0.5 and rates[-1] == 0.0
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))


def test_what_is_forgotten_is_the_older_part():
    tokens, draw = torch.arange(400).view(100, 4), torch.Generator().manual_seed(0)
    assert torch.equal(forgotten(tokens, 0.0, draw), tokens)
    cut = forgotten(tokens, 1.0, draw)
    kept = cut == tokens
    assert (kept.long().diff(dim=1) >= 0).all(), "a symbol is forgotten that is newer than one that is kept"
    assert torch.equal(cut[~kept], tokens.roll(1, 0)[~kept])
    assert set(kept.sum(1).tolist()) == {0, 1, 2, 3}
    half = (forgotten(tokens, 0.5, draw) == tokens).all(1).sum()
    assert 30 < half < 70


def test_training_learns_a_text_that_repeats_itself():
    done = train(IDS, 7, SMALL._replace(steps=300, lr=0.03, forget=0.0))
    assert surprise(IDS, *unpacked(done.x, SMALL, 7)).mean() < 0.1


class Killed(Exception):
    pass


def stop_at(step):
    def watch(state, nats):
        watch.latest = state
        if state.step == step:
            raise Killed

    return watch


def test_killed_and_resumed_is_not_killed(tmp_path):
    whole, watch, path = train(IDS, 7, SMALL), stop_at(5), str(tmp_path / "state.pt")
    with pytest.raises(Killed):
        train(IDS, 7, SMALL, watch=watch)
    save(path, watch.latest, SMALL, TEXT)
    again = train(IDS, 7, SMALL, load(path, SMALL, TEXT, State))
    for ours, theirs in zip(again, whole, strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
    other = train(IDS, 7, SMALL, watch.latest._replace(generator=begin(SMALL, 7).generator))
    assert not torch.equal(other.x, whole.x), "minibatches do not depend on the generator: the test sees nothing"


class Executes:
    def __reduce__(self):
        return os.mkdir, (str(Executes.folder),)


def test_a_state_is_numbers_only(tmp_path):
    Executes.folder, path = tmp_path / "made by loading", str(tmp_path / "evil.pt")
    torch.save({"recipe": Executes()}, path)
    with pytest.raises(ValueError, match=r"evil\.pt: expected a state that was saved in training, it is none"):
        load(path, SMALL, TEXT, State)
    assert not Executes.folder.exists()


@pytest.fixture
def book(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    return ["--corpus", str(tmp_path / "book.txt"), "--context", "3", "--hidden", "8", "--embedding", "4"]


def test_the_command_trains_and_writes(book, capsys):
    assert main([*book, "--steps", "30", "--length", "20", "--layers", "2", "--direct"]) == 0
    out = capsys.readouterr().out
    assert "bits a character in training" in out and "held out   perplexity" in out
    assert len(out.rstrip("\n").rpartition("-\n")[2]) == 20


@pytest.mark.parametrize(("arguments", "message"), [
    (["--steps", "0"], "steps: expected an integer ≥ 1, received 0"),
    (["--hidden", "0"], "hidden: expected an integer ≥ 1, received 0"),
    (["--context", "700"], "corpus: expected more than 700 characters in both parts"),
    (["--context", "0"], "context: expected an integer ≥ 1, received 0"),
    (["--lr", "-1"], "lr: expected a number from 0"),
    (["--length", "-1"], "length: expected an integer ≥ 0"),
    (["--temperature", "0"], "temperature: expected a number above 0"),
    (["--corpus", "no/such.txt"], "cannot be read: No such file"),
    (["--out", "no/such/folder.pt"], "--out no/such/folder.pt: cannot be written: No such file"),
    (["--resume"], "--resume: expected --out FILE"),
])  # fmt: skip
def test_wrong_usage_is_told_in_a_line_with_exit_2(book, capsys, arguments, message):
    assert main([*book, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_state_of_something_else_is_refused(book, tmp_path, capsys):
    kept, strange = ["--steps", "3", "--out", str(tmp_path / "a.pt")], tmp_path / "strange.pt"
    strange.write_text("no state")
    assert main([*book, *kept]) == 0
    for arguments, message in (
        (kept, "expected a file that is not there yet (--resume goes on from one that is)"),
        ([*kept, "--resume", "--steps", "4"], "expected a state of the recipe with steps = 4, received 3"),
        (["--steps", "3", "--out", str(strange), "--resume"], "expected a state that was saved in training"),
    ):
        assert main([*book, *arguments]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "book.txt").write_text(TEXT[::-1])
    assert main([*book, *kept, "--resume"]) == 2
    assert "expected a state of this text, it was trained on another" in capsys.readouterr().err


def test_a_stop_is_no_loss(book, tmp_path, monkeypatch, capsys):
    """Ctrl-C saves where it is, and --resume ends where a run without it ends."""
    paths = [str(tmp_path / name) for name in ("whole.pt", "stopped.pt")]
    assert main([*book, "--steps", "12", "--out", paths[0]]) == 0
    real = mlp_training.advance

    def interrupted(state, *arguments):
        if state.step == 7:
            raise KeyboardInterrupt
        return real(state, *arguments)

    monkeypatch.setattr(mlp_training, "advance", interrupted)
    assert main([*book, "--steps", "12", "--out", paths[1]]) == 130
    assert "stopped at step 7: --resume goes on" in capsys.readouterr().err
    monkeypatch.setattr(mlp_training, "advance", real)
    assert main([*book, "--steps", "12", "--out", paths[1], "--resume"]) == 0
    one, two = (torch.load(path, weights_only=True) for path in paths)
    assert one["step"] == two["step"] == 12 and all(torch.equal(one[n], two[n]) for n in ("x", "m", "v", "generator"))


def test_a_kill_is_no_loss(book, tmp_path):
    """SIGKILL in the middle of training, at whatever step: the file is whole, and going on ends in the same numbers."""
    path, steps = tmp_path / "killed.pt", "200"
    code = "from reference import mlp_training, training; training.EVERY = 0.0; raise SystemExit(mlp_training.main())"
    command = [sys.executable, "-c", code, *book, "--steps", steps, "--out", str(path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    for _ in range(600):
        if path.exists() and torch.load(path, weights_only=True)["step"] >= 10:
            break
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert 10 <= torch.load(path, weights_only=True)["step"] < 200
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*book, "--steps", steps, "--out", str(path), "--resume"]) == 0
        assert main([*book, "--steps", steps, "--out", str(tmp_path / "whole.pt")]) == 0
    finally:
        torch.set_num_threads(threads)
    one, two = (torch.load(p, weights_only=True) for p in (path, tmp_path / "whole.pt"))
    assert all(torch.equal(one[n], two[n]) for n in ("x", "m", "v", "generator"))
