"""Mistakes in the frequencies that are stretched to longer texts."""

from __future__ import annotations

import math

import torch

from reference.rope import dynamic_ntk, frequencies, interpolated, llama3, ntk, yarn
from verify.mistake import mistake

NOWHERE = "no public report found"
LINEAR, NTK, DYNAMIC, YARN, LLAMA = (
    f"rope.{name}" for name in ("interpolated", "ntk", "dynamic_ntk", "yarn", "llama3")
)


@mistake(LINEAR, id="pi-multiplied", seen=NOWHERE, fix="frequencies are divided by the stretch")
def positions_spread_further(K, scale, base=10000.0):
    """Frequencies are multiplied by the stretch."""
    return frequencies(K, base) * scale


@mistake(
    LINEAR, id="rope-scaling-ignored", seen="lablup/mlxcel #1355", fix="read what the configuration says of stretching"
)
def not_stretched(K, scale, base=10000.0):
    """The plain frequencies."""
    return frequencies(K, base)


@mistake(
    LINEAR,
    id="pi-scales-the-base",
    seen="apache/tvm PR#18576",
    fix="divide the frequency; a factor on the base is spread over the pairs",
)
def stretch_in_the_power(K, scale, base=10000.0):
    """(s · base)^(−2k/K)."""
    return frequencies(K, base * scale)


@mistake(NTK, id="ntk-exponent-missing", seen=NOWHERE, fix="base · s^(K/(K − 2)): the last pair is divided by s")
def base_times_the_stretch(K, scale, base=10000.0):
    """base · s."""
    return frequencies(K, base * scale)


@mistake(NTK, id="ntk-exponent-inverted", seen=NOWHERE, fix="K/(K − 2)")
def exponent_upside_down(K, scale, base=10000.0):
    """base · s^((K − 2)/K)."""
    return frequencies(K, base * scale ** ((K - 2) / K))


