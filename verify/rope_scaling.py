"""Laws of the frequencies that are stretched to longer texts."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.rope import frequencies
from verify.compare import close
from verify.suite import Operation

SCALES = [1.0, 2.0, 4.0, 32.0]
BASES = [10000.0, 10000.0, 500.0, 1000000.0]


def sizes(K=(4, 6, 16, 64), **more):
    """Turned coordinates, a stretch and a base."""
    drawn = {"K": K, "scale": SCALES, "base": BASES} | more
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in drawn.items()})


TEXTS = {"trained": [128, 2048, 4096], "length": [1, 100, 4096, 5000, 32768]}
YARN = {
    "K": (16, 32, 64),
    "trained": [2048, 4096, 8192],
    "beta_fast": [32.0, 32.0, 24.0],
    "beta_slow": [1.0, 1.0, 2.0],
    "truncate": [True, True, False],
    "ramp": ["pairs", "pairs", "turns"],
    "mscale": [1.0, 1.0, 0.707],
    "mscale_all": [0.0, 0.0, 1.0, 0.707],
}
LLAMA = {"K": (16, 64, 128), "trained": [8192, 4096], "low": [1.0, 1.0, 2.0], "high": [4.0, 4.0, 8.0]}


def by_turns(turns, low, high, scale):
    """What a frequency is multiplied by, counted by hand from the turns of its pair."""
    if turns >= high:
        return 1.0
    if turns <= low:
        return 1 / scale
    kept = (turns - low) / (high - low)
    return kept + (1 - kept) / scale


def factors(stretched, K, base):
    """What each frequency was multiplied by."""
    return stretched / frequencies(K, base)


def every_angle_at_s_times_m_is_that_at_m(interpolated, K, scale, base):
    """Position s·m turns as m did."""
    close(interpolated(K, scale, base) * scale, frequencies(K, base))


def first_stays_and_last_is_divided(ntk, K, scale, base):
    """The first pair turns as before, the last s times slower."""
    ratio = factors(ntk(K, scale, base), K, base)
    close(ratio[[0, -1]], torch.tensor([1.0, 1 / scale], dtype=torch.float64))


def still_geometric(ntk, K, scale, base):
    """Each frequency is the same multiple of the one before it."""
    theta = ntk(K, scale, base)
    close((theta[1:] / theta[:-1]).log(), (theta[1] / theta[0]).log())


def short_texts_change_nothing(dynamic, K, scale, base, length, trained):
    """Up to the length trained on, the frequencies are the plain ones."""
    close(dynamic(K, scale, min(length, trained), trained, base), frequencies(K, base))


def twice_the_length_by_hand(dynamic, K, scale, base, length, trained):
    """At twice the length trained on the last pair is divided by 1 + s, at once and a half by 1 + s/2."""
    for times, divisor in ((2, 1 + scale), (1.5, 1 + scale / 2)):
        theta = dynamic(K, scale, int(times * trained), trained, base)
        close(factors(theta, K, base)[-1], 1 / divisor)


def factor_of_the_paper(yarn, scale, mscale, mscale_all, **more):
    """0.1 ln s + 1 by default; one where both exponents are alike."""
    close(yarn(scale=scale, **more)[1], 0.1 * math.log(scale) + 1)
    close(yarn(scale=scale, mscale=0.5, mscale_all=0.5, **more)[1], 1.0)
    close(yarn(scale=scale, mscale=mscale, **more)[1], 0.1 * mscale * math.log(scale) + 1)


def fast_pairs_stay_slow_ones_are_divided(yarn, K, scale, base, trained, beta_fast, beta_slow, truncate, **more):
    """What turns often within the trained texts stays, what turns rarely is divided by s."""
    theta, stretched = frequencies(K, base), yarn(K, scale, trained, base, beta_fast=beta_fast, beta_slow=beta_slow,
                                                  truncate=truncate, **more)[0]  # fmt: skip
    step = base ** (2 / K) if truncate else 1.0  # whole numbers of pairs: up to one pair more
    turns = trained * theta / math.tau
    ratio = stretched / theta
    close(ratio[turns >= beta_fast * step], 1.0)
    if not truncate or trained * base ** (2 / K - 1) / math.tau < beta_slow:
        close(ratio[turns <= beta_slow / step], 1 / scale)


def factors_fall(yarn, **inputs):
    """From one to 1/s, never up again."""
    ratio = factors(yarn(**inputs)[0], inputs["K"], inputs["base"])
    assert (ratio.diff() <= 1e-12).all(), f"a slower pair is stretched less: {ratio}"
    assert (ratio <= 1 + 1e-12).all() and (ratio >= (1 - 1e-12) / inputs["scale"]).all(), f"outside 1/s … 1: {ratio}"


def four_pairs_by_hand(yarn, **inputs):
    """Base 16 and K = 8: in 50 positions the pairs turn 7.96, 3.98, 1.99 and 0.99 times; γ falls by thirds."""
    theta, factor = yarn(8, 4.0, 50, 16.0, beta_fast=8.0, beta_slow=1.0)  # from pair −0.01, cut to 0, to 2.99, up to 3
    kept = torch.tensor([1, 2 / 3, 1 / 3, 0], dtype=torch.float64)
    close(theta, frequencies(8, 16.0) * (kept + (1 - kept) / 4))
    close(factor, 1 + math.log(4.0) / 10)


def the_papers_ramp(yarn, K, scale, base, trained, beta_fast, beta_slow, **more):
    """By turns: γ is linear in L θ/2π."""
    theta = yarn(K, scale, trained, base, beta_fast=beta_fast, beta_slow=beta_slow, ramp="turns")[0]
    turns = (trained * frequencies(K, base) / math.tau).tolist()
    expected = torch.tensor([by_turns(t, beta_slow, beta_fast, scale) for t in turns], dtype=torch.float64)
    close(theta, expected * frequencies(K, base))


def three_regions_by_hand(llama3, K, scale, base, trained, low, high):
    """Wavelengths below trained/high stay, above trained/low are s times as long, between them γ is linear in turns."""
    rates = frequencies(K, base).tolist()
    by_hand = [f * by_turns(trained * f / math.tau, low, high, scale) for f in rates]
    close(llama3(K, scale, trained, base, low=low, high=high), torch.tensor(by_hand, dtype=torch.float64))


def defaults_of_llama_3_1(llama3, **inputs):
    """Stretch 8 over 8192 positions, base 500000: pair 28 turns 4.18 times, 35 once, of the 64 in a head of 128."""
    ratio = llama3(128) / frequencies(128, 500000.0)
    close(ratio[:29], 1.0)
    close(ratio[36:], 1 / 8)
    assert ((ratio[29:35] < 1) & (ratio[29:35] > 1 / 8)).all(), "nothing lies between"


def papers_ramp(yarn, **inputs):
    """γ linear in turns, as the paper has it."""
    return yarn(**inputs | {"ramp": "turns"})


def not_rounded(yarn, **inputs):
    """The ramp's ends are not rounded to whole pairs, as in gpt-oss."""
    return yarn(**inputs | {"truncate": False})


OPERATIONS = [
    Operation(
        "rope.interpolated", inputs=sizes(), laws=[every_angle_at_s_times_m_is_that_at_m],
    ),
    Operation(
        "rope.ntk", inputs=sizes(), laws=[first_stays_and_last_is_divided, still_geometric],
    ),
    Operation(
        "rope.dynamic_ntk", inputs=sizes(**TEXTS), laws=[short_texts_change_nothing, twice_the_length_by_hand],
    ),
    Operation(
        "rope.yarn",
        inputs=sizes(**YARN),
        laws=[
            factor_of_the_paper,
            fast_pairs_stay_slow_ones_are_divided,
            factors_fall,
            four_pairs_by_hand,
            the_papers_ramp,
        ],
        conventions={"γ falls linearly in turns": papers_ramp, "the ramp's ends are not rounded": not_rounded},
    ),
    Operation(
        "rope.llama3", inputs=sizes(**LLAMA), laws=[three_regions_by_hand, defaults_of_llama_3_1],
    ),
]  # fmt: skip
