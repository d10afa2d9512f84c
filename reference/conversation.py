r"""Words for a model, and of it: the tokenizer that comes with published weights, and a conversation.

    <|im_start|>user⏎ … <|im_end|>⏎<|im_start|>assistant⏎ …

A chat template that came with the weights is not run: its form is known by its marks, and of one in ChatML the first
system message is taken, no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference.config import parsed
from reference.conversation_forms import END, ENDS, MARK, START, Form, form
from reference.gguf_tokenizer import specification
from reference.tokenizer_json import Pipeline, read


@dataclass(frozen=True)
class Voice:
    """A tokenizer with its marks, one without them, the tokens that end an answer, and a chat's template and form."""

    tokenizer: Pipeline
    plain: Pipeline
    marks: Mapping[str, int]
    ends: frozenset[int] = frozenset()
    template: str = ""
    form: Form | None = None

    def text(self, prompt: str) -> list[int]:
        """The tokens of a text to be continued; marks in it are marks."""
        return self.tokenizer.encode(prompt)

    def question(self, prompt: str, system: str | None = None) -> list[int]:
        """The tokens of a conversation that waits for its first answer; marks in what is said are text.

        Raises ValueError where the form of a conversation is not known.
        """
        if self.form is None:
            raise ValueError("template: expected a conversation in a form that is known here")
        if system is None:
            said = re.search(rf"{re.escape(START)}system(?:\n|\\n)([^<{{'\"]*){re.escape(END)}", self.template)
            system = said[1] if said else ""
        ids, text = list(self.tokenizer.before), ""
        for written, said_here in self.form.turns(prompt, system):
            for part in MARK.split(written):
                if part in self.marks:
                    ids += [*self.plain.encode(text), self.marks[part]]
                    text = ""
                else:
                    text += part.replace("{}", said_here)
        return ids + self.plain.encode(text)

    def spoken(self, ids: Iterable[int], before: Sequence[int] = ()) -> Iterator[str]:
        """The text of tokens as they come, until one ends the answer; characters are given when they are whole.

        `before` are the tokens of a text that they continue, so that a blank between the two is not lost.
        """
        kept = list(before)
        told = self.tokenizer.decode(kept)
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
    """The voice that the metadata of a GGUF file hold. Raises ValueError for a tokenizer that is not known here."""
    spec, ends = specification(path, found)
    try:
        return _voice(Pipeline(spec), spec, ends, str(found.get("tokenizer.chat_template", "")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


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
    added = spec.get("added_tokens") or []
    marks = {token["content"]: token["id"] for token in added}
    known = {end for end in (*ends, *(marks.get(name) for name in ENDS)) if isinstance(end, int)}
    chat = form(template, marks)
    apart = chat.tokens if chat else ()
    words = [token for token in added if not token["special"] and token["content"] not in apart]
    plain = Pipeline({**spec, "added_tokens": words, "post_processor": None})
    return Voice(tokenizer, plain, marks, frozenset(known), template, chat)