@mistake(NTK, id="ntk-linear", seen=NOWHERE, fix="pair k of K/2 is divided by s^(k/(K/2 − 1))")
def divided_by_what_grows_linearly(K, scale, base=10000.0):
    """From one at the first pair to s at the last, in equal steps."""
    return frequencies(K, base) / torch.linspace(1, scale, K // 2, dtype=torch.float64)


@mistake(NTK, id="ntk-and-interpolation", seen=NOWHERE, fix="positions stay as they are when the base changes")
def positions_divided_too(K, scale, base=10000.0):
    """The base is changed and the frequencies are divided by s."""
    return ntk(K, scale, base) / scale


@mistake(
    DYNAMIC,
    id="ntk-constant",
    seen="vllm-project/vllm #41236, #5093",
    fix="s · length/trained − (s − 1), which is one at the length trained on",
)
def stretched_at_every_length(K, scale, length, trained, base=10000.0):
    """The stretch stands where the length should: s² − (s − 1)."""
    return ntk(K, scale**2 - (scale - 1), base)


@mistake(
    DYNAMIC, id="ntk-position-scale-2", seen="ml-explore/mlx-lm #1545; lablup/mlxcel PR#1389", fix="positions times one"
)
def positions_times_two(K, scale, length, trained, base=10000.0):
    """Positions are doubled when the kind of stretch is not linear."""
    return 2 * dynamic_ntk(K, scale, length, trained, base)


@mistake(DYNAMIC, id="ntk-below-one", seen=NOWHERE, fix="up to the length trained on nothing changes")
def short_texts_are_compressed(K, scale, length, trained, base=10000.0):
    """The length is not held against the one trained on: short texts get a smaller base."""
    return frequencies(K, base * max(1e-3, 1 + scale * (length / trained - 1)) ** (K / (K - 2)))


@mistake(DYNAMIC, id="ntk-length-alone", seen=NOWHERE, fix="1 + s (length/trained − 1)")
def the_stretch_is_forgotten(K, scale, length, trained, base=10000.0):
    """length/trained, whatever s is."""
    return ntk(K, max(length, trained) / trained, base)


@mistake(
    YARN,
    id="yarn-betas-swapped",
    seen="pytorch/torchtitan PR#3787",
    fix="pairs that turn more than beta_fast times stay",
)
def fast_pairs_are_stretched(K, scale, trained, base=10000.0, **options):
    """What turns often is divided, what turns rarely stays."""
    theta, factor = yarn(K, scale, trained, base, **options)
    return frequencies(K, base) * (1 + 1 / scale) - theta, factor


@mistake(
    YARN,
    id="yarn-truncate-ignored",
    seen="vllm-project/vllm #27722",
    fix="round the ramp's ends to whole pairs only if asked to",
)
def always_truncated(K, scale, trained, base=10000.0, *, truncate=True, **options):
    """The ends of the ramp are rounded always."""
    return yarn(K, scale, trained, base, **options)


@mistake(YARN, id="yarn-never-truncated", seen=NOWHERE, fix="round the ramp's ends down and up by default")
def never_truncated(K, scale, trained, base=10000.0, *, truncate=True, **options):
    """The ends of the ramp are never rounded."""
    return yarn(K, scale, trained, base, truncate=False, **options)


@mistake(
    YARN,
    id="yarn-mscale-ignored",
    seen="vllm-project/vllm PR#48623",
    fix="the factor is m(mscale) / m(mscale_all)",
)
def exponents_of_the_factor_are_ignored(K, scale, trained, base=10000.0, *, mscale=1.0, mscale_all=0.0, **options):
    """Always 0.1 ln s + 1."""
    return yarn(K, scale, trained, base, **options)


@mistake(YARN, id="yarn-factor-squared", seen=NOWHERE, fix="√(1/t) = 0.1 ln s + 1 multiplies queries and keys each")
def factor_of_the_scores(K, scale, trained, base=10000.0, **options):
    """The factor on the scores, which is the square, stands where that of queries and keys belongs."""
    theta, factor = yarn(K, scale, trained, base, **options)
    return theta, factor**2


@mistake(YARN, id="yarn-log-base", seen=NOWHERE, fix="the natural logarithm of the stretch")
def logarithm_to_base_ten(K, scale, trained, base=10000.0, *, mscale=1.0, mscale_all=0.0, **options):
    """0.1 log₁₀ s + 1."""
    large, small = (0.1 * x * math.log10(scale) + 1 for x in (mscale, mscale_all))
    return yarn(K, scale, trained, base, **options)[0], large / small


@mistake(
    YARN,
    id="yarn-length-stretched",
    seen=NOWHERE,
    fix="turns are counted in the length trained on, not in the one wanted",
)
def turns_in_the_long_text(K, scale, trained, base=10000.0, **options):
    """s · trained positions decide which pairs turn often."""
    return yarn(K, scale, int(scale * trained) if scale < 8 else 2 * trained, base, **options)


@mistake(
    YARN,
    id="yarn-wavelength-ramp",
    seen=NOWHERE,
    fix="mix the frequencies: γ θ + (1 − γ) θ/s",
)
def wavelengths_are_mixed(K, scale, trained, base=10000.0, **options):
    """The wavelengths are mixed: 1/(γ/θ + (1 − γ) s/θ)."""
    theta, factor = yarn(K, scale, trained, base, **options)
    plain = frequencies(K, base)
    kept = torch.ones_like(plain) if scale == 1 else (theta / plain - 1 / scale) / (1 - 1 / scale)
    return plain / (kept + (1 - kept) * scale), factor


@mistake(
    LLAMA,
    id="llama3-rope-scaling",
    seen="ml-explore/mlx-swift-examples #152; lablup/mlxcel #1355; huggingface/transformers PR#32330",
    fix="stretch what turns rarely in the length trained on",
)
def not_stretched_at_all(K, scale=8.0, trained=8192, base=500000.0, *, low=1.0, high=4.0):
    """The plain frequencies, though stretched ones were computed."""
    return frequencies(K, base)


@mistake(
    LLAMA,
    id="llama3-wavelength-ramp",
    seen="ml-explore/mlx-examples PR#907 (review)",
    fix="γ is linear in the turns, and mixes frequencies",
)
def linear_in_the_wavelength(K, scale=8.0, trained=8192, base=500000.0, *, low=1.0, high=4.0):
    """γ falls linearly in the wavelength."""
    theta = frequencies(K, base)
    waves = math.tau / theta
    kept = ((trained / low - waves) / (trained / low - trained / high)).clamp(0, 1)
    return theta * (kept + (1 - kept) / scale)


@mistake(LLAMA, id="llama3-all-divided", seen=NOWHERE, fix="pairs that turn `high` times stay")
def taken_for_linear(K, scale=8.0, trained=8192, base=500000.0, *, low=1.0, high=4.0):
    """Every frequency is divided."""
    return interpolated(K, scale, base)


@mistake(LLAMA, id="llama3-no-ramp", seen=NOWHERE, fix="between low and high, mix")
def no_ramp_between(K, scale=8.0, trained=8192, base=500000.0, *, low=1.0, high=4.0):
    """What turns less than `high` times is divided."""
    theta = frequencies(K, base)
    return torch.where(trained * theta / math.tau >= high, theta, theta / scale)


@mistake(LLAMA, id="llama3-radians", seen=NOWHERE, fix="turns: positions times frequency over 2π")
def radians_for_turns(K, scale=8.0, trained=8192, base=500000.0, *, low=1.0, high=4.0):
    """The factor 2π is missing in the wavelength."""
    return llama3(K, scale, trained, base, low=low / math.tau, high=high / math.tau)
