r"""Rounding-error bounds for any float64 function of tensors: run it, and carry the worst case beside every value.

The function is ordinary torch code. A dispatch mode sees each ATen operation that it runs, forward or backward, and
keeps, for its result y, a bound e such that an implementation under the contract computes a value within e of y, in
whatever order it adds. Running error analysis: higham2002accuracy, §3.3. The rules are in verify/rounding_rules.py,
verify/rounding_sums.py and verify/rounding_orders.py; an operation without one is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from verify.contract import HALF_SUBNORMAL, UNIT, Contract, allowance

aten = torch.ops.aten

torch.library.define("verify::stored", "(Tensor x) -> Tensor")
torch.library.impl("verify::stored", "CompositeExplicitAutograd", torch.clone)
stored = torch.ops.verify.stored
"""A result as it is read again on the way back: the same numbers, but for what keeping them in memory may cost."""


class NoRule(Exception):
    """An operation whose rounding errors nobody has bounded."""


class Undecided(Exception):
    """The function branches on a number that rounding may push to either side."""


class Ball(NamedTuple):
    """A value and how far a legitimate computation may be from it."""

    value: torch.Tensor
    error: torch.Tensor


class Rounding(TorchDispatchMode):
    """The mode. `errors` finds a tensor by the memory it lies in: views and detached tensors share their bound."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        self.errors: dict[tuple[Any, ...], torch.Tensor] = {}
        self.alive: list[torch.Tensor] = []  # a freed tensor's memory would lend its bound to the next
        self.changed: set[int] = set()  # memory written in place
        self.data: set[int] = set()  # memory that depends on an input; tables of constants are made in full precision
        self.of_data = False
        self.alike: dict[int, tuple[int, int]] = {}  # memory whose rows, so long, hold one function, by its number

    @staticmethod
    def where(x: torch.Tensor) -> tuple[Any, ...]:
        return (x.untyped_storage().data_ptr(), x.storage_offset(), tuple(x.shape), x.stride())

    def error(self, x: torch.Tensor) -> torch.Tensor:
        """The bound of a tensor; what the mode has not seen is exact, unless its memory was written in place."""
        found = self.errors.get(self.where(x))
        if found is None and x.untyped_storage().data_ptr() in self.changed:
            raise NoRule("no rounding rule for reading one view of a tensor after another was written in place")
        return torch.zeros(x.shape, dtype=torch.float64) if found is None else found

    def keep(self, x: torch.Tensor, error: torch.Tensor) -> None:
        self.alive.append(x)
        self.errors[self.where(x)] = error.expand(x.shape)

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """A float64 copy of an input, which may be rescaled and rounded before use."""
        value = x.detach().double().clone()
        share = torch.where(value.abs() < self.contract.lost, 1.0, allowance("input") * self.contract.u)  # or read as 0
        self.keep(value, torch.where(value.isfinite(), share * value.abs(), 0))
        self.data.add(value.untyped_storage().data_ptr())
        self.alike[value.untyped_storage().data_ptr()] = (value.shape[-1] if value.ndim else 1, len(self.alive))
        return value

    def rounded(self, value: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """What is left when a result that depends on an input is also stored in the contract's narrow dtype.

        That it overflows there is no part of a contract: a function to which it happens is wrong.
        """
        narrow = self.contract.stored
        if narrow is None or not self.of_data:
            return error
        size = torch.where(value.isfinite(), value.abs(), 0) + error
        return error + UNIT[narrow] * size + torch.where(size > 0, HALF_SUBNORMAL[narrow], 0)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and importing the compiler takes two seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        from verify.rounding_orders import BALLS, CHOOSING, DECOMPOSED, ENTRYWISE, EXACT, STRUCTURE

        kwargs, packet = kwargs or {}, func.overloadpacket
        if packet in DECOMPOSED:
            with self:
                return DECOMPOSED[packet](*args, **kwargs)
        if func._schema.is_mutable:  # what it does, out of place
            packet = getattr(aten, packet.__name__.removesuffix("_"), packet)
        leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        self.of_data = any(x.untyped_storage().data_ptr() in self.data for x in leaves)
        balls, moving = tree_map(self._ball, args), tree_map(self._bound, args)  # before anything is overwritten
        out = func(*args, **kwargs)
        if func._schema.is_mutable and args[0].is_floating_point() and args[0].numel():
            self._forget(args[0])
        if self.of_data:
            self.data |= {x.untyped_storage().data_ptr() for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
        if packet in CHOOSING | ENTRYWISE and (row := self._row(leaves)):
            nothing = packet is aten.add and not isinstance(args[1], torch.Tensor) and args[1] == 0
            same = packet in CHOOSING or nothing
            self.alike[out.untyped_storage().data_ptr()] = row if same else (row[0], len(self.alive))
        tensors = [x for x in tree_leaves((leaves, out)) if isinstance(x, torch.Tensor)]
        results = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        if packet is aten._local_scalar_dense and self.error(args[0]).any():
            raise Undecided(f"{args[0].item()} may be {self.error(args[0]).item():.3g} away")
        if packet in EXACT or not any(x.is_floating_point() or self.where(x) in self.errors for x in tensors):
            self.alive += results  # whole numbers and truths are exact
        elif packet in BALLS:
            found = BALLS[packet](self, out, *balls, **kwargs)
            unknown = any(bool(x.error.isinf().any()) for x in tree_leaves(balls, is_leaf=_is_ball) if _is_ball(x))
            for result, error in zip(results, found if isinstance(found, tuple) else (found,), strict=True):
                error = torch.where(error.isnan() & (result.isfinite() | unknown), torch.inf, error)
                error = torch.where(result.isfinite() | error.isinf(), error, 0)  # overflow and −∞ are what they are
                if result.is_floating_point() or error.any():
                    self.keep(result, error)
            self.alive += results
        elif packet in STRUCTURE:
            function = getattr(packet, func._overloadname) if func._schema.is_mutable else func
            for result, error in zip(results, tree_leaves(function(*moving, **kwargs)), strict=True):
                self.keep(result, error.double())
        else:
            raise NoRule(f"no rounding rule for {packet}")
        return out

    def row(self, x: torch.Tensor) -> tuple[int, int] | None:
        """If x holds, or picks from rows, one function of an input's entries: their length, and which function it is.

        Equal entries of such a row are equal in any arithmetic.
        """
        known = self.alike.get(x.untyped_storage().data_ptr())
        return known if known and x.is_contiguous() and x.ndim and x.shape[-1] in (known[0], 1) else None

    def _row(self, leaves: list[torch.Tensor]) -> tuple[int, int] | None:
        """The row of a result, if its numbers come from one such memory, and else from what is one for a row."""
        if any(bool(self.error(x).any()) for x in leaves if not x.is_floating_point()):
            return None  # what is chosen is in doubt, and may differ between equals
        floating = [x for x in leaves if x.is_floating_point() and x.ndim]
        width = max((x.shape[-1] for x in floating), default=0)
        wide = [x for x in floating if x.shape[-1] == width]
        return self.row(wide[0]) if len({x.untyped_storage().data_ptr() for x in wide}) == 1 else None

    def _forget(self, target: torch.Tensor) -> None:
        """Other views of memory that was written in place have no bound from now on."""
        memory = target.untyped_storage().data_ptr()
        self.changed.add(memory)
        self.alike.pop(memory, None)
        for place in [place for place in self.errors if place[0] == memory]:
            del self.errors[place]

    def _ball(self, x: Any) -> Any:
        """A tensor with its bound; a table of constants may be stored narrow before it meets the data."""
        if not isinstance(x, torch.Tensor):
            return x
        error, table = self.error(x), x.untyped_storage().data_ptr() not in self.data
        return Ball(x, self.rounded(x, error) if table and error.any() else error)

    def _bound(self, x: Any) -> Any:
        """In place of a tensor its bound, so that whatever moves entries moves their bounds alike."""
        if not isinstance(x, torch.Tensor):
            return x
        return self._ball(x).error if x.is_floating_point() or self.where(x) in self.errors else x


def _is_ball(x: Any) -> bool:
    return isinstance(x, Ball)


def bounds(f: Callable[..., Any], inputs: dict[str, Any], contract: Contract) -> list[Ball]:
    """Every result of f on the inputs, computed in float64, with its bound.

    The bound covers everything but the last rounding, of the result to the contract's io dtype. Tensors that are not
    floating-point are indices and masks, and exact. Raises NoRule and Undecided.
    """
    if contract.exact:
        values = [torch.as_tensor(x) for x in tree_leaves(f(**inputs))]
        return [Ball(x, torch.zeros(x.shape, dtype=torch.float64)) for x in values]
    mode = Rounding(contract)
    tensors = {n: x for n, x in inputs.items() if isinstance(x, torch.Tensor) and x.is_floating_point()}
    moved = {name: mode.input(x) for name, x in tensors.items()}
    with mode:
        results = tree_leaves(f(**{**inputs, **moved}))
    results = [x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64) for x in results]
    # the reference rounds too, in float64: nothing beside float32, as much again beside float64
    own = 1 + UNIT[torch.float64] / contract.u
    return [Ball(x.detach(), mode.error(x) * (own if x.is_floating_point() else 1)) for x in results]


def interval(ball: Ball, contract: Contract, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest number of the dtype (the contract's io dtype) that may be returned, as float64."""
    low, high = ((ball.value + sign * ball.error).to(dtype or contract.io).double() for sign in (-1, 1))
    lost = contract.lost if contract.flush else 0.0
    return torch.where((low > 0) & (low < lost), 0, low), torch.where((high < 0) & (high > -lost), 0, high)
