"""Laws of derivatives of whole programs: a network, a Hessian times a vector, a Jacobian, a derivative in another."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

MODES = ["forward", "reverse"]


@st.composite
def networks(draw):
    """A small network with one hidden layer, a batch, and what it should say."""
    B, D, F, V = draw(st.sampled_from([(3, 2, 4, 5), (2, 3, 5, 4), (5, 4, 2, 3)]))
    weights = {"w1": (D, F), "b1": (F,), "w2": (F, V), "b2": (V,)}
    scale = draw(st.sampled_from([0.25, 1.0]))
    drawn = {name: draw(tensor(*shape, scale=scale, low=-6, high=6)) for name, shape in weights.items()}
    return {"x": draw(tensor(B, D, low=-6, high=6)), **drawn, "target": draw(integers(B, below=V))}


@st.composite
def directions(draw):
    """Rows of logits, some large, and a direction."""
    B, V = draw(st.sampled_from([(2, 3), (3, 4), (4, 2)]))
    scale = draw(st.sampled_from([1.0, 100.0]))
    return {"z": draw(tensor(B, V, scale=scale)), "v": draw(tensor(B, V))}


@st.composite
def layers(draw):
    """An input, a matrix that is not square, and a mode."""
    D, F = draw(st.sampled_from([(2, 3), (4, 2), (3, 5)]))
    return {"x": draw(tensor(D, low=-4, high=4)), "w": draw(tensor(F, D, low=-4, high=4)), "mode": draw(modes())}


@st.composite
def nests(draw):
    """Where the derivative is asked for, and the modes of the outer and the inner one."""
    shape = draw(st.sampled_from([(3,), (2, 3)]))
    return {"x": draw(tensor(*shape)), "outer": draw(modes()), "inner": draw(modes())}


def modes():
    return st.sampled_from(MODES)


def chances_only_move(mlp_gradients, x, w1, b1, w2, b2, target):
    """Probabilities always sum to one: the gradients by the logits, and so by b₂ and by each row of W₂, sum to zero."""
    *_, second, last = mlp_gradients(x, w1, b1, w2, b2, target)
    close(last.sum(), torch.zeros(()).double(), scale=1)
    close(second.sum(-1), torch.zeros(len(second)).double(), scale=1)


def silent_network_by_hand(mlp_gradients, x, w1, b1, w2, b2, target):
    """With W₂ = 0 and b₂ = 0 all symbols are equal: b₂ gets 1/V less how often a symbol is wanted; W₁ gets nothing."""
    V, quiet = w2.shape[1], torch.zeros_like(w2)
    first, _, _, last = mlp_gradients(x, w1, b1, quiet, torch.zeros_like(b2), target)
    close(last, 1 / V - torch.bincount(target, minlength=V).double() / len(target), scale=1)
    close(first, torch.zeros_like(first), scale=1)


def batch_twice_is_the_same(mlp_gradients, x, w1, b1, w2, b2, target):
    """A mean over a batch does not change when the batch is read twice."""
    once = mlp_gradients(x, w1, b1, w2, b2, target)
    for a, b in zip(once, mlp_gradients(x.repeat(2, 1), w1, b1, w2, b2, target.repeat(2)), strict=True):
        close(b, a, scale=1)


def hidden_units_have_no_order(mlp_gradients, x, w1, b1, w2, b2, target):
    """Renumbering the hidden units renumbers their gradients."""
    first, bias, second, last = mlp_gradients(x, w1, b1, w2, b2, target)
    turned = mlp_gradients(x, w1.flip(1), b1.flip(0), w2.flip(0), b2, target)
    for a, b in zip(turned, (first.flip(1), bias.flip(0), second.flip(0), last), strict=True):
        close(a, b, scale=1)


def step_changes_the_loss(mlp_gradients, x, w1, b1, w2, b2, target):
    """The loss changes over a short step by what Gauss's rule makes of the gradients at two points between."""

    def loss(weights):
        u1, c1, u2, c2 = weights
        logits = torch.tanh(x @ u1 + c1) @ u2 + c2
        return torch.logsumexp(logits, -1).mean() - logits.gather(-1, target[:, None]).mean()

    def moved(s):
        return [w + s * short for w in (w1, b1, w2, b2)]

    short, inner = 2.0**-9, math.sqrt(1 / 12)
    slopes = [sum(g.sum() for g in mlp_gradients(x, *moved(0.5 + s), target)) for s in (-inner, inner)]
    close(loss(moved(1)) - loss(moved(0)), short * (slopes[0] + slopes[1]) / 2, scale=1)


