r"""A neural language model: k symbols are looked up in a table of embeddings, and a network predicts the next one.

    x = (C[w₁], …, C[w_k])     h = tanh(b₁ + W₁x)     z = b₂ + W₂h + Wx     P(w | w₁ … w_k) = softmax(z)

The oldest symbol comes first; further hidden layers and the direct connections W may be left out. It is trained by
reference/mlp_training.py: python -m reference.mlp.
Article papers/mlp.md, derivations derivations/mlp.py and mlp_learning.py, laws verify/mlp.py.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import torch

from reference import expect
from reference.loss import cross_entropy
from reference.sampling import distribution
from reference.softmax import log_sum_exp

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

ROWS = 8192
"""Contexts that are evaluated at once."""


class Mlp(NamedTuple):
    """The parameters, in the order in which `logits` takes them; None is what the model does not have."""

    embedding: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    direct: Tensor | None = None
    deep_w: Tensor | None = None
    deep_b: Tensor | None = None


AXES = {
    "embedding": "V D",
    "w1": "F k D",
    "b1": "F",
    "w2": "V F",
    "b2": "V",
    "direct": "V k D",
    "deep_w": "L F F",
    "deep_b": "L F",
}


def shapes(V: int, k: int, D: int, F: int, L: int = 1, direct: bool = False) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter that a model of these sizes has, by name; L counts all hidden layers.

    Raises ValueError unless all sizes are at least one.
    """
    for name, size in {"V": V, "k": k, "D": D, "F": F, "L": L}.items():
        expect.natural(name, size, 1)
    sizes = {"V": V, "k": k, "D": D, "F": F, "L": L - 1}
    absent = [*([] if direct else ["direct"]), *(["deep_w", "deep_b"] if L == 1 else [])]
    return {n: tuple(sizes[a] for a in axes.split()) for n, axes in AXES.items() if n not in absent}


def init(
    V: int,
    k: int,
    D: int,
    F: int,
    L: int = 1,
    direct: bool = False,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Mlp:
    """Parameters before training: normal with variance 1/fan-in, embeddings with 1, biases and all that leads out zero.

    Every next symbol then has probability 1/V. Raises ValueError as `shapes`.
    """
    model = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes(V, k, D, F, L, direct).items()}
    for name, fan_in in (("embedding", 1), ("w1", k * D), ("deep_w", F)):
        if name in model:
            model[name].normal_(0, fan_in**-0.5, generator=generator)
    return Mlp(**model)


def windows(ids: Int[Tensor, "N"], k: int) -> tuple[Int[Tensor, "M k"], Int[Tensor, "M"]]:
    """All contexts of k symbols in a text, oldest first, and the symbol that follows each: every one after the first k.

    Raises ValueError for ids that are not integers, k < 1, or a text of no more than k symbols.
    """
    expect.natural("k", k, 1)
    n = expect.axes("ids", ids, "N")["N"]
    expect.indices("ids", ids, sys.maxsize)
    if n <= k:
        expect.fail("ids", f"more than {k} symbols for contexts of {k}", n)
    whole = ids.unfold(0, k + 1, 1)
    return whole[:, :k], whole[:, k]


def _checked(tokens: Int[Tensor, "B k"], model: Mlp) -> None:
    """Raise ValueError unless all parts are of one model, of one dtype, and the symbols in its vocabulary."""
    sizes = expect.axes("tokens", tokens, "B k")
    if not len(tokens):
        expect.fail("tokens", "at least one context", f"shape {tuple(tokens.shape)}")
    for name, part in model._asdict().items():
        if part is None and name in Mlp._field_defaults:
            continue
        expect.floating(name, part)
        if part.dtype != model.embedding.dtype:
            expect.fail(name, f"the dtype of embedding, {model.embedding.dtype}", part.dtype)
        expect.axes(name, part, AXES[name])
        for letter, size in zip(AXES[name].split(), part.shape, strict=True):
            expect.agree(**{letter: (sizes.setdefault(letter, size), size)})
    if (model.deep_w is None) != (model.deep_b is None):
        expect.fail("deep_b", "weights and biases of the further layers together", "one of them")
    expect.indices("tokens", tokens, sizes["V"])


