"""Mistakes of tapes and of nested differentiation: order, what is kept between sweeps, levels, constants."""

from __future__ import annotations

import itertools
from typing import Any
from unittest.mock import patch

import torch

from reference import autodiff
from reference.autodiff import layer_jacobian, mlp_gradients, nested_slope
from reference.autodiff_linear import add, total
from reference.autodiff_number import plain
from reference.autodiff_rules import exp, log
from reference.autodiff_tape import gradient
from verify.mistake import mistake
from verify.mutant.autodiff_slopes import tanh_of_input

NOWHERE = "no public report found"
SWEEP = "reference.autodiff_tape.Tape.sweep"


def depth_first(self, place, cotangent, wanted):
    """What comes back goes on at once, to the operands of the operands: the whole sum so far, at every visit."""
    back: dict[int, Any] = {}
    stack = [(place, cotangent)]
    while stack:
        at, arrived = stack.pop()
        back[at] = add(back[at], arrived) if at in back else arrived
        stack += [(operand, pull(back[at])) for operand, pull in self[at].operands]
    return back


def each_once(self, place, cotangent, wanted):
    """Every record passes on what it has when it is first reached; what comes later stays there."""
    back, queue, seen = {place: cotangent}, [place], {place}
    for at in queue:
        for operand, pull in self[at].operands:
            back[operand] = add(back[operand], pull(back[at])) if operand in back else pull(back[at])
            if operand not in seen:
                seen.add(operand)
                queue.append(operand)
    return back


@mistake(
    "autodiff.mlp_gradients",
    id="topological-order-depth-first",
    seen="sebgao/cTensor #5",
    fix="pass a cotangent on when all of it has arrived: in the reverse order of recording",
)
def sums_go_on_twice(*args, **kwargs):
    """A number used twice passes on its sum at each arrival, so that the first part is counted twice."""
    with patch(SWEEP, depth_first):
        return mlp_gradients(*args, **kwargs)


@mistake(
    "autodiff.mlp_gradients",
    id="topological-order-each-once",
    seen="lucasdelimanogueira/PyNorch #90; TrenTorch/TrenTorch PR#182 (merged)",
    fix="pass a cotangent on when all of it has arrived: in the reverse order of recording",
)
def later_arrivals_stay(*args, **kwargs):
    """A number passes on what it has when it is first reached."""
    with patch(SWEEP, each_once):
        return mlp_gradients(*args, **kwargs)


@mistake(
    "autodiff.mlp_gradients",
    id="loss-outside-grad-scope",
    seen="Goekdeniz-Guelmez/mlx-lm-lora #65 (ORPO)",
    fix="compute the loss inside the function that is differentiated",
)
def loss_of_plain_tensors(x, w1, b1, w2, b2, target):
    """The loss is computed on tensors that no tape knows: every gradient is zero."""
    found = gradient(lambda *_: autodiff.cross_entropy(autodiff.mlp(x, w1, b1, w2, b2), target), w1, b1, w2, b2)
    return tuple(found)


@mistake("autodiff.mlp_gradients", id="batch-sum-for-mean", seen=NOWHERE, fix="divide by the number of rows")
def summed_over_the_batch(x, w1, b1, w2, b2, target):
    """The sum over the batch."""
    return tuple(len(x) * g for g in mlp_gradients(x, w1, b1, w2, b2, target))


@mistake("autodiff.mlp_gradients", id="normalizer-is-constant", seen=NOWHERE, fix="log Σ exp depends on every logit")
def normalizer_is_constant(x, w1, b1, w2, b2, target):
    """log Σ exp z is taken for a constant."""
    with patch.object(autodiff, "log_sum_exp", lambda z: torch.logsumexp(plain(z), -1)):
        return mlp_gradients(x, w1, b1, w2, b2, target)


@mistake("autodiff.mlp_gradients", id="tanh-slope-of-input-mlp", seen="apache/tvm PR#7340", fix="1 − y², y the result")
def hidden_slope_of_the_input(x, w1, b1, w2, b2, target):
    """The hidden layer's slope is 1 − z², z what tanh was given."""
    with patch.object(autodiff, "tanh", tanh_of_input):
        return mlp_gradients(x, w1, b1, w2, b2, target)


@mistake(
    "autodiff.mlp_gradients", id="hidden-units-of-first-row", seen=NOWHERE, fix="the bias of a layer gets all rows"
)
def bias_of_the_first_row(x, w1, b1, w2, b2, target):
    """The hidden bias gets what comes back to the first row."""
    first, _, second, last = mlp_gradients(x, w1, b1, w2, b2, target)
    _, alone, _, _ = mlp_gradients(x[:1], w1, b1, w2, b2, target[:1])
    return first, alone / len(x), second, last


@mistake("autodiff.mlp_gradients", id="hidden-order", seen=NOWHERE, fix="sum over the same units on both sides")
def hidden_units_out_of_order(x, w1, b1, w2, b2, target):
    """The second matrix's gradient is made of the hidden units in reverse."""
    first, bias, second, last = mlp_gradients(x, w1, b1, w2, b2, target)
    order = torch.arange(len(second))
    order[:2] = order[:2].flip(0)
    return first, bias, second[order], last


