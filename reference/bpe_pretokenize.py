r"""Cutting text into words before any pair is counted: no token crosses these cuts.

Four patterns in use. Each takes a run of letters together, with what stands before it in some of them, a run of digits
or at most three, a run of other marks, and white space, of which the last blank goes to the word that follows.
Unicode's classes (letters \p{L}, numbers \p{N}, upper case \p{Lu}, marks \p{M}) are not in `re`: this file alone needs
the package `regex`, when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from reference import expect

ENDINGS = r"[sdmt]|ll|ve|re"
SPACES = r"\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BEFORE = r"[^\r\n\p{L}\p{N}]?"
PATTERNS = {
    "none": r"(?s:.+)",
    "gpt2": rf"'(?:{ENDINGS})| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{SPACES}",
    "cl100k": (
        rf"(?i:'(?:{ENDINGS}))|{BEFORE}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{SPACES}"
    ),
    "o200k": (
        rf"{BEFORE}{UPPER}*{LOWER}+(?i:'(?:{ENDINGS}))?|{BEFORE}{UPPER}+{LOWER}*(?i:'(?:{ENDINGS}))?"
        rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|{SPACES}"
    ),
}
"""Names of known patterns. "gpt2" is also that of r50k and p50k; radford2019language §2.2 has the reason for it."""


@cache
def cutter(pattern: str) -> Callable[[str], list[str]]:
    """The function that lists the words of a text: for one of PATTERNS, or any regular expression of `regex`.

    What the expression does not match would be lost, and is an error when it happens.
    """
    try:
        import regex
    except ModuleNotFoundError:
        expect.fail("pattern", "the package regex to be installed", "no such package")
    try:
        return regex.compile(PATTERNS.get(pattern, pattern)).findall
    except regex.error as error:
        expect.fail("pattern", f"one of {', '.join(PATTERNS)}, or a regular expression", f"{pattern!r}: {error}")
        raise


def words(text: str, pattern: str = "gpt2") -> list[str]:
    """The words of a text, in order, which together are the text.

    Raises ValueError if the pattern cannot be read, has a group that captures, or does not match all of the text.
    """
    found = cutter(pattern)(text)
    if found and not isinstance(found[0], str):
        expect.fail("pattern", "a regular expression without capturing groups", repr(pattern))
    if sum(map(len, found)) != len(text):
        expect.fail("pattern", "an expression that matches all of the text", repr(pattern))
    return found
