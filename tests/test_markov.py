"""N-gram models against nltk, on real text, and as a user meets them."""

import math

import pytest
import torch

from reference import markov_jelinek_mercer, markov_kneser_ney
from reference.corpus import embedded
from reference.markov import (
    conditional,
    count,
    encode,
    estimated_discounts,
    interpolation_weights,
    jelinek_mercer,
    kneser_ney,
    probabilities,
)
from reference.markov_smoothing import distribution, sample, text_log_likelihood

lm = pytest.importorskip("nltk.lm")
TRAIN, HELD_OUT = embedded()
IDS, ALPHABET = encode(TRAIN + HELD_OUT)
HERE, THERE = IDS[: len(TRAIN)].long(), IDS[len(TRAIN) :].long()
V = len(ALPHABET)


def numbers(*x):
    return torch.tensor(x, dtype=torch.float64)


def closed(ids, order):
    """The text followed by its beginning: every n-gram then has a symbol before it."""
    return torch.cat([ids, ids[:order]])


def coded(rows, size):
    """Rows of symbols as numbers."""
    return rows @ size ** torch.arange(rows.shape[1])


def fitted(model, text, order):
    """An nltk model of the n-grams of a text up to order + 1 symbols."""
    everygrams = pytest.importorskip("nltk.util").everygrams
    model.fit([list(everygrams(text, max_len=order + 1))], sorted(set(text)))
    return model


def scores(model, contexts, alphabet):
    return numbers(*([model.score(w, [alphabet[i] for i in h]) for w in alphabet] for h in contexts.tolist()))


# ---- the same as nltk


@pytest.mark.parametrize("order", [1, 2, 3])
def test_frequencies_and_laplace_are_nltks(order):
    text = TRAIN[:1500]
    ids, alphabet = encode(text)
    contexts = ids.unfold(0, order, 1)[:30]
    theirs = scores(fitted(lm.MLE(order + 1), text, order), contexts, alphabet)
    torch.testing.assert_close(probabilities(ids, contexts, len(alphabet)), theirs)
    for gamma, model in ((1.0, lm.Laplace(order + 1)), (0.3, lm.Lidstone(0.3, order + 1))):
        theirs = scores(fitted(model, text, order), contexts, alphabet)
        ours = probabilities(ids, contexts, len(alphabet) + 1, gamma)  # nltk counts <UNK> as a symbol
        torch.testing.assert_close(ours[:, :-1], theirs)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("discount", [0.1, 0.75, 1.0])
def test_kneser_ney_is_nltks(order, discount):
    """nltk ends at raw counts of predecessors, so that the empty context has no discount."""
    text = "the cat sat on the mat and the rat sat on the cat; so that they sat"
    ids, alphabet = encode(text)
    theirs = fitted(lm.KneserNeyInterpolated(order + 1, discount=discount), text, order)
    contexts = torch.cat([ids[:-1].unfold(0, order, 1).unique(dim=0), ids[:order].flip(0)[None]])
    ours = kneser_ney(ids, contexts, len(alphabet), numbers(0, *[discount] * order))
    torch.testing.assert_close(ours, scores(theirs, contexts, alphabet), rtol=1e-14, atol=1e-15)


def test_where_nltk_differs():
    """Its λ counts all symbols that follow, also one without a count of its own: scores add up to more than one."""
    ids, alphabet = encode("abcacac")  # b follows a at the very beginning only: nothing precedes a b
    theirs = fitted(lm.KneserNeyInterpolated(3, discount=0.5), "abcacac", 2)
    context = torch.tensor([[alphabet.index("c"), alphabet.index("a")]])
    assert scores(theirs, context, alphabet).sum() > 1.1
    torch.testing.assert_close(kneser_ney(ids, context, 3, numbers(0, 0.5, 0.5)).sum(1), numbers(1))


def test_a_symbol_that_nltk_finds_impossible():
    """Over the uniform base a symbol that never came has a probability; over the raw one, nltk's, it has none."""
    ids = encode("abracadabra")[0]
    assert kneser_ney(ids, ids[:1, None], 6, numbers(0, 0.5))[0, 5] == 0
    assert kneser_ney(ids, ids[:1, None], 6)[0, 5] > 0


