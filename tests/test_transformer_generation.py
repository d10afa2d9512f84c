"""What a written GPT-2 says next: greedily, drawn in every way, and as a beam."""

from functools import partial

import torch

from reference import sampling
from reference.generate import continued
from reference.sampling_beam import beam_search_with
from reference.softmax import log_softmax
from reference.transformer import following, generate, logits
from tests.transformer_forms import IDS, drawn, loaded_form, near


def test_greedy_generation_is_that_of_the_cached_model():
    model = drawn(std=0.5)
    assert torch.equal(generate(model, IDS, 12), continued(*loaded_form(model), IDS, 12))


def test_a_long_text_is_read_from_its_last_positions():
    model = drawn()
    long = torch.cat([IDS, IDS, IDS], 1)
    near(following(model, long), logits(long[:, -32:], *model)[:, -1])
    assert generate(model, IDS, 40).shape == (2, 40)


def test_every_way_to_choose_is_a_choice():
    model, draw = drawn(std=0.5), torch.Generator().manual_seed(5)

    def gumbel(z, text, keep):
        return sampling.gumbel_max(keep(z, text), torch.rand(z.shape, generator=draw, dtype=z.dtype))

    keeps = {
        "temperature": lambda z, _: sampling.temperature(z, 0.7),
        "top-k": lambda z, _: sampling.top_k(z, 3),
        "top-p": lambda z, _: sampling.top_p(z, 0.5),
        "min-p": lambda z, _: sampling.min_p(z, 0.2),
        "typical": lambda z, _: sampling.typical(z, 0.5),
        "epsilon": lambda z, _: sampling.epsilon_cutoff(z, 0.01),
        "eta": lambda z, _: sampling.eta_cutoff(z, 0.01),
        "repetition": lambda z, text: sampling.repetition_penalty(z, text, 1.3),
        "presence": lambda z, text: sampling.presence_penalty(z, text, 1.0),
        "frequency": lambda z, text: sampling.frequency_penalty(z, text, 1.0),
    }
    for keep in keeps.values():
        new = generate(model, IDS, 3, partial(gumbel, keep=keep))
        assert new.shape == (2, 3) and new.dtype == IDS.dtype and int(new.max()) < 61
    from_shares = generate(model, IDS, 3, lambda z, _: torch.multinomial(
        sampling.distribution(z, 0.8, 5, 0.9), 1, generator=draw).squeeze(1))  # fmt: skip
    assert from_shares.shape == (2, 3)
    assert len(set(generate(model, IDS[:1], 20, lambda z, text: sampling.greedy(
        sampling.presence_penalty(z, text, 1e6)))[0].tolist())) == 20, "a penalty sees all of the text"  # fmt: skip


def test_a_beam_finds_a_text_as_probable_as_it_says_and_no_less_than_the_greedy_one():
    model = drawn(std=0.5)

    def told(new):
        text = torch.cat([IDS[0], new])
        log_p = log_softmax(logits(text[None], *model))[0, len(IDS[0]) - 1 : -1]
        return log_p.gather(1, new[:, None]).sum()

    wide = beam_search_with(lambda texts: log_softmax(following(model, texts)), IDS[0], 8, 4, end=60)
    (best, *_), (score, *_) = wide
    stop = best.tolist().index(60) + 1 if 60 in best.tolist() else 4
    near(score, told(best[:stop]))
    assert score >= told(generate(model, IDS[:1], 4)[0]) - 1e-12
