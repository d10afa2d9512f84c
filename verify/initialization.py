"""Laws of the weights that standard numbers, and a layer's shape, are turned into."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify.compare import close
from verify.inputs import drawn, tensor
from verify.suite import Operation

SHAPES = [(3, 5), (4, 2), (2, 3, 3), (2, 5, 2, 3)]  # none has equal fans in either layout
MODES, LAYOUTS = ["fan_in", "fan_out", "fan_avg"], ["out_in", "in_out"]


def shares(*shape):
    """Numbers k/32 for 0 < k < 32, as a uniform law might give them; at the ends a normal law is infinite."""
    return drawn(*shape, low=1, high=31).map(lambda k: k.double() / 32)


@st.composite
def layers(draw, name, numbers, **more):
    """Numbers in the shape of a layer, and how they are to be scaled."""
    how = {"mode": MODES, "gain": [1.0, 5 / 3, math.sqrt(2)], "layout": LAYOUTS, **more}
    chosen = {option: draw(st.sampled_from(values)) for option, values in how.items()}
    return {name: draw(numbers(*draw(st.sampled_from(SHAPES)))), **chosen}


@st.composite
def blocks(draw):
    """Numbers in the shapes of a block's four matrices."""
    D, F = draw(st.sampled_from([(2, 8), (3, 5)]))
    z = [draw(tensor(*shape)) for shape in ((3 * D, D), (D, D), (F, D), (D, F))]
    return {"z": z, "L": draw(st.sampled_from([2, 1, 12, 48])), "std": draw(st.sampled_from([0.02, 1.0]))}


def fan(shape, mode, layout):
    """How many weights meet in one output, or leave one input: counted by picking these weights out."""
    ones = torch.ones(shape)
    into, out = (ones[0], ones[:, 0]) if layout == "out_in" else (ones[..., 0], ones[..., 0, :])
    counts = {"fan_in": into.numel(), "fan_out": out.numel()}
    return counts.get(mode, sum(counts.values()) / 2)


def mean_square(weights, numbers, mode, gain, layout, at):
    """At nodes that integrate a square exactly, each of weight ½, the squared weights add up to gain²/fan."""
    squares = [weights(torch.full_like(numbers, node), mode, gain, layout) ** 2 / 2 for node in at]
    close(sum(squares), torch.full_like(numbers, gain**2 / fan(numbers.shape, mode, layout)))


def uniform_has_the_variance(uniform, u, mode, gain, layout):
    """Over u in (0, 1) the mean square of the weights is gain²/fan; two nodes, ½ ± 1/√12, say so exactly."""
    mean_square(uniform, u, mode, gain, layout, at=(0.5 - 12**-0.5, 0.5 + 12**-0.5))


def normal_has_the_variance(normal, z, mode, gain, layout):
    """For z of mean zero and variance one, such as −1 and 1 at equal odds, the mean square is gain²/fan."""
    mean_square(normal, z, mode, gain, layout, at=(-1.0, 1.0))


def largest_weight_of_what_is_cut(truncated_normal, u, mode, gain, layout, cut):
    """u = 1 gives k deviations of the law before the cut, whose variance less 2kφ(k)/(2Φ(k) − 1) of it is gain²/fan."""
    inside = math.erf(cut / 2**0.5)
    left = 1 - 2 * cut * math.exp(-(cut**2) / 2) / (2 * math.pi) ** 0.5 / inside
    largest = truncated_normal(torch.ones_like(u), mode, gain, layout, cut)
    close(largest**2 * left / cut**2, torch.full_like(u, gain**2 / fan(u.shape, mode, layout)))


def equal_shares_are_equally_likely(truncated_normal, u, **how):
    """Between the cuts a share u − ½ of the numbers takes that share of the normal law's mass."""
    k = how["cut"] * truncated_normal(u, **how) / truncated_normal(torch.ones_like(u), **how)
    close(torch.erf(k / 2**0.5), (2 * u - 1) * math.erf(how["cut"] / 2**0.5), scale=1)


