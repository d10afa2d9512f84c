r"""Huffman's procedure: merge the two lightest until one is left. No prefix code has a smaller mean length.

Once for all sizes, by exchanges and merges; and once more by running the procedure on symbols, for up to five of them.
Article papers/information.md, code reference/information.py, laws verify/information.py.
"""

from itertools import combinations
from math import gcd

from sympy import IndexedBase, Matrix, S, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct

n, i, r = (Symbol(name, integer=True, positive=True) for name in "nir")
t = Symbol("t", integer=True, nonnegative=True)
p, l, w, C = (IndexedBase(name, real=True) for name in ("p", "l", "w", "C"))
gain = IndexedBase("g", nonnegative=True)
a, b, depth = (Symbol(name, real=True) for name in ("a", "b", "l_a"))
heavier, deeper = (Symbol(name, nonnegative=True) for name in ("x", "y"))


@claim(
    source="huffman1952method; cover2006elements, §5.8 (Lemma 5.8.1 and Theorem 5.8.1)",
    code="reference.information.huffman",
    mistakes={
        "the heavier leaf is moved down": {"moved": -1},
        "the merged node is as deep as its children": {"up": 0},
        "a merge costs the lighter weight": {"paid": a},
        "an exchange is paid for twice": {"gains": 2},
    },
)
def huffman_is_optimal(moved=1, up=1, paid=a + b, gains=1):
    """Every tree costs the weights that Huffman's procedure merges, which are its own cost, plus gains of exchanges."""
    others = Sum(p[i] * l[i], (i, 1, n))
    return (
        below(
            others + a * depth + (a + heavier) * (depth + moved * deeper),
            ge(
                others + (a + heavier) * depth + a * (depth + moved * deeper),
                "the tree's deepest leaves are two siblings; exchange them with the lightest: x heavier, y deeper",
                by=heavier * deeper,
            ),
        ),
        equal(
            others + a * depth + b * depth,
            eq(others + (a + b) * (depth - up) + paid, "then merge these, as Huffman does: a tree of one leaf less"),
        ),
        induct(
            C,
            t,
            start=0,
            step=C[t] + w[t + 1] + gains * gain[t + 1],
            closed=lambda t: Sum(w[r] + gain[r], (r, 1, t)),
            reason="so a tree of t + 2 leaves costs one of t + 1, the weight w = a + b, and what was gained; a root, 0",
        ),
        below(
            Sum(w[r] + gain[r], (r, 1, t)),
            ge(
                Sum(w[r], (r, 1, t)),
                "Huffman's own tree is merged without any exchange: this is its cost",
                by=Sum(gain[r], (r, 1, t)),
            ),
        ),
    )


def half(rays, form):
    """Rays of the part of a cone where the form is not negative: its points are the sums Σ c r with c ≥ 0.

    What the rays with a negative value take away, those with a positive value have to bring: pairs of both, at zero.
    """
    value = {ray: sum(x * y for x, y in zip(form, ray, strict=True)) for ray in rays}
    pairs = [(r, s) for r in rays if value[r] > 0 for s in rays if value[s] < 0]
    edges = [tuple(value[r] * y - value[s] * x for x, y in zip(r, s, strict=True)) for r, s in pairs]
    kept = [ray for ray in rays if value[ray] >= 0] + edges
    return list(dict.fromkeys(tuple(x // gcd(*ray) for x in ray) for ray in kept))


def courses(nodes, rays, size, sign=1):
    """Every way in which the procedure can go on: (depth of each leaf, rays of the weights for which it goes so).

    A node is its leaves with their depths. Cones of lower dimension hold nothing but ties, and belong to others too.
    """
    if len(nodes) == 1:
        yield [nodes[0][leaf] for leaf in range(size)], rays
        return
    for pair in combinations(nodes, 2):
        others, cone = [node for node in nodes if node not in pair], rays
        for light in pair:
            for other in others:
                cone = half(cone, [sign * ((leaf in other) - (leaf in light)) for leaf in range(size)])
        if len(cone) >= size and Matrix(cone).rank() == size:
            merged = {leaf: d + 1 for node in pair for leaf, d in node.items()}
            yield from courses([*others, merged], cone, size, sign)


def profiles(size):
    """The depths of the leaves of every full tree, in rising order: split a leaf of a smaller one."""
    if size == 1:
        return {(0,)}
    smaller = profiles(size - 1)
    return {
        tuple(sorted([*tree[:k], *tree[k + 1 :], tree[k] + 1, tree[k] + 1]))
        for tree in smaller
        for k in range(size - 1)
    }


MOST = 5
weight, huffman, other = ([Symbol(f"{name}_{k}", real=True) for k in range(1, MOST + 1)] for name in "phl")


@claim(
    source="huffman1952method; cover2006elements, §5.8",
    code="reference.information.huffman",
    scope="instances",
    why="all distributions over two to five symbols: every course of the procedure against every full tree",
    mistakes={
        "the two heaviest are merged": {"sign": -1},
        "one chain of merges for all": {"tree": lambda depths: [*range(1, len(depths)), len(depths) - 1]},
    },
)
def huffman_is_optimal_up_to_five(sign=1, tree=lambda depths: depths):
    """Whatever its comparisons say, the procedure ends in depths whose mean no full tree of up to five leaves beats."""
    nothing, falls, cases = dict.fromkeys((*weight, *huffman, *other), S.Zero), [], []
    for size in range(2, MOST + 1):
        falling = [tuple(int(k <= last) for k in range(size)) for last in range(size)]
        for depths, rays in courses([{leaf: 0} for leaf in range(size)], falling, size, sign):
            c = [Symbol(f"c_{k}", nonnegative=True) for k in range(1, len(rays) + 1)]
            weights = [sum(x * ray[k] for x, ray in zip(c, rays, strict=True)) for k in range(size)]
            falls.append(nothing | dict(zip(weight, weights, strict=False)))
            found = falls[-1] | dict(zip(huffman, tree(depths), strict=False))
            cases += [found | dict(zip(other, profile, strict=False)) for profile in profiles(size)]
    mean = [sum(x * y for x, y in zip(weight, lengths, strict=True)) for lengths in (other, huffman)]
    order = [ge(following, "a sum of rays, c ≥ 0, of the cone in question") for following in weight[1:]]
    return (
        finite(weight[0], *order, cases=falls),
        finite(mean[0], ge(mean[1], "l rises: any other order costs more, by an exchange"), cases=cases),
    )
