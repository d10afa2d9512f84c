"""Ask somebody's function for one case, and note what it does besides computing: the rest is arithmetic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from verify.cases import narrowed
from verify.worker import Ended, Worker, bits


@dataclass(frozen=True)
class Answer:
    """What came back for some inputs, or what went wrong; `strided` when the matrices lay transposed in memory."""

    inputs: Mapping[str, Any]
    strided: bool = False
    results: list[torch.Tensor] = field(default_factory=list)
    trouble: str = ""
    trace: str = ""
    raised: bool = False


@dataclass
class Caller:
    """How the candidate is called: our arguments by place, theirs by name, theirs fixed, what it writes into.

    With `slopes` it is asked for the gradients of ⟨inputs["cotangent"], f⟩ by those arguments. `numbers` are the places
    of results that are no arrays but plain numbers.
    """

    worker: Worker
    io: torch.dtype
    positional: list[str]
    named: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    slopes: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    seconds: float = 0.0

    @property
    def takes(self) -> set[str]:
        """Our arguments that it is called with."""
        return {*self.positional, *self.named.values()}

    def passed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent, in the io dtype: the arguments that the candidate takes."""
        names = self.takes | {"cotangent"}
        kept = {n: x for n, x in narrowed(inputs, self.io).items() if n.partition("[")[0] in names}
        for their, our in self.named.items():  # as approximate of jax.nn.gelu: True or False
            if isinstance(self.worker.defaults.get(their), bool) and isinstance(kept.get(our), str):
                kept[our] = kept[our] != "none"
        return kept

    def raw(self, inputs: Mapping[str, Any], strided: bool, poisoned: bool, shapes: Any) -> Any:
        options = {"fixed": dict(self.fixed), "strided": strided, "poisoned": poisoned, "slopes": self.slopes}
        buffers = {"buffers": self.buffers, "shapes": shapes, "numbers": self.numbers}
        return self.worker.call(self.positional, self.named, self.passed(inputs), **options, **buffers)

    def __call__(
        self, inputs: Mapping[str, Any], strided: bool = False, twice: bool = False, shapes: Any = ()
    ) -> Answer:
        """One answer; when it is asked `twice` the bytes must be the same again. `shapes` are those of the results."""
        started = time.perf_counter()
        try:
            results, changed = self.raw(inputs, strided, True, shapes)
            if changed:
                return Answer(inputs, strided, trouble=f"it changes its input {changed[0]}")
            if twice:
                pair = [self.raw(inputs, strided, False, shapes)[0] for _ in range(2)]
                if not _same(*pair) and not any(x.isnan().any() for x in results):  # else it never wrote that
                    return Answer(inputs, strided, trouble="two calls on the same inputs give different results")
        except Ended as ended:
            return Answer(inputs, strided, trouble=str(ended), trace=ended.trace, raised=ended.raised)
        finally:
            self.seconds += time.perf_counter() - started
        return Answer(inputs, strided, results)


def _same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(bits(a), bits(b)) for a, b in zip(ours, theirs, strict=True))
