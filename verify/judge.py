r"""Judge an answer: does every entry lie where some implementation under the contract could put it?

A reading is a contract and a definition: the reference, or the reference under conventions that are not our default.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from verify.ask import Answer
from verify.cases import narrowed, on_the_whole
from verify.compare import first
from verify.contract import UNIT, Contract, contracts
from verify.rounding import Ball, Undecided, bounds, interval

WIDER: dict[torch.dtype, tuple[torch.dtype, ...]] = {
    torch.float64: (),
    torch.float32: (),
    torch.float16: (torch.float32,),
    torch.bfloat16: (torch.float32,),
}
"""Where a result may stay that was computed in float32, instead of being rounded to the io dtype."""


@dataclass
class Tally:
    """How many entries were judged, how many of them could have been anything, and how near the bound any came."""

    entries: int = 0
    vacuous: int = 0
    worst: float = 0.0
    stays: str = ""


@dataclass(frozen=True)
class Reading:
    """The definition `f`, under conventions of this name, in the arithmetic of a contract."""

    contract: Contract
    convention: str
    f: Callable[..., Any]
    unit: float = 0.0
    slopes: tuple[str, ...] = ()
    within: Callable[..., torch.Tensor] | None = None

    def expected(self, inputs: Mapping[str, Any]) -> list[Ball]:
        if self.within and not self.slopes:
            inputs = narrowed(inputs, torch.float64)
            error = self.within(UNIT[self.contract.stored or self.contract.arithmetic], **inputs)
            return [Ball(value, error) for value in self.values(inputs)]
        return bounds(self.exact, narrowed(inputs, torch.float64), self.contract)

    @property
    def exact(self) -> Callable[..., Any]:
        """The definition, or its gradients, as a function of spread inputs."""
        f = on_the_whole(self.f)
        return pullback(f, self.slopes) if self.slopes else f

    def values(self, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
        """Every result of the definition on inputs of any dtype; a plain number is in float64."""
        found = tree_leaves(self.exact(**inputs))
        return [x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64) for x in found]

    def complaint(self, answer: Answer, tally: Tally | None = None) -> str | None:
        """What is wrong with an answer by this reading; None if nothing is."""
        if answer.trouble:
            return answer.trouble
        tally = Tally() if tally is None else tally
        try:
            balls = self.expected(answer.inputs)
        except Undecided:  # the reference itself branches on rounding here
            tally.entries += 1
            tally.vacuous += 1
            return None
        if len(answer.results) != len(balls):
            return f"it returns {len(answer.results)} results, expected {len(balls)}"
        floating = [x for x in answer.inputs.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
        terms = max([self.unit, *(self.contract.u * size(x) for x in floating)])
        wider = WIDER[self.contract.io] if floating else tuple(WIDER)  # without numbers to go by, any dtype will do
        own = self.dtypes(answer)
        for number, (result, ball) in enumerate(zip(answer.results, balls, strict=True), 1):
            if wrong := misfit(result, ball, self.contract, tally, terms, wider, own[number - 1 : number]):
                return f"result {number}: {wrong}" if len(balls) > 1 else wrong
        return None

    def dtypes(self, answer: Answer) -> list[torch.dtype]:
        """Those of the definition's results; none where these of the answer are in the io dtype, as most are.

        A table of counts is in float64 whatever it is made of, and so is a plain number.
        """
        if any(x.dtype != self.contract.io for x in answer.results if x.is_floating_point()):
            with suppress(ValueError, RuntimeError):  # it may not run in the io dtype
                return [x.dtype for x in self.values(narrowed(answer.inputs, self.contract.io))]
        return []


def readings(
    reference: Callable[..., Any],
    conventions: Mapping[str, Callable[..., Any]],
    io: torch.dtype,
    exact: bool = False,
    way_back: Callable[..., Any] | None = None,
    **more: Any,
) -> Iterator[Reading]:
    """From the strictest contract: our definition, then each convention in use, then two of them together.

    With another way back, which is there to store less, each is read by that one as well, but where all may be stored.
    """
    chosen = [few for size_ in range(3) for few in itertools.combinations(conventions.items(), size_)]
    for contract in contracts(io, exact):
        programs = [reference, way_back] if way_back and contract.stored is None else [reference]
        for few, f in itertools.product(chosen, programs):
            for _, convention in few:
                f = partial(convention, f)
            yield Reading(contract, " and ".join(name for name, _ in few), f, **more)


def size(x: torch.Tensor) -> float:
    """The largest finite magnitude."""
    return float(torch.where(x.isfinite(), x.abs(), 0).max()) if x.numel() else 0.0


def misfit(
    result: torch.Tensor,
    ball: Ball,
    contract: Contract,
    tally: Tally,
    terms: float = 0.0,
    wider: Any = (),
    own: Sequence[torch.dtype] = (),
) -> str | None:
    """Where a result leaves the interval that its ball allows, or None.

    `terms` is the size of what it is made of, `wider` the dtypes in which it may stay instead of the io dtype, `own`
    that of the definition's result. An entry whose bound exceeds the whole result, and its terms, could have been
    anything: it is counted as vacuous.
    """
    if result.shape != ball.value.shape:
        return f"shape {tuple(result.shape)}, expected {tuple(ball.value.shape)}"
    if not ball.value.is_floating_point():
        return _miscounted(result, ball, tally)
    if result.dtype not in (contract.io, *own):
        if result.dtype not in wider:
            return f"dtype {result.dtype}, expected {contract.io}"
        tally.stays = str(result.dtype).removeprefix("torch.")
    low, high = interval(ball, contract, result.dtype)
    got = result.double()
    fine = ((got >= low) & (got <= high)) | (got == ball.value) | (got.isnan() & ball.value.isnan())
    fine |= ball.error.isinf() & (got.isfinite() | (got == -torch.inf))  # masked or not: rounding decides
    tally.entries += got.numel()
    tally.vacuous += int((ball.error > max(size(ball.value), terms)).sum())
    used = (got - ball.value).abs() / torch.maximum(high - ball.value, ball.value - low).clamp(min=1e-300)
    used = used[fine & got.isfinite() & (ball.error > 0) & ball.error.isfinite()]
    tally.worst = max(tally.worst, float(used.max()) if used.numel() else 0.0)
    return _told(fine, got, lambda place: f"[{low[place].item():.9g}, {high[place].item():.9g}]")


def _miscounted(result: torch.Tensor, ball: Ball, tally: Tally) -> str | None:
    """The same for whole numbers and truths: exactly, but where rounding decides."""
    if result.dtype.is_floating_point or (result.dtype == torch.bool) != (ball.value.dtype == torch.bool):
        return f"dtype {result.dtype}, expected {ball.value.dtype}"
    tally.entries += result.numel()
    tally.vacuous += int((ball.error > 0).sum())
    return _told((result == ball.value) | (ball.error > 0), result, lambda place: str(ball.value[place].item()))


def _told(fine: torch.Tensor, got: torch.Tensor, allowed: Callable[[Any], str]) -> str | None:
    if fine.all():
        return None
    places = (~fine).nonzero()
    place = tuple(int(i) for i in places[0])
    share = f"; {len(places)} of {fine.numel()} entries are wrong" if fine.numel() > 1 else ""
    return f"at {list(place)}: got {got[place].item():.9g}, allowed {allowed(place)}{share}"


def pullback(f: Callable[..., Any], slopes: tuple[str, ...]) -> Callable[..., Any]:
    """The gradients of ⟨cotangent, f⟩ by the arguments `slopes`, by autograd."""

    def slope(*, cotangent: torch.Tensor, **inputs: Any) -> list[torch.Tensor]:
        xs = {name: inputs[name].detach().requires_grad_() for name in slopes}
        with torch.enable_grad():
            value = first(f(**{**inputs, **xs}))
            if not value.requires_grad:  # a constant, such as the mean over no target
                return [torch.zeros_like(x) for x in xs.values()]
            return list(torch.autograd.grad(value, list(xs.values()), cotangent, materialize_grads=True))

    return slope


@dataclass
class Run:
    """How far a reading went: its first failing answer, and why."""

    reading: Reading
    tally: Tally
    cases: int = 0
    answer: Answer | None = None
    why: str = ""


def follow(reading: Reading, answers: Sequence[Answer]) -> Run:
    """The answers by one reading, until one is wrong."""
    seen = Run(reading, Tally())
    for seen.cases, answer in enumerate(answers, 1):
        if why := reading.complaint(answer, seen.tally):
            seen.answer, seen.why = answer, why
            break
    return seen
