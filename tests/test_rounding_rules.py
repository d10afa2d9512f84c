"""What the bounds say where rounding matters most, what they refuse to say, and that every reference has one."""

import inspect
import itertools
import math
from importlib import import_module

import pytest
import torch
from torch.utils._pytree import tree_leaves

from verify.boundaries import computed
from verify.cases import cases, on_the_whole, with_cotangent
from verify.check import find
from verify.compare import to_torch
from verify.contract import UNIT, Contract, contracts
from verify.judge import pullback
from verify.rounding import Ball, NoRule, Rounding, Undecided, bounds, interval

FUSED = Contract("FUSED", torch.float32)
U = UNIT[torch.float32]


def test_an_operation_without_a_rule_is_an_error():
    with pytest.raises(NoRule, match=r"aten\.lgamma"):
        bounds(torch.lgamma, {"input": torch.ones(3)}, FUSED)


def test_a_branch_that_rounding_decides_is_an_error():
    with pytest.raises(Undecided):
        bounds(lambda x: x if (x.sum() > 0.3).item() else -x, {"x": torch.full((3,), 0.1, dtype=torch.float64)}, FUSED)
    (ball,) = bounds(lambda x: torch.where(x.sum(0) > 0.3, x, -x), {"x": torch.full((3,), 0.1).double()}, FUSED)
    assert torch.allclose(ball.error, torch.full((3,), 0.2).double(), rtol=1e-5), "either branch may be taken"


def test_cancellation_is_seen():
    x = torch.tensor([1e6, 1e6 + 1]).double()
    (ball,) = bounds(lambda x: x[1] - x[0], {"x": x}, FUSED)
    assert 0.1 < ball.error.item() < 2


def test_a_root_near_zero_moves_up_as_well():
    """√(x − y) of equal numbers is 0, but their difference may be anything up to its bound, and the root far more."""
    x = torch.full((3,), 0.7).double()
    (ball,) = bounds(lambda x, y: torch.sqrt((x - y).abs()), {"x": x, "y": x.clone()}, FUSED)
    assert (ball.value == 0).all() and (ball.error > 1e-4).all()


def test_a_divisor_that_may_be_zero_says_nothing():
    x = torch.full((3,), 0.7).double()
    (ball,) = bounds(lambda x, y: 1 / (x - y), {"x": x, "y": x.clone()}, FUSED)
    assert (ball.error == math.inf).all()


def test_a_count_of_uncertain_comparisons_is_uncertain():
    x = torch.tensor([0.3, 5.0]).double()
    (ball,) = bounds(lambda x: (x > 0.3).sum() * 1.0, {"x": x}, FUSED)
    assert math.isclose(ball.error, 1, rel_tol=1e-6)


def test_what_is_written_in_place_is_not_taken_for_exact():
    def on_a_row(x):
        table = torch.zeros(2, 3, dtype=torch.float64)
        table[0] = x * x
        return table * 1.0

    def behind_a_view(x):
        table = torch.zeros(2, 3, dtype=torch.float64)
        row = table[0]
        table.add_(x * x)
        return row * 1.0

    for written in (on_a_row, behind_a_view):
        with pytest.raises(NoRule, match="written in place"):
            bounds(written, {"x": torch.ones(3)}, FUSED)
    (ball,) = bounds(lambda x: torch.zeros_like(x).add_(x * x), {"x": torch.full((3,), 0.1)}, FUSED)
    assert (ball.error > 0).all()


@pytest.mark.parametrize("io", [torch.float64, torch.float32])
def test_a_constant_is_as_exact_as_the_arithmetic(io):
    (contract,) = contracts(io)
    for scaled in (lambda x: x * 0.1, lambda x: x + torch.full((3,), 0.1, dtype=torch.float64)):
        (ball,) = bounds(scaled, {"x": torch.ones(3).double()}, contract)
        assert (ball.error < 20 * UNIT[io]).all() and (ball.error > 4 * UNIT[io] * 0.1).all()


OPERATIONS = [operation for topic in computed() for operation in import_module(f"verify.{topic}").OPERATIONS]


SEARCHES = {"sampling.beam_search"}  # sums decide which texts go on, and of equal sums rounding decides: no bound then


ADDED = {"taken off": lambda x: x - 0.3061, "less": lambda x: 0.3061 - x, "added": lambda x: x * -1.3 + 0.3061}


