r"""SentencePiece's precompiled normalization: a table of strings and their replacements, packed as a double array.

A unit of the array is 32 bits: its label (a byte), whether it ends a string, and how far its children are. Applied to a
text, clusters that a reader takes for one character are looked up whole first, then character by character.
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

    def replacement(self, text: str) -> str | None:
        """What the shortest string of the table that begins the text is replaced by; None if there is none."""
        units, node = self.units, 0
        node ^= _offset(units[0])
        for byte in text.encode():
            node ^= byte
            if node >= len(units) or units[node] & 0x800000FF != byte:
                return None
            ends = units[node] >> 8 & 1
            node ^= _offset(units[node])
            if ends:
                start = units[node] & 0x7FFFFFFF
                return self.strings[start : self.strings.index(b"\0", start)].decode()
        return None

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