def shift_has_no_curvature(hessian_vector, z, v):
    """Along a direction that moves all logits of a row alike, the slope does not change."""
    close(hessian_vector(z, torch.ones_like(v)), torch.zeros_like(v), scale=1)


def order_of_two_directions(hessian_vector, z, v):
    """A Hessian is symmetric: Σ u Hv = Σ v Hu."""
    u = v.flip(-1) + 1
    close((u * hessian_vector(z, v)).sum(), (v * hessian_vector(z, u)).sum(), scale=v.abs().sum().item() + 1)


def two_equal_logits_by_hand(hessian_vector, z, v):
    """At two equal logits H is ±¼: (v₁ − v₂)/4 and its opposite."""
    direction = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    close(hessian_vector(torch.zeros(1, 2).double(), direction), torch.tensor([[0.5, -0.5]]).double())


def rows_far_apart_do_not_mix(hessian_vector, z, v):
    """Beside rows a thousand higher every row keeps its own."""
    close(hessian_vector(torch.cat([z, z + 1000]), torch.cat([v, v])), hessian_vector(z, v).repeat(2, 1), scale=1)


def at_zero_it_is_the_matrix(layer_jacobian, x, w, mode):
    """tanh has slope one at zero."""
    close(layer_jacobian(torch.zeros_like(x), w, mode=mode), w)


def one_number_by_hand(layer_jacobian, x, w, mode):
    """tanh log 2 = 3/5: the slope by x of tanh(2x) at log √2 is 2 · 16/25."""
    half, two = torch.tensor([2.0]).double().log() / 2, torch.tensor([[2.0]]).double()
    close(layer_jacobian(half, two, mode=mode), two * 16 / 25)


def modes_agree(f, **inputs):
    """Forward and reverse mode give the same numbers."""
    swap = dict(zip(MODES, MODES[::-1], strict=True))
    other = {name: swap.get(value, value) if isinstance(value, str) else value for name, value in inputs.items()}
    close(f(**other), f(**inputs))


def outputs_do_not_mix(layer_jacobian, x, w, mode):
    """Row i depends on row i of the matrix alone."""
    close(layer_jacobian(x, w[:1].contiguous(), mode=mode), layer_jacobian(x, w, mode=mode)[:1], scale=1)


def nested_by_hand(nested_slope, x, outer, inner):
    """x · ∂(x y²)/∂y at y = 1 is 2x², and its slope at 3 is 12."""
    close(nested_slope(torch.tensor([3.0]).double(), outer=outer, inner=inner), 12.0)


OPERATIONS = [
    Operation(
        "autodiff.mlp_gradients",
        inputs=networks(),
        laws=[
            chances_only_move,
            silent_network_by_hand,
            batch_twice_is_the_same,
            hidden_units_have_no_order,
            step_changes_the_loss,
        ],
        unit=1.0,
        free=("x",),
    ),
    Operation(
        "autodiff.log_sum_exp_hessian_vector",
        inputs=directions(),
        laws=[
            shift_has_no_curvature,
            order_of_two_directions,
            two_equal_logits_by_hand,
            rows_far_apart_do_not_mix,
        ],
        gradients=("z", "v"),
        unit=1.0,
    ),
    Operation(
        "autodiff.layer_jacobian",
        inputs=layers(),
        laws=[at_zero_it_is_the_matrix, one_number_by_hand, modes_agree, outputs_do_not_mix],
        gradients=("x", "w"),
        unit=1.0,
    ),
    Operation("autodiff.nested_slope", inputs=nests(), laws=[nested_by_hand, modes_agree], gradients=("x",)),
]
