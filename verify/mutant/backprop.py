"""Mistakes in the gradients by hand of linear layers, look-ups and activations; of losses, norms, attention: beside."""

from __future__ import annotations

import inspect
from functools import wraps
from importlib import import_module

import torch

from reference.activations import sigmoid, silu
from reference.backprop import embedding_vjp, gelu_vjp, linear_vjp, residual_vjp, swiglu_vjp
from verify.mistake import mistake

NOWHERE = "no public report found"


def pulled(f, dy, *xs):
    """The gradients of a wrong forward pass, by autograd."""
    leaves = [x.detach().clone().requires_grad_() for x in xs]
    return torch.autograd.grad(f(*leaves), leaves, dy, materialize_grads=True)


def backward_of(operation, forward):
    """The right gradients of `forward`, a known mistake itself."""

    topic, _, name = operation.partition(".")
    parameters = inspect.signature(getattr(import_module(f"reference.{topic}"), name)).parameters
    tensors = [n for n, p in parameters.items() if p.default is p.empty and n != "dy"]

    @wraps(forward)
    def wrong(dy, *xs, **options):
        xs = (*xs, *(options.pop(n) for n in tensors[len(xs) :]))
        found = pulled(lambda *ys: forward(*ys, **options), dy, *xs)
        return found if len(found) > 1 else found[0]

    wrong.__name__ = f"gradient_of_{forward.__name__}"
    its = forward.mistake
    return mistake(operation, id=its.id, seen=its.seen, fix=its.fix)(wrong)


@mistake(
    "backprop.linear_vjp",
    id="broadcast-no-unreduce",
    seen="deeplearning4j/nd4j #2424; pytorch/pytorch #1787",
    fix="sum over the axes along which the bias was broadcast",
)
def bias_gradient_of_every_row(dy, x, w, b):
    """The gradient of the bias keeps the rows."""
    return *linear_vjp(dy, x, w, b)[:2], dy


@mistake("backprop.linear_vjp", id="bias-first-row", seen="mlpack/mlpack PR#3679", fix="sum over the rows")
def bias_learns_from_one_row(dy, x, w, b):
    """Right for a batch of one."""
    return *linear_vjp(dy, x, w, b)[:2], dy.reshape(-1, len(b))[0]


@mistake("backprop.linear_vjp", id="bias-mean", seen="kvfrans/notes #5", fix="sum: the loss has its mean already")
def bias_gradient_averaged(dy, x, w, b):
    """The mean over the rows."""
    return *linear_vjp(dy, x, w, b)[:2], dy.reshape(-1, len(b)).mean(0)


@mistake("backprop.linear_vjp", id="weight-mean", seen=NOWHERE, fix="sum: the loss has its mean already")
def weight_gradient_averaged(dy, x, w, b):
    """dyᵀx over the number of rows."""
    dx, dw, db = linear_vjp(dy, x, w, b)
    return dx, dw * len(b) / dy.numel(), db


@mistake(
    "backprop.linear_vjp",
    id="matmul-transpose",
    seen="HomericIntelligence/Odyssey #2136; fff-rs/juice PR#61",
    fix="dx = dy w for w stored (out, in)",
)
def weight_transposed_once_more(dy, x, w, b):
    """dy wᵀ, the entries of wᵀ read as if they lay (out, in): no error where the layer is square."""
    return dy @ w.T.reshape(w.shape), *linear_vjp(dy, x, w, b)[1:]


@mistake("backprop.linear_vjp", id="weight-gradient-transposed", seen=NOWHERE, fix="dyᵀx, in the layout of w")
def weight_gradient_in_the_other_layout(dy, x, w, b):
    """xᵀdy, read as if it lay (out, in)."""
    dx, dw, db = linear_vjp(dy, x, w, b)
    return dx, dw.T.reshape(dw.shape), db


@mistake("backprop.linear_vjp", id="gradient-of-one-sequence", seen=NOWHERE, fix="sum over all leading axes")
def weight_learns_from_the_last_sequence(dy, x, w, b):
    """Each sequence overwrites what the one before has left in the weight's gradient."""
    dx, dw, db = linear_vjp(dy, x, w, b)
    return dx, linear_vjp(dy[-1], x[-1], w, b)[1] if dy.ndim > 2 else dw, db


@mistake(
    "backprop.embedding_vjp",
    id="gather-backward-overwrite",
    seen="pytorch/pytorch #1631, #1528; pymc-devs/pytensor PR#2242",
    fix="add, do not assign: index_add",
)
def last_place_wins(dy, ids, table):
    """Each place overwrites what the one before has written."""
    d = torch.zeros_like(table)
    for v, row in zip(ids.flatten().tolist(), dy.reshape(-1, table.shape[1]), strict=True):
        d[v] = row
    return d


@mistake("backprop.embedding_vjp", id="embedding-mean", seen=NOWHERE, fix="sum over the places that read a row")
def mean_over_places(dy, ids, table):
    """What torch calls scale_grad_by_freq, unasked."""
    count = torch.bincount(ids.flatten(), minlength=len(table)).clamp(min=1)
    return embedding_vjp(dy, ids, table) / count[:, None]


@mistake("backprop.embedding_vjp", id="embedding-sorted-order", seen=NOWHERE, fix="keep each place with its gradient")
def gradients_out_of_step(dy, ids, table):
    """The symbols are sorted, their gradients are not."""
    return embedding_vjp(dy.reshape(-1, table.shape[1]), ids.flatten().sort().values, table)


@mistake("backprop.embedding_vjp", id="embedding-padding-zero", seen=NOWHERE, fix="symbol 0 is a symbol like others")
def symbol_zero_does_not_learn(dy, ids, table):
    """The first symbol is taken for padding."""
    d = embedding_vjp(dy, ids, table)
    return torch.where(torch.arange(len(table))[:, None] == 0, 0, d)


