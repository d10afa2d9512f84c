"""GPT-2 in training: gradients in parts, steps that are PyTorch's, runs that go on after a kill, its command line."""

import math

import pytest
import torch

from bench.transformer import weights
from reference import training
from reference.generate import drawn
from reference.optimizers_muon import muon
from reference.transformer_command import main
from reference.transformer_training import (
    Recipe,
    State,
    advance,
    begin,
    build,
    generate,
    gradient,
    loss,
    moved,
    rates,
    surprise,
    train,
    windows,
)

TEXT = "the cat sat on the mat, and the rat ate the cat's hat. " * 12
IDS = torch.arange(60) % 7
SMALL = Recipe(L=2, H=2, K=4, T=8, steps=12, batch=4, warmup=4)


def started(recipe, V=7, dtype=torch.float32):
    model = build(recipe, V)
    model.network.to(dtype)
    return model, begin(recipe, model, dtype)


def test_the_vector_holds_every_parameter_once():
    model, state = started(SMALL)
    assert len(state.x) == sum(p.numel() for p in model.network.parameters())
    parts = model.parts(state.x)
    assert set(parts) == {name for name, _ in model.network.named_parameters()}
    names = list(parts)
    assert all("blocks" in n and parts[n].ndim == 2 for n in names[:8]) and names[8:10] == [
        "tokens.weight",
        "positions.weight",
    ]
    assert all(parts[n].ndim == 1 for n in names[10:])
    assert sum(parts[n].numel() for n in names[:8]) == model.matrices
    assert sum(parts[n].numel() for n in names[:10]) == model.tables


def test_it_begins_as_gpt2_does():
    model, state = started(SMALL._replace(H=4, K=16, T=64, std=0.02), V=300)
    for name, part in model.parts(state.x).items():
        if part.ndim == 1:
            assert torch.equal(part, torch.full_like(part, float("norm" in name and name.endswith("weight"))))
        else:
            wanted = 0.02 / math.sqrt(2 * 2) if name.split(".")[-2] in ("out", "down") else 0.02
            assert abs(part.std() / wanted - 1) < 0.06, name
    assert torch.equal(state.m, torch.zeros_like(state.x)) and torch.equal(state.v, torch.zeros_like(state.x))


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_microbatches_add_up_to_the_batch(parts):
    """Also where they are of different sizes: five windows in two or three parts."""
    recipe = SMALL._replace(dropout=0.0, batch=5)
    model, state = started(recipe, dtype=torch.float64)
    window = windows(IDS, 5, 8)
    whole, nats = gradient(model, state.x, window, 1)
    in_parts, same = gradient(model, state.x, window, parts)
    torch.testing.assert_close(in_parts, whole, rtol=1e-12, atol=1e-14)
    assert abs(nats - same) < 1e-13


def test_the_loss_is_of_the_next_symbol():
    model, state = started(SMALL._replace(dropout=0.0), dtype=torch.float64)
    window = windows(IDS, 3, 8)
    z = torch.func.functional_call(model.network, model.parts(state.x), (window[:, :-1],))
    log_p = z.log_softmax(-1).gather(-1, window[:, 1:, None])
    torch.testing.assert_close(loss(model, state.x, window), -log_p.mean())


def test_a_step_of_adamw_is_pytorchs():
    """Tables and matrices decay, vectors do not; the gradient is clipped first."""
    recipe = SMALL._replace(matrix_lr=0.0, dropout=0.0, decay=0.3, clip=0.1, std=0.7)
    model, state = started(recipe, dtype=torch.float64)
    network = build(recipe, 7).network.double()
    network.load_state_dict(model.parts(state.x), strict=False)
    named = dict(network.named_parameters())
    groups = [[p for p in named.values() if p.ndim == 2], [p for p in named.values() if p.ndim == 1]]
    theirs = torch.optim.AdamW([{"params": groups[0], "weight_decay": 0.3}, {"params": groups[1], "weight_decay": 0.0}],
                               betas=(0.9, 0.99))  # fmt: skip
    for t in range(1, 5):
        for group in theirs.param_groups:
            group["lr"] = rates(t, recipe)[0]
        with torch.random.fork_rng():
            torch.manual_seed(t - 1)
            window = windows(IDS, 4, 8)
        theirs.zero_grad()
        network(window[:, :-1], window[:, 1:]).backward()
        assert torch.nn.utils.clip_grad_norm_(named.values(), 0.1) > 0.1
        theirs.step()
        state, _ = advance(state, recipe, model, IDS)
        for name, part in model.parts(state.x).items():
            # where a gradient is near zero, its rounding (1e-15) over Adam's ε (1e-8) is moved by the rate (3e-3)
            torch.testing.assert_close(part, named[name].data, rtol=0, atol=3e-3 * 1e-15 / 1e-8 * 4)


