"""Mistakes in a whole model of transformer blocks."""

from __future__ import annotations

import inspect
import itertools
from functools import wraps
from typing import Any

import torch

from reference.normalization import layer_norm
from reference.transformer import block, logits
from reference.transformer_weights import BLOCK
from verify.mistake import mistake
from verify.mutant.transformer import NOWHERE
from verify.mutant.transformer_block import default_of

ALL = "transformer.logits"


erf_unless_told = default_of(
    logits, ALL, "gelu-default", "GPT-2's gelu has tanh", "erf_unless_told", "The form with erf is the default.",
    approximate="none",
)  # fmt: skip


def model_mistake(*, id, seen=NOWHERE, fix):
    """A wrong model: a function of (tokens, weights by name, options)."""
    names = [n for n in inspect.signature(logits).parameters if n != "tokens"]

    def attach(body):
        @wraps(body)
        def wrong(tokens, *weights, **options):
            given = dict(zip(names, weights, strict=False)) | options
            how = {n: given.pop(n) for n in ("norms", "approximate", "eps") if n in given}
            return body(tokens, given, how)

        return mistake(ALL, id=id, seen=seen, fix=fix)(wrong)

    return attach


def each(w, change):
    """The weights of the blocks, changed."""
    return {n: change(x) if n in BLOCK and x is not None else x for n, x in w.items()}


@model_mistake(id="final-norm-missing", fix="norm, then head")
def no_last_norm(tokens, w, how):
    """The head reads the stream as the last block left it."""
    return logits(tokens, **{**w, "norm": None, "norm_bias": None}, **how)


@model_mistake(
    id="positions-from-one",
    seen="PrimeIntellect-ai/prime-rl PR#1545 (review); EleutherAI/gpt-neox #721",
    fix="the first token stands at 0",
)
def positions_start_at_one(tokens, w, how):
    """Token t gets row t + 1."""
    return logits(tokens, **{**w, "positions": w["positions"].roll(-1, 0)}, **how)


@model_mistake(id="positions-from-the-end", fix="positions count from the beginning")
def positions_end_at_the_last_row(tokens, w, how):
    """The last token gets the last row, as if the text were always full."""
    return logits(tokens, **{**w, "positions": w["positions"][-tokens.shape[1] :]}, **how)


@model_mistake(id="positions-forgotten", fix="add the row of the position")
def no_positions(tokens, w, how):
    """Symbols alone make the stream."""
    return logits(tokens, **{**w, "positions": 0 * w["positions"]}, **how)


@model_mistake(id="one-position-for-all", seen="Blaizzy/mlx-vlm #1983 (in decoding)", fix="a row for every position")
def first_position_for_all(tokens, w, how):
    """Every token gets row 0."""
    return logits(tokens, **{**w, "positions": w["positions"][:1].expand_as(w["positions"])}, **how)


@model_mistake(id="embedding-scaled", fix="GPT-2 does not multiply by √D; the first transformer does")
def symbols_times_the_root(tokens, w, how):
    """The look-up is multiplied by √D."""
    D = w["embedding"].shape[1]
    head = w["embedding"] if w.get("head") is None else w["head"]
    return logits(tokens, **{**w, "embedding": w["embedding"] * D**0.5, "head": head}, **how)


@model_mistake(
    id="untied-ignored",
    seen="pegainfer-project/pegainfer PR#544",
    fix="a model with a head of its own is scored by it",
)
def always_tied(tokens, w, how):
    """The embedding is the head, whether there is another or not."""
    return logits(tokens, **{**w, "head": None}, **how)


@model_mistake(
    id="tie-lost",
    seen="huggingface/transformers PR#43429, PR#44931; vllm-project/vllm #5621",
    fix="without a head of its own a model is scored by its embedding",
)
def head_at_random(tokens, w, how):
    """A tied head is not tied, and is what it was before the weights were read."""
    draw = torch.Generator().manual_seed(0)
    fresh = 0.02 * torch.randn(w["embedding"].shape, generator=draw, dtype=w["embedding"].dtype)
    return logits(tokens, **{**w, "head": fresh if w.get("head") is None else w["head"]}, **how)


@model_mistake(id="layers-reversed", fix="the first layer reads the embedding")
def last_layer_first(tokens, w, how):
    """The layers run backwards."""
    return logits(tokens, **each(w, lambda x: x.flip(0)), **how)


@model_mistake(id="last-layer-skipped", fix="all L layers")
def one_layer_short(tokens, w, how):
    """The last layer is not run."""
    return logits(tokens, **each(w, lambda x: x[:-1]), **how)


@model_mistake(id="layers-shared", fix="each layer has its own weights (copies, not the same module L times)")
def first_layer_every_time(tokens, w, how):
    """The first layer runs L times."""
    return logits(tokens, **each(w, lambda x: x[:1].expand_as(x)), **how)


def unrolled(tokens, w, how, causal=lambda layer: True, last=None):
    """The right one, layer by layer: the mask as `causal` says, the last norm with the options `last`."""
    x = w["embedding"][tokens] + w["positions"][: tokens.shape[1]]
    for i in range(len(w["q"])):
        own: list[Any] = [None if w[n] is None else w[n][i] for n in BLOCK]
        x = block(x, *own, causal=causal(i), **how)
    if w["norm"] is not None:
        x = layer_norm(x, w["norm"], w["norm_bias"], **({"eps": how.get("eps", 1e-5)} if last is None else last))
    return x @ (w["embedding"] if w.get("head") is None else w["head"]).T


@model_mistake(id="not-causal", fix="a language model has the mask in every layer")
def no_mask(tokens, w, how):
    """Tokens see those that follow."""
    return unrolled(tokens, w, how, causal=lambda layer: False)


@model_mistake(id="first-layer-masked-only", fix="a language model has the mask in every layer")
def mask_in_the_first_layer(tokens, w, how):
    """Only the first layer has the mask: through the others the future leaks."""
    return unrolled(tokens, w, how, causal=lambda layer: layer == 0)


@model_mistake(id="epsilon-of-the-last-norm", fix="the last norm has the same ε")
def last_norm_has_another_epsilon(tokens, w, how):
    """ε is passed to the blocks, and not to the last norm."""
    return unrolled(tokens, w, how, last={})


@model_mistake(id="ce-double-shift", seen="huggingface/transformers PR#37830, PR#47395", fix="one shift, in the loss")
def shifted_here_too(tokens, w, how):
    """Row t holds the logits of row t − 1, as if the loss did not shift."""
    return logits(tokens, **w, **how).roll(1, 1)


@model_mistake(
    id="packing-leak",
    seen="huggingface/transformers PR#46634; alex-hh/profam #495; huggingface/trl #784",
    fix="texts do not see each other",
)
def texts_run_together(tokens, w, how):
    """The texts lie one behind the other, under one causal mask: each sees the one before it."""
    rows = [logits(tokens[:1], **w, **how)]
    places = torch.cat([w["positions"][: tokens.shape[1]]] * 2)
    for before, own in itertools.pairwise(tokens):
        rows.append(logits(torch.cat([before, own])[None], **{**w, "positions": places}, **how)[:, len(own) :])
    return torch.cat(rows)
