"""The bounds against arithmetic: what a float32 program does within the contract stays inside, and comes near them."""

from fractions import Fraction

import pytest
import torch
from mpmath import mp

from verify.contract import ALLOWANCE, UNIT, Contract
from verify.rounding import bounds

FUSED = Contract("FUSED", torch.float32)
U = UNIT[torch.float32]

FUNCTIONS = {
    "sum and difference": lambda x, y: x + y - 3 * x,
    "product": lambda x, y: x * y * x,
    "square": lambda x, y: (x + y) * (x + y),
    "quotient": lambda x, y: x / (2 + y.abs()),
    "reciprocal": lambda x, y: (3 + y).reciprocal() * x,
    "exponential": lambda x, y: torch.exp(3 * x) * y,
    "logarithm": lambda x, y: torch.log(0.5 + x * x + y.abs()),
    "logarithm of one and more": lambda x, y: torch.log1p(x * x) + y,
    "root": lambda x, y: torch.sqrt(x * x + y * y + 0.1),
    "inverse root": lambda x, y: torch.rsqrt(x * x + 0.1) * y,
    "power": lambda x, y: (x.abs() + 1) ** 1.7 + y**2,
    "number to a power": lambda x, y: 10000.0 ** (-x.abs()) * y,
    "circular": lambda x, y: torch.sin(30 * x) + torch.cos(y),
    "hyperbolic": lambda x, y: torch.tanh(x) + y,
    "error function": lambda x, y: torch.erf(x) + y,
    "inverse error function": lambda x, y: torch.erfinv(0.9 * torch.tanh(x)) + y,
    "absolute": lambda x, y: x.abs() - torch.relu(y) + (x + y).clamp(min=0.0),
    "filled": lambda x, y: (x * y).masked_fill(torch.arange(x.shape[-1]) < 2, 0.1),
    "added up by place": lambda x, y: torch.zeros_like(x).scatter_add(
        1, torch.arange(x.shape[1]).expand_as(x) // 3, x + y
    ),
    "sigmoid": lambda x, y: torch.sigmoid(5 * x) * y,
    "total": lambda x, y: (x * y).sum(-1),
    "mean": lambda x, y: (x - y).mean(-1),
    "matrix product": lambda x, y: x @ y.mT,
    "einsum": lambda x, y: torch.einsum("ij,kj->ik", x, y),
    "largest": lambda x, y: torch.maximum(x, y).amax(-1) + x.amin(-1),
    "choice": lambda x, y: torch.where(torch.arange(x.shape[-1]) < 2, x * y, x + y),
    "moved about": lambda x, y: torch.cat([x.flip(-1), y.roll(1, -1)], -1).reshape(-1)[::2],
    "softmax": lambda x, y: (e := torch.exp(x - x.amax(-1, keepdim=True))) / e.sum(-1, keepdim=True),
    "whole numbers": lambda x, y: torch.round(3 * x) * y + torch.ceil(x) - torch.floor(y) * torch.trunc(x),
    "significand and exponent": lambda x, y: torch.frexp(x).mantissa * y + torch.frexp(y).exponent * x,
    "sign": lambda x, y: torch.where(x.signbit(), x * y, y),
    "sorted": lambda x, y: (x + y).sort(-1, descending=True).values,
    "running sum": lambda x, y: (x * y).cumsum(-1),
    "variance": lambda x, y: ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1),
}


