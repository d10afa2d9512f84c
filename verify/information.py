"""Laws of entropies and divergences, of mutual information, and of perplexity and bits a character of several texts."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify import information_codes
from verify.compare import GAP, close
from verify.inputs import drawn, tensor
from verify.suite import Operation

BASES = [math.e, 2.0, 10.0]
HALVES = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)  # 1.5 bits, and none
MODEL = torch.tensor([[0.125, 0.25, 0.5, 0.125], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
SHAPES = [(3,), (2, 4)]
LN2 = math.log(2)


@st.composite
def rows(draw, *shape, holes=True):
    """Distributions with many equal entries, with and without symbols that never come; one symbol at least does."""
    weights = draw(drawn(*shape, low=0 if holes else 1, high=draw(st.sampled_from([1, 3, 9])))).double()
    weights[..., 0] += weights.sum(-1) == 0
    return weights / weights.sum(-1, keepdim=True)


@st.composite
def distribution(draw):
    """Distributions, and a unit."""
    return {"p": draw(rows(*draw(st.sampled_from(SHAPES)))), "base": draw(st.sampled_from(BASES))}


@st.composite
def two_distributions(draw):
    """Truth and model; the model may exclude what is true."""
    shape, holes = draw(st.sampled_from(SHAPES)), draw(st.sampled_from([False, False, True]))
    return {"p": draw(rows(*shape)), "q": draw(rows(*shape, holes=holes)), "base": draw(st.sampled_from(BASES))}


@st.composite
def joint(draw):
    """Joint distributions with and without pairs that never come."""
    *B, M, V = draw(st.sampled_from([(2, 3), (2, 4, 3)]))
    p = draw(rows(*B, M * V)).unflatten(-1, (M, V))
    return {"joint": p, "base": draw(st.sampled_from(BASES))}


def texts(of):
    """The surprisal of whole texts, short ones beside long ones, and how many symbols each has."""

    @st.composite
    def strategy(draw):
        shape = draw(st.sampled_from([(3,), (2, 4)]))
        counts = draw(drawn(*shape, low=1, high=draw(st.sampled_from([3, 60]))))
        return {"nats": draw(tensor(*shape, low=1, high=16)) * counts, of: counts}

    return strategy()


def half_is_a_bit(surprisal, p, base):
    """A half is one bit, an eighth are three; the certain is worth nothing, the impossible is infinitely surprising."""
    close(surprisal(torch.tensor([0.5, 0.125, 1.0, 0.0]).double(), 2.0), torch.tensor([1.0, 3.0, 0.0, math.inf]))


def surprises_add(surprisal, p, base):
    """Two independent events are worth the sum."""
    close(surprisal(p / 4, base), surprisal(p, base) + surprisal(torch.full_like(p, 0.25), base))


def three_halves_by_hand(entropy, p, base):
    """1/2, 1/4, 1/4 and an impossible symbol have 1.5 bits; a certain one has none."""
    close(entropy(HALVES, 2.0), torch.tensor([1.5, 0.0]))


def uniform_has_log_v(entropy, p, base):
    """V equal symbols have log V, in every unit; in nats when none is named."""
    even = torch.full_like(p, 1 / p.shape[-1])
    close(entropy(even, base), math.log(p.shape[-1]) / math.log(base))
    close(entropy(even), math.log(p.shape[-1]))


def parts_add(entropy, p, base):
    """Choosing between two halves, and then within one: log 2 more."""
    close(entropy(torch.cat([p, p], -1) / 2, base), entropy(p, base) + LN2 / math.log(base))


def impossible_adds_nothing(entropy, p, base):
    """Symbols of probability zero may be left out."""
    close(entropy(torch.cat([p, torch.zeros_like(p)], -1), base), entropy(p, base), scale=1)


def crossed_by_hand(cross_entropy, p, q, base):
    """1/2 · 3 + 1/4 · 2 + 1/4 · 1 bits; and one bit."""
    close(cross_entropy(HALVES, MODEL, 2.0), torch.tensor([2.25, 1.0]))


def truth_costs_its_entropy(cross_entropy, p, q, base):
    """A uniform model costs log V whatever is true; a uniform truth costs itself log V."""
    even = torch.full_like(p, 1 / p.shape[-1])
    for truth in (p, even):
        close(cross_entropy(truth, even, base), math.log(p.shape[-1]) / math.log(base))


def excluded_truth_costs_everything(f, p, q, base):
    """A model that excludes what comes is infinitely wrong; what never comes it may exclude."""
    close(f(MODEL, HALVES, base), torch.tensor([math.inf, math.inf]))
    assert f(HALVES, HALVES, base).isfinite().all(), "an impossible symbol costs something"


def no_distance_to_itself(f, p, q, base):
    """A true model costs nothing more."""
    close(f(p, p, base), torch.zeros(p.shape[:-1]))


def never_negative(f, p, q, base):
    """Gibbs' inequality."""
    assert (f(p, q, base) >= -GAP).all(), f"a negative divergence: {f(p, q, base)}"


def diverges_by_hand(kl_divergence, p, q, base):
    """2.25 − 1.5 bits; and one."""
    close(kl_divergence(HALVES, MODEL, 2.0), torch.tensor([0.75, 1.0]))


def independent_pairs_add(f, p, q, base):
    """Two independent draws are twice as far apart."""
    twice = [torch.einsum("...i,...j->...ij", x, x).flatten(-2) for x in (p, q)]
    close(f(*twice, base), 2 * f(p, q, base), scale=1)


def is_symmetric(js_divergence, p, q, base):
    """It does not matter which is true."""
    close(js_divergence(q, p, base), js_divergence(p, q, base), scale=1)


