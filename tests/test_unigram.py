"""The unigram model on words, WordPiece on strings, and what is said about bad input."""

import math
import struct
from collections import Counter

import pytest
import torch

from reference import unigram
from reference.bpe_pretokenize import words
from reference.corpus import embedded
from reference.unigram_files import read_sentencepiece
from reference.unigram_model import Unigram, best_pieces, expected, learn, pruned, seeds, stepped
from reference.unigram_wordpiece import split_word

COUNTS = Counter(words(embedded()[0][:8000]))


def as_tensors(word, log_p):
    """A word and pieces as the functions on tensors take them."""
    pieces = list(log_p)
    width = max(map(len, pieces))
    rows = [[*map(ord, piece), *[-1] * (width - len(piece))] for piece in pieces]
    return torch.tensor([*map(ord, word)]), torch.tensor(rows), torch.tensor([*log_p.values()], dtype=torch.float64)


def test_words_and_tensors_agree():
    """The functions that learn from words compute what the verified ones compute."""
    log_p = seeds(COUNTS, 4)
    for word in list(COUNTS)[:40]:
        inside = {x: s for x, s in log_p.items() if x in word}
        text, pieces, scores = as_tensors(word, inside)
        counts, total = expected({word: 1}, inside, 4)
        assert math.isclose(total, unigram.log_likelihood(text, pieces, scores), rel_tol=1e-9)
        theirs = unigram.expected_counts(text, pieces, scores).tolist()
        assert all(math.isclose(counts.get(x, 0.0), y, abs_tol=1e-9) for x, y in zip(inside, theirs, strict=True))
        ids = unigram.viterbi(text, pieces, scores).tolist()
        assert [list(inside)[v] for v in ids] == best_pieces(word, inside, 4)


def test_steps_do_not_make_the_text_less_likely():
    log_p, before = seeds(COUNTS, 4), -math.inf
    for _ in range(6):
        size = len(log_p)
        log_p, total = stepped(COUNTS, log_p, 4)
        assert total >= before or len(log_p) < size
        before = total if len(log_p) == size else -math.inf


def test_pieces_are_learned():
    letters = {letter for word in COUNTS for letter in word}
    log_p = learn(COUNTS, 200, 5)
    assert len(log_p) <= 200 and letters <= log_p.keys()
    assert math.isclose(sum(map(math.exp, log_p.values())), 1, rel_tol=0.2)
    assert any(len(x) > 2 for x in log_p)
    assert all("".join(best_pieces(word, log_p, 5)) == word for word in COUNTS)
    assert len(pruned(COUNTS, log_p, 5, 100)) == max(100, len(letters))


def test_learning_needs_words_and_room():
    with pytest.raises(ValueError, match="words: expected at least one"):
        learn({}, 9)
    with pytest.raises(ValueError, match="size: expected an integer ≥ 2, received 1"):
        learn({"ab": 1}, 1)


def test_unknown_characters_are_one_piece():
    model = Unigram([("<unk>", 0.0), ("a", -1.0), ("ab", -1.5)], 0)
    assert model.encode_word("abxya") == ["ab", "xy", "a"]
    assert Unigram([("a", -1.0)], fused=False).encode_word("xya") == ["x", "y", "a"]


def test_wordpiece_on_strings():
    ids = {"un": 0, "##aff": 1, "##able": 2, "##a": 3, "a": 4}
    assert split_word("unaffable", ids) == [0, 1, 2]
    assert split_word("aable", ids) == [4, 2]
    assert split_word("unx", ids) is None and split_word("ffa", ids) is None
    assert split_word("", ids) == []


def message(*parts):
    """Fields of protocol buffers, all shorter than 128 bytes: (number, bytes), (number, whole number below 128)."""
    return b"".join(
        bytes([number << 3 | 2, len(value)]) + value if isinstance(value, bytes) else bytes([number << 3, value])
        for number, value in parts
    )


def piece(text, score, kind=1):
    return (1, message((1, text.encode())) + b"\x15" + struct.pack("<f", score) + message((3, kind)))