def inputs(seed, scale):
    draw = torch.Generator().manual_seed(seed)
    return {name: (scale * torch.randn(5, 7, generator=draw)).double() for name in "xy"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_stays_inside(name):
    f, fullest = FUNCTIONS[name], 0.0
    for seed in range(60):
        given = inputs(seed, 2.0 ** (seed % 7 - 3))
        (ball,) = bounds(f, given, FUSED)
        draw = torch.Generator().manual_seed(seed + 1000)
        nudge = {
            n: 1 + 4 * U * (2 * torch.rand(x.shape, generator=draw, dtype=torch.float64) - 1) for n, x in given.items()
        }
        moved = f(**{n: x * nudge[n] for n, x in given.items()})  # the allowance for inputs, in exact arithmetic
        assert ((moved - ball.value).abs() <= ball.error).all()
        narrow = f(**{n: x.float() for n, x in given.items()}).double()
        assert ((narrow - ball.value).abs() <= ball.error).all(), name
        used = ((moved - ball.value).abs() / ball.error.clamp(min=1e-300)).max().item()
        fullest = max(fullest, used)
        assert ball.error.isfinite().all()
    assert fullest > 0.02, f"the bound of {name} is {1 / max(fullest, 1e-9):.0f} times what was seen"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_worst_inputs_alone_stay_inside(name, monkeypatch):
    """No rounding but that of the inputs, each in the direction that moves the result most: nothing is forgotten."""
    for allowed in ALLOWANCE:
        monkeypatch.setitem(ALLOWANCE, allowed, (2**20 if allowed == "input" else 0, ""))
    f, share = FUNCTIONS[name], 2**20 * U
    for seed in range(10):
        xs = {n: x.requires_grad_() for n, x in inputs(seed, 1.0).items()}
        value = f(**xs)
        for place in range(0, value.numel(), 3):
            entry = value.flatten()[place]
            slopes = torch.autograd.grad(entry, list(xs.values()), retain_graph=True, materialize_grads=True)
            signs = {n: (x * g).sign() for (n, x), g in zip(xs.items(), slopes, strict=True)}
            worst = {n: (x * (1 + share * signs[n])).detach() for n, x in xs.items()}
            (ball,) = bounds(f, {n: x.detach() for n, x in xs.items()}, FUSED)
            moved = f(**worst).flatten()[place] - value.flatten()[place]
            assert moved.abs() <= ball.error.flatten()[place]


@pytest.mark.parametrize("order", ["forward", "backward", "pairs", "sorted"])
@pytest.mark.parametrize("n", [1, 2, 3, 17, 300])
def test_sums_in_any_order_stay_inside(n, order):
    for seed in range(20):
        x = torch.randn(n, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (seed % 5 - 2)
        exact = float(sum(map(Fraction, x.tolist())))
        terms = {"forward": x, "backward": x.flip(0), "pairs": x, "sorted": x.sort().values}[order]
        if order == "pairs":
            while len(terms) > 1:
                odd = terms[len(terms) // 2 * 2 :]
                terms = torch.cat([terms[: len(terms) // 2 * 2].reshape(-1, 2).sum(1), odd])
            total = terms[0].item()
        else:
            run = torch.zeros(())
            for term in terms:
                run = run + term
            total = run.item()
        (ball,) = bounds(lambda x: x.sum(), {"x": x}, FUSED)
        assert abs(total - exact) <= ball.error.item()
        assert abs(ball.value.item() - exact) <= 1e-12 * x.abs().sum().item()


@pytest.mark.parametrize("n", [1, 2, 17, 300, 4096])
def test_products_added_one_by_one_stay_inside(n, monkeypatch):
    """The worst order for equal terms; the inputs are exact, so that only the additions and products round."""
    monkeypatch.setitem(ALLOWANCE, "input", (0, ""))
    x, y = torch.full((1, n), 0.1), torch.full((n, 1), 0.3)
    run = torch.zeros(())
    for a, b in zip(x[0], y[:, 0], strict=True):
        run = run + a * b
    exact = float(sum(Fraction(a) * Fraction(b) for a, b in zip(x[0].tolist(), y[:, 0].tolist(), strict=True)))
    (ball,) = bounds(lambda x, y: x @ y, {"x": x, "y": y}, FUSED)
    assert abs(run.item() - exact) <= ball.error.item()
    assert n < 300 or abs(run.item() - exact) > 3 * U * exact, "the order must matter for this to test anything"


@pytest.mark.parametrize(
    ("name", "ours", "truth"),
    [
        ("exp", torch.exp, mp.exp),
        ("log", torch.log, mp.log),
        ("sin, cos", torch.sin, mp.sin),
        ("tanh", torch.tanh, mp.tanh),
        ("erf", torch.erf, mp.erf),
    ],
)
def test_allowances_cover_the_library_here(name, ours, truth):
    points = torch.logspace(-3, 1, 400)
    worst = 0.0
    for x, y in zip(points.tolist(), ours(points).tolist(), strict=True):
        exact = truth(mp.mpf(x))
        argument = 2 * abs(x) if name == "exp" else 0
        worst = max(worst, float(abs(y - exact) / (abs(exact) * U)) - argument)
    assert worst <= ALLOWANCE[name][0]


def test_the_allowance_of_the_inverse_error_function_covers_the_library_here():
    x = torch.cat([torch.linspace(-0.99999, 0.99999, 401), torch.logspace(-3, -1, 50)]).float()
    for a, y in zip(x.tolist(), torch.erfinv(x).tolist(), strict=True):
        exact = mp.erfinv(mp.mpf(a))
        argument = abs(a) * mp.sqrt(mp.pi) / 2 * mp.exp(exact**2)
        assert abs(y - exact) <= U * (ALLOWANCE["erfinv"][0] * abs(exact) + argument)


def test_without_the_allowance_for_additions_a_sum_leaves_the_bound(monkeypatch):
    from verify import rounding_sums

    monkeypatch.setattr(rounding_sums, "gamma", lambda m, terms: torch.zeros(terms.shape, dtype=torch.float64))
    monkeypatch.setitem(ALLOWANCE, "input", (0, ""))
    x = torch.full((4096,), 0.1)
    (ball,) = bounds(lambda x: x.sum(), {"x": x}, FUSED)
    run = torch.zeros(())
    for term in x:
        run = run + term
    assert abs(run.item() - ball.value.item()) > ball.error.item()
