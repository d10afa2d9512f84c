r"""The backward pass by hand: for every layer the gradients of the loss by its arguments, from dy, that by its output.

    dx, dw, db = linear_vjp(dy, x, w, b)

vjp is short for vector-Jacobian product: dyᵀJ without J. Each runs a pair from the files beside this one, a forward
pass that returns a cache and a backward pass that reads it. Nothing here uses autograd; that autograd, JAX and
differences of the outputs give the same is what verify/backprop.py checks.
Article papers/backprop.md, derivation derivations/backprop.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from reference import backprop_attention as attentions
from reference import backprop_block as blocks
from reference import backprop_layers as layers
from reference import backprop_loss as losses
from reference import backprop_norms as norms
from reference import expect

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def linear_vjp(
    dy: Float[Tensor, "*B F"], x: Float[Tensor, "*B D"], w: Float[Tensor, "F D"], b: Float[Tensor, "F"]
) -> tuple[Float[Tensor, "*B D"], Float[Tensor, "F D"], Float[Tensor, "F"]]:
    r"""(dy w, dyᵀx, Σ dy): the gradients by input, weight and bias of x wᵀ + b, sums over all rows of *B.

    Raises ValueError unless all are floating and the axes agree.
    Source: goodfellow2016deep, §6.5.6 (matrix product) and §6.5.4 Algorithm 6.4.
    """
    return layers.linear_backward(dy, layers.linear(x, w, b)[1])


def embedding_vjp(
    dy: Float[Tensor, "*B D"], ids: Int[Tensor, "*B"], table: Float[Tensor, "V D"]
) -> Float[Tensor, "V D"]:
    r"""The gradient by the table of looking up `ids`: row v is the sum of dy over the places that read it, else zero.

    Raises ValueError unless dy and table are floating, ids integers from 0 to V − 1, and the axes agree.
    Source: pytorch2026documentation, torch.nn.Embedding.
    """
    return layers.embedding_backward(dy, layers.embedding(ids, table)[1])


def residual_vjp(
    dy: Float[Tensor, "*B D"], x: Float[Tensor, "*B D"], w: Float[Tensor, "D D"], b: Float[Tensor, "D"]
) -> tuple[Float[Tensor, "*B D"], Float[Tensor, "D D"], Float[Tensor, "D"]]:
    r"""(dy + dy w, dyᵀx, Σ dy): the gradients of x + branch(x), here with a linear layer for the branch.

    Raises ValueError unless all are floating and the axes agree.
    Source: he2016identity, §2 eq. (5).
    """
    _, cache = layers.residual(x, partial(layers.linear, w=w, b=b))
    return layers.residual_backward(dy, layers.linear_backward, cache)


def gelu_vjp(dy: Float[Tensor, "*B F"], x: Float[Tensor, "*B F"], approximate: str = "none") -> Float[Tensor, "*B F"]:
    r"""dy(Φ(x) + x φ(x)), and for "tanh" dy times the slope of that form: the two slopes differ by almost 10⁻³.

    Raises ValueError for integer or empty tensors, unequal shapes, or another `approximate`.
    Source: hendrycks2016gelu, §2; claim activations.gelu_derivative.
    """
    return layers.gelu_backward(dy, layers.gelu(x, approximate)[1])


def swiglu_vjp(
    dy: Float[Tensor, "*B F"], gate: Float[Tensor, "*B F"], up: Float[Tensor, "*B F"]
) -> tuple[Float[Tensor, "*B F"], Float[Tensor, "*B F"]]:
    r"""(dy · up · silu'(gate), dy · silu(gate)), silu'(g) = σ(g)(1 + g(1 − σ(g))): the gradients by gate and up.

    Raises ValueError for integer or empty tensors, or unequal shapes.
    Source: shazeer2020glu, §2 eq. (5); claim activations.silu_derivative.
    """
    return layers.swiglu_backward(dy, layers.swiglu(gate, up)[1])


def softmax_vjp(dy: Float[Tensor, "*B V"], z: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
    r"""p(dy − ⟨p, dy⟩) with p = softmax(z), row by row; zero where z is −∞, and for a row of −∞ alone.

    Raises ValueError for integer or empty tensors, or unequal shapes.
    Source: bridle1990softmax, §2; claim softmax.softmax_jacobian.
    """
    return losses.softmax_backward(dy, losses.softmax(z)[1])


def cross_entropy_vjp(
    dy: Float[Tensor, ""],
    z: Float[Tensor, "N V"],
    target: Int[Tensor, "N"],
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Float[Tensor, "N V"]:
    r"""dy(softmax(z) − q)/n in the n rows that count, and zero in the others; q is the target, smoothed.

    Raises ValueError unless dy is a floating number "", and as reference.loss.cross_entropy.
    Source: bishop2006pattern, §4.3.4 eq. (4.109); claim loss.cross_entropy_gradient_is_p_minus_y.
    """
    return losses.cross_entropy_backward(dy, losses.cross_entropy(z, target, ignore_index, label_smoothing)[1])


def layer_norm_vjp(
    dy: Float[Tensor, "*B D"],
    x: Float[Tensor, "*B D"],
    weight: Float[Tensor, "D"],
    bias: Float[Tensor, "D"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "*B D"], Float[Tensor, "D"], Float[Tensor, "D"]]:
    r"""((u − mean u − x̂ mean(u x̂))/√(σ² + ε), Σ dy x̂, Σ dy) with u = dy · weight and x̂ = (x − μ)/√(σ² + ε).

    Raises ValueError unless dy has the shape of x, and as reference.normalization.layer_norm.
    Source: ba2016layernorm, §3.1 eq. (4); claim normalization.layer_norm_gradient.
    """
    return norms.layer_norm_backward(dy, norms.layer_norm(x, weight, bias, eps)[1])


def rms_norm_vjp(
    dy: Float[Tensor, "*B D"], x: Float[Tensor, "*B D"], weight: Float[Tensor, "D"], eps: float = 1e-6
) -> tuple[Float[Tensor, "*B D"], Float[Tensor, "D"]]:
    r"""((u − x̂ mean(u x̂))/√(mean x² + ε), Σ dy x̂) with u = dy · weight and x̂ = x/√(mean x² + ε).

    Raises ValueError unless dy has the shape of x, and as reference.normalization.rms_norm.
    Source: zhang2019rmsnorm, §4.2; claim normalization.rms_norm_gradient.
    """
    return norms.rms_norm_backward(dy, norms.rms_norm(x, weight, eps)[1])


def batch_norm_vjp(
    dy: Float[Tensor, "N D"],
    x: Float[Tensor, "N D"],
    weight: Float[Tensor, "D"],
    bias: Float[Tensor, "D"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "D"], Float[Tensor, "D"]]:
    r"""The formulas of layer_norm_vjp with mean and variance (divisor N) down each column: the batch norm of training.

    Raises ValueError unless dy has the shape of x, and as reference.normalization.batch_norm.
    Source: ioffe2015batchnorm, §3; claim normalization.batch_norm_gradient.
    """
    return norms.batch_norm_backward(dy, norms.batch_norm(x, weight, bias, eps)[1])


def attention_vjp(
    dy: Float[Tensor, "B H T K"],
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B H S K"],
    v: Float[Tensor, "B H S K"],
    *,
    causal: bool = False,
    mask: Bool[Tensor, "*B T S"] | None = None,
    scale: float | None = None,
) -> tuple[Float[Tensor, "B H T K"], Float[Tensor, "B H S K"], Float[Tensor, "B H S K"]]:
    r"""(ds k, dsᵀq, pᵀdy) with ds = scale · p(dp − ⟨p, dp⟩) and dp = dy vᵀ: the gradients by queries, keys and values.

    A query that sees no key, and a key that no query sees, have the gradient zero; the latter, and its value, are not
    read. Raises ValueError unless dy has the shape of the output, and as reference.attention.attention.
    Source: dao2022flashattention, appendix B.2.
    """
    return attentions.attention_backward(dy, attentions.attention(q, k, v, causal=causal, mask=mask, scale=scale)[1])


def attend_vjp(
    dy: Float[Tensor, "B H T K"],
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B G S K"],
    v: Float[Tensor, "B G S K"],
    *,
    causal: bool = False,
    alignment: str = "bottom_right",
    window: int | None = None,
    kept: int = 0,
    mask: Bool[Tensor, "*B T S"] | None = None,
    bias: Float[Tensor, "*B T S"] | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, "H"] | None = None,
    scale: float | None = None,
) -> tuple[Tensor, ...]:
    r"""The gradients of attention with what models add, by q, k and v, then by `bias` and by `sinks` where given:

        dz = p(dp − D),   ds = scale · (1 − (z/c)²) dz,   −Σ p₀ D,   with dp = dy vᵀ and D = ⟨p, dp⟩ = ⟨y, dy⟩

    z is the score capped at ±c, dz the gradient by the bias, summed to its shape, and p₀ what the sink takes of a row.
    A shared head of keys and values gets the sum over its query heads. What is hidden has the gradient zero, and keys
    and values that no query sees are not read. Raises ValueError unless dy has the shape of the output, and as
    reference.attention.attend.
    Source: dao2022flashattention, appendix B.2; claim attention.gradients_of_cap_and_sink.
    """
    sight = {"causal": causal, "alignment": alignment, "window": window, "kept": kept, "mask": mask}
    _, cache = attentions.attend(q, k, v, bias=bias, softcap=softcap, sinks=sinks, scale=scale, **sight)
    return attentions.attention_backward(dy, cache)


def block_vjp(
    dy: Float[Tensor, "B T D"],
    x: Float[Tensor, "B T D"],
    weights: list[Tensor],
    H: int,
    *,
    causal: bool = True,
    approximate: str = "tanh",
    eps: float = 1e-5,
) -> tuple[Tensor, ...]:
    r"""The gradients of GPT-2's block by x and by its 16 weights, in the order of reference.backprop_block.Weights.

        x ← x + attention(norm(x)),     x ← x + feed_forward(norm(x))

    H heads share the width D; `approximate` is that of gelu. Raises ValueError unless there are 16 weights whose axes
    agree, D is a multiple of H, and dy has the shape of x.
    Source: radford2019language, §2.3.
    """
    if not isinstance(weights, list | tuple) or len(weights) != len(blocks.Weights._fields):
        received = f"{len(weights)} tensors" if isinstance(weights, list | tuple) else type(weights).__name__
        expect.fail("weights", f"the {len(blocks.Weights._fields)} tensors of Weights", received)
    _, cache = blocks.block(x, blocks.Weights(*weights), H, causal=causal, approximate=approximate, eps=eps)
    dx, gradients = blocks.block_backward(dy, cache)
    return dx, *gradients
