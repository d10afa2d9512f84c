"""Counters of FLOPs beside our count, every difference with its reason: python -m bench flops [--json].

Ours is what the decoder of derivations/decoder.py counts over shapes: the matrix products of forward and backward pass,
attention with all T² scores. PyTorch's counter must give the same integer; what others count more or less is added up
from formulas of its own, and nothing is left but the elementwise operations that XLA counts as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bench import fake, flops_xla
from bench.closed import evaluated
from bench.experiment import report
from bench.meter import counted_flops, xla_flops
from bench.options import Setting, parser, setting
from bench.predict import counted
from bench.published_flops import forward_flops, model_flops_per_token, training_flops
from bench.step import training
from derivations.architecture import Architecture, parameters
from derivations.attention import FLOPS
from derivations.budget import Plan, stream
from derivations.decoder import Run
from reference.attention import attention

CASES = ("gpt2 --seq 1024 --attention explicit", "smollm2-135m --seq 512 --attention explicit")
ELEMENTWISE = "elementwise operations and reductions"


def row(subject: str, ours: int, counter: str, count: int, because: dict[str, int] | None = None, rest="") -> dict:
    """A count beside ours: what explains the difference, the rest, and what the rest is (empty: there must be none)."""
    because = {why: n for why, n in (because or {}).items() if n}
    return {"subject": subject, "counter": counter, "ours": ours, "count": count, "ratio": count / ours,
            "because": because, "rest": count - ours - sum(because.values()), "rest is": rest}  # fmt: skip


def derived(s: Setting) -> dict[str, Any]:
    """Our counts of a step: model, causal, hardware."""
    return counted(stream(s.a, s.run, s.plan, s.device, s.autocast, 1), s, 1)


def by_torch(s: Setting) -> int:
    """PyTorch's count of a step on fake tensors."""
    with FakeTensorMode():
        return counted_flops(fake.training(s)[0])


def flash(s: Setting) -> int:
    """PyTorch's count of one layer of flash attention, forward and backward, on tensors that have shapes only."""
    a = s.a
    q, k, v = (torch.empty(s.run.B, heads, s.run.T, a.K, dtype=torch.bfloat16, device="meta", requires_grad=True)
               for heads in (a.H, a.G, a.G))  # fmt: skip
    return counted_flops(
        lambda: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)[0].sum().backward()
    )


def chinchilla(a: Architecture, B: int, T: int) -> int:
    """Hoffmann et al. 2022, appendix F: both tables multiply, 3HT² for softmax, as many keys as queries, no gate."""
    layer = 8 * T * a.D * a.H * a.K + 4 * T**2 * a.H * a.K + 3 * a.H * T**2 + 4 * T * a.D * a.F
    return 3 * B * (4 * T * a.V * a.D + a.L * layer)


def drawn(count: int = 6, seed: int = 0) -> Iterator[Setting]:
    """Small decoders of the two forms in turn, sizes and recomputation drawn."""
    draw = Random(seed)
    for i in range(count):
        G, groups, K = draw.choice((1, 2, 3)), draw.choice((2, 3)), draw.choice((4, 6, 10))
        (B, L), (T, F, V, D) = draw.sample((1, 2, 3, 4), 2), draw.sample(range(11, 70), 4)
        H = G * groups
        gpt2 = Architecture(L, H * K, H, H, K, F, V, T + 2, norm="layer", gated=False, bias=True, tied=True)
        a = Architecture(L, D, H, G, K, F, V) if i % 2 else gpt2
        for recompute in ("none", "full"):
            run = Run(B, T, "explicit", recompute=recompute, positions=T)
            yield Setting("llama" if i % 2 else "gpt2", a, run, Plan(), "cpu", "fp32")


def of_drawn(s: Setting) -> dict[str, Any]:
    """A step on real tensors."""
    build, step, _ = training(s)
    build()
    a = s.a
    sizes = ", ".join(f"{letter} = {getattr(a, letter)}" for letter in "LDHGKFV")
    subject = f"{s.name}, drawn: B = {s.run.B}, T = {s.run.T}, {sizes}"
    counter = "FlopCounterMode" + ", blocks recomputed" * (s.run.recompute == "full")
    return row(subject, derived(s)["hardware"], counter, counted_flops(partial(step, lambda phase: None)))


