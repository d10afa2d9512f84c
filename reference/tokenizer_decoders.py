r"""The last part of a tokenizer.json: a decoder, which reads its specification and joins tokens to a text."""

from __future__ import annotations

import re
from collections.abc import Callable

from reference.bpe_files import BYTES
from reference.tokenizer_parts import Spec, refuse


def _byte_text(tokens: list[str]) -> str:
    """Characters for bytes back to bytes; a token with other characters is taken as it is written."""
    parts = [bytes(BYTES[c] for c in token) if all(c in BYTES for c in token) else token.encode() for token in tokens]
    return b"".join(parts).decode("utf-8", "replace")


BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _pieces_text(tokens: list[str], prefix: bool) -> str:
    """SentencePiece's tokens to text, where ▁ is a blank and <0xE2> a byte; what is not UTF-8 becomes U+FFFD.

    `prefix` says that a ▁ was set before the text.
    """
    if prefix and tokens:
        tokens = [tokens[0].removeprefix("▁"), *tokens[1:]]
    found = ((token, BYTE.fullmatch(token)) for token in tokens)
    parts = [bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode() for token, byte in found]
    return b"".join(parts).decode("utf-8", "replace")


def _byte_fallback(tokens: list[str]) -> list[str]:
    """Runs of tokens such as <0xE2> become their text, or U+FFFD for each where they are not UTF-8."""
    out: list[str] = []
    run: list[int] = []
    for token in [*tokens, ""]:
        byte = BYTE.fullmatch(token)
        if byte:
            run.append(int(byte[1], 16))
            continue
        if run:
            try:
                out.append(bytes(run).decode())
            except UnicodeDecodeError:
                out += ["\ufffd"] * len(run)
            run = []
        out.append(token)
    return out[:-1]


Join = Callable[[list[str]], list[str]]


def _decoding(spec: Spec) -> Join:
    """One step of a decoder: tokens to pieces of text."""
    kind = spec["type"]
    if kind == "Sequence":
        steps = [_decoding(step) for step in spec["decoders"]]

        def all_steps(tokens: list[str]) -> list[str]:
            for step in steps:
                tokens = step(tokens)
            return tokens

        return all_steps
    if kind == "ByteLevel":
        return lambda tokens: [_byte_text(tokens)]
    if kind == "Pieces":
        return lambda tokens: [_pieces_text(tokens, spec["prefix"])]
    if kind == "ByteFallback":
        return _byte_fallback
    if kind == "Fuse":
        return lambda tokens: ["".join(tokens)]
    if kind == "Replace":
        change = normalizer(spec)
        return lambda tokens: [change(token) for token in tokens]
    if kind == "Strip":
        mark, left, right = spec["content"], spec.get("start", 0), spec.get("stop", 0)

        def strip(token: str) -> str:
            for _ in range(left):
                token = token.removeprefix(mark)
            for _ in range(right):
                token = token.removesuffix(mark)
            return token

        return lambda tokens: [strip(token) for token in tokens]
    if kind == "Metaspace":
        mark = spec.get("replacement", "▁")
        begins = spec.get("prepend_scheme", "always" if spec.get("add_prefix_space", True) else "never") != "never"

        def blanks(tokens: list[str]) -> list[str]:
            out = [token.replace(mark, " ") for token in tokens]
            return [out[0].removeprefix(" ") if begins else out[0], *out[1:]] if out else out

        return blanks
    if kind == "WordPiece":
        prefix, tidy = spec.get("prefix", "##"), spec.get("cleanup", True)

        def pieces(tokens: list[str]) -> list[str]:
            out = [
                token if k == 0 else token.removeprefix(prefix) if token.startswith(prefix) else f" {token}"
                for k, token in enumerate(tokens)
            ]
            return [re.sub(r" ([.?!,])", r"\1", _contracted(token)) for token in out] if tidy else out

        return pieces
    refuse("decoder", kind)


def _contracted(token: str) -> str:
    """English endings next to their words."""
    for apart, together in ((" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"),
                            (" 've", "'ve"), (" 're", "'re")):  # fmt: skip
        token = token.replace(apart, together)
    return token


def decoder(spec: Spec | None) -> Callable[[list[str]], str]:
    """The function that joins tokens to a text; without a specification a blank stands between them."""
    if spec is None:
        return " ".join
    steps = _decoding(spec)
    return lambda tokens: "".join(steps(tokens))
