"""Mistakes in what operations send back: to operands that broadcast, to factors, to rows that are read, to ties."""

from __future__ import annotations

from unittest.mock import patch

import torch

from reference import autodiff
from reference.autodiff import arithmetic_pullback, largest_gradient, matmul_pullback, tied_gradient
from reference.autodiff_rules import mul
from verify.mistake import mistake

NOWHERE = "no public report found"


def through(operation, wrong, run):
    """The pullbacks when the named operation has another rule."""
    with patch.dict(autodiff.ARITHMETIC, {operation: wrong}):
        return run()


@mistake(
    "autodiff.arithmetic_pullback",
    id="broadcast-no-unreduce",
    seen="deeplearning4j/nd4j #2424; pytorch/pytorch #1787; tenstorrent/tt-metal #40008; tracel-ai/burn #181",
    fix="sum the cotangent over the axes along which the operand was copied",
)
def copies_are_not_summed(a, b, g, operation="mul"):
    """Both cotangents have the shape of the result."""
    return arithmetic_pullback(a.expand_as(g).contiguous(), b.expand_as(g).contiguous(), g, operation)


@mistake("autodiff.arithmetic_pullback", id="broadcast-mean", seen=NOWHERE, fix="sum over the copies, do not average")
def copies_are_averaged(a, b, g, operation="mul"):
    """The mean over the copies."""
    first, second = arithmetic_pullback(a, b, g, operation)
    return first * a.numel() / g.numel(), second * b.numel() / g.numel()


@mistake("autodiff.arithmetic_pullback", id="broadcast-first-copy", seen=NOWHERE, fix="sum over the copies")
def first_copy_alone(a, b, g, operation="mul"):
    """The cotangent of the first copy."""
    parts = []
    for x, back in zip((a, b), copies_are_not_summed(a, b, g, operation), strict=True):
        for _ in range(back.ndim - x.ndim):
            back = back[0]
        for axis, size in enumerate(x.shape):
            back = back.narrow(axis, 0, size)
        parts.append(back)
    return tuple(parts)


@mistake(
    "autodiff.arithmetic_pullback", id="product-own-factor", seen=NOWHERE, fix="the slope by a factor is the other"
)
def factors_confused(a, b, g, operation="mul"):
    """A factor's slope is itself."""
    if operation != "mul":
        return arithmetic_pullback(a, b, g, operation)

    def wrong(a, b):
        return mul(a, a) / 2 + mul(b, b) / 2

    return through("mul", wrong, lambda: arithmetic_pullback(a, b, g, "mul"))


@mistake("autodiff.arithmetic_pullback", id="difference-no-sign", seen=NOWHERE, fix="the second operand gets −g")
def difference_as_a_sum(a, b, g, operation="mul"):
    """a − b sends g to both."""
    return arithmetic_pullback(a, b, g, "add" if operation == "sub" else operation)


@mistake(
    "autodiff.arithmetic_pullback",
    id="quotient-swapped",
    seen="apache/singa PR#484 (review)",
    fix="ā = g/b and b̄ = −g a/b²",
)
def quotient_as_a_product(a, b, g, operation="mul"):
    """a/b sends back what a b would."""
    return arithmetic_pullback(a, b, g, "mul" if operation == "div" else operation)


@mistake(
    "autodiff.arithmetic_pullback",
    id="maximum-tie-both",
    seen="pytorch/pytorch #56734",
    fix="equal ones share the cotangent: half each",
)
def ties_get_all_twice(a, b, g, operation="mul"):
    """Where a = b both get the whole cotangent."""
    first, second = arithmetic_pullback(a, b, g, operation)
    if operation != "maximum":
        return first, second
    tie = torch.where(a == b, g / 2, 0)
    return first + _summed(tie, a), second + _summed(tie, b)


def _summed(back, x):
    return back.sum_to_size(x.shape)


@mistake(
    "autodiff.arithmetic_pullback", id="cotangent-ignored", seen=NOWHERE, fix="multiply by what came to the result"
)
def ones_come_back(a, b, g, operation="mul"):
    """The slopes alone, as if ones had come."""
    return arithmetic_pullback(a, b, torch.ones_like(g), operation)


@mistake(
    "autodiff.matmul_pullback",
    id="matmul-batch-not-summed",
    seen="tensorflow/tfjs #8721; flashlight/flashlight PR#760",
    fix="sum over leading axes along which an operand was copied",
)
def one_matrix_of_the_batch(a, b, g):
    """An operand that all of the batch share gets what comes from the first of it."""
    first, second = (g @ b.mT), (a.mT @ g)
    parts = []
    for x, back in ((a, first), (b, second)):
        while back.ndim > x.ndim:
            back = back[0]
        for axis, size in enumerate(x.shape):
            back = back.narrow(axis, 0, size)
        parts.append(back)
    return tuple(parts)