def test_matrices_follow_muon_each_for_itself():
    """Two steps, whose rates differ: so momentum counts."""
    recipe = SMALL._replace(decay=0.2, warmup=0)
    model, state = started(recipe, dtype=torch.float64)
    gradients = torch.randn(2, len(state.x), generator=torch.Generator().manual_seed(1)).double()
    after = moved(moved(state, gradients[0], recipe, model), gradients[1], recipe, model)
    (first, second), was, now = (rates(t, recipe)[1] for t in (1, 2)), model.parts(state.x), model.parts(after.x)
    slopes = [model.parts(g) for g in gradients]
    for name in ("blocks.1.qkv.weight", "blocks.0.up.weight", "blocks.0.down.weight", "blocks.1.out.weight"):
        pieces = 3 if "qkv" in name else 1
        for x, y, *g in zip(*(p[name].chunk(pieces) for p in (was, now, *slopes)), strict=True):
            one = muon(x, torch.stack(g), lr=first, decay=0.2)[0]
            path = muon(torch.zeros_like(x), torch.stack(g), lr=1.0)  # without decay, so the second step is plain
            torch.testing.assert_close(y, one * (1 - second * 0.2) - second * (path[0] - path[1]))
    assert not torch.equal(now["tokens.weight"], was["tokens.weight"])
    assert state.step == 0 and not state.m.any(), "the state before was changed"


def test_rates_rise_and_fall():
    found = [rates(t, Recipe(steps=100, warmup=10, lr=0.5, matrix_lr=0.1)) for t in range(1, 101)]
    assert found[0] == pytest.approx((0.05, 0.01)) and found[9] == pytest.approx((0.5, 0.1)) and found[-1] == (0, 0)


@pytest.mark.parametrize("name", ["positions", "attention", "feed-forward"])
def test_what_is_absent_stays_zero(name):
    recipe = SMALL._replace(without=name)
    model, state = started(recipe)
    done = train(IDS, recipe, model, state)
    zero = {n for n, part in model.parts(done.x).items() if not part.any() and n.endswith("weight")}
    part = {"positions": "positions", "attention": "out", "feed-forward": "down"}[name]
    assert zero == {n for n in model.shapes if part in n.split(".") and n.endswith("weight")}
    assert not any(whole.any() for n, whole in model.parts(done.x).items() if part in n.split("."))


@pytest.mark.parametrize("n", [2, 5, 9, 10, 23, 60])
@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_every_symbol_is_judged_once_with_the_context_promised(n, step):
    model, state = started(SMALL._replace(std=1.0), dtype=torch.float64)
    ids = torch.randint(7, (n,), generator=torch.Generator().manual_seed(n))
    found = surprise(ids, model, state.x, step)
    assert found.shape == (n - 1,)
    model.network.eval()
    for i in range(1, n):
        few, most = min(i, 8 - step + 1), min(i, 8)
        options = []
        for context in range(few, most + 1):
            z = torch.func.functional_call(model.network, model.parts(state.x), (ids[None, i - context : i],))[0, -1]
            options.append(-z.log_softmax(-1)[ids[i]].item())
        assert min(abs(found[i - 1].item() - option) for option in options) < 1e-10


def test_it_learns_a_text_that_repeats_itself():
    recipe = SMALL._replace(steps=250, dropout=0.0, lr=0.03, matrix_lr=0.05)
    model, state = started(recipe)
    done = train(IDS, recipe, model, state)
    assert surprise(IDS, model, done.x).mean() < 0.05
    text = generate(model, done.x, IDS[:3], 14, drawn(0.0, None, 1.0, 0))
    assert torch.equal(text, (torch.arange(14) + 3) % 7)


def test_every_sampler_may_choose():
    model, state = started(SMALL)
    for way in ((1.0, None, 1.0, 0), (0.5, 2, 1.0, 0), (1.0, None, 0.3, 0), (0.0, None, 1.0, 0)):
        text = generate(model, state.x, IDS[:2], 5, drawn(*way))
        assert text.shape == (5,) and ((text >= 0) & (text < 7)).all()


def test_killed_and_resumed_is_not_killed(tmp_path):
    """With dropout, so that what is random must be the same too."""
    path, kept = str(tmp_path / "state.pt"), {}
    model, state = started(SMALL)
    whole = train(IDS, SMALL, model, state, lambda state, nats: kept.update({state.step: state}))
    training.save(path, kept[5], SMALL, TEXT)
    torch.manual_seed(99)
    again = train(IDS, SMALL, build(SMALL, 7), training.load(path, SMALL, TEXT, State))
    assert again.step == whole.step == 12
    assert all(torch.equal(a, b) for a, b in zip(again[1:], whole[1:], strict=True))
    other = train(IDS, SMALL, model, kept[5]._replace(step=4))
    assert not torch.equal(other.x, whole.x), "what is random does not depend on the step: the test sees nothing"


def test_training_leaves_the_generator_alone():
    model, state = started(SMALL)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    advance(state, SMALL, model, IDS)
    assert torch.equal(before, torch.get_rng_state())