@mistake("backprop.embedding_vjp", id="embedding-decays-unread", seen=NOWHERE, fix="an unread row has no gradient")
def table_decays_as_well(dy, ids, table):
    """A penalty on the table is added to the gradient, in rows that were not read too."""
    return embedding_vjp(dy, ids, table) + 0.01 * table


@mistake(
    "backprop.residual_vjp",
    id="grad-overwrite",
    seen="paiml/entrenar #313; maciejkula/wyrm PR#11; callummcdougall/ARENA_2.0 PR#18",
    fix="dx = dy + the gradient of the branch",
)
def identity_path_lost(dy, x, w, b):
    """The branch's gradient replaces the one that passes by."""
    return linear_vjp(dy, x, w, b)


@mistake("backprop.residual_vjp", id="branch-detached", seen=NOWHERE, fix="the branch passes its gradient on as well")
def branch_passes_nothing_on(dy, x, w, b):
    """dx = dy: the branch learns, and lets nothing through."""
    return dy, *linear_vjp(dy, x, w, b)[1:]


@mistake("backprop.residual_vjp", id="residual-halved", seen=NOWHERE, fix="each summand gets the whole gradient")
def gradient_split_between_the_paths(dy, x, w, b):
    """A sum is taken for a mean: each path gets half."""
    return residual_vjp(dy / 2, x, w, b)


@mistake(
    "backprop.gelu_vjp",
    id="gelu-erf-vs-tanh",
    seen="kulinseth/pytorch PR#284 (MPS); google/gemma_pytorch PR#37 (forward)",
    fix="differentiate the form that was computed",
)
def slope_of_the_erf_form(dy, x, approximate="none"):
    """The argument `approximate` does not reach the backward pass."""
    return gelu_vjp(dy, x)


@mistake("backprop.gelu_vjp", id="gelu-quick", seen=NOWHERE, fix="Φ(x) + xφ(x)")
def slope_of_quick_gelu(dy, x, approximate="none"):
    """The slope of x·σ(1.702x)."""
    return pulled(lambda x: x * sigmoid(1.702 * x), dy, x)[0]


@mistake("backprop.gelu_vjp", id="gelu-missing-x", seen="tensorflow/tfjs PR#8224 (review)", fix="the product rule")
def gate_taken_for_the_slope(dy, x, approximate="none"):
    """Φ(x): the term with the density is missing."""
    return dy * torch.special.ndtr(x) if approximate == "none" else gelu_vjp(dy, x, approximate)


@mistake("backprop.gelu_vjp", id="gelu-cubic-slope", seen=NOWHERE, fix="the derivative of 0.044715x³ has a factor 3")
def three_of_the_cube_lost(dy, x, approximate="none"):
    """1 + 0.044715x² inside the tanh form's slope."""
    if approximate == "none":
        return gelu_vjp(dy, x)
    root = (2 / torch.pi) ** 0.5
    t = torch.tanh(root * (x + 0.044715 * x**3))
    return dy * ((1 + t) / 2 + x * (1 - t**2) / 2 * root * (1 + 0.044715 * x**2))


@mistake("backprop.gelu_vjp", id="dy-ignored", seen=NOWHERE, fix="multiply by what arrives")
def slope_instead_of_gradient(dy, x, approximate="none"):
    """The slope itself, as if dy were one."""
    return gelu_vjp(torch.ones_like(dy), x, approximate)


@mistake(
    "backprop.swiglu_vjp",
    id="swiglu-swapped",
    seen="ml-explore/mlx-lm PR#767; ooples/AiDotNet.Tensors PR#46 (review)",
    fix="silu bends the gate",
)
def gate_and_up_exchanged(dy, gate, up):
    """The gradients of silu(up) · gate."""
    dup, dgate = swiglu_vjp(dy, up, gate)
    return dgate, dup


@mistake("backprop.swiglu_vjp", id="swiglu-outputs-exchanged", seen=NOWHERE, fix="return dgate, then dup")
def returned_in_the_other_order(dy, gate, up):
    """Both gradients are right, and each stands in the other's place."""
    return swiglu_vjp(dy, gate, up)[::-1]


@mistake(
    "backprop.swiglu_vjp",
    id="swiglu-silu-of-product",
    seen="Nijikadesu/breakdown-minimind #3",
    fix="silu(gate) · up",
)
def gradients_of_silu_of_the_product(dy, gate, up):
    """The gradients of silu(gate · up)."""
    return pulled(lambda gate, up: silu(gate * up), dy, gate, up)


@mistake("backprop.swiglu_vjp", id="swiglu-is-silu", seen="google-research/timesfm #493", fix="two projections")
def only_the_gate_learns(dy, gate, up):
    """The gradients of silu(gate)."""
    return pulled(lambda gate, up: silu(gate), dy, gate, up)


@mistake("backprop.swiglu_vjp", id="silu-slope-is-gate", seen=NOWHERE, fix="σ(g)(1 + g(1 − σ(g)))")
def slope_of_silu_without_the_product_rule(dy, gate, up):
    """σ(gate) for the slope of silu."""
    return dy * up * sigmoid(gate), dy * silu(gate)


@mistake(
    "backprop.swiglu_vjp",
    id="silu-slope-parentheses",
    seen="chelsea0x3b/dfdx PR#915 (review)",
    fix="(1 + e + ge)/(1 + e)² with e = e^(−g): divide all of it",
)
def only_the_last_term_is_divided(dy, gate, up):
    """1 + e + ge/(1 + e)²."""
    e = torch.exp(-gate)
    return dy * up * (1 + e + gate * e / (1 + e) ** 2), dy * silu(gate)
