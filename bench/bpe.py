r"""What tokens cost: how long a text gets, how long training takes, and how fast a text is encoded.

Measured on Python's own help, every tenth topic held out. Times are ratios within one run; tiktoken and tokenizers are
timed where they are installed (`nox -s interop -- bench bpe`), with the very vocabulary that was trained here.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from itertools import pairwise
from typing import Any

from reference.bpe_pretokenize import PATTERNS, words
from reference.bpe_tokenizer import Tokenizer
from reference.bpe_training import learn
from reference.corpus import embedded
from reference.unigram_model import best_pieces

SIZES = (320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
FITTED = 512, 4096
"""From where to where a V^(−b) is fitted."""
MERGES = 400
LAYERS, WIDTH = 4, 64
"""A model whose tokens cost c = 12 L D² in its layers, and d = D for each symbol of the vocabulary."""
ROUNDS = 5
SAMPLES = {
    "prose": None,
    "numbers": " ".join(str(n) for n in range(1000, 1400, 7)),
    "upper case": "THE RETURN VALUE OF THE FUNCTION IS NOT A SEQUENCE",
    "rare words": " xylophone quixotic zeugma rhododendron syzygy onomatopoeia",
    "blanks": "\n".join(" " * n + "x" for n in range(1, 24)),
    "code": "def f(x):\n    return {k: v for k, v in x.items() if v is not None}\n",
    "German": "Die Umwandlung größerer Zahlenwörter überrascht fähige Übersetzer",
    "Russian": "Токенизация решает, что увидит модель",
    "Chinese": "分词决定模型看到什么",
    "emoji": "😀🎉👍🏽❤️🇩🇪",
}


def seconds(f: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The least of some timings."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        f()
        found.append(time.perf_counter() - start)
    return min(found)


def rescanned(counts: Mapping[tuple[int, ...], int], merges: int) -> tuple[list[tuple[int, int]], int]:
    """(the same merges, symbols read): every word that occurs is counted anew, and searched, for each merge."""
    texts = [list(word) for word in counts]
    weights = list(counts.values())
    found: list[tuple[int, int]] = []
    read = 0
    for new in range(256, 256 + merges):
        total: Counter[tuple[int, int]] = Counter()
        for text, weight in zip(texts, weights, strict=True):
            read += len(text)
            for pair in pairwise(text):
                total[pair] += weight
        best = min(total, key=lambda pair: (-total[pair], pair))
        found.append(best)
        for k, text in enumerate(texts):
            if best[0] in text:
                texts[k] = merged(text, best, new)
    return found, read


def merged(text: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The pair replaced, from the left."""
    out, i = [], 0
    while i < len(text):
        here = i + 1 < len(text) and (text[i], text[i + 1]) == pair
        out.append(new if here else text[i])
        i += 1 + here
    return out


def training() -> Iterator[dict[str, Any]]:
    """The pairs that all merges find, below the number of symbols; and time beside rescanning, and tokenizers."""
    text = embedded()[0]
    counts = {tuple(w.encode()): n for w, n in Counter(words(text, "gpt2")).items()}
    N = sum(map(len, counts))
    learned = learn(counts, MERGES, 256)
    left = [list(word) for word in counts]
    for r, pair in enumerate(learned):
        left = [merged(word, pair, 256 + r) if pair[0] in word else word for word in left]
    pairs = N - sum(map(len, left))
    yield row("pairs found by all merges", N - 1, pairs, merges=MERGES)
    start = time.perf_counter()
    again, read = rescanned(counts, MERGES)
    scanning = time.perf_counter() - start
    if again != learned:
        raise RuntimeError("rescanning finds other merges")
    yield row("symbols read by rescanning", MERGES * sum(map(len, left)), read, least=True, merges=MERGES)
    ours = seconds(lambda: learn(counts, MERGES, 256), 3)
    yield {"what": "training: times as fast as rescanning", "measured": scanning / ours, "merges": MERGES}
    try:
        from tokenizers import Tokenizer as Peer
        from tokenizers import models, pre_tokenizers, trainers
    except ModuleNotFoundError:
        yield {"what": "training: times as long as tokenizers", "measured": None, "merges": 4096 - 256}
        return

    def theirs() -> None:
        peer = Peer(models.BPE())
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        peer.train_from_iterator(
            [text], trainers.BpeTrainer(vocab_size=4096, initial_alphabet=alphabet, show_progress=False)
        )

    ratio = seconds(lambda: Tokenizer.trained([text], 4096), 2) / seconds(theirs, 2)
    yield {"what": "training: times as long as tokenizers", "measured": ratio, "merges": 4096 - 256}


