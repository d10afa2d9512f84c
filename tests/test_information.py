"""Information outside the laws: gradients, bad input, a text coded and read again, and the cones of Huffman's proof."""

import random
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from derivations.information_huffman import courses, half, profiles
from reference.corpus import embedded
from reference.information import (
    bits_per_character,
    codewords,
    cross_entropy,
    entropy,
    huffman,
    js_divergence,
    kl_divergence,
    kraft_sum,
    mean_length,
    mutual_information,
    perplexity,
    shannon_lengths,
    surprisal,
)
from reference.markov import encode
from verify.check import check
from verify.compare import close

F = torch.float64
P = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.125, 0.125, 0.25, 0.5]], dtype=F)
Q = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.125, 0.125]], dtype=F)
NATS, SYMBOLS = torch.tensor([3.0, 1.0], dtype=F), torch.tensor([2, 5])


def slope(f, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


def test_gradients_are_those_of_the_formulas_and_zero_where_a_symbol_is_impossible():
    seen = P > 0
    close(slope(entropy, P), torch.where(seen, -P.clamp(min=1e-300).log() - 1, 0))
    close(slope(lambda q: cross_entropy(P, q), Q), -P / Q)
    close(slope(lambda q: kl_divergence(P, q), Q), -P / Q)
    close(slope(lambda p: kl_divergence(p, Q), P), torch.where(seen, (P / Q).clamp(min=1e-300).log() + 1, 0))
    mixture = (P + Q) / 2
    close(slope(lambda q: js_divergence(P, q), Q), (Q / mixture).log() / 2)
    close(slope(surprisal, Q), -1 / Q)


def test_a_softmax_with_an_impossible_symbol_has_a_finite_slope():
    z = torch.tensor([0.0, 1.0, -torch.inf], dtype=F)
    assert slope(lambda z: entropy(z.softmax(-1)), z).isfinite().all()
    assert slope(lambda z: kl_divergence(z.softmax(-1), torch.tensor([0.5, 0.5, 0.0], dtype=F)), z).isfinite().all()


def test_second_derivatives():
    p = Q.flatten()
    hessian = torch.autograd.functional.hessian(lambda p: entropy(p), p)
    close(hessian, torch.diag(-1 / p))


def read(bits, words):
    """The symbols of a string of bits; `words` maps a word to its symbol."""
    found, word = [], ""
    for bit in bits:
        word += bit
        if word in words:
            found.append(words[word])
            word = ""
    assert not word
    return found


@pytest.mark.parametrize("lengths_of", [huffman, shannon_lengths])
def test_a_text_is_coded_and_read_again(lengths_of):
    ids, _ = encode(embedded()[1][:20_000])
    counts = torch.bincount(ids)
    lengths = lengths_of(counts)
    words = [f"{word:0{l}b}" for word, l in zip(codewords(lengths).tolist(), lengths.tolist(), strict=True)]
    bits = "".join(words[i] for i in ids.tolist())
    close(mean_length(counts, lengths) * len(ids), float(len(bits)))
    assert read(bits, {word: i for i, word in enumerate(words)}) == ids.tolist()
    p = counts.double() / len(ids)
    assert entropy(p, 2.0) <= mean_length(counts, lengths) < entropy(p, 2.0) + 1


def all_lengths(size):
    """All lengths below `size` that a prefix code can have, in any order."""
    return [l for l in product(range(size), repeat=size) if sum(2.0**-x for x in l) <= 1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_no_code_is_better_than_huffmans(size):
    rng, codes = random.Random(size), all_lengths(size)
    assert profiles(size) == {tuple(sorted(l)) for l in codes if sum(2.0**-x for x in l) == 1}, "full trees are missing"
    for _ in range(60):
        counts = [rng.randint(1, rng.choice([2, 5, 50])) for _ in range(size)]
        least = min(sum(c * x for c, x in zip(counts, l, strict=True)) for l in codes)
        lengths = huffman(torch.tensor(counts))
        assert int((torch.tensor(counts) * lengths).sum()) == least
        assert tuple(sorted(lengths.tolist())) in profiles(size)


def test_the_bounds_of_the_mean_length_are_reached():
    """Powers of two cost their entropy, by both codes; a symbol that is almost certain costs a whole bit."""
    halves = torch.tensor([8, 4, 2, 1, 1])
    for lengths in (huffman(halves), shannon_lengths(halves)):
        close(mean_length(halves, lengths), entropy(halves.double() / 16, 2.0))
    rare = torch.tensor([10**6, 1])
    assert mean_length(rare, huffman(rare)) - entropy(rare.double() / rare.sum(), 2.0) > 0.9999


def within(cone, point):
    """Is the point a sum of the rays with coefficients that are not negative?"""
    _, distance = nnls(np.array(cone, dtype=float).T, np.array(point, dtype=float))
    return distance < 1e-9 * max(map(abs, point))


def test_half_a_cone_is_all_of_it_that_is_not_negative():
    rng = random.Random(0)
    for _ in range(100):
        rays = [tuple(rng.randint(0, 4) for _ in range(3)) for _ in range(rng.randint(1, 6))]
        rays = [ray for ray in rays if any(ray)] or [(1, 0, 0)]
        form = [rng.randint(-3, 3) for _ in range(3)]
        upper, lower = half(rays, form), half(rays, [-x for x in form])
        assert all(sum(x * y for x, y in zip(form, ray, strict=True)) >= 0 and within(rays, ray) for ray in upper)
        for _ in range(20):
            share = [rng.random() for _ in rays]
            point = [sum(c * ray[k] for c, ray in zip(share, rays, strict=True)) for k in range(3)]
            side = upper if sum(x * y for x, y in zip(form, point, strict=True)) >= 0 else lower
            assert side and within(side, point)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_the_courses_cover_all_weights_and_end_as_the_procedure_does(size):
    falling = [tuple(int(k <= last) for k in range(size)) for last in range(size)]
    found = list(courses([{leaf: 0} for leaf in range(size)], falling, size))
    rng = random.Random(size)
    for _ in range(40):
        weights = sorted((rng.randint(1, rng.choice([3, 9, 1000])) for _ in range(size)), reverse=True)
        cost = int((torch.tensor(weights) * huffman(torch.tensor(weights))).sum())
        costs = {
            sum(w * d for w, d in zip(weights, depths, strict=True)) for depths, rays in found if within(rays, weights)
        }
        assert costs == {cost}


BAD = {
    "whole numbers": (lambda: entropy(torch.tensor([1, 0])), "p: expected a floating-point tensor"),
    "no mass": (lambda: entropy(torch.zeros(2, 3)), "p: expected a distribution in every row, received zeros only"),
    "no model": (lambda: kl_divergence(P, torch.zeros(2, 4)), "q: expected a distribution"),
    "another shape": (lambda: cross_entropy(P, Q[0]), "q: expected the shape of p"),
    "base one": (lambda: entropy(P, 1.0), "base: expected a number above 1"),
    "base not a number": (lambda: surprisal(P, float("nan")), "base: expected a number above 1"),
    "not a table": (lambda: mutual_information(P[0]), "joint: expected 2 axes or more"),
    "half a symbol": (lambda: perplexity(NATS, NATS), "symbols: expected an integer tensor, received torch.float64"),
    "empty text": (lambda: perplexity(NATS, torch.tensor([2, 0])), "symbols: expected positive integers, received 0"),
    "other texts": (lambda: bits_per_character(NATS, SYMBOLS[:1]), "characters: expected integers of shape"),
    "never seen": (lambda: huffman(torch.tensor([2, 0])), "counts: expected positive integers"),
    "probabilities for counts": (lambda: shannon_lengths(P), "counts: expected an integer tensor"),
    "too many": (lambda: shannon_lengths(torch.tensor([2**31, 1])), "counts: expected a sum below"),
    "two alphabets": (lambda: huffman(torch.ones(2, 2).long()), "counts: expected axes V"),
    "no symbol": (lambda: huffman(torch.empty(0).long()), "counts: expected at least one, on an axis"),
    "true for one": (lambda: huffman(torch.ones(2, dtype=torch.bool)), "counts: expected an integer tensor"),
    "a list": (lambda: mean_length(SYMBOLS, [1, 2]), "lengths: expected a tensor, received list"),
    "one count": (lambda: shannon_lengths(torch.tensor(3)), "counts: expected at least one, on an axis, received"),
    "base in words": (lambda: entropy(P, "two"), "base: expected a number, received 'two'"),
    "negative length": (lambda: kraft_sum(torch.tensor([1, -1])), "lengths: expected entries from 0 to 62"),
    "length of half a bit": (lambda: kraft_sum(torch.tensor([0.5])), "lengths: expected an integer tensor"),
    "no length": (lambda: codewords(torch.empty(0).long()), "lengths: expected at least one"),
    "no room": (lambda: codewords(torch.tensor([1, 1, 2])), "lengths: expected a Kraft sum of at most one"),
    "other lengths": (lambda: mean_length(SYMBOLS, torch.tensor([1])), "lengths: expected the shape of counts"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and "expected" in str(caught.value) and "received" in str(caught.value)


def test_nan_is_never_turned_into_a_number():
    for place in range(4):
        broken = P.clone()
        broken[0, place] = torch.nan
        for f in (entropy, lambda p: kl_divergence(p, Q), lambda q: kl_divergence(P, q), lambda q: js_divergence(P, q)):
            assert f(broken)[0].isnan() and not f(broken)[1].isnan()
        assert mutual_information(broken).isnan() and surprisal(broken)[0, place].isnan()
    assert perplexity(NATS * torch.nan, SYMBOLS).isnan() and bits_per_character(NATS * torch.nan, SYMBOLS).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_keeps_its_dtype(dtype):
    for f in (entropy, lambda p: cross_entropy(p, p), lambda p: js_divergence(p, p), mutual_information):
        assert f(P.to(dtype)).dtype == dtype
    assert perplexity(NATS.to(dtype), SYMBOLS).dtype == bits_per_character(NATS.to(dtype), SYMBOLS).dtype == dtype


def test_lengths_are_exact_where_logarithms_would_round():
    for power in range(1, 31):
        assert shannon_lengths(torch.tensor([1, 2**power - 1])).tolist() == [power, 1]
    big = 3 * 7**9
    assert shannon_lengths(torch.tensor([big, 7 * big])).tolist() == [3, 1]


def test_a_counterexample_is_simplified_only_to_what_the_definition_accepts(tmp_path):
    """A text without symbols has no perplexity: zeros are no counterexample."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import torch\n\n\ndef perplexity(nats, symbols):\n    return torch.exp((nats / symbols).mean(-1))\n"
    )
    report = check(f"{mine}:perplexity", "information.perplexity", "float32")
    assert report.verdict == "refuted" and "0" not in report.counterexample["symbols"].strip("[]").split(",")
    assert any("ppl-batch-macro-average" in line for line in report.diagnosis)
