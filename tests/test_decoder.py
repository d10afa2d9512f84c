"""The decoder against the readable references, one sequence and one head at a time, and against one in JAX."""

from dataclasses import replace

import jax
import pytest
import torch
import torch.nn.functional as F

from bench import flops_xla
from derivations.architecture import Architecture
from reference.activations import gelu, swiglu
from reference.attention import attention
from reference.decoder import Decoder, Sizes
from reference.loss import cross_entropy
from reference.normalization import layer_norm, rms_norm
from reference.rope import rotate

B, T, V = 2, 17, 61
FORMS = {
    "gpt2": Sizes("gpt2", 2, 24, 4, 4, 6, 40, V, 32),
    "llama": Sizes("llama", 2, 20, 4, 2, 6, 40, V, 32, tied=False),
}
IDS, TARGET = torch.randint(V, (2, B, T), generator=torch.Generator().manual_seed(0))


def built(sizes):
    """A float64 model whose every parameter matters: norms and biases are no ones and zeros."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(1)
        model = Decoder(sizes)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    finally:
        torch.set_default_dtype(default)
    return model


def by_references(model, ids, scaled=1.0):
    """The logits of one sequence of ids, layer by layer; `scaled` stands where dropout does."""
    s, w = model.sizes, dict(model.named_parameters())

    def linear(x, name):
        return torch.stack([w[f"{name}.weight"] @ row for row in x]) + w.get(f"{name}.bias", 0)

    def norm(x, name):
        if s.form == "llama":
            return rms_norm(x, w[f"{name}.weight"], 1e-5)
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def heads(x, block):
        if s.form == "gpt2":
            q, k, v = (x[:, i * s.D : (i + 1) * s.D] for i in range(3))
        else:
            q, k, v = x
        for head in range(s.H):
            shared = head // (s.H // s.G)
            one = (part[None, None, :, at * s.K : (at + 1) * s.K] for part, at in ((q, head), (k, shared), (v, shared)))
            q_, k_, v_ = one
            if s.form == "llama":
                q_, k_ = (rotate(part, torch.arange(len(ids)), layout="half") for part in (q_, k_))
            yield attention(q_, k_, v_, causal=True)[0, 0] * (scaled if s.form == "gpt2" else 1)

    x = w["tokens.weight"][ids]
    if s.form == "gpt2":
        x = (x + w["positions.weight"][: len(ids)]) * scaled
    for i in range(s.L):
        b = f"blocks.{i}"
        y = norm(x, f"{b}.norm1")
        given = linear(y, f"{b}.qkv") if s.form == "gpt2" else [linear(y, f"{b}.{part}") for part in "qkv"]
        x = x + linear(torch.cat(list(heads(given, b)), -1), f"{b}.out") * scaled
        y = norm(x, f"{b}.norm2")
        if s.form == "gpt2":
            hidden = gelu(linear(y, f"{b}.up"), "tanh")
        else:
            hidden = swiglu(linear(y, f"{b}.gate"), linear(y, f"{b}.up"))
        x = x + linear(hidden, f"{b}.down") * scaled
    return norm(x, "norm") @ (w["tokens.weight"] if s.tied else w["head.weight"]).T


def slopes(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)


@pytest.mark.parametrize("form", FORMS)
def test_logits_loss_and_gradients_are_those_of_the_references(form):
    model = built(FORMS[form])
    logits = torch.stack([by_references(model, ids) for ids in IDS])
    torch.testing.assert_close(model(IDS), logits, rtol=1e-11, atol=1e-11)
    loss = cross_entropy(logits.flatten(0, 1), TARGET.flatten())
    for change in ({}, {"attention": "explicit"}, {"recompute": "selective"}, {"recompute": "full"}, {"chunks": 3}):
        other = built(replace(FORMS[form], **change))
        torch.testing.assert_close(other(IDS, TARGET), loss, rtol=1e-11, atol=1e-11)
        for mine, theirs in zip(slopes(other, other(IDS, TARGET)), slopes(model, loss), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
        logits = torch.stack([by_references(model, ids) for ids in IDS])  # its graph is used up
        loss = cross_entropy(logits.flatten(0, 1), TARGET.flatten())


@pytest.mark.parametrize("tied", [True, False])
def test_dropout_stands_where_gpt2_has_it_and_only_in_training(monkeypatch, tied):
    sizes = replace(FORMS["gpt2"], attention="explicit", dropout=0.25, tied=tied)
    model = built(sizes)
    torch.testing.assert_close(model.eval()(IDS), torch.stack([by_references(model, ids) for ids in IDS]))
    monkeypatch.setattr(
        F, "dropout", lambda x, p=0.5, training=True: x / (1 - p)
    )  # told from no dropout, and no chance
    expected = torch.stack([by_references(model, ids, 1 / 0.75) for ids in IDS])
    torch.testing.assert_close(model.train()(IDS), expected)


@pytest.mark.parametrize("how", [{"recompute": "selective"}, {"recompute": "full"}])
def test_recomputation_draws_the_same_masks_again(how):
    found = []
    for change in ({}, how):
        model = built(replace(FORMS["gpt2"], attention="explicit", dropout=0.25, **change)).train()
        torch.manual_seed(7)
        loss = model(IDS, TARGET)
        torch.manual_seed(8)  # what is drawn before the backward pass must not matter
        found.append((loss.detach(), *slopes(model, loss)))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loop", [False, True])
def test_the_decoder_in_jax_that_xla_counts_is_this_one(form, loop):
    s, model = FORMS[form], built(FORMS[form])
    given = {"norm": "layer", "gated": False, "bias": True, "S": s.S} if form == "gpt2" else {}
    a = Architecture(s.L, s.D, s.H, s.G, s.K, s.F, s.V, tied=s.tied, **given)
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}

    def of_block(i):
        mine = {name.removeprefix(f"blocks.{i}."): p for name, p in w.items() if name.startswith(f"blocks.{i}.")}
        for kind in ("weight", "bias"):
            if f"qkv.{kind}" in mine:
                q, k, v = mine.pop(f"qkv.{kind}").reshape(3, s.D, *([s.D] if kind == "weight" else []))
                mine |= {f"q.{kind}": q, f"k.{kind}": k, f"v.{kind}": v}
        return mine

    layers = [of_block(i) for i in range(s.L)]
    numbers = IDS.numpy(), TARGET.numpy()
    with jax.enable_x64(True):
        if loop:
            layers = jax.tree.map(lambda *parts: jax.numpy.stack(parts), *layers)
        loss, outside = jax.value_and_grad(lambda w: flops_xla.loss(a, loop, w, layers, *numbers))(w)
        slope = torch.tensor(outside["tokens.weight"].tolist(), dtype=torch.float64)
    ours = model(IDS, TARGET)
    ours.backward()
    assert float(loss) == pytest.approx(ours.item(), rel=1e-12)
    torch.testing.assert_close(slope, model.tokens.weight.grad, rtol=1e-9, atol=1e-12)


BAD = {
    "form": ({"form": "bert"}, "form: expected one of gpt2, llama"),
    "attention": ({"attention": "flash"}, "attention: expected one of explicit, sdpa"),
    "recompute": ({"recompute": "some"}, "recompute: expected one of none, selective, full"),
    "layers": ({"L": 0}, "L: expected an integer ≥ 1"),
    "chunks": ({"chunks": 0}, "chunks: expected an integer ≥ 1"),
    "dropout": ({"dropout": 1.0}, "dropout: expected a number from 0 below 1"),
    "heads": ({"form": "llama", "G": 3}, "H: expected a multiple of 3 key-value heads"),
    "width": ({"K": 5}, "gpt2: expected D = H K and G = H"),
    "odd": ({"form": "llama", "K": 5}, "llama: expected an even K and no dropout"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sizes_are_told(name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        replace(FORMS["gpt2"], **changes)


def test_bad_ids_are_told():
    model = built(FORMS["llama"])
    for ids, target, message in (
        (IDS[0], None, "ids: expected axes B T"),
        (
            torch.zeros(1, 33, dtype=torch.long),
            None,
            "axis T: expected at most the 32 positions",
        ),
        (IDS, TARGET[:1], "target: expected the shape of ids"),
    ):
        with pytest.raises(ValueError, match=message):
            model(ids, target)