def logits(
    tokens: Int[Tensor, "B k"],
    embedding: Float[Tensor, "V D"],
    w1: Float[Tensor, "F k D"],
    b1: Float[Tensor, "F"],
    w2: Float[Tensor, "V F"],
    b2: Float[Tensor, "V"],
    direct: Float[Tensor, "V k D"] | None = None,
    deep_w: Float[Tensor, "L F F"] | None = None,
    deep_b: Float[Tensor, "L F"] | None = None,
) -> Float[Tensor, "B V"]:
    r"""The logits of the next symbol after each context, whose first symbol is the oldest.

        x = embeddings side by side     h = tanh(b₁ + w₁x), and tanh(b + wh) in each further layer
        z = b₂ + w₂h, + direct · x where there are direct connections

    w1[:, j] and direct[:, j] belong to position j. Raises ValueError for axes or dtypes that do not agree, symbols that
    are not in the vocabulary, or further layers without their biases. Source: bengio2003neural, §2 eq. (1).
    """
    _checked(tokens, Mlp(embedding, w1, b1, w2, b2, direct, deep_w, deep_b))
    x = embedding[tokens.long()].flatten(1)  # bytes would be taken for a mask
    h = torch.tanh(x @ w1.flatten(1).T + b1)
    if deep_w is not None and deep_b is not None:
        for w, b in zip(deep_w, deep_b, strict=True):
            h = torch.tanh(h @ w.T + b)
    z = h @ w2.T + b2
    return z if direct is None else z + x @ direct.flatten(1).T


def loss(
    tokens: Int[Tensor, "B k"],
    target: Int[Tensor, "B"],
    embedding: Float[Tensor, "V D"],
    w1: Float[Tensor, "F k D"],
    b1: Float[Tensor, "F"],
    w2: Float[Tensor, "V F"],
    b2: Float[Tensor, "V"],
    direct: Float[Tensor, "V k D"] | None = None,
    deep_w: Float[Tensor, "L F F"] | None = None,
    deep_b: Float[Tensor, "L F"] | None = None,
) -> Float[Tensor, ""]:
    """The mean surprise, in nats, at the symbols that follow the contexts: what training minimizes.

    Raises ValueError as `logits` and `loss.cross_entropy`. Source: bengio2003neural, §2, without its penalty R(θ).
    """
    return cross_entropy(logits(tokens, embedding, w1, b1, w2, b2, direct, deep_w, deep_b), target)


def surprise(
    ids: Int[Tensor, "N"],
    embedding: Float[Tensor, "V D"],
    w1: Float[Tensor, "F k D"],
    b1: Float[Tensor, "F"],
    w2: Float[Tensor, "V F"],
    b2: Float[Tensor, "V"],
    direct: Float[Tensor, "V k D"] | None = None,
    deep_w: Float[Tensor, "L F F"] | None = None,
    deep_b: Float[Tensor, "L F"] | None = None,
) -> Float[Tensor, "M"]:
    """−log of the probability of every symbol of a text after its first k, in nats and in the order of the text.

    It is what `markov.surprise` is for counts. Raises ValueError as `windows` and `logits`.
    """
    contexts, target = windows(ids, expect.axes("w1", w1, "F k D")["k"])
    nats = []
    for tokens, wanted in zip(contexts.split(ROWS), target.split(ROWS), strict=True):
        z = logits(tokens, embedding, w1, b1, w2, b2, direct, deep_w, deep_b)
        nats.append(log_sum_exp(z) - z.gather(1, wanted.long()[:, None]).squeeze(1))
    return torch.cat(nats)


def generate(
    model: Mlp, prompt: Int[Tensor, "N"], length: int, generator: torch.Generator, temperature: float = 1.0
) -> Int[Tensor, "M"]:
    """`length` symbols drawn one after another behind a prompt, of which the last k symbols are read.

    Raises ValueError for a prompt of fewer than k symbols, a negative length, or as `sampling.temperature`.
    """
    expect.natural("length", length)
    k = model.w1.shape[1]
    if expect.axes("prompt", prompt, "N")["N"] < k:
        expect.fail("prompt", f"at least {k} symbols", len(prompt))
    text = prompt.tolist()
    for _ in range(length):
        z = logits(torch.tensor([text[-k:]]), *model)[0]
        text.append(int(torch.multinomial(distribution(z, temperature), 1, generator=generator)))
    return torch.tensor(text[len(prompt) :], dtype=torch.int64)


if __name__ == "__main__":
    from reference.mlp_training import main

    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