@mistake(
    "autodiff.log_sum_exp_hessian_vector",
    id="gradient-is-constant",
    seen="pytorch/functorch #353",
    fix="differentiate the rules of reverse mode too",
)
def softmax_is_constant(z, v):
    """The softmax in the gradient is detached: H v = 0."""
    return torch.zeros_like(v)


@mistake("autodiff.log_sum_exp_hessian_vector", id="hessian-diagonal", seen=NOWHERE, fix="subtract p (p · v)")
def diagonal_alone(z, v):
    """p ∘ v."""
    return torch.softmax(z, -1) * v


@mistake("autodiff.log_sum_exp_hessian_vector", id="vector-on-the-left", seen=NOWHERE, fix="push v, do not scale by it")
def direction_times_gradient(z, v):
    """p ∘ (v − p · v) with the direction's own softmax weights exchanged: not symmetric."""
    p = torch.softmax(z, -1)
    return p * (v - (p.flip(-1) * v).sum(-1, keepdim=True))


@mistake(
    "autodiff.log_sum_exp_hessian_vector",
    id="shift-not-constant",
    seen=NOWHERE,
    fix="subtract the largest logit before exp, and add it after log",
)
def exponentials_overflow(z, v):
    """log Σ exp without a shift."""
    return autodiff.hessian_vector(lambda z: total(log(total(exp(z), -1))), [z], [v])[0]


@mistake(
    "autodiff.log_sum_exp_hessian_vector", id="lse-global-max", seen=NOWHERE, fix="subtract each row's own maximum"
)
def one_maximum_for_all_rows(z, v):
    """The largest logit of all rows is subtracted: a row far below is log 0."""
    top = z.amax()
    return autodiff.hessian_vector(lambda z: total(log(total(exp(z - top), -1))), [z], [v])[0]


@mistake(
    "autodiff.layer_jacobian",
    id="grad-stale-intermediate",
    seen="karpathy/micrograd #53, PR#102",
    fix="start every sweep with nothing on the tape",
)
def sweeps_leave_their_sums(x, w, mode="reverse"):
    """What one sweep has brought stays, and the next adds to it."""
    left: dict[int, Any] = {}

    def stale(self, place, cotangent, wanted):
        back = left
        back[place] = add(back[place], cotangent) if place in back else cotangent
        for at in range(place, -1, -1):
            for operand, pull in self[at].operands if at in back else ():
                back[operand] = add(back[operand], pull(back[at])) if operand in back else pull(back[at])
        return dict(back)

    with patch(SWEEP, stale):
        return layer_jacobian(x, w, mode)


@mistake("autodiff.layer_jacobian", id="jacobian-transposed", seen=NOWHERE, fix="row i is that of output i")
def rows_by_input(x, w, mode="reverse"):
    """Forward mode's columns are stacked as rows."""
    return layer_jacobian(x, w, mode).mT if mode == "forward" else layer_jacobian(x, w, mode)


@mistake("autodiff.layer_jacobian", id="jacobian-of-the-sum", seen=NOWHERE, fix="a sweep for each output by itself")
def all_outputs_at_once(x, w, mode="reverse"):
    """One sweep from ones gives every row the gradient of the sum."""
    return layer_jacobian(x, w, mode).sum(0).expand_as(w).clone()


@mistake("autodiff.layer_jacobian", id="layer-slope-of-input", seen="apache/tvm PR#7340", fix="1 − y², y the result")
def slope_of_the_input(x, w, mode="reverse"):
    """1 − z², z what tanh was given."""
    return (1 - (w @ x) ** 2)[:, None] * w


@mistake("autodiff.layer_jacobian", id="layer-slope-missing", seen=NOWHERE, fix="multiply row i by the slope of tanh")
def matrix_alone(x, w, mode="reverse"):
    """tanh is taken for linear."""
    return w.clone()


@mistake(
    "autodiff.nested_slope",
    id="perturbation-confusion",
    seen="JuliaDiff/ReverseDiff.jl #45; JuliaDiff/ForwardDiff.jl #83, #443",
    fix="give every differentiation its own level",
)
def one_level_for_all(x, outer="forward", inner="forward"):
    """The inner derivative also moves what the outer one differentiates."""
    with (
        patch("reference.autodiff_dual.LEVELS", itertools.repeat(1)),
        patch("reference.autodiff_tape.LEVELS", itertools.repeat(1)),
    ):
        return nested_slope(x, outer, inner)


@mistake(
    "autodiff.nested_slope",
    id="inner-derivative-constant",
    seen="pytorch/functorch #353",
    fix="an inner derivative depends on what the outer one moves",
)
def inner_derivative_is_constant(x, outer="forward", inner="forward"):
    """2x for 4x: the inner derivative is detached."""
    return nested_slope(x, outer, inner) / 2


@mistake("autodiff.nested_slope", id="reverse-inside-forward", seen=NOWHERE, fix="add tangents through the sweep too")
def reverse_inside_forward_lost(x, outer="forward", inner="forward"):
    """Forward mode over reverse mode gives zero."""
    found = nested_slope(x, outer, inner)
    return torch.zeros_like(found) if (outer, inner) == ("forward", "reverse") else found
