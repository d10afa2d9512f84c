r"""The transformer: attention in several heads and a feed-forward layer, each added to a stream that runs through all.

    x ← x + Σ_h W_O^h attention(W_Q^h n, W_K^h n, W_V^h n) with n = norm(x),     x ← x + W_2 gelu(W_1 norm(x))
    x begins as E[tokens] + P, and logits = E norm(x)

This is GPT-2 written as mathematics, a sum for a sum; reference/decoder.py is the form that is trained, and
reference/model.py computes it for published weights. That all three agree is checked by tests/test_transformer.py.
Article papers/transformer.md, derivations derivations/transformer.py, laws verify/transformer.py.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.activations import gelu
from reference.attention import causal_mask, scores
from reference.normalization import layer_norm
from reference.sampling import greedy
from reference.softmax import softmax
from reference.transformer_weights import AXES, BLOCK, Gpt2
from reference.transformer_weights import init as init  # of the same topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from torch import Tensor

    Choice = Callable[[Float[Tensor, "B V"], Int[Tensor, "B T"]], Int[Tensor, "B"]]

NORMS = ("pre", "post")
"""Where a norm stands: before a branch, x + f(norm(x)), or after the sum, norm(x + f(x))."""
OPTIONAL = ("norm", "norm_bias", "head", *(name for name in BLOCK if name.endswith("bias")))


def multi_head_attention(
    x: Float[Tensor, "B T D"],
    q: Float[Tensor, "H K D"],
    k: Float[Tensor, "G K D"],
    v: Float[Tensor, "G K D"],
    out: Float[Tensor, "D H K"],
    q_bias: Float[Tensor, "H K"] | None = None,
    k_bias: Float[Tensor, "G K"] | None = None,
    v_bias: Float[Tensor, "G K"] | None = None,
    out_bias: Float[Tensor, "D"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "B T D"]:
    r"""Σ_h out_h attention(q_h x, k_g x, v_g x) + out_bias, where query head h reads key-value head g = h // (H/G).

    G = H is multi-head attention, G = 1 multi-query, all between grouped-query attention; D need not be H K. NaN in a
    token reaches all of its sequence, also what comes before it.
    Raises ValueError for other axes, for several dtypes, or unless H is a multiple of G.
    Source: vaswani2017attention, §3.2.2; ainslie2023gqa, §2.2.
    """
    biases = {"q_bias": q_bias, "k_bias": k_bias, "v_bias": v_bias, "out_bias": out_bias}
    _agree(x, "B T D", q=q, k=k, v=v, out=out, **biases)
    if len(q) % len(k):
        expect.fail("q", f"H a multiple of {len(k)} key-value heads", f"{len(q)} query heads")
    queries, keys, values = (_heads(x, *pair) for pair in ((q, q_bias), (k, k_bias), (v, v_bias)))
    keys, values = (shared.repeat_interleave(len(q) // len(k), 1) for shared in (keys, values))
    z, T = scores(queries, keys), x.shape[1]
    p = softmax(torch.where(causal_mask(T, T, x.device), z, -torch.inf) if causal else z)
    return _plus(torch.einsum("bhtk,dhk->btd", torch.einsum("bhts,bhsk->bhtk", p, values), out), out_bias)


def feed_forward(
    x: Float[Tensor, "*B D"],
    up: Float[Tensor, "F D"],
    down: Float[Tensor, "D F"],
    up_bias: Float[Tensor, "F"] | None = None,
    down_bias: Float[Tensor, "D"] | None = None,
    *,
    approximate: str = "tanh",
) -> Float[Tensor, "*B D"]:
    r"""down gelu(up x + up_bias) + down_bias, at every position alone; `approximate` names the form of gelu.

    Raises ValueError for other axes, for several dtypes, or another form.
    Source: vaswani2017attention, §3.3 eq. (2); hendrycks2016gelu, §2.
    """
    expect.rows("x", x)
    _agree(x.reshape(-1, x.shape[-1]), "N D", up=up, down=down, up_bias=up_bias, down_bias=down_bias)
    hidden = gelu(_plus(torch.einsum("...d,fd->...f", x, up), up_bias), approximate)
    return _plus(torch.einsum("...f,df->...d", hidden, down), down_bias)


def block(
    x: Float[Tensor, "B T D"],
    norm1: Float[Tensor, "D"],
    norm1_bias: Float[Tensor, "D"] | None,
    q: Float[Tensor, "H K D"],
    q_bias: Float[Tensor, "H K"] | None,
    k: Float[Tensor, "G K D"],
    k_bias: Float[Tensor, "G K"] | None,
    v: Float[Tensor, "G K D"],
    v_bias: Float[Tensor, "G K"] | None,
    out: Float[Tensor, "D H K"],
    out_bias: Float[Tensor, "D"] | None,
    norm2: Float[Tensor, "D"],
    norm2_bias: Float[Tensor, "D"] | None,
    up: Float[Tensor, "F D"],
    up_bias: Float[Tensor, "F"] | None,
    down: Float[Tensor, "D F"],
    down_bias: Float[Tensor, "D"] | None,
    *,
    norms: str = NORMS[0],
    causal: bool = True,
    approximate: str = "tanh",
    eps: float = 1e-5,
) -> Float[Tensor, "B T D"]:
    r"""Attention, then feed-forward, each added to x: x + f(norm(x)) with norms "pre", norm(x + f(x)) with "post".

    "pre" is GPT-2's, "post" the first transformer's. Raises ValueError for other norms, and as the functions of which
    it is made. Source: radford2019language, §2.3; vaswani2017attention, §3.1; xiong2020layer, Table 1.
    """
    if norms not in NORMS:
        expect.fail("norms", f"one of {', '.join(NORMS)}", repr(norms))
    _agree(x, "B T D", norm1=norm1, norm1_bias=norm1_bias, norm2=norm2, norm2_bias=norm2_bias)
    pre = norms == "pre"

    def first(x):
        return layer_norm(x, norm1, norm1_bias, eps)

    def second(x):
        return layer_norm(x, norm2, norm2_bias, eps)

    def attend(x):
        return multi_head_attention(x, q, k, v, out, q_bias, k_bias, v_bias, out_bias, causal=causal)

    def think(x):
        return feed_forward(x, up, down, up_bias, down_bias, approximate=approximate)

    x = x + attend(first(x)) if pre else first(x + attend(x))
    return x + think(second(x)) if pre else second(x + think(x))


def logits(
    tokens: Int[Tensor, "B T"],
    embedding: Float[Tensor, "V D"],
    positions: Float[Tensor, "S D"],
    norm1: Float[Tensor, "L D"],
    norm1_bias: Float[Tensor, "L D"] | None,
    q: Float[Tensor, "L H K D"],
    q_bias: Float[Tensor, "L H K"] | None,
    k: Float[Tensor, "L G K D"],
    k_bias: Float[Tensor, "L G K"] | None,
    v: Float[Tensor, "L G K D"],
    v_bias: Float[Tensor, "L G K"] | None,
    out: Float[Tensor, "L D H K"],
    out_bias: Float[Tensor, "L D"] | None,
    norm2: Float[Tensor, "L D"],
    norm2_bias: Float[Tensor, "L D"] | None,
    up: Float[Tensor, "L F D"],
    up_bias: Float[Tensor, "L F"] | None,
    down: Float[Tensor, "L D F"],
    down_bias: Float[Tensor, "L D"] | None,
    norm: Float[Tensor, "D"] | None,
    norm_bias: Float[Tensor, "D"] | None,
    head: Float[Tensor, "V D"] | None = None,
    *,
    norms: str = NORMS[0],
    approximate: str = "tanh",
    eps: float = 1e-5,
) -> Float[Tensor, "B T V"]:
    r"""The logits of the symbol after each of the tokens: `logits(tokens, *model)` for a model of `Gpt2`.

    Without a head the embedding is it, "tied"; without `norm` the last one is left out, as where norms are "post".
    Raises ValueError for tokens that are no integers below V, for T > S, and as `block`.
    Source: radford2018improving, §3.1 eq. (2) (post-norm, no last norm); radford2019language, §2.3.
    """
    model = Gpt2(embedding, positions, norm1, norm1_bias, q, q_bias, k, k_bias, v, v_bias, out, out_bias,
                 norm2, norm2_bias, up, up_bias, down, down_bias, norm, norm_bias, head)  # fmt: skip
    parts = model._asdict()
    del parts["embedding"]
    _agree(embedding, "V D", AXES, **parts)
    expect.integers("tokens", tokens)
    T = expect.axes("tokens", tokens, "B T")["T"]
    if not tokens.numel():
        expect.fail("tokens", "one token or more", f"shape {tuple(tokens.shape)}")
    expect.indices("tokens", tokens, len(embedding))
    if len(positions) < T:
        expect.fail("axis T", f"at most the {len(positions)} positions of the model", T)
    x = embedding[tokens.long()] + positions[:T]  # bytes would be taken for a mask
    layers = [[None] * len(q) if part is None else part for part in (parts[name] for name in BLOCK)]
    for weights in zip(*layers, strict=True):
        x = block(x, *weights, norms=norms, approximate=approximate, eps=eps)
    x = x if norm is None else layer_norm(x, norm, norm_bias, eps)
    return torch.einsum("btd,vd->btv", x, embedding if head is None else head)


def following(model: Gpt2, tokens: Int[Tensor, "B T"], **options) -> Float[Tensor, "B V"]:
    """The logits of the symbol after each text, of which the last S symbols are read; `options` are those of `logits`.

    Raises ValueError as `logits`.
    """
    expect.axes("tokens", tokens, "B T")
    return logits(tokens[:, -len(model.positions) :], *model, **options)[:, -1]


def generate(
    model: Gpt2,
    prompt: Int[Tensor, "B T"],
    length: int,
    choose: Choice = lambda z, _: greedy(z),
    **options,
) -> Int[Tensor, "B N"]:
    r"""`length` symbols after each prompt, one after another: choose(logits "B V", the text so far "B T") is the next.

    Whatever reference/sampling.py offers is a choice: gumbel_max of filtered logits, or greedy ones after a penalty on
    what the text holds. Everything is computed anew for every symbol. `options` are those of `logits`.
    Raises ValueError for a length below one, and as `logits`.
    """
    expect.natural("length", length, 1)
    text, T = prompt, expect.axes("prompt", prompt, "B T")["T"]
    with torch.no_grad():
        for _ in range(length):
            new = choose(following(model, text, **options), text)
            text = torch.cat([text, new[:, None].to(text.dtype)], 1)
    return text[:, T:]


def _heads(x, weight, bias):
    """From "B T D" to "B H T K"."""
    return _plus(torch.einsum("btd,hkd->bhtk", x, weight), None if bias is None else bias[:, None])


def _plus(x, bias):
    """x, and the bias where there is one."""
    return x if bias is None else x + bias


def _agree(x, letters: str, axes=None, **weights) -> None:
    """Raise ValueError unless x, of these axes, and the weights are floating, of one dtype, and their axes agree."""
    sizes: dict[str, int] = {}
    axes = {name: AXES[name].removeprefix("L ") for name in AXES} if axes is None else axes
    for name, part in {"x": x, **weights}.items():
        if part is None and name in OPTIONAL:
            continue
        expect.floating(name, part)
        if part.dtype != x.dtype:
            expect.fail(name, f"the dtype of all others, {x.dtype}", part.dtype)
        for letter, size in expect.axes(name, part, letters if name == "x" else axes[name]).items():
            expect.agree(**{letter: (sizes.setdefault(letter, size), size)})


if __name__ == "__main__":
    from reference.transformer_command import main

    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
