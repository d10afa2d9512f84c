"""Mistakes in the size of initial weights: fans, roots, bounds and tails; those of a whole block are beside."""

from __future__ import annotations

import math

import torch

from reference.initialization import deviation, fans, normal, truncated_normal, uniform
from verify.mistake import mistake

NOWHERE = "no public report found"
OTHER = {"fan_in": "fan_out", "fan_out": "fan_in", "fan_avg": "fan_avg"}


def scaled(numbers, mode, gain, layout, scale):
    """numbers · scale(gain, fan)."""
    into, out = fans(numbers.shape, layout)
    return numbers * scale(gain, {"fan_in": into, "fan_out": out, "fan_avg": (into + out) / 2}[mode])


def bare(shape, layout):
    """The fans of a kernel taken for those of one of its positions."""
    return fans(shape[:2] if layout == "out_in" else shape[-2:], layout)


@mistake(
    "initialization.uniform",
    id="init-bound-is-deviation",
    seen="keras-team/keras PR#372; LaurentMazare/tch-rs PR#573",
    fix="the bound is √3 deviations",
)
def deviation_for_the_bound(u, mode="fan_in", gain=1.0, layout="out_in"):
    """Uniform on ± the deviation, whose variance is a third."""
    return (2 * u - 1) * deviation(u.shape, mode, gain, layout)


@mistake("initialization.uniform", id="init-not-centred", seen=NOWHERE, fix="(2u − 1) times the bound")
def not_centred(u, mode="fan_in", gain=1.0, layout="out_in"):
    """Uniform on (0, 2 bounds): the variance is right, the mean is not."""
    return 2 * u * math.sqrt(3) * deviation(u.shape, mode, gain, layout)


@mistake(
    "initialization.uniform",
    id="init-other-law",
    seen="LBANN/lbann PR#316; dmlc/minpy #158",
    fix="a straight line in u, not a quantile of the normal law",
)
def normal_where_uniform_was_asked_for(u, mode="fan_in", gain=1.0, layout="out_in"):
    """A normal law of the same variance."""
    return torch.erfinv(2 * u - 1) * math.sqrt(2) * deviation(u.shape, mode, gain, layout)


@mistake(
    "initialization.uniform",
    id="init-conv-receptive-field",
    seen="LeelaChessZero/lczero-training PR#43; clab/dynet #659",
    fix="a fan is the product of the kernel's sizes and the channels",
)
def sizes_of_all_axes_added(u, mode="fan_in", gain=1.0, layout="out_in"):
    """√(6/Σ shape), as if the kernel's axes were layers."""
    if mode != "fan_avg":
        return uniform(u, mode, gain, layout)
    return (2 * u - 1) * gain * math.sqrt(6 / sum(u.shape))


@mistake(
    "initialization.uniform",
    id="init-missing-brackets",
    seen="mlverse/torch #555",
    fix="2/(fan_in + fan_out), not 2/fan_in + fan_out",
)
def sum_outside_the_quotient(u, mode="fan_in", gain=1.0, layout="out_in"):
    """√(2/fan_in + fan_out)."""
    into, out = fans(u.shape, layout)
    right = uniform(u, mode, gain, layout)
    return (2 * u - 1) * math.sqrt(3) * gain * math.sqrt(2 / into + out) if mode == "fan_avg" else right


@mistake(
    "initialization.uniform",
    id="init-gain-squared",
    seen="pytorch/pytorch #30947 (proposed as a correction)",
    fix="the gain multiplies deviations: once",
)
def gain_squared(u, mode="fan_in", gain=1.0, layout="out_in"):
    """The gain of variances for that of deviations."""
    return uniform(u, mode, gain**2, layout)


@mistake(
    "initialization.uniform",
    id="init-layout-transposed",
    seen="pytorch/pytorch PR#130122 (a warning in the documentation)",
    fix="say which axis is which: x @ W has its inputs first",
)
def layout_not_looked_at(u, mode="fan_in", gain=1.0, layout="out_in"):
    """(in, out) read as (out, in)."""
    return uniform(u, mode, gain, "out_in")


@mistake(
    "initialization.normal",
    id="init-fan-out",
    seen="mnielsen/neural-networks-and-deep-learning #30; vballoli/nfnets-pytorch #30",
    fix="1/√fan_in, the number of weights that meet in an output",
)
def the_other_fan(z, mode="fan_in", gain=1.0, layout="out_in"):
    """1/√fan_out where 1/√fan_in is meant."""
    return normal(z, OTHER[mode], gain, layout)


@mistake("initialization.normal", id="init-variance-for-deviation", seen=NOWHERE, fix="take the root")
def root_forgotten(z, mode="fan_in", gain=1.0, layout="out_in"):
    """gain/fan."""
    return scaled(z, mode, gain, layout, lambda g, fan: g / fan)


@mistake(
    "initialization.normal",
    id="init-normal-root-three",
    seen="tflearn/tflearn #870",
    fix="√(2/(fan_in + fan_out)); the 3 belongs to the uniform law's bound",
)
def three_for_two(z, mode="fan_in", gain=1.0, layout="out_in"):
    """√(3/(fan_in + fan_out))."""
    return normal(z, mode, gain * (math.sqrt(1.5) if mode == "fan_avg" else 1), layout)


@mistake(
    "initialization.normal",
    id="init-sum-of-fans",
    seen="deepmodeling/deepmd-kit PR#5428 (as its convention)",
    fix="Glorot's variance is 2/(fan_in + fan_out)",
)
def one_for_two(z, mode="fan_in", gain=1.0, layout="out_in"):
    """√(1/(fan_in + fan_out))."""
    return normal(z, mode, gain / (math.sqrt(2) if mode == "fan_avg" else 1), layout)


