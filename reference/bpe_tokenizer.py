r"""A tokenizer of text: special tokens are cut out, the rest is cut into words, and each word is merged once.

A text may be `str`, or `bytes` that need not be UTF-8: every string of bytes has tokens, and they spell it again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain

from reference import expect
from reference.bpe_pretokenize import words
from reference.bpe_training import learn
from reference.bpe_words import Joined, Merges, Rules, encode_word

REMEMBERED = 2**17
"""Words whose tokens are kept; when there are more, all are forgotten."""


class Remembered(dict[str, list[int]]):
    """The tokens of words, found once."""

    def __init__(self, find: Callable[[str], list[int]]) -> None:
        super().__init__()
        self.find = find

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= REMEMBERED:
            self.clear()
        found = self[word] = self.find(word)
        return found


class Tokenizer:
    """Byte-level BPE: tokens as bytes with their ids, merges (by rank if none are given), a pattern, special tokens.

    `whole` says that a word which is a token is that token, whatever merges would do. Raises ValueError unless every
    byte is a token, and every id is of one token.
    """

    def __init__(
        self,
        tokens: Mapping[bytes, int],
        merges: Merges | None = None,
        pattern: str = "gpt2",
        special: Mapping[str, int] | None = None,
        whole: bool = True,
    ) -> None:
        self.tokens, self.pattern, self.special = dict(tokens), pattern, dict(special or {})
        self.letters = [tokens.get(bytes([byte]), -1) for byte in range(256)]
        if min(self.letters) < 0:
            expect.fail("tokens", "all 256 bytes among them", f"none for byte {self.letters.index(-1)}")
        self.spelled = {i: token for token, i in tokens.items()}
        self.spelled |= {i: name.encode() for name, i in self.special.items()}
        if len(self.spelled) < len(self.tokens) + len(self.special):
            expect.fail("tokens", "another id for every token", "an id of two tokens")
        self.merges = Joined(tokens) if merges is None else Rules(merges)
        self.whole = whole
        self.known = Remembered(lambda word: self._piece(word.encode()))

    @classmethod
    def trained(
        cls, texts: Iterable[str], size: int, pattern: str = "gpt2", special: Sequence[str] = (), least: int = 2
    ) -> Tokenizer:
        """A tokenizer of at most `size` tokens, the special ones last, learned from texts: ids are bytes, then merges.

        Raises ValueError unless size is at least 256 and the special tokens.
        """
        expect.natural("size", size, 256 + len(special))
        counts = Counter(word for text in texts for word in words(text, pattern))
        learned = learn({tuple(w.encode()): n for w, n in counts.items()}, size - 256 - len(special), 256, least)
        tokens = [bytes([byte]) for byte in range(256)]
        for a, b in learned:
            tokens.append(tokens[a] + tokens[b])
        ids: dict[bytes, int] = {}
        for i, token in enumerate(tokens):  # two merges may spell the same bytes: the first is the token
            ids.setdefault(token, i)
        merges = {pair: (r, 256 + r) for r, pair in enumerate(learned)}
        return cls(ids, merges, pattern, {name: len(tokens) + i for i, name in enumerate(special)}, whole=False)

    def _piece(self, piece: bytes) -> list[int]:
        """The tokens of one word."""
        if self.whole and piece in self.tokens:
            return [self.tokens[piece]]
        return encode_word([self.letters[byte] for byte in piece], self.merges)

    def _words(self, text: str) -> list[list[int]]:
        """The tokens of each word of a text without special tokens."""
        return list(map(self.known.__getitem__, words(text, self.pattern)))

    def encode(self, text: str | bytes, allow: Collection[str] | str = ()) -> list[int]:
        r"""The ids of a text. Special tokens that are not allowed are text like any other; `allow` may be "all".

        A surrogate in a `str` becomes U+FFFD. Bytes that are not UTF-8 form one word, from the last word before the
        first of them on, as in tiktoken. Raises ValueError for an unknown special token.
        """
        allowed = self.special if allow == "all" else allow
        for name in allowed:
            if name not in self.special:
                expect.fail("allow", f"special tokens, of {[*self.special]}", repr(name))
        rest = b""
        if isinstance(text, bytes):
            given = text
            try:
                text = given.decode()
            except UnicodeDecodeError as error:
                text, rest = given[: error.start].decode(), given[error.start :]
        elif not isinstance(text, str):
            expect.fail("text", "str or bytes", type(text).__name__)
        elif not text.isascii():
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if not allowed:
            found = self._words(text)
        else:
            found = []
            longest_first = sorted(allowed, key=len, reverse=True)
            for i, part in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text)):
                if i % 2:
                    found.append([self.special[part]])
                else:
                    found += self._words(part)
        if rest:
            found = self._joined(found, rest)
        return list(chain.from_iterable(found))

    def _joined(self, found: list[list[int]], rest: bytes) -> list[list[int]]:
        """Words, then bytes that are not UTF-8: these and the last word are one, and so is white space before it."""
        if found and not (len(found[-1]) == 1 and found[-1][0] in self.special.values()):
            ids = [i for word in found for i in word]
            last = len(ids) - len(found[-1])
            blank = [not self.spelled[i].strip(b" \n\t") for i in ids]
            while blank[last] and last and blank[last - 1]:
                last -= 1
            rest = b"".join(self.spelled[i] for i in ids[last:]) + rest
            found = [ids[:last]]
        return [*found, self._piece(rest)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """What the tokens spell. Raises ValueError for an id that is none."""
        ids = list(ids)
        for i in ids:
            if i not in self.spelled:
                expect.fail("ids", "ids of tokens", i)
        return b"".join(self.spelled[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the tokens; bytes that are not UTF-8 become U+FFFD. Raises ValueError for an id that is none."""
        return self.decode_bytes(ids).decode("utf-8", "replace")
