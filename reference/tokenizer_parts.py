r"""The parts of a tokenizer.json around its model: each reads its specification and gives a function of text.

A normalizer changes a text, a pre-tokenizer cuts it into words, and a template sets ids around it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, NoReturn

from reference.bpe_files import byte_characters
from reference.bpe_pretokenize import cutter
from reference.unigram_charsmap import Charsmap

Spec = dict[str, Any]
Words = Callable[[str, bool], list[str]]
"""Text, and whether it is the beginning, to words."""
CHARACTERS = byte_characters()
CHINESE = re.compile(
    r"([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f])"
)
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def refuse(part: str, kind: str) -> NoReturn:
    """A part that is not known here."""
    raise ValueError(f"{part}: expected a part that is known here, received {kind}")


def _pattern(spec: Spec) -> str:
    """An expression of `regex` from {"Regex": …} or {"String": …}."""
    return spec["Regex"] if "Regex" in spec else re.escape(spec["String"])


def lowered(text: str) -> str:
    """Lower case character by character: a sigma at the end of a word stays what it is elsewhere."""
    return "".join(map(str.lower, text))


def bert(text: str, spec: Spec) -> str:
    """BERT's cleaning: control characters out, blanks around Chinese characters, accents off, lower case."""
    if spec.get("clean_text", True):
        kept = (c for c in text if c not in "\0\ufffd" and (c in "\t\n\r" or unicodedata.category(c)[0] != "C"))
        text = "".join(" " if c.isspace() else c for c in kept)
    if spec.get("handle_chinese_chars", True):
        text = CHINESE.sub(r" \1 ", text)
    lower = spec.get("lowercase", True)
    strip = spec.get("strip_accents")
    if lower if strip is None else strip:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return lowered(text) if lower else text


def normalizer(spec: Spec | None) -> Callable[[str], str]:
    """The function that changes a text before it is cut."""
    if spec is None:
        return lambda text: text
    kind = spec["type"]
    if kind == "Sequence":
        steps = [normalizer(step) for step in spec["normalizers"]]

        def all_steps(text: str) -> str:
            for step in steps:
                text = step(text)
            return text

        return all_steps
    if kind in FORMS:
        return lambda text: unicodedata.normalize(kind, text)
    if kind == "Lowercase":
        return lowered
    if kind == "Prepend":
        return lambda text: spec["prepend"] + text if text else text
    if kind == "Replace":
        import regex

        found = regex.compile(_pattern(spec["pattern"]))
        return lambda text: found.sub(lambda _: spec["content"], text)
    if kind == "Strip":
        left, right = spec.get("strip_left", True), spec.get("strip_right", True)
        return lambda text: (text.lstrip() if left else text).rstrip() if right else text.lstrip() if left else text
    if kind == "StripAccents":
        return lambda text: "".join(c for c in text if unicodedata.category(c) != "Mn")
    if kind == "BertNormalizer":
        return lambda text: bert(text, spec)
    if kind == "Precompiled":
        return Charsmap.of_base64(spec["precompiled_charsmap"])
    refuse("normalizer", kind)


def _each(cut: Callable[[str], list[str]]) -> Words:
    return lambda text, first: cut(text)


def _split(spec: Spec) -> Callable[[str], list[str]]:
    """Words at every match, which is a word too, is dropped, or belongs to its neighbour."""
    import regex

    found, behavior, invert = regex.compile(_pattern(spec["pattern"])), spec["behavior"], spec.get("invert", False)
    if behavior not in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext"):
        refuse("pre_tokenizer", f"Split with {behavior}")

    def cut(text: str) -> list[str]:
        parts, end = [], 0
        for match in found.finditer(text):
            if match.end() > match.start():
                parts += [(text[end : match.start()], False), (match[0], True)]
                end = match.end()
        parts = [(part, hit != invert) for part, hit in [*parts, (text[end:], False)] if part]
        words: list[str] = []
        open_next = False
        for part, hit in parts:
            if hit and behavior == "Removed":
                continue
            if (hit and behavior == "MergedWithPrevious" and words) or open_next:
                words[-1] += part
            else:
                words.append(part)
            open_next = hit and behavior == "MergedWithNext"
        return words

    return cut


def _metaspace(spec: Spec) -> Words:
    mark = spec.get("replacement", "▁")
    scheme = spec.get("prepend_scheme", "always" if spec.get("add_prefix_space", True) else "never")

    def cut(text: str, first: bool) -> list[str]:
        text = text.replace(" ", mark)
        if not text:
            return []
        if not text.startswith(mark) and (scheme == "always" or (scheme == "first" and first)):
            text = mark + text
        if not spec.get("split", True):
            return [text]
        return re.findall(f"{re.escape(mark)}?[^{re.escape(mark)}]+|{re.escape(mark)}", text)

    return cut


def _byte_level(spec: Spec) -> Words:
    """GPT-2's words, if the expression is used, in a character for each byte."""
    cut = cutter("gpt2") if spec.get("use_regex", True) else lambda text: [text]

    def words(text: str, first: bool) -> list[str]:
        if spec.get("add_prefix_space") and not text.startswith(" "):
            text = " " + text
        return ["".join(CHARACTERS[byte] for byte in word.encode()) for word in cut(text)]

    return words


PUNCTUATION = r"[!-/:-@\[-`{-~]|\p{P}"


def pre_tokenizer(spec: Spec | None) -> Words:
    """The function that cuts a text into words."""
    if spec is None:
        return lambda text, first: [text] if text else []
    kind = spec["type"]
    if kind == "Sequence":
        steps = [pre_tokenizer(step) for step in spec["pretokenizers"]]

        def all_steps(text: str, first: bool) -> list[str]:
            words = [text]
            for step in steps:
                words = [w for k, word in enumerate(words) for w in step(word, first and k == 0)]
            return words

        return all_steps
    if kind == "ByteLevel":
        return _byte_level(spec)
    if kind == "Metaspace":
        return _metaspace(spec)
    if kind == "Split":
        return _each(_split(spec))
    if kind == "Digits":
        digits = r"\p{N}" if spec.get("individual_digits") else r"\p{N}+"
        return _each(_split({"pattern": {"Regex": digits}, "behavior": "Isolated"}))
    if kind == "Punctuation":
        return _each(_split({"pattern": {"Regex": PUNCTUATION}, "behavior": spec.get("behavior", "Isolated")}))
    if kind == "Whitespace":
        return _each(cutter(r"\w+|[^\w\s]+"))
    if kind == "WhitespaceSplit":
        return _each(cutter(r"\S+"))
    if kind == "BertPreTokenizer":
        return _each(cutter(rf"{PUNCTUATION}|(?:(?!{PUNCTUATION})\S)+"))
    refuse("pre_tokenizer", kind)


def template(spec: Spec | None) -> tuple[list[int], list[int]]:
    """The ids that are set before and after a text."""
    if spec is None or spec["type"] == "ByteLevel":
        return [], []
    kind = spec["type"]
    if kind == "Sequence":
        before: list[int] = []
        after: list[int] = []
        for step in spec["processors"]:
            first, last = template(step)
            before, after = first + before, after + last
        return before, after
    if kind in ("BertProcessing", "RobertaProcessing"):
        return [spec["cls"][1]], [spec["sep"][1]]
    if kind == "TemplateProcessing":
        before, after, seen = [], [], False
        for item in spec["single"]:
            if "Sequence" in item:
                seen = True
            else:
                (after if seen else before).extend(spec["special_tokens"][item["SpecialToken"]["id"]]["ids"])
        return before, after
    refuse("post_processor", kind)
