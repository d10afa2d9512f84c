"""Mistakes in beam search, each a part of one plain search exchanged."""

from __future__ import annotations

import math
from typing import Any

import torch

from reference.sampling import beam_search
from reference.sampling_beam import length_penalty
from verify.mistake import mistake

NOWHERE = "no public report found"


def reached(best, done, width, t, steps, alpha, penalty):
    """May the search stop? `best` is the largest log-probability among the incomplete texts of t symbols."""
    most = max(length_penalty(n, alpha, penalty) for n in range(t + 1, steps + 1))
    return len(done) == width and best / most < done[-1][0]


def search(log_p, prompt, width, steps, end, alpha=0.0, penalty="power", *, length=lambda n, t, prompt: n,
           stop=reached, room=lambda width, done: width, goes_on=False, last=True, tie=1):  # fmt: skip
    """Texts and scores; exchangeable: what counts as length, when to stop, how much room the incomplete ones have."""
    V, start = len(log_p), int(prompt[-1])
    table, live, done = log_p.tolist(), list[Any]([(0.0, ())]), list[Any]()
    for t in range(1, steps + 1):
        grown = [(s + table[y[-1] if y else start][w], (*y, w)) for s, y in live for w in range(V)]
        grown = [(s, y) for s, y in grown if s > -math.inf]
        full = [(s, y) for s, y in grown if y[-1] == end or (last and t == steps)]
        done += [(s / length_penalty(max(length(len(y), t, prompt), 1), alpha, penalty), y) for s, y in full]
        done = sorted(done, key=lambda row: (-row[0], [tie * w for w in row[1]]))[:width]
        live = [(s, y) for s, y in grown if goes_on or y[-1] != end]
        live = sorted(live, key=lambda row: (-row[0], [tie * w for w in row[1]]))[: room(width, done)]
        if not live or (t < steps and stop(live[0][0], done, width, t, steps, alpha, penalty)):
            break
    texts = torch.tensor([[*y, *[end] * (steps - len(y))] for _, y in done], dtype=torch.int64).reshape(-1, steps)
    return texts, torch.tensor([s for s, _ in done], dtype=log_p.dtype)


@mistake(
    "sampling.beam_search",
    id="beam-prompt-length",
    seen="vllm-project/vllm #2606; huggingface/transformers #26624 / PR#27351 (merged)",
    fix="count the generated symbols only",
)
def prompt_counted(*args, **options):
    """The length is that of the prompt and the text together."""
    return search(*args, **options, length=lambda n, t, prompt: n + len(prompt))


@mistake(
    "sampling.beam_search",
    id="beam-step-length",
    seen="OpenNMT/OpenNMT-tf PR#456 (closed for #457)",
    fix="divide by ℓ of each text's own length",
)
def one_length_for_all(log_p, prompt, width, steps, end, alpha=0.0, penalty="power"):
    """All scores are divided by ℓ of the last step, so that the penalty has no effect on the order."""
    texts, scores = search(log_p, prompt, width, steps, end)
    return texts, scores / length_penalty(steps, alpha, penalty)


def longest_is_best(best, done, width, t, steps, alpha, penalty):
    return len(done) == width and best / length_penalty(steps, alpha, penalty) < done[-1][0]


@mistake(
    "sampling.beam_search",
    id="beam-early-stop-bound",
    seen="huggingface/transformers PR#20901",
    fix="the bound divides by the largest ℓ to come: that of the longest text only where α ≥ 0",
)
def bound_for_a_positive_exponent(*args, **options):
    """The best that can still come is taken to be the longest text, also where α is negative."""
    return search(*args, **options, stop=longest_is_best)


@mistake(
    "sampling.beam_search",
    id="beam-stops-at-best",
    seen="joeynmt/joeynmt #148, PR#149",
    fix="go on while an incomplete text can still reach the complete ones",
)
def first_best_ends_it(*args, **options):
    """The search ends as soon as the best text so far is complete."""
    return search(*args, **options, stop=lambda best, done, *rest: bool(done) and best < done[0][0])


@mistake(
    "sampling.beam_search",
    id="beam-shortest",
    seen="neulab/xnmt PR#572 (merged); ottokart/beam_search PR#1 (merged)",
    fix="enough complete texts are no reason to stop",
)
def first_complete_ones(*args, **options):
    """The search ends when `width` texts are complete: these are the shortest."""
    return search(*args, **options, stop=lambda best, done, width, *rest: len(done) == width)


@mistake(
    "sampling.beam_search",
    id="beam-current-length",
    seen="facebookresearch/XLM #106 (as proposed there)",
    fix="a longer text is divided by more: the bound is at the largest ℓ to come",
)
def bound_at_the_present_length(*args, **options):
    """The best that can come is taken to be the present log-probability over ℓ of the present length."""

    def stop(best, done, width, t, steps, alpha, penalty):
        return len(done) == width and best / length_penalty(t, alpha, penalty) < done[-1][0]

    return search(*args, **options, stop=stop)


@mistake("sampling.beam_search", id="beam-spare-room", seen=NOWHERE, fix="`width` incomplete texts go on, no more")
def one_more_goes_on(*args, **options):
    """One incomplete text more than the beam is wide goes on; as many as asked for come back."""
    return search(*args, **options, room=lambda width, done: width + 1)


