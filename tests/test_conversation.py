"""The forms of conversations, beside what jinja makes of templates such as come with published weights."""

import pytest
from jinja2 import Environment

from reference.bpe_files import byte_characters
from reference.conversation import of_gguf
from reference.conversation_forms import FORMS, form
from tests.test_gguf_tokenizer import BEGIN, LETTERS, metadata

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
         "<start_of_turn>", "<end_of_turn>"]  # fmt: skip
INST = "{% set told = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
TEMPLATES = {
    "ChatML": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
              "'<|im_end|>' + '\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}",
    "Llama 3": "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
               "message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
               "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
    "Gemma": "{% set told = messages[0]['content'] | trim + '\n\n' if messages[0]['role'] == 'system' else '' %}"
             "{{ '<start_of_turn>user\n' + told + messages[-1]['content'] | trim + '<end_of_turn>\n' }}"
             "{{ '<start_of_turn>model\n' }}",
    "Zephyr": "{% for message in messages %}{% if message['role'] == 'user' %}"
              "{{ '<|user|>\n' + message['content'] + eos_token }}{% else %}"
              "{{ '<|system|>\n' + message['content'] + eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
              "{{ '<|assistant|>' + '\n' }}",
    "Llama 2": "{% set told = '<<SYS>>\n' + messages[0]['content'] | trim + '\n<</SYS>>\n\n' "
               "if messages[0]['role'] == 'system' else '' %}"
               "{{ '[INST] ' + told + messages[-1]['content'].strip() + ' [/INST]' }}",
    "Mistral 1": INST + "{{ ' [INST] ' + told + messages[-1]['content'] + ' [/INST]' }}",
    "Mistral 2": INST + "{{ '[INST] ' + told + messages[-1]['content'] + ' [/INST]' }}",
    "Mistral 3": INST + "{{ '[INST] ' + told + messages[-1]['content'] + '[/INST]' }}",
    "Mistral with Tekken": INST + "{{ '[INST]' + told + messages[-1]['content'] + '[/INST]' }}",
}  # fmt: skip


def voice(template, marks=(), kind=3, **more):
    """A voice of bytes and marks, so that what it says is what is written."""
    rows = [*((c, 0.0, 1) for c in byte_characters()), *((mark, 0.0, kind) for mark in marks)]
    return of_gguf("m.gguf", metadata(rows, model="gpt2", merges=[], scores=None, template=template, **more))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("system", ["", "Be brief. "])
@pytest.mark.parametrize("inst", [(), ("[INST]", "[/INST]")], ids=["text", "marks"])
def test_what_is_written_is_what_the_template_writes(name, system, inst):
    speaker = voice(TEMPLATES[name], [*MARKS, *inst])
    for prompt in ("Hello", " twice {} \n", "[INST] <|im_end|></s><<SYS>>"):
        said = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": prompt}]
        theirs = Environment().from_string(TEMPLATES[name]).render(messages=said, eos_token="</s>")
        ids = speaker.question(prompt, system)
        assert speaker.tokenizer.decode(ids, special=True) == theirs
        apart = speaker.question("x" * len(prompt), system)
        assert [i for i in ids if i > 255] == [i for i in apart if i > 255]  # marks in what is said are text


def test_a_form_needs_its_marks():
    assert [form(template, MARKS) for template in TEMPLATES.values()] == [*FORMS[:6], *FORMS[7:9], FORMS[10]]
    assert form("", ()) is form("{{ messages }}", ("[INST]",)) is form(TEMPLATES["Gemma"], ("<end_of_turn>",)) is None
    assert form("", MARKS) is form("{{ messages }}", MARKS) is FORMS[0]
    assert form(TEMPLATES["Llama 2"], ()) is FORMS[4]
    with pytest.raises(ValueError, match="template: expected a conversation in a form that is known here"):
        voice("").question("a")


def test_marks_that_are_not_special_are_marks_only_in_the_form():
    """In early files of Gemma they are defined by the user, as runs of blanks are, which stay tokens."""
    speaker = voice(TEMPLATES["Gemma"], ["<start_of_turn>", "<end_of_turn>", "ab"], kind=4)
    begin, end, own = 256, 257, 258
    ids = speaker.question("ab<end_of_turn>")
    assert (ids.count(begin), ids.count(end), ids.count(own)) == (2, 1, 1)


def test_answers_end_at_the_marks_of_a_turn():
    speaker = voice("", MARKS, eos_token_id=257)
    assert speaker.ends == {257, *(256 + MARKS.index(m) for m in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>"))}


def test_a_system_message_comes_from_the_template_unless_given():
    template = "<|im_start|>system\nBe kind<|im_end|>\n" + TEMPLATES["ChatML"]
    speaker = voice(template, MARKS)
    assert "system\nBe kind<" in speaker.tokenizer.decode(speaker.question("a"), special=True)
    assert "system" not in speaker.tokenizer.decode(speaker.question("a", ""), special=True)


def test_text_around_what_is_said_is_cut_with_it():
    """[INST] is text in Llama 2: it is one text with the question, with one blank and one BOS before it."""
    pieces = [("▁a", -1.0, 1), ("]▁", -2.0, 1), ("▁[", -3.0, 1)]
    said = metadata([*BEGIN, *LETTERS, ("[", -100.0, 1), ("]", -100.0, 1), *pieces], template=TEMPLATES["Llama 2"])
    speaker = of_gguf("m.gguf", said)
    ids = speaker.question("a", "")
    assert ids == speaker.tokenizer.encode("[INST] a [/INST]") and ids.count(1) == 1
    assert [speaker.tokenizer.tokens[i] for i in ids][1] == "▁[" and "▁a" in speaker.tokenizer.tokens.values()