# ---- marginals of models of real text, at the levels for which they are proved


PART, LETTERS = encode(TRAIN[:40_000])


def said(ids, order, discounts, left_out):
    """Σ c(v h) P(w | v h) over v, the first `left_out` symbols of the context, beside Σ c(v h w); rows by h's code."""
    size, kept = len(LETTERS), order - left_out
    seen = count(ids, order, size)
    contexts, row = seen.ngrams[:, :order].unique(dim=0, return_inverse=True)
    often = torch.zeros(len(contexts)).double().index_add(0, row, seen.counts.double())
    table = often[:, None] * distribution(markov_kneser_ney.model(ids, order, size, discounts), contexts)
    ours, theirs = torch.zeros(2, size**kept, size, dtype=torch.float64)
    ours.index_add_(0, coded(contexts[:, left_out:], size), table)
    where = (coded(seen.ngrams[:, left_out:order], size), seen.ngrams[:, -1])
    return ours, theirs.index_put(where, seen.counts.double(), accumulate=True)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("base", [0.0, 0.5])
def test_symbols_are_said_as_often_as_they_are_written(order, base):
    """At any order: over raw counts of predecessors, and also over discounted ones, as every symbol was seen."""
    ids = closed(PART, order)
    discounts = torch.cat([numbers(base), estimated_discounts(ids, order, len(LETTERS))[1:]])
    ours, theirs = said(ids, order, discounts, left_out=order)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-8)


def test_pairs_are_said_as_often_as_written_over_an_undiscounted_level_only():
    ids, size = closed(PART, 2), len(LETTERS)
    torch.testing.assert_close(*said(ids, 2, numbers(0, 0, 0.5), left_out=1), rtol=1e-12, atol=1e-8)
    D, E = 0.5, 0.6
    ours, theirs = said(ids, 2, numbers(0, E, D), left_out=1)
    pairs = ids.unfold(0, 2, 1).unique(dim=0)
    u = torch.zeros(size, size, dtype=torch.float64).index_put((pairs[:, 0], pairs[:, 1]), numbers(1))
    r = torch.bincount(pairs[:, 1], minlength=size).double() / len(pairs)
    predicted = D * E * (u.sum(1, keepdim=True) * r - u)
    torch.testing.assert_close(ours - theirs, predicted, rtol=1e-9, atol=1e-9)
    assert predicted.abs().max() > 0.1


# ---- one model, two ways to ask it


@pytest.mark.parametrize("make", [
    lambda ids: markov_kneser_ney.model(ids, 4, V),
    lambda ids: markov_jelinek_mercer.model(ids, 4, V, numbers(0.9, 0.8, 0.7, 0.6, 0.5)),
], ids=["kneser-ney", "jelinek-mercer"])  # fmt: skip
def test_a_text_is_scored_by_the_distributions(make):
    model, text = make(HERE), THERE[:500]
    table = distribution(model, text[:-1].unfold(0, 4, 1))
    torch.testing.assert_close(table.sum(1), torch.ones(len(table)).double())
    torch.testing.assert_close(text_log_likelihood(model, text), table.gather(1, text[4:, None])[:, 0].log())


def test_of_a_context_the_last_symbols_are_read_and_a_short_one_whole():
    model, contexts = markov_kneser_ney.model(HERE, 2, V), HERE[:300].unfold(0, 5, 1)
    assert torch.equal(distribution(model, contexts), distribution(model, contexts[:, -2:]))
    mixture = markov_jelinek_mercer.model(HERE, 2, V, numbers(0.5, 0.25, 0.75))
    shorter = jelinek_mercer(HERE, contexts[:, -1:], V, numbers(0.5, 0.25))
    torch.testing.assert_close(distribution(mixture, contexts[:, -1:]), shorter)


def test_all_weight_on_one_order_is_its_frequency():
    contexts = HERE[:200].unfold(0, 3, 1)
    mixed = jelinek_mercer(HERE, contexts, V, numbers(0, 0, 0, 1))
    torch.testing.assert_close(mixed, conditional(count(HERE, 3, V), contexts))


