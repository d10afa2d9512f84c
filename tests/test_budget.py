"""Plans and forms beyond the measured model: identities that hold whatever the sizes are."""

from dataclasses import replace
from math import prod

import pytest

from bench import predict
from bench.configs import architecture
from bench.options import Setting
from derivations.architecture import Architecture, Experts, Latent, active_parameters, parameters
from derivations.budget import Plan, categories, flops, saved, stream
from derivations.decoder import Run, step
from derivations.eager_cpu import Cpu
from derivations.inference import cache_bytes, generate
from derivations.order import adapters, weights

GPT2 = Architecture(4, 24, 3, 3, 8, 40, 60, 64, norm="layer", gated=False, bias=True, tied=True)
LLAMA = Architecture(4, 36, 4, 2, 6, 48, 60)
FORMS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen3": replace(LLAMA, qk_norm=True, tied=True),
    "qwen2": replace(LLAMA, qkv_bias=True),
    "gemma": replace(LLAMA, after=True, qk_norm=True),
    "neox": replace(LLAMA, norm="layer", gated=False, bias=True),
    "mixtral": replace(LLAMA, experts=Experts(5, 2, 14)),
    "deepseek": replace(LLAMA, G=4, K=14, experts=Experts(5, 2, 14, 2, 1), latent=Latent(9, 8, 6, 10, 7)),
    "deepseek without a rank of queries": replace(LLAMA, G=4, K=14, latent=Latent(9, 8, 6, 10)),
}
B, T = 2, 16
RUN = Run(B, T, positions=T)


def in_products(a, total):
    """How many of the parameters a token is multiplied with; a tied table is its own head."""
    vectors = sum(prod(shape) for name, shape in weights(a, RUN) if len(shape) == 1)
    return total - vectors - a.S * a.D - (0 if a.tied else a.V * a.D)


def forward(m):
    return flops(m)["forward: product"]


@pytest.mark.parametrize("form", FORMS)
def test_the_program_asks_for_exactly_the_parameters_that_are_counted(form):
    a, m = FORMS[form], Cpu()
    step(m, a, RUN)
    assert {name: x.shape for name, x in m.gradients.items()} == dict(weights(a, RUN))
    assert sum(prod(shape) for _, shape in weights(a, RUN)) == parameters(a)


@pytest.mark.parametrize("form", FORMS)
def test_a_token_takes_two_operations_for_each_parameter_that_it_meets(form):
    a = FORMS[form]
    met = in_products(a, active_parameters(a))
    m = stream(a, RUN, Plan("sgd"), steps=1)
    assert forward(m) == 2 * B * T * met
    assert flops(m)["backward: product"] == 4 * B * T * met
    for mode, tokens in (("prefill", T), ("decode", 1)):
        m = generate(a, RUN, mode, 9)
        head = 2 * B * a.D * a.V  # of the last position only
        assert forward(m) == 2 * B * tokens * (met - a.D * a.V) + head, mode


@pytest.mark.parametrize("form", ["gpt2", "llama", "qwen3"])
def test_what_processes_share_adds_up(form):
    a = FORMS[form]
    whole = stream(a, RUN, Plan("sgd"), steps=1)
    halves = stream(a, RUN, Plan("sgd", tp=2), steps=1) if a.H % 2 == 0 else None
    if halves:
        assert 2 * forward(halves) == forward(whole)
    stages = [stream(replace(a, tied=False), RUN, Plan("sgd", pp=2, stage=i), steps=1) for i in (0, 1)]
    assert sum(map(forward, stages)) == forward(whole)
    assert forward(stream(a, RUN, Plan("sgd", accumulate=3), steps=1)) == 3 * forward(whole)


def bytes_of(m, part):
    parts = categories(m)
    return sum(size for key, size, _, _ in m.events if key is not None and size > 0 and parts[key] == part)


@pytest.mark.parametrize("zero", range(4))
def test_zero_shares_what_its_stage_says(zero):
    whole, mine = (stream(LLAMA, RUN, Plan("adam", "fused", dp=4, zero=z), steps=1) for z in (0, zero))
    for part, from_stage in (("optimizer", 1), ("gradients", 2), ("parameters", 3)):
        share = bytes_of(mine, part) / bytes_of(whole, part)
        assert share == pytest.approx(0.25 if zero >= from_stage else 1, rel=0.02), part
    assert bytes_of(mine, "activations") == bytes_of(whole, "activations")


def test_adapters_leave_everything_else_without_gradient_and_state():
    run, m = replace(RUN, rank=2), Cpu()
    step(m, LLAMA, run)
    assert {name: x.shape for name, x in m.gradients.items()} == dict(adapters(LLAMA, run))
    trained = sum(prod(shape) for _, shape in adapters(LLAMA, run))
    assert trained == LLAMA.L * 2 * sum(
        sum(shape) for n, shape in weights(LLAMA, RUN) if n.startswith("blocks.0") and len(shape) == 2
    )
    m = stream(LLAMA, run, Plan("adam", "fused"), steps=1)
    assert bytes_of(m, "optimizer") == 8 * trained + 4 * 2 * 7 * LLAMA.L


def test_a_pipeline_holds_as_many_batches_as_are_in_flight():
    kept = [
        sum(saved(stream(LLAMA, RUN, Plan("sgd", accumulate=4, pp=2, stage=i)), "step 1: backward 1").values())
        for i in (0, 1)
    ]
    one = sum(saved(stream(LLAMA, RUN, Plan("sgd", accumulate=4, pp=2, stage=0)), "step 1: forward 1").values())
    assert kept[0] > 1.9 * one


def test_a_cache_holds_windows_no_longer_than_they_are():
    gemma = replace(LLAMA, L=6, window=8, full=3)
    assert cache_bytes(gemma, 1, 5, "bfloat16") == cache_bytes(replace(LLAMA, L=6), 1, 5, "bfloat16")
    per_token = 2 * 2 * gemma.G * gemma.K
    assert cache_bytes(gemma, 1, 100, "bfloat16") == per_token * (2 * 100 + 4 * 8)
    assert cache_bytes(FORMS["deepseek"], 3, 10) == 4 * 4 * 3 * 10 * (9 + 6)


def test_a_backward_pass_reads_what_was_kept_and_what_arrives_and_writes_what_leaves():
    m = Cpu()
    m.backward(m.unary(m.unary(m.weight("w", (3, 5)), "gelu"), "gelu"))
    table = 4 * 3 * 5
    assert m.moved == 2 * 2 * table + 2 * 2 * table + table, "the result between is kept; the weight lies elsewhere"


def test_a_decoded_token_reads_every_weight_it_meets_once():
    a = architecture("llama3-8b")
    m = generate(a, Run(1, 1, dtype="bfloat16", positions=1), "decode", 1, "cuda")
    assert m.moved == pytest.approx(2 * in_products(a, parameters(a)), rel=0.01)
    sparse = architecture("mixtral-8x7b")
    m = generate(sparse, Run(1, 1, dtype="bfloat16", positions=1), "decode", 1, "cuda")
    assert m.moved == pytest.approx(2 * in_products(sparse, active_parameters(sparse)), rel=0.01)


def test_parts_and_phases_add_up():
    found = predict.predict(Setting("tiny", GPT2, RUN, Plan(), "cpu", "fp32"))
    assert found["peak"] == sum(found["parts"].values()) == max(p["peak"] for p in found["phases"])
    assert found["parts"]["parameters"] == 4 * parameters(GPT2)
    work = found["flops"]
    assert work["model"] == 3 * (work["by phase"]["forward: product"] + work["by phase"]["forward: attention"])
    assert work["causal"] < work["model"] < work["hardware"]
