"""The same ids as Hugging Face's tokenizers: with published files, and with models trained on the spot."""

from collections import Counter

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from reference.bpe_pretokenize import words
from reference.bpe_training import learn
from reference.corpus import embedded
from reference.tokenizer_json import read
from tests_interop.vocabularies import inside, texts

PROSE = embedded()[0][:200_000]


def same(path, peer, chosen, decoded=True):
    ours = read(path)
    for text in chosen:
        for special in (False, True):
            ids = peer.encode(text, add_special_tokens=special).ids
            assert ours.encode(text, special) == ids, repr(text[:80])
        if decoded:
            for whole in (False, True):
                assert ours.decode(ids, whole) == peer.decode(ids, skip_special_tokens=not whole), repr(text[:80])


@pytest.mark.parametrize("name", ["anthropic", "deepseek"])
def test_published_files(name):
    path = inside("litellm", "litellm_core_utils", "tokenizers", f"{name}_tokenizer.json")
    peer = Tokenizer.from_file(str(path))
    added = [token.content for token in peer.get_added_tokens_decoder().values()][:3]
    same(path, peer, [*texts(), "a" + " ".join(added) + "b", *added])


def gpt2_like(tmp_path, pattern=None, special=()):
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        peer.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    peer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=alphabet, special_tokens=list(special), show_progress=False
    )
    peer.train_from_iterator([PROSE], trainer)
    return peer


def saved(peer, tmp_path):
    path = tmp_path / "tokenizer.json"
    peer.save(str(path))
    return path


def test_training_finds_the_same_merges(tmp_path):
    """Ties included: their ids of bytes are in the order of their characters, so that these are compared."""
    import json

    from reference.bpe_files import BYTES

    peer = gpt2_like(tmp_path)
    spec = json.loads(saved(peer, tmp_path).read_text())["model"]
    order = sorted(BYTES, key=spec["vocab"].__getitem__)
    rank = {BYTES[character]: i for i, character in enumerate(order)}
    counts = Counter(words(PROSE, "gpt2"))
    learned = learn({tuple(rank[b] for b in w.encode()): n for w, n in counts.items()}, 1500 - 256, 256)
    names = list(order)
    for a, b in learned:
        names.append(names[a] + names[b])
    assert [names[a] + " " + names[b] for a, b in learned] == [
        pair if isinstance(pair, str) else " ".join(pair) for pair in spec["merges"]
    ]


def test_byte_level(tmp_path):
    peer = gpt2_like(tmp_path, special=["<s>", "</s>"])
    peer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    same(saved(peer, tmp_path), peer, [*texts(), "<s>a</s> b<s>"])


def test_added_tokens_take_blanks_along(tmp_path):
    peer = gpt2_like(tmp_path, special=["<s>"])
    peer.add_tokens(
        [AddedToken("<m>", lstrip=True), AddedToken("word", single_word=True), AddedToken("<r>", rstrip=True)]
    )
    chosen = ["a <m> b", "<m>", " <m>  <m> ", "word words sword word", "a <r>  b", "<s> <m><r> word"]
    same(saved(peer, tmp_path), peer, chosen)


def test_llama_3_and_digits(tmp_path):
    from reference.bpe_pretokenize import PATTERNS

    for pattern in (PATTERNS["cl100k"], r"\p{N}"):
        peer = gpt2_like(tmp_path, pattern)
        same(saved(peer, tmp_path), peer, texts(800))


def test_llama_2_byte_fallback(tmp_path):
    """Characters merged after blanks became marks, and bytes where a character is unknown."""
    peer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    peer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    peer.decoder = decoders.Sequence(steps)
    special = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=special, show_progress=False, limit_alphabet=80)
    peer.train_from_iterator(PROSE.splitlines(), trainer)
    import json

    path = saved(peer, tmp_path)
    spec = json.loads(path.read_text())
    spec["added_tokens"] = spec["added_tokens"][:2]  # the bytes are tokens like others, not cut out of texts
    path.write_text(json.dumps(spec))
    peer = Tokenizer.from_file(str(path))
    same(path, peer, [*texts(800), "<s>a <s> b"])


def test_unigram(tmp_path):
    peer = Tokenizer(models.Unigram())
    peer.normalizer = normalizers.NFKC()
    peer.pre_tokenizer = pre_tokenizers.Metaspace()
    peer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=800, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    peer.train_from_iterator(PROSE.splitlines(), trainer)
    same(saved(peer, tmp_path), peer, texts(800))


def test_wordpiece(tmp_path):
    peer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    peer.normalizer = normalizers.BertNormalizer()
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    peer.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    peer.train_from_iterator(PROSE.splitlines(), trainer)
    peer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    same(saved(peer, tmp_path), peer, texts(800))
