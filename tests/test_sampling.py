"""Sampling and search as a user meets them: bad input, NaN, dtypes, and a beam over a model with a memory."""

import itertools
import math

import pytest
import torch

from reference.sampling import (
    distribution,
    epsilon_cutoff,
    eta_cutoff,
    frequency_penalty,
    greedy,
    presence_penalty,
    top_p,
    typical,
)
from reference.sampling_beam import beam_search, beam_search_with, length_penalty
from reference.softmax import log_softmax

Z = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
TOKENS, TABLE = torch.tensor([0, 2, 2]), torch.full((2, 2), -0.7)
BAD = {
    "boundary": (lambda: top_p(Z, 0.5, "crossing"), "boundary: expected one of reaches, exceeds, within, received"),
    "typical p": (lambda: typical(Z, 0.0), "p: expected a number above 0, at most 1, received 0.0"),
    "epsilon of one": (lambda: epsilon_cutoff(Z, 1.0), "epsilon: expected a number from 0 below 1"),
    "eta of NaN": (lambda: eta_cutoff(Z, math.nan), "epsilon: expected"),
    "integer logits": (lambda: greedy(TOKENS), "z: expected a floating-point tensor"),
    "token outside": (lambda: presence_penalty(Z, torch.tensor([4]), 1.0), "tokens: expected entries from 0 to 3"),
    "tokens of other rows": (lambda: frequency_penalty(Z, TOKENS[None], 1.0), "tokens: expected leading axes"),
    "infinite penalty": (lambda: frequency_penalty(Z, TOKENS, math.inf), "penalty: expected a number"),
    "no temperature": (lambda: distribution(Z, 0.0, temperature_last=True), "temperature: expected a number above 0"),
    "empty rows": (lambda: log_softmax(torch.zeros(2, 0)), "z: expected at least one entry"),
    "no length": (lambda: length_penalty(0, 1.0), "length: expected an integer ≥ 1"),
    "penalty name": (lambda: length_penalty(3, 1.0, "wu"), "penalty: expected one of power, gnmt"),
    "no width": (lambda: beam_search(TABLE, torch.tensor([0]), 0, 3, 1), "width: expected an integer ≥ 1"),
    "no prompt": (lambda: beam_search(TABLE, torch.zeros(0).long(), 1, 3, 1), "prompt: expected at least one symbol"),
    "end outside": (lambda: beam_search(TABLE, torch.tensor([0]), 1, 3, 2), "end: expected entries from 0 to 1"),
    "half an end": (lambda: beam_search(TABLE, torch.tensor([0]), 1, 3, 0.5), "end: expected an integer ≥ 0"),
    "a prompt in a list": (lambda: beam_search(TABLE, [0], 1, 3, 1), "prompt: expected a tensor, received list"),
    "temperature in words": (lambda: distribution(Z, "low"), "temperature: expected a number, received 'low'"),
    "no threshold": (lambda: top_p(Z, None), "p: expected a number, received None"),
    "one logit without an axis": (lambda: typical(Z[0], 0.5), "z: expected at least one axis"),
    "no table": (lambda: beam_search(TABLE[:1], torch.tensor([0]), 1, 3, 1), "log_p: expected a square table V V"),
    "logits for logs": (lambda: beam_search(-TABLE, torch.tensor([0]), 1, 3, 1), "log-probabilities, at most 0"),
    "wrong rows": (lambda: beam_search_with(lambda texts: TABLE, torch.tensor([0]), 1, 3, 1), "axis W: expected one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


KEEP = {
    "typical": lambda z: typical(z, 0.5),
    "epsilon": lambda z: epsilon_cutoff(z, 0.1),
    "eta": lambda z: eta_cutoff(z, 0.1),
    "presence": lambda z: presence_penalty(z, TOKENS, 1.0),
    "frequency": lambda z: frequency_penalty(z, TOKENS, 1.0),
    "within": lambda z: top_p(z, 0.5, "within"),
    "exceeds": lambda z: top_p(z, 0.5, "exceeds"),
    "distribution": lambda z: distribution(z, 2.0, 3, 0.5, 0.1, temperature_last=True),
    "log_softmax": log_softmax,
}


@pytest.mark.parametrize("name", KEEP)
def test_nan_is_never_left_out(name):
    broken = torch.where(torch.arange(4) == 1, torch.nan, Z)
    assert KEEP[name](broken).isnan().any()
    assert KEEP[name](Z.float()).dtype == torch.float32


def test_nothing_asked_and_nothing_said():
    assert torch.equal(frequency_penalty(Z, TOKENS[:0], 1.0), Z)
    assert torch.equal(epsilon_cutoff(Z, 0.0), Z)
    assert torch.equal(typical(Z, 1.0), Z)
    torch.testing.assert_close(log_softmax(Z), torch.log_softmax(Z, -1))


def remembering(texts):
    """Log-probabilities over three symbols that depend on the whole text."""
    steps = torch.arange(1, texts.shape[1] + 1, dtype=torch.float64)
    return torch.log_softmax(3 * torch.sin((texts + 1) @ steps[:, None] * torch.tensor([[1.0, 2.0, 3.0]]).double()), -1)


def test_a_beam_sees_the_whole_text_and_a_wide_one_finds_the_best():
    prompt, steps, end = torch.tensor([1, 0]), 4, 2
    best = {}
    for y in itertools.product(range(3), repeat=steps):
        y = y[: y.index(end) + 1] if end in y else y
        log_p, text = 0.0, prompt
        for symbol in y:
            log_p += float(remembering(text[None].double())[0, symbol])
            text = torch.cat([text, torch.tensor([symbol])])
        best[y] = log_p / length_penalty(len(y), 0.8)
    texts, scores = beam_search_with(lambda x: remembering(x.double()), prompt, 3**steps, steps, end, 0.8)
    expected = sorted(best, key=best.__getitem__, reverse=True)
    assert texts.tolist() == [[*y, *[end] * (steps - len(y))] for y in expected]
    torch.testing.assert_close(scores, torch.tensor([best[y] for y in expected], dtype=torch.float64))


def test_a_search_stops_when_nothing_can_be_reached_any_more():
    asked = []

    def model(texts):
        asked.append(len(texts))
        return torch.tensor([0.9, 0.1]).log().expand(len(texts), 2)

    texts, scores = beam_search_with(model, torch.tensor([0]), 2, 50, 0)
    assert texts[:, 0].tolist() == [0, 1] and len(asked) == 2
    assert scores.dtype == torch.float32


def test_fewer_texts_than_the_beam_has_room_for():
    impossible = torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]])
    texts, scores = beam_search(impossible, torch.tensor([0]), 5, 3, 1)
    assert texts.tolist() == [[0, 0, 0]] and scores.tolist() == [0.0]
    texts, scores = beam_search(impossible, torch.tensor([1]), 5, 3, 1)
    assert texts.shape == (0, 3) and scores.shape == (0,)
    assert beam_search(impossible + torch.nan, torch.tensor([0]), 2, 3, 1)[1].isnan().all()
