"""The tokenizers of GGUF files, from vocabularies written by hand; tests_interop holds them to SentencePiece's own."""

import struct

import pytest

from reference.bpe_files import byte_characters
from reference.conversation import of_gguf
from reference.gguf_file import read

BYTES = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
BEGIN = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), *BYTES]
LETTERS = [(letter, -100.0, 1) for letter in "▁abcehotuxyé"]
PIECES = [
    *(("bc", -2.0, 1), ("ab", -1.0, 1), ("aa", -3.0, 1)),  # the second joins first: scores count, not places
    *(("xy", -4.0, 1), ("yx", -4.0, 1)),  # equal
    *(("▁t", -5.0, 1), ("he", -6.0, 1), ("▁the", -7.0, 1), ("▁▁", -8.0, 1), ("qu", -9.0, 1), ("\n", -10.0, 1)),
    *(("ac", -0.5, 5), ("ec", -0.5, 3), ("ca", -0.5, 6), ("ae", -0.5, 2)),  # unused, a mark, a byte, the unknown one
    *(("<mark>", 0.0, 3), ("  ", 0.0, 4), ("bb", 0.0, 4)),
]


def metadata(rows=(*BEGIN, *LETTERS, *PIECES), **more):
    tokens, scores, types = (list(column) for column in zip(*rows, strict=True))
    said = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types} | more
    template = said.pop("template", "")
    found = {f"tokenizer.ggml.{key}": value for key, value in said.items() if value is not None}
    return found | {"tokenizer.chat_template": template}


def speaker(**more):
    return of_gguf("m.gguf", metadata(**more))


def split(text, **more):
    """The tokens of a text in which marks are text, without what is set before it."""
    pipeline = speaker(add_space_prefix=False, **more).plain
    return [pipeline.tokens[i] for i in pipeline.encode(text)]


@pytest.mark.parametrize(("text", "tokens"), [
    ("abc", ["ab", "c"]),
    ("aaa", ["aa", "a"]),
    ("aaab", ["aa", "ab"]),
    ("xyx", ["xy", "x"]),
    ("yxy", ["yx", "y"]),
    (" the", ["▁the"]),
    ("the", ["t", "he"]),
    ("▁the", ["▁the"]),
    ("aacecaae", ["aa", "c", "e", "c", "aa", "e"]),
    ("qu", ["qu"]),
    ("aq", ["a", "<0x71>"]),
    ("qqu", ["<0x71>", "qu"]),
    ("é😀", ["é", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]),
    ("\0", ["<0x00>"]),
    ("\n\r", ["\n", "<0x0D>"]),
    ("a   b", ["a", "  ", "▁", "b"]),
    ("abbc", ["a", "bb", "c"]),
    ("<0x41>", [f"<0x{ord(c):02X}>" for c in "<0"] + ["x"] + [f"<0x{ord(c):02X}>" for c in "41>"]),
    ("", []),
])  # fmt: skip
def test_pieces_join_by_their_scores(text, tokens):
    assert split(text) == tokens


def test_a_blank_and_a_bos_stand_before_a_text_unless_denied():
    pipeline = speaker().tokenizer
    ids = {token: i for i, (token, _, _) in enumerate((*BEGIN, *LETTERS, *PIECES))}
    assert pipeline.encode("the") == [1, ids["▁the"]]
    assert pipeline.encode(" the") == [1, ids["▁"], ids["▁the"]]
    assert pipeline.encode("") == [1]
    assert pipeline.encode("the<mark>the") == [1, ids["▁the"], ids["<mark>"], ids["▁the"]]  # and after every mark
    assert speaker(add_bos_token=False).tokenizer.encode("the") == [ids["▁the"]]
    assert speaker(bos_token_id=2).tokenizer.encode("the") == [2, ids["▁the"]]
    assert speaker(add_space_prefix=False).tokenizer.encode("the") == [1, ids["t"], ids["he"]]
    assert speaker().ends == {2} and speaker(eos_token_id=5, eot_token_id=6).ends == {5, 6}


