r"""Text from published weights, token by token: python -m reference.generate --weights FILE_OR_FOLDER --prompt "…".

Where the form of a conversation is known (reference/conversation_forms.py) the prompt is a question, and what is
printed the answer.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import TYPE_CHECKING

import torch

from reference import expect
from reference.model import Cache, logits
from reference.sampling import distribution, greedy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from reference.architecture import Architecture
    from reference.model import Weights

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def tokens(
    weights: Weights,
    architecture: Architecture,
    ids: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"] | None = None,
    choose: Callable[[Float[Tensor, "B V"]], Int[Tensor, "B"]] = greedy,
) -> Iterator[Int[Tensor, "B"]]:
    r"""The tokens that follow, without end: each chosen from the logits of the last, with a cache of all before it.

    Texts of a batch are padded on the left, so that each goes on at its last column.
    Raises ValueError as `logits` does, and for a last column that pads.
    """
    if mask is not None and mask.numel() and not bool(mask[:, -1].all()):
        expect.fail("mask", "text in the last column (padding on the left)", "a row that ends in padding")
    cache = Cache()
    with torch.no_grad():
        z = logits(weights, architecture, ids, mask, cache)
        while True:
            new = choose(z[:, -1])
            yield new
            z = logits(weights, architecture, new[:, None], None, cache)


def continued(
    weights: Weights,
    architecture: Architecture,
    ids: Int[Tensor, "B T"],
    steps: int,
    mask: Bool[Tensor, "B T"] | None = None,
    choose: Callable[[Float[Tensor, "B V"]], Int[Tensor, "B"]] = greedy,
) -> Int[Tensor, "B N"]:
    """The first `steps` of these tokens."""
    expect.natural("steps", steps, 1)
    return torch.stack(list(islice(tokens(weights, architecture, ids, mask, choose), steps)), 1)


def drawn(temperature: float, top_k: int | None, top_p: float, seed: int):
    """A choice at random from `distribution`, or the most probable token at temperature 0."""
    if temperature == 0:
        return greedy
    generator = torch.Generator().manual_seed(seed)

    def choose(z: Float[Tensor, "B V"]) -> Int[Tensor, "B"]:
        return torch.multinomial(distribution(z, temperature, top_k, top_p), 1, generator=generator).squeeze(1)

    return choose


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m reference.generate", description=main.__doc__)
    parser.add_argument("--weights", required=True, metavar="PATH", help="a Hugging Face folder, or a GGUF file")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="a question, or a text to be continued")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told first (default: its template's)")
    parser.add_argument("--raw", action="store_true", help="continue the prompt, even if the model can chat")
    parser.add_argument("--length", type=int, default=256, help="tokens at most (default 256)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the most probable token")
    parser.add_argument("--top-k", type=int, help="draw from so many tokens at most")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the fewest of so much mass (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights and numbers (default float32)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Answer a question with published weights, or go on with a text."""
    options = parse(argv)
    try:
        expect.natural("length", options.length, 1)
        expect.number("temperature", options.temperature, 0)
        choose = drawn(options.temperature, options.top_k, options.top_p, options.seed)
        if options.temperature:
            choose(torch.zeros(1, 2))  # so that a wrong share is told before the weights are read
        from reference.checkpoint import load, voice

        model, speaker = load(options.weights, DTYPES[options.dtype]), voice(options.weights)
        chat = speaker.form is not None and not options.raw
        ids = speaker.question(options.prompt, options.system) if chat else speaker.text(options.prompt)
        if not ids:
            expect.fail("prompt", "one token or more", "none")
        following = (int(new) for new in tokens(*model, torch.tensor([ids]), choose=choose))
        for text in speaker.spoken(islice(following, options.length), () if chat else ids):
            print(text, end="", flush=True)
        print()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
