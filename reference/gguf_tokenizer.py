r"""The tokenizer of a GGUF file: what its metadata say, as a tokenizer.json would say it.

Two kinds are known: byte-level BPE with its merges ("gpt2"), and SentencePiece's BPE with its scores ("llama").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reference.bpe_pretokenize import PATTERNS
from reference.stored import fail
from reference.unigram_files import CONTROL, MARK, OWN, STRANGE

Spec = dict[str, Any]
BYTES, GPT2 = {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False}, {"type": "ByteLevel"}


def _cut(first: Spec, then: Spec) -> Spec:
    return {"type": "Sequence", "pretokenizers": [first, then]}


def _split(pattern: str) -> Spec:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}


CUTS = {
    "gpt-2": GPT2,
    "smollm": _cut({"type": "Digits", "individual_digits": True}, GPT2),
    "llama-bpe": _cut(_split(PATTERNS["cl100k"]), BYTES),
    "qwen2": _cut(_split(PATTERNS["cl100k"].replace(r"\p{N}{1,3}", r"\p{N}")), BYTES),
}
"""Of the names that llama.cpp gives to ways to cut a text into words, what a tokenizer.json says for them."""


def _of_bytes(path: str | Path, said: Mapping[str, Any], tokens: list[str]) -> Spec:
    """Byte-level BPE, which cuts a text into words."""
    cut, unknown = said.get("pre", "gpt-2"), said.get("unknown_token_id")
    if cut not in CUTS:
        fail(path, f"words cut in one of the ways {', '.join(CUTS)}", cut)
    model = {
        "type": "BPE",
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": said.get("merges", []),
        "unk_token": tokens[unknown] if isinstance(unknown, int) and unknown < len(tokens) else None,
        "ignore_merges": cut == "llama-bpe",
    }
    return {"model": model, "pre_tokenizer": CUTS[cut], "decoder": {"type": "ByteLevel"}}


def _of_pieces(path: str | Path, said: Mapping[str, Any], tokens: list[str]) -> Spec:
    """SentencePiece's BPE, where a blank is written ▁ and, unless it is denied, one stands before a text."""
    scores, prefix = said.get("scores"), said.get("add_space_prefix", True)
    if not isinstance(scores, list) or len(scores) != len(tokens):
        fail(path, "a score for each token", "none" if scores is None else "others")
    marks = [{"type": "Replace", "pattern": {"String": " "}, "content": MARK}]
    before = [{"type": "Prepend", "prepend": MARK}] if prefix else []
    return {
        "model": {"type": "Scored", "vocab": list(zip(tokens, scores, strict=True)), "kinds": said["token_type"]},
        "normalizer": {"type": "Sequence", "normalizers": before + marks},
        "decoder": {"type": "Pieces", "prefix": prefix},
    }


KINDS = {"gpt2": _of_bytes, "llama": _of_pieces}


def specification(path: str | Path, found: Mapping[str, Any]) -> tuple[Spec, tuple[Any, ...]]:
    """(what a tokenizer.json would say, ids that end a text), from the metadata of a file.

    Raises ValueError for a tokenizer of another kind, or that cuts words in a way that is not known here.
    """
    said = {key.removeprefix("tokenizer.ggml."): value for key, value in found.items()}
    kind, tokens, types = said.get("model"), said.get("tokens"), said.get("token_type")
    if kind not in KINDS:
        fail(path, "a tokenizer of byte-level BPE (gpt2) or SentencePiece's BPE (llama)", kind)
    if not isinstance(tokens, list) or any(type(token) is not str for token in tokens):
        fail(path, "tokens that are texts", "none" if tokens is None else "others")
    if not isinstance(types, list) or len(types) != len(tokens):
        fail(path, "a type for each token", "none" if types is None else "others")
    spec = KINDS[kind](path, said, tokens)
    spec["added_tokens"] = [
        {"id": i, "content": token, "special": kind != OWN}
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (STRANGE, CONTROL, OWN)
    ]
    of_pieces = kind == "llama"  # what is not said is what llama.cpp takes: the ids of Llama 2, and a BOS for both
    begin, end = said.get("bos_token_id", 1 if of_pieces else None), said.get("eos_token_id", 2 if of_pieces else None)
    if said.get("add_bos_token", of_pieces or said.get("pre") == "llama-bpe"):
        if not isinstance(begin, int) or not 0 <= begin < len(tokens):
            fail(path, "a bos_token_id that is a token's", begin)
        spec["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "begin"}}, {"Sequence": {}}],
            "special_tokens": {"begin": {"ids": [begin]}},
        }
    return spec, (end, said.get("eot_token_id"))