def test_text_comes_back():
    pipeline, bare = speaker().tokenizer, speaker(add_space_prefix=False).tokenizer
    for text in ("the abc\n", " a", " ", "😀é\t\0", "q\ufffd", "▁ab "):
        assert pipeline.decode(pipeline.encode(text)) == text.replace("▁", " ")
        assert bare.decode(bare.encode(text)) == text.replace("▁", " ")
    for text in ("the  abc\n", "   ", "a   bb", "bb b"):
        assert bare.decode(bare.encode(text)) == text
    ids = {token: i for i, (token, _, _) in enumerate((*BEGIN, *LETTERS, *PIECES))}
    half = [ids["a"], ids["<0xF0>"], ids["<0x9F>"], ids["<mark>"], ids["b"], ids["<0xC3>"], ids["<0xA9>"]]
    assert pipeline.decode(half) == "a\ufffdbé"
    assert speaker(add_space_prefix=False).tokenizer.decode([ids["▁the"]]) == " the"
    assert pipeline.encode("a\udcff") == pipeline.encode("a\ufffd")  # a byte of the command line that is not UTF-8


def test_a_continuation_keeps_its_blank():
    voice = speaker()
    ids = {token: i for i, (token, _, _) in enumerate((*BEGIN, *LETTERS, *PIECES))}
    new = [ids["▁the"], ids["<0xC3>"], ids["<0xA9>"], 2, ids["a"]]
    assert "".join(voice.spoken(new)) == "theé"
    assert "".join(voice.spoken(new, voice.text("ab"))) == " theé"
    assert list(voice.spoken(new[1:3], voice.text("ab"))) == ["é", ""]


def test_llama_3_begins_with_its_bos():
    rows = [*((c, 0.0, 1) for c in byte_characters()), ("<|begin_of_text|>", 0.0, 3)]
    said = metadata(rows, model="gpt2", pre="llama-bpe", merges=[], bos_token_id=256, scores=None)
    assert of_gguf("m.gguf", said).text("a")[0] == 256
    assert len(of_gguf("m.gguf", said | {"tokenizer.ggml.add_bos_token": False}).text("a")) == 1
    assert len(of_gguf("m.gguf", said | {"tokenizer.ggml.pre": "smollm"}).text("a")) == 1


ERRORS = {
    "another kind": ({"model": "t5"}, r"a tokenizer of byte-level BPE \(gpt2\) or SentencePiece's BPE \(llama\), rec"),
    "no kind": ({"model": None}, "a tokenizer of byte-level BPE .*, received None"),
    "no tokens": ({"tokens": None}, "tokens that are texts, received none"),
    "numbers": ({"tokens": [1, 2]}, "tokens that are texts, received others"),
    "no types": ({"token_type": None}, "a type for each token, received none"),
    "fewer types": ({"token_type": [1]}, "a type for each token, received others"),
    "no scores": ({"scores": None}, "a score for each token, received none"),
    "fewer scores": ({"scores": [0.0]}, "a score for each token, received others"),
    "a byte too few": ({"rows": [row for row in (*BEGIN, *LETTERS) if row[0] != "<0x0A>"]}, "all 256 bytes .*<0x0A>"),
    "a BOS beyond": ({"bos_token_id": 10**6}, "a bos_token_id that is a token's, received 1000000"),
    "another cut": ({"model": "gpt2", "pre": "tekken"}, "words cut in one of the ways gpt-2, .*, received tekken"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ERRORS)
def test_errors(fault):
    changes, line = ERRORS[fault]
    with pytest.raises(ValueError, match=rf"^m\.gguf: [^\n]*expected {line}[^\n]*$"):
        speaker(**changes)


def test_scores_are_read_to_the_last_bit(tmp_path):
    """Of two that seven decimals do not tell apart the order counts."""
    near = [struct.unpack("<f", struct.pack("<f", x))[0] for x in (-10.000001, -10.000002)]
    body = b"".join(struct.pack("<Q1sIIQ2f", 1, key, 9, 6, 2, *near) for key in (b"a", b"b"))
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + body)
    assert near[0] != near[1] and read(tmp_path / "m.gguf")[0] == {"a": near, "b": near}
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + body[:-1])
    with pytest.raises(ValueError, match=r"received one that ends or errs in its header$"):
        read(tmp_path / "m.gguf")
