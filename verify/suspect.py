r"""Signs that are no proof: a known mistake followed to the last bit, large errors, or nearly always to one side.

A sum of n rounded terms errs by about √n u when the roundings are independent, against the n u that the bound allows,
and its error is as often above zero as below. Both statements are only probable, so that they raise a suspicion and
never a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch

from verify.ask import Answer
from verify.contract import contracts
from verify.diagnose import option, told
from verify.judge import Reading, Tally, follow, misfit
from verify.mistake import mutants
from verify.rounding import Undecided
from verify.suite import Operation

LARGEST = 4
"""Cases that are held to the random walk."""
CHANCE = 1e-6
"""Probability of so many signs alike, among cases whose mean errors have either sign with probability one half."""


def suspicions(reading: Reading, answers: Sequence[Answer]) -> list[str]:
    """A sentence for every sign."""
    found, signs = [], []
    walk = replace(reading, contract=replace(reading.contract, walk=True))
    for answer in answers:
        pairs = zip(answer.results, reading.values(answer.inputs), strict=True)
        signs += [mean_sign(got.double(), value) for got, value in pairs if value.is_floating_point()]
    for answer in answers[-LARGEST:]:
        with suppress(Undecided):
            for result, ball in zip(answer.results, walk.expected(answer.inputs), strict=True):
                if wrong := misfit(result, ball, reading.contract, Tally(), wider=(result.dtype,)):
                    found.append(f"larger errors than 6√n roundings would make: {wrong}")
    above, below = signs.count(1), signs.count(-1)
    fused = reading.contract.name == "FUSED"  # stored in a narrow dtype, what lies between may be biased for good
    if fused and 2 * tail(min(above, below), above + below) < CHANCE:
        found.append(f"errors to one side: too large in {above} cases and too small in {below}")
    return found


def mean_sign(got: torch.Tensor, value: torch.Tensor) -> int:
    """Is the mean relative error above zero (1), below (−1), or none at all?"""
    there = got.isfinite() & value.isfinite() & (value != 0)
    mean = float(torch.where(there, (got - value) / torch.where(there, value, 1), 0).sum())
    return (mean > 0) - (mean < 0)


def tail(k: int, n: int) -> float:
    """P(at most k heads in n fair throws)."""
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


def lookalikes(operation: Operation, reading: Reading, takes: set[str], answers: Sequence[Answer]) -> list[str]:
    """Known mistakes that it follows in the strictest arithmetic, where it does not follow the definition."""
    strictest = contracts(reading.contract.io, reading.contract.exact)[0]
    if reading.contract == strictest:
        return []
    known = [(told(mutant), mutant) for mutant in mutants(operation.name)]
    deaf = [(name, f) for name, f in operation.conventions.items() if option(name) in takes]
    known += [(f"what ignores {option(name)} and always does {name}", partial(f, reading.f)) for name, f in deaf]
    alike = []
    for name, f in known:
        with suppress(Exception):  # a mistake may raise anything
            if follow(replace(reading, contract=strictest, f=f), answers).answer is None:
                alike.append(f"to the last bit it is {name}; only coarser arithmetic could make it right")
    return alike
