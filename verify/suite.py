"""Hold one operation to its laws: the reference, its twin and every known mistake, on the same examples.

Needed in both directions: every mutant must break a law or leave the twin, and every law must be broken by a mutant.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers

from verify.compare import GAP, compare, in_torch, show, worst_place
from verify.mistake import mutants
from verify.slopes import slopes, smooth, steeper

if TYPE_CHECKING:
    from verify.gradients import Difference

Function = Callable[..., Any]
Inputs = Mapping[str, Any]
TWIN_SHARE = 16
"""Its laws are tried on every sixteenth example: the twin agrees with the reference on all, and that obeys them."""
SEARCH = 400
"""Inputs tried for a simple counterexample."""


@dataclass(frozen=True, eq=False)
class Operation:
    """`reference.<name>` and `verify.twin.<name>`, the examples they are tried on, and the laws they obey.

    `gradients` names the arguments by which the operation, or the first of its results, is differentiated. `unit` is
    the size of the terms that may cancel in the result (of probabilities, 1): no float64 implementation can do better
    than rounding at that size.
    `conventions` are other definitions in use, no mistakes: each takes an implementation of ours first and turns it
    into the other, as `summed(cross_entropy, z, target)`, so that two may hold together, or one with a mistake.
    `way_back` is the same function, differentiated by another program in use, which rounds at other places.
    `free` names the arguments that may be any real number: those of the gradients unless said otherwise. `draws` says
    that the result is a distribution over symbols from which a function may draw instead. `exact` says that it is what
    it is for the very numbers given, such as a conversion to a narrow format: nothing on the way may be rounded.
    `within` says how far a result may be off, given the unit roundoff and the inputs, where rounding is compensated,
    which is not to be seen step by step.
    """

    name: str
    inputs: st.SearchStrategy[dict[str, Any]]
    laws: Sequence[Function]
    gradients: Sequence[str] = ()
    unit: float = 0.0
    conventions: Mapping[str, Function] = field(default_factory=dict)
    way_back: Function | None = None
    free: Sequence[str] | None = None
    draws: bool = False
    exact: bool = False
    within: Function | None = None

    @property
    def any_number(self) -> Sequence[str]:
        return self.gradients if self.free is None else self.free


@dataclass
class Evidence:
    """What was seen; None means nothing wrong, a message says what and on which input.

    Of a glance, not `whole`, mutants that break no law and laws that no mutant breaks mean nothing.
    """

    operation: str
    examples: int
    whole: bool = True
    reference_laws: dict[str, str | None] = field(default_factory=dict)
    twin_laws: dict[str, str | None] = field(default_factory=dict)
    agreement: float | str | None = None
    changed: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    gradients: dict[str, Difference] = field(default_factory=dict)
    gradient_failure: str | None = None
    kills: dict[str, dict[str, bool]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def survivors(self) -> list[str]:
        return [mutant for mutant, row in self.kills.items() if self.whole and not any(row.values())]

    @property
    def idle(self) -> list[str]:
        return [law for law in self.reference_laws if self.whole and not any(row[law] for row in self.kills.values())]


@cache
def examples(operation: Operation, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """At most `count` inputs, the same ones for the same seed."""
    drawn: list[dict[str, Any]] = []
    generate = settings(database=None, deadline=None, phases=[Phase.generate])

    @hypothesis.seed(seed)
    @settings(generate, max_examples=count, suppress_health_check=list(HealthCheck))
    @given(operation.inputs)
    def collect(inputs: dict[str, Any]) -> None:
        drawn.append(inputs)

    # Hypothesis also draws numbers that it finds in the modules loaded so far: the same seed would give other inputs
    with (
        patch.object(providers, "_get_local_constants", providers.Constants),
        patch.object(providers, "CONSTANTS_CACHE", LRUCache(64)),
    ):
        collect()
    return drawn


def complaint(law: Function, f: Function, inputs: Inputs) -> str | None:
    """Why f breaks the law on these inputs; an exception of any kind is a reason too."""
    try:
        law(f, **inputs)
    except Exception as error:
        return f"{type(error).__name__}: {error}".removeprefix("AssertionError: ")
    return None


def departure(f: Function, expected: Any, inputs: Inputs, unit: float) -> str | None:
    """How f differs from the expected value on these inputs."""
    try:
        difference = compare(f(**inputs), expected, unit)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if difference <= GAP else f"relative difference {difference:.3g}{worst_place(f(**inputs), expected)}"


def simplified(failing: Inputs, why: Callable[[Inputs], str | None]) -> dict[str, Any]:
    """Failing inputs with as many entries zero as can be: ever smaller blocks are tried, within a budget.

    The complaint `why` stays of one kind (a wrong number, an exception of one type), so that the search does not slip
    from one fault to another. Hypothesis would shrink entry by entry, for a minute: here it only draws.
    """

    def kind(inputs: Inputs) -> str:
        return re.split(r"[\[:;(\d]", why(inputs) or "")[0]

    best, sought, tried = dict(failing), kind(failing), itertools.count()
    for name, value in failing.items():
        size = value.numel() if isinstance(value, torch.Tensor) and not value.is_complex() else 0
        while size:
            for start in range(0, value.numel(), size):
                cleared = best[name].clone(memory_format=torch.contiguous_format)
                cleared.view(-1)[start : start + size] = 0
                if torch.equal(cleared, best[name]) or next(tried) >= SEARCH:
                    continue
                if kind(best | {name: cleared}) == sought:
                    best[name] = cleared
            size //= 2
    return best


def smallest(failing: Sequence[Inputs], why: Callable[[Inputs], str | None]) -> str:
    """The complaint `why` makes about the least of the failing inputs, simplified, and that input."""
    least = min(failing, key=lambda e: sum(x.numel() for x in e.values() if isinstance(x, torch.Tensor)))
    least = simplified(least, why)
    return f"{why(least)}; with " + ", ".join(f"{name} = {show(value)}" for name, value in least.items())


def break_law(law: Function, f: Function, drawn: Sequence[Inputs]) -> str | None:
    """How f breaks the law, on a small example; None if it does not."""
    broken = [inputs for inputs in drawn if complaint(law, f, inputs) is not None]
    return smallest(broken, lambda inputs: complaint(law, f, inputs)) if broken else None


def other_defaults(reference: Function, twin: Function) -> list[str]:
    """What stands for an argument that is left out, where the twin's is another: the examples give every argument."""
    ours, theirs = (inspect.signature(f).parameters for f in (reference, twin))
    pairs = [(name, p.default, theirs[name].default) for name, p in ours.items() if name in theirs]
    return [f"{name} is {a!r}, and {b!r} in the twin" for name, a, b in pairs if a != b]


