"""Laws of the smoothed n-gram models, Jelinek–Mercer and Kneser–Ney, and of the weights that EM finds."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from reference.markov import jelinek_mercer as reference_mixture
from verify.compare import GAP, close
from verify.inputs import integers, tensor
from verify.suite import Operation

SHORT = torch.tensor([0, 1, 0, 2, 0, 1])  # the pair 0 1 twice, 1 0, 0 2 and 2 0 once
PAIRS = torch.tensor([0, 1, 2, 0, 1, 2, 1, 0, 2])  # before every symbol there were two others; 0 1 2 comes twice


def numbers(*x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


@st.composite
def corpus(draw, name: str, *, estimated: bool):
    """A short text, contexts that it may lack, and a number from 0 to 1 for each length of context (or none given)."""
    order = draw(st.sampled_from([1, 2, 0]))
    N, B, vocabulary = draw(st.sampled_from([(9, 2, 3), (14, 5, 4)]))
    given = draw(tensor(order + 1, low=0, high=4))
    return {
        "ids": draw(integers(N, below=vocabulary)),
        "contexts": draw(integers(B, order, below=vocabulary)),
        "vocabulary": vocabulary,
        name: None if estimated and draw(st.sampled_from([False, False, True])) else given,
    }


@st.composite
def divided(draw):
    """A text of which a part is not counted, and a few steps of EM."""
    order, (N, vocabulary) = draw(st.sampled_from([0, 1, 2])), draw(st.sampled_from([(13, 3), (22, 4)]))
    return {
        "ids": draw(integers(N, below=vocabulary)),
        "order": order,
        "vocabulary": vocabulary,
        "deleted": draw(st.sampled_from([0.5, 0.3])),
        "steps": draw(st.sampled_from([1, 4, 2])),
    }


# ---- Kneser–Ney


def rows_are_distributions(model, ids, contexts, vocabulary, **given):
    """Every context, seen or not, has a distribution."""
    row = model(ids, contexts, vocabulary, **given)
    assert row.shape == (len(contexts), vocabulary), f"shape {tuple(row.shape)}"
    assert (row >= 0).all(), "a probability is negative, or none at all"
    close(row.sum(-1), torch.ones(len(contexts)))


def names_do_not_matter(model, ids, contexts, vocabulary, **given):
    """Renaming the symbols renames contexts and columns."""
    last = vocabulary - 1
    renamed = model(last - ids, last - contexts, vocabulary, **given)
    close(renamed.flip(-1), model(ids, contexts, vocabulary, **given))


def last_symbol_was_followed_by_nothing(model, ids, contexts, vocabulary, **given):
    """After a symbol that only ends the text, the model knows as much as after one that never came."""
    ended, half = torch.cat([ids, torch.tensor([vocabulary])]), {name: numbers(0.5, 0.5) for name in given}
    last, never = model(ended, torch.tensor([[vocabulary], [vocabulary + 1]]), vocabulary + 2, **half)
    close(last, never)


def pairs_by_hand(kneser_ney, ids, contexts, vocabulary, discounts):
    """After 0 came 1 twice and 2 once; 0 is preceded by two symbols, 1 and 2 by one: (1.5 + 0.5·2/4)/3 for 1."""
    row = kneser_ney(SHORT, torch.tensor([[0]]), 3, discounts=numbers(0, 0.5))
    close(row, numbers(2 / 12, 7 / 12, 3 / 12)[None])


def triples_by_hand(kneser_ney, ids, contexts, vocabulary, discounts):
    """After 0 1 came 2, twice; 1 2 and 1 0 are preceded by one symbol each, 0, 1 and 2 by two."""
    row = kneser_ney(PAIRS, torch.tensor([[0, 1]]), 3, discounts=numbers(0, 0.5, 0.5))
    after_one = numbers(0.5 / 2 + 1 / 6, 1 / 6, 0.5 / 2 + 1 / 6)
    close(row, (numbers(0, 0, 1.5 / 2) + 0.25 * after_one)[None])


def estimate_by_hand(kneser_ney, ids, contexts, vocabulary, discounts):
    """Three pairs come once and one twice: 3/5. Two symbols are preceded by one, and one by two: 2/4."""
    every = torch.arange(3)[:, None]
    close(kneser_ney(SHORT, every, 3), kneser_ney(SHORT, every, 3, discounts=numbers(0.5, 0.6)))


def nothing_once_or_twice_nothing_taken(kneser_ney, ids, contexts, vocabulary, discounts):
    """Where 0 follows 0, five times, no pair comes once or twice: nothing is taken from it, and 1 gets nothing."""
    close(kneser_ney(torch.zeros(6, dtype=torch.int64), torch.tensor([[0]]), 2), numbers(1, 0)[None])


def marginals_are_the_texts(kneser_ney, ids, contexts, vocabulary, discounts):
    """Over a raw base, Σ c(h) P(w|h) is how often w came after something, whatever the discount."""
    every = torch.arange(vocabulary)[:, None]
    often = torch.bincount(ids[:-1], minlength=vocabulary).double()
    for discount in (0.25, 1.0):
        said = often @ kneser_ney(ids, every, vocabulary, discounts=numbers(0, discount))
        close(said, torch.bincount(ids[1:], minlength=vocabulary).double())


def unseen_context_asks_who_precedes(kneser_ney, ids, contexts, vocabulary, discounts):
    """After a symbol that never came, and over a raw base, w has its share of the different pairs."""
    seen = ids.unfold(0, 2, 1).unique(dim=0)[:, 1]
    share = torch.bincount(seen, minlength=vocabulary + 1).double() / len(seen)
    close(kneser_ney(ids, torch.tensor([[vocabulary]]), vocabulary + 1, discounts=numbers(0, 0.5)), share[None])


def first_symbol_follows_nothing(kneser_ney, ids, contexts, vocabulary, discounts):
    """A symbol that only begins the text is as unlikely as one that never came, and the sum stays one."""
    text = torch.cat([torch.tensor([vocabulary]), ids])
    row = kneser_ney(text, ids[:1, None], vocabulary + 2, discounts=numbers(0.5, 0.5))
    close(row[:, vocabulary], row[:, vocabulary + 1])
    close(row.sum(-1), numbers(1))


def undiscounted_is_the_frequency(kneser_ney, ids, contexts, vocabulary, discounts):
    """Without discounts a context that came has the frequencies of what followed it."""
    begun, followed = ids[:-1], ids[1:]
    after = torch.bincount(followed[begun == begun[0]], minlength=vocabulary).double()
    close(kneser_ney(ids, begun[:1, None], vocabulary, discounts=numbers(0, 0)), (after / after.sum())[None])


# ---- Jelinek–Mercer


def mixed_by_hand(jelinek_mercer, ids, contexts, vocabulary, weights):
    """0 1 0 2 0 1: after 0, ½ of (0, 2, 1)/3 and ½ of the rest, which is ¼ of (3, 2, 1)/6 and ¾ of 1/3."""
    row = jelinek_mercer(SHORT, torch.tensor([[0]]), 3, weights=numbers(0.25, 0.5))
    rest = 0.25 * numbers(3, 2, 1) / 6 + 0.75 / 3
    close(row, (0.5 * numbers(0, 2, 1) / 3 + 0.5 * rest)[None])


def last_symbol_comes_first(jelinek_mercer, ids, contexts, vocabulary, weights):
    """In 0 1 2 0 1 2 1 0 2 the pair 0 1 is followed by 2, and 1 by 2 twice and by 0 once."""
    row = jelinek_mercer(PAIRS, torch.tensor([[0, 1]]), 3, weights=numbers(0, 1, 0.25))
    close(row, (0.25 * numbers(0, 0, 1) + 0.75 * numbers(1, 0, 2) / 3)[None])


def weights_of_zero_leave_the_base(jelinek_mercer, ids, contexts, vocabulary, weights):
    """What no order takes is given to all symbols alike."""
    close(jelinek_mercer(ids, contexts, vocabulary, weights=torch.zeros_like(weights)), 1 / vocabulary)


def longest_weight_is_affine(jelinek_mercer, ids, contexts, vocabulary, weights):
    """In the weight of the longest context the mixture is a straight line."""
    low, middle, high = (
        jelinek_mercer(ids, contexts, vocabulary, weights=torch.cat([weights[:-1], numbers(x)])) for x in (0, 0.25, 1)
    )
    close(middle, 0.75 * low + 0.25 * high)


def unseen_context_takes_nothing(jelinek_mercer, ids, contexts, vocabulary, weights):
    """After a symbol that never came the frequencies of the text are mixed with the base, and nothing is lost."""
    row = jelinek_mercer(ids, torch.tensor([[vocabulary]]), vocabulary + 1, weights=numbers(0.5, 0.75))
    frequency = torch.bincount(ids, minlength=vocabulary + 1).double() / len(ids)
    close(row, (0.5 * frequency + 0.5 / (vocabulary + 1))[None])


# ---- weights by EM


def one_step_by_hand(interpolation_weights, ids, order, vocabulary, deleted, steps):
    """0 0 0 1 is counted, 0 1 is judged: from λ = ½ the counts had a part of 3/5 in 0 and of 1/3 in 1."""
    text = torch.tensor([0, 0, 0, 1, 0, 1])
    close(interpolation_weights(text, 0, 2, deleted=1 / 3, steps=1), numbers((3 / 5 + 1 / 3) / 2))


def every_step_helps(interpolation_weights, ids, order, vocabulary, deleted, steps):
    """The deleted part does not become less likely by another step."""
    cut = len(ids) - round(len(ids) * deleted)
    windows = ids[cut:].unfold(0, order + 1, 1)

    def likelihood(steps):
        weights = interpolation_weights(ids, order, vocabulary, deleted=deleted, steps=steps)
        table = reference_mixture(ids[:cut], windows[:, :order], vocabulary, weights)
        return table.gather(1, windows[:, order:]).log().sum()

    before, after = likelihood(steps - 1), likelihood(steps)
    assert after >= before - GAP * abs(before), f"log-likelihood {before:.6g}, and a step later {after:.6g}"


def nothing_known_nothing_changed(interpolation_weights, ids, order, vocabulary, deleted, steps):
    """If the part that is judged has other symbols than the rest, its contexts are unknown: λ stays at ½."""
    text = torch.cat([ids, vocabulary + ids])
    weights = interpolation_weights(text, order, 2 * vocabulary, deleted=0.5, steps=steps)
    close(weights[1:], torch.full((order,), 0.5))
    close(weights[:1], numbers(0))


OPERATIONS = [
    Operation(
        "markov.kneser_ney",
        inputs=corpus("discounts", estimated=True),
        laws=[
            rows_are_distributions,
            names_do_not_matter,
            last_symbol_was_followed_by_nothing,
            pairs_by_hand,
            triples_by_hand,
            estimate_by_hand,
            nothing_once_or_twice_nothing_taken,
            marginals_are_the_texts,
            unseen_context_asks_who_precedes,
            first_symbol_follows_nothing,
            undiscounted_is_the_frequency,
        ],
        unit=1.0,
    ),
    Operation(
        "markov.jelinek_mercer",
        inputs=corpus("weights", estimated=False),
        laws=[
            rows_are_distributions,
            names_do_not_matter,
            last_symbol_was_followed_by_nothing,
            mixed_by_hand,
            last_symbol_comes_first,
            weights_of_zero_leave_the_base,
            longest_weight_is_affine,
            unseen_context_takes_nothing,
        ],
        unit=1.0,
    ),
    Operation(
        "markov.interpolation_weights",
        inputs=divided(),
        laws=[one_step_by_hand, every_step_helps, nothing_known_nothing_changed],
        unit=1.0,
    ),
]