def row(what: str, bound: float, measured: float, least: bool = False, **more: Any) -> dict[str, Any]:
    """A measurement and the bound that it must keep: at most, or with `least` at least."""
    good = measured >= bound if least else measured <= bound
    return {"what": what, "predicted": bound, "measured": measured, "ratio": measured / bound, "holds": good, **more}


def lengths() -> Iterator[dict[str, Any]]:
    """Tokens a byte of the held-out text against the vocabulary, beside a V^(−b) and the fewest tokens."""
    train, held_out = embedded()
    size = len(held_out.encode())
    largest = Tokenizer.trained([train], SIZES[-1])
    found = []
    for V in SIZES:
        tokenizer = first(largest, V)
        found.append((V, len(tokenizer.encode(held_out)) / size))
    fitted = [(math.log(V), math.log(rate)) for V, rate in found if FITTED[0] <= V <= FITTED[1]]
    n = len(fitted)
    mx, my = sum(x for x, _ in fitted) / n, sum(y for _, y in fitted) / n
    b = -sum((x - mx) * (y - my) for x, y in fitted) / sum((x - mx) ** 2 for x, _ in fitted)
    a = math.exp(my + b * mx)
    c, d = 12 * LAYERS * WIDTH**2, WIDTH
    for V, rate in found:
        law = a * V**-b
        costs = {"cost": rate * (c + d * V) / c, "cost predicted": law * (c + d * V) / c}
        yield {"what": "tokens a byte", "V": V, "predicted": law, "measured": rate, "ratio": rate / law, **costs}
    best = min(found, key=lambda pair: pair[1] * (c + d * pair[0]))[0]
    predicted = b * c / ((1 - b) * d)
    yield {"what": "cheapest vocabulary", "predicted": predicted, "measured": best, "ratio": best / predicted, "b": b}
    for V in (1024, 4096):
        tokenizer = first(largest, V)
        names = {token.decode("latin-1"): -1.0 for token in tokenizer.tokens}
        longest = max(map(len, names))
        cuts = [word.encode().decode("latin-1") for word in words(held_out, "gpt2")]
        fewest = {word: len(best_pieces(word, names, longest)) for word in set(cuts)}
        least, ours = sum(fewest[word] for word in cuts), len(tokenizer.encode(held_out))
        yield row("tokens, beside the fewest with the same ones", least, ours, least=True, V=V)


def first(tokenizer: Tokenizer, V: int) -> Tokenizer:
    """The tokenizer of the first V symbols: merges are learned one after the other."""
    tokens = {token: i for token, i in tokenizer.tokens.items() if i < V}
    merges = {pair: rule for pair, rule in dict(tokenizer.merges).items() if rule and rule[1] < V}
    return Tokenizer(tokens, merges, tokenizer.pattern, whole=False)


def pathologies() -> Iterator[dict[str, Any]]:
    """Tokens a byte of texts that the training text is unlike."""
    train, held_out = embedded()
    tokenizer = Tokenizer.trained([train], 4096)
    for name, sample in SAMPLES.items():
        text = held_out if sample is None else sample
        size = len(text.encode())
        yield {"what": f"tokens a byte of {name}", "measured": len(tokenizer.encode(text)) / size, "bytes": size}


def encoding() -> Iterator[dict[str, Any]]:
    """Time to encode English text, with an empty memory of words and with a full one, beside the libraries."""
    text = embedded()[0]
    for pattern in ("gpt2", "cl100k", "o200k"):
        trained = Tokenizer.trained([text], 4096, pattern)
        tokenizer = Tokenizer({token: i for token, i in trained.tokens.items()}, None, pattern)

        def cold(tokenizer: Tokenizer = tokenizer) -> list[int]:
            tokenizer.known.clear()
            return tokenizer.encode(text)

        empty, full = seconds(cold), seconds(partial(tokenizer.encode, text))
        speed = {"MB/s": len(text.encode()) / full / 1e6, "pattern": pattern}
        try:
            import tiktoken
        except ModuleNotFoundError:
            yield {"what": "encoding: times as long as tiktoken", "measured": None, **speed}
            continue
        peer = tiktoken.Encoding("ours", pat_str=PATTERNS[pattern], mergeable_ranks=tokenizer.tokens, special_tokens={})
        if peer.encode_ordinary(text) != tokenizer.encode(text):
            raise RuntimeError("tiktoken finds other tokens")
        theirs = seconds(partial(peer.encode_ordinary, text))
        yield {"what": "encoding: times as long as tiktoken", "measured": full / theirs, **speed}
        yield {"what": "encoding words for the first time: the same", "measured": empty / theirs, **speed}