def changed_inputs(f: Function, drawn: Sequence[Inputs]) -> list[str]:
    """The arguments that f changes in place, on any of these inputs; it gets copies. What it raises, laws tell."""
    found = set()
    for inputs in drawn:
        given = deepcopy(dict(inputs))
        with suppress(Exception):
            f(**given)
        found |= {name for name, value in inputs.items() if not same(given[name], value)}
    return sorted(found)


def same(a: Any, b: Any) -> bool:
    """Equal entry by entry, NaN to NaN; of lists of tensors, all of them."""
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if not isinstance(a, torch.Tensor):
        return bool(a == b)
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def silence(f: Function, drawn: Sequence[Inputs]) -> str | None:
    """What f raises if it raises on every input, called by name as users do: no known mistake, but one of ours."""
    why = None
    for inputs in drawn:
        try:
            f(**inputs)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        else:
            return None
    return why


def silent(operation: Operation, drawn: Sequence[Inputs]) -> dict[str, str]:
    """The mutants that never give a value, and why: they would be killed by anything."""
    found = {mutant.__name__: silence(mutant, drawn) for mutant in mutants(operation.name)}
    return {name: why for name, why in found.items() if why}


def glance(operation: Operation, count: int) -> Evidence:
    """Laws alone: the reference obeys them all, and each mutant is tried until it breaks one; JAX is not imported."""
    topic, _, function = operation.name.partition(".")
    reference = getattr(import_module(f"reference.{topic}"), function)
    drawn = examples(operation, count)
    seen = Evidence(operation.name, len(drawn), whole=False, changed=changed_inputs(reference, drawn))
    seen.reference_laws = {law.__name__: break_law(law, reference, drawn) for law in operation.laws}
    for mutant in mutants(operation.name):  # every law before another example, the last ones first, as they say most
        broken = (law for e in reversed(drawn) for law in operation.laws if complaint(law, mutant, e) is not None)
        seen.kills[mutant.__name__] = {law.__name__: True for law in islice(broken, 1)}
    seen.silent = silent(operation, drawn)
    return seen


