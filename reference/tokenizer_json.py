r"""Tokenizers as Hugging Face writes them in tokenizer.json: BPE, unigram and WordPiece, and what stands around them.

A text goes through five stages: added tokens are cut out, the rest is normalized, cut into words, each word becomes
ids, and special ids are set around all of them. The parts known here are in tokenizer_parts.py and
tokenizer_decoders.py; a part that is not is an error that names it. Nothing in a file is executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from reference import expect
from reference.bpe_scores import encoder
from reference.bpe_words import Rules, encode_word
from reference.tokenizer_decoders import decoder
from reference.tokenizer_parts import normalizer, pre_tokenizer, refuse, template
from reference.unigram_model import Unigram
from reference.unigram_wordpiece import split_word

Encode = Callable[[str], list[int]]


def _byte_pieces(text: str, ids: dict[str, int]) -> list[int] | None:
    """The ids of a text's bytes, written <0x0A>; None if one is missing."""
    found = [ids.get(f"<0x{byte:02X}>") for byte in text.encode()]
    return None if None in found else [i for i in found if i is not None]


def _bpe(spec: dict[str, Any]) -> Encode:
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if spec.get(name):
            refuse("model", f"BPE with {name}")
    ids: dict[str, int] = spec["vocab"]
    merges: dict[tuple[int, int], tuple[int, int]] = {}
    for pair in spec["merges"]:
        a, b = pair.split(" ") if isinstance(pair, str) else pair
        if not {a, b, a + b} <= ids.keys():
            expect.fail("merges", "two tokens of the vocabulary that make a third", repr(pair))
        merges[ids[a], ids[b]] = (merges.get((ids[a], ids[b]), (len(merges), 0))[0], ids[a + b])
    rules, unknown, whole = Rules(merges), ids.get(spec.get("unk_token") or ""), spec.get("ignore_merges", False)

    def encode(word: str) -> list[int]:
        if whole and word in ids:
            return [ids[word]]
        symbols: list[int] = []
        strange = False
        for character in word:
            i = ids.get(character)
            of_bytes = _byte_pieces(character, ids) if i is None and spec.get("byte_fallback") else None
            if i is not None or of_bytes is not None:
                symbols += [i] if i is not None else of_bytes or []
                strange = False
            elif unknown is not None:
                if not (strange and spec.get("fuse_unk")):
                    symbols.append(unknown)
                strange = True
        return encode_word(symbols, rules)

    return encode


def _unigram(spec: dict[str, Any]) -> Encode:
    pieces = [(piece, score) for piece, score in spec["vocab"]]
    unknown: int | None = spec.get("unk_id")
    model = Unigram(pieces, unknown)

    def encode(word: str) -> list[int]:
        found: list[int] = []
        for piece in model.encode_word(word):
            i = model.ids.get(piece)
            if i is None and spec.get("byte_fallback") and (of_bytes := _byte_pieces(piece, model.ids)) is not None:
                found += of_bytes
            elif i is not None:
                found.append(i)
            elif unknown is not None:
                found.append(unknown)
            else:
                expect.fail("text", "pieces of the vocabulary, which has no unknown token", repr(piece))
        return found

    return encode


def _wordpiece(spec: dict[str, Any]) -> Encode:
    ids, most = spec["vocab"], spec.get("max_input_chars_per_word", 100)
    unknown, prefix = [ids[spec["unk_token"]]], spec.get("continuing_subword_prefix", "##")

    def encode(word: str) -> list[int]:
        found = split_word(word, ids, prefix) if len(word) <= most else None
        return unknown if found is None else found

    return encode


def _scored(spec: dict[str, Any]) -> Encode:
    return encoder(spec["vocab"], spec["kinds"])


MODELS = {"BPE": _bpe, "Unigram": _unigram, "WordPiece": _wordpiece, "Scored": _scored}
"""By their names in a tokenizer.json, where the last does not occur: GGUF has it."""


