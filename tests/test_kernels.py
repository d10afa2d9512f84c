"""The Triton kernels in Triton's interpreter: each in one dtype, and what they refuse."""

import pytest
import torch

from reference import attention as reference
from reference import optimizers as plain
from reference import rope as turned
from verify.check import check

activations, attention, device, loss, normalization, optimizers, rope = (
    pytest.importorskip(f"reference.kernels.{name}", reason="the kernels need Triton")
    for name in ("activations", "attention", "device", "loss", "normalization", "optimizers", "rope")
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, at 2^∞ and 0/0 inside the interpreter
KERNELS = [
    ("attention.attention", "attention.py:attention", "bfloat16", False),
    ("attention.attention", "attention.py:attention", "bfloat16", True),
    ("attention.grouped_query_attention", "attention.py:attention", "float32", True),
    ("normalization.rms_norm", "normalization.py:rms_norm", "bfloat16", False),
    ("normalization.rms_norm", "normalization.py:rms_norm", "bfloat16", True),
    ("normalization.layer_norm", "normalization.py:layer_norm", "float16", True),
    ("loss.cross_entropy", "loss.py:cross_entropy", "float16", False),
    ("loss.cross_entropy", "loss.py:cross_entropy", "bfloat16", True),
    ("rope.rotate", "rope.py:rotate", "bfloat16", False),
    ("activations.swiglu", "activations.py:swiglu", "float16", True),
    ("optimizers.adamw_step", "optimizers.py:adamw_step", "float32", False),
]


@pytest.mark.parametrize(("operation", "kernel", "dtype", "grad"), KERNELS)
def test_kernel_conforms(operation, kernel, dtype, grad):
    report = check(f"reference/kernels/{kernel}", operation, dtype, count=6, grad=grad, limit=60.0)
    assert report.verdict == "conforms", report.why


@pytest.mark.parametrize(("T", "S", "window"), [(40, 70, 9), (60, 40, None)])
def test_attention_over_several_tiles(T, S, window):
    """Ragged lengths, a window, shared heads, and queries that see nothing, forward and backward."""
    draw = torch.Generator().manual_seed(T)
    q, k, v = (torch.randn(1, H, n, 16, generator=draw).requires_grad_() for H, n in ((4, T), (2, S), (2, S)))
    sees = reference.causal_mask(T, S)
    if window:
        sees = sees & sees.flip(0, 1).new_ones(T, S).triu(S - T - window + 1)
    do = torch.randn(q.shape, generator=draw)
    found = attention.attention(q, k, v, causal=True, window=window)
    wanted = reference.grouped_query_attention(*(x.double() for x in (q, k, v)), mask=sees)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    ours, theirs = (torch.autograd.grad(y, (q, k, v), do.to(y.dtype)) for y in (found, wanted))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("positions", [torch.arange(19), torch.arange(19) * -70001, torch.arange(19) / 3])
def test_rotation_over_several_tiles(layout, positions):
    """More heads and positions than one program turns; positions far off, negative, and between whole numbers."""
    draw = torch.Generator().manual_seed(19)
    x = torch.randn(11, 19, 96, generator=draw).requires_grad_()
    dy = torch.randn(x.shape, generator=draw)
    found, wanted = (f(y, positions, layout=layout) for f, y in ((rope.rotate, x), (turned.rotate, x.double())))
    ours, theirs = (torch.autograd.grad(y, x, dy.to(y.dtype))[0] for y in (found, wanted))
    assert max((found - wanted).abs().max(), (ours - theirs).abs().max()) < 2.0**-20


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_over_several_chunks(smoothing):
    """A row that grows, one that falls, and one of −∞ for a whole chunk: what was summed before is scaled anew."""
    V = 20000
    z = torch.randn(3, V, generator=torch.Generator().manual_seed(V)) + torch.linspace(-9, 9, V)
    z[1] = z[1].flip(0)
    z[2, : (9000 if smoothing == 0 else 0)] = -torch.inf
    z, target = z.requires_grad_(), torch.tensor([V - 1, 17, 15000])
    found = loss.cross_entropy(z, target, label_smoothing=smoothing)
    wanted = torch.nn.functional.cross_entropy(z.double(), target, label_smoothing=smoothing)
    torch.testing.assert_close(found.double(), wanted, atol=0, rtol=1e-6)
    ours, theirs = (torch.autograd.grad(y, z)[0] for y in (found, wanted))
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-5)


