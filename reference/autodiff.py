r"""Derivatives of programs, put together from forward mode (autodiff_dual.py) and reverse mode (autodiff_tape.py).

Programs are made of the operations in autodiff_rules.py and autodiff_linear.py, on tensors or on what one of the modes
puts in their place. PyTorch's own differentiation is never used. Article papers/autodiff.md, derivation
derivations/autodiff.py, laws verify/autodiff.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from reference import expect
from reference.autodiff_dual import jvp
from reference.autodiff_linear import add, reshape, sub, take, total, transpose
from reference.autodiff_number import plain
from reference.autodiff_rules import (
    cos,
    div,
    exp,
    largest,
    log,
    matmul,
    maximum,
    mean,
    mul,
    power,
    relu,
    sin,
    sqrt,
    tanh,
)
from reference.autodiff_tape import gradient, vjp

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": exp,
    "log": log,
    "sin": sin,
    "cos": cos,
    "tanh": tanh,
    "relu": relu,
    "sqrt": sqrt,
    "one": lambda x: power(x, 0),
    "square": lambda x: power(x, 2),
    "reciprocal": lambda x: 1 / x,
    "sigmoid": lambda x: (1 + tanh(x / 2)) / 2,  # 1/(1 + exp(−x)) overflows on the way back
    "wave": lambda x: sin(x * x) - x,
}
ARITHMETIC = {"add": add, "sub": sub, "mul": mul, "div": div, "maximum": maximum}


def derivative(x: Float[Tensor, "*N"], function: str = "tanh") -> Float[Tensor, "*N"]:
    """The slope at every entry of a function of one number, by a dual number x + ε.

    `function` is one of FUNCTIONS. Raises ValueError for another one, or for an integer or empty tensor.
    Source: baydin2018automatic, §3.1.1.
    """
    expect.floating("x", x)
    return jvp(FUNCTIONS[_known(function)], [x], [torch.ones_like(x)])[1]


def _known(function: str) -> str:
    if function not in FUNCTIONS:
        expect.fail("function", f"one of {', '.join(FUNCTIONS)}", function)
    return function


def arithmetic_pullback(
    a: Float[Tensor, "*A"], b: Float[Tensor, "*B"], g: Float[Tensor, "*C"], operation: str = "mul"
) -> tuple[Float[Tensor, "*A"], Float[Tensor, "*B"]]:
    """The cotangents of a and b, whose shapes broadcast, from the cotangent g of their sum, difference, product, …

    `operation` is one of ARITHMETIC. Raises ValueError for another one, for shapes that do not broadcast, or for a g
    that has not the shape of the result. Source: baydin2018automatic, §3.2.
    """
    for name, x in (("a", a), ("b", b), ("g", g)):
        expect.floating(name, x)
    if operation not in ARITHMETIC:
        expect.fail("operation", f"one of {', '.join(ARITHMETIC)}", operation)
    first, second = vjp(ARITHMETIC[operation], a, b)[1](g)
    return first, second


def matmul_pullback(
    a: Float[Tensor, "*A M K"], b: Float[Tensor, "*B K N"], g: Float[Tensor, "*C M N"]
) -> tuple[Float[Tensor, "*A M K"], Float[Tensor, "*B K N"]]:
    """The cotangents g bᵀ and aᵀ g of two stacks of matrices from g, that of their product: summed where copied.

    Raises ValueError for shapes that do not fit. Source: baydin2018automatic, §3.2.
    """
    for name, x in (("a", a), ("b", b), ("g", g)):
        expect.floating(name, x)
    first, second = vjp(matmul, a, b)[1](g)
    return first, second


def tied_gradient(table: Float[Tensor, "V D"], ids: Int[Tensor, "N"], g: Float[Tensor, "N V"]) -> Float[Tensor, "V D"]:
    """The gradient of Σ g ∘ (E[ids] Eᵀ) by the table E, which is used twice: rows are read, and all are multiplied.

    Raises ValueError for an id outside 0 … V − 1 or a g of another shape. Source: press2017tying, §2.
    """
    expect.floating("table", table)
    expect.floating("g", g)
    V = expect.axes("table", table, "V D")["V"]
    expect.indices("ids", ids, V)
    expect.agree(N=(expect.axes("ids", ids, "N")["N"], expect.axes("g", g, "N V")["N"]), V=(V, g.shape[1]))
    return gradient(lambda E: total(matmul(take(E, ids), transpose(E)) * g), table)[0]


def largest_gradient(z: Float[Tensor, "B V"], g: Float[Tensor, "B"]) -> Float[Tensor, "B V"]:
    """The cotangent of z from that of the largest entry of each row; entries that are equal share it.

    Raises ValueError for axes that do not agree. Source: griewank2008evaluating, ch. 14.
    """
    expect.floating("z", z)
    expect.floating("g", g)
    expect.agree(B=(expect.axes("z", z, "B V")["B"], expect.axes("g", g, "B")["B"]))
    return vjp(lambda z: largest(z, -1), z)[1](g)[0]


def log_sum_exp(z: Any) -> Any:
    """log Σ exp z over the last axis, shifted by the largest logit, which is a constant here: any shift is right."""
    top = plain(z).amax(-1, keepdim=True)
    return log(total(exp(z - top), -1)) + top.squeeze(-1)


def cross_entropy(z: Any, target: Tensor) -> Any:
    """The mean over rows of log Σ exp z − z_target."""
    return mean(log_sum_exp(z) - take(z, (torch.arange(len(target), device=target.device), target)))


def mlp(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Logits of a network with one hidden layer: tanh(x W₁ + b₁) W₂ + b₂."""
    return tanh(x @ w1 + b1) @ w2 + b2