class Pipeline:
    """A tokenizer made of the parts that a tokenizer.json names."""

    def __init__(self, spec: dict[str, Any]) -> None:
        model = spec["model"]
        kind = model.get("type") or ("Unigram" if isinstance(model["vocab"], list) else "BPE")
        if kind not in MODELS:
            refuse("model", kind)
        self.model = MODELS[kind](model)
        self.normalize = normalizer(spec.get("normalizer"))
        self.cut = pre_tokenizer(spec.get("pre_tokenizer"))
        self.before, self.after = template(spec.get("post_processor"))
        self.join = decoder(spec.get("decoder"))
        vocabulary = model["vocab"]
        pairs = ((x[0], i) for i, x in enumerate(vocabulary)) if isinstance(vocabulary, list) else vocabulary.items()
        self.ids: dict[str, int] = {}
        for token, i in pairs:
            self.ids.setdefault(token, i)
        added = spec.get("added_tokens") or []
        self.ids |= {token["content"]: token["id"] for token in added}
        self.tokens = {i: token for token, i in self.ids.items()}
        self.special = {token["id"] for token in added if token["special"]}
        self.raw = self._finder([token for token in added if not token.get("normalized")])
        self.normalized = self._finder([token for token in added if token.get("normalized")])
        self.known: dict[str, list[int]] = {}

    def _finder(self, added: list[dict[str, Any]]) -> re.Pattern[str] | None:
        """The expression that finds added tokens, the longest first, with the blanks that they take along."""
        if not added:
            return None
        found = []
        for token in sorted(added, key=lambda token: -len(token["content"])):
            text = self.normalize(token["content"]) if token.get("normalized") else token["content"]
            one = re.escape(text)
            if token.get("single_word"):
                one = rf"(?<!\w){one}(?!\w)"
            if token.get("lstrip"):
                one = rf"\s*{one}"
            if token.get("rstrip"):
                one = rf"{one}\s*"
            found.append(one)
            self.ids.setdefault(text, token["id"])
        return re.compile("(" + "|".join(found) + ")")

    def _split(self, text: str, finder: re.Pattern[str] | None) -> Iterable[tuple[str, int | None]]:
        """The parts of a text, with the id of those that are added tokens."""
        if finder is None:
            yield text, None
            return
        for k, part in enumerate(finder.split(text)):
            if k % 2:
                yield part, self.ids[part] if part in self.ids else self.ids[part.strip()]
            elif part:
                yield part, None

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a text; `special` says whether ids are set around it as the file says (a BOS, for instance).

        A surrogate, as a byte on the command line that is not UTF-8 becomes in Python, is U+FFFD.
        """
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
        found: list[int] = []
        first = True
        for raw, raw_id in self._split(text, self.raw):
            if raw_id is not None:
                found.append(raw_id)
                first = False
                continue
            for part, i in self._split(self.normalize(raw), self.normalized):
                if i is not None:
                    found.append(i)
                else:
                    for word in self.cut(part, first):
                        if word not in self.known:
                            self.known[word] = self.model(word)
                        found += self.known[word]
                first = False
        return [*self.before, *found, *self.after] if special else found

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """The text of some ids, without special tokens unless asked for. Raises ValueError for an unknown id."""
        ids = list(ids)
        for i in ids:
            if i not in self.tokens:
                expect.fail("ids", "ids of tokens", i)
        return self.join([self.tokens[i] for i in ids if special or i not in self.special])


def read(path: str | Path) -> Pipeline:
    """The tokenizer of a tokenizer.json. Raises ValueError in one line: no such file, no JSON, or an unknown part."""
    try:
        spec = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        expect.fail(str(path), "a file", error.strerror)
    except ValueError as error:
        expect.fail(str(path), "JSON in UTF-8", error)
    try:
        return Pipeline(spec)
    except (KeyError, TypeError, AttributeError) as error:
        expect.fail(
            str(path), "a tokenizer.json with a model", f"none that can be read: {type(error).__name__}: {error}"
        )
        raise
