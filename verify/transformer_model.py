"""Laws of a transformer's block, and of a whole model from tokens to logits."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from reference.activations import APPROXIMATIONS
from reference.normalization import layer_norm
from reference.softmax import log_softmax
from reference.transformer_weights import AXES, BLOCK, Gpt2
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

F64 = torch.float64
BLOCKS = [
    {"B": 2, "T": 3, "D": 4, "H": 4, "G": 2, "K": 1, "F": 5},
    {"B": 1, "T": 4, "D": 6, "H": 2, "G": 2, "K": 3, "F": 7},
]
MODELS = [
    {"B": 2, "T": 3, "S": 5, "V": 7, "L": 2, "D": 4, "H": 2, "G": 1, "K": 3, "F": 6},
    {"B": 1, "T": 4, "S": 4, "V": 3, "L": 2, "D": 6, "H": 2, "G": 2, "K": 3, "F": 5},
]
SCALES = {"q": 0.25, "k": 0.25, "positions": 0.5}


def shape(name, sizes, layers=True):
    """The shape of a weight at these sizes."""
    letters = AXES[name] if layers else AXES[name].removeprefix("L ")
    return tuple(sizes[letter] for letter in letters.split())


@st.composite
def stacked(draw):
    """Tokens, an entry of each sticking out, and a block; some have no biases."""
    sizes = draw(st.sampled_from(BLOCKS))
    x, bare = draw(tensor(sizes["B"], sizes["T"], sizes["D"])), draw(st.sampled_from([False, False, True]))
    x[..., 0] += 16
    weights = {n: draw(tensor(*shape(n, sizes, False), scale=SCALES.get(n, 0.5))) for n in BLOCK}
    weights |= {n: None for n in BLOCK if n.endswith("bias") and bare}
    options = {
        "norms": draw(st.sampled_from(["pre", "pre", "post"])),
        "causal": draw(st.booleans()),
        "approximate": draw(st.sampled_from(["tanh", *APPROXIMATIONS])),
        "eps": draw(st.sampled_from([1e-5, 0.5])),
    }
    return {"x": x, **weights, **options}


@st.composite
def read(draw):
    """Tokens and a model; some have a head of their own, some are post-norm and without a last norm."""
    sizes = draw(st.sampled_from(MODELS))
    own, norms = draw(st.booleans()), draw(st.sampled_from(["pre", "pre", "post"]))
    bare = draw(st.sampled_from([False, False, True]))
    weights = {n: draw(tensor(*shape(n, sizes), scale=SCALES.get(n, 0.5))) for n in Gpt2._fields}
    weights["embedding"][:, 0] += 8
    weights |= {n: None for n in BLOCK if n.endswith("bias") and bare}
    weights |= dict.fromkeys(("norm", "norm_bias") if norms == "post" else ()) | ({} if own else {"head": None})
    eps, approximate = draw(st.sampled_from([1e-5, 0.5])), draw(st.sampled_from(APPROXIMATIONS))
    tokens = draw(integers(sizes["B"], sizes["T"], below=sizes["V"]))
    return {"tokens": tokens, **weights, "norms": norms, "approximate": approximate, "eps": eps}


def quiet(weights, *names):
    """The weights, of which these and their biases are zero."""
    zero = {name: x * 0 for name, x in weights.items() if name in names or name.removesuffix("_bias") in names
            if x is not None}  # fmt: skip
    return {**weights, **zero}


def quiet_branches_leave_the_stream(block, x, norms, **weights):
    """When both branches write zeros, pre-norm changes nothing, and post-norm norms twice."""
    silent = quiet(weights, "out", "down")
    close(block(x, norms="pre", **silent), x)
    first, second = ((weights[n], weights[f"{n}_bias"], weights["eps"]) for n in ("norm1", "norm2"))
    close(block(x, norms="post", **silent), layer_norm(layer_norm(x, *first), *second), scale=1)


def branches_come_in_turn(block, x, norms, **weights):
    """Attention first, then, from what that has left, the feed-forward layer."""
    attended = block(x, norms="pre", **quiet(weights, "down"))
    close(block(attended, norms="pre", **quiet(weights, "out")), block(x, norms="pre", **weights), scale=1)


def a_common_shift_passes(block, x, norms, **weights):
    """One number added to all of the stream comes out added: norms do not see it, and the sum keeps it."""
    close(block(x + 64, norms="pre", **weights), block(x, norms="pre", **weights) + 64)
    close(
        block(x + 64, norms="post", **quiet(weights, "out")), block(x, norms="post", **quiet(weights, "out")), scale=1
    )


def handed_on_in_norm(block, x, norms, norm2, norm2_bias, **weights):
    """Post-norm rows have the mean zero and are no longer than √D, times the last weight, plus the last bias."""
    plain = block(x, norms="post", norm2=torch.ones_like(norm2), norm2_bias=torch.zeros_like(norm2), **weights)
    close(plain.mean(-1), torch.zeros(x.shape[:-1]).double(), scale=1)
    assert (plain.square().mean(-1) <= 1 + 1e-9).all(), "a row is longer than √D"
    scaled = plain * norm2 + (0 if norm2_bias is None else norm2_bias)
    close(block(x, norms="post", norm2=norm2, norm2_bias=norm2_bias, **weights), scaled, scale=1)


def past_ignores_the_future(block, x, causal, **weights):
    """Of a causal sequence the beginning gives what it gives alone."""
    whole = block(x, causal=True, **weights)
    close(block(x[:, :-1], causal=True, **weights), whole[:, :-1], scale=1)


def order_goes_with_the_tokens(block, x, causal, **weights):
    """Without the mask tokens in another order give the same outputs in this order."""
    close(block(x.roll(1, 1), causal=False, **weights), block(x, causal=False, **weights).roll(1, 1), scale=1)


def sequences_are_alone(block, x, **how):
    """Every sequence gives what it gives without the others."""
    together = block(torch.cat([x, -x]), **how)
    close(together[: len(x)], block(x, **how), scale=1)


def defaults_are_gpt2s(block, x, norms, causal, approximate, eps, **weights):
    """Unless told otherwise: pre-norm, causal, gelu with tanh, ε of 10⁻⁵."""
    close(block(x, **weights), block(x, **weights, norms="pre", causal=True, approximate="tanh", eps=1e-5))


def beginnings_stand_alone(logits, tokens, **model):
    """The logits after a token depend on it and those before, and not on how many follow."""
    whole = logits(tokens, **model)
    close(logits(tokens[:, :-1], **model), whole[:, :-1], scale=1)


def texts_stand_alone(logits, tokens, **model):
    """A text gives what it gives without the others."""
    together = logits(torch.cat([tokens, tokens.flip(1)]), **model)
    close(together[: len(tokens)], logits(tokens, **model), scale=1)
    close(together[len(tokens) :], logits(tokens.flip(1), **model), scale=1)


def without_branches_by_hand(logits, tokens, embedding, positions, norm, norm_bias, head, norms, **weights):
    """When no branch writes, a logit compares the normed sum of symbol and place with the symbols."""
    silent, eps = quiet(weights, "out", "down"), weights["eps"]
    stream = embedding[tokens] + positions[: tokens.shape[1]]
    for last, stands in ((norm, stream if norm is None else layer_norm(stream, norm, norm_bias, eps)), (None, stream)):
        found = logits(
            tokens, embedding, positions, norm=last, norm_bias=None if last is None else norm_bias, head=head, **silent
        )
        close(found, stands @ (embedding if head is None else head).T, scale=1)


def symbols_can_be_renamed(logits, tokens, embedding, head, **model):
    """Symbols in another order, with their rows, have their logits in this order."""
    turned = logits(
        len(embedding) - 1 - tokens, embedding.flip(0), head=None if head is None else head.flip(0), **model
    )
    close(turned.flip(-1), logits(tokens, embedding, head=head, **model), scale=1)


def a_tied_head_is_the_embedding(logits, tokens, embedding, head, **model):
    """A head that equals the embedding gives what none gives; and twice a head gives twice the logits."""
    close(logits(tokens, embedding, head=embedding.clone(), **model), logits(tokens, embedding, **model), scale=1)
    head = embedding.flip(1) if head is None else head
    close(logits(tokens, embedding, head=2 * head, **model), 2 * logits(tokens, embedding, head=head, **model), scale=1)


def a_silent_layer_is_absent(logits, tokens, norms, **model):
    """A pre-norm layer that writes nothing may be taken out, wherever it stands."""
    for i in range(len(model["q"])):
        rest = [j for j in range(len(model["q"])) if j != i]
        silent, fewer = dict(model), dict(model)
        for name in BLOCK:
            if model[name] is not None:
                fewer[name] = model[name][rest]
                if name.removesuffix("_bias") in ("out", "down"):
                    silent[name] = model[name].clone()
                    silent[name][i] = 0
        close(logits(tokens, norms="pre", **silent), logits(tokens, norms="pre", **fewer), scale=1)


def defaults_are_gpt2s_too(logits, tokens, norms, approximate, eps, **model):
    """Unless told otherwise: pre-norm, gelu with tanh, ε of 10⁻⁵."""
    close(logits(tokens, **model), logits(tokens, **model, norms="pre", approximate="tanh", eps=1e-5))


def as_log_probabilities(logits, tokens, *weights, **options):
    """Logarithms of probabilities: logits less their log Σ exp."""
    return log_softmax(logits(tokens, *weights, **options))


OPERATIONS = [
    Operation(
        "transformer.block",
        inputs=stacked(),
        laws=[
            quiet_branches_leave_the_stream,
            branches_come_in_turn,
            a_common_shift_passes,
            handed_on_in_norm,
            past_ignores_the_future,
            order_goes_with_the_tokens,
            sequences_are_alone,
            defaults_are_gpt2s,
        ],
        gradients=("x", "norm1", "q", "out", "up"),
        unit=1,
    ),
    Operation(
        "transformer.logits",
        inputs=read(),
        laws=[
            beginnings_stand_alone,
            texts_stand_alone,
            without_branches_by_hand,
            symbols_can_be_renamed,
            a_tied_head_is_the_embedding,
            a_silent_layer_is_absent,
            defaults_are_gpt2s_too,
        ],
        gradients=("embedding", "positions", "v", "down"),
        conventions={"log-probabilities": as_log_probabilities},
        unit=1,
    ),
]
