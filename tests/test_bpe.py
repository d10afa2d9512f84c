"""Byte-pair encoding of real text: words, round trips, files, and what is said about bad input."""

import base64
import itertools
import json
import random
import time
from collections import Counter
from itertools import pairwise

import pytest
import torch

from reference import bpe
from reference.bpe_files import BYTES, byte_characters, read_gpt2, read_ranks, read_tiktoken, write_ranks, written_bytes
from reference.bpe_pretokenize import PATTERNS, words
from reference.bpe_tokenizer import Tokenizer
from reference.bpe_training import learn
from reference.bpe_words import Joined, Rules, encode_word
from reference.corpus import embedded

PROSE = embedded()[0][:60_000]


@pytest.fixture(scope="module")
def trained():
    return Tokenizer.trained([PROSE], 600, special=["<end>", "<end>more"])


@pytest.mark.parametrize(("pattern", "text", "expected"), [
    ("gpt2", "Hello world's  end\n\n x1234!!", ["Hello", " world", "'s", " ", " end", "\n\n", " x", "1234", "!!"]),
    ("cl100k", "I'LL say(x) 12345\r\n\n  y", ["I", "'LL", " say", "(x", ")", " ", "123", "45", "\r\n\n", " ", " y"]),
    ("o200k", "HTTPServer don't", ["HTTPServer", " don't"]),
    ("o200k", "camelCase a/b\n/ c", ["camel", "Case", " a", "/b", "\n", "/", " c"]),
    ("none", "a b\nc", ["a b\nc"]),
    (r"\d|\D+", "a12", ["a", "1", "2"]),
])  # fmt: skip
def test_words_by_hand(pattern, text, expected):
    assert words(text, pattern) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_words_are_the_text(pattern):
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(chr(rng.choice([rng.randrange(1, 0x300), 0x4E00, 0x1F600, 32, 10])) for _ in range(20))
        assert "".join(words(text, pattern)) == text


def test_wrong_patterns_are_told():
    with pytest.raises(ValueError, match="pattern: expected one of none, gpt2, cl100k, o200k, or a regular expression"):
        words("a", "(")
    with pytest.raises(ValueError, match="matches all of the text"):
        words("a1", "[a-z]")
    with pytest.raises(ValueError, match="without capturing groups"):
        words("ab", "(a)|(b)")


def test_the_sum_of_all_pairs_is_small():
    """`incremental_counts_are_linear` on words: and no merge is found a second time."""
    counts = {tuple(w.encode()): n for w, n in Counter(words(PROSE)).items()}
    learned = learn(counts, 500, 256)
    assert len(learned) == len(set(learned)) == 500
    rules = Rules({pair: (r, 256 + r) for r, pair in enumerate(learned)})
    found = sum(len(word) - len(encode_word(word, rules)) for word in counts)
    assert found < sum(map(len, counts))


def test_training_ends_when_nothing_is_frequent():
    assert learn({(1, 2, 3): 1}, 9, 256) == []
    assert learn({(1, 2, 3): 1}, 9, 256, least=1) == [(1, 2), (256, 3)]
    assert learn({}, 9, 256) == learn({(7,): 100}, 9, 256) == []


def test_a_long_word_takes_no_square_of_time():
    rules = Rules({(0, 0): (0, 1), (1, 1): (1, 2), (2, 2): (2, 3)})
    start = time.perf_counter()
    assert encode_word([0] * 80_000, rules) == [3] * 10_000
    assert time.perf_counter() - start < 20, "a square of 80,000 would be hours"


def test_ranks_and_merges_agree(trained):
    """Ranks alone say the same as merges, where no token can be made of two pairs."""
    joined, chosen = Joined(trained.tokens), {*words(PROSE)}
    same = 0
    for word in chosen:
        ours, theirs = (encode_word(list(word.encode()), rules) for rules in (trained.merges, joined))
        same += ours == theirs
        assert b"".join(trained.spelled[i] for i in theirs) == word.encode()
    assert same > 0.99 * len(chosen)


