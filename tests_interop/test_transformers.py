"""Tiny random models of every family, as transformers saves and computes them: our decoder gives the same numbers.

With its float32 casts widened the agreement is 1e-12; against its own code, at most what these casts leave (1e-5).
"""

import json

import pytest
import torch

from reference.checkpoint import FAMILIES, load
from reference.generate import continued
from reference.model import Cache, logits, loss
from reference.names import published
from tests.tiny_checkpoint import GOLDEN
from tests_interop.golden import computed
from tests_interop.widened import CASES, random_model, wide

CLOSE = 1e-12


def distance(ours, theirs):
    """The largest difference, relative to the largest entry."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-300)).item()


CASTS = 1e-6
"""What the casts to float32 leave: the largest difference was 5e-7 (Gemma), the least 4e-16 (GPT-2, which has none)."""


def batch(T=11, pad=4, left=True, V=97):
    """Two texts, the second one shorter, and which tokens are text."""
    torch.manual_seed(1)
    ids, mask = torch.randint(3, V, (2, T)), torch.ones(2, T, dtype=torch.bool)
    mask[1, :pad] = False
    mask = mask if left else mask.flip(1)
    return torch.where(mask, ids, 0), mask


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "_"))
def both(request, tmp_path_factory):
    """Their model and ours, loaded from what they saved."""
    kind, given = CASES[request.param]
    folder = tmp_path_factory.mktemp("checkpoint")
    with wide(kind):
        model = random_model(kind, given)
        model.save_pretrained(folder, max_shard_size="20KB")
        yield model, load(folder, torch.float64)


def test_logits_agree(both):
    theirs, ours = both
    ids, _ = batch()
    with torch.no_grad():
        assert distance(logits(*ours, ids), theirs(ids).logits) < CLOSE


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_padded_batches_agree(both, left):
    theirs, ours = both
    ids, mask = batch(left=left)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask.long(), position_ids=positions).logits
        assert distance(logits(*ours, ids, mask)[mask], expected[mask]) < CLOSE


def test_loss_and_gradients_agree(both):
    theirs, ours = both
    ids, mask = batch(left=False)
    theirs.zero_grad()
    labels = torch.where(mask, ids, -100)
    value = theirs(ids, attention_mask=mask.long(), labels=labels).loss
    value.backward()
    weights = {name: weight.clone().requires_grad_() for name, weight in ours.weights.items()}
    mine = loss(weights, ours.architecture, ids, mask)
    mine.backward()
    assert abs(mine.item() - value.item()) < CLOSE * abs(value.item())
    names = FAMILIES[ours.architecture.family].names
    found = published({name: weight.grad for name, weight in weights.items()}, ours.architecture, names)
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert distance(found[name], gradient) < CLOSE, name


def test_greedy_tokens_agree(both):
    theirs, ours = both
    ids, mask = batch()
    expected = theirs.generate(
        ids, attention_mask=mask.long(), max_new_tokens=16, min_new_tokens=16, do_sample=False, use_cache=True,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    assert continued(*ours, ids, 16, mask).tolist() == expected[:, ids.shape[1] :].tolist()


def test_a_cache_changes_nothing(both):
    """Unless old keys were turned by other frequencies."""
    _, ours = both
    dynamic = any(layer.rotation and layer.rotation.kind == "dynamic" for layer in ours.architecture.layers)
    ids, mask = batch()
    cache = Cache()
    parts = [logits(*ours, ids[:, a:b], mask[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 11))]
    assert (distance(torch.cat(parts, 1)[mask], logits(*ours, ids, mask)[mask]) < CLOSE) == (not dynamic)


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "_"))
def test_their_own_code_agrees_as_far_as_its_casts_let_it(name, tmp_path):
    theirs = random_model(*CASES[name])
    theirs.save_pretrained(tmp_path)
    ids, _ = batch()
    with torch.no_grad():
        reached = distance(logits(*load(tmp_path, torch.float64), ids), theirs(ids).logits)
    assert reached < CASTS


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "_"))
def test_golden_numbers_are_what_transformers_computes(name, tmp_path):
    found, known = computed(*CASES[name], tmp_path), json.loads(GOLDEN.read_text())[name]
    assert (found["tensors"], found["greedy"]) == (known["tensors"], known["greedy"])
    for key in ("logits", "loss", "gradient"):
        assert found[key] == pytest.approx(known[key], rel=1e-11, abs=1e-12)
