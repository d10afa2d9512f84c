"""The same ids as SentencePiece's own library, from models that it trains here."""

import io
import json
from base64 import b64encode

import pytest
import sentencepiece
from tokenizers import Tokenizer

from reference.corpus import embedded
from reference.tokenizer_json import Pipeline
from reference.unigram_files import fields, read_sentencepiece
from tests_interop.vocabularies import texts

OPTIONS = {
    "plain": {},
    "bytes": {"byte_fallback": True, "vocab_size": 1100},
    "as it is": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False},
}


@pytest.fixture(scope="module", params=OPTIONS)
def model(request, tmp_path_factory):
    made = io.BytesIO()
    options = {"vocab_size": 800, "minloglevel": 2, **OPTIONS[request.param]}
    lines = iter(embedded()[0][:200_000].splitlines())
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=made, **options)
    path = tmp_path_factory.mktemp("models") / "m.model"
    path.write_bytes(made.getvalue())
    return path


def test_the_same_ids(model):
    ours, peer = read_sentencepiece(model), sentencepiece.SentencePieceProcessor(model_file=str(model))
    for text in "\n\n".join(texts(1500)).split("\n\n"):  # it adds scores up in float32, so that long texts tie
        assert ours.normalize(text) == peer.normalize(text) or "\0" in text, repr(text[:80])
        ids = ours.encode(text)
        assert ids == peer.encode(text), repr(text[:80])
        assert ours.decode(ids) == peer.decode(ids), repr(text[:80])


def test_a_precompiled_table_in_tokenizer_json(model):
    """T5 and XLM-R keep the table of SentencePiece in their tokenizer.json."""
    ours = read_sentencepiece(model)
    rules = next(dict(fields(value)) for number, value in fields(model.read_bytes()) if number == 3)
    table = ours.charsmap and {"type": "Precompiled", "precompiled_charsmap": b64encode(rules[2]).decode()}
    spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "post_processor": None,
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            "normalizer": table,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                      "vocab": [[piece, score] for piece, score, _ in ours.pieces]}}  # fmt: skip
    pipeline, peer = Pipeline(spec), Tokenizer.from_str(json.dumps(spec))
    for text in texts(800):
        assert pipeline.encode(text) == peer.encode(text).ids, repr(text[:80])


def test_a_file_that_is_cut_off(model, tmp_path):
    data = model.read_bytes()
    for part in (data[:1000], data[: len(data) // 2 + 1], data[:-1], b"", b"not a model"):
        (tmp_path / "m.model").write_bytes(part)
        with pytest.raises(ValueError, match=r"m\.model: expected a model of SentencePiece|model: expected"):
            read_sentencepiece(tmp_path / "m.model")