@pytest.mark.parametrize("entries", [1, 2049, 5000])
def test_entries_in_several_blocks_and_a_last_one_that_is_not_full(entries):
    draw = torch.Generator().manual_seed(entries)
    xs = [torch.rand(entries, generator=draw) for _ in range(4)]
    found, wanted = (f(*xs, t=3, lr=0.1) for f in (optimizers.adamw_step, plain.adamw_step))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    gate, up = (x.requires_grad_() for x in xs[:2])
    found, wanted = activations.swiglu(gate, up), torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(*(torch.autograd.grad(y, (gate, up), xs[2]) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("programs", [3, 601])
def test_parts_of_a_gradient_are_added_up(programs):
    """Also where these are more than are read at once."""
    parts = torch.randn(2, programs, 19, generator=torch.Generator().manual_seed(programs))
    sums = torch.empty(2, 19)
    normalization.collect[(3, 2)](parts, sums, programs, 19, 512, 8)
    torch.testing.assert_close(sums, parts.sum(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8])
def test_a_mean_over_more_rows_than_are_read_at_once(dtype):
    """Rows that do not count are left out, wherever they stand, and none of a dtype that has no −100."""
    losses, targets = torch.rand(2100), torch.arange(2100) % 5
    targets[1000:1100], targets[7], targets[2099] = (-100 if dtype.is_signed else 4), 6, 5
    losses[1000:1100] *= not dtype.is_signed
    found, counts, counted = torch.empty(()), torch.empty(2, dtype=torch.int32), 2000 if dtype.is_signed else 2100
    loss.mean[(1,)](losses, targets.to(dtype), found, counts, 2100, 5, -100, 1024)
    assert counts.tolist() == [counted, 2]
    torch.testing.assert_close(found, losses.sum() / counted)


@pytest.mark.parametrize("wrong", [5, -1, 2**40])
def test_a_wrong_target_is_told_and_reads_nothing(wrong):
    target = torch.tensor([0, wrong, -100])
    for f in (loss.cross_entropy, loss.cross_entropy_gradient):
        with pytest.raises(ValueError, match="target: expected entries from 0 to 4, received entries from"):
            f(Z, target)


Q, X, Z = torch.ones(1, 2, 3, 4), torch.ones(3, 8), torch.ones(3, 5)
REFUSED = {
    "float64": (lambda: attention.attention(Q.double(), Q.double(), Q.double()), "q: expected float32, bfloat16 or"),
    "two dtypes": (lambda: attention.attention(Q, Q.half(), Q), "k: expected the dtype of q"),
    "shared heads": (
        lambda: attention.attention(Q, Q.repeat(1, 2, 1, 1)[:, :3], Q.repeat(1, 2, 1, 1)[:, :3]),
        "q: exp",
    ),
    "wide heads": (lambda: attention.attention(*[torch.ones(1, 1, 1, 257)] * 3), "K: expected a head dimension up to"),
    "window": (lambda: attention.attention(Q, Q, Q, window=2), "window: expected causal=True with it"),
    "no window": (lambda: attention.attention(Q, Q, Q, causal=True, window=0), "window: expected an integer ≥ 1"),
    "other device": (lambda: device.placed("x", X.to("meta")), "x: expected a tensor on the CPU, since TRITON_"),
    "weight": (lambda: normalization.rms_norm(X, X[0, :4]), "axis D: expected one size, 8, received 4"),
    "long rows": (lambda: normalization.rms_norm(torch.ones(1, 40000)), "D: expected rows of at most 32768"),
    "target": (lambda: loss.cross_entropy(Z, torch.tensor([0, 5, 1])), "target: expected entries from 0 to 4"),
    "kind of target": (lambda: loss.cross_entropy(Z, torch.ones(3)), "target: expected an integer tensor"),
    "layout": (lambda: rope.rotate(X, torch.arange(3), layout="odd"), "layout: expected one of interleaved, half"),
    "step": (lambda: optimizers.adamw_step(*[X[0]] * 4, t=0, lr=0.1), "t: expected an integer ≥ 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_supported_is_refused(what):
    call, message = REFUSED[what]
    with pytest.raises(ValueError) as refusal:
        call()
    assert message in str(refusal.value)


def test_everything_that_is_claimed_is_asked_by_name():
    """`verify run kernels` knows every function of every kernel's file, in every dtype."""
    from importlib import import_module

    from verify.check import find
    from verify.kernels import asked

    for name, candidate, dtype, _ in asked():
        path, _, function = candidate.partition(":")
        module = import_module(path.removesuffix(".py").replace("/", "."))
        assert find(name) and callable(getattr(module, function)) and getattr(torch, dtype) in device.DTYPES
    assert len(set(asked())) == (9 + 7) * len(device.DTYPES), "two of nine have no gradients"


def test_one_row_of_the_ledger(monkeypatch, tmp_path):
    """Through the public command, and shown; one that is not there fails the row."""
    from verify import kernels
    from verify.ledger import summary
    from verify.report import write

    monkeypatch.setattr(kernels, "COUNT", 3)
    made = kernels.of_kernel("optimizers.adamw_step", "reference/kernels/optimizers.py:adamw_step", "bfloat16", False)
    assert made["status"] == "passed" and made["kind"] == "kernel" and "interpreter" in made["evidence"][0]["what"]
    made |= {"seconds": 0.1}
    rest = {"topics": ["kernels"], "tree": "0", "examples": 3, "versions": {"torch": torch.__version__}}
    write({"schema": 1, **rest, "summary": summary([made]), "rows": [made]}, tmp_path / "report.html")
    assert made["id"] in (tmp_path / "report.html").read_text(encoding="utf-8")
    made = kernels.of_kernel("optimizers.adamw_step", "reference/kernels/loss.py:adamw_step", "bfloat16", False)
    assert made["status"] == "failed" and "is unusable: " in made["problems"][0]


def test_the_roofline_is_drawn_from_what_was_measured(tmp_path):
    from bench.__main__ import main

    if not torch.cuda.is_available():
        assert main(["kernels", "--svg", str(tmp_path / "roof.svg")]) == 0
        assert "<svg" in (tmp_path / "roof.svg").read_text(encoding="utf-8")
        assert main(["kernels", "--svg", str(tmp_path / "no" / "roof.svg")]) == 2