def test_order_eight_is_stored_sparsely_and_predicts():
    model = markov_kneser_ney.model(HERE, 8, V)
    assert all(len(keys) <= len(HERE) for keys in model.keys), "more n-grams than places where they could be"
    bits = -text_log_likelihood(model, THERE).mean() / math.log(2)
    assert 1.9 < bits < 2.05


def test_numbers_of_n_grams_do_not_overflow():
    """With 2³¹ symbols three of them are more than 63 bits: they are numbered anew."""
    ids = torch.randint(5, (200,), generator=torch.Generator().manual_seed(0))
    spread = torch.tensor([0, 7, 2**20, 2**30, 2**31 - 1])
    few, many = count(ids, 4, 5), count(spread[ids], 4, 2**31)
    assert torch.equal(spread[few.ngrams], many.ngrams) and torch.equal(few.counts, many.counts)


def test_weights_of_a_text_that_repeats_itself():
    """What always follows is left to contexts; where nothing can be foreseen, they are not asked."""
    repeated = torch.arange(5).repeat(40)
    assert interpolation_weights(repeated, 2, 5)[1:].max() > 0.999
    noise = torch.randint(5, (4000,), generator=torch.Generator().manual_seed(0))
    assert interpolation_weights(noise, 3, 5)[-1] < 0.2


def test_a_sample_goes_on_from_its_start_and_repeats_with_its_seed():
    model = markov_kneser_ney.model(torch.arange(5).repeat(40), 2, 5, numbers(0, 0, 0))
    text = sample(model, torch.tensor([1, 2]), 7, torch.Generator().manual_seed(0))
    assert text.tolist() == [3, 4, 0, 1, 2, 3, 4]
    model = markov_kneser_ney.model(HERE, 3, V)
    one, two = (sample(model, HERE[:0], 40, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two) and len(one) == 40


# ---- bad input

T, D = torch.tensor([0, 1, 2, 0, 1]), numbers(0.5, 0.5)
BAD = {
    "a discount above one": (lambda: kneser_ney(T, T[:1, None], 3, 3 * D), "discounts: expected numbers from 0 to 1"),
    "a discount too few": (lambda: kneser_ney(T, T[:1, None], 3, D[:1]), "axis J: expected one size, 2, received 1"),
    "discounts that are integers": (lambda: kneser_ney(T, T[:1, None], 3, T[:2]), "discounts: expected a floating"),
    "a negative weight": (lambda: jelinek_mercer(T, T[:1, None], 3, -D), "weights: expected numbers from 0 to 1"),
    "a text too short": (lambda: kneser_ney(T[:1], T[:1, None], 3, D), "ids: expected at least 2 symbols for order 1"),
    "contexts in a row": (lambda: kneser_ney(T, T, 3, D), "contexts: expected axes B k"),
    "a symbol too many": (lambda: kneser_ney(T, T[:1, None], 2, D), "ids: expected entries from 0 to 1, received"),
    "a context outside": (lambda: kneser_ney(T, T[:1, None] + 3, 3, D), "contexts: expected entries from 0 to 2"),
    "nothing deleted": (lambda: interpolation_weights(T, 1, 3, deleted=0.0), "2 symbols to count and 2 deleted"),
    "more than all deleted": (lambda: interpolation_weights(T, 0, 3, deleted=1.5), "deleted: expected a number from"),
    "a negative length": (
        lambda: sample(markov_kneser_ney.model(T, 1, 3), T[:1], -1, torch.Generator()),
        "length: expected an integer ≥ 0",
    ),
    "a text to judge too short": (
        lambda: text_log_likelihood(markov_kneser_ney.model(T, 1, 3), T[:1]),
        "text: expected at least 2 symbols for order 1, received 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    call, message = BAD[name]
    with pytest.raises(ValueError) as raised:
        call()
    assert message in str(raised.value)


def test_nan_is_passed_on():
    assert kneser_ney(T, T[:1, None], 3, numbers(0.5, math.nan)).isnan().all()
    assert jelinek_mercer(T, T[:1, None], 3, numbers(math.nan, 0.5)).isnan().all()
