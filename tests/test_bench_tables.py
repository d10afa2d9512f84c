"""The tables of bench memory and bench flops: equal where they must be, and formulas of others as they print them."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from bench import flops, flops_xla, memory, memory_formulas
from bench.configs import architecture
from bench.options import Setting, parser, setting
from bench.published_flops import forward_flops
from derivations.architecture import Architecture
from derivations.budget import Plan
from derivations.decoder import Run

JSON, TEXT = SimpleNamespace(json=True), SimpleNamespace(json=False)
GPT2 = Architecture(2, 24, 3, 3, 8, 40, 61, 70, norm="layer", gated=False, bias=True, tied=True)
LLAMA = Architecture(3, 36, 4, 2, 6, 50, 59)


def tiny(a, B=2, T=33, dtype="fp32", **how):
    return Setting("tiny", a, Run(B, T, positions=T, **how), Plan(), "cpu", dtype)


@pytest.mark.parametrize("seed", range(1, 9))
def test_our_count_is_that_of_torch_to_the_integer(seed):
    for s in flops.drawn(2, seed):
        found = flops.of_drawn(s)
        assert found["count"] == found["ours"] > 0 and not found["because"], found


SAME = ("FlopCounterMode, explicit attention", "products in JAX, before XLA", "products in JAX, layers in a loop",
        "PaLM's 6N + 12LHKT, N of the products")  # fmt: skip


@pytest.mark.parametrize("a", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_every_difference_of_another_counter_has_its_reason(a, monkeypatch):
    monkeypatch.setattr(flops_xla, "compiled", lambda f, shapes: 7)  # compiling takes long: see the next test
    found = {r["counter"]: r for r in flops.of_decoder(tiny(a, attention="explicit"))}
    assert len(found) == 15
    for name, r in found.items():
        assert r["rest is"] == (flops.ELEMENTWISE if name.startswith("XLA") else "")
        assert r["rest"] == 0 or r["rest is"], r
        assert (r["count"] == r["ours"]) == (name in SAME), r
    assert found[SAME[0]]["ours"] == 3 * forward_flops(a, 2, 33)


def test_xla_counts_elementwise_work_too_and_a_loop_once():
    """Forward pass alone, which compiles faster."""

    def counts(L, loop):
        shapes = flops_xla.program(replace(LLAMA, L=L), 2, 33, loop)[1]
        f = partial(flops_xla.loss, LLAMA, loop)
        return flops_xla.products(f, shapes), flops_xla.compiled(f, shapes)

    (products, plain), (looped, once) = counts(3, False), counts(3, True)
    assert products == looped == forward_flops(replace(LLAMA, L=3), 2, 33)
    assert 1 < plain / products < 1.2  # of a model as small as this one a seventh is elementwise
    assert once == counts(5, True)[1] < products
    twin = list(flops.of_attention(1, 2, 16, 8))[-1]
    assert twin["count"] < twin["ours"] and twin["because"]


PRINTED = {  # GPT-2, 8 × 1024: fp32 first
    "accelerate": (1_991_036_928, 995_518_464),
    "sixteen": (1_991_036_928, 1_991_036_928),
    "zero2": (None, 2_488_796_160),
    "zero3": (None, 2_394_306_048),
    "megatron": (None, 5_805_453_926),
    "megatron_parallel": (None, 6_471_715_840),
    "korthikanti": (None, 10_597_748_736),
    "korthikanti_selective": (None, 4_557_950_976),
}


@pytest.mark.parametrize("name", PRINTED)
def test_formulas_of_others_give_what_they_print(name):
    cases = (f"gpt2 --batch 8 --seq 1024 --dtype {dtype}" for dtype in ("fp32", "bf16"))
    found = tuple(getattr(memory_formulas, name)(setting(parser("", "").parse_args(case.split()))) for case in cases)
    assert found == PRINTED[name]
    assert all(n is None or isinstance(n, int) for n in found)


def test_formulas_of_others_differ_on_a_model_with_a_gate_and_shared_heads():
    """Values by hand for SmolLM2-135M: D = 576, L = 30, V = 49152 (a multiple of 128), tied, no biases."""
    s = Setting("", architecture("smollm2-135m"), Run(2, 256), Plan(), "cpu", "autocast")
    P, tokens = 134_515_008, 512
    assert memory_formulas.zero3(s) == 18 * P + 4 * 49152 * 576
    parallel = tokens * (30 * (18 * 576 + 4 * 1536) + 8 + 576 + 4 * (49152 + 576))
    assert memory_formulas.megatron_parallel(s) == 18 * P + parallel
    assert memory_formulas.korthikanti(s) == 16 * P + 30 * tokens * (34 * 576 + 5 * 9 * 256)


@pytest.mark.parametrize("dtype", ["fp32", "autocast"])
@pytest.mark.parametrize("a", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_memory_table_measures_and_compares(a, dtype):
    found = {r["predictor"]: r for r in memory.rows([tiny(a, dtype=dtype)])}
    assert list(found) == [name for name, *_ in memory.PREDICTORS]
    truth = found["ours"]["measured"]
    assert all(r["measured"] == truth > 0 and r["leaves out"] and r["source"] for r in found.values())
    if dtype == "fp32":
        assert found["ours"]["predicted"] == truth
    tracker = found["MemTracker on fake tensors"]
    assert abs(tracker["predicted"] / truth - 1) < 0.02  # kernels' scratch is a share of a tiny model
    assert found["16 bytes a parameter"]["difference in percent"] < 0
    assert (found["Megatron"]["predicted"] is None) == (dtype == "fp32")


def test_tables_as_json(monkeypatch, capsys):
    monkeypatch.setattr(memory, "CASES", ("gpt2 --layers 1 --seq 8",))
    monkeypatch.setattr(memory, "setting", lambda options: tiny(GPT2))
    assert memory.main(JSON) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1 and document["topic"] == "memory" and len(document["rows"]) == 10
    assert memory.main(TEXT) == 0 and "exact" in capsys.readouterr().out
    monkeypatch.setattr(flops, "rows", lambda: iter([flops.row("a", 3, "b", 3), flops.row("a", 3, "c", 4, {"why": 1})]))
    assert flops.main(JSON) == 0 and len(json.loads(capsys.readouterr().out)["rows"]) == 2
    monkeypatch.setattr(flops, "rows", lambda: iter([flops.row("a", 3, "b", 4)]))
    assert flops.main(TEXT) == 1 and "without a reason" in capsys.readouterr().out
