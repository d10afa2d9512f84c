r"""Call somebody's function on one case, and say what is wrong with what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from verify.cases import narrowed
from verify.contract import Contract
from verify.rounding import Ball, Undecided, bounds, interval
from verify.worker import Ended, Worker


@dataclass
class Tally:
    """How many entries were judged, how many of them could have been anything, and how near the bound any came."""

    entries: int = 0
    vacuous: int = 0
    worst: float = 0.0
    trace: str = ""


@dataclass
class Judge:
    """Calls the candidate on inputs in float64 that the io dtype holds exactly, and says what is wrong."""

    reference: Callable[..., Any]
    worker: Worker
    positional: list[str]
    named: Mapping[str, str]
    fixed: Mapping[str, Any]
    contract: Contract
    unit: float = 0.0
    slopes: tuple[str, ...] = ()
    strided: bool = False

    def outputs(self, inputs: Mapping[str, Any], poisoned: bool = True) -> tuple[list[torch.Tensor], list[str]]:
        """What the candidate returns, and the names of the inputs that it changed. Raises Ended."""
        passed = {*self.positional, *self.named.values(), "cotangent"}
        given = {n: x for n, x in narrowed(inputs, self.contract.io).items() if n in passed}
        options = {"fixed": self.fixed, "strided": self.strided, "poisoned": poisoned, "slopes": self.slopes}
        return self.worker.call(self.positional, self.named, given, **options)

    def expected(self, inputs: Mapping[str, Any], f: Callable[..., Any] | None = None) -> list[Ball]:
        f = f or self.reference
        return bounds(pullback(f, self.slopes) if self.slopes else f, narrowed(inputs, torch.float64), self.contract)

    def misfit(self, result: torch.Tensor, ball: Ball) -> str | None:
        return misfit(result, ball, self.contract, Tally())

    def complaint(self, inputs: Mapping[str, Any], tally: Tally | None = None) -> str | None:
        """What is wrong with the candidate on these inputs; None if nothing is."""
        tally = Tally() if tally is None else tally
        try:
            results, changed = self.outputs(inputs)
        except Ended as ended:
            tally.trace = ended.trace
            return str(ended)
        if changed:
            return f"it changes its input {changed[0]}"
        try:
            balls = self.expected(inputs)
        except Undecided:  # the reference itself branches on rounding here
            tally.entries += 1
            tally.vacuous += 1
            return None
        if len(results) != len(balls):
            return f"it returns {len(results)} results, expected {len(balls)}"
        floating = [x for x in inputs.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
        terms = max([self.unit, *(self.contract.u * size(x) for x in floating)])
        for result, ball in zip(results, balls, strict=True):
            if floating and result.dtype != self.contract.io:
                return f"dtype {result.dtype}, expected {self.contract.io}"
            if wrong := misfit(result, ball, self.contract, tally, terms):
                return wrong
        return None


def size(x: torch.Tensor) -> float:
    """The largest finite magnitude."""
    return float(torch.where(x.isfinite(), x.abs(), 0).max()) if x.numel() else 0.0


def misfit(result: torch.Tensor, ball: Ball, contract: Contract, tally: Tally, terms: float = 0.0) -> str | None:
    """Where a result leaves the interval that its ball allows, or None; `terms` is the size of what it is made of.

    An entry whose bound exceeds the whole result, and its terms, could have been anything: it is counted as vacuous.
    """
    if result.shape != ball.value.shape:
        return f"shape {tuple(result.shape)}, expected {tuple(ball.value.shape)}"
    if not result.dtype.is_floating_point:
        return f"dtype {result.dtype}, expected {contract.io}"
    low, high = interval(ball, contract)
    got = result.double()
    fine = ((got >= low) & (got <= high)) | (got.isnan() & ball.value.isnan())
    may_overflow = contract.stored == torch.float16
    fine |= ball.error.isinf() & (got.isfinite() | may_overflow)
    tally.entries += got.numel()
    tally.vacuous += int((ball.error > max(size(ball.value), terms)).sum())
    used = (got - ball.value).abs() / torch.maximum(high - ball.value, ball.value - low).clamp(min=1e-300)
    used = used[fine & got.isfinite() & (ball.error > 0) & ball.error.isfinite()]
    tally.worst = max(tally.worst, float(used.max()) if used.numel() else 0.0)
    if fine.all():
        return None
    places = (~fine).nonzero()
    place = tuple(int(i) for i in places[0])
    allowed = f"[{low[place].item():.9g}, {high[place].item():.9g}]"
    share = f"; {len(places)} of {fine.numel()} entries are wrong" if fine.numel() > 1 else ""
    return f"at {list(place)}: got {got[place].item():.9g}, allowed {allowed}{share}"


def pullback(f: Callable[..., Any], slopes: tuple[str, ...]) -> Callable[..., Any]:
    """The gradients of ⟨cotangent, f⟩ by the arguments `slopes`, by autograd."""

    def slope(*, cotangent: torch.Tensor, **inputs: Any) -> list[torch.Tensor]:
        xs = {name: inputs[name].detach().requires_grad_() for name in slopes}
        with torch.enable_grad():
            value = f(**{**inputs, **xs})
            return list(torch.autograd.grad(value, list(xs.values()), cotangent, materialize_grads=True))

    return slope


def written(name: str, x: torch.Tensor) -> list[str]:
    """Python that makes a tensor: what sticks out of a constant, or all its entries."""
    entries, counts = x.flatten().unique(return_counts=True)
    others = (x != entries[counts.argmax()]).nonzero().tolist()
    if x.numel() <= 12 or len(others) > 6:
        text = re.sub(r"\b(inf|nan)\b", r"torch.\1", str(x.tolist()))
        return [f"{name} = torch.tensor({text}, dtype={x.dtype})"]
    common = re.sub(r"\b(inf|nan)\b", r"torch.\1", str(entries[counts.argmax()].item()))
    made = f"{name} = torch.full({tuple(x.shape)}, {common}, dtype={x.dtype})"
    return [made, *(f"{name}[{', '.join(map(str, i))}] = {x[tuple(i)].item()!r}" for i in others)]


def snippet(target: str, judge: Judge, inputs: Mapping[str, Any]) -> str:
    """Python that calls the candidate on the counterexample."""
    passed = [*judge.positional, *judge.named.values()]
    lines = ["import torch"]
    for name, x in narrowed(inputs, judge.contract.io).items():
        if name in passed:
            lines += written(name, x) if isinstance(x, torch.Tensor) else [f"{name} = {x!r}"]
            if judge.strided and isinstance(x, torch.Tensor) and x.ndim > 1:
                lines.append(f"{name} = {name}.mT.contiguous().mT  # transposed in memory")
    named = [f"{t}={o}" for t, o in judge.named.items()] + [f"{k}={v!r}" for k, v in judge.fixed.items()]
    return "\n".join([*lines, f"{target.rpartition(':')[2]}({', '.join([*judge.positional, *named])})"])