def disjoint_are_log_two_apart(js_divergence, p, q, base):
    """Two distributions that share no symbol tell one bit; no two tell more."""
    none = torch.zeros_like(p)
    apart = torch.cat([p, none], -1), torch.cat([none, q], -1)
    close(js_divergence(*apart, base), LN2 / math.log(base))
    assert (js_divergence(p, q, base) <= (1 + GAP) * LN2 / math.log(base)).all(), "more than a bit"


def shared_by_hand(js_divergence, p, q, base):
    """1 : 0 and 1 : 1 have the middle 3 : 1: half of log₂ 4/3, and of (log₂ 2/3 + log₂ 2)/2."""
    one, even = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.5, 0.5]).double()
    close(js_divergence(one, even, 2.0), (math.log2(4 / 3) + (math.log2(2 / 3) + 1) / 2) / 2)


def independent_share_nothing(mutual_information, joint, base):
    """The product of the two marginals."""
    rows_, columns = joint.sum(-1, keepdim=True), joint.sum(-2, keepdim=True)
    close(mutual_information(rows_ * columns, base), torch.zeros(joint.shape[:-2]))


def copies_share_everything(mutual_information, joint, base):
    """Of two equal symbols among four equal ones: two bits."""
    close(mutual_information(torch.eye(4).double() / 4, 2.0), 2.0)


def both_tell_each_other_the_same(mutual_information, joint, base):
    """Exchanging the two changes nothing."""
    close(mutual_information(joint.mT, base), mutual_information(joint, base), scale=1)


def pairs_by_hand(mutual_information, joint, base):
    """1/2, 0 / 1/4, 1/4: the entropies 1 and H(3/4, 1/4), less 1.5 bits."""
    p = torch.tensor([[0.5, 0.0], [0.25, 0.25]]).double()
    close(mutual_information(p, 2.0), 1 + 0.75 * math.log2(4 / 3) + 0.25 * 2 - 1.5)


def two_texts_by_hand(perplexity, nats, symbols):
    """One symbol of five bits and three of one bit: four symbols of two bits."""
    close(perplexity(torch.tensor([5, 3]).double() * LN2, torch.tensor([1, 3])), 4.0)


def joined_texts_are_one(f, nats, **counts):
    """One long text is as hard as its parts together."""
    (n,) = counts.values()
    close(f(nats.sum(-1, keepdim=True), n.sum(-1, keepdim=True)), f(nats, n))


def uniform_guess_has_its_size(perplexity, nats, symbols):
    """Guessing among five equal symbols, whatever the texts."""
    close(perplexity(symbols.double() * math.log(5), symbols), 5.0)


def bits_by_hand(bits_per_character, nats, characters):
    """24 bits for texts of 2 and 10 characters."""
    close(bits_per_character(torch.tensor([9, 15]).double() * LN2, torch.tensor([2, 10])), 2.0)


def twice_the_nats_are_twice_the_bits(bits_per_character, nats, characters):
    """It is proportional to the nats, and inversely to the characters."""
    close(bits_per_character(2 * nats, characters), 2 * bits_per_character(nats, characters))
    close(bits_per_character(nats, 2 * characters), bits_per_character(nats, characters) / 2)


def normalized(f, p, base=math.e):
    """Rows are divided by their sums first."""
    return f(p / p.sum(-1, keepdim=True), base)


def both_normalized(f, p, q, base=math.e):
    """Rows are divided by their sums first."""
    return f(p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True), base)


SUMS = "rows are divided by their sums first (scipy.stats.entropy)"
MEAN = {"the mean over rows (batchmean)": lambda f, p, q, base=math.e: f(p, q, base).mean()}
ROOT = {"its square root, which is a distance (scipy)": lambda f, p, q, base=math.e: f(p, q, base).clamp(min=0).sqrt()}

OPERATIONS = [
    Operation("information.surprisal", inputs=distribution(), laws=[half_is_a_bit, surprises_add], unit=1),
    Operation(
        "information.entropy",
        inputs=distribution(),
        laws=[three_halves_by_hand, uniform_has_log_v, parts_add, impossible_adds_nothing],
        conventions={SUMS: normalized},
        free=(),
        unit=1,
    ),
    Operation(
        "information.cross_entropy",
        inputs=two_distributions(),
        laws=[crossed_by_hand, truth_costs_its_entropy, excluded_truth_costs_everything],
        conventions=MEAN,
        free=(),
        unit=1,
    ),
    Operation(
        "information.kl_divergence",
        inputs=two_distributions(),
        laws=[
            diverges_by_hand,
            no_distance_to_itself,
            never_negative,
            independent_pairs_add,
            excluded_truth_costs_everything,
        ],
        conventions={SUMS: both_normalized} | MEAN,
        free=(),
        unit=1,
    ),
    Operation(
        "information.js_divergence",
        inputs=two_distributions(),
        laws=[shared_by_hand, is_symmetric, disjoint_are_log_two_apart, no_distance_to_itself],
        conventions={SUMS: both_normalized} | MEAN | ROOT,
        free=(),
        unit=1,
    ),
    Operation(
        "information.mutual_information",
        inputs=joint(),
        laws=[pairs_by_hand, independent_share_nothing, copies_share_everything, both_tell_each_other_the_same],
        free=(),
        unit=1,
    ),
    Operation(
        "information.perplexity",
        inputs=texts("symbols"),
        laws=[two_texts_by_hand, joined_texts_are_one, uniform_guess_has_its_size],
        gradients=("nats",),
    ),
    Operation(
        "information.bits_per_character",
        inputs=texts("characters"),
        laws=[bits_by_hand, joined_texts_are_one, twice_the_nats_are_twice_the_bits],
        gradients=("nats",),
    ),
    *information_codes.OPERATIONS,
]
