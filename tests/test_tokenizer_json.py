"""tokenizer.json, read part by part; whole published files are compared with tokenizers in tests_interop."""

import json

import pytest

from reference.tokenizer_decoders import decoder
from reference.tokenizer_json import Pipeline, read
from reference.tokenizer_parts import bert, normalizer, pre_tokenizer, template


def bpe(merges, extra=(), **more):
    letters = sorted({c for pair in merges for c in pair.replace(" ", "")})
    tokens = [*extra, *letters, *(pair.replace(" ", "") for pair in merges)]
    return {"model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges, **more}}


def test_the_lowest_rank_is_merged_first():
    pipeline = Pipeline(bpe(["b c", "a b"]))
    assert [pipeline.tokens[i] for i in pipeline.encode("abc")] == ["a", "bc"]
    assert pipeline.decode(pipeline.encode("abc")) == "a bc"


def test_a_whole_word_may_be_a_token():
    spec = bpe(["a b", "b c"], extra=["abc"], ignore_merges=True)
    assert Pipeline(spec).encode("abc") == [0]


def test_unknown_characters_fall_back_to_bytes_or_to_the_unknown_token():
    extra = ["<unk>", *(f"<0x{b:02X}>" for b in "é".encode())]
    fallback = Pipeline(bpe(["a b"], extra, unk_token="<unk>", byte_fallback=True) | {
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}})  # fmt: skip
    assert fallback.encode("abé?") == [5, 1, 2, 0]
    assert fallback.decode([5, 1, 2]) == "abé" and fallback.decode([1, 5]) == "\ufffdab"
    assert Pipeline(bpe(["a b"], ["<unk>"], unk_token="<unk>", fuse_unk=True)).encode("é?ab") == [0, 3]
    assert Pipeline(bpe(["a b"])).encode("éab?") == [2]


def test_added_tokens_and_the_template():
    added = [
        {"content": "<s>", "id": 7, "special": True},
        {"content": "<m>", "id": 8, "special": False, "lstrip": True},
    ]
    around = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
              "special_tokens": {"<s>": {"ids": [7]}}}  # fmt: skip
    pipeline = Pipeline(bpe(["a b"]) | {"added_tokens": added, "post_processor": around})
    assert pipeline.encode("ab  <m>ab<s>") == [7, 2, 8, 2, 7]
    assert pipeline.encode("ab", special=False) == [2]
    assert pipeline.decode([7, 2, 8]) == "ab <m>" and pipeline.decode([7, 2], special=True) == "<s> ab"
    with pytest.raises(ValueError, match="ids: expected ids of tokens, received 99"):
        pipeline.decode([99])


def test_unigram_and_wordpiece_models():
    vocab = [["<unk>", 0.0], ["▁", -3.0], ["a", -3.0], ["▁ab", -1.0], ["b", -3.0]]
    spec = {"model": {"type": "Unigram", "vocab": vocab, "unk_id": 0}, "pre_tokenizer": {"type": "Metaspace"},
            "decoder": {"type": "Metaspace"}}  # fmt: skip
    pipeline = Pipeline(spec)
    assert pipeline.encode("ab xya") == [3, 1, 0, 2]
    assert pipeline.decode([3, 3, 2]) == "ab aba"
    ids = {"[UNK]": 0, "run": 1, "##ning": 2, ".": 3}
    spec = {"model": {"type": "WordPiece", "vocab": ids, "unk_token": "[UNK]", "max_input_chars_per_word": 9},
            "normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": {"type": "WordPiece"}}  # fmt: skip
    pipeline = Pipeline(spec)
    assert pipeline.encode("Rúnning. runs running" + "x" * 9) == [1, 2, 3, 0, 0]
    assert pipeline.decode([1, 2, 3]) == "running."


@pytest.mark.parametrize(("spec", "text", "expected"), [
    ({"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated"}, "a12b", ["a", "1", "2", "b"]),
    ({"type": "Split", "pattern": {"String": "."}, "behavior": "Removed"}, "a.b", ["a", "b"]),
    ({"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Removed", "invert": True}, "a, b", ["a", "b"]),
    ({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithPrevious"}, "a-b-", ["a-", "b-"]),
    ({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithNext"}, "a-b-", ["a", "-b", "-"]),
    ({"type": "Digits", "individual_digits": True}, "a12", ["a", "1", "2"]),
    ({"type": "Digits"}, "a12", ["a", "12"]),
    ({"type": "Whitespace"}, "a, b.c", ["a", ",", "b", ".", "c"]),
    ({"type": "WhitespaceSplit"}, "a, b.c", ["a,", "b.c"]),
    ({"type": "Punctuation"}, "a,b", ["a", ",", "b"]),
    ({"type": "ByteLevel", "add_prefix_space": True}, "a é", ["Ġa", "ĠÃ©"]),
    ({"type": "Metaspace", "prepend_scheme": "never"}, "a b", ["a", "▁b"]),
    (None, "a b", ["a b"]),
])  # fmt: skip
def test_words(spec, text, expected):
    assert pre_tokenizer(spec)(text, True) == expected


def test_normalizers():
    steps = [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip"}, {"type": "Prepend", "prepend": "_"}]
    assert normalizer({"type": "Sequence", "normalizers": steps})(" ﬁX ") == "_fix"
    assert normalizer({"type": "Replace", "pattern": {"Regex": " +"}, "content": "_"})("a  b") == "a_b"
    assert bert("Ça\t漢x\0", {}) == "ca  漢 x"


def test_decoders_and_templates():
    assert decoder({"type": "ByteLevel"})(["Ġa", "ÃĢ", "<x>"]) == " aÀ<x>"
    assert decoder({"type": "Strip", "content": " ", "start": 1})(["  a"]) == " a"
    assert template({"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]}) == ([1], [2])
    assert template(None) == ([], [])


@pytest.mark.parametrize(("content", "message"), [
    ("{", "expected JSON"),
    ("[]", "expected a tokenizer.json with a model"),
    ("{}", "expected a tokenizer.json with a model"),
    ('{"model": {"type": "WordLevel", "vocab": {}}}', "model: expected a part that is known here, received WordLevel"),
    ('{"model": {"type": "BPE", "vocab": {}, "merges": ["a b"]}}', "merges: expected two tokens"),
    (json.dumps(bpe([]) | {"normalizer": {"type": "Nmt"}}), "normalizer: expected a part that is known here"),
    (json.dumps(bpe([]) | {"pre_tokenizer": {"type": "CharDelimiterSplit"}}), "pre_tokenizer: expected a part"),
    (json.dumps(bpe([]) | {"decoder": {"type": "CTC"}}), "decoder: expected a part that is known here, received CTC"),
    (json.dumps(bpe([], dropout=0.1)), "received BPE with dropout"),
])  # fmt: skip
def test_wrong_files_are_one_line(tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError) as told:
        read(tmp_path / "tokenizer.json")
    assert message in str(told.value) and "\n" not in str(told.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="expected a file, received No such file"):
        read(tmp_path / "none.json")