@mistake(
    "initialization.normal",
    id="init-he-lacks-two",
    seen="LBANN/lbann PR#316; jw1912/bullet PR#363",
    fix="multiply by the gain, √2 for relu",
)
def gain_forgotten(z, mode="fan_in", gain=1.0, layout="out_in"):
    """LeCun's weights, whatever the gain."""
    return normal(z, mode, 1.0, layout)


@mistake(
    "initialization.normal",
    id="init-fan-out-without-kernel",
    seen="keras-team/keras PR#2252",
    fix="an input takes part in one output at every position of the kernel",
)
def kernel_counts_for_inputs_only(z, mode="fan_in", gain=1.0, layout="out_in"):
    """fan_out is the number of channels, without the kernel."""
    into, out = fans(z.shape, layout)[0], bare(z.shape, layout)[1]
    return z * gain / math.sqrt({"fan_in": into, "fan_out": out, "fan_avg": (into + out) / 2}[mode])


@mistake("initialization.normal", id="init-kernel-axes-last", seen=NOWHERE, fix="in (*kernel, in, out) they come first")
def kernel_axes_taken_for_channels(z, mode="fan_in", gain=1.0, layout="out_in"):
    """The first two axes are out and in, or in and out, also where the kernel's come first."""
    if layout == "out_in":
        return normal(z, mode, gain, layout)
    first, second, *kernel = z.shape
    return z * deviation((second, first, *kernel), mode, gain, "out_in")


@mistake("initialization.normal", id="init-shifted", seen=NOWHERE, fix="mean zero: add nothing")
def shifted(z, mode="fan_in", gain=1.0, layout="out_in"):
    """A hundredth is added to every weight."""
    return normal(z, mode, gain, layout) + 0.01


@mistake("initialization.normal", id="init-magnitudes", seen=NOWHERE, fix="keep the signs: the law must be symmetric")
def magnitudes(z, mode="fan_in", gain=1.0, layout="out_in"):
    """|z|."""
    return normal(z.abs(), mode, gain, layout)


@mistake(
    "initialization.truncated_normal",
    id="init-truncation-uncorrected",
    seen="keras-team/keras #8048; tensorflow/tensorflow #16344; tensorflow/tfjs #8594",
    fix="divide the deviation by 0.8796: cutting the tails makes it smaller",
)
def deviation_before_the_cut(u, mode="fan_in", gain=1.0, layout="out_in", cut=2.0):
    """The deviation is that of the law before it is cut."""
    inside = math.erf(cut / math.sqrt(2))
    return torch.erfinv((2 * u - 1) * inside) * math.sqrt(2) * deviation(u.shape, mode, gain, layout)


@mistake(
    "initialization.truncated_normal",
    id="init-truncation-absolute",
    seen="no public report found; the default a = −2, b = 2 of torch.nn.init.trunc_normal_ invites it",
    fix="cut at a number of deviations",
)
def cut_at_absolute_numbers(u, mode="fan_in", gain=1.0, layout="out_in", cut=2.0):
    """±cut itself, which for small deviations cuts nothing."""
    before = deviation(u.shape, mode, gain, layout)
    inside = math.erf(cut / before / math.sqrt(2))
    return torch.erfinv((2 * u - 1) * inside) * math.sqrt(2) * before


@mistake(
    "initialization.truncated_normal",
    id="init-truncation-squared",
    seen="tensorflow/tfjs-core PR#434",
    fix="cut at ±2σ, not ±2σ²",
)
def cut_at_variances(u, mode="fan_in", gain=1.0, layout="out_in", cut=2.0):
    """±cut variances."""
    return truncated_normal(u, mode, gain, layout, cut * deviation(u.shape, mode, gain, layout))


@mistake("initialization.truncated_normal", id="init-clipped", seen=NOWHERE, fix="draw again, do not clamp")
def clipped_for_cut(u, mode="fan_in", gain=1.0, layout="out_in", cut=2.0):
    """The tails are moved onto the cuts instead of being left out."""
    largest = truncated_normal(torch.ones_like(u), mode, gain, layout, cut)
    return (torch.erfinv(2 * u - 1) * math.sqrt(2) / cut).clamp(-1, 1) * largest


@mistake("initialization.truncated_normal", id="init-one-tail", seen=NOWHERE, fix="cut both tails")
def one_tail_cut(u, mode="fan_in", gain=1.0, layout="out_in", cut=2.0):
    """The lower tail stays."""
    largest = truncated_normal(torch.ones_like(u), mode, gain, layout, cut)
    below = (1 + math.erf(cut / math.sqrt(2))) / 2
    return torch.erfinv(2 * u * below - 1) * math.sqrt(2) / cut * largest


@mistake("initialization.truncated_normal", id="init-cut-default", seen=NOWHERE, fix="the default is 2")
def cut_at_three_unless_told(u, mode="fan_in", gain=1.0, layout="out_in", cut=3.0):
    """Three deviations, unless told otherwise."""
    return truncated_normal(u, mode, gain, layout, cut)


@mistake("initialization.truncated_normal", id="init-cut-layout", seen=NOWHERE, fix="read the axes as the layout says")
def layout_forgotten(u, mode="fan_in", gain=1.0, layout="out_in", cut=2.0):
    """(in, out) read as (out, in)."""
    return truncated_normal(u, mode, gain, "out_in", cut)