def run(operation: Operation, count: int) -> Evidence:
    """Try everything on `count` examples."""
    topic, _, function = operation.name.partition(".")
    unit = operation.unit
    reference = getattr(import_module(f"reference.{topic}"), function)
    original = getattr(import_module(f"verify.twin.{topic}"), function)
    twin = in_torch(original, compiled=bool(operation.gradients))
    drawn = examples(operation, count)
    seen = Evidence(operation.name, len(drawn), defaults=other_defaults(reference, original))
    names = {law.__name__: law for law in operation.laws}
    seen.changed = changed_inputs(reference, drawn)
    seen.reference_laws = {name: break_law(law, reference, drawn) for name, law in names.items()}
    seen.twin_laws = {name: break_law(law, twin, drawn[::TWIN_SHARE]) for name, law in names.items()}

    expected: list[torch.Tensor] = []
    try:
        expected = [twin(**inputs) for inputs in drawn]
        values = zip(expected, drawn, strict=True)
        if apart := [inputs for e, inputs in values if departure(reference, e, inputs, unit)]:
            seen.agreement = smallest(apart, lambda inputs: departure(reference, twin(**inputs), inputs, unit))
        else:
            seen.agreement = max(compare(reference(**i), e, unit) for e, i in zip(expected, drawn, strict=True))
        seen.gradients = slopes(operation, reference, original, drawn)
    except Exception as error:
        seen.gradient_failure = f"{type(error).__name__}: {error}"

    for mutant in mutants(operation.name):
        row = {name: any(complaint(law, mutant, e) is not None for e in drawn) for name, law in names.items()}
        row["twin"] = any(departure(mutant, e, i, unit) for e, i in zip(expected, drawn, strict=False))
        if operation.gradients and not any(row.values()):  # right values: only the backward pass can be wrong
            kinds = smooth(operation, drawn)
            row["gradients"] = any(steeper(operation, mutant, reference, inputs) for inputs in kinds)
        seen.kills[mutant.__name__] = row
    seen.silent = silent(operation, drawn)
    return seen


def problems(seen: Evidence) -> list[str]:
    """Everything that is not as it should be, a sentence each."""
    who = f"{seen.operation}: "
    found = []
    for party, laws in (("reference", seen.reference_laws), ("twin", seen.twin_laws)):
        found += [f"{who}law {law} is broken by the {party}: {why}" for law, why in laws.items() if why]
    if isinstance(seen.agreement, str):
        found.append(f"{who}reference and twin disagree: {seen.agreement}")
    found += [f"{who}another default: {what}" for what in seen.defaults]
    found += [f"{who}the argument {name} is changed in place" for name in seen.changed]
    if seen.gradient_failure:
        found.append(f"{who}reference or twin could not be compared: {seen.gradient_failure}")
    for what, (relative, allowed) in seen.gradients.items():
        if not relative <= allowed:
            found.append(f"{who}the gradient is wrong ({what}): {relative:.3g}, at most {allowed:.3g} can be rounding")
    found += [f"{who}mutant {mutant} never gives a value: {why}" for mutant, why in seen.silent.items()]
    found += [f"{who}mutant {mutant} is killed by no law, nor by the twin" for mutant in seen.survivors]
    found += [f"{who}law {law} is broken by no mutant" for law in seen.idle]
    return found
