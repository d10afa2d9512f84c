r"""What a decoder is made of: sizes, and the choices in which the published families differ.

    x ← tokens[ids] · scale (+ positions[t]);   L blocks;   logits = cap(norm(x) headᵀ)
    block: x ← x + after(attention(before(x))), x ← x + after(feed_forward(before(x))), or both of one x

reference/families.py reads it from a config.json, reference/model.py computes with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from reference.config import fail

NORMS, QK_NORMS = ("layer", "rms"), ("none", "head", "joint")
KINDS = ("default", "linear", "dynamic", "yarn", "llama3", "divided")


@dataclass(frozen=True)
class Rotation:
    """Rotary positions: the first R coordinates of a head are turned, coordinate k together with k + R/2.

    `kind` says how the frequencies base^(−2k/R) are stretched by `scale` beyond the `trained` positions: linear,
    dynamic, yarn (`low` and `high` its betas), llama3 (`low` and `high` its factors), or divided by given `divisors`.
    What is turned is multiplied by `factor`.
    """

    R: int
    base: float = 10000.0
    kind: str = "default"
    scale: float = 1.0
    trained: int = 0
    low: float = 1.0
    high: float = 1.0
    truncate: bool = True
    factor: float = 1.0
    divisors: tuple[float, ...] = ()

    def __post_init__(self):
        if self.kind not in KINDS:
            fail("rope_type", f"one of {', '.join(KINDS)}", self.kind)
        if self.R < 2 or self.R % 2:
            fail("rotary dimension of a head", "an even number of coordinates", self.R)
        if self.divisors and len(self.divisors) != self.R // 2:
            fail("divisors of frequencies", f"{self.R // 2}, one a pair", len(self.divisors))


@dataclass(frozen=True)
class Layer:
    """Of one layer: the factor of its scores, the keys that a query sees (None: all), and its rotation (None: none).

    A window of W shows a query its own key and the W − 1 before it.
    """

    scale: float
    window: int | None = None
    rotation: Rotation | None = None


@dataclass(frozen=True)
class Architecture:
    """Sizes in the letters of papers/notation.md: H query and G key-value heads of K, S learned positions or none.

    `norm` is "layer" (mean and bias too) or "rms"; where norms are `centred`, their weights are stored less one. They
    stand `before` attention and feed-forward, `after` them inside the branch, or both. With `parallel` both read the
    same x. Queries and keys are normalized before they turn: each "head", or all heads of a token "joint"ly. A `gated`
    feed-forward is down(act(gate(x)) · up(x)), another one down(act(up(x))). Scores and logits are capped by `softcap`
    with `score_cap` and `logit_cap`; embeddings are multiplied by `embedding`; a `tied` head is the embedding.
    """

    family: str
    D: int
    H: int
    G: int
    K: int
    F: int
    V: int
    layers: tuple[Layer, ...]
    S: int = 0
    norm: str = "rms"
    eps: float = 1e-5
    centred: bool = False
    before: bool = True
    after: bool = False
    parallel: bool = False
    qk_norm: str = "none"
    activation: str = "silu"
    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    score_cap: float | None = None
    logit_cap: float | None = None
    embedding: float = 1.0
    tied: bool = False

    def __post_init__(self):
        for name, value, known in (("norm", self.norm, NORMS), ("qk_norm", self.qk_norm, QK_NORMS)):
            if value not in known:
                fail(name, f"one of {', '.join(known)}", value)
        if self.H % self.G:
            fail("num_attention_heads", f"a multiple of the {self.G} key-value heads", self.H)
        if self.norm == "layer" and self.qk_norm != "none":
            fail("qk_norm", "none beside LayerNorm", self.qk_norm)


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The name and the shape of every weight: linear ones are "out in", of layer i they begin with "blocks.i."."""
    a = architecture
    D, queries, shared = a.D, a.H * a.K, a.G * a.K
    found: dict[str, tuple[int, ...]] = {"tokens.weight": (a.V, D)}
    if a.S:
        found["positions.weight"] = (a.S, D)

    def linear(name, rows, columns, bias):
        found[f"{name}.weight"] = (rows, columns)
        if bias:
            found[f"{name}.bias"] = (rows,)

    def norm(name, width):
        found[f"{name}.weight"] = (width,)
        if a.norm == "layer":
            found[f"{name}.bias"] = (width,)

    for i in range(len(a.layers)):
        for place, there in (("before", a.before), ("after", a.after)):
            if there:
                norm(f"blocks.{i}.{place}1", D)
                norm(f"blocks.{i}.{place}2", D)
        for name, rows in (("q", queries), ("k", shared), ("v", shared)):
            linear(f"blocks.{i}.{name}", rows, D, a.qkv_bias)
        if a.qk_norm != "none":
            norm(f"blocks.{i}.q_norm", a.K if a.qk_norm == "head" else queries)
            norm(f"blocks.{i}.k_norm", a.K if a.qk_norm == "head" else shared)
        linear(f"blocks.{i}.out", D, queries, a.out_bias)
        if a.gated:
            linear(f"blocks.{i}.gate", a.F, D, a.mlp_bias)
        linear(f"blocks.{i}.up", a.F, D, a.mlp_bias)
        linear(f"blocks.{i}.down", D, a.F, a.mlp_bias)
    norm("norm", D)
    if not a.tied:
        found["head.weight"] = (a.V, D)
    return found