def test_every_string_of_bytes_comes_back(trained):
    for size in range(3):
        for some in itertools.product(range(0, 256, 5), repeat=size):
            assert trained.decode_bytes(trained.encode(bytes(some))) == bytes(some)
    rng = random.Random(0)
    for _ in range(2000):
        some = bytes(rng.choice([rng.randrange(256), 32, 0xF0, 0x9F, 10]) for _ in range(rng.randint(0, 20)))
        assert trained.decode_bytes(trained.encode(some)) == some
        text = some.decode("utf-8", "replace")
        assert trained.decode(trained.encode(text)) == text
        assert trained.decode(trained.encode(some)) == text


def test_bytes_that_are_text_are_that_text(trained):
    for text in ("", "naïve café 漢字 😀", PROSE[:3000]):
        assert trained.encode(text.encode()) == trained.encode(text)


def test_special_tokens_are_text_unless_allowed(trained):
    end, more = (trained.special[name] for name in ("<end>", "<end>more"))
    assert not {end, more} & {*trained.encode("a<end>b")}
    assert trained.encode("<end>", "all") == [end]
    assert trained.encode("a<end>moreb<end>", "all") == [*trained.encode("a"), more, *trained.encode("b"), end]
    assert trained.encode("<end>more", ["<end>"]) == [end, *trained.encode("more")]
    assert trained.decode([end, *trained.encode("x")]) == "<end>x"
    assert trained.encode(b"<end>\xff", "all") == [end, 255]
    with pytest.raises(ValueError, match="allow: expected special tokens"):
        trained.encode("a", ["<none>"])


def test_the_memory_of_words_changes_nothing(trained, monkeypatch):
    expected = trained.encode(PROSE)
    monkeypatch.setattr("reference.bpe_tokenizer.REMEMBERED", 3)
    assert trained.encode(PROSE) == expected and len(trained.known) <= 5000


def test_pieces_of_training_and_tensors_agree():
    """The functions on tensors that are verified, and those on words of real text, are one thing."""
    text = PROSE[:4000]
    cut = [torch.tensor([*word.encode(), -1]) for word in words(text)]
    ids = torch.cat(cut)
    merges = bpe.train(ids, 80)
    assert merges.tolist() == [list(pair) for pair in learn({k: v for k, v in Counter(
        tuple(w.encode()) for w in words(text)).items()}, 80, 256)]  # fmt: skip
    tokenizer = Tokenizer.trained([text], 256 + 80)
    assert bpe.encode(ids, merges).tolist() == tokenizer.encode(text)
    assert bytes(bpe.decode(bpe.encode(ids, merges), merges).tolist()).decode() == text


def test_ranks_are_written_and_read(tmp_path, trained):
    path = tmp_path / "ranks.tiktoken"
    write_ranks(path, trained.tokens)
    assert read_ranks(path) == trained.tokens
    again = read_tiktoken(path, "gpt2", {"<end>": 5000})
    assert again.decode(again.encode("the function<end>", "all")) == "the function<end>"


def test_gpt2_files_are_read(tmp_path, trained):
    characters = byte_characters()
    assert len(set(characters)) == 256 and all(BYTES[c] == i for i, c in enumerate(characters))
    assert (characters[0], characters[32], characters[65]) == ("Ā", "Ġ", "A")
    assert written_bytes("Ġa") == b" a"

    def written(i):
        return "".join(characters[byte] for byte in trained.spelled[i])

    pairs = sorted((rule[0], pair) for pair, rule in trained.merges.items() if rule)
    lines = [f"{written(a)} {written(b)}" for _, (a, b) in pairs]
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    encoder = {written(i): i for i in trained.tokens.values()} | {"<|endoftext|>": 9999}
    (tmp_path / "encoder.json").write_text(json.dumps(encoder))
    read = read_gpt2(tmp_path / "vocab.bpe", tmp_path / "encoder.json")
    assert read.encode(PROSE) == trained.encode(PROSE)
    assert read.encode("a<|endoftext|>", "all")[-1] == 9999


@pytest.mark.parametrize(("content", "message"), [
    ("YQ== 0\nYQ== 1\n", "line 2: expected every token once, received b'a'"),
    ("YQ== 0\nYg== 0\n", "expected every rank once"),
    ("YQ== zero\n", "line 1: expected a token in base 64 and its rank, received 'YQ== zero'"),
    ("YQ= 0\n", "line 1: expected a token in base 64"),
    ("YQ==\n", "line 1: expected a token in base 64"),
])  # fmt: skip
def test_wrong_ranks_are_one_line(tmp_path, content, message):
    (tmp_path / "ranks").write_text(content)
    with pytest.raises(ValueError) as told:
        read_ranks(tmp_path / "ranks")
    assert message in str(told.value) and "\n" not in str(told.value)


