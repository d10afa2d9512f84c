"""Laws of temperature, of the filters that make symbols impossible, of the distribution they lead to, and of a draw."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import strategies as st

from reference.softmax import softmax
from verify import sampling_beam as beam
from verify import sampling_conventions as other
from verify import sampling_penalties as penalties
from verify import sampling_thresholds as thresholds
from verify.compare import GAP, close
from verify.inputs import integers
from verify.sampling_inputs import LOGITS, WEIGHTS, asked, kept, logits
from verify.suite import Operation

ORDERS = [  # temperature, top-k, top-p, min-p on these logits, and the weights that are left
    ((0.5, None, 0.6, 0.0), [0, 0, 1, 0]),  # 100 of 146 are enough for 0.6; at T = 1 it is 10 of 20
    ((0.5, None, 1.0, 0.5), [0, 0, 1, 0]),  # 36 is not half of 100; at T = 1 it is 6 of 10
    ((1.0, 2, 0.6, 0.0), [0, 0, 1, 0]),  # of the two left, 10 of 16 are enough for 0.6; before, it is 10 of 20
    ((1.0, None, 0.82, 0.2), [3, 0, 10, 6]),  # 0.5 + 0.3 + 0.15; without the 0.05, which is too little, two are enough
]
AFTERWARDS: list[
    tuple[tuple, list[float]]
] = [  # the same with the temperature at the end, where the filters have looked at 3 : 1 : 10 : 6
    ((0.5, None, 0.6, 0.0), [0, 0, 100, 36]),
    ((0.5, None, 1.0, 0.5), [0, 0, 100, 36]),
    ((2.0, 3, 0.8, 0.0), [0, 0, 10**0.5, 6**0.5]),  # 16 of 19 are enough for 0.8; at T = 2 it is 5.6 of 7.3
]
OPTIONS = ("temperature", "top_k", "top_p", "min_p")


def pipeline():
    """Logits with all options, and now and then one of the cases in which their order matters."""
    told = [{"z": LOGITS.clone(), **dict(zip(OPTIONS, options, strict=True))} for options, _ in ORDERS]
    options = ([1.0, 0.5, 2.0], [None, 4, 3, 1], [1.0, 0.7, 0.93, 0.55], [0.0, 0.3, 0.5])
    drawn = asked(logits(scales=(1.0, 2.0, 0.01, 8.0)), **dict(zip(OPTIONS, options, strict=True)))
    return asked(st.one_of(drawn, drawn, drawn, st.sampled_from(told)), temperature_last=[False, False, True])


@st.composite
def noisy(draw):
    """Logits, and a uniform draw for each from a grid of 32."""
    row = draw(logits())
    return {**row, "u": (draw(integers(*row["z"].shape, below=32)).double() + 0.5) / 32}


def temperatures_multiply(temperature, z, T):
    """Cooling twice is cooling by the product; T = 1 changes nothing."""
    close(temperature(temperature(z, 0.5), T), temperature(z, 0.5 * T))
    close(temperature(z, 1.0), z)


def odds_are_squared_by_hand(temperature, z, T):
    """At T = 1/2 the weights 3 : 1 : 10 : 6 become 9 : 1 : 100 : 36."""
    close(softmax(temperature(LOGITS, 0.5)), WEIGHTS**2 / 146)


def exactly_k_stay(top_k, z, k):
    """k symbols stay, fewer only where fewer are possible."""
    close(kept(top_k(z, k), z).sum(-1).double(), z.isfinite().sum(-1).clamp(max=k).double())


def no_larger_is_left_out(keep, z, **options):
    """Whatever stays is at least as large as whatever goes."""
    stays = kept(keep(z, **options), z)
    least = torch.where(stays, z, math.inf).amin(-1)
    assert (torch.where(stays, -math.inf, z).amax(-1) <= least).all(), f"larger ones than these went: {stays.tolist()}"


def first_of_equals_stay(top_k, z, k):
    """Among equal logits the lower index is the larger."""
    stays = kept(top_k(torch.zeros_like(z), k), torch.zeros_like(z))
    assert stays[..., :k].all() and not stays[..., k:].any(), f"of equals these stay: {stays.tolist()}"


def fewest_that_reach_p(top_p, z, p, boundary):
    """The mass that stays reaches p, and without its least symbol it would not."""
    share = torch.where(kept(top_p(z, p), z), softmax(z), 0)
    mass, least = share.sum(-1), torch.where(share > 0, share, 1).amin(-1)
    assert (mass >= p - GAP).all(), f"mass {mass.tolist()} does not reach {p}"
    assert (mass - least < p + GAP).all(), f"a symbol too many stays: {mass.tolist()}"


def nucleus_by_hand(top_p, z, p, boundary):
    """Of 0.15, 0.05, 0.5, 0.3: the mass 0.7 takes two symbols, 0.9 three, 1 all; and 0.001 takes one."""
    for p_, expected in ((0.7, [0, 0, 1, 1]), (0.9, [1, 0, 1, 1]), (1.0, [1, 1, 1, 1]), (1e-3, [0, 0, 1, 0])):
        assert kept(top_p(LOGITS, p_), LOGITS).tolist() == expected, f"p = {p_}: {top_p(LOGITS, p_).tolist()}"


def what_reaches_p_is_enough(top_p, z, p, boundary):
    """Of four quarters the mass 0.5 takes two, 0.25 one: what is reached exactly is reached."""
    for p_, expected in ((0.5, [1, 1, 0, 0]), (0.25, [1, 0, 0, 0])):
        even = torch.zeros(4, dtype=torch.float64)
        assert kept(top_p(even, p_), even).tolist() == expected, f"p = {p_}: {top_p(even, p_).tolist()}"


def other_boundaries_by_hand(top_p, z, p, boundary):
    """Of four quarters: to exceed 0.5 takes three, 0.6 too; within 0.5 are two, within 0.6 too, within 0.1 one."""
    even = torch.zeros(4, dtype=torch.float64)
    cases = [("exceeds", 0.5, 3), ("exceeds", 0.6, 3), ("within", 0.5, 2), ("within", 0.6, 2), ("within", 0.1, 1)]
    for name, p_, expected in cases:
        found = int(kept(top_p(even, p_, boundary=name), even).sum())
        assert found == expected, f"p = {p_}, {name}: {found} stay"


def boundaries_are_nested(top_p, z, p, boundary):
    """What is within p is among what reaches it, and that among what exceeds it, with one symbol more each at most."""
    sets = [kept(top_p(z, p, boundary=name), z) for name in ("within", "reaches", "exceeds")]
    for inner, outer in itertools.pairwise(sets):
        assert not (inner & ~outer).any(), "a stricter boundary keeps what a laxer one leaves out"
        assert p == 1 or ((outer & ~inner).sum(-1) <= 1).all(), (
            "boundaries differ by more than the symbol that crosses p"
        )


def all_stay_at_one(top_p, z, p, boundary):
    """p = 1 leaves out nothing, also where the mass before a symbol rounds to one."""
    tail = torch.tensor([0.0, -50.0, -60.0, -math.inf], dtype=torch.float64)
    assert kept(top_p(tail, 1.0, boundary=boundary), tail).tolist() == [1, 1, 1, 0], f"{top_p(tail, 1.0).tolist()}"


def share_of_the_largest_by_hand(min_p, z, p):
    """Of 0.15, 0.05, 0.5, 0.3: 0.2 · 0.5 keeps three, 0.5 · 0.5 two, 0 all; and 1 keeps whatever equals the largest."""
    for p_, expected in ((0.2, [1, 0, 1, 1]), (0.5, [0, 0, 1, 1]), (0.0, [1, 1, 1, 1])):
        assert kept(min_p(LOGITS, p_), LOGITS).tolist() == expected, f"p = {p_}: {min_p(LOGITS, p_).tolist()}"
    largest = WEIGHTS.clamp(max=6)
    assert kept(min_p(largest, 1.0), largest).tolist() == [0, 0, 1, 1], f"p = 1: {min_p(largest, 1.0).tolist()}"


def odds_decide(min_p, z, p):
    """A symbol stays when its odds against the likeliest reach p: the size of the logits does not matter."""
    odds = torch.exp(z - z.amax(-1, keepdim=True))
    stays = kept(min_p(z, p), z)
    assert not ((odds < p - GAP) & stays).any() and not ((odds > p + GAP) & ~stays).any(), f"odds {odds.tolist()}"


def rows_are_distributions(distribution, z, **options):
    """A row sums to one; a row of −∞ has nothing to distribute and is zero."""
    close(distribution(z, **options).sum(-1), torch.ones(z.shape[:-1]))
    close(distribution(torch.full_like(z, -math.inf), **options), 0.0)


def defaults_are_softmax(distribution, z, **options):
    """Nothing asked, nothing changed."""
    close(distribution(z), softmax(z), scale=1)


def odds_of_what_stays(distribution, z, temperature, **options):
    """Truncation renormalizes: two symbols that stay keep their odds exp((z_i − z_j)/T)."""
    p = distribution(z, temperature, **options)
    weights = softmax(z / temperature)
    close(p * torch.where(p > 0, weights, 0).sum(-1, keepdim=True), torch.where(p > 0, weights, 0), scale=1)


def one_symbol_is_greedy(distribution, z, **options):
    """top_k = 1 gives everything to the first of the largest logits."""
    only = torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1])
    close(distribution(z, **options | {"top_k": 1}), only)


def order_by_hand(distribution, z, **options):
    """Temperature, then top-k, then top-p on what is left, then min-p: in another order other symbols stay."""
    for asked_for, left in ORDERS:
        close(distribution(LOGITS, *asked_for), torch.tensor(left).double() / sum(left))


def order_by_hand_with_temperature_last(distribution, z, **options):
    """The filters look at the logits as they came, and the temperature is that of what they left."""
    for asked_for, left in AFTERWARDS:
        expected = torch.tensor(left, dtype=torch.float64) / sum(left)
        close(distribution(LOGITS, *asked_for, temperature_last=True), expected)


def largest_wins(greedy, z):
    """The symbol taken is as large as any."""
    close(z.gather(-1, greedy(z).unsqueeze(-1)).squeeze(-1), z.amax(-1))


def first_of_equals_wins(greedy, z):
    """Of equal logits the lowest index; of 0.15, 0.05, 0.5, 0.3 the third."""
    close(greedy(torch.zeros_like(z)), 0.0)
    close(greedy(LOGITS), 2.0)


def race_by_hand(gumbel_max, z, u):
    """With u_i = exp(−w_i) the largest of exp(z_i)/w_i wins: of 3/1, 1/4, 10/8, 6/5 the first."""
    close(gumbel_max(LOGITS, torch.exp(-torch.tensor([1, 4, 8, 5], dtype=torch.float64))), 0.0)


def equal_noise_is_greedy(gumbel_max, z, u):
    """The same u for all: the first of the largest logits."""
    close(gumbel_max(z, torch.full_like(u, 0.25)), z.argmax(-1))


def impossible_is_never_drawn(gumbel_max, z, u):
    """A logit of −∞ loses against every noise."""
    drawn = gumbel_max(z, u)
    assert z.gather(-1, drawn.unsqueeze(-1)).isfinite().all(), "an impossible symbol was drawn"


def frequencies(gumbel_max, z, u):
    """On a grid of 64² draws the weights 1 : 3 come as often, but for the 2 · 64 cells that the border may cross."""
    ticks = (torch.arange(64).double() + 0.5) / 64
    weights = torch.tensor([1, 3], dtype=torch.float64)
    often = gumbel_max(weights.log().expand(64**2, 2), torch.cartesian_prod(ticks, ticks)).double().mean()
    assert abs(often - 3 / 4) <= 2 / 64, f"the second is drawn with frequency {often:.3f}, not 0.75"


# A p that is met exactly is decided by rounding. Masses of tied symbols are fractions with denominators up to 7, others
# are no fractions: 0.37, 0.7, 0.93 and 0.15 are not met, and the exponential of a multiple of 1/4 is none of them.
OPERATIONS = [
    Operation(
        "sampling.temperature",
        inputs=asked(logits(scales=(1.0, 0.01, 250.0)), T=[1.0, 0.5, 2.0, 0.7, 0.05, 4.0]),
        laws=[temperatures_multiply, odds_are_squared_by_hand],
        gradients=("z",),
    ),
    Operation(
        "sampling.top_k",
        inputs=asked(logits(), k=[1, 2, 3, 9, 60]),
        laws=[exactly_k_stay, no_larger_is_left_out, first_of_equals_stay],
        conventions={
            "ties at the boundary are all kept": other.ties_kept,
            other.LAST_FIRST: other.last_first,
            other.ANY_ORDER: other.any_order,
            "renormalized probabilities instead of logits": other.probabilities,
        },
        free=("z",),
    ),
    Operation(
        "sampling.top_p",
        inputs=asked(
            logits(), p=[0.37, 0.7, 0.93, 0.15, 1.0], boundary=["reaches", "reaches", "exceeds", "reaches", "within"]
        ),
        laws=[
            fewest_that_reach_p,
            no_larger_is_left_out,
            nucleus_by_hand,
            what_reaches_p_is_enough,
            other_boundaries_by_hand,
            boundaries_are_nested,
            all_stay_at_one,
        ],
        conventions={
            other.LAST_FIRST: other.last_first,
            other.ANY_ORDER: other.any_order,
            "what rounds to probability zero is left out, also at p = 1": other.nothing_without_mass,
            "renormalized probabilities instead of logits": other.probabilities,
        },
        free=("z",),
    ),
    Operation(
        "sampling.min_p",
        inputs=asked(logits(), p=[0.3, 0.05, 0.6, 0.0, 1.0]),
        laws=[share_of_the_largest_by_hand, odds_decide],
        conventions={
            "probabilities are compared, to which small ones may be rounded": other.by_share,
            "renormalized probabilities instead of logits": other.probabilities,
        },
        free=("z",),
    ),
    Operation(
        "sampling.distribution",
        inputs=pipeline(),
        laws=[
            rows_are_distributions,
            defaults_are_softmax,
            odds_of_what_stays,
            one_symbol_is_greedy,
            order_by_hand,
            order_by_hand_with_temperature_last,
        ],
        gradients=("z",),
        draws=True,
        conventions={
            "temperature_last=True, the temperature after the truncation (llama.cpp)": other.cooled_last,
            "min-p before top-k and top-p (vLLM)": other.min_p_first,
            "top-p on the mass before top-k (FlashInfer's joint order)": other.jointly,
            "ties at the boundary of top-k are all kept": other.top_k_ties_kept,
            other.LAST_FIRST: other.last_first,
            other.ANY_ORDER: other.any_order,
        },
        unit=1,
    ),
    *thresholds.OPERATIONS,
    *penalties.OPERATIONS,
    Operation("sampling.greedy", inputs=logits(), laws=[largest_wins, first_of_equals_wins], free=("z",)),
    Operation(
        "sampling.gumbel_max",
        inputs=noisy(),
        laws=[race_by_hand, equal_noise_is_greedy, impossible_is_never_drawn, frequencies],
        conventions={"the noise is that of 1 − u": lambda gumbel_max, z, u: gumbel_max(z, 1 - u)},
        free=("z",),
    ),
    *beam.OPERATIONS,
]
