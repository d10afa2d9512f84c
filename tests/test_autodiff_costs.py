"""What derivatives cost: operations as counted, bytes on a tape, and graphs of any depth."""

import gc
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from derivations.autodiff_costs import RULES, cost
from reference.autodiff import gradient
from reference.autodiff_linear import total
from reference.autodiff_rules import cos, exp, log, sin, sqrt, tanh
from reference.autodiff_tape import Tape, vjp


def test_a_graph_a_hundred_thousand_deep():
    """No recursion: neither on the way back nor when the tape is freed."""

    def deep(x):
        for _ in range(100_000):
            x = x * 0.9999
        return total(x)

    x = torch.tensor([0.5, 2.0], dtype=torch.float64)
    (found,) = gradient(deep, x)
    rounded = 100_000 * 2.0**-52  # once for every product, and as much for the power
    assert torch.allclose(found, torch.full_like(x, 0.9999**100_000), rtol=rounded, atol=0)


def test_a_tape_goes_with_its_last_user():
    """No cycles: what a tape keeps is freed at once, without the garbage collector."""
    gc.disable()
    try:
        tape = Tape()
        y = tanh(tape.write("input", torch.ones(3)))
        seen = weakref.ref(y.value)
        del y, tape
        assert seen() is None
    finally:
        gc.enable()


class Operations(TorchDispatchMode):
    """Counts arithmetic on numbers; moving them about is none."""

    FREE = frozenset("detach neg _to_copy clone ones_like zeros_like alias fill_ empty_like".split())

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name not in self.FREE:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


CODE = {
    "sum": lambda a, b: a + b, "difference": lambda a, b: a - b, "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / b, "power": lambda a: a**1.5, "exp": exp, "log": log, "sin": sin, "cos": cos,
    "tanh": tanh, "sqrt": sqrt,
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_code_takes_as_many_operations_as_the_derivation_counts(name):
    forward, back, operands = cost(name)
    xs = [torch.tensor([2.0 + i], dtype=torch.float64) for i in range(operands)]
    with Operations() as there:
        _, pull = vjp(CODE[name], *xs)
    arrived = torch.tensor([3.0], dtype=torch.float64)
    with Operations() as again:
        pull(arrived)
    assert (len(there.names), len(again.names)) == (forward, back), (there.names, again.names)


def test_what_the_bench_predicts_is_so():
    """Bytes on a tape to the byte; operations of function and gradient below their bound, and not far."""
    from bench.autodiff import of_gradients, of_tape

    assert [r["ratio"] for r in of_tape()] == [1.0] * 7
    assert all(r["measured"] <= r["predicted"] for r in of_gradients())
