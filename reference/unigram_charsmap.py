r"""SentencePiece's precompiled normalization: a table of strings and their replacements, packed as a double array.

A unit of the array is 32 bits: its label (a byte), whether it ends a string, and how far its children are. Applied to a
text as `tokenizers` does, clusters that a reader takes for one character are looked up whole, then each character.
"""

from __future__ import annotations

import base64
import struct

from reference import expect


class Charsmap:
    """The normalization of one table."""

    def __init__(self, blob: bytes) -> None:
        size = struct.unpack_from("<I", blob)[0] if len(blob) >= 4 else -1
        if size % 4 or not 0 <= size <= len(blob) - 4:
            expect.fail("precompiled_charsmap", "a table as long as it says", f"{len(blob)} bytes")
        self.units = struct.unpack_from(f"<{size // 4}I", blob, 4)
        self.strings = blob[4 + size :]

    @classmethod
    def of_base64(cls, text: str) -> Charsmap:
        """From tokenizer.json."""
        return cls(base64.b64decode(text))

    def found(self, data: bytes, start: int = 0) -> list[tuple[int, int]]:
        """(length, where its replacement is) of every string of the table that stands there, short ones first."""
        units, found = self.units, []
        node = _offset(units[0])
        for at in range(start, len(data)):
            node ^= data[at]
            if node >= len(units) or units[node] & 0x800000FF != data[at]:
                break
            ends = units[node] >> 8 & 1
            node ^= _offset(units[node])
            if ends:
                found.append((at + 1 - start, units[node] & 0x7FFFFFFF))
        return found

    def string(self, start: int) -> bytes:
        """The replacement that is kept there."""
        return self.strings[start : self.strings.index(b"\0", start)]

    def replacement(self, text: str) -> str | None:
        """What the shortest string of the table that begins the text is replaced by; None if there is none."""
        found = self.found(text.encode())
        return self.string(found[0][1]).decode() if found else None

    def replaced(self, text: str) -> str:
        """The text as SentencePiece normalizes it: from the left, the longest string of the table each time."""
        data, out, at = text.encode(), b"", 0
        while at < len(data):
            found = self.found(data, at)
            if found:
                out += self.string(found[-1][1])
                at += found[-1][0]
            else:
                size = 1 + (data[at] >= 0xC0) + (data[at] >= 0xE0) + (data[at] >= 0xF0)
                out += data[at : at + size]
                at += size
        return out.decode()

    def __call__(self, text: str) -> str:
        """The text with all replacements."""
        import regex

        out = []
        for cluster in regex.findall(r"\X", text):
            if len(cluster.encode()) < 6 and (whole := self.replacement(cluster)) is not None:
                out.append(whole)
            else:
                out += [character if (new := self.replacement(character)) is None else new for character in cluster]
        return "".join(out)


def _offset(unit: int) -> int:
    """How far a unit's children are."""
    return unit >> 10 << ((unit & 1 << 9) >> 6)