@mistake("sampling.beam_search", id="beam-next-length", seen=NOWHERE, fix="the bound is at the largest ℓ to come")
def bound_at_the_next_length(*args, **options):
    """The best that can come is taken to be longer by one symbol only."""

    def stop(best, done, width, t, steps, alpha, penalty):
        return len(done) == width and best / length_penalty(t + 1, alpha, penalty) < done[-1][0]

    return search(*args, **options, stop=stop)


@mistake("sampling.beam_search", id="beam-second-best", seen=NOWHERE, fix="the worst of the complete texts is asked")
def ends_when_the_best_is_safe(*args, **options):
    """The search ends when no incomplete text can beat the best one: the others may still be beaten."""

    def stop(best, done, width, t, steps, alpha, penalty):
        most = max(length_penalty(n, alpha, penalty) for n in range(t + 1, steps + 1))
        return len(done) == width and best / most < done[0][0]

    return search(*args, **options, stop=stop)


@mistake("sampling.beam_search", id="beam-stops-at-a-tie", seen=NOWHERE, fix="stop when it cannot be reached: <, not ≤")
def ends_when_it_can_only_be_equalled(*args, **options):
    """The search ends when an incomplete text can at best be as good: it may be the first of equals."""

    def stop(best, done, width, t, steps, alpha, penalty):
        most = max(length_penalty(n, alpha, penalty) for n in range(t + 1, steps + 1))
        return len(done) == width and best / most <= done[-1][0]

    return search(*args, **options, stop=stop)


@mistake(
    "sampling.beam_search",
    id="beam-shrinks",
    seen="facebookresearch/ParlAI #2058; ServiceNow/duorat #16",
    fix="complete texts take no room among the incomplete ones",
)
def complete_ones_take_room(*args, **options):
    """Every complete text leaves room for one incomplete text less."""
    return search(*args, **options, room=lambda width, done: width - len(done))


@mistake(
    "sampling.beam_search",
    id="beam-goes-on-after-end",
    seen="facebookresearch/ParlAI #2058; awslabs/sockeye PR#233",
    fix="a complete text is not extended",
)
def extended_after_its_end(*args, **options):
    """A text that has ended goes on."""
    return search(*args, **options, goes_on=True)


@mistake(
    "sampling.beam_search",
    id="beam-length-off-by-one",
    seen="awslabs/sockeye #483; tnq177/witwicky PR#8",
    fix="the end is one of the symbols that count, what stands before them is not",
)
def one_symbol_more(*args, **options):
    """The symbol before the first generated one is counted."""
    return search(*args, **options, length=lambda n, t, prompt: n + 1)


@mistake("sampling.beam_search", id="beam-cut-off-lost", seen=NOWHERE, fix="a text of full length is complete")
def unfinished_ones_are_lost(*args, **options):
    """What has no end when the steps are over is thrown away."""
    return search(*args, **options, last=False)


@mistake(
    "sampling.beam_search", id="beam-not-normalized", seen=NOWHERE, fix="return the scores by which texts are ordered"
)
def log_probabilities_returned(log_p, prompt, width, steps, end, alpha=0.0, penalty="power"):
    """The order is by score, but what is returned is the log-probability."""
    texts, scores = search(log_p, prompt, width, steps, end, alpha, penalty)
    lengths = [row.index(end) + 1 if end in row else steps for row in texts.tolist()]
    return texts, scores * torch.tensor([length_penalty(n, alpha, penalty) for n in lengths], dtype=scores.dtype)


@mistake("sampling.beam_search", id="beam-multiplied", seen=NOWHERE, fix="divide by ℓ: scores are negative")
def multiplied_by_the_penalty(log_p, prompt, width, steps, end, alpha=0.0, penalty="power"):
    """The log-probability is multiplied by ℓ."""
    return search(log_p, prompt, width, steps, end, -alpha, penalty)


@mistake("sampling.beam_search", id="beam-other-penalty", seen=NOWHERE, fix='"power" is n^α, "gnmt" ((5 + n)/6)^α')
def always_the_power(log_p, prompt, width, steps, end, alpha=0.0, penalty="power"):
    """The name of the penalty is not looked at."""
    return search(log_p, prompt, width, steps, end, alpha)


@mistake("sampling.beam_search", id="beam-last-of-equals", seen=NOWHERE, fix="the lexicographically first of equals")
def last_of_equal_texts(*args, **options):
    """Of equal scores the larger symbols win."""
    return search(*args, **options, tie=-1)


@mistake("sampling.beam_search", id="beam-one-too-many", seen=NOWHERE, fix="`width` texts, no more")
def one_text_more(log_p, prompt, width, steps, end, alpha=0.0, penalty="power"):
    """The beam is wider by one."""
    return beam_search(log_p, prompt, width + 1, steps, end, alpha, penalty)


@mistake("sampling.beam_search", id="beam-first-symbol", seen=NOWHERE, fix="the last symbol of the prompt comes before")
def continues_the_first_symbol(log_p, prompt, width, steps, end, alpha=0.0, penalty="power"):
    """The text follows the first symbol of the prompt."""
    return beam_search(log_p, prompt[:1], width, steps, end, alpha, penalty)
