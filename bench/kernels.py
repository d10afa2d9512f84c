"""The Triton kernels beside PyTorch's functions, torch.compile and Liger, on a GPU: time, rate, share of the roof.

python -m bench kernels [--lengths T,T,…] [--json] [--svg FILE]; without a GPU --svg draws the run that is kept, and
--compile compiles them for three architectures. The roof is measured in the same run: the bytes a second of a large
copy, and the operations a second of a large product in bfloat16. A time is the median of several, by CUDA events, with
the launch hidden behind a wait on the GPU. The ratio is the best peer's time over ours: above 1 we are faster. Bytes
and operations are those that no implementation can do without; in causal attention half of the scores are.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from bench.kernels_liger import liger

MEASURED = Path(__file__).parent / "results/kernels_h100_2026-11-26.json"
TOKENS, WIDTH, VOCABULARY, PARAMETERS = 16384, 4096, 128256, 1 << 27
"""Rows of a batch, entries of a row, logits of a row, numbers of an optimizer."""


def seconds(f: Callable[..., Any], before: Callable[[], Any] | None = None, times: int = 15) -> float:
    """The median time of f on the GPU; what `before` gives is passed to it, and not timed."""
    taken = []
    for i in range(times + 3):
        given = () if before is None else (before(),)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(1_000_000)  # half a millisecond in which the launches queue up
        begin.record()
        f(*given)
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            taken.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def roof(device: str) -> tuple[float, float]:
    """Bytes a second of a copy, read and written, and operations a second of a product of bfloat16."""
    x = torch.randn(1 << 29, device=device)
    y = torch.empty_like(x)
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * x.numel() * 4 / seconds(lambda: y.copy_(x)), 2 * 8192**3 / seconds(lambda: a @ b)


def gradients(y, xs, dy):
    """The gradients of ⟨dy, y⟩ by xs."""
    return torch.autograd.grad(y, xs, dy)


def both_ways(functions: dict[str, Callable[..., Any]], inputs: list[Any], wanted: int) -> Iterator[tuple[str, dict]]:
    """("forward", seconds by name), then ("backward", …) by the first `wanted` inputs; what cannot run is left out."""
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    for name, f in functions.items():
        try:
            with torch.no_grad():
                forward[name] = seconds(partial(f, *inputs))
            xs = [x.detach().requires_grad_() for x in inputs[:wanted]]
            y = f(*xs, *inputs[wanted:])
            dy = torch.randn_like(y)
            del y

            graph, back = partial(f, *xs, *inputs[wanted:]), partial(gradients, xs=xs, dy=dy)
            backward[name] = seconds(back, graph)
        except Exception as error:  # a backend refuses a size, or there is no compiler
            print(f"  {name}: not run: {str(error).splitlines()[0][:90]}", file=sys.stderr)
    yield "forward", forward
    yield "backward", backward


def attention(lengths, device: str) -> Iterator[dict[str, Any]]:
    """Causal attention in bfloat16 over 16384 tokens of width 2048."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from reference.kernels.attention import attention as ours

    def by(backend):
        def attend(q, k, v):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        return attend

    peers = {b.name.removesuffix("_ATTENTION").lower(): by(b) for b in
             (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)}  # fmt: skip
    functions = {"ours": lambda q, k, v: ours(q, k, v, causal=True), **peers}
    for K in (64, 128):
        for T in lengths:
            B, H = max(1, TOKENS // T), 2048 // K
            inputs = [torch.randn(B, H, T, K, device=device, dtype=torch.bfloat16) for _ in range(3)]
            for way, found in both_ways(functions, inputs, 3):
                flops = (4 if way == "forward" else 10) * B * H * T * T * K // 2
                size = (4 if way == "forward" else 8) * B * H * T * K * 2
                yield row("attention", way, {"B": B, "H": H, "T": T, "K": K}, found, size, flops)


def row(kernel, way, sizes, found, size, flops=0):
    """One row; None where we have no time."""
    peers = {name: t for name, t in found.items() if name != "ours"}
    best = min(peers, key=lambda name: peers[name]) if peers else None
    ratio = peers[best] / found["ours"] if best and "ours" in found else None
    return {"kernel": kernel, "way": way, "sizes": sizes, "seconds": found, "best": best, "ratio": ratio,
            "bytes": size, "flops": flops}  # fmt: skip


def memory_bound(device: str) -> Iterator[dict[str, Any]]:
    """What moves more bytes than it computes, in bfloat16; AdamW in float32."""
    from reference import normalization, optimizers
    from reference.kernels import activations as fast_activations
    from reference.kernels import loss as fast_loss
    from reference.kernels import normalization as fast_normalization
    from reference.kernels import optimizers as fast_optimizers
    from reference.kernels import rope as fast_rope

    def random(*shape, dtype=torch.bfloat16):
        return torch.randn(*shape, device=device, dtype=dtype)

    functions: dict[str, Callable[..., Any]]
    N, D, V, P, e = TOKENS, WIDTH, VOCABULARY, PARAMETERS, 2
    x, w, b = random(N, D), random(D), random(D)

    def layer_norm(x, w, b):
        return F.layer_norm(x, (D,), w, b)

    functions = {"ours": fast_normalization.rms_norm, "compile": torch.compile(normalization.rms_norm),
                 "functional": lambda x, w: F.rms_norm(x, (D,), w, 1e-6), **liger("rms_norm")}  # fmt: skip
    for way, found in both_ways(functions, [x, w], 2):
        yield row("rms_norm", way, {"N": N, "D": D}, found, (2 if way == "forward" else 3) * N * D * e)
    functions = {"ours": fast_normalization.layer_norm, "compile": torch.compile(normalization.layer_norm),
                 "functional": layer_norm, **liger("layer_norm")}  # fmt: skip
    for way, found in both_ways(functions, [x, w, b], 3):
        yield row("layer_norm", way, {"N": N, "D": D}, found, (2 if way == "forward" else 3) * N * D * e)

    def gated(g, u):
        return F.silu(g) * u

    inputs = [random(N, 2 * D), random(N, 2 * D)]
    functions = {"ours": fast_activations.swiglu, "compile": torch.compile(gated), "functional": gated,
                 **liger("swiglu")}  # fmt: skip
    for way, found in both_ways(functions, inputs, 2):
        yield row("swiglu", way, {"N": N, "F": 2 * D}, found, (3 if way == "forward" else 5) * N * 2 * D * e)
    T, K, H = 4096, 128, 32
    x, positions = random(N // T, H, T, K), torch.arange(T, device=device)
    angle = positions[:, None] * 10000.0 ** (-torch.arange(0, K, 2, device=device) / K)
    cos, sin = angle.cos().bfloat16(), angle.sin().bfloat16()

    def by_tables(x, cos=cos, sin=sin):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    functions = {"ours": lambda x: fast_rope.rotate(x, positions, layout="half"), "compile": torch.compile(by_tables),
                 "functional": by_tables}  # fmt: skip
    for way, found in both_ways(functions, [x], 1):
        yield row("rotate", way, {"B": N // T, "H": H, "T": T, "K": K}, found, 2 * x.numel() * e)
    # Liger writes the gradient into z, and so comes last
    z, target = random(N // 2, V), torch.randint(0, V, (N // 2,), device=device)
    functions = {"ours": fast_loss.cross_entropy, "compile": torch.compile(F.cross_entropy),
                 "functional": F.cross_entropy, **liger("cross_entropy")}  # fmt: skip
    for way, found in both_ways(functions, [z, target], 1):
        yield row("cross_entropy", way, {"N": N // 2, "V": V}, found, (1 if way == "forward" else 2) * z.numel() * e)
    del z
    x, g, m, v = (random(P, dtype=torch.float32) for _ in range(4))
    v.square_()
    given: dict[str, Any] = {"t": 10, "lr": 1e-3, "decay": 0.1}
    parameter = torch.nn.Parameter(x.clone())
    parameter.grad = g
    fused = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.1, fused=True)
    step = torch.compile(lambda *xs: optimizers.adamw_step(*xs, **given))
    functions = {"ours": lambda: fast_optimizers.adamw_step(x, g, m, v, **given), "compile": lambda: step(x, g, m, v),
                 "torch.optim, fused": fused.step}  # fmt: skip
    steps: dict[str, float] = {}
    with torch.no_grad():
        for name, f in functions.items():
            try:
                steps[name] = seconds(f)
            except Exception as error:
                print(f"  {name}: not run: {str(error).splitlines()[0][:90]}", file=sys.stderr)
    yield row("adamw_step", "step", {"P": P}, steps, 7 * P * 4)


def rows(lengths, device: str = "cuda") -> Iterator[dict[str, Any]]:
    """Every kernel both ways, with its share of the roof."""
    copy, product = roof(device)
    yield {"kernel": "roof", "bandwidth": copy, "rate": product}
    for source in (attention(lengths, device), memory_bound(device)):
        for found in source:
            floor = max(found["bytes"] / copy, found["flops"] / product)
            ours = found["seconds"].get("ours")
            yield {**found, "share": floor / ours if ours else None}


def told(r: dict[str, Any]) -> str:
    """A row of the table."""
    if r["kernel"] == "roof":
        return f"the roof: {r['bandwidth'] / 1e9:,.0f} GB/s in a copy, {r['rate'] / 1e12:,.0f} TFLOP/s in a product"
    ours = r["seconds"].get("ours")
    if ours is None:
        return f"{r['kernel']:<14}{r['way']:<10}not run"
    sizes = " ".join(f"{k}={n}" for k, n in r["sizes"].items())
    rate = f"{r['flops'] / ours / 1e12:7,.0f} TFLOP/s" if r["flops"] else f"{r['bytes'] / ours / 1e9:7,.0f} GB/s   "
    peers = ", ".join(f"{name} {t * 1e3:.3f}" for name, t in r["seconds"].items() if name != "ours")
    ratio = f"{r['ratio']:5.2f}×" if r["ratio"] else "     –"
    return f"{r['kernel']:<14}{r['way']:<10}{sizes:<26}{ours * 1e3:9.3f} ms {rate} {r['share']:5.0%} {ratio}  {peers}"


def drawn(path: str, found: dict[str, Any]) -> int:
    """The roofline of a run; 2 where it cannot be written."""
    from bench.kernels_roofline import draw

    try:
        draw(found["rows"], found, path)
    except OSError as error:
        print(f"--svg {path}: cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print(f"wrote {path}", file=sys.stderr)
    return 0


def main(options) -> int:
    if options.compile:
        from bench.kernels_compiled import main as compile_all

        return compile_all(options)
    if not torch.cuda.is_available() and options.svg:
        print(f"no NVIDIA GPU: drawing {MEASURED.name}", file=sys.stderr)
        return drawn(options.svg, json.loads(MEASURED.read_text(encoding="utf-8")))
    if not torch.cuda.is_available():
        print("bench kernels: expected an NVIDIA GPU, found none: not run", file=sys.stderr)
        return 2
    import triton

    head = {"schema": 1, "topic": "kernels", "date": date.today().isoformat(), "device": torch.cuda.get_device_name(),
            "torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda}  # fmt: skip
    lengths = [T for T in options.lengths if T >= 4096] or [4096, 8192, 16384]
    found = []
    if not options.json:
        print(f"kernels on {head['device']}, torch {head['torch']}, triton {head['triton']}")
        print(f"{'kernel':<14}{'way':<10}{'sizes':<26}{'ours':>12} {'rate':>15} {'roof':>5} {'ratio':>6}  peers in ms")
    for r in rows(lengths):
        found.append(r)
        if not options.json:
            print(told(r), flush=True)
    if options.json:
        print(json.dumps({**head, "rows": found}, indent=1, ensure_ascii=False))
    return drawn(options.svg, {**head, "rows": found}) if options.svg else 0
