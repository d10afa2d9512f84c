"""Laws of slopes by dual numbers and of what operations send back; whole programs are in autodiff_programs.py."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from verify import autodiff_programs
from verify.compare import close
from verify.inputs import integers, tensor
from verify.suite import Operation

ANYWHERE = ["exp", "sin", "cos", "tanh", "relu", "one", "square", "sigmoid", "wave"]
POSITIVE = ["log", "sqrt", "reciprocal"]
BY_HAND = {
    "exp": {0.0: 1.0, math.log(3): 3.0},
    "log": {1.0: 1.0, 4.0: 1 / 4},
    "sin": {0.0: 1.0, math.pi: -1.0},
    "cos": {0.0: 0.0, math.pi / 2: -1.0},
    "tanh": {0.0: 1.0, math.log(2): 16 / 25},  # tanh log 2 = 3/5
    "relu": {-2.0: 0.0, 0.0: 0.0, 3.0: 1.0},
    "sqrt": {1.0: 1 / 2, 4.0: 1 / 4},
    "one": {0.0: 0.0, 2.0: 0.0},
    "square": {0.0: 0.0, 3.0: 6.0},
    "reciprocal": {1.0: -1.0, 2.0: -1 / 4},
    "sigmoid": {0.0: 1 / 4, math.log(2): 2 / 9},  # 2/3 · 1/3
    "wave": {0.0: -1.0, math.sqrt(math.pi): -2 * math.sqrt(math.pi) - 1},
}

BENDS_BY_HAND = {
    "exp": {0.0: 1.0, math.log(3): 3.0},
    "log": {1.0: -1.0, 2.0: -1 / 4},
    "sin": {0.0: 0.0, math.pi / 2: -1.0},
    "cos": {0.0: -1.0, math.pi: 1.0},
    "tanh": {0.0: 0.0, math.log(2): -96 / 125},  # −2 · 3/5 · 16/25
    "relu": {-2.0: 0.0, 3.0: 0.0},
    "sqrt": {1.0: -1 / 4, 4.0: -1 / 32},
    "one": {0.0: 0.0, 2.0: 0.0},
    "square": {0.0: 2.0, 3.0: 2.0},
    "reciprocal": {1.0: 2.0, 2.0: 1 / 4},
    "sigmoid": {0.0: 0.0, math.log(2): -2 / 27},  # 2/9 · (1 − 4/3)
    "wave": {0.0: 2.0, math.sqrt(math.pi): -2.0},
}


@st.composite
def points(draw):
    """A function of one number, and where its slope is asked for: where it has one, or at the corner of relu."""
    function = draw(st.sampled_from(ANYWHERE + POSITIVE))
    shape = draw(st.sampled_from([(3,), (2, 3)]))
    return {"x": draw(tensor(*shape, low=1 if function in POSITIVE else -8, high=8)), "function": function}


@st.composite
def bends(draw):
    """The same, and the modes of the outer and the inner differentiation."""
    modes = st.sampled_from(["forward", "reverse"])
    return draw(points()) | {"outer": draw(modes), "inner": draw(modes)}


@st.composite
def pairs(draw):
    """Two tensors that broadcast, a cotangent of the result, and an operation; ties are frequent."""
    first, second, size = draw(
        st.sampled_from(
            [((2, 1), (3,), (2, 3)), ((2, 3), (2, 3), (2, 3)), ((), (4,), (4,)), ((3, 1, 2), (4, 1), (3, 4, 2))]
        )
    )
    operation = draw(st.sampled_from(["mul", "div", "maximum", "sub", "add"]))
    b = draw(tensor(*second, low=1, high=6)) if operation == "div" else draw(tensor(*second, low=-3, high=3))
    return {"a": draw(tensor(*first, low=-3, high=3)), "b": b, "g": draw(tensor(*size)), "operation": operation}


@st.composite
def stacks(draw):
    """Two stacks of matrices whose leading axes broadcast, and a cotangent of their product."""
    M, K, N = 2, 3, 4
    first, second, size = draw(
        st.sampled_from([((), (), ()), ((5,), (), (5,)), ((), (5,), (5,)), ((5, 1), (6,), (5, 6)), ((5, 6),) * 3])
    )
    return {"a": draw(tensor(*first, M, K)), "b": draw(tensor(*second, K, N)), "g": draw(tensor(*size, M, N))}


@st.composite
def tied(draw):
    """A table, symbols read from it, often more than once, and a cotangent of the scores of all symbols."""
    N, V, D = draw(st.sampled_from([(4, 3, 2), (5, 2, 3), (2, 6, 4)]))
    return {"table": draw(tensor(V, D)), "ids": draw(integers(N, below=V)), "g": draw(tensor(N, V))}


@st.composite
def rows(draw):
    """Rows with entries of few values, so that the largest is often not alone, and a cotangent for each row."""
    B, V = draw(st.sampled_from([(2, 3), (3, 4), (4, 2)]))
    return {"z": draw(tensor(B, V, low=-2, high=2)), "g": draw(tensor(B))}


def slopes_by_hand(derivative, x, function):
    """Slopes that everybody knows, at two or three places each."""
    for name, known in BY_HAND.items():
        where, slopes = (torch.tensor(list(numbers), dtype=torch.float64) for numbers in (known, known.values()))
        close(derivative(where, name), slopes, scale=1)


def entries_do_not_mix(derivative, x, function, **modes):
    """The slope at an entry is that of the entry alone."""
    close(derivative(x[..., :1], function, **modes), derivative(x, function, **modes)[..., :1])


def bends_by_hand(second_derivative, x, function, outer, inner):
    """Second derivatives that everybody knows, at two places each."""
    for name, known in BENDS_BY_HAND.items():
        where, expected = (torch.tensor(list(numbers), dtype=torch.float64) for numbers in (known, known.values()))
        close(second_derivative(where, name, outer, inner), expected, scale=1)


def shapes_come_back(pullback, a, b, g, **options):
    """A cotangent has the shape of what it belongs to."""
    for x, back in zip((a, b), pullback(a, b, g, **options), strict=True):
        assert back.shape == x.shape, f"the shape {tuple(back.shape)} for one of {tuple(x.shape)}"


def euler_counts_the_degree(pullback, a, b, g, operation):
    """Σ a ā + Σ b b̄ is Σ g y times the degree: 1 for sums and maxima, 2 for products, 0 for quotients."""
    first, second = pullback(a, b, g, operation=operation)
    degree = {"mul": 2.0, "div": 0.0}.get(operation, 1.0)
    y = {"add": a + b, "sub": a - b, "mul": a * b, "maximum": torch.maximum(a, b)}.get(operation, a / b)
    size = (g * y).abs().sum().item()
    close((a * first).sum() + (b * second).sum(), degree * (g * y).sum(), scale=size)


def first_operand_by_hand(pullback, a, b, g, operation):
    """Of 2 and 4 the first gets 1, 1, 4, ¼ or 0; of 3 and 3 in a maximum each gets a half."""
    two, four, one = (torch.tensor([x], dtype=torch.float64) for x in (2.0, 4.0, 1.0))
    first, _ = pullback(two, four, one, operation=operation)
    close(first, {"add": 1.0, "sub": 1.0, "mul": 4.0, "div": 0.25, "maximum": 0.0}[operation], scale=1)
    if operation == "maximum":
        close(torch.cat(pullback(four, four, one, operation=operation)), 0.5)


def copies_add_up(pullback, a, b, g, **options):
    """An operand that is written out as often as it is used gets the same in all."""
    written, whole = a.expand(*g.shape[: g.ndim - a.ndim], *a.shape), pullback(a, b, g, **options)[0]
    extra = pullback(written.contiguous(), b, g, **options)[0]
    close(extra.sum(tuple(range(g.ndim - a.ndim))) if g.ndim > a.ndim else extra, whole)


def both_factors_weigh_the_same(pullback, a, b, g):
    """Σ a ā = Σ b b̄ = Σ g ∘ (a b): the product is linear in either."""
    first, second = pullback(a, b, g)
    value, size = (g * (a @ b)).sum(), (g.abs() * (a.abs() @ b.abs())).sum().item()
    close((a * first).sum(), value, scale=size)
    close((b * second).sum(), value, scale=size)


def unit_matrices_by_hand(pullback, a, b, g):
    """Through an identity matrix the cotangent comes back as it is."""
    for x, back in ((a, lambda eye, seen: pullback(a, eye, seen)[0]), (b, lambda eye, seen: pullback(eye, b, seen)[1])):
        seen = torch.arange(x.numel()).double().reshape(x.shape)
        close(back(torch.eye(3).double(), seen), seen)


def table_counts_twice(tied_gradient, table, ids, g):
    """The scores are quadratic in the table: Σ E Ē is twice Σ g ∘ (E[ids] Eᵀ)."""
    scores = g * (table[ids] @ table.T)
    close((table * tied_gradient(table, ids, g)).sum(), 2 * scores.sum(), scale=2 * scores.abs().sum().item())


def repeated_row_by_hand(tied_gradient, table, ids, g):
    """Symbol 0 read three times and scored against symbol 1: row 0 gets three times row 1, row 1 three times row 0."""
    two = torch.tensor([[1.0, 2.0], [5.0, 7.0]], dtype=torch.float64)
    against = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(3, 2).contiguous()
    close(tied_gradient(two, torch.zeros(3, dtype=torch.int64), against), 3 * two.flip(0))


def texts_add(tied_gradient, table, ids, g):
    """A text's gradient is the sum of those of its symbols."""
    parts = [tied_gradient(table, ids[i : i + 1], g[i : i + 1]) for i in range(len(ids))]
    whole = tied_gradient(table, ids, g)
    close(torch.stack(parts).sum(0), whole, scale=torch.stack(parts).abs().sum(0).max().item())