def rows() -> Iterator[dict[str, Any]]:
    """Everything, in turn."""
    for part in (lengths, pathologies, training, encoding):
        yield from part()


def told(r: dict[str, Any]) -> str:
    """One line of the table."""
    shown = [
        f"{r[key]:>12,.4g}" if r.get(key) is not None else f"{'':>12}" for key in ("predicted", "measured", "ratio")
    ]
    if r["measured"] is None:
        shown[1] = f"{'not run here':>12}"
    more = [f"{key} = {r[key]:.4g}" for key in ("V", "merges", "b", "MB/s", "bytes") if key in r]
    more += [r["pattern"]] if "pattern" in r else []
    return f"{r['what']:<46} {' '.join(shown)}  {', '.join(more)}" + ("" if r.get("holds", True) else "  not so")


def drawn(found: list[dict[str, Any]], path: str) -> None:
    """Three panels: tokens a byte, the cost of a text, and tokens a byte of texts of other kinds."""
    from bench.figures import INK, frame, panels, save, series

    figure, (left, middle, right) = panels(
        3, "Tokens: what a larger vocabulary gives, and what it takes", size=(3.9, 3.4)
    )
    curve = [r for r in found if r["what"] == "tokens a byte"]
    V = [r["V"] for r in curve]
    ticks = [512, 1024, 2048, 4096, 8192]
    series(left, V, [r["measured"] for r in curve], predicted=[r["predicted"] for r in curve])
    best = next(r for r in found if r["what"] == "cheapest vocabulary")
    left.annotate(
        f"a V^(−{best['b']:.2f})", (V[2], curve[2]["predicted"]), (6, 6), textcoords="offset points", color=INK[0]
    )
    frame(left, "symbols in the vocabulary", "tokens a byte, held out", log="x", zero=True, xticks=ticks)
    series(middle, V, [r["cost"] for r in curve], predicted=[r["cost predicted"] for r in curve], color=1)
    middle.axvline(best["predicted"], lw=0.6, ls=(0, (4, 3)), color=INK[6])
    top = max(r["cost"] for r in curve)
    middle.annotate(f"predicted best, {best['predicted']:.0f}", (best["predicted"], top), (4, 0), color=INK[6],
                    textcoords="offset points", va="top")  # fmt: skip
    frame(
        middle,
        "symbols in the vocabulary",
        f"work a byte, {LAYERS} layers of width {WIDTH}",
        log="x",
        zero=True,
        xticks=ticks,
    )
    kinds = [(r["what"].removeprefix("tokens a byte of "), r["measured"]) for r in found if " byte of " in r["what"]]
    kinds.sort(key=lambda pair: -pair[1])
    for place, (name, rate) in enumerate(kinds):
        right.plot([0, rate], [place, place], lw=0.6, color=INK[2])
        right.plot([rate], [place], marker="o", ms=3, color=INK[2])
        right.annotate(name, (rate, place), (5, 0), textcoords="offset points", va="center", color=INK[7])
    right.set_yticks([])
    frame(right, "tokens a byte, 4096 symbols", "texts of other kinds", xticks=[0, 0.25, 0.5, 0.75, 1])
    right.spines["left"].set_visible(False)
    save(figure, path)


def main(options: argparse.Namespace) -> int:
    """Measure, print and draw."""
    found: list[dict[str, Any]] = []
    out = sys.stderr if options.json else sys.stdout
    print(f"{'':<46} {'predicted':>12} {'measured':>12} {'ratio':>12}", file=out)
    for r in rows():
        found.append(r)
        print(told(r), file=out, flush=True)
    if options.json:
        import regex

        head = {"schema": 1, "topic": "bpe", "date": str(date.today()), "device": "CPU"}
        head |= {"python": sys.version.split()[0], "regex": regex.__version__, **versions()}
        print(json.dumps({**head, "rows": found}, indent=1, ensure_ascii=False))
    path = options.svg or "" if options.json else options.svg or "bpe.svg"
    if path:
        try:
            drawn(found, path)
        except OSError as error:
            print(f"--svg {path}: cannot be written: {error.strerror}", file=sys.stderr)
            return 2
        print(f"wrote {path}", file=out)
    return int(not all(r.get("holds", True) for r in found))


def versions() -> dict[str, str]:
    """Of the libraries that were timed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("tiktoken", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
