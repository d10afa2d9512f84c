"""Four tokens step by step: attention without projections, then with queries and keys, then with values.

`python -m reference.attention --trace` prints it. Embeddings have three readable coordinates, projections are small
integers, and the arithmetic is that of reference.attention: what is printed is computed, not typed.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch

from reference.attention import attention, scores
from reference.softmax import softmax

TOKENS = ("the", "dog", "chased", "it")
FEATURES = ("animal", "action", "refers")
SOUGHT, GIVEN = ("animal?", "action?", "refers?"), ("animal", "action", "who")


class Example(NamedTuple):
    """Embeddings (four tokens of three coordinates) and the three projections, each 3 × 3, applied as x W."""

    x: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


def example() -> Example:
    """A pronoun that looks for an animal, a verb that looks for who acts; float64."""
    x = torch.tensor([[0, 0, 1], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    query = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 0, 0]])
    key = torch.eye(3)
    value = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    return Example(*(part.double() for part in (x, query, key, value)))


def steps(given: Example) -> dict[str, torch.Tensor]:
    """Every number of the trace, by name."""
    x, query, key, value = given
    one = [part[None, None] for part in (x, x @ query, x @ key, x @ value)]
    bare = scores(one[0], one[0], 1.0)[0, 0]
    asked = scores(one[1], one[2], 1.0)[0, 0]
    scaled = scores(one[1], one[2])[0, 0]
    return {
        "x": x, "q": x @ query, "k": x @ key, "v": x @ value,
        "bare": bare, "bare weights": softmax(bare), "bare output": softmax(bare) @ x,
        "asked": asked, "scaled": scaled, "weights": softmax(scaled), "weighted embeddings": softmax(scaled) @ x,
        "output": attention(*one[1:])[0, 0], "causal": attention(*one[1:], causal=True)[0, 0],
    }  # fmt: skip


def table(rows: torch.Tensor, columns, corner: str = "", digits: int = 2) -> str:
    """A matrix with a token before every row and a name above every column."""
    texts = [[f"{value + 0.0:.{digits}f}" for value in row] for row in rows.tolist()]
    width = max(7, *(len(name) + 2 for name in columns), *(len(text) + 2 for row in texts for text in row))
    left = max(9, len(corner) + 1, *(len(token) + 2 for token in TOKENS))
    head = f"  {corner:<{left}}" + "".join(f"{name:>{width}}" for name in columns)
    lines = (
        f"  {token:<{left}}" + "".join(f"{t:>{width}}" for t in row) for token, row in zip(TOKENS, texts, strict=True)
    )
    return "\n".join([head, *lines])


def beside(*tables: str) -> str:
    """Tables next to one another."""
    parts = [t.split("\n") for t in tables]
    widths = [max(map(len, part)) for part in parts]
    return "\n".join("   ".join(f"{line:<{w}}" for line, w in zip(row, widths, strict=True)).rstrip()
                     for row in zip(*parts, strict=True))  # fmt: skip


def trace() -> str:
    """The whole story as text."""
    of = steps(example())
    biggest = (of["bare"] - of["bare"].T).abs().max().item()
    toward = (of["asked"][3, 1], of["asked"][1, 3])
    row = of["weights"][3]
    sums = " + ".join(
        f"{w:.2f}·({', '.join(f'{c:g}' for c in v)})" for w, v in zip(row.tolist(), of["v"].tolist(), strict=True)
    )
    out = ", ".join(f"{c:.2f}" for c in of["output"][3].tolist())
    return f"""FOUR TOKENS: {" ".join(TOKENS)}

Each is three numbers: how much it is an animal, an action, or a word that refers to another.

{table(of["x"], FEATURES, "x", 0)}

1. WITHOUT PROJECTIONS: every token has one vector for asking, for being found and for giving

Score of t and s: x_t · x_s. Weights: softmax of a row. Output: the average of the x_s.

{beside(table(of["bare"], TOKENS, "x·xᵀ", 0), table(of["bare weights"], TOKENS, "softmax"))}

"it" finds itself and "the", which are like it, and not the dog. What t asks of s, s asks of t: the matrix is symmetric
(largest difference {biggest:g}), and no token can want what it is not.

2. QUERIES AND KEYS: q = x W_Q is what a token looks for, k = x W_K how it can be found

{beside(table(of["q"], SOUGHT, "q", 0), table(of["k"], FEATURES, "k", 0))}

{beside(table(of["asked"], TOKENS, "q·k", 0), table(of["scaled"], TOKENS, "q·k / √3"))}

"it" looks for an animal, and asks the dog with {toward[0]:g}; the dog looks for an action, and asks "it" with
{toward[1]:g}. Scores are divided by √K = √3, as sums of three products have three times the variance of one:

{table(of["weights"], TOKENS, "weights")}

3. VALUES: v = x W_V is what a token gives when it is found, which need not be how it was found

{beside(table(of["v"], GIVEN, "v", 0), table(of["output"], GIVEN, "output"))}

Output of "it": {sums}
             = ({out})

4. CAUSAL: a token may only find itself and those before it

{table(of["causal"], GIVEN, "output")}

"the" sees nothing but itself, which gives nothing. The last token sees everything: its output is the one above.
"""


def main(argv) -> int:
    """Print the trace."""
    parser = argparse.ArgumentParser(prog="python -m reference.attention", description=__doc__)
    parser.add_argument("--trace", action="store_true", help="print four tokens step by step")
    if not parser.parse_args(argv).trace:
        parser.print_help()
        return 2
    print(trace())
    return 0
