"""SentencePiece's BPE from a GGUF file: the ids of its own library, for models that it trains here."""

import io
import re

import pytest
import sentencepiece
import torch

from reference import generate
from reference.checkpoint import load, voice
from reference.corpus import embedded
from tests_interop.gguf_files import llama, vocabulary
from tests_interop.vocabularies import bytestrings, texts

OWN = ["▁▁", "▁▁▁▁", "\n\n", "\n\n\n", "<b>"]
OPTIONS = {
    "as Llama": {"split_digits": True, "allow_whitespace_only_pieces": True},
    "as Gemma": {"add_dummy_prefix": False, "user_defined_symbols": OWN, "split_by_number": False},
    "few letters": {"vocab_size": 340, "character_coverage": 0.98, "split_by_whitespace": False},
}


@pytest.fixture(scope="module", params=OPTIONS)
def models(request, tmp_path_factory):
    """(their model, a GGUF with its vocabulary)."""
    made, options = io.BytesIO(), {"vocab_size": 1000, **OPTIONS[request.param]}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(embedded()[0][:200_000].splitlines()),
        model_writer=made,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        **options,
    )
    peer = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    tokens, scores, types = vocabulary(peer, options.get("user_defined_symbols", ()))

    def say(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        writer.add_bos_token_id(peer.bos_id())
        writer.add_eos_token_id(peer.eos_id())
        writer.add_unk_token_id(peer.unk_id())
        if not options.get("add_dummy_prefix", True):
            writer.add_add_space_prefix(False)
        writer.add_chat_template("{{ bos_token + '[INST] ' + '<<SYS>>' + content.strip() + ' [/INST]' }}")

    return peer, llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf", len(tokens), say=say)


def test_the_same_ids_and_the_same_text(models):
    peer, path = models
    speaker = voice(path)
    for text in [*texts(1500), " a", "  a  b   c    d     e", "\n\n\n\n\n a<b>b", "▁a▁b", "a\0b", "12 345 6789"]:
        ids = peer.encode(text)
        assert speaker.plain.encode(text) == ids, repr(text[:80])
        assert speaker.text(text) == [peer.bos_id(), *ids], repr(text[:80])
        assert speaker.tokenizer.decode(ids) == peer.decode(ids) == text.replace("▁", " "), repr(text[:80])


def test_bytes_that_are_not_utf_8(models):
    """As prompts they arrive with a surrogate for each, and are unknown; as tokens they are marked where they stand."""
    peer, path = models
    speaker = voice(path)
    for data in bytestrings(1500):
        assert speaker.plain.encode(data.decode("utf-8", "surrogateescape")) == peer.encode(data), data
        ids = [peer.piece_to_id(f"<0x{byte:02X}>") for byte in data]
        ours, theirs = (re.sub("\ufffd+", "\ufffd", x.decode(ids)) for x in (speaker.tokenizer, peer))
        assert ours == theirs, data


def test_a_random_model_writes(models, capsys):
    _, path = models
    for more in ((), ("--raw",), ("--temperature", "1"), ("--dtype", "float64")):
        assert generate.main(["--weights", str(path), "--prompt", "Hello, 漢字 😀", "--length", "9", *more]) == 0
        out, err = capsys.readouterr()
        assert out.endswith("\n") and not err


def test_a_continuation_is_what_follows_the_prompt(models, capsys):
    """Blanks where the two meet included."""
    _, path = models
    speaker, model = voice(path), load(path)
    for prompt in ("a", "the ", "In Python"):
        ids = speaker.text(prompt)
        new = generate.continued(*model, torch.tensor([ids]), 9)[0].tolist()
        new = new[: new.index(2)] if 2 in new else new
        assert generate.main(["--weights", str(path), "--prompt", prompt, "--length", "9", "--raw"]) == 0
        both = speaker.tokenizer.decode(ids + new)
        assert both.startswith(prompt) and capsys.readouterr().out == both[len(prompt) :] + "\n"


def test_a_question_of_llama_2_is_one_text(models):
    peer, path = models
    told = "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhat is it? [/INST]"
    assert voice(path).question(" What is it?\n", "Be brief.") == [peer.bos_id(), *peer.encode(told)]