BAD = {
    "no step": (lambda: started(SMALL._replace(steps=0)), "steps: expected an integer ≥ 1, received 0"),
    "no head": (lambda: started(SMALL._replace(H=0)), "H: expected an integer ≥ 1, received 0"),
    "more parts than windows": (lambda: started(SMALL._replace(parts=5)), "parts: expected at most the 4 windows"),
    "all is dropped": (lambda: started(SMALL._replace(dropout=1.0)), "dropout: expected a number from 0 below 1"),
    "negative rate": (lambda: started(SMALL._replace(matrix_lr=-1.0)), "matrix_lr: expected a number from 0"),
    "nothing may move": (lambda: started(SMALL._replace(clip=0.0)), "clip: expected a number above 0"),
    "an unknown part": (lambda: started(SMALL._replace(without="hope")), "without: expected one of positions"),
    "text too short": (lambda: windows(IDS[:8], 1, 8), "ids: expected more than 8 symbols, received 8"),
    "nothing to judge": (lambda: surprise(IDS[:1], *_small()), "expected two symbols or more"),
    "a step too long": (lambda: surprise(IDS, *_small(), 9), "step of at most 8, received 60 symbols, step 9"),
}


def _small():
    model, state = started(SMALL)
    return model, state.x


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_a_line(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match="expected") as told:
        call()
    assert message in str(told.value) and "\n" not in str(told.value)


@pytest.fixture
def book(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    sizes = ["--layers", "1", "--heads", "2", "--head-dim", "4", "--context", "8", "--batch", "4"]
    return ["--corpus", str(tmp_path / "book.txt"), *sizes]


def test_the_command_trains_writes_and_goes_on(book, tmp_path, capsys):
    out = ["--out", str(tmp_path / "a.pt"), "--length", "20"]
    assert main([*book, "--steps", "10", *out, "--top-p", "0.9"]) == 0
    told = capsys.readouterr().out
    assert "bits a character in training" in told and "held out   perplexity" in told
    assert len(told.rstrip("\n").rpartition("-\n")[2]) == 20
    assert main([*book, "--steps", "10", *out]) == 2
    assert "expected a file that is not there yet" in capsys.readouterr().err
    assert main([*book, "--steps", "10", *out, "--resume"]) == 0


def test_a_stop_is_no_loss(book, tmp_path, monkeypatch, capsys):
    from reference import transformer_training

    paths, real = [str(tmp_path / name) for name in ("whole.pt", "stopped.pt")], transformer_training.advance
    assert main([*book, "--steps", "8", "--out", paths[0]]) == 0

    def interrupted(state, *arguments):
        if state.step == 5:
            raise KeyboardInterrupt
        return real(state, *arguments)

    monkeypatch.setattr(transformer_training, "advance", interrupted)
    assert main([*book, "--steps", "8", "--out", paths[1]]) == 130
    assert "stopped at step 5: --resume goes on" in capsys.readouterr().err
    monkeypatch.setattr(transformer_training, "advance", real)
    assert main([*book, "--steps", "8", "--out", paths[1], "--resume"]) == 0
    one, two = (torch.load(path, weights_only=True) for path in paths)
    assert one["step"] == two["step"] == 8 and all(torch.equal(one[n], two[n]) for n in ("x", "m", "v"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--steps", "0"], "steps: expected an integer ≥ 1, received 0"),
    (["--context", "0"], "T: expected an integer ≥ 1, received 0"),
    (["--context", "700"], "corpus: expected more than 700 characters in both parts"),
    (["--top-p", "0"], "p: expected a number above 0"),
    (["--temperature", "-1"], "temperature: expected a number from 0"),
    (["--dropout", "1"], "dropout: expected a number from 0 below 1"),
    (["--length", "-1"], "length: expected an integer ≥ 0"),
    (["--corpus", "no/such.txt"], "cannot be read: No such file"),
    (["--out", "no/such/folder.pt"], "--out no/such/folder.pt: cannot be written: No such file"),
    (["--resume"], "--resume: expected --out FILE"),
])  # fmt: skip
def test_wrong_usage_is_told_in_a_line_with_exit_2(book, capsys, arguments, message):
    assert main([*book, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_the_attention_that_is_drawn_is_the_one_that_is_used():
    """Of every layer, the weights times the values are what the output projection reads."""
    recipe = SMALL._replace(std=0.5)
    model, state = started(recipe, dtype=torch.float64)
    ids = IDS % 7
    found = weights(training.Text("", ids, ids, "abcdefg"), recipe, model, state)
    values, read = [], []
    for name, layer in model.network.named_modules():
        if name.endswith("qkv"):
            layer.register_forward_hook(lambda layer, given, out: values.append(out.chunk(3, -1)[2]))
        if name.endswith(".out"):
            layer.register_forward_hook(lambda layer, given, out: read.append(given[0]))
    with torch.no_grad():
        torch.func.functional_call(model.network.eval(), model.parts(state.x), (ids[:56].view(7, 8),))
    assert len(found) == len(values) == len(read) == recipe.L
    for p, v, y in zip(found, values, read, strict=True):
        mixed = p @ v.unflatten(-1, (recipe.H, recipe.K)).transpose(1, 2)
        torch.testing.assert_close(mixed.transpose(1, 2).flatten(2), y, rtol=1e-12, atol=1e-12)
        assert p.std() > 0.05