def rows_pass_on_all(largest_gradient, z, g):
    """What comes to a row's largest entry is divided among the row, and none of it is lost."""
    close(largest_gradient(z, g).sum(-1), g)


def smaller_entries_get_nothing(largest_gradient, z, g):
    """An entry below the largest of its row does not move it."""
    back = largest_gradient(z, g)
    assert not back[z < z.amax(-1, keepdim=True)].any(), "an entry below the largest has a gradient"


def equals_share_by_hand(largest_gradient, z, g):
    """Of 5, 1, 5, 5 the three fives get a third each."""
    row = torch.tensor([[5.0, 1.0, 5.0, 5.0]], dtype=torch.float64)
    close(largest_gradient(row, torch.ones(1).double()), torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double() / 3)


def first_of_equals(_, z, g):
    """The first of equal entries gets all."""
    return torch.zeros_like(z).scatter(-1, z.argmax(-1, keepdim=True), g[:, None])


OPERATIONS = [
    Operation("autodiff.derivative", inputs=points(), laws=[slopes_by_hand, entries_do_not_mix], unit=1.0, free=("x",)),
    Operation(
        "autodiff.second_derivative",
        inputs=bends(),
        laws=[bends_by_hand, entries_do_not_mix, autodiff_programs.modes_agree],
        unit=1.0,
        free=("x",),
    ),
    Operation(
        "autodiff.arithmetic_pullback",
        inputs=pairs(),
        laws=[shapes_come_back, euler_counts_the_degree, first_operand_by_hand, copies_add_up],
        unit=1.0,
        free=("g",),
    ),
    Operation(
        "autodiff.matmul_pullback",
        inputs=stacks(),
        laws=[shapes_come_back, both_factors_weigh_the_same, unit_matrices_by_hand],
        free=("a", "b", "g"),
    ),
    Operation(
        "autodiff.tied_gradient",
        inputs=tied(),
        laws=[table_counts_twice, repeated_row_by_hand, texts_add],
        gradients=("table", "g"),
    ),
    Operation(
        "autodiff.largest_gradient",
        inputs=rows(),
        laws=[rows_pass_on_all, smaller_entries_get_nothing, equals_share_by_hand],
        conventions={"the first of equal entries gets all": first_of_equals},
        free=("g",),
    ),
    *autodiff_programs.OPERATIONS,
]