def of_decoder(s: Setting) -> Iterator[dict[str, Any]]:
    """All counters of one step of a decoder."""
    a, B, T, tokens = s.a, s.run.B, s.run.T, s.run.B * s.run.T
    mine, forward = derived(s), forward_flops(s.a, s.run.B, s.run.T)
    scores = 2 * B * a.L * a.H * T**2 * a.K  # q·k of all layers; six such products make attention, forward and backward
    blocks = forward - 2 * tokens * a.V * a.D
    N, matrices = parameters(a), (forward - 2 * scores) // (2 * tokens)
    of = partial(row, f"{s.name}, {B} × {T}", mine["model"])

    def run(**how):
        return by_torch(replace(s, run=replace(s.run, **how)))

    fused, palm = run(attention="sdpa"), partial(model_flops_per_token, L=a.L, H=a.H, K=a.K, T=T)
    yield of("FlopCounterMode, explicit attention", run())
    yield of("FlopCounterMode, attention recomputed", run(recompute="selective"), {"q·k once more": scores})
    yield of("FlopCounterMode, blocks recomputed", run(recompute="full"),
             {"blocks once more, but for their last product": blocks - 2 * tokens * a.L * a.D * a.F})  # fmt: skip
    yield of("FlopCounterMode, fused attention on the CPU", fused, {"attention: this kernel counts as 0": -6 * scores})
    yield of("FlopCounterMode, CUDA's flash attention", fused + a.L * flash(s), {"scores once more, backward": scores})
    yield of("causal", mine["causal"], {"what the mask hides": -3 * scores * (T - 1) // T})
    plain, loop = (flops_xla.program(a, B, T, looped) for looped in (False, True))
    yield of("products in JAX, before XLA", flops_xla.products(*plain))
    yield of("products in JAX, layers in a loop", flops_xla.products(*loop))
    yield of("XLA", flops_xla.compiled(*plain), rest=ELEMENTWISE)
    yield of("XLA, layers in a loop", flops_xla.compiled(*loop),
             {"the loop's body counts once": -3 * blocks * (a.L - 1) // a.L}, ELEMENTWISE)  # fmt: skip
    extra = {"parameters in no product": training_flops(N - matrices, tokens)}
    yield of("PaLM's 6N + 12LHKT, N of the products", tokens * palm(matrices))
    yield of("PaLM's 6N + 12LHKT, N of all parameters", tokens * palm(N), extra)
    yield of("6N, N of the products", training_flops(matrices, tokens), {"attention": -6 * scores})
    yield of("6N, N of all parameters", training_flops(N, tokens), {**extra, "attention": -6 * scores})
    yield of("Chinchilla's appendix F", chinchilla(a, B, T),
             {"the look-up of tokens as a product": 6 * tokens * a.V * a.D, "softmax": 9 * B * a.L * a.H * T**2,
              "keys and values of every head": 12 * tokens * a.L * a.D * a.K * (a.H - a.G),
              "no gate": -6 * tokens * a.L * a.D * a.F * a.gated})  # fmt: skip


def of_attention(B=1, H=4, T=256, K=64) -> Iterator[dict[str, Any]]:
    """The forward pass of attention alone; its twin in JAX is a loop over keys."""
    from verify.twin.attention import attention as twin

    ours = evaluated(FLOPS, B=B, H=H, T=T, S=T, K=K)
    of = partial(row, f"attention forward, {B} × {H} × {T} × {K}", ours)
    yield of("FlopCounterMode, reference", counted_flops(partial(attention, *torch.zeros(3, B, H, T, K))))
    loop = {"the loop's body counts once": -ours * (T - 1) // T}
    yield of("XLA, twin: a loop over keys", int(xla_flops(twin, *[(B, H, T, K)] * 3)), loop, ELEMENTWISE)


def rows() -> Iterator[dict[str, Any]]:
    """Everything, as it is counted."""
    yield from map(of_drawn, drawn())
    for case in CASES:
        yield from of_decoder(setting(parser("flops", "").parse_args(case.split())))
    yield from of_attention()


def told(r: dict[str, Any]) -> str:
    """A counter, and what explains its difference."""
    why = [f"{n:+,} {name}" for name, n in r["because"].items()]
    why += [f"{r['rest']:+,} {r['rest is'] or 'without a reason'}"] if r["rest"] else []
    return f"  {r['counter']:<46}{r['count']:>20,}{r['ratio']:>9.4f}  {'; '.join(why) or 'the same'}"


def main(options) -> int:
    """Print the table; 1 if a difference has no reason."""
    return report("flops", options, rows(), told=told, heading=lambda r: f"\n{r['subject']}: ours {r['ours']:,}",
                  wrong=lambda r: bool(r["rest"] and not r["rest is"]), jax=flops_xla.jax.__version__)  # fmt: skip