def test_wrong_files_are_one_line(tmp_path):
    for name in ("none", "."):
        with pytest.raises(ValueError, match="expected a text file in UTF-8"):
            read_ranks(tmp_path / name)
    (tmp_path / "vocab.bpe").write_text("a b\n")
    for content, message in (("{", "expected JSON"), ("[]", "tokens and their ids"), ('{"a": 0, "b": 1}', "line 1")):
        (tmp_path / "encoder.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_gpt2(tmp_path / "vocab.bpe", tmp_path / "encoder.json")
    (tmp_path / "short").write_text(base64.b64encode(b"a").decode() + " 0\n")
    with pytest.raises(ValueError, match="all 256 bytes among them, received none for byte 0"):
        read_tiktoken(tmp_path / "short", "gpt2")


A = torch.tensor([0, 1, 0])
TABLE = torch.tensor([[0, 1], [2, 0]])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: bpe.merge([0], 0, 0, 1), "ids: expected a tensor"),
    (lambda: bpe.merge(A[None], 0, 0, 1), "ids: expected axes N"),
    (lambda: bpe.merge(A.double(), 0, 0, 1), "ids: expected an integer tensor"),
    (lambda: bpe.merge(A, 0, "b", 1), "second: expected an integer ≥ 0, received 'b'"),
    (lambda: bpe.train(A, -1), "merges: expected an integer ≥ 0, received -1"),
    (lambda: bpe.train(A, 1, 0), "base: expected an integer ≥ 1"),
    (lambda: bpe.train(A, 1, 2, 0), "least: expected an integer ≥ 1"),
    (lambda: bpe.train(A, 1, 1), "expected entries from 0 to 1"),
    (lambda: bpe.train(A - 2, 1), "expected entries from 0 to 256"),
    (lambda: bpe.encode(A, TABLE[0], 2), "merges: expected axes M 2"),
    (lambda: bpe.encode(A, A[None], 2), "merges: expected shape M 2"),
    (lambda: bpe.encode(A, TABLE.double(), 2), "merges: expected an integer tensor"),
    (lambda: bpe.encode(A, TABLE.flip(0), 2), "merges: expected symbols below 2 in row 0"),
    (lambda: bpe.encode(A, TABLE[[0, 0]], 2), "merges: expected every pair once"),
    (lambda: bpe.encode(A, [[0, 1]], 2), "merges: expected a tensor"),
    (lambda: bpe.decode(A + 3, TABLE, 2), "tokens: expected entries from 0 to 3, received entries from 3 to 4"),
    (lambda: bpe.decode(A.double(), TABLE, 2), "tokens: expected an integer tensor"),
    (lambda: Tokenizer({b"a": 0}), "tokens: expected all 256 bytes"),
    (lambda: Tokenizer.trained(["a"], 255), "size: expected an integer ≥ 256"),
    (lambda: Tokenizer.trained(["a"], 256).encode(["a"]), "text: expected str or bytes, received list"),
    (lambda: Tokenizer.trained(["a"], 256).decode([256]), "ids: expected ids of tokens, received 256"),
])  # fmt: skip
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError) as told:
        call()
    assert message in str(told.value) and "\n" not in str(told.value)


def test_empty_texts_have_no_tokens(trained):
    nothing = torch.tensor([], dtype=torch.int64)
    assert bpe.merge(nothing, 0, 0, 1).tolist() == bpe.encode(nothing, TABLE, 2).tolist() == []
    assert bpe.decode(nothing, TABLE, 2).tolist() == bpe.train(nothing, 3).tolist() == []
    assert trained.encode("") == trained.encode(b"") == [] and trained.decode([]) == ""


def test_no_pair_of_the_table_is_left(trained):
    rules = trained.merges
    for word in list({*words(PROSE)})[:500]:
        assert not any(rules.get(pair) for pair in pairwise(encode_word(list(word.encode()), rules)))
