"""Laws of the neural language model: its contexts, its logits, its loss, and its surprise at every symbol of a text."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.mlp import init
from reference.softmax import log_sum_exp
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

F64 = torch.float64
SIZES = [(2, 3, 5, 4, 6), (4, 2, 3, 5, 7)]  # B k V D F
SCALES = {"embedding": 0.25, "w1": 0.125, "b1": 0.25, "w2": 0.5, "b2": 0.25, "direct": 0.125}
DEEP = {"deep_w": 0.125, "deep_b": 0.25}


@st.composite
def network(draw, k, V, D, F):
    """Parameters of a model with direct connections, and half of the time with two further hidden layers."""
    shapes = {name: x.shape for name, x in init(V, k, D, F, 3, True)._asdict().items()}
    model = {name: draw(tensor(*shapes[name], scale=scale)) for name, scale in SCALES.items()}
    deep = {name: draw(tensor(*shapes[name], scale=scale)) for name, scale in DEEP.items()}
    return model | (deep if draw(st.booleans()) else dict.fromkeys(DEEP))


@st.composite
def batch(draw, scored=False):
    """Contexts with a model, and the symbols that follow."""
    B, k, V, D, F = SIZES[0]
    target = {"target": draw(integers(B, below=V))} if scored else {}
    return {"tokens": draw(integers(B, k, below=V)), **target, **draw(network(k, V, D, F))}


@st.composite
def text(draw):
    """A text, a symbol longer than the context at least, with a model."""
    _, k, V, D, F = draw(st.sampled_from(SIZES))
    return {"ids": draw(integers(draw(st.sampled_from([9, k + 1])), below=V)), **draw(network(k, V, D, F))}


@st.composite
def told(draw):
    """A text and a length of context."""
    k = draw(st.sampled_from([1, 2, 3]))
    return {"ids": draw(integers(draw(st.sampled_from([k + 1, 5, 8])), below=4)), "k": k}


def one_after_another_by_hand(windows, ids, k):
    """Of 5 3 4 6 the contexts of two symbols are 5 3, then 4, and 3 4, then 6."""
    contexts, target = windows(torch.tensor([5, 3, 4, 6]), 2)
    assert contexts.tolist() == [[5, 3], [3, 4]] and target.tolist() == [4, 6], f"{contexts.tolist()} {target.tolist()}"


def every_symbol_follows_once(windows, ids, k):
    """The targets are the text after its first k symbols, and the first context is what comes before them."""
    contexts, target = windows(ids, k)
    assert torch.equal(target, ids[k:]), f"targets {target.tolist()}"
    assert torch.equal(contexts[0], ids[:k]), f"first context {contexts[0].tolist()}"


def contexts_slide(windows, ids, k):
    """The next context is this one without its oldest symbol, with the target at its end."""
    contexts, target = windows(ids, k)
    assert torch.equal(contexts[1:], torch.cat([contexts[:-1, 1:], target[:-1, None]], 1)), f"{contexts.tolist()}"


def tiny():
    """Two symbols with embeddings 0 and log 2, and one hidden unit that reads the last of two with weight two."""
    return {
        "embedding": torch.tensor([[0.0], [math.log(2)]], dtype=F64),
        "w1": torch.tensor([[[1.0], [2.0]]], dtype=F64),
        "b1": torch.zeros(1, dtype=F64),
        "w2": torch.tensor([[1.0], [-1.0]], dtype=F64),
        "b2": torch.tensor([0.0, 0.5], dtype=F64),
    }


def four_contexts_by_hand(logits, tokens, **model):
    """tanh(log 2) = 3/5, tanh(2 log 2) = 15/17, tanh(3 log 2) = 63/65: the last symbol weighs twice as much."""
    h = torch.tensor([0, 15 / 17, 3 / 5, 63 / 65], dtype=F64)
    contexts = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    close(logits(contexts, **tiny()), torch.stack([h, 0.5 - h], 1))
    layers = {"deep_w": torch.ones(1, 1, 1).double(), "deep_b": torch.full((1, 1), math.log(2), dtype=F64)}
    deeper = torch.tanh(h + math.log(2))
    close(logits(contexts, **tiny(), **layers), torch.stack([deeper, 0.5 - deeper], 1))


def directly(tokens, embedding, direct):
    """What the direct connections add, position by position."""
    return sum(embedding[tokens[:, j]] @ direct[:, j].T for j in range(tokens.shape[1]))


def direct_connections_add(logits, tokens, embedding, direct, **model):
    """They add to the logits of the rest a weighted sum of the embeddings; left out, they add nothing."""
    without = logits(tokens, embedding, **model)
    close(logits(tokens, embedding, direct=direct, **model) - without, directly(tokens, embedding, direct), scale=1)


def positions_can_be_renamed(logits, tokens, w1, direct, **model):
    """Positions in another order, with their blocks of weights, give the same."""
    turned = logits(tokens.flip(1), w1=w1.flip(1), direct=direct.flip(1), **model)
    close(turned, logits(tokens, w1=w1, direct=direct, **model), scale=1)


def symbols_can_be_renamed(logits, tokens, embedding, **model):
    """Symbols in another order, with their rows of the table, give the same."""
    close(logits(len(embedding) - 1 - tokens, embedding.flip(0), **model), logits(tokens, embedding, **model), scale=1)


def full_units_are_one(logits, tokens, embedding, w1, b1, w2, b2, direct, deep_w, deep_b):
    """A first layer far above zero is one everywhere: the context matters no more, but for direct connections."""
    full = logits(tokens, embedding, w1, torch.full_like(b1, 1000), w2, b2, direct)
    close(full, (b2 + w2.sum(1)) + directly(tokens, embedding, direct), scale=1)


def units_have_no_sign(logits, tokens, w1, b1, w2, deep_b, **model):
    """tanh is odd: every hidden unit may be turned around, with what it reads and where it leads."""
    turned = logits(tokens, w1=-w1, b1=-b1, w2=-w2, deep_b=None if deep_b is None else -deep_b, **model)
    close(turned, logits(tokens, w1=w1, b1=b1, w2=w2, deep_b=deep_b, **model), scale=1)


def the_last_layer_decides(logits, tokens, embedding, w1, b1, w2, b2, direct, deep_w, deep_b):
    """A last layer that reads nothing gives tanh of its bias, whatever the layers before it say."""
    F = len(b1)
    deep_w = torch.stack([torch.eye(F).double(), torch.zeros(F, F).double()])
    deep_b = torch.stack([b1, b1 + 0.5])
    found = logits(tokens, embedding, w1, b1, w2, b2, None, deep_w, deep_b)
    close(found, (b2 + w2 @ torch.tanh(b1 + 0.5)).expand_as(found), scale=1)


def silent(model):
    """The model with an output that reads nothing, and has no bias: a logit of zero for every symbol."""
    return model | {name: torch.zeros_like(model[name]) for name in ("w2", "b2", "direct")}


def ignorance_costs_log_v(loss, tokens, target, **model):
    """Before training, when nothing leads out, every symbol costs ln V nats."""
    close(loss(tokens, target, **silent(model)), math.log(len(model["b2"])))


def mean_of_single_rows(loss, tokens, target, **model):
    """It is the mean over rows: each costs what it costs alone."""
    alone = [loss(tokens[r : r + 1], target[r : r + 1], **model) for r in range(len(target))]
    close(loss(tokens, target, **model), torch.stack(alone).mean(), scale=1)


def symbols_of_no_context_do_not_matter(loss, tokens, target, embedding, **model):
    """Rows of the table that no context reads may be anything: they have no slope."""
    read = torch.zeros(len(embedding)).double().index_fill(0, tokens.flatten(), 1)[:, None]
    close(loss(tokens, target, embedding + 100 * (1 - read), **model), loss(tokens, target, embedding, **model))


def two_rows_by_hand(loss, tokens, target, **model):
    """With biases ln 1, ln 2, ln 3 alone the symbols cost ln 6, ln 3 and ln 2."""
    model = {name: x if x is None else torch.zeros_like(x) for name, x in init(3, 2, 1, 1)._asdict().items()}
    model["b2"] = torch.tensor([1.0, 2.0, 3.0]).double().log()
    close(loss(torch.zeros(2, 2).long(), torch.tensor([0, 1]), **model), (math.log(6) + math.log(3)) / 2)


def every_symbol_is_judged(surprise, ids, **model):
    """One number for each symbol after the first k; where nothing leads out it is ln V."""
    nats = surprise(ids, **silent(model))
    close(nats, torch.full((len(ids) - model["w1"].shape[1],), math.log(len(model["b2"])), dtype=F64))


def chain_of_conditionals(surprise, ids, **model):
    """The probabilities of all symbols that may stand at the end sum to one, and the others do not depend on it."""
    ends = [surprise(torch.cat([ids[:-1], torch.tensor([w])]), **model) for w in range(len(model["b2"]))]
    close(torch.exp(-torch.stack(ends)[:, -1]).sum(), 1.0)
    close(ends[0][:-1], ends[-1][:-1], scale=1)


def texts_add(surprise, ids, **model):
    """A text costs what its parts cost, when each part is given its context."""
    k = model["w1"].shape[1]
    single = [surprise(ids[start : start + k + 1], **model) for start in range(len(ids) - k)]
    close(torch.cat(single), surprise(ids, **model), scale=1)


def bigram_by_hand(surprise, ids, **model):
    """One-hot embeddings and direct weights ln p at the last position make a table: 1 1 0 costs ln 2, ln 4, ln 4/3."""
    p = torch.tensor([[1 / 2, 1 / 2], [3 / 4, 1 / 4]], dtype=F64)
    direct = torch.stack([torch.zeros(2, 2).double(), p.log().T], 1)
    table = {"embedding": torch.eye(2).double(), "w1": torch.zeros(1, 2, 2).double(), "b1": torch.zeros(1).double()}
    out = {"w2": torch.zeros(2, 1).double(), "b2": torch.zeros(2).double(), "direct": direct}
    nats = torch.tensor([2, 4, 4 / 3], dtype=F64).log()
    close(surprise(torch.tensor([1, 0, 1, 1, 0]), **table, **out), nats)


def newest_first(logits, tokens, embedding, w1, b1, w2, b2, direct=None, deep_w=None, deep_b=None):
    """The first block of weights belongs to the most recent symbol, as bengio2003neural prints it."""
    direct = None if direct is None else direct.flip(1)
    return logits(tokens, embedding, w1.flip(1), b1, w2, b2, direct, deep_w, deep_b)


def log_probabilities(logits, *arguments, **named):
    """Logarithms of probabilities: logits less their log Σ exp."""
    z = logits(*arguments, **named)
    return z - log_sum_exp(z)[:, None]


OPERATIONS = [
    Operation(
        "mlp.windows",
        inputs=told(),
        laws=[one_after_another_by_hand, every_symbol_follows_once, contexts_slide],
        conventions={
            "the most recent symbol first": lambda windows, ids, k: (
                windows(ids, k)[0].flip(1),
                windows(ids, k)[1],
            ),
        },
    ),
    Operation(
        "mlp.logits",
        inputs=batch(),
        laws=[
            four_contexts_by_hand,
            direct_connections_add,
            positions_can_be_renamed,
            symbols_can_be_renamed,
            full_units_are_one,
            units_have_no_sign,
            the_last_layer_decides,
        ],
        gradients=tuple(SCALES),
        conventions={
            "the first weights belong to the most recent symbol (bengio2003neural)": newest_first,
            "log-probabilities": log_probabilities,
        },
        unit=1,
    ),
    Operation(
        "mlp.loss",
        inputs=batch(scored=True),
        laws=[
            ignorance_costs_log_v,
            mean_of_single_rows,
            symbols_of_no_context_do_not_matter,
            two_rows_by_hand,
        ],
        gradients=tuple(SCALES),
        unit=1,
    ),
    Operation(
        "mlp.surprise",
        inputs=text(),
        laws=[every_symbol_is_judged, chain_of_conditionals, texts_add, bigram_by_hand],
        free=tuple(SCALES),
        unit=1,
    ),
]
