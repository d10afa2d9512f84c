r"""Recomputation by hand: a function keeps its inputs alone, and its backward pass runs it again for the rest.

    y = recomputed(f, x)                    f as it was, its gradients to the last bit, dropout included
    y = chain(layers, x, every=k)           k layers a segment: n/k inputs are kept, and one segment is whole at a time

The first run keeps a number for every tensor that autograd would have kept. The first of them that is asked for starts
the second run, under the generators' first state; it stops when it has found the last, and the generators are put back.
Where a chain is best cut is told by `optimal_segments`. A block with its two usual cuts is in checkpointing_block.py.
Article papers/checkpointing.md, derivation derivations/checkpointing.py, laws verify/checkpointing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

from reference import expect
from reference.activations import gelu
from reference.checkpointing_block import DRAWN, RECOMPUTE, Weights, block, drop

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


class Enough(Exception):
    """The second run has found all that was kept: the rest of it need not run."""


def generators(devices: Sequence[torch.device]) -> list[Tensor]:
    """The states of the CPU's generator and of those of these GPUs."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


def put_back(states: Sequence[Tensor], devices: Sequence[torch.device]) -> None:
    torch.set_rng_state(states[0])
    for state, device in zip(states[1:], devices, strict=True):
        torch.cuda.set_rng_state(state, device)


@contextmanager
def as_before(states: Sequence[Tensor], devices: Sequence[torch.device]) -> Iterator[None]:
    """The generators as they were in `states`; after it as they are now, whatever has been drawn."""
    now = generators(devices)
    put_back(states, devices)
    try:
        yield
    finally:
        put_back(now, devices)


def casts(kinds: Sequence[str]) -> list[Any]:
    """What autocast does now on devices of these kinds, to be entered again."""
    return [torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in kinds]


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """function(*inputs), whose backward pass runs the function again instead of keeping what it needs.

    Values, gradients by inputs and by weights that the function holds, and the state of the random generators after
    either pass are those of the plain call. The second run happens under the generators and autocast of the first. The
    function must do the same again: raises ValueError, in the backward pass, where it keeps other tensors than before,
    and where an input was changed in place since. Within another such function its inputs are kept nevertheless.
    Source: chen2016sublinear, §4; griewank2000revolve, §1.
    """
    tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
    devices = sorted({x.device for x in tensors if x.is_cuda}, key=str)
    kinds = sorted({"cpu", *(device.type for device in devices)})
    states, cast, versions = generators(devices), casts(kinds), [x._version for x in tensors]
    first: list[Any] = []
    found: dict[int, Tensor] = {}
    numbers: Iterator[int] = iter(())

    def told(x: Tensor) -> Any:
        return tuple(x.shape), x.dtype, x.device

    def keep_number(x: Tensor) -> int:
        first.append(told(x))
        return len(first) - 1

    def keep_again(x: Tensor) -> Tensor:
        number = next(numbers)
        if number < len(first) and told(x) != first[number]:
            expect.fail("function", f"the same again, {first[number]} in place {number}", told(x))
        found[number] = kept = x.detach()
        if number + 1 >= len(first):
            raise Enough
        return kept

    def by_number(number: int) -> Tensor:
        if number not in found:
            run_again()
        if number not in found:
            expect.fail("function", f"the same again, {len(first)} tensors kept", f"{len(found)}")
        return found.pop(number)

    def run_again() -> None:
        nonlocal numbers
        if versions != [x._version for x in tensors]:
            expect.fail("inputs", "tensors as they were when the function first ran", "one changed in place since")
        numbers = iter(range(len(first)))
        fresh = [x.detach().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x for x in inputs]
        with ExitStack() as stack:
            for context in (as_before(states, devices), *cast, torch.enable_grad()):
                stack.enter_context(context)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep_again, lambda kept: kept))
            try:
                function(*fresh)
            except Enough as stop:
                stop.__traceback__ = None  # it holds all that was computed on the way

    with torch.autograd.graph.saved_tensors_hooks(keep_number, by_number):
        return function(*inputs)


