"""What a candidate is tried on: small inputs first, then every size asked for, of the same kind of entries."""

import inspect

import pytest
import torch

from verify.cases import Usage, cases, gathered, spread
from verify.check import find
from verify.grow import letters, resized, sizes
from verify.signature import framework_of


def tried(name, count=10, **options):
    operation, reference = find(name)
    return cases(operation, list(inspect.signature(reference).parameters), reference, torch.float32, count, **options)


def test_small_inputs_come_first_and_then_sizes_that_no_tile_divides():
    shapes = [(inputs["q"].shape[-2], inputs["k"].shape[-2]) for inputs in tried("attention.attention")]
    assert max(shapes[0]) <= 5 and (5, 259) in shapes[-2:]
    assert {(1, 67), (9, 9), (70, 131)} <= set(shapes), "decoding, a square, and several tiles of 32 or 64"


def test_axes_are_known_by_the_letters_of_the_annotations():
    _, reference = find("attention.attention")
    axes = letters(reference)
    assert axes["q"][-2:] == ["T", "K"] and axes["k"][-2:] == ["S", "K"]
    inputs = {"q": torch.zeros(1, 2, 3, 5), "k": torch.zeros(1, 2, 4, 5), "causal": True}
    assert sizes(inputs, axes) == {"B": 1, "H": 2, "T": 3, "S": 4, "K": 5}


def test_a_grown_tensor_holds_what_the_drawn_one_holds():
    _, reference = find("normalization.rms_norm")
    drawn = {"x": torch.tensor([[0.25, -1.0, 3.0]])}
    axes = letters(reference)
    (letter,) = (name for name in axes["x"] if not name.startswith("*"))
    dense, sparse = (resized(drawn, axes, {letter: 40}, 0, sparse)["x"] for sparse in (False, True))
    assert dense.shape == sparse.shape == (1, 40)
    assert set(dense.flatten().tolist()) == {0.25, -1.0, 3.0}
    assert 0 < (sparse != 0).sum() <= 6 and set(sparse.flatten().tolist()) <= {0.0, 0.25, -1.0, 3.0}


def test_grown_logits_are_no_equals_and_the_largest_may_come_last():
    _, reference = find("softmax.softmax")
    z = resized({"z": torch.tensor([[0.0, -torch.inf, 3.0]])}, letters(reference), {"V": 40}, 0, True)["z"]
    finite = z[z > -torch.inf]
    assert 0 < len(finite) < 40 and finite.min() >= 0 and 2.25 <= finite.max() <= 3.0
    assert len(finite.unique()) == len(finite) and z[0, -1] == finite.max()


def test_weights_over_a_wider_stream_become_smaller_and_sums_of_magnitudes_do_not():
    """By a power of two, so that numbers on a grid stay on one; the stream itself stays."""
    axes = {"x": ["B", "T", "D"], "q": ["H", "K", "D"], "out": ["D", "H", "K"]}
    draw = torch.Generator().manual_seed(0)
    drawn = {n: torch.randint(1, 9, (2, 3, 4), generator=draw).double() for n in axes}
    grown = resized(drawn, axes, {"D": 1024}, 0, sparse=False)
    assert set(grown["q"].unique().tolist()) == {x / 256 for x in set(drawn["q"].unique().tolist())}
    assert grown["x"].max() == drawn["x"].max() and grown["out"].max() == drawn["out"].max()
    assert resized(drawn, axes, {"D": 1024}, 0, sparse=True)["q"].max() == drawn["q"].max(), "a sparse sum stays short"


def test_grown_targets_are_of_the_larger_vocabulary_and_what_is_ignored_stays_so():
    _, reference = find("loss.cross_entropy")
    drawn = {"z": torch.zeros(3, 2), "target": torch.tensor([0, 1, -100])}
    target = resized(drawn, letters(reference), {"N": 200, "V": 67}, 0, False)["target"]
    assert target.max() > 60 and set(target[target < 0].tolist()) == {-100}


@pytest.mark.parametrize("given", [{"K": [64, 128]}, {"T": [7], "S": [7, 16]}])
def test_only_the_sizes_asked_for_are_tried(given):
    _, reference = find("attention.attention")
    for inputs in tried("attention.attention", given=given):
        known = sizes(inputs, letters(reference))
        assert all(known[letter] in lengths for letter, lengths in given.items())


def test_a_letter_that_no_argument_has_is_told():
    with pytest.raises(Usage, match=r"--sizes: softmax.softmax has no input of the sizes"):
        tried("softmax.softmax", given={"Q": [3]})


def test_lists_are_sent_entry_by_entry():
    whole = {"gradients": [torch.ones(2), torch.zeros(3)], "max_norm": 1.0}
    flat = spread(whole)
    assert list(flat) == ["gradients[0]", "gradients[1]", "max_norm"]
    assert gathered(flat) == whole


def test_a_function_that_speaks_of_jax_alone_gets_arrays_of_jax():
    import jax.numpy as jnp

    def helper(x):
        return jnp.exp(x)

    def of_torch(x):
        return torch.exp(x)

    space = {"jnp": jnp, "torch": torch, "__name__": "theirs"}
    exec(
        "def log(x): return jnp.log(x)\ndef of_jax(x): return log(x)\ndef of_both(x): return torch.exp(jnp.log(x))",
        space,
    )
    assert framework_of(space["of_jax"]) == "jax"
    assert framework_of(space["of_both"]) == framework_of(of_torch) == "torch"
    assert framework_of(lambda x: x.softmax(-1)) == "torch", "it speaks of neither, and torch is loaded"
