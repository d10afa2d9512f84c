"""Mistakes in the neural language model's logits."""

from __future__ import annotations

import torch

from reference.mlp import logits
from verify.mistake import mistake

NOWHERE = "no public report found"


def network(x, read, b1, w2, b2, direct, deep_w, deep_b, bend=torch.tanh):
    """The logits from the embeddings side by side and from what the first layer's product of them is."""
    h = bend(read + b1)
    for w, b in zip(*(() if p is None else p for p in (deep_w, deep_b)), strict=True):
        h = bend(h @ w.T + b)
    return h @ w2.T + b2 + (0 if direct is None else x @ direct.flatten(1).T)


@mistake("mlp.logits", id="mlp-ids-from-one", seen=NOWHERE, fix="row i of the table belongs to symbol i")
def rows_counted_from_one(tokens, embedding, *rest, **options):
    """Symbol i is looked up in row i − 1."""
    return logits(tokens, embedding.roll(1, 0), *rest, **options)


@mistake("mlp.logits", id="mlp-padding-row", seen=NOWHERE, fix="no padding row where symbol 0 is a symbol")
def first_symbol_is_padding(tokens, embedding, *rest, **options):
    """The embedding of symbol 0 is held at zero, as that of padding."""
    return logits(tokens, torch.cat([torch.zeros_like(embedding[:1]), embedding[1:]]), *rest, **options)


@mistake("mlp.logits", id="mlp-one-block", seen=NOWHERE, fix="a block of weights for each position")
def positions_share_their_weights(tokens, embedding, w1, *rest, **options):
    """Embeddings are added up before the first layer: a bag of symbols."""
    return logits(tokens, embedding, w1[:, :1].expand_as(w1), *rest, **options)


@mistake("mlp.logits", id="mlp-last-symbol-only", seen=NOWHERE, fix="read all k positions")
def only_the_last_symbol_is_read(tokens, embedding, w1, *rest, **options):
    """The context is cut to one symbol."""
    last = torch.zeros_like(w1)
    last[:, -1] = w1[:, -1]
    return logits(tokens, embedding, last, *rest, **options)