@pytest.mark.parametrize("name", ADDED)
def test_a_number_that_is_added_may_be_stored_narrow_where_all_may(name):
    """PyTorch rounds it so on a CPU, and where it cancels this is all that is left."""
    f, x, told = ADDED[name], (torch.arange(1, 2000).double() / 2000).bfloat16(), contracts(torch.bfloat16)
    found, inside = f(x).double(), {}
    for contract in told:
        low, high = interval(bounds(f, {"x": x.double()}, contract)[0], contract)
        inside[contract.name] = bool(((low <= found) & (found <= high)).all())
    assert inside == {"FUSED": False, "FLASH": False, "EAGER": True}
    (held,) = bounds(lambda x: x - 0.25, {"x": x.double()}, told[-1])
    assert (held.error <= 2.0**-8 * held.value.abs() + 2.0**-20).all(), "a number that it holds costs nothing"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_reference_and_its_gradient_can_be_bounded(operation):
    """In every dtype, by its contracts in turn; and the reference, run in float64, lies inside its own bound."""
    _, reference = find(operation.name)
    undecided, asked = 0, 0
    names = list(inspect.signature(reference).parameters)
    for io in UNIT:
        tried = cases(operation, names, reference, io, 12)
        for inputs, contract in zip(tried, itertools.cycle(contracts(io, operation.exact))):
            f, asked = on_the_whole(reference), asked + 1
            try:
                balls, results = bounds(f, inputs, contract), [to_torch(x) for x in tree_leaves(f(**inputs))]
            except Undecided:
                undecided += 1
                continue
            for ball, result in zip(balls, results, strict=True):
                assert torch.equal(ball.value.nan_to_num(7), result.nan_to_num(7))
                assert not ball.error.isnan().any()
            if operation.gradients and all(inputs[name] is not None for name in operation.gradients):
                turned = with_cotangent(reference, inputs, io)
                assert len(bounds(pullback(reference, operation.gradients), turned, contract)) > 0
    assert undecided <= (asked // 4 if operation.name in SEARCHES else 0)


def test_exact_zeros_stay_exact():
    x = torch.tensor([0.0, 1.0, -torch.inf]).double()
    (ball,) = bounds(torch.exp, {"input": x}, FUSED)
    assert ball.value[2] == 0 and ball.error[2] == 0


def test_backward_is_bounded_too():
    """Gradients of a cross-entropy in float32, by autograd, against the mode's bound on the same autograd."""

    def slope(z):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            loss = (z.exp().sum(-1).log() - z[..., 0]).sum()
            return torch.autograd.grad(loss, z)[0]

    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    (ball,) = bounds(slope, {"z": z}, FUSED)
    assert ball.error.isfinite().all() and (ball.error > 0).any()
    assert ((slope(z).double() - ball.value).abs() <= ball.error).all()


def test_flash_rounds_what_it_multiplies_but_not_its_inputs():
    fused, flash, eager = contracts(torch.bfloat16)
    x, y = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16().double()
    errors = [bounds(lambda x, y: x @ y, {"x": x, "y": y}, c)[0].error.max() for c in (fused, flash, eager)]
    assert errors[0] == errors[1] < errors[2]
    errors = [bounds(lambda x, y: (x * y) @ y, {"x": x, "y": y}, c)[0].error.max() for c in (fused, flash, eager)]
    assert errors[0] < errors[1] < errors[2]


def test_a_reference_in_float64_doubles_the_bound_only_for_float64():
    """Both round: beside float32 the reference's own error is nothing, beside float64 it is as large again."""
    x, y = torch.full((3,), 0.1).double(), torch.full((3,), 0.3).double()
    errors = {}
    for io in (torch.float32, torch.float64):
        (ball,) = bounds(lambda x, y: x * y, {"x": x, "y": y}, *contracts(io))
        errors[io] = ball.error[0].item()
    assert math.isclose(errors[torch.float64] / UNIT[torch.float64], 2 * errors[torch.float32] / U, rel_tol=1e-3)


def test_the_interval_is_rounded_to_the_dtype():
    contract = contracts(torch.bfloat16)[0]
    for value, error in ((1.0, 0.0), (1.001, 1e-9)):
        low, high = interval(Ball(torch.tensor([value]).double(), torch.tensor([error]).double()), contract)
        assert low.item() == high.item() == 1


def test_views_share_their_bound():
    mode = Rounding(FUSED)
    with mode:
        x = mode.input(torch.arange(6.0).reshape(2, 3))
        y = x.reshape(3, 2).t()
    assert torch.equal(mode.error(y), mode.error(x).reshape(3, 2).t()) and mode.error(y).any()