def mlp_gradients(
    x: Float[Tensor, "B D"],
    w1: Float[Tensor, "D F"],
    b1: Float[Tensor, "F"],
    w2: Float[Tensor, "F V"],
    b2: Float[Tensor, "V"],
    target: Int[Tensor, "B"],
) -> tuple[Float[Tensor, "D F"], Float[Tensor, "F"], Float[Tensor, "F V"], Float[Tensor, "V"]]:
    """The gradients of the mean cross-entropy of tanh(x W₁ + b₁) W₂ + b₂ by W₁, b₁, W₂ and b₂, by one sweep back.

    Raises ValueError for shapes that do not fit or a target outside 0 … V − 1.
    Source: goodfellow2016deep, §6.5.7.
    """
    for name, tensor in (("x", x), ("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2)):
        expect.floating(name, tensor)
    B, D = expect.axes("x", x, "B D").values()
    F, V = expect.axes("w2", w2, "F V").values()
    expect.agree(D=(D, expect.axes("w1", w1, "D F")["D"]), F=(F, w1.shape[1]))
    expect.agree(F=(F, expect.axes("b1", b1, "F")["F"]), V=(V, expect.axes("b2", b2, "V")["V"]))
    expect.agree(B=(B, expect.axes("target", target, "B")["B"]))
    expect.indices("target", target, V)
    found = gradient(lambda *weights: cross_entropy(mlp(x, *weights), target), w1, b1, w2, b2)
    return found[0], found[1], found[2], found[3]


def hessian_vector(f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> list[Any]:
    """H v for the Hessian H of f, one number: the slope of its gradient along v, forward mode over reverse mode.

    Costs a small multiple of f, whatever the number of inputs. Raises ValueError as `jvp` and `gradient`.
    Source: pearlmutter1994fast, §3.
    """
    return jvp(lambda *moved: gradient(f, *moved), xs, vs)[1]


def log_sum_exp_hessian_vector(z: Float[Tensor, "B V"], v: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
    """H v for the Hessian H of Σ log Σ exp z, over rows, by `hessian_vector`: p ∘ (v − Σ p v), p the softmax of z.

    Raises ValueError for a v that has not the shape of z. Source: pearlmutter1994fast, §3.
    """
    expect.floating("z", z)
    expect.floating("v", v)
    expect.axes("z", z, "B V")
    return hessian_vector(lambda z: total(log_sum_exp(z)), [z], [v])[0]


def jacobian(f: Callable[[Any], Any], x: Tensor, mode: str = "reverse") -> Tensor:
    """The Jacobian of f at x, row i by output i: a sweep back for each output, or a run forward for each input.

    x and f(x) have one axis. The rows come from one tape. Raises ValueError for another mode.
    Source: griewank2008evaluating, §3.1 and §3.2.
    """
    if mode == "forward":
        return torch.stack([jvp(f, [x], [e])[1] for e in torch.eye(len(x), dtype=x.dtype, device=x.device)], 1)
    if mode != "reverse":
        expect.fail("mode", "forward or reverse", mode)
    y, back = vjp(f, x)
    return torch.stack([back(e)[0] for e in torch.eye(len(y), dtype=x.dtype, device=x.device)])


def layer_jacobian(x: Float[Tensor, "D"], w: Float[Tensor, "F D"], mode: str = "reverse") -> Float[Tensor, "F D"]:
    """The Jacobian of tanh(W x) by x, by `jacobian`: row i is that of output i.

    Raises ValueError for axes that do not agree or another mode. Source: griewank2008evaluating, §3.1 and §3.2.
    """
    expect.floating("x", x)
    expect.floating("w", w)
    expect.agree(D=(expect.axes("x", x, "D")["D"], expect.axes("w", w, "F D")["D"]))
    return jacobian(lambda x: reshape(tanh(matmul(w, reshape(x, (-1, 1)))), (-1,)), x, mode)


def _modes(**chosen: str) -> None:
    for name, mode in chosen.items():
        if mode not in ("forward", "reverse"):
            expect.fail(name, "forward or reverse", mode)


def slope(f: Callable[[Any], Any], x: Any, mode: str) -> Any:
    """The slope at every entry of a function that maps each by itself."""
    ones = torch.ones_like(plain(x))
    return jvp(f, [x], [ones])[1] if mode == "forward" else vjp(f, x)[1](ones)[0]


def second_derivative(
    x: Float[Tensor, "*N"], function: str = "tanh", outer: str = "forward", inner: str = "forward"
) -> Float[Tensor, "*N"]:
    """The slope of the slope at every entry of a function of one number, each in its mode.

    `function` is one of FUNCTIONS. Raises ValueError for another one, a mode that is neither forward nor reverse, or an
    integer or empty tensor. Source: siskind2008nesting, §2.
    """
    expect.floating("x", x)
    f = FUNCTIONS[_known(function)]
    _modes(outer=outer, inner=inner)
    return slope(lambda x: slope(f, x, inner), x, outer)


def nested_slope(x: Float[Tensor, "*N"], outer: str = "forward", inner: str = "forward") -> Float[Tensor, "*N"]:
    """d/dx of x · ∂(x y²)/∂y at y = 1, which is 2x², at every entry: one derivative within another, each in its mode.

    Raises ValueError for a mode that is neither forward nor reverse. Source: siskind2008nesting, §2.
    """
    expect.floating("x", x)
    _modes(outer=outer, inner=inner)
    return slope(lambda x: x * slope(lambda y: x * y * y, torch.ones_like(plain(x)), inner), x, outer)


def check_gradient(f: Callable[..., Any], *xs: Tensor, step: float = 2.0**-17) -> float:
    """The largest difference between the gradient of f and central differences, relative to the largest of these.

    The step is the best one for float64 and functions whose third derivative is of their own size
    (autodiff.central_difference_has_a_best_step); differences are then right to about 10⁻¹⁰. Two evaluations an entry.
    Raises ValueError unless step > 0, or as `gradient`. Source: griewank2008evaluating, ch. 1.
    """
    if not 0 < step < math.inf:
        expect.fail("step", "a number above 0", step)
    ours = torch.cat([g.flatten() for g in gradient(f, *xs)])
    sampled = []
    for i, x in enumerate(xs):
        for place in range(x.numel()):
            change = torch.zeros_like(x).flatten()
            change[place] = step
            ends = [f(*xs[:i], x + sign * change.reshape(x.shape), *xs[i + 1 :]) for sign in (1, -1)]
            sampled.append((float(ends[0]) - float(ends[1])) / (2 * step))
    theirs = ours.new_tensor(sampled)
    size = theirs.abs().max()
    return float((ours - theirs).abs().max() / torch.where(size == 0, 1, size))
