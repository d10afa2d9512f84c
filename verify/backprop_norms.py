"""Laws of the gradients by hand of the norms: what they do not see, no gradient asks them for."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from reference import normalization
from verify.backprop_laws import laws
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

ROWS = [(2, 1), (5,), (3, 2), (2, 3, 4)]
BATCHES = [(2, 3), (3, 1), (5, 4)]


@st.composite
def normalized(draw, shapes, default: float, biased: bool = True, axis: int = -1):
    """Rows, or columns, of ordinary size, far from zero, or with a variance near ε; weights that differ from one.

    With the default ε one entry of each sticks out, so that differences can follow the gradient.
    """
    shape = draw(st.sampled_from(shapes))
    offset, scale = draw(st.sampled_from([(0, 1.0), (1000, 1.0), (1, 2.0**-4)]))
    x = offset + draw(tensor(*shape, scale=scale))
    eps = draw(st.sampled_from([default, 0.5] if scale == 1.0 and shape[axis] > 1 else [0.5, 2.0**-6]))
    if eps == default:
        x.select(axis, 0).fill_(offset + 5)
    vectors = {"weight": draw(tensor(shape[-1]))} | ({"bias": draw(tensor(shape[-1]))} if biased else {})
    return {"dy": draw(tensor(*shape)), "x": x, **vectors, "eps": eps}


def in_training(x, weight, bias, eps):
    """Batch norm by the statistics of the batch."""
    rest = torch.zeros_like(weight)
    return normalization.batch_norm(x, rest, rest + 1, weight, bias, training=True, eps=eps)[0]


def not_along_one(vjp, dy, x, **others):
    """A shift of a row changes nothing: no row of the gradient has a mean."""
    dx = vjp(dy, x, **others)[0]
    close(dx.sum(-1), torch.zeros(x.shape[:-1]), scale=max(1.0, float(dx.abs().max())))


def not_along_x(vjp, dy, x, **others):
    """Without ε the unit of a row changes nothing: ⟨x, dx⟩ = 0."""
    if x.shape[-1] > 1:
        x = x + 100 * torch.arange(x.shape[-1])  # no row is constant, or zero
        dx = vjp(dy, x, **{**others, "eps": 0.0})[0]
        close((x * dx).sum(-1), torch.zeros(x.shape[:-1]), scale=max(1.0, float((x * dx).abs().max())))


def columns_are_not_along_one(vjp, dy, x, **others):
    """A shift of a column changes nothing: no column of the gradient has a mean."""
    dx = vjp(dy, x, **others)[0]
    close(dx.sum(0), torch.zeros(x.shape[1]), scale=max(1.0, float(dx.abs().max())))


def columns_do_not_mix(vjp, dy, x, weight, bias, eps):
    """A feature has the gradients that it has alone."""
    together = vjp(dy, x, weight, bias, eps)
    for d in range(x.shape[1]):
        alone = vjp(dy[:, d : d + 1], x[:, d : d + 1], weight[d : d + 1], bias[d : d + 1], eps)
        for ours, own in zip(together, alone, strict=True):
            close(ours[..., d : d + 1], own, scale=1)


def rows_do_not_mix(vjp, dy, x, **others):
    """A row has the gradient that it has among others, and those of the vectors add."""
    dx, *vectors = vjp(dy, x, **others)
    both, *sums = vjp(torch.stack([dy, 2 * dy]), torch.stack([x, 3 - 2 * x]), **others)
    close(both[0], dx, scale=1)
    for total, one, other in zip(sums, vectors, vjp(2 * dy, 3 - 2 * x, **others)[1:], strict=True):
        close(total, one + other, scale=1)


def bias_gets_what_arrives(vjp, dy, x, weight, bias, eps):
    """The gradient of the bias is the sum of dy over the rows, whatever x is."""
    close(vjp(dy, x, weight, bias, eps)[2], dy.reshape(-1, len(bias)).sum(0), scale=1)


def three_entries_by_hand(vjp, dy, x, **others):
    """1, 2, 3 with ε = 1/3 becomes −1, 0, 1: dy = (1, 0, 0) passes back (1 − 1/3 − 1/3, −1/3, 0) … over √1."""
    row, first, one = torch.tensor([[1.0, 2, 3], [1, 0, 0], [1, 1, 1]], dtype=torch.float64)
    dx, dw, db = vjp(first[None], row[None], one, one, 1 / 3)
    close(dx, torch.tensor([[1.0, -1, 0]]).double() / 3)
    close(dw, torch.tensor([-1.0, 0, 0]).double())
    close(db, first)


def one_and_seven_by_hand(vjp, dy, x, weight, eps):
    """1, 7 has the mean square 25: dy = (1, 0) passes back (1 − 1/50, −7/50)/5."""
    row, first = torch.tensor([[1.0, 7], [1, 0]], dtype=torch.float64)
    dx, dw = vjp(first[None], row[None], torch.ones(2).double(), 0.0)
    close(dx, torch.tensor([[49.0, -7]]).double() / 250)
    close(dw, torch.tensor([0.2, 0], dtype=torch.float64))


OPERATIONS = [
    Operation(
        "backprop.layer_norm_vjp",
        normalized(ROWS, 1e-5),
        [*laws(normalization.layer_norm, "x", "weight", "bias"), not_along_one, not_along_x, rows_do_not_mix,
         bias_gets_what_arrives, three_entries_by_hand],
        free=("dy", "x", "weight", "bias"),
        unit=1,
    ),
    Operation(
        "backprop.rms_norm_vjp",
        normalized(ROWS, 1e-6, biased=False),
        [*laws(normalization.rms_norm, "x", "weight"), not_along_x, rows_do_not_mix, one_and_seven_by_hand],
        free=("dy", "x", "weight"),
        unit=1,
    ),
    Operation(
        "backprop.batch_norm_vjp",
        normalized(BATCHES, 1e-5, axis=0),
        [*laws(in_training, "x", "weight", "bias"), columns_are_not_along_one, columns_do_not_mix,
         bias_gets_what_arrives],
        free=("dy", "x", "weight", "bias"),
        unit=1,
    ),
]  # fmt: skip
