r"""A function that draws at random is judged by how often it draws what.

Asked for many rows of the same logits, it draws symbol i in a share ĉ of n rows. If its true probability is p, then
P(n KL(ĉ ‖ p) ≥ t) ≤ 2 e^{−t} (Chernoff); what p cannot be, at the error rate stated below, is refuted. A symbol of
probability zero must never come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from verify.ask import Caller
from verify.compare import show
from verify.contract import contracts
from verify.judge import Reading, readings
from verify.rounding import Ball
from verify.snippet import snippet

if TYPE_CHECKING:
    from verify.check import Report
    from verify.suite import Operation

DRAWS = 16384
ERROR_RATE = 1e-9
"""At most so probable is it that right code is refuted in one check."""


def drawn_wrongly(
    caller: Caller,
    reference: Callable[..., Any],
    operation: Operation,
    tried: Sequence[Mapping[str, Any]],
    report: Report,
) -> str | None:
    """Why the draws are not from the distribution, "" if they may be; None if the function does not draw at all."""
    rows = [inputs for inputs in tried if inputs["z"].shape[-1] <= 16]
    rows = [{**i, "z": graded(i["z"].shape[-1]).to(i["z"])} for i in rows[1::2]] + rows
    asked: list[tuple[Mapping[str, Any], torch.Tensor]] = []
    report.contract = f"{contracts(caller.io)[0]}, {DRAWS} draws a case, error rate {ERROR_RATE:g}"
    for inputs in rows:
        repeated = {**inputs, "z": inputs["z"].reshape(-1, inputs["z"].shape[-1])[:1].expand(DRAWS, -1).contiguous()}
        answer = caller(repeated)
        if not answer.trouble and (len(answer.results) != 1 or answer.results[0].dtype.is_floating_point):
            return None
        one = {**inputs, "z": repeated["z"][:1]}
        report.cases, report.trace = len(asked) + 1, answer.trace
        report.snippet, report.counterexample = "", {}
        if answer.trouble or answer.results[0].numel() != DRAWS:
            if not asked:
                return None
            return answer.trouble or f"shape {tuple(answer.results[0].shape)}, expected one symbol for each row"
        symbols = answer.results[0].flatten().long()
        V = one["z"].shape[-1]
        if bool(((symbols < 0) | (symbols >= V)).any()):
            return f"symbol {int(symbols.max())} of a vocabulary of {V}"
        asked.append((one, torch.bincount(symbols, minlength=V).double() / DRAWS))
    tests = sum(counts.numel() for _, counts in asked)
    best: tuple[int, str, Mapping[str, Any], Reading] | None = None
    for reading in readings(reference, operation.conventions, caller.io, unit=operation.unit):
        if reading.contract != contracts(caller.io)[0]:
            break
        for number, (inputs, counts) in enumerate(asked, 1):
            (ball,) = reading.expected(inputs)
            if why := improbable(counts, Ball(ball.value[0], ball.error[0]), tests):
                if best is None or number > best[0]:
                    best = (number, why, inputs, reading)
                break
        else:
            report.convention, report.tally.entries = reading.convention, tests
            return ""
    assert best is not None
    report.cases, report.convention = best[0], best[3].convention
    report.counterexample = {n: show(x) for n, x in best[2].items()}
    report.snippet = snippet(report.candidate, caller, best[2], False)
    return best[1]


def graded(V: int) -> torch.Tensor:
    """Logits of symbols that each come at 0.64 the rate of another, in mixed order: none is sure, none too rare."""
    rank = torch.arange(V) * (3 if V % 3 else 1) % V
    return (-0.45 * rank)[None]


def improbable(share: torch.Tensor, ball: Ball, tests: int) -> str | None:
    """The first symbol that comes too often or too rarely; `tests` is how many symbols are judged in all."""
    most = math.log(2 * tests / ERROR_RATE)
    for i, (c, p, e) in enumerate(zip(share.tolist(), ball.value.tolist(), ball.error.tolist(), strict=True)):
        if math.isnan(p):
            continue
        near = min(max(c, p - e), p + e)  # the probability in the ball that explains the draws best
        if DRAWS * divergence(c, near) > most:
            return f"at [{i}]: drawn in {c:.4%} of {DRAWS} rows, its probability is {p:.4%}"
    return None


def divergence(c: float, p: float) -> float:
    """KL(c ‖ p) of two coins, in nats."""

    def term(a: float, b: float) -> float:
        return 0.0 if a == 0 else math.inf if b <= 0 else a * math.log(a / b)

    return term(c, p) + term(1 - c, 1 - p)