def test_a_model_of_sentencepiece_is_read(tmp_path):
    """Blanks are written ▁, one before all; an unknown character is its bytes where these are pieces."""
    pieces = [piece("<unk>", 0, 2), piece("</s>", 0, 3), piece("▁a", -1), piece("▁", -2), piece("b", -2)]
    path = tmp_path / "m.model"
    path.write_bytes(message(*pieces, (2, message((3, 1)))))
    model = read_sentencepiece(path)
    assert model.encode(" ab  a?!b") == [2, 4, 2, 0, 4] and model.encode("") == []
    assert model.decode([2, 4, 2, 1]) == "ab a" and model.decode([0]) == "⁇ "
    path.write_bytes(message(*pieces, *(piece(f"<0x{byte:02X}>", 0, 6) for byte in "é".encode())))
    model = read_sentencepiece(path)
    assert model.encode("aé") == [2, 5, 6] and model.decode([2, 5, 6]) == "aé"
    for content, reason in ((b"", "model: expected pieces, received none"), (b"\x0a\x7fx", "EOFError: cut off"),
                            (message(*pieces, (2, message((3, 2)))), "a unigram model, type 1, received type 2"),
                            (message(*pieces, piece("x", 0, 4)), "no pieces defined by the user")):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            read_sentencepiece(path)
    with pytest.raises(ValueError, match="expected a file, received No such file"):
        read_sentencepiece(tmp_path / "none.model")


TEXT, PIECES = torch.tensor([0, 1]), torch.tensor([[0, -1], [1, -1], [0, 1]])
LOG = torch.tensor([-1.0, -1.0, -2.0])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: unigram.log_likelihood([0], PIECES, LOG), "text: expected a tensor"),
    (lambda: unigram.log_likelihood(TEXT[None], PIECES, LOG), "text: expected axes N"),
    (lambda: unigram.log_likelihood(TEXT.double(), PIECES, LOG), "text: expected an integer tensor"),
    (lambda: unigram.log_likelihood(TEXT - 1, PIECES, LOG), "text: expected entries from 0"),
    (lambda: unigram.log_likelihood(TEXT, PIECES, LOG[:2]), "axis V: expected one size, 2"),
    (lambda: unigram.log_likelihood(TEXT, PIECES, LOG.long()), "log_p: expected a floating-point tensor"),
    (lambda: unigram.log_likelihood(TEXT, PIECES, -LOG), "log_p: expected logarithms of probabilities, at most 0"),
    (lambda: unigram.log_likelihood(TEXT, PIECES[0], LOG), "pieces: expected axes V L"),
    (lambda: unigram.log_likelihood(TEXT, PIECES.flip(1), LOG), "pieces: expected symbols, then −1 only"),
    (lambda: unigram.log_likelihood(TEXT, PIECES[[0, 0, 1]], LOG), "pieces: expected every piece once"),
    (lambda: unigram.viterbi(TEXT + 2, PIECES, LOG), "text: expected a text that pieces make up, received [2, 3]"),
    (lambda: unigram.expected_counts(TEXT + 2, PIECES, LOG), "text: expected a text that pieces make up"),
    (lambda: unigram.em_step(TEXT[:0], PIECES, LOG), "text: expected at least one symbol, received none"),
    (lambda: unigram.em_step(TEXT - 2, PIECES, LOG), "text, with 1 added: expected entries from 0"),
    (lambda: unigram.wordpiece(TEXT, PIECES, LOG), "inside: expected booleans of shape (3,)"),
    (lambda: unigram.wordpiece(TEXT, PIECES, [True]), "inside: expected a tensor"),
])  # fmt: skip
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError) as told:
        call()
    assert message in str(told.value) and "\n" not in str(told.value)


def test_nothing_and_not_a_number():
    assert unigram.log_likelihood(TEXT[:0], PIECES, LOG) == 0
    assert unigram.viterbi(TEXT[:0], PIECES, LOG).tolist() == []
    assert unigram.expected_counts(TEXT[:0], PIECES, LOG).tolist() == [0, 0, 0]
    assert unigram.log_likelihood(TEXT, PIECES, LOG * torch.nan).isnan()
    never = torch.tensor([-1.0, -torch.inf, -2.0])
    assert unigram.log_likelihood(TEXT, PIECES, never) == -2