def chain(functions: Sequence[Callable[[Any], Any]], x: Any, every: int = 1) -> Any:
    """x through all functions, `every` of them a segment that keeps its input alone, the last maybe shorter.

    Raises ValueError unless `every` is an integer ≥ 1. Source: chen2016sublinear, §4.
    """
    expect.natural("every", every, 1)
    for start in range(0, len(functions), every):
        segment = functions[start : start + every]
        x = recomputed(lambda x, segment=segment: reduce(lambda x, f: f(x), segment, x), x)
    return x


def segment_length(n: int) -> int:
    """How many of n equal layers make a segment, so that segments and layers of one are fewest together: ⌈2√n⌉.

    Raises ValueError unless n is an integer ≥ 1. Source: chen2016sublinear, §4.
    """
    expect.natural("n", n, 1)
    return -(-n // (math.isqrt(n - 1) + 1))


def _sizes(kept: Any, inside: Any) -> tuple[list[int], list[int]]:
    for name, x in (("kept", kept), ("inside", inside)):
        expect.integers(name, x)
    expect.agree(N=(expect.axes("kept", kept, "N")["N"], expect.axes("inside", inside, "N")["N"]))
    if not len(kept):
        expect.fail("kept", "at least one layer", "none")
    sizes = kept.tolist(), inside.tolist()
    for name, numbers in zip(("kept", "inside"), sizes, strict=True):
        if min(numbers) < 0:
            expect.fail(name, "sizes of 0 and more", min(numbers))
    return sizes


def segmented_peak(starts: Bool[Tensor, "N"], kept: Int[Tensor, "N"], inside: Int[Tensor, "N"]) -> Int[Tensor, ""]:
    """The most that a chain holds in its backward pass, layer by layer from the last, when segments begin at `starts`.

    Layer i is given an input of `kept[i]` bytes, and keeps `inside[i]` when it is run for its gradients. A segment that
    is at work holds that of all its layers, and the inputs of all segments up to its own; later ones have been given
    back. Raises ValueError for axes that do not agree, negative sizes, or where the first layer begins no segment.
    Source: chen2016sublinear, §4.
    """
    inputs, insides = _sizes(kept, inside)
    expect.tensor("starts", starts)
    expect.agree(N=(len(inputs), expect.axes("starts", starts, "N")["N"]))
    begins = starts.tolist()
    if not begins[0]:
        expect.fail("starts", "True for the first layer", "False")
    held = within = most = 0
    for begin, own, more in zip(begins, inputs, insides, strict=True):
        held, within = (held + own, more) if begin else (held, within + more)
        most = max(most, held + within)
    return kept.new_tensor(most)


def optimal_segments(kept: Int[Tensor, "N"], inside: Int[Tensor, "N"]) -> Bool[Tensor, "N"]:
    r"""Where to begin segments, so that `segmented_peak` is least: of equals the fewest, and of those the earliest.

        f_m(i) = kept_i + min over j > i of max(inside_i + … + inside_{j−1}, f_{m−1}(j)),     f_0(N) = 0

    f_m(i) is the least peak of the layers from i on in m segments: N³ comparisons in all. Raises ValueError for axes
    that do not agree, or negative sizes. Source: bellman1957dynamic, ch. III; chen2016sublinear, §4.
    """
    inputs, insides = _sizes(kept, inside)
    N, before = len(inputs), [0, *accumulate(insides)]
    least = [[math.inf] * N + [0]]
    for _ in range(N):
        last = least[-1]
        ends = [min(max(before[j] - before[i], last[j]) for j in range(i + 1, N + 1)) for i in range(N)]
        least.append([*map(sum, zip(inputs, ends, strict=True)), math.inf])
    m = min(range(1, N + 1), key=lambda m: least[m][0])
    starts, i, left = torch.zeros(N, dtype=torch.bool), 0, least[m][0]
    for rest in reversed(least[:m]):
        starts[i] = True
        left -= inputs[i]
        i = next(j for j in range(i + 1, N + 1) if max(before[j] - before[i], rest[j]) <= left)
    return starts.to(kept.device)


def _differentiated(function: Callable[..., Any], dy: Any, xs: Sequence[Any], seed: int) -> tuple[Any, ...]:
    """(y, gradients by xs, the number that the generator draws next), drawing from the seed."""
    expect.floating("dy", dy)
    expect.natural("seed", seed)
    with torch.random.fork_rng(devices=sorted({x.device.index for x in xs if x.is_cuda})), torch.enable_grad():
        torch.manual_seed(seed)
        fresh = [x.detach().requires_grad_() for x in xs]
        y = function(*fresh)
        if dy.shape != y.shape:
            expect.fail("dy", f"the shape of the output, {tuple(y.shape)}", f"shape {tuple(dy.shape)}")
        gradients = torch.autograd.grad(y, fresh, dy)
        return y.detach(), *gradients, torch.randint(DRAWN, ())


def chain_gradients(
    dy: Float[Tensor, "B D"],
    x: Float[Tensor, "B D"],
    w: Float[Tensor, "L D D"],
    every: int = 1,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(y, dx, dw, next draw) of x ← x + dropout(gelu(x Wₗ)) through L layers, `every` of them a recomputed segment.

    All is drawn from the CPU's generator, 53 bits a number, after torch.manual_seed(seed); the number that it draws
    next tells whether recomputing has left it alone. Raises ValueError for axes that do not agree, every < 1, a dropout
    that is not from 0 below 1, or a negative seed. Source: chen2016sublinear, §4.
    """
    for name, value in (("x", x), ("w", w)):
        expect.floating(name, value)
    sizes = expect.axes("w", w, "L D E")
    D = expect.axes("x", x, "B D")["D"]
    expect.agree(D=(D, sizes["D"]))
    expect.agree(D=(D, sizes["E"]))
    expect.number("dropout", dropout, 0, 1, open_high=True)

    def whole(x, w):
        layers = [lambda x, weight=weight: x + drop(gelu(x @ weight), dropout) for weight in w.unbind()]
        return chain(layers, x, every)

    y, dx, dw, after = _differentiated(whole, dy, (x, w), seed)
    return y, dx, dw, after


def block_gradients(
    dy: Float[Tensor, "B T D"],
    x: Float[Tensor, "B T D"],
    weights: list[Tensor],
    H: int,
    recompute: str = "none",
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, ...]:
    """(y, dx, the gradients of the weights, next draw) of a transformer block that is recomputed in part, or whole.

    `weights` are those of reference.checkpointing_block.Weights; H heads share the width D. `recompute` is "none",
    "selective", attention alone, or "full". Draws as `chain_gradients` does. Raises ValueError unless the axes agree, D
    is a multiple of H, and `recompute` is one of the three. Source: korthikanti2023reducing, §5.
    """
    if not isinstance(weights, list | tuple) or len(weights) != len(Weights._fields):
        received = f"{len(weights)} tensors" if isinstance(weights, list | tuple) else type(weights).__name__
        expect.fail("weights", f"the {len(Weights._fields)} tensors of Weights", received)
    if recompute not in RECOMPUTE:
        expect.fail("recompute", f"one of {', '.join(RECOMPUTE)}", recompute)
    expect.number("dropout", dropout, 0, 1, open_high=True)

    def again(function, *inputs):
        return recomputed(function, *inputs)

    def whole(x, *w):
        part = again if recompute == "selective" else None
        if recompute == "full":
            return recomputed(lambda x: block(x, Weights(*w), H, dropout, None), x)
        return block(x, Weights(*w), H, dropout, part)

    return _differentiated(whole, dy, (x, *weights), seed)
