r"""SentencePiece's .model files: the pieces of a unigram model with their scores, and how texts are normalized.

The format is that of protocol buffers: fields of a number and a kind, of which those that matter here are read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from reference import expect
from reference.unigram_charsmap import Charsmap
from reference.unigram_model import UNKNOWN, Unigram

NORMAL, STRANGE, CONTROL, OWN, UNUSED, BYTE = range(1, 7)
MARK = "▁"


def _number(data: bytes, at: int) -> tuple[int, int]:
    """(a whole number in groups of seven bits, the place after it)."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field of a message. Raises IndexError or EOFError where the message is cut off."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _number(data, at)
            yield key >> 3, value
            continue
        size, at = _number(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(data):
            raise EOFError("cut off")
        yield key >> 3, data[at : at + size]
        at += size


class SentencePiece:
    """A unigram model with its normalization: text to ids and back."""

    def __init__(self, data: bytes) -> None:
        pieces: list[tuple[str, float, int]] = []
        trainer: dict[int, int | bytes] = {}
        rules: dict[int, int | bytes] = {}
        for number, value in fields(data):
            if number == 1 and isinstance(value, bytes):
                one = dict(fields(value))
                score = one.get(2, b"\0\0\0\0")
                text, kind = one[1], one.get(3, NORMAL)
                assert isinstance(score, bytes) and isinstance(text, bytes) and isinstance(kind, int)
                pieces.append((text.decode(), struct.unpack("<f", score)[0], kind))
            elif number == 2 and isinstance(value, bytes):
                trainer = dict(fields(value))
            elif number == 3 and isinstance(value, bytes):
                rules = dict(fields(value))
        if not pieces:
            expect.fail("model", "pieces", "none")
        if trainer.get(3, 1) != 1:
            expect.fail("model", "a unigram model, type 1", f"type {trainer[3]!r}")
        if any(kind == OWN for _, _, kind in pieces):
            expect.fail("model", "no pieces defined by the user", "some")
        table = rules.get(2, b"")
        self.charsmap = Charsmap(table) if isinstance(table, bytes) and table else None
        self.prefix, self.tidy = bool(rules.get(3, 1)), bool(rules.get(4, 1))
        self.pieces = pieces
        self.unknown = next((i for i, (_, _, kind) in enumerate(pieces) if kind == STRANGE), 0)
        self.bytes = {piece: i for i, (piece, _, kind) in enumerate(pieces) if kind == BYTE}
        self.model = Unigram([(piece, score) for piece, score, _ in pieces], fused=not self.bytes)
        for piece, _, kind in pieces:
            if kind != NORMAL:
                del self.model.ids[piece], self.model.log_p[piece]
        self.model.least = min(self.model.log_p.values(), default=0.0) - UNKNOWN

    def normalize(self, text: str) -> str:
        """Replacements, single blanks within and none around, one before all; then each blank is written ▁."""
        if self.charsmap:
            text = self.charsmap.replaced(text)
        if self.tidy:
            text = re.sub(" +", " ", text).strip(" ")
        return (" " * (self.prefix and bool(text)) + text).replace(" ", MARK)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; an unknown character is its bytes, where the model has these, else the unknown piece."""
        found: list[int] = []
        for piece in self.model.encode_word(self.normalize(text)):
            i = self.model.ids.get(piece)
            if i is None and self.bytes:
                found += [self.bytes[f"<0x{byte:02X}>"] for byte in piece.encode()]
            else:
                found.append(self.unknown if i is None else i)
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of normal pieces and bytes; what is not UTF-8 becomes U+FFFD, the unknown piece ⁇."""
        out = b""
        for i in ids:
            piece, _, kind = self.pieces[i]
            if kind == BYTE:
                out += bytes([int(piece[3:5], 16)])
            elif kind == STRANGE:
                out += " ⁇ ".encode()
            elif kind == NORMAL:
                out += piece.replace(MARK, " ").encode()
        text = out.decode("utf-8", "replace")
        return text.removeprefix(" ") if self.prefix else text


def read_sentencepiece(path: str | Path) -> SentencePiece:
    """The model of a file. Raises ValueError in one line for a file that is none, is cut off, or is of another kind."""
    try:
        return SentencePiece(Path(path).read_bytes())
    except OSError as error:
        expect.fail(str(path), "a file", error.strerror)
    except (IndexError, KeyError, AssertionError, struct.error, UnicodeDecodeError, EOFError) as error:
        expect.fail(str(path), "a model of SentencePiece", f"{type(error).__name__}: {error}")
    raise AssertionError
