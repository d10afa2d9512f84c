r"""Beam search: of all texts the most probable ones, looked for among the best beginnings only.

    score(y) = Σ log p(y_t | y_<t) / ℓ(|y|),     ℓ(n) = n^α  or  ((5 + n)/6)^α

A text is complete when it ends with the symbol `end`, or has as many symbols as are allowed; |y| counts all generated
symbols, the end among them, and none of the prompt. Of equal scores the lexicographically first text is the better.
Article papers/sampling.md, derivation derivations/sampling_beam.py, laws verify/sampling_beam.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reference import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from torch import Tensor

PENALTIES = ("power", "gnmt")


def length_penalty(length: int, alpha: float, penalty: str = PENALTIES[0]) -> float:
    r"""ℓ(n), by which the log-probability of n symbols is divided: "power" n^α, "gnmt" ((5 + n)/6)^α.

    α = 0 divides by one; n^α with α = 1 gives the mean over symbols. Raises ValueError for n < 1, an infinite α or
    another name. Source: wu2016gnmt, §7 eq. (14).
    """
    expect.natural("length", length, 1)
    expect.number("alpha", alpha)
    if penalty not in PENALTIES:
        expect.fail("penalty", f"one of {', '.join(PENALTIES)}", repr(penalty))
    return float(length if penalty == "power" else (5 + length) / 6) ** alpha


def _best(scores: Float[Tensor, "M"], texts: Int[Tensor, "M S"], width: int) -> Int[Tensor, "W"]:
    """The places of the `width` largest scores, largest first, equal ones in the order of their texts."""
    by_text = torch.tensor(
        sorted(range(len(texts)), key=texts.tolist().__getitem__), dtype=torch.long, device=texts.device
    )
    return by_text[torch.sort(scores[by_text], descending=True, stable=True).indices[:width]]


def _expected(log_p: Float[Tensor, "W V"], live: Int[Tensor, "W N"], end: int) -> Float[Tensor, "W V"]:
    """What the model said, after a look at it."""
    expect.floating("next_log_p", log_p)
    sizes = expect.axes("next_log_p", log_p, "W V")
    expect.agree(W=(len(live), sizes["W"]))
    expect.indices("end", live.new_tensor([end]), sizes["V"])
    if (log_p > 0).any():
        expect.fail("next_log_p", "log-probabilities, at most 0", f"{log_p.max():g}")
    return log_p


def beam_search_with(
    next_log_p: Callable[[Int[Tensor, "W N"]], Float[Tensor, "W V"]],
    prompt: Int[Tensor, "N"],
    width: int,
    steps: int,
    end: int,
    alpha: float = 0.0,
    penalty: str = PENALTIES[0],
) -> tuple[Int[Tensor, "W S"], Float[Tensor, "W"]]:
    r"""At most `width` complete texts of at most S = `steps` symbols, best first, and their scores in nats.

    `next_log_p` gives the log-probabilities of the symbol after each of W texts. Every step extends the incomplete
    texts by every symbol: those that are now complete join the complete ones, of which the best `width` are kept; of
    the others the most probable `width`. It stops when none of these can reach the complete ones any more, which
    changes nothing. A text shorter than S is filled up with `end`; if fewer texts are possible, fewer rows come back.
    Raises ValueError for an empty prompt, width or steps < 1, `end` outside 0 … V − 1, positive log-probabilities, and
    as `length_penalty`. Source: wu2016gnmt, §7; huang2017finish, §3 (when to stop).
    """
    expect.natural("width", width, 1)
    expect.natural("steps", steps, 1)
    expect.natural("end", end)
    if not expect.axes("prompt", prompt, "N")["N"]:
        expect.fail("prompt", "at least one symbol", "none")
    divisors = [length_penalty(n, alpha, penalty) for n in range(1, steps + 1)]
    live, complete = prompt.new_zeros(1, 0), prompt.new_zeros(0, steps)
    log_p = _expected(next_log_p(prompt[None]), live, end)
    sums, scores = log_p.new_zeros(1), log_p.new_zeros(0)
    for t, divisor in enumerate(divisors, 1):
        symbols = torch.arange(log_p.shape[1], dtype=prompt.dtype, device=prompt.device)
        texts = torch.cat([live.repeat_interleave(len(symbols), 0), symbols.repeat(len(live))[:, None]], 1)
        sums = (sums[:, None] + log_p).flatten()
        possible, stops = ~(sums == -torch.inf), (texts[:, -1] == end) | (t == steps)
        filled = torch.nn.functional.pad(texts, (0, steps - t), value=end)
        complete = torch.cat([complete, filled[stops & possible]])
        scores = torch.cat([scores, sums[stops & possible] / divisor])
        best = _best(scores, complete, width)
        complete, scores = complete[best], scores[best]
        live, sums = texts[~stops & possible], sums[~stops & possible]
        best = torch.sort(sums, descending=True, stable=True).indices[:width]
        stays = torch.zeros_like(sums, dtype=torch.bool).scatter(0, best, True)  # in the order of texts, as before
        live, sums = live[stays], sums[stays]
        if not len(live) or (len(scores) == width and sums.amax() / max(divisors[t:]) < scores[-1]):
            break
        log_p = _expected(next_log_p(torch.cat([prompt.expand(len(live), -1), live], 1)), live, end)
    return complete, scores


def beam_search(
    log_p: Float[Tensor, "V V"],
    prompt: Int[Tensor, "N"],
    width: int,
    steps: int,
    end: int,
    alpha: float = 0.0,
    penalty: str = PENALTIES[0],
) -> tuple[Int[Tensor, "W S"], Float[Tensor, "W"]]:
    r"""`beam_search_with` for a model that looks at one symbol only: row c of `log_p` is what may follow symbol c.

    Raises ValueError as `beam_search_with`, unless log_p is "V V", or for a prompt outside 0 … V − 1.
    Source: wu2016gnmt, §7.
    """
    expect.floating("log_p", log_p)
    if log_p.ndim != 2 or log_p.shape[0] != log_p.shape[1]:
        expect.fail("log_p", "a square table V V", f"shape {tuple(log_p.shape)}")
    expect.indices("prompt", prompt, len(log_p))
    return beam_search_with(lambda texts: log_p[texts[:, -1].long()], prompt, width, steps, end, alpha, penalty)
