r"""How models that chat were taught to write a conversation: the few forms that most chat templates amount to.

    <|im_start|>user⏎Hello<|im_end|>⏎<|im_start|>assistant⏎                                        ChatML
    [INST] Hello [/INST]                                                                           Llama 2, Mistral

A template is a program, and is not run: its form is known by the marks that it writes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

MARK = re.compile(r"(<\|?\w+\|?>|</s>|\[/?INST\])")
"""What may be one token in the strings of a form."""


@dataclass(frozen=True)
class Form:
    """What stands around what is said, which is {}; what a template of it holds, and which marks must be tokens.

    What the system says is a turn of its own, or begins what the user says.
    """

    signs: tuple[str, ...]
    user: str
    answer: str = ""
    system: str = "{}\n\n"
    apart: bool = False
    trims: bool = False
    tokens: tuple[str, ...] = ()

    def turns(self, prompt: str, system: str) -> Iterator[tuple[str, str]]:
        """The strings of the form, each with what is said in it, up to the answer."""
        if self.trims:
            prompt, system = prompt.strip(), system.strip()
        if system and self.apart:
            yield self.system, system
        elif system:
            prompt = self.system.replace("{}", system) + prompt
        yield self.user, prompt
        yield self.answer, ""


START, END = "<|im_start|>", "<|im_end|>"
CHATML = Form(
    (START,),
    f"{START}user\n{{}}{END}\n",
    f"{START}assistant\n",
    f"{START}system\n{{}}{END}\n",
    apart=True,
    tokens=(START, END),
)
LLAMA3 = Form(
    ("<|start_header_id|>",),
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
    apart=True,
    trims=True,
    tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
GEMMA = Form(
    ("<start_of_turn>",),
    "<start_of_turn>user\n{}<end_of_turn>\n",
    "<start_of_turn>model\n",
    trims=True,
    tokens=("<start_of_turn>", "<end_of_turn>"),
)
ZEPHYR = Form(
    ("<|user|>", "message['content'] + eos_token"),
    "<|user|>\n{}</s>\n",
    "<|assistant|>\n",
    "<|system|>\n{}</s>\n",
    apart=True,
    tokens=("</s>",),
)
LLAMA2 = Form(("[INST] ", "<<SYS>>"), "[INST] {} [/INST]", system="<<SYS>>\n{}\n<</SYS>>\n\n", trims=True)
MISTRAL = tuple(
    Form((before, after), before + "{}" + after)
    for before in (" [INST] ", "[INST] ", "[INST]")  # its versions differ in blanks
    for after in (" [/INST]", "[/INST]")
)
FORMS = (CHATML, LLAMA3, GEMMA, ZEPHYR, LLAMA2, *MISTRAL)
ENDS = (END, "<|eot_id|>", "<end_of_turn>")
"""Tokens that end an answer, whatever else a file says."""


def form(template: str, marks: Collection[str]) -> Form | None:
    """The form of a chat template whose marks the tokenizer knows, or ChatML if it knows only those, or none."""
    for known in FORMS:
        if all(sign in template for sign in known.signs) and all(token in marks for token in known.tokens):
            return known
    return CHATML if all(token in marks for token in CHATML.tokens) else None
