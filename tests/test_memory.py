"""Predicted memory against the stream of PyTorch's allocator: the same requests and releases, event by event."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import fit, measure
from bench.__main__ import main
from bench.options import Setting
from derivations.architecture import Architecture, parameters
from derivations.budget import Plan, instants, saved, stream
from derivations.compiled import instants_of, predictor
from derivations.decoder import Run
from derivations.eager_cpu import Cpu
from derivations.eager_cuda import column_sum
from derivations.machine import Storage
from derivations.order import weights
from derivations.polynomial import letters, terms, told, value
from derivations.strides import contiguous, viewed
from reference.decoder import Decoder, Sizes

DATA = Path(__file__).parent / "data"


def gpt2(L=2, H=3, K=8, F=40, V=61, S=64, tied=True):
    return Architecture(L, H * K, H, H, K, F, V, S, norm="layer", gated=False, bias=True, tied=tied)


def llama(L=2, D=36, H=4, G=2, K=6, F=50, V=61, tied=False):
    return Architecture(L, D, H, G, K, F, V, tied=tied)


def setting(a, B, T, dtype="fp32", plan=Plan(), **how):
    run = Run(B, T, positions=T, **how)
    return Setting("tiny", a, run, plan, "cpu", dtype)


@st.composite
def settings_drawn(draw, dtype):
    H, K, L = draw(st.integers(1, 4)), 2 * draw(st.integers(1, 9)), draw(st.integers(1, 3))
    V, F, tied = draw(st.integers(2, 90)), draw(st.integers(1, 70)), draw(st.booleans())
    T = draw(st.sampled_from([2, 3, 17, 64, 130, 200, 300]))
    if draw(st.booleans()):
        a, dropout = gpt2(L, H, K, F, V, T + draw(st.integers(0, 9)), tied), draw(st.sampled_from([0.0, 0.1]))
    else:
        G = draw(st.sampled_from([g for g in range(1, H + 1) if H % g == 0]))
        a, dropout = llama(L, draw(st.integers(1, 70)), H, G, K, F, V, tied), 0.0
    ways = ["adamw loop", "adam loop", "adamw fused", "adam foreach", "momentum loop", "sgd loop"]
    plan = Plan(*draw(st.sampled_from(ways)).split(), accumulate=draw(st.integers(1, 2)))
    how = {"attention": draw(st.sampled_from(["explicit", "sdpa"])), "dropout": dropout,
           "recompute": draw(st.sampled_from(["none", "selective", "full"])),
           "chunks": draw(st.sampled_from([1, 1, 2, 3]))}  # fmt: skip
    return setting(a, draw(st.integers(1, 4)), T, dtype, plan, **how)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(settings_drawn("fp32"))
def test_every_request_and_release_of_a_step_is_predicted(s):
    found = measure.compare_cpu(s)
    assert all(row["predicted"] == row["measured"] for row in found["rows"]), found
    assert not found["streams part at"], found["streams part at"]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(settings_drawn("autocast"))
def test_autocast_is_predicted_once_scratch_is_set_aside(s):
    found = measure.compare_cpu(s)
    assert all(row["predicted"] == row["measured"] for row in found["rows"]), found


WRONG = {
    "layer norm keeps no statistics": ("layer_norm", lambda m, x, w, b: m.unary(x, "layer norm")),
    "masks of a byte": ("dropout", lambda m, x, p: m.unary(x, "dropped out")),
    "a number that is not kept": ("scale", lambda m, x: m.negate(x)),
    "repeated heads for nothing": ("repeat", lambda m, x, n: m.expand(x, x.shape[1] * n)),
    "gelu keeps its result": ("unary", lambda m, x, name: m.softmax(x)),
    "the loss keeps nothing": ("log_softmax", lambda m, z: m.negate(z)),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_rule_is_seen(monkeypatch, wrong):
    name, rule = WRONG[wrong]
    monkeypatch.setattr(Cpu, name, rule)
    how = {"attention": "explicit"}
    a = llama() if name == "repeat" else gpt2()
    found = measure.compare_cpu(setting(a, 2, 17, dropout=0.1 if name == "dropout" else 0.0, **how))
    assert found["streams part at"]


RECORDED = {
    "gpt2_bf16_flash": (gpt2(2, 6, 64, 1000, 3001, 256), Run(3, 200, dtype="bfloat16"), "foreach", False),
    "llama_bf16_flash": (
        llama(2, 384, 6, 2, 64, 1000, 3001), Run(3, 200, dtype="bfloat16", positions=256), "fused", False,
    ),
    "llama_amp_explicit_full": (
        llama(2, 384, 6, 2, 64, 1000, 3001), Run(3, 200, "explicit", recompute="full", positions=256), "foreach", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("recording", RECORDED)
def test_training_on_a_gpu_is_predicted_request_by_request(recording):
    a, run, way, autocast = RECORDED[recording]
    m = stream(a, run, Plan("adamw", way), "cuda", autocast, steps=3)
    theirs, held = [], {}
    for line in (DATA / f"allocator_{recording}.txt").read_text(encoding="utf-8").splitlines():
        action, *fields = line.split()
        if action == "+":
            held[fields[0]] = int(fields[1])
            theirs.append(held[fields[0]])
        elif action == "-":
            theirs.append(-held.pop(fields[0]))
    ours, batch = [size for key, size, _, _ in m.events if key is not None], [8 * run.B * run.T] * 2
    ours, theirs = (x[next(i for i in range(len(x)) if x[i : i + 2] == batch) :] for x in (ours, theirs))
    while theirs[-1] < 0:  # the recording ends among the releases of gradients
        theirs.pop()
    assert len(theirs) > 800 and measure.canonical(ours[: len(theirs)]) == measure.canonical(theirs)


def test_the_program_has_the_parameters_of_the_model():
    for a, form in ((gpt2(tied=False), "gpt2"), (gpt2(), "gpt2"), (llama(), "llama"), (llama(tied=True), "llama")):
        model = Decoder(Sizes(form, a.L, a.D, a.H, a.G, a.K, a.F, a.V, a.S or 32, a.tied))
        run = Run(2, 17, positions=32)
        assert [(n, tuple(p.shape)) for n, p in model.named_parameters()] == list(weights(a, run))
        assert sum(p.numel() for p in model.parameters()) == parameters(a)
        m = stream(a, run, Plan())
        assert set(m.kept) and sum(
            size for key, size, _, _ in m.events if key in m.kept and size > 0
        ) == 8 * parameters(a)


@pytest.mark.parametrize("a", [gpt2(), llama(), gpt2(H=1, tied=False)])
def test_the_compiled_prediction_is_the_direct_one(a):
    peak = predictor(a, Run(1, 1), Plan())
    for B, T, L in ((1, 17, 1), (3, 20, 5), (2, 2, 9), (5, 64, 3)):
        m = stream(replace(a, L=L), Run(B, T, positions=T), Plan())
        assert peak(B, T, L)[0] == max(i.bytes for i in instants(m))
    assert len(instants_of(replace(a, L=3), Run(2, 20, positions=20), Plan(), "cpu", False)) < 40


def test_sizes_remember_their_polynomial():
    B, T, D = letters(B=3, T=5, D=7)
    x = 4 * B * (T + 2) * D - D // 1 + (6 * T) // 3
    assert int(x) == 4 * 3 * 7 * 7 - 7 + 10 and told(x.terms) == "4BDT + 8BD − D + 2T"
    assert value(x.terms, {"B": 1, "T": 1, "D": 1}) == 13 and terms(7) == {(): 7} and (T * T).terms == {("T", "T"): 1}
    assert not isinstance(T // 2, type(T)) and T // 2 == 2, "what is no polynomial is a constant"


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.data())
def test_views_are_decided_as_torch_decides(order, sizes, data):
    x = torch.empty(sizes).permute(*order)
    numbers = [n for n in range(1, x.numel() + 1) if x.numel() % n == 0]
    first = data.draw(st.sampled_from(numbers))
    wanted = (first, x.numel() // first)
    strides = viewed(tuple(x.shape), x.stride(), wanted)
    try:
        expected = x.view(wanted)
    except RuntimeError:
        assert strides is None
    else:
        assert strides is not None
        assert [s for s, n in zip(strides, wanted, strict=True) if n > 1] == [
            s for s, n in zip(expected.stride(), wanted, strict=True) if n > 1
        ]
    assert contiguous((2, 3, 4)) == (12, 4, 1)


def test_columns_are_split_as_seen_on_an_h200():
    assert column_sum(8192, 768) == (50331648, 24) and column_sum(600, 1152) == ()


def test_more_is_kept_without_recomputation():
    a = gpt2(L=4)
    kept = [sum(saved(stream(a, Run(2, 32, "explicit", recompute=how, positions=32), Plan())).values())
            for how in ("none", "selective", "full")]  # fmt: skip
    assert kept[0] > kept[1] > kept[2]


def test_storages_give_back_what_they_took():
    m = Cpu()
    Storage(m, 12, "x")
    assert [(size, what) for _, size, what, _ in m.events] == [(12, "x"), (-12, "")]


def test_the_largest_is_found():
    for answer in (0, 1, 2, 7, 8, 1000):
        assert fit.largest(lambda n, a=answer: n <= a, 1000) == answer
    s = replace(setting(gpt2(), 2, 32), device="cuda")
    found = fit.fit(s, "t4-16", "batch")
    assert fit.need(s.at(B=found["answer"])) <= found["card bytes"] - found["context set aside"]
    assert fit.need(s.at(B=found["answer"] + 1)) > found["card bytes"] - found["context set aside"]
    assert [row["saves"] for row in found["next"]] == sorted((row["saves"] for row in found["next"]), reverse=True)


BAD = {
    "predict gpt5": "name such as",
    "predict gpt2 --seq 1025": "--seq: expected at most the 1024 positions",
    "predict gpt2 --zero 3": "--zero 3: expected --dp above 1",
    "predict gpt2 --attention flash --device cpu": "--attention flash: expected --device cuda",
    "predict gpt2 --dtype bf16 --device cpu": "--dtype bf16: expected --device cuda",
    "predict gpt2 --dropout 1.5": "--dropout: expected a number from 0",
    "predict gpt2 --tp 5": "heads H: expected a multiple of 5, received 12",
    "predict gpt2 --pp 5": "layers L: expected a multiple of 5",
    "predict gpt2 --pp 2 --stage 2": "stage: expected 0 to 1, received 2",
    "predict gpt2 --batch 1099511627776 --seq 1024": "--batch: expected fewer than 2**56 numbers",
    "measure mixtral-8x7b": "expected a model built like GPT-2 or Llama",
    "measure gpt2 --dp 2": "expected one process",
    "measure gpt2 --device cuda": "expected a CUDA device, found none",
    "fit gpt2 --gpu h10": "card: expected a name",
    "predict gpt2 --plot /nowhere/x.svg": "--plot /nowhere/x.svg: cannot be written",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_bad_input_gives_one_line_and_exit_2(line, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(line.split()) == 2
    said = capsys.readouterr().err.strip()
    assert BAD[line] in said and "\n" not in said


def test_what_is_printed_is_what_is_predicted(capsys, tmp_path):
    assert main(["predict", "gpt2", "--batch", "8"]) == 0
    assert "peak 11,322,408,536 bytes" in capsys.readouterr().out
    plot = tmp_path / "t.svg"
    assert main(["predict", "llama3-8b", "--dtype", "bf16", "--layers", "2", "--json", "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reserved"] >= found["allocated"] >= found["peak"] and plot.read_text().startswith("<?xml")
    assert main(["predict", "deepseek-v3", "--inference", "decode", "--cache", "4096", "--dtype", "bf16"]) == 0
    assert "cache of keys and values: 70,272 bytes a token" in capsys.readouterr().out