@mistake(
    "autodiff.matmul_pullback",
    id="matmul-no-unreduce",
    seen="tensorflow/tfjs #8721",
    fix="sum over leading axes along which an operand was copied",
)
def batch_is_not_summed(a, b, g):
    """Both cotangents have the axes of the result."""
    return g @ b.mT, a.mT @ g


@mistake("autodiff.matmul_pullback", id="matmul-not-transposed", seen=NOWHERE, fix="ā = g bᵀ and b̄ = aᵀ g")
def gram_for_transpose(a, b, g):
    """The second operand gets aᵀ a b, which has the right shape."""
    first, second = matmul_pullback(a, b, g)
    wrong = a.mT @ (a @ b)
    return first, wrong.sum_to_size(second.shape)


@mistake(
    "autodiff.matmul_pullback",
    id="matmul-transpose-all-axes",
    seen="harvard-edge/cs249r_book PR#1781 (NumPy's .T)",
    fix="exchange the last two axes only",
)
def all_axes_turned(a, b, g):
    """`.T` turns the axes of the batch round as well."""
    first, second = matmul_pullback(a, b, g)
    if b.ndim == 2:
        return first, second
    return (g @ b.permute(*range(b.ndim - 2)[::-1], -1, -2)).sum_to_size(a.shape), second


@mistake(
    "autodiff.tied_gradient",
    id="gather-backward-overwrite",
    seen="pytorch/pytorch #1631, #1528; pymc-devs/pytensor PR#2242 (merged)",
    fix="add into the rows that were read: a row read twice gets both",
)
def repeated_rows_overwrite(table, ids, g):
    """The last reading of a row overwrites the others."""
    back, head = torch.zeros_like(table), g.mT @ table[ids]
    back[ids] = g @ table
    return back + head


@mistake(
    "autodiff.tied_gradient",
    id="grad-overwrite",
    seen="maciejkula/wyrm PR#11 (merged); callummcdougall/ARENA_2.0 PR#18",
    fix="add up what comes back from every use",
)
def one_use_overwrites(table, ids, g):
    """The table gets what its last use sends back."""

    def overwriting(self, place, cotangent, wanted):
        back = {place: cotangent}
        for at in range(place, -1, -1):
            if at in back:
                for operand, pull in self[at].operands:
                    back[operand] = pull(back[at])
        return back

    with patch("reference.autodiff_tape.Tape.sweep", overwriting):
        return tied_gradient(table, ids, g)


@mistake("autodiff.tied_gradient", id="tied-head-forgotten", seen=NOWHERE, fix="the head is a use of the table too")
def head_is_another_table(table, ids, g):
    """Only the rows that were read get a gradient."""
    return torch.zeros_like(table).index_add(0, ids, g @ table)


@mistake("autodiff.tied_gradient", id="gather-mean", seen=NOWHERE, fix="add, do not average over the readings")
def readings_are_averaged(table, ids, g):
    """A row read twice gets the mean of both."""
    often = torch.bincount(ids, minlength=len(table)).clamp(min=1)[:, None]
    return head_is_another_table(table, ids, g) / often + g.mT @ table[ids]


@mistake(
    "autodiff.largest_gradient",
    id="max-tie-all",
    seen="apache/mxnet #18563; chelsea0x3b/dfdx #111; microsoft/onnxruntime PR#7217",
    fix="divide by the number of entries that are largest",
)
def every_largest_gets_all(z, g):
    """Each of the equal entries gets the whole cotangent."""
    return (z == z.amax(-1, keepdim=True)) * g[:, None]


@mistake(
    "autodiff.largest_gradient",
    id="max-close-enough",
    seen="mni-ml/framework PR#22 (review)",
    fix="compare with the largest exactly",
)
def nearly_largest_too(z, g):
    """Entries within a tolerance of the largest have a share."""
    near = (z >= z.amax(-1, keepdim=True) - 0.3).double()
    return near / near.sum(-1, keepdim=True) * g[:, None]


@mistake("autodiff.largest_gradient", id="max-to-all", seen=NOWHERE, fix="only the largest entry moves the maximum")
def all_entries_share(z, g):
    """The mean's gradient."""
    return largest_gradient(torch.zeros_like(z), g)
