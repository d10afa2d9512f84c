"""What context and smoothing do to a model that counts: python -m bench markov [--json] [--svg FILE].

The model counts characters of the embedded corpus, every tenth topic held out; `order` is the number of characters of
context. Discounts and weights are estimated from the training text alone; the alphabet is that of both texts. Predicted
are the bits of relative frequencies on their own text, which their counts determine, and that no text of N characters
has more than N contexts, out of V^order. The last rows time counting beside nltk in the same run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from bench.experiment import report, row
from reference import corpus, markov_jelinek_mercer, markov_kneser_ney
from reference.markov import count, encode, interpolation_weights, log_likelihood
from reference.markov_smoothing import sample, text_log_likelihood

ORDERS = range(9)
ADDED = (1.0, 0.01)
STRENGTHS = tuple(k / 10 for k in range(1, 11))
LADDER = (1, 2, 3, 5)
FREQUENT = 28
SPEEDS = (2, 4)
COLORS = {"order 2": 5, "order 3": 0, "order 5": 1, "order 8": 2}


@cache
def texts() -> tuple[torch.Tensor, torch.Tensor, str]:
    """Train and held out as ids, and the alphabet."""
    train, held_out = corpus.embedded()
    ids, alphabet = encode(train + held_out)
    return ids[: len(train)].long(), ids[len(train) :].long(), alphabet


def bits(logs: torch.Tensor) -> float:
    return float(-logs.mean()) / math.log(2)


def smoothings(order: int) -> Iterator[tuple[str, Callable[[torch.Tensor], torch.Tensor]]]:
    """Every smoothing of this order, estimated from the training text, as a function that judges a text."""
    train, _, alphabet = texts()
    counts = count(train, order, len(alphabet))
    for alpha in (0.0, *ADDED):
        yield f"add {alpha:g}" if alpha else "frequencies", partial(log_likelihood, counts, alpha=alpha)
    weights = interpolation_weights(train, order, len(alphabet))
    mixture = markov_jelinek_mercer.model(train, order, len(alphabet), weights)
    yield "Jelinek–Mercer", partial(text_log_likelihood, mixture)
    yield "Kneser–Ney", partial(text_log_likelihood, markov_kneser_ney.model(train, order, len(alphabet)))


def by_order() -> Iterator[dict[str, Any]]:
    """Bits per character of train and held-out text, and what of the table is seen at all."""
    train, held_out, alphabet = texts()
    for order in ORDERS:
        counts = count(train, order, len(alphabet))
        changes = (counts.ngrams[1:, :order] != counts.ngrams[:-1, :order]).any(1)
        places = torch.cat([torch.zeros(1, dtype=torch.int64), changes.cumsum(0)])
        sizes = torch.zeros(int(places[-1]) + 1).double().index_add(0, places, counts.counts.double())
        own = float((counts.counts * (sizes[places] / counts.counts).log2()).sum() / counts.counts.sum())
        for name, logs in smoothings(order):
            yield row("bits, train", name, order, bits(logs(train)), own if name == "frequencies" else None)
            judged = logs(held_out)
            impossible = float((~judged.isfinite()).double().mean())
            yield row("bits, held out", name, order, bits(judged.nan_to_num(-math.inf)), impossible=impossible)
        possible, bound = float(len(alphabet)) ** order, len(train) - order
        yield row("contexts", "seen", order, len(sizes), min(possible, bound), possible=possible)
        yield row("n-grams", "seen once", order, float((counts.counts == 1).double().mean()))


def by_strength() -> Iterator[dict[str, Any]]:
    """Held-out bits against one D for every order of context, one λ, and α."""
    train, held_out, alphabet = texts()
    V = len(alphabet)
    for order in (3, 5, 8):
        for x in STRENGTHS:
            every = torch.full((order + 1,), x, dtype=torch.float64)
            mixture = markov_jelinek_mercer.model(train, order, V, every)
            yield row("held-out bits by D", f"order {order}", x, bits(
                text_log_likelihood(markov_kneser_ney.model(train, order, V, every), held_out)))  # fmt: skip
            yield row("held-out bits by λ", f"order {order}", x, bits(text_log_likelihood(mixture, held_out)))
    for order in (2, 3, 5):
        counts = count(train, order, V)
        for k in range(-8, 1):
            alpha = 10 ** (k / 2)
            yield row("held-out bits by α", f"order {order}", alpha, bits(log_likelihood(counts, held_out, alpha)))


def ladder(length: int = 160) -> Iterator[dict[str, Any]]:
    """Samples of Kneser–Ney, all going on from one place of the text."""
    train, _, alphabet = texts()
    for order in LADDER:
        model = markov_kneser_ney.model(train, order, len(alphabet))
        ids = sample(model, train[1000 : 1000 + order], length, torch.Generator().manual_seed(1))
        yield {"what": "sample", "of": f"order {order}", "text": "".join(alphabet[i] for i in ids)}


def seconds(f: Callable[[], Any], times: int = 3) -> float:
    """The least of a few timings."""
    best = math.inf
    for _ in range(times):
        started = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - started)
    return best


def speed() -> Iterator[dict[str, Any]]:
    """Characters a second: counting all n-grams, and everything that Kneser–Ney needs, beside nltk; nothing without."""
    try:
        from nltk.lm import KneserNeyInterpolated, NgramCounter
        from nltk.util import everygrams, ngrams
    except ModuleNotFoundError:
        return
    train, _, alphabet = texts()
    text = "".join(alphabet[i] for i in train)

    def fit(order):
        KneserNeyInterpolated(order + 1).fit([everygrams(text, max_len=order + 1)], alphabet)

    for order in SPEEDS:
        for what, ours, theirs in (
            ("counting", lambda k: count(train, k, len(alphabet)), lambda k: NgramCounter([ngrams(text, k + 1)])),
            ("Kneser–Ney", lambda k: markov_kneser_ney.model(train, k, len(alphabet)), fit),
        ):
            mine, others = seconds(partial(ours, order)), seconds(partial(theirs, order), times=1)
            yield row(f"characters a second, {what}", "ours over nltk", order, len(train) / mine,
                      len(train) / others)  # fmt: skip


def rows() -> Iterator[dict[str, Any]]:
    """Everything: dicts with what, of, at, predicted (of timings: nltk's), measured, ratio; samples have a text."""
    for measure in (by_order, by_strength, ladder, speed):
        yield from measure()


def lines(panel, found: list[dict[str, Any]], x: str, within: tuple[float, float], **how) -> None:
    """One line for each smoothing or order in these rows, what is infinite left out."""
    from bench.figures import frame, names, series

    ends = []
    for color, name in enumerate(dict.fromkeys(r["of"] for r in found)):
        here = [(r["at"], r["measured"]) for r in found if r["of"] == name and math.isfinite(r["measured"])]
        if len(here) > 1:
            color = COLORS.get(name, color)
            series(panel, [at for at, _ in here], [measured for _, measured in here], color=color)
            ends.append((*here[-1], name, color))
    panel.set_ylim(within)
    frame(panel, x, "bits a character", **how)
    names(panel, ends)


def draw(found: list[dict[str, Any]], path: str) -> tuple[str, ...]:
    """Write both figures; the second stands beside the first. Raises OSError where they cannot be written."""
    heat = str(Path(path).with_stem(f"{Path(path).stem}_heat"))
    draw_bits(found, path)
    draw_heat(heat)
    return path, heat


def draw_bits(found: list[dict[str, Any]], path: str) -> None:
    """Bits against order on both texts, what is seen of the table, and bits against the strength of each smoothing."""
    from bench.figures import frame, panels, save, series

    figure, axes = panels(3, "A model that counts, by characters of context", rows=2)
    of = {what: [r for r in found if r["what"] == what] for what in {r["what"] for r in found}}
    by_order = partial(lines, x="order", within=(0, 5.6), xticks=ORDERS, yticks=range(6))
    by_order(axes[0], of["bits, train"], title="training text")
    by_order(axes[1], of["bits, held out"], title="held-out text (frequencies alone: infinite)")
    at = [r["at"] for r in of["contexts"]]
    series(axes[2], at, predicted=[r["possible"] for r in of["contexts"]], name="possible", color=7)
    series(axes[2], at, [r["measured"] for r in of["contexts"]], "seen", color=0)
    frame(axes[2], "order", "contexts", title="what is seen of the table", log="y", xticks=ORDERS)
    by_strength = partial(lines, within=(1.8, 4.25), yticks=(2, 2.5, 3, 3.5, 4))
    parts, powers = (0.1, 0.3, 0.5, 0.7, 0.9), (0.0001, 0.001, 0.01, 0.1, 1)
    for panel, sign, name in ((axes[3], "D", "Kneser–Ney"), (axes[4], "λ", "Jelinek–Mercer")):
        by_strength(panel, of[f"held-out bits by {sign}"], f"{sign}, for contexts of any length", xticks=parts,
                    title=f"{name}, held-out text")  # fmt: skip
    by_strength(axes[5], of["held-out bits by α"], "α", xticks=powers, log="x", title="adding α, held-out text")
    save(figure, path)


def draw_heat(path: str) -> None:
    """The transition table of order 1 between the most frequent characters."""
    from bench.figures import panels, save

    train, _, alphabet = texts()
    common = torch.bincount(train, minlength=len(alphabet)).argsort(descending=True)[:FREQUENT].sort().values
    counts = count(train, 1, len(alphabet))
    table = torch.zeros(len(alphabet), len(alphabet)).double()
    table[counts.ngrams[:, 0], counts.ngrams[:, 1]] = counts.counts.double()
    shares = (table / table.sum(1, keepdim=True))[common][:, common]
    figure, (axes,) = panels(1, size=(5.6, 5.2))
    image = axes.pcolormesh(
        shares.sqrt().numpy(), cmap="Blues", edgecolor="white", linewidth=0.4, vmin=0, rasterized=True
    )
    shown = [{" ": "␣", "\n": "↵"}.get(alphabet[i], alphabet[i]) for i in common]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([k + 0.5 for k in range(FREQUENT)], shown)
        axis.set_tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set_xlabel("next character")
    axes.set_title("P(next | character), order 1\nfrom character", loc="left")
    bar = figure.colorbar(image, ax=axes, shrink=0.5, ticks=[x**0.5 for x in (0, 0.05, 0.2, 0.5, 0.9)])
    bar.ax.set_yticklabels(["0", "5 %", "20 %", "50 %", "90 %"])
    bar.outline.set_visible(False)
    save(figure, path)


def told(r: dict[str, Any]) -> str:
    """One row as a line."""
    if "text" in r:
        return f"{r['what']:<32}{r['of']:<16}{' '.join(r['text'].split())}"
    predicted = "" if r["predicted"] is None else f"{r['predicted']:.6g}"
    ratio = "" if r["ratio"] is None else f"{r['ratio']:.4g}"
    more = f"  {r['impossible']:.1%} impossible" if r.get("impossible") else ""
    more += f"  of {r['possible']:.3g} possible" if "possible" in r else ""
    return f"{r['what']:<32}{r['of']:<16}{r['at']:>8.4g}{predicted:>12}{r['measured']:>12.6g}{ratio:>10}{more}"


HEADING = f"{'':<32}{'of':<16}{'at':>8}{'predicted':>12}{'measured':>12}{'ratio':>10}"


def main(options) -> int:
    return report("markov", options, rows(), draw, told=told, heading=HEADING)
