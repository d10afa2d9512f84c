r"""Words for a model, and of it: the tokenizer that comes with published weights, and a conversation in ChatML.

    <|im_start|>user⏎ … <|im_end|>⏎<|im_start|>assistant⏎ …

A chat template that came with the weights is not run: of one in ChatML the first system message is taken, no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference.bpe_pretokenize import PATTERNS
from reference.config import parsed
from reference.tokenizer_json import Pipeline, read

START, END = "<|im_start|>", "<|im_end|>"
BYTES, GPT2 = {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False}, {"type": "ByteLevel"}


def _cut(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [first, then]}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}


CUTS = {
    "gpt-2": GPT2,
    "smollm": _cut({"type": "Digits", "individual_digits": True}, GPT2),
    "llama-bpe": _cut(_split(PATTERNS["cl100k"]), BYTES),
    "qwen2": _cut(_split(PATTERNS["cl100k"].replace(r"\p{N}{1,3}", r"\p{N}")), BYTES),
}
"""Of the names that llama.cpp gives to ways to cut a text into words, what a tokenizer.json says for them."""


@dataclass(frozen=True)
class Voice:
    """A tokenizer with its marks and one without, the tokens that end an answer, and the template of a chat."""

    tokenizer: Pipeline
    plain: Pipeline
    marks: Mapping[str, int]
    ends: frozenset[int] = frozenset()
    template: str = ""

    @property
    def chats(self) -> bool:
        """Whether it knows the marks of ChatML."""
        return START in self.marks and END in self.marks

    def text(self, prompt: str) -> list[int]:
        """The tokens of a text to be continued; marks in it are marks."""
        return self.tokenizer.encode(prompt)

    def question(self, prompt: str, system: str | None = None) -> list[int]:
        """The tokens of a conversation that waits for its first answer; marks in what is said are text."""
        if system is None:
            said = re.search(rf"{re.escape(START)}system(?:\n|\\n)([^<{{'\"]*){re.escape(END)}", self.template)
            system = said[1] if said else ""
        ids, start, end = list(self.tokenizer.before), self.marks[START], self.marks[END]
        for who, text in (("system", system), ("user", prompt)):
            if text:
                ids += [start, *self.plain.encode(f"{who}\n{text}"), end, *self.plain.encode("\n")]
        return [*ids, start, *self.plain.encode("assistant\n")]

    def spoken(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of tokens as they come, until one ends the answer; characters are given when they are whole."""
        kept: list[int] = []
        told = ""
        for i in ids:
            if i in self.ends:
                break
            kept.append(i)
            whole = self.tokenizer.decode(kept)
            if not whole.endswith("\ufffd"):
                yield whole[len(told) :]
                told = whole
        yield self.tokenizer.decode(kept)[len(told) :]


def of_gguf(path: str | Path, found: Mapping[str, Any]) -> Voice:
    """The voice that the metadata of a GGUF file hold.

    Raises ValueError for a tokenizer that is not byte-level BPE, or cuts words in a way that is not known here.
    """
    said = {key.removeprefix("tokenizer.ggml."): value for key, value in found.items()}
    kind, cut = said.get("model"), said.get("pre", "gpt-2")
    if kind != "gpt2":
        raise ValueError(f"{path}: expected a tokenizer of byte-level BPE (gpt2), received {kind}")
    if cut not in CUTS:
        raise ValueError(f"{path}: expected words cut in one of the ways {', '.join(CUTS)}, received {cut}")
    spelled, types, unknown = said.get("tokens"), said.get("token_type"), said.get("unknown_token_id")
    if not isinstance(spelled, list) or not isinstance(types, list) or len(types) != len(spelled):
        raise ValueError(f"{path}: expected tokens and as many types of them")
    added = [
        {"id": i, "content": token, "special": kind == 3}
        for i, (token, kind) in enumerate(zip(spelled, types, strict=True))
        if kind in (3, 4)
    ]
    begin = [{"SpecialToken": {"id": "begin"}}] if said.get("add_bos_token") else []
    spec = {
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(spelled)},
            "merges": said.get("merges", []),
            "unk_token": spelled[unknown] if isinstance(unknown, int) and unknown < len(spelled) else None,
            "ignore_merges": cut == "llama-bpe",
        },
        "pre_tokenizer": CUTS[cut],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [*begin, {"Sequence": {}}],
            "special_tokens": {"begin": {"ids": [said.get("bos_token_id")]}},
        },
        "decoder": {"type": "ByteLevel"},
        "added_tokens": added,
    }
    ends = (said.get("eos_token_id"), said.get("eot_token_id"))
    return _voice(Pipeline(spec), spec, ends, str(found.get("tokenizer.chat_template", "")))


def of_folder(folder: Path) -> Voice:
    """The voice of a Hugging Face folder, from its tokenizer.json. Raises ValueError where that cannot be read."""
    tokenizer, spec = read(folder / "tokenizer.json"), parsed(folder / "tokenizer.json")
    ends: list[Any] = []
    for name in ("config.json", "generation_config.json"):
        end = parsed(folder / name).get("eos_token_id") if (folder / name).exists() else None
        ends += end if isinstance(end, list) else [end]
    template, apart = "", folder / "chat_template.jinja"
    if apart.exists():
        template = apart.read_text(encoding="utf-8", errors="replace")
    elif (folder / "tokenizer_config.json").exists():
        template = str(parsed(folder / "tokenizer_config.json").get("chat_template") or "")
    return _voice(tokenizer, spec, ends, template)


def _voice(tokenizer: Pipeline, spec: Mapping[str, Any], ends: Iterable[Any], template: str) -> Voice:
    marks = {token["content"]: token["id"] for token in spec.get("added_tokens") or []}
    known = {end for end in (*ends, marks.get(END)) if isinstance(end, int)}
    plain = Pipeline({**spec, "added_tokens": [], "post_processor": None})
    return Voice(tokenizer, plain, marks, frozenset(known), template)
