r"""Vocabularies as they are published: tiktoken's ranks, and GPT-2's vocab.bpe with encoder.json.

Each reader says in one line what is wrong with a file.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from reference import expect
from reference.bpe_tokenizer import Tokenizer
from reference.bpe_words import Merges

ENDOFTEXT = "<|endoftext|>"


def byte_characters() -> list[str]:
    """A character for each byte, as GPT-2 writes them: itself if it can be seen in Latin-1, else one from U+0100 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(seen)]
    return [chr(0x100 + others.index(byte)) if byte in others else chr(byte) for byte in range(256)]


BYTES = {character: byte for byte, character in enumerate(byte_characters())}


def written_bytes(token: str) -> bytes:
    """The bytes of a token that is written in `byte_characters`. Raises ValueError for any other character."""
    try:
        return bytes(BYTES[character] for character in token)
    except KeyError as error:
        expect.fail("token", "GPT-2's characters for bytes", f"{error.args[0]!r} in {token!r}")
        raise


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        expect.fail(str(path), "a text file in UTF-8", getattr(error, "strerror", None) or error)
        raise


def read_ranks(path: str | Path) -> dict[bytes, int]:
    """Token → rank from a file of tiktoken: a line is a token in base 64, a blank and its rank.

    Raises ValueError naming the line that is none, or a token or rank that comes twice.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line:
            continue
        try:
            word, rank = line.split()
            token, where = base64.b64decode(word, validate=True), int(rank)
        except (ValueError, binascii.Error):
            expect.fail(f"{path}, line {number}", "a token in base 64 and its rank", repr(line[:60]))
        if token in ranks:
            expect.fail(f"{path}, line {number}", "every token once", repr(token))
        ranks[token] = where
    if len(set(ranks.values())) < len(ranks):
        expect.fail(str(path), "every rank once", "a rank of two tokens")
    return ranks


def write_ranks(path: str | Path, ranks: dict[bytes, int]) -> None:
    """A file that `read_ranks` reads, and tiktoken."""
    lines = (
        f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in sorted(ranks.items(), key=lambda x: x[1])
    )
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_gpt2(merges: str | Path, ids: str | Path) -> Tokenizer:
    """GPT-2's tokenizer from vocab.bpe (or merges.txt) and encoder.json (or vocab.json).

    Raises ValueError naming the line or the token that does not fit.
    """
    try:
        encoder = json.loads(_text(ids))
    except json.JSONDecodeError as error:
        expect.fail(str(ids), "JSON", error)
    if not isinstance(encoder, dict) or not all(isinstance(i, int) for i in encoder.values()):
        expect.fail(str(ids), "tokens and their ids", type(encoder).__name__)
    rules: dict[tuple[int, int], tuple[int, int]] = {}
    lines = _text(merges).splitlines()
    for number, line in enumerate(lines, 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(token in encoder for token in (*parts, "".join(parts))):
            expect.fail(f"{merges}, line {number}", f"two tokens of {ids} that make a third", repr(line[:60]))
        rules.setdefault((encoder[parts[0]], encoder[parts[1]]), (len(rules), encoder["".join(parts)]))
    special = {ENDOFTEXT: encoder[ENDOFTEXT]} if ENDOFTEXT in encoder else {}
    tokens = {written_bytes(token): i for token, i in encoder.items() if token not in special}
    table: Merges = rules
    return Tokenizer(tokens, table, "gpt2", special, whole=False)


SPECIAL = {
    "cl100k": {ENDOFTEXT: 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260,
               "<|endofprompt|>": 100276},
    "o200k": {ENDOFTEXT: 199999, "<|endofprompt|>": 200018},
    "gpt2": {ENDOFTEXT: 50256},
}  # fmt: skip


def read_tiktoken(path: str | Path, pattern: str, special: dict[str, int] | None = None) -> Tokenizer:
    """The tokenizer of a file of ranks with one of the patterns "gpt2", "cl100k" or "o200k", or another expression.

    Special tokens are those that OpenAI uses with the pattern, unless given. Raises ValueError as `read_ranks`.
    """
    return Tokenizer(read_ranks(path), None, pattern, SPECIAL.get(pattern, {}) if special is None else special)