@mistake("mlp.logits", id="mlp-coordinates-first", seen=NOWHERE, fix="embeddings one after another, not interleaved")
def coordinates_vary_slowest(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """The embeddings are laid side by side by coordinate, and their weights by position."""
    x = embedding[tokens]
    read = x.transpose(1, 2).flatten(1) @ w1.flatten(1).T
    return network(x.flatten(1), read, b1, w2, b2, direct, deep_w, deep_b)


@mistake("mlp.logits", id="mlp-no-hidden-bias", seen=NOWHERE, fix="tanh(b₁ + w₁x)")
def hidden_bias_missing(tokens, embedding, w1, b1, *rest, **options):
    """tanh(w₁x)."""
    return logits(tokens, embedding, w1, torch.zeros_like(b1), *rest, **options)


@mistake("mlp.logits", id="mlp-no-output-bias", seen=NOWHERE, fix="b₂ + w₂h")
def output_bias_missing(tokens, embedding, w1, b1, w2, b2, *rest, **options):
    """w₂h, without b₂: the frequencies of symbols have to be learned by the units."""
    return logits(tokens, embedding, w1, b1, w2, torch.zeros_like(b2), *rest, **options)


@mistake("mlp.logits", id="mlp-linear", seen=NOWHERE, fix="tanh between the layers")
def tanh_missing(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """Layers without anything between them: one linear layer in all."""
    x = embedding[tokens].flatten(1)
    return network(x, x @ w1.flatten(1).T, b1, w2, b2, direct, deep_w, deep_b, bend=lambda a: a)


@mistake("mlp.logits", id="mlp-relu", seen=NOWHERE, fix="tanh, in which the weights were trained")
def relu_for_tanh(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """The weights of a tanh network are run with relu."""
    x = embedding[tokens].flatten(1)
    return network(x, x @ w1.flatten(1).T, b1, w2, b2, direct, deep_w, deep_b, bend=torch.relu)


@mistake("mlp.logits", id="mlp-bent-output", seen=NOWHERE, fix="logits are any real numbers")
def tanh_after_the_output(tokens, *parameters, **options):
    """The logits are bent as well: no probability exceeds e² times another."""
    return torch.tanh(logits(tokens, *parameters, **options))


@mistake(
    "mlp.logits",
    id="ce-double-softmax",
    seen="tflearn/tflearn PR#562; Lightning-Universe/lightning-bolts #654",
    fix="return logits: the loss has the softmax",
)
def softmax_in_the_model(tokens, *parameters, **options):
    """Probabilities are returned, of which the loss takes the softmax again."""
    return torch.softmax(logits(tokens, *parameters, **options), -1)


@mistake("mlp.logits", id="mlp-direct-ignored", seen=NOWHERE, fix="z = b₂ + w₂h + direct · x")
def direct_connections_ignored(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """The direct connections are there, and lead nowhere."""
    return logits(tokens, embedding, w1, b1, w2, b2, None, deep_w, deep_b)


@mistake("mlp.logits", id="mlp-direct-one-position", seen=NOWHERE, fix="direct connections from all k positions")
def direct_from_the_last_position(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """Only the last symbol is connected directly."""
    z = logits(tokens, embedding, w1, b1, w2, b2, None, deep_w, deep_b)
    return z if direct is None else z + embedding[tokens[:, -1]] @ direct[:, -1].T


@mistake("mlp.logits", id="mlp-deep-skipped", seen=NOWHERE, fix="apply every layer")
def further_layers_skipped(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """The layers are created, and not used."""
    return logits(tokens, embedding, w1, b1, w2, b2, direct)


@mistake("mlp.logits", id="mlp-deep-reversed", seen=NOWHERE, fix="apply the layers in their order")
def further_layers_reversed(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """The last layer is applied first."""
    turned = [None if p is None else p.flip(0) for p in (deep_w, deep_b)]
    return logits(tokens, embedding, w1, b1, w2, b2, direct, *turned)


@mistake("mlp.logits", id="mlp-deep-shared", seen=NOWHERE, fix="each layer has weights of its own")
def further_layers_are_one(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """One layer object is put into the list again and again."""
    same = [None if p is None else p[:1].expand_as(p) for p in (deep_w, deep_b)]
    return logits(tokens, embedding, w1, b1, w2, b2, direct, *same)


@mistake("mlp.logits", id="mlp-deep-transposed", seen=NOWHERE, fix="unit f of the next layer reads row f")
def further_layers_transposed(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """Square weights used from the wrong side: no shape complains."""
    turned = None if deep_w is None else deep_w.transpose(1, 2)
    return logits(tokens, embedding, w1, b1, w2, b2, direct, turned, deep_b)


class Overwritten(torch.autograd.Function):
    """A look-up whose backward pass writes where it should add."""

    @staticmethod
    def forward(ctx, embedding, tokens):
        ctx.save_for_backward(tokens)
        ctx.shape = embedding.shape
        return embedding[tokens]

    @staticmethod
    def backward(ctx, g):
        (tokens,) = ctx.saved_tensors
        return g.new_zeros(ctx.shape).index_put((tokens,), g), None


@mistake(
    "mlp.logits",
    id="gather-backward-overwrite",
    seen="pytorch/pytorch #1631; pymc-devs/pytensor PR#2242",
    fix="add up what comes back to a row",
)
def repeated_symbols_overwrite(tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """A symbol that stands at two places gets the slope of one."""
    x = Overwritten.apply(embedding, tokens).flatten(1)
    return network(x, x @ w1.flatten(1).T, b1, w2, b2, direct, deep_w, deep_b)


@mistake("mlp.logits", id="mlp-frozen-table", seen=NOWHERE, fix="the table is a parameter: train it")
def table_without_gradient(tokens, embedding, *rest, **options):
    """The table of embeddings is taken for data."""
    return logits(tokens, embedding.detach(), *rest, **options)