def equal_steps_are_equal(weights, **given):
    """Half-way between two numbers is the weight half-way between theirs."""
    (_, x), *how = given.items()
    middle = weights(x / 2 + 0.25, **dict(how))
    close(middle, weights(x, **dict(how)) / 2 + weights(torch.full_like(x, 0.5), **dict(how)) / 2, scale=1)


def sides_mirror_each_other(weights, u, **how):
    """1 − u gives the weight of u with its sign turned."""
    close(weights(1 - u, **how), -weights(u, **how))


def turned(x, layout):
    """A weight in the other layout: (out, in, *kernel) as (*kernel, in, out), and back."""
    return x.movedim((0, 1), (-1, -2)) if layout == "out_in" else x.movedim((-1, -2), (0, 1))


def layouts_are_views(weights, layout, **given):
    """The same numbers in the other layout are the same weights in it."""
    (_, x), *how = given.items()
    there = weights(turned(x, layout), layout=LAYOUTS[layout == "out_in"], **dict(how))
    close(there, turned(weights(x, layout=layout, **dict(how)), layout))


def six_links_by_hand(uniform, u, **how):
    """Two channels under a kernel of two are four inputs of one output, and two outputs of each: the bound is √6/√6."""
    close(uniform(torch.full((1, 2, 2), 0.75, dtype=torch.float64), "fan_avg"), 0.5)


def thirty_six_inputs_by_hand(normal, z, **how):
    """Four channels under 3 × 3 kernels are 36 inputs: unless told otherwise a weight is a sixth of its number."""
    close(normal(torch.ones(2, 4, 3, 3, dtype=torch.float64)), 1 / 6)


def unless_told_it_is_cut_at_two(truncated_normal, u, **how):
    """Four inputs, and u = 1: twice the deviation of a half over 0.87962566103423978."""
    ones = torch.ones(3, 4, dtype=torch.float64)
    close(truncated_normal(ones), ones / 0.87962566103423978)


def branches_write_a_mean(gpt2_block, z, L, std):
    """2L squared deviations of what writes to the stream add up to one squared deviation of what does not."""
    qkv, out, up, down = gpt2_block([torch.ones_like(x) for x in z], L, std)
    for writes, reads in ((out, qkv), (down, up)):
        close(2 * L * writes.mean() ** 2, reads.mean() ** 2)


def depth_meets_what_writes(gpt2_block, z, L, std):
    """In four times as many layers the matrices that write are half as large, and the others as large as before."""
    for k, (shallow, deep) in enumerate(zip(gpt2_block(z, L, std), gpt2_block(z, 4 * L, std), strict=True)):
        close(deep, shallow / (2 if k % 2 else 1))


def two_layers_by_hand(gpt2_block, z, L, std):
    """In two layers four branches are halved; unless told otherwise the deviation is 0.02."""
    for ours, number, scale in zip(gpt2_block(z, 2), z, (0.02, 0.01, 0.02, 0.01), strict=True):
        close(ours, scale * number)


OPERATIONS = [
    Operation(
        "initialization.uniform",
        inputs=layers("u", shares),
        laws=[
            uniform_has_the_variance,
            sides_mirror_each_other,
            equal_steps_are_equal,
            layouts_are_views,
            six_links_by_hand,
        ],
        unit=1,
    ),
    Operation(
        "initialization.normal",
        inputs=layers("z", tensor),
        laws=[normal_has_the_variance, equal_steps_are_equal, layouts_are_views, thirty_six_inputs_by_hand],
        free=("z",),
    ),
    Operation(
        "initialization.truncated_normal",
        inputs=layers("u", shares, cut=[2.0, 1.0, 3.0]),
        laws=[
            largest_weight_of_what_is_cut,
            equal_shares_are_equally_likely,
            sides_mirror_each_other,
            layouts_are_views,
            unless_told_it_is_cut_at_two,
        ],
        unit=1,
    ),
    Operation(
        "initialization.gpt2_block",
        inputs=blocks(),
        laws=[branches_write_a_mean, depth_meets_what_writes, two_layers_by_hand],
        free=(),
    ),
]
