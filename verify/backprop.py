"""Laws of the gradients by hand of linear layers, look-ups, activations and losses; norms and attention are beside."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch.nn import functional as F

from reference import activations, loss
from reference.softmax import softmax
from verify import backprop_attend, backprop_attention, backprop_norms
from verify.backprop_laws import gradients_are_linear, laws
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

LAYERS = [((2,), 3, 4), ((), 2, 3), ((2, 3), 1, 4), ((5,), 4, 1), ((1,), 3, 2)]
"""Leading axes, D, F."""
READ = [((4,), 3, 2), ((2, 3), 5, 4), ((6,), 2, 3), ((1,), 4, 1)]
"""Places, V, D: mostly more places than symbols, so that some are read twice."""


@st.composite
def layer(draw):
    """A gradient, an input, a weight and a bias."""
    rows, D, width = draw(st.sampled_from(LAYERS))
    return {"dy": draw(tensor(*rows, width)), "x": draw(tensor(*rows, D)), "w": draw(tensor(width, D)),
            "b": draw(tensor(width))}  # fmt: skip


@st.composite
def square_layer(draw):
    """The same with as many outputs as inputs."""
    rows, D, _ = draw(st.sampled_from(LAYERS))
    return {"dy": draw(tensor(*rows, D)), "x": draw(tensor(*rows, D)), "w": draw(tensor(D, D)), "b": draw(tensor(D))}


@st.composite
def look_up(draw):
    """Symbols of a small table, some of them more than once and some not at all."""
    places, V, D = draw(st.sampled_from(READ))
    return {"dy": draw(tensor(*places, D)), "ids": draw(integers(*places, below=V)), "table": draw(tensor(V, D))}


@st.composite
def entrywise(draw, *names, **choices):
    """A gradient and some tensors of its shape."""
    shape = draw(st.sampled_from([(3,), (2, 5), (2, 3, 4)]))
    options = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    return {name: draw(tensor(*shape)) for name in ("dy", *names)} | options


@st.composite
def logits(draw):
    """Logits of ordinary and overflowing size; some symbols may be impossible, or all symbols of the first row."""
    shape, scale = draw(st.sampled_from([(4,), (2, 3), (3, 1), (2, 2, 5)])), draw(st.sampled_from([1.0, 0.1, 250.0]))
    impossible = draw(st.sampled_from(["none", "some", "a row"]))
    z = draw(tensor(*shape, scale=scale, holes=impossible != "none"))
    if impossible == "a row":
        z.view(-1, shape[-1])[0] = -math.inf
    return {"dy": draw(tensor(*shape)), "z": z}


@st.composite
def scored(draw):
    """Logits with targets, the first of which always counts, and a gradient that need not be one."""
    N, V = draw(st.sampled_from([(1, 2), (2, 3), (4, 5), (3, 7)]))
    target, mark = draw(integers(N, below=V)), draw(st.sampled_from([-100, 0]))
    target[0] = max(int(target[0]), 1)
    return {"dy": draw(st.sampled_from([1.0, 0.25, -3.0, 1024.0]).map(lambda x: torch.tensor(x, dtype=torch.float64))),
            "z": draw(tensor(N, V, scale=draw(st.sampled_from([1.0, 0.01, 250.0])))), "target": target,
            "ignore_index": mark, "label_smoothing": draw(st.sampled_from([0.0, 0.25]))}  # fmt: skip


def affine(x, w, b):
    return F.linear(x, w, b)


def around(x, w, b):
    return x + F.linear(x, w, b)


def looked_up(ids, table):
    return F.embedding(ids, table)


def bias_gets_what_arrives(vjp, dy, x, w, b):
    """Whatever the rows and their number, the bias gets the sum of what arrives, and dx of a zero weight is nothing."""
    close(vjp(dy, x, w, b)[-1], dy.reshape(-1, len(b)).sum(0), scale=1)
    assert not vjp(dy, x, torch.zeros_like(w), b)[0].any(), "a weight of zero passes something on"


def rows_add(vjp, dy, x, w, b):
    """The same rows once more give twice the gradients of weight and bias, and each row its own once more."""
    twice = vjp(torch.stack([dy, dy]), torch.stack([x, x]), w, b)
    dx, dw, db = vjp(dy, x, w, b)
    close(twice[0], torch.stack([dx, dx]), scale=1)
    close(twice[1], 2 * dw, scale=1)
    close(twice[2], 2 * db, scale=1)


def identity_path_is_kept(vjp, dy, x, w, b):
    """When the branch does nothing the gradient passes unchanged."""
    close(vjp(dy, x, torch.zeros_like(w), b)[0], dy)


def nothing_is_lost(vjp, dy, ids, table):
    """All rows together get what arrives at all places."""
    close(vjp(dy, ids, table).sum(0), dy.reshape(-1, table.shape[1]).sum(0), scale=1)


def unread_rows_get_nothing(vjp, dy, ids, table):
    """A symbol that stands nowhere has no gradient."""
    unread = [v for v in range(len(table)) if v not in ids.flatten().tolist()]
    assert not vjp(dy, ids, table)[unread].any(), "a row that was not read has a gradient"


def order_is_nothing(vjp, dy, ids, table):
    """Places may be taken in any order: what one of them adds does not depend on the others."""
    D = table.shape[1]
    close(vjp(dy.reshape(-1, D).flip(0), ids.flatten().flip(0), table), vjp(dy, ids, table), scale=1)


def slopes_of_both_sides_sum_to_one(vjp, dy, x, approximate):
    """xΦ(x) − (−x)Φ(−x) = x, in either form: the slopes at x and −x sum to one."""
    close(vjp(dy, x, approximate) + vjp(dy, -x, approximate), dy, scale=1)


def one_by_hand(vjp, dy, x, approximate):
    """At 1 the slope is Φ(1) + φ(1) = 1.08331547…, and 1.08296408… of the tanh form; at 0 it is ½ of either."""
    one = torch.ones(1, dtype=torch.float64)
    for form, slope in (("none", 1.0833154705876864), ("tanh", 1.0829640838457826)):
        close(vjp(one, one, form), slope)
        close(vjp(one, 0 * one, form), 0.5)


def up_is_linear(vjp, dy, gate, up):
    """The output is linear in `up`: ⟨up, dup⟩ = ⟨y, dy⟩, entry by entry."""
    close(up * vjp(dy, gate, up)[1], dy * up * activations.silu(gate), scale=1)


def gate_of_zero_by_hand(vjp, dy, gate, up):
    """At gate 0 silu is 0 and its slope ½."""
    dgate, dup = vjp(dy, torch.zeros_like(gate), up)
    close(dgate, dy * up / 2)
    close(dup, torch.zeros_like(dy), scale=1)


def rows_sum_to_zero(vjp, dy, z):
    """A shift of all logits changes no probability."""
    close(vjp(dy, z).sum(-1), torch.zeros(z.shape[:-1]).double(), scale=1)


def constant_gradients_vanish(vjp, dy, z):
    """Probabilities keep their sum: what raises all of them alike has no slope."""
    close(vjp(torch.full_like(dy, 5.0), z), torch.zeros_like(z), scale=1)


def thirds_by_hand(vjp, dy, z):
    """Probabilities 1/6, 1/3, 1/2 and dy = (1, 0, 0) give (5, −2, −3)/36."""
    row = torch.tensor([0.0, math.log(2), math.log(3)], dtype=torch.float64)
    close(vjp(torch.tensor([1.0, 0, 0]).double(), row), torch.tensor([5.0, -2, -3]).double() / 36)


def slopes_sum_to_zero(vjp, dy, z, target, **options):
    """A shift of all logits of a row costs nothing."""
    close(vjp(dy, z, target, **options).sum(-1), torch.zeros(len(z)).double(), scale=float(dy.abs()))


def two_rows_by_hand(vjp, dy, z, target, **options):
    """dy(p − y)/2 for the probabilities 1/6, 1/3, 1/2 and 1/3, 1/3, 1/3."""
    rows = torch.tensor([[0.0, math.log(2), math.log(3)], [0.0, 0.0, 0.0]], dtype=torch.float64)
    close(vjp(dy, rows, torch.tensor([2, 0])), dy * torch.tensor([[1, 2, -3], [-4, 2, 2]]).double() / 12)


def ignored_rows_have_no_slope(vjp, dy, z, target, **options):
    """Marked rows have the gradient zero."""
    assert not vjp(dy, z, target, **options)[target == options["ignore_index"]].any(), "an ignored row has a slope"


LINEAR, ENTRIES = ("x", "w", "b"), ("gate", "up")

OPERATIONS = [
    Operation(
        "backprop.linear_vjp",
        layer(),
        [*laws(affine, *LINEAR), bias_gets_what_arrives, rows_add],
        free=("dy", *LINEAR),
        unit=1,
    ),
    Operation(
        "backprop.embedding_vjp",
        look_up(),
        [*laws(looked_up, "table"), nothing_is_lost, unread_rows_get_nothing, order_is_nothing],
        free=("dy", "table"),
        unit=1,
    ),
    Operation(
        "backprop.residual_vjp",
        square_layer(),
        [*laws(around, *LINEAR), identity_path_is_kept],
        free=("dy", *LINEAR),
        unit=1,
    ),
    Operation(
        "backprop.gelu_vjp",
        entrywise("x", approximate=activations.APPROXIMATIONS),
        [*laws(activations.gelu, "x"), gradients_are_linear, slopes_of_both_sides_sum_to_one, one_by_hand],
        free=("dy", "x"),
        unit=1,
    ),
    Operation(
        "backprop.swiglu_vjp",
        entrywise(*ENTRIES),
        [*laws(activations.swiglu, *ENTRIES), up_is_linear, gate_of_zero_by_hand],
        free=("dy", *ENTRIES),
        unit=1,
    ),
    Operation(
        "backprop.softmax_vjp",
        logits(),
        [*laws(softmax, "z"), rows_sum_to_zero, constant_gradients_vanish, thirds_by_hand],
        free=("dy", "z"),
        unit=1,
    ),
    Operation(
        "backprop.cross_entropy_vjp",
        scored(),
        [*laws(loss.cross_entropy, "z"), gradients_are_linear, slopes_sum_to_zero, two_rows_by_hand,
         ignored_rows_have_no_slope],
        free=("dy", "z"),
        unit=1,
    ),
    *backprop_norms.OPERATIONS,
    *backprop_attention.OPERATIONS,
    *backprop_attend.OPERATIONS,
]  # fmt: skip
